"""Losses: each a mean, returned as an array of shape ().

    cross_entropy   mean over labelled rows of  lse(logits) - logits[label]        d = (softmax - onehot) / count
    mse             mean of (x - target)^2                                         d = 2 (x - target) / count
    bce_with_logits mean of log(1 + e^x) - target x                                d = (sigmoid(x) - target) / count

dy is taken as a number, and everything else in the dtype of the predictions.
With no labelled row the mean is over nothing: the loss is NaN and the gradient zero, as in PyTorch.
Not here: class weights, label smoothing, sums instead of means.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from minirembert.ops.array import Array, Whole
from minirembert.scalars import as_integer

IGNORE_INDEX = -100


class CrossEntropySaved(NamedTuple):
    """What `cross_entropy_backward` needs; the softmax follows from the logits and lse."""

    logits: Float[Array, "N C"]
    labels: Integer[Array, " N"]
    ignore_index: int
    lse: Float[Array, " N"]


def cross_entropy(
    logits: Float[Array, "N C"], labels: Integer[Array, " N"], ignore_index: Whole = IGNORE_INDEX
) -> tuple[Float[Array, ""], CrossEntropySaved]:
    """Mean negative log-likelihood in nats. Raises IndexError for a label outside [0, C) that is not `ignore_index`."""
    ignore_index = as_integer("ignore_index", ignore_index)
    check_labels(labels, logits.shape[-1], ignore_index)
    # 1. row maximum
    m = logits.max(axis=-1, keepdims=True)
    # 2. log of the sum of exponentials
    p = logits - m
    np.exp(p, out=p)
    lse = m[:, 0] + np.log(p.sum(axis=-1))
    # 3. its distance to the label's logit, averaged over the labelled rows
    rows = np.flatnonzero(labels != ignore_index)
    losses = lse[rows] - logits[rows, labels[rows]]
    return _mean(losses), CrossEntropySaved(logits, labels, ignore_index, lse)


def cross_entropy_backward(dy: Float[Array, ""], saved: CrossEntropySaved) -> tuple[Float[Array, "N C"]]:
    """dlogits."""
    logits, labels, ignore_index, lse = saved
    rows = np.flatnonzero(labels != ignore_index)
    # 1. probabilities
    dlogits = logits - lse[:, None]
    np.exp(dlogits, out=dlogits)
    # 2. minus one at the label
    dlogits[rows, labels[rows]] -= 1
    # 3. the mean; ignored rows get nothing
    dlogits *= float(dy) / max(1, len(rows))
    dlogits[labels == ignore_index] = 0
    return (dlogits,)


def check_labels(labels: Integer[Array, " N"], classes: int, ignore_index: int) -> None:
    """Raises IndexError for a label outside [0, classes) that is not `ignore_index`."""
    outside = (labels != ignore_index) & ((labels < 0) | (labels >= classes))
    if outside.any():
        row = int(np.argmax(outside))
        raise IndexError(
            f"Target {int(labels[row])} is out of bounds in row {row}: "
            f"labels are 0 to {classes - 1}, or {ignore_index} to be ignored"
        )


class PairSaved(NamedTuple):
    """What `mse_backward` and `bce_with_logits_backward` need."""

    x: Float[Array, "*shape"]
    target: Float[Array, "*shape"]


def mse(x: Float[Array, "*shape"], target: Float[Array, "*shape"]) -> tuple[Float[Array, ""], PairSaved]:
    """Mean squared error. Raises ValueError unless both have the same shape."""
    _same_shape("mse", x, target)
    difference = x - _like(x, target)
    return _mean(difference * difference), PairSaved(x, target)


def mse_backward(dy: Float[Array, ""], saved: PairSaved) -> tuple[Float[Array, "*shape"]]:
    """dx."""
    x, target = saved
    return (np.asarray((x - _like(x, target)) * (2 * float(dy) / max(1, x.size))),)


def bce_with_logits(x: Float[Array, "*shape"], target: Float[Array, "*shape"]) -> tuple[Float[Array, ""], PairSaved]:
    """Mean binary cross-entropy of the probabilities sigmoid(x). Raises ValueError unless the shapes are equal."""
    _same_shape("bce_with_logits", x, target)
    return _mean(np.logaddexp(0, x, dtype=x.dtype) - _like(x, target) * x), PairSaved(x, target)


def bce_with_logits_backward(dy: Float[Array, ""], saved: PairSaved) -> tuple[Float[Array, "*shape"]]:
    """dx."""
    x, target = saved
    probability = 0.5 * (1 + np.tanh(0.5 * x))
    return (np.asarray((probability - _like(x, target)) * (float(dy) / max(1, x.size))),)


def _like(x: Array, target: Array) -> Array:
    """Targets in the dtype of the predictions: wider ones would widen the loss and its gradient."""
    return target.astype(x.dtype, copy=False)


def _mean(terms: Array | np.floating) -> Array:
    """The mean as an array of shape (); NaN for no terms, as in PyTorch."""
    return np.asarray(terms.mean() if terms.size else np.nan, terms.dtype)


def _same_shape(op: str, x: Array, target: Array) -> None:
    if x.shape != target.shape:
        raise ValueError(f"{op}: predictions have shape {x.shape}, targets {target.shape}")
