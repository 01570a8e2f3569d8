"""Dropout (Srivastava et al. 2014), inverted: what is kept is scaled up, so that nothing changes at inference.

    y  = x  * keep / (1 - p)        keep_i = 1 with probability 1 - p, decided by (seed, i) alone
    dy -> dx = dy * keep / (1 - p)

The mask is drawn again in the backward pass (see `random.py`), never stored. RemBERT pre-trains with p = 0 and the model
then skips the op; fine-tuning uses p = 0.1 in front of the classifier.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from minirembert.ops.array import Array, Number, Whole
from minirembert.ops.random import check_drop_prob, check_seed, keep_mask


class DropoutSaved(NamedTuple):
    """What `dropout_backward` draws the same mask from."""

    drop_prob: float
    seed: int


def dropout(x: Float[Array, "*shape"], drop_prob: Number, seed: Whole) -> tuple[Float[Array, "*shape"], DropoutSaved]:
    """x with a share `drop_prob` of its elements zeroed, and the others multiplied by 1 / (1 - drop_prob).

    Raises ValueError unless 0 <= drop_prob < 1 and for a seed of more than 64 bits, TypeError for a probability that is not
    a number and for a seed that is not an integer.
    """
    drop_prob, seed = check_drop_prob(drop_prob), check_seed(seed)
    y = np.asarray(x * keep_mask(x.shape, drop_prob, seed).astype(x.dtype, copy=False))  # a () product is a scalar
    return y, DropoutSaved(drop_prob, seed)


def dropout_backward(dy: Float[Array, "*shape"], saved: DropoutSaved) -> tuple[Float[Array, "*shape"]]:
    """dx."""
    return (np.asarray(dy * keep_mask(dy.shape, saved.drop_prob, saved.seed).astype(dy.dtype, copy=False)),)
