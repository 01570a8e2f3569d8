"""The two sides of a model, input and output embedding: what their rows know, how the gradient reaches them, and the rank of
the logits.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from minirembert.lab.geometry import linear_cka, ranks_of_logits, spearman, unit
from minirembert.lab.model import INPUT_EMBEDDING, OUTPUT_EMBEDDING, LabModel
from minirembert.lab.readings import BATCH, Reading, framed
from minirembert.lab.retrieval import word_translation
from minirembert.lab.world import Corpus
from minirembert.lab.zero_shot import class_of
from minirembert.model.forward_pass import ForwardPass, Parameters
from minirembert.ops import OPS
from minirembert.ops.array import Array
from minirembert.tape import Forward

CONTEXTS = 800  # at most, of all languages together: more than a lab model's vocabulary or output embedding
CHANCE_ORDERS = 10  # of a matrix's rows


def untied(model: LabModel) -> LabModel:
    """The same function with an output embedding of its own, which is a copy of the input embedding if `model` is tied.

    The other parameters are `model`'s, not copies of them.
    """
    if not model.sizes.tied:
        return model
    twin = copy(model)
    twin.sizes = replace(model.sizes, tied=False)
    twin.parameters = {**model.parameters, OUTPUT_EMBEDDING: model.parameters[INPUT_EMBEDDING] * 1}
    return twin


def side_gradients(model: LabModel, batch: Mapping[str, Any]) -> tuple[float, float]:
    """The Euclidean norms of the gradients that reach the embedding through reading the words, and through scoring them.

    `batch`: arguments of the model by name, with labels. In a tied model both go to one matrix, whose gradient is the sum
    of the two (as matrices, not as norms).
    """
    _, gradients = untied(model).loss_and_gradients(**batch)
    norm = model.backend.norm
    return norm([gradients[INPUT_EMBEDDING]]), norm([gradients[OUTPUT_EMBEDDING]])


def embeddings(model: LabModel, corpus: Corpus, readings: Mapping[str, Reading]) -> dict[str, Any]:
    """What the rows of the `input` and of the `output` embedding know; in a tied model both are one matrix.

        dot, cosine    how well these of two nouns tell whether they are of one class: see `relations`, mean over languages
        translation    P@1 of the gold dictionary; None on the real track and in a world of one language

    and, between the two matrices, `cka` and the `cka_chance` of rows in another order (the mean of CHANCE_ORDERS orders).
    The rows are those of words, not of the special pieces.
    """
    both = untied(model).parameters
    matrices = {
        side: model.backend.numpy(both[name]).astype(np.float64)
        for side, name in (("input", INPUT_EMBEDDING), ("output", OUTPUT_EMBEDDING))
    }
    nouns = [classes_of_nouns(reading) for reading in readings.values()]
    has_dictionary = corpus.world.track == "lab" and corpus.world.languages > 1
    found: dict[str, Any] = {
        side: {
            **{name: float(np.mean([relations(matrix, own)[name] for own in nouns])) for name in ("dot", "cosine")},
            "translation": word_translation(matrix, corpus) if has_dictionary else None,
        }
        for side, matrix in matrices.items()
    }
    reads, scores = (np.delete(matrix, corpus.pieces.all_special_ids, axis=0) for matrix in matrices.values())
    rng = np.random.default_rng(corpus.seed)
    by_chance = [linear_cka(reads, rng.permutation(scores)) for _ in range(CHANCE_ORDERS)]
    return found | {"cka": linear_cka(reads, scores), "cka_chance": float(np.mean(by_chance))}


def classes_of_nouns(reading: Reading) -> dict[int, str]:
    """The ids of the nouns in a reading, and their classes. A word for nouns of two classes is left out."""
    found: dict[int, set[str]] = {}
    for id, token in zip(reading.ids.tolist(), reading.tokens, strict=True):
        if (noun_class := class_of(token)) is not None:
            found.setdefault(id, set()).add(noun_class)
    return {id: classes.pop() for id, classes in sorted(found.items()) if len(classes) == 1}


def relations(rows: Float[Array, "V E"], classes: Mapping[int, str]) -> dict[str, float]:
    """Spearman's correlation, over all pairs of nouns, of their rows' dot product (or cosine) with being of one class.

    The paper's Table 8 with the generator's classes in place of people's judgements. `classes`: of each noun's id. Since
    one of the two only says yes or no, the best possible value is below 1. Raises ValueError where all pairs are alike.
    """
    x = rows[list(classes)].astype(np.float64)
    names = np.array(list(classes.values()))
    pairs = np.triu_indices(len(names), k=1)
    related = (names[:, None] == names)[pairs].astype(np.float64)
    return {name: spearman((y @ y.T)[pairs], related) for name, y in (("dot", x), ("cosine", unit(x)))}


def logit_rank(model: LabModel, corpus: Corpus, contexts: int = CONTEXTS) -> dict[str, float]:
    """The rank of the logits (`ranks_of_logits`) at masked words of test sentences, and how many `contexts` there were.

    One word is masked in each sentence, in the first test meanings of every language. The head computes in float64, so that
    the numerical rank is the head's and not that of rounding.
    """
    x = np.concatenate([masked_states(model, corpus, name, contexts) for name in corpus.world.language_names])
    parameters = {name: model.backend.numpy(array).astype(np.float64) for name, array in model.parameters.items()}
    logits = model.score(ForwardPass(Forward(OPS), model.config), Parameters(parameters), x.astype(np.float64))
    return {**ranks_of_logits(logits), "contexts": len(logits)}


def masked_states(model: LabModel, corpus: Corpus, language: str, contexts: int) -> Float[Array, "N H"]:
    """The last states of one masked word in each of a language's first test sentences: its share of the contexts."""
    share = max(1, contexts // corpus.world.languages)
    lines = corpus.encode(corpus.test[:share], language)
    rng = np.random.default_rng([corpus.seed, len(lines)])
    states = []
    for start in range(0, len(lines), BATCH):
        ids, words = framed(corpus, lines[start : start + BATCH])
        batch = np.arange(len(ids))
        place = 1 + rng.integers(words.sum(axis=1))
        mask = ids != corpus.pieces.pad_token_id
        ids[batch, place] = corpus.pieces.mask_token_id
        output = model.encode(ForwardPass(Forward(model.ops), model.config), input_ids=ids, attention_mask=mask)
        states.append(model.backend.numpy(output.last_hidden_state)[batch, place])
    return np.concatenate(states)
