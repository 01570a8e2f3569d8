"""Linear classifiers on word states, learned in the first language and asked in the others, layer by layer."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from minirembert.corpus import CONCEPTS, Token
from minirembert.lab.readings import Reading
from minirembert.lab.world import Corpus
from minirembert.ops.array import Array

PENALTY = (
    1e-3  # of features with variance 1: small beside them, and states of a narrow embedding have directions with none
)


class Classifier(NamedTuple):
    """Scores are x @ weight + bias; the largest is the answer."""

    weight: Float[Array, "H C"]
    bias: Float[Array, " C"]

    def __call__(self, x: Float[Array, "N H"]) -> Integer[Array, " N"]:
        """The class of each row of x, from scores in float64."""
        return (x.astype(np.float64) @ self.weight + self.bias).argmax(axis=1)


def ridge_classifier(x: Float[Array, "N H"], labels: Integer[Array, " N"], classes: int) -> Classifier:
    """The least-squares fit to one-hot labels, in closed form and float64.

    With z the features at mean 0 and variance 1, it

        minimises  mean over rows of |onehot(label) - z W - b|^2  +  PENALTY |W|^2

    Raises ValueError without rows.
    """
    if not len(x):
        raise ValueError("a classifier needs examples, got none")
    x = x.astype(np.float64)
    mean, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    z = (x - mean) / spread
    y = np.eye(classes)[labels]
    weight = np.linalg.solve(z.T @ z + PENALTY * len(z) * np.eye(z.shape[1]), z.T @ y)
    weight = weight / spread[:, None]
    return Classifier(weight, y.mean(axis=0) - mean @ weight)


def role_of(token: Token) -> str | None:
    """The part of its sentence that a word belongs to: subject, verb, object, place, ..."""
    return token.role


def class_of(token: Token) -> str | None:
    """The class of a noun: animal, dish, tool, ...; None for any other word."""
    concept = CONCEPTS.get(token.concept or "")
    return concept.noun_class if concept is not None and concept.kind == "noun" else None


PROBES: dict[str, Callable[[Token], str | None]] = {"role": role_of, "noun_class": class_of}


def zero_shot_by_layer(fitted: Reading, scored: Mapping[str, Reading], corpus: Corpus) -> dict[str, dict[str, Any]]:
    """For each of PROBES, accuracies by layer.

    The first two have L + 1 numbers, the others one:

        in_language   in the first language, on meanings that the classifier has not seen
        transfer      in the other languages, on average; None where there is no other
        majority      of always giving the answer that is most frequent in `fitted`, in all languages of `scored` on average
        classes       how many answers there are

    `fitted` is a reading of the first language, `scored` one of each language, the first one first, of other meanings.
    Shared words count nowhere. The classifier knows the words of its own language: `in_language` may be a lookup of words,
    `transfer` cannot.
    """
    own, *others = scored
    found = {}
    for name, label_of in PROBES.items():
        rows, answers = _labelled(fitted, label_of, corpus)
        kinds, labels = np.unique(answers, return_inverse=True)
        majority = kinds[np.bincount(labels).argmax()]
        questions = {language: _labelled(reading, label_of, corpus) for language, reading in scored.items()}
        right: dict[str, list[float]] = {language: [] for language in scored}
        for layer in range(len(fitted.states)):
            classify = ridge_classifier(fitted.states[layer, rows], labels, len(kinds))
            for language, (asked, true) in questions.items():
                given = kinds[classify(scored[language].states[layer, asked])]
                right[language].append(float((given == true).mean()))
        found[name] = {
            "in_language": right[own],
            "transfer": np.mean([right[language] for language in others], axis=0).tolist() if others else None,
            "majority": float(np.mean([(true == majority).mean() for _, true in questions.values()])),
            "classes": len(kinds),
        }
    return found


def _labelled(reading: Reading, label_of: Callable[[Token], str | None], corpus: Corpus) -> tuple[Array, Array]:
    """The rows of the words that have a label and belong to one language alone; and their labels."""
    labels = [label_of(token) for token in reading.tokens]
    counted = ~np.isin(reading.ids, list(corpus.shared_ids)) & np.array([label is not None for label in labels])
    rows = np.flatnonzero(counted)
    if not len(rows):
        raise ValueError("there is no word with a label that languages do not share")
    return rows, np.array([labels[row] for row in rows])
