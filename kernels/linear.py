"""Affine map, by torch: the twin of `minirembert/ops/linear.py`, which has the formulas.

Matrix products are what vendors' libraries are best at; a product of our own would only be slower. In half precision they
multiply the inputs as they are and add in float32. float32 stays float32: TF32 only where torch was asked for it
(`torch.set_float32_matmul_precision`). All arrays are of one dtype, since a matrix product takes no two.

Not here: a fused activation; see `activations.bias_gelu`.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kernels._launch import launcher, require, require_saved
from minirembert.ops.linear import LinearSaved


@launcher
def linear(
    x: Float[Tensor, "*batch I"], weight: Float[Tensor, "O I"], bias: Float[Tensor, " O"] | None = None
) -> tuple[Float[Tensor, "*batch O"], LinearSaved]:
    """x W^T + b. Raises ValueError for shapes that do not fit, TypeError unless all arrays have the dtype of x."""
    out = tuple(getattr(weight, "shape", ()))[:1]
    require("linear", "weight", weight, (*out, *x.shape[-1:]), x.dtype)
    if bias is not None:
        require("linear", "bias", bias, out, x.dtype)
    # 1. one product over all rows
    # 2. the bias, in the same call: it is added before the sum is rounded to half precision
    y = F.linear(x.reshape(-1, x.shape[-1]), weight, bias)
    return y.reshape(*x.shape[:-1], weight.shape[0]), LinearSaved(x, weight, bias is not None)


@launcher
def linear_backward(
    dy: Float[Tensor, "*batch O"], saved: LinearSaved
) -> tuple[Float[Tensor, "*batch I"], Float[Tensor, "O I"], Float[Tensor, " O"] | None]:
    """dx, dweight, dbias (None where the forward pass had no bias).

    Raises TypeError unless linear saved `saved` and dy is of its dtype, ValueError unless dy has the shape of y.
    """
    require_saved("linear_backward", saved, LinearSaved)
    x, weight, has_bias = saved
    require("linear_backward", "dy", dy, (*x.shape[:-1], weight.shape[0]), x.dtype)
    dy_rows = dy.reshape(-1, dy.shape[-1])
    dx = torch.matmul(dy_rows, weight).reshape(x.shape)
    dweight = torch.matmul(dy_rows.T, x.reshape(-1, x.shape[-1]))
    dbias = dy_rows.sum(dim=0) if has_bias else None
    return dx, dweight, dbias
