"""Softmax over the last axis.

    y_i  = exp(x_i - m) / sum_j exp(x_j - m)          m = max_j x_j, so that no exponential overflows
    dx_i = y_i (dy_i - sum_j dy_j y_j)

A row that is -inf throughout has nothing to compare; it is defined as uniform, which is also the limit of a finite mask
(`finfo.min` added everywhere), the way Hugging Face masks. Not here: masks, scales, dropout. `attention.py` has those.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from minirembert.ops.array import Array


class SoftmaxSaved(NamedTuple):
    """What `softmax_backward` needs: not x, only y."""

    y: Float[Array, "*batch C"]


def softmax(x: Float[Array, "*batch C"]) -> tuple[Float[Array, "*batch C"], SoftmaxSaved]:
    """Probabilities along the last axis."""
    # 1. row maximum; 0 where the whole row is -inf, since -inf - (-inf) is NaN
    m = x.max(axis=-1, keepdims=True)
    empty = m == -np.inf
    # 2. exponentials of the differences
    y = np.subtract(x, np.where(empty, 0, m), order="C")  # C: NumPy adds contiguous rows pairwise, others one by one
    np.exp(y, out=y)
    y += empty  # an empty row counts every entry once
    # 3. divide by the row sum
    y /= y.sum(axis=-1, keepdims=True)
    return y, SoftmaxSaved(y)


def softmax_backward(dy: Float[Array, "*batch C"], saved: SoftmaxSaved) -> tuple[Float[Array, "*batch C"]]:
    """dx."""
    # 1. delta: how much the row as a whole would gain
    dx = dy * saved.y
    delta = dx.sum(axis=-1, keepdims=True)
    # 2. each entry's share beyond that
    dx -= saved.y * delta
    return (dx,)
