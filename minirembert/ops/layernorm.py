"""Layer normalisation (Ba, Kiros, Hinton 2016), alone and fused with the residual sum before it.

    mean = 1/H sum_j x_j       var = 1/H sum_j (x_j - mean)^2        the biased variance, eps inside the root
    rstd = 1 / sqrt(var + eps)
    xhat = (x - mean) rstd
    y    = weight xhat + bias

Backward. xhat has mean 0 and variance 1 whatever x was, so a change of x along the row's mean or along xhat itself is
undone by the normalisation; the gradient loses exactly these two components:

    dxhat = dy weight
    dx    = rstd (dxhat - mean_j(dxhat) - xhat mean_j(dxhat xhat))
    dweight = sum over rows of dy xhat       dbias = sum over rows of dy

The variance is taken in two steps (first the mean, then the squared distances): E[x^2] - mean^2 cancels when the mean is
large. RemBERT's eps is 1e-12: a constant row divides rounding noise by 1e-6, so two correct float32 programs may differ
by more than 1 there.
Not here: running statistics, RMS norm, any axis but the last.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from minirembert.ops.array import Array, Number
from minirembert.scalars import as_number


class LayerNormSaved(NamedTuple):
    """What `layer_norm_backward` and `residual_layer_norm_backward` need."""

    x: Float[Array, "*batch H"]  # what was normalised: the sum, where a residual was added
    weight: Float[Array, " H"]
    mean: Float[Array, "*batch"]
    rstd: Float[Array, "*batch"]


def layer_norm(
    x: Float[Array, "*batch H"], weight: Float[Array, " H"], bias: Float[Array, " H"], eps: Number
) -> tuple[Float[Array, "*batch H"], LayerNormSaved]:
    """Rows of zero mean and unit variance, scaled by `weight` and shifted by `bias`.

    Raises TypeError for an `eps` that is not a number.
    """
    eps = as_number("eps", eps)  # NumPy's own would widen float32
    # 1. mean
    mean = x.mean(axis=-1, keepdims=True)
    # 2. centre
    y = x - mean
    # 3. variance of the centred row; vecdot is one read, (y * y).mean() would be a write and two reads
    var = np.vecdot(y, y)[..., None] / x.shape[-1]
    rstd = 1 / np.sqrt(var + eps)
    # 4. scale to unit variance
    y *= rstd
    # 5. affine
    y *= weight
    y += bias
    return y, LayerNormSaved(x, weight, mean[..., 0], rstd[..., 0])


def layer_norm_backward(
    dy: Float[Array, "*batch H"], saved: LayerNormSaved
) -> tuple[Float[Array, "*batch H"], Float[Array, " H"], Float[Array, " H"]]:
    """dx, dweight, dbias."""
    x, weight, mean, rstd = saved
    # 1. the normalised row again
    xhat = x - mean[..., None]
    xhat *= rstd[..., None]
    # 2. affine parameters: sums over all rows
    rows = (-1, x.shape[-1])
    dweight = (dy * xhat).reshape(rows).sum(axis=0)
    dbias = dy.reshape(rows).sum(axis=0)
    # 3. through the affine map
    dx = np.multiply(dy, weight, dtype=x.dtype)
    # 4. take out the component along the mean and the one along xhat
    along_mean = dx.mean(axis=-1, keepdims=True)
    along_xhat = np.vecdot(dx, xhat)[..., None] / x.shape[-1]
    dx -= along_mean
    xhat *= along_xhat
    dx -= xhat
    # 5. through the division by the standard deviation
    dx *= rstd[..., None]
    return dx, dweight, dbias


def residual_layer_norm(
    x: Float[Array, "*batch H"],
    residual: Float[Array, "*batch H"],
    weight: Float[Array, " H"],
    bias: Float[Array, " H"],
    eps: Number,
) -> tuple[Float[Array, "*batch H"], LayerNormSaved]:
    """`layer_norm(x + residual)`: the end of each half of a post-LN block."""
    return layer_norm(x + residual, weight, bias, eps)


def residual_layer_norm_backward(
    dy: Float[Array, "*batch H"], saved: LayerNormSaved
) -> tuple[Float[Array, "*batch H"], Float[Array, "*batch H"], Float[Array, " H"], Float[Array, " H"]]:
    """dx, dresidual, dweight, dbias. A sum hands the same gradient to both its terms."""
    dx, dweight, dbias = layer_norm_backward(dy, saved)
    return dx, dx.copy(), dweight, dbias
