"""Losses, by torch: the twin of `minirembert/ops/losses.py`, which has the formulas.

In half precision the logits are widened as they are read: losses come out in float32, gradients in the dtype of the
logits. No step forward or backward waits for the GPU: which rows are labelled stays a mask, since picking them
would ask how many there are. Labels are checked on the host: NumPy arrays before they travel, while those that lie on the GPU
already must be fetched.

The gradient dy of a loss may be a number as well as an array of shape (); what comes back is of the logits' kind.
Not here: class weights, label smoothing, sums instead of means; logits that are too large to be stored.
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from kernels._launch import integers, launcher, on_host, require, require_saved, statistics_dtype
from minirembert.ops.losses import IGNORE_INDEX, CrossEntropySaved, PairSaved, check_labels
from minirembert.scalars import as_integer


@launcher
def cross_entropy(
    logits: Float[Tensor, "N C"], labels: Integer[Tensor, " N"], ignore_index: int = IGNORE_INDEX
) -> tuple[Float[Tensor, ""], CrossEntropySaved]:
    """Mean negative log-likelihood in nats. Labels may be a list.

    Raises IndexError for a label outside [0, C) that is not `ignore_index`, TypeError for labels that are not integers,
    ValueError unless there is one for each row of logits.
    """
    if logits.ndim != 2:
        raise ValueError(f"cross_entropy: logits has shape {tuple(logits.shape)}, expected (N, C)")
    ignore_index = as_integer("ignore_index", ignore_index)
    labels = integers("cross_entropy", "labels", labels, len(logits))
    check_labels(on_host(labels), logits.shape[-1], ignore_index)
    labels = labels.to(logits.device)
    labelled, column = _labelled(labels, ignore_index)
    # 1. row maximum
    m = logits.amax(dim=-1, keepdim=True).to(statistics_dtype(logits))
    # 2. log of the sum of exponentials
    p = (logits - m).exp_()
    lse = m[:, 0] + p.sum(dim=-1).log_()
    # 3. its distance to the label's logit, averaged over the labelled rows: 0 / 0 where there is none
    losses = (lse - logits.gather(1, column)[:, 0]).masked_fill_(~labelled, 0)
    loss = losses.sum() / labelled.sum()
    return loss, CrossEntropySaved(logits, labels, ignore_index, lse)


def cross_entropy_backward(dy: Float[Tensor, ""] | float, saved: CrossEntropySaved) -> tuple[Float[Tensor, "N C"]]:
    """dlogits."""
    require_saved("cross_entropy_backward", saved, CrossEntropySaved)
    return _cross_entropy_backward(saved.logits, saved, _number("cross_entropy_backward", dy))


@launcher
def _cross_entropy_backward(
    logits: Float[Tensor, "N C"], saved: CrossEntropySaved, dy: Float[Tensor, ""] | float
) -> tuple[Float[Tensor, "N C"]]:
    labelled, column = _labelled(saved.labels, saved.ignore_index)
    # 1. probabilities
    dlogits = (logits - saved.lse[:, None]).exp_()
    # 2. minus one at the label
    dlogits.scatter_(1, column, dlogits.gather(1, column) - 1)
    # 3. the mean; ignored rows get nothing
    dlogits *= dy / labelled.sum(dtype=dlogits.dtype).clamp_(min=1)
    dlogits.masked_fill_(~labelled[:, None], 0)
    return (dlogits.to(logits.dtype),)


def _labelled(labels: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Which rows count; and the column of each row's label, 0 where there is none."""
    labelled = labels != ignore_index
    return labelled, labels.long().masked_fill(~labelled, 0)[:, None]


@launcher
def mse(x: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]) -> tuple[Float[Tensor, ""], PairSaved]:
    """Mean squared error. Raises ValueError unless both have the same shape, TypeError for targets that are not floats."""
    _check_target("mse", x, target)
    difference = _widened(x) - _like(x, target)
    return (difference * difference).mean(), PairSaved(x, target)


def mse_backward(dy: Float[Tensor, ""] | float, saved: PairSaved) -> tuple[Float[Tensor, "*shape"]]:
    """dx."""
    require_saved("mse_backward", saved, PairSaved)
    return _mse_backward(saved.x, saved, _number("mse_backward", dy))


@launcher
def _mse_backward(
    x: Float[Tensor, "*shape"], saved: PairSaved, dy: Float[Tensor, ""] | float
) -> tuple[Float[Tensor, "*shape"]]:
    return (((_widened(x) - _like(x, saved.target)) * (2 * dy / max(1, x.numel()))).to(x.dtype),)


@launcher
def bce_with_logits(x: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]) -> tuple[Float[Tensor, ""], PairSaved]:
    """Mean binary cross-entropy of the probabilities sigmoid(x). Raises as `mse` does."""
    _check_target("bce_with_logits", x, target)
    wide = _widened(x)
    return (torch.logaddexp(wide, wide.new_zeros(())) - _like(x, target) * wide).mean(), PairSaved(x, target)


def bce_with_logits_backward(dy: Float[Tensor, ""] | float, saved: PairSaved) -> tuple[Float[Tensor, "*shape"]]:
    """dx."""
    require_saved("bce_with_logits_backward", saved, PairSaved)
    return _bce_with_logits_backward(saved.x, saved, _number("bce_with_logits_backward", dy))


@launcher
def _bce_with_logits_backward(
    x: Float[Tensor, "*shape"], saved: PairSaved, dy: Float[Tensor, ""] | float
) -> tuple[Float[Tensor, "*shape"]]:
    probability = _widened(x).sigmoid()
    return (((probability - _like(x, saved.target)) * (dy / max(1, x.numel()))).to(x.dtype),)


def _check_target(op: str, x: Tensor, target: Tensor) -> None:
    if x.shape != getattr(target, "shape", x.shape):
        raise ValueError(f"{op}: predictions have shape {tuple(x.shape)}, targets {tuple(target.shape)}")
    require(op, "target", target, x.shape)


def _like(x: Tensor, target: Tensor) -> Tensor:
    """Targets in the dtype that the loss is computed in: wider ones would widen it."""
    return target.to(statistics_dtype(x))


def _widened(x: Tensor) -> Tensor:
    return x.to(statistics_dtype(x))


def _number(op: str, dy: Any) -> Tensor | float:
    """dy ready to multiply with: a tensor stays on its device, anything else of one number becomes a float."""
    shape = tuple(getattr(dy, "shape", ()))
    if math.prod(shape) != 1:
        raise ValueError(f"{op}: dy has shape {shape}, expected one number")
    return dy.reshape(()) if isinstance(dy, Tensor) else float(np.reshape(dy, ()))
