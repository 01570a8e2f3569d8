"""Affine map.

    y  = x W^T + b              W is stored (out, in), as in PyTorch and in the checkpoints
    dx = dy W
    dW = dy^T x                 summed over every leading axis
    db = sum of dy

The leading axes are flattened first: NumPy multiplies (B, S, H) by (H, O) as B small products, (B S, H) by (H, O) as one
large one, and one large product is what a BLAS is fast at.
"""

from typing import NamedTuple

from jaxtyping import Float

from minirembert.ops.array import Array


class LinearSaved(NamedTuple):
    """What `linear_backward` needs; I features come in, O go out."""

    x: Float[Array, "*batch I"]
    weight: Float[Array, "O I"]
    has_bias: bool


def linear(
    x: Float[Array, "*batch I"], weight: Float[Array, "O I"], bias: Float[Array, " O"] | None = None
) -> tuple[Float[Array, "*batch O"], LinearSaved]:
    """x W^T + b."""
    # 1. one product over all rows
    y = x.reshape(-1, x.shape[-1]) @ weight.T
    # 2. the bias, in place: y is ours
    if bias is not None:
        y += bias
    return y.reshape(*x.shape[:-1], weight.shape[0]), LinearSaved(x, weight, bias is not None)


def linear_backward(
    dy: Float[Array, "*batch O"], saved: LinearSaved
) -> tuple[Float[Array, "*batch I"], Float[Array, "O I"], Float[Array, " O"] | None]:
    """dx, dweight, dbias (None where the forward pass had no bias)."""
    x, weight, has_bias = saved
    dy_rows = dy.reshape(-1, dy.shape[-1])
    dx = (dy_rows @ weight).reshape(x.shape)
    dweight = dy_rows.T @ x.reshape(-1, x.shape[-1])
    dbias = dy_rows.sum(axis=0) if has_bias else None
    return dx, dweight, dbias
