"""What is done to the scores of the next token before one is chosen: (N, V) float64, -inf for a token out of the question.

Sampling changes them in this order: temperature, then top-k, then top-p.
"""

import numpy as np

from minirembert.generation.settings import Plan
from minirembert.ops.array import Array


def log_softmax(logits: Array) -> Array:
    """Log-probabilities along each row, (N, V) -> (N, V)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def adjusted(scores: Array, sequences: Array, padding: Array, plan: Plan) -> Array:
    """The scores after `sequences` (N, t): with the repetition penalty, and without an eos while they are too short.

    `padding` (N,): how many tokens on the left of each sequence are padding.
    """
    scores = penalise_repetition(scores, sequences, padding, plan.settings.repetition_penalty)
    if sequences.shape[1] < plan.min_length:
        scores[:, plan.eos] = -np.inf
    return scores


def penalise_repetition(scores: Array, sequences: Array, padding: Array, penalty: float) -> Array:
    """The score of each token that a sequence has: divided by the penalty if positive, multiplied if negative.

    Keskar et al. 2019, "CTRL", section 4.1; they divide only, which makes what is negative likelier.
    """
    scores = scores.copy()
    if penalty != 1:
        for row, ids, padded in zip(scores, sequences, padding, strict=True):
            seen = np.unique(ids[padded:])
            row[seen] = np.where(row[seen] < 0, row[seen] * penalty, row[seen] / penalty)
    return scores


def tempered(scores: Array, temperature: float) -> Array:
    """Divided by the temperature, relative to the highest of each row: a tiny one then makes the others -inf at worst."""
    with np.errstate(over="ignore"):
        return (scores - scores.max(axis=1, keepdims=True)) / temperature


def only_top_k(scores: Array, k: int) -> Array:
    """The k highest scores of each row, and what equals the last of them; k = 0: all. Fan et al. 2018."""
    if k == 0 or k >= scores.shape[1]:
        return scores
    kth = np.partition(scores, -k, axis=1)[:, -k, None]
    return np.where(scores < kth, -np.inf, scores)


def only_top_p(scores: Array, p: float) -> Array:
    """The fewest tokens of each row whose probabilities add up to p ("nucleus sampling", Holtzman et al. 2020, section 3.1).

    Among equally likely tokens those with the lower ids are kept.
    """
    if p == 1:
        return scores
    order = np.argsort(-scores, axis=1, kind="stable")  # most likely first
    ordered = np.take_along_axis(scores, order, axis=1)
    probabilities = np.exp(log_softmax(ordered))
    before = np.cumsum(probabilities, axis=1) - probabilities
    kept = np.empty_like(scores)
    np.put_along_axis(kept, order, np.where(before < p, ordered, -np.inf), axis=1)
    return kept


def draw(scores: Array, generators: list[np.random.Generator]) -> Array:
    """One token a row, (N,), with probabilities softmax(scores), from the row's own generator."""
    # the token in whose stretch of the summed probabilities a random point lies; a probability of 0 has no stretch
    sums = np.cumsum(np.exp(log_softmax(scores)), axis=1)
    points = [generator.random() * row[-1] for generator, row in zip(generators, sums, strict=True)]
    return np.array([np.searchsorted(row, point, side="right") for row, point in zip(sums, points, strict=True)])
