"""Dropout (Srivastava et al. 2014), inverted: what is kept is scaled up, so that nothing changes at inference.

    y  = x  * keep / (1 - p)        keep_i = 1 with probability 1 - p, decided by (seed, i) alone
    dy -> dx = dy * keep / (1 - p)

The mask is drawn again in the backward pass (see `random.py`), never stored. RemBERT pre-trains with p = 0 and the model
then skips the op; fine-tuning uses p = 0.1 in front of the classifier.
"""

from typing import NamedTuple

from jaxtyping import Float

from minirembert.ops.array import Array
from minirembert.ops.random import check_drop_prob, keep_mask


class DropoutSaved(NamedTuple):
    drop_prob: float
    seed: int


def dropout(x: Float[Array, "*shape"], drop_prob: float, seed: int) -> tuple[Float[Array, "*shape"], DropoutSaved]:
    """x with a share `drop_prob` of its elements zeroed. Raises ValueError unless 0 <= drop_prob < 1."""
    check_drop_prob(drop_prob)
    y = x * keep_mask(x.shape, drop_prob, seed).astype(x.dtype, copy=False)
    return y, DropoutSaved(drop_prob, seed)


def dropout_backward(dy: Float[Array, "*shape"], saved: DropoutSaved) -> tuple[Float[Array, "*shape"]]:
    """dx."""
    return (dy * keep_mask(dy.shape, saved.drop_prob, saved.seed).astype(dy.dtype, copy=False),)
