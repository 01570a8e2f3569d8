"""Whether a sentence finds its translation, and a word its own, among the nearest vectors of the other (paper, A.9)."""

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from minirembert.lab.geometry import unit
from minirembert.lab.readings import Reading, sentence_vectors
from minirembert.lab.world import Corpus
from minirembert.ops.array import Array

DISTANCES = ("l2", "cosine")


def retrieval(
    source: Float[Array, "N H"],
    target: Float[Array, "N H"],
    shift: Float[Array, " H"] | None = None,
    distance: str = "l2",
) -> float:
    """The share of rows n of `source` + `shift` whose nearest row of `target` is row n; of equally near ones the first counts.

    Computed in float64. Raises ValueError for arrays of different shapes or without rows, and for another distance.
    """
    if source.shape != target.shape or source.ndim != 2 or not len(source):
        raise ValueError(f"two arrays (N, H) of one shape with N > 0 are needed, got {source.shape} and {target.shape}")
    if distance not in DISTANCES:
        raise ValueError(f"distance must be one of {', '.join(DISTANCES)}, got {distance!r}")
    x, y = source.astype(np.float64), target.astype(np.float64)
    if shift is not None:
        x = x + shift
    if distance == "cosine":
        x, y = unit(x), unit(y)
    else:
        centre = y.mean(axis=0)  # distances stay what they are, and their differences lose less to rounding
        x, y = x - centre, y - centre
    # |x - y|^2 = |x|^2 - 2 x y + |y|^2, of which the first is the same for all y
    nearest = ((y * y).sum(axis=1) - 2 * (x @ y.T)).argmin(axis=1)
    return float((nearest == np.arange(len(x))).mean())


def retrieval_by_layer(fitted: Mapping[str, Reading], scored: Mapping[str, Reading], corpus: Corpus) -> dict[str, Any]:
    """P@1 of sentences by layer, averaged over all ordered pairs of languages.

    The first three have L + 1 numbers, the others one:

        with_mean          the mean difference of the two languages is added, then the nearest in L2: the paper's way
        without_mean       the same without it
        cosine_with_mean   with it, and the largest cosine
        pool               sentences to choose from (of a pair of languages, on average)
        by_length          what knowing the sentence's length, and nothing else, would give on average

    `fitted` and `scored` are readings by language of two sets of meanings: the mean differences come from the first, the
    figures from the second, whose n-th sentences are translations of each other. Shared words do not count, and a pair in
    which nothing is left of one sentence is left out. Their neighbours see them all the same: an untrained model shows what
    that is worth. Raises ValueError for fewer than two languages, and where no pair is left.
    """
    if len(scored) < 2:
        raise ValueError(f"retrieval needs two languages, got {', '.join(scored) or 'none'}")
    means = {name: _mean(reading, corpus) for name, reading in fitted.items()}
    vectors = {name: sentence_vectors(reading, corpus.shared_ids) for name, reading in scored.items()}
    rows: dict[str, list[list[float]]] = {"with_mean": [], "without_mean": [], "cosine_with_mean": []}
    pools, by_length = [], []
    for source, target in permutations(scored, 2):
        (x, here), (y, there) = vectors[source], vectors[target]
        both = (here > 0) & (there > 0)
        if not both.any():
            raise ValueError(f"no sentence of {source!r} and {target!r} has a word that languages do not share")
        triples = list(zip(x[:, both], y[:, both], means[target] - means[source], strict=True))
        rows["with_mean"].append([retrieval(a, b, shift) for a, b, shift in triples])
        rows["without_mean"].append([retrieval(a, b) for a, b, _ in triples])
        rows["cosine_with_mean"].append([retrieval(a, b, shift, "cosine") for a, b, shift in triples])
        pools.append(int(both.sum()))
        by_length.append(guessed_by_length(_lengths(scored[source])[both], _lengths(scored[target])[both]))
    found: dict[str, Any] = {name: np.mean(values, axis=0).tolist() for name, values in rows.items()}
    return found | {"pool": float(np.mean(pools)), "by_length": float(np.mean(by_length))}


def guessed_by_length(source: Integer[Array, " N"], target: Integer[Array, " N"]) -> float:
    """The expected P@1 of choosing by chance among the sentences of `target` that are as long as the one of `source`."""
    equally_long = (source[:, None] == target).sum(axis=1)
    return float(((source == target) / np.maximum(equally_long, 1)).mean())


def word_translation(rows: Float[Array, "V E"], corpus: Corpus) -> float:
    """P@1 of the gold dictionary with a row for each word, averaged over ordered pairs of languages.

    Candidates are the dictionary's words of the other language; the difference of the two languages' mean rows, for which
    no pair need be known, is added first. Only on the lab track; raises ValueError for fewer than two languages.
    """
    names = corpus.world.language_names
    if len(names) < 2:
        raise ValueError("word translation needs two languages, and this world has one")
    found = []
    for source, target in permutations(names, 2):
        here, there = np.array(corpus.dictionary(source, target)).T
        x, y = rows[here].astype(np.float64), rows[there].astype(np.float64)
        found.append(retrieval(x, y, y.mean(axis=0) - x.mean(axis=0)))
    return float(np.mean(found))


def _mean(reading: Reading, corpus: Corpus) -> Float[Array, "layers H"]:
    vectors, counts = sentence_vectors(reading, corpus.shared_ids)
    return vectors[:, counts > 0].mean(axis=1)


def _lengths(reading: Reading) -> Integer[Array, " N"]:
    return np.bincount(reading.sentence, minlength=reading.sentences)
