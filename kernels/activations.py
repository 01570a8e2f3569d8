"""Activations in Triton: the twin of `minirembert/ops/activations.py`, which has the formulas of GELU.

Elementwise, so the shape does not matter: a program takes the next BLOCK numbers in memory, y = f(x) or dx = dy f'(x). 2
numbers travel forward, 3 backward. Which f it is comes in as a function of Triton's own, compiled into the kernel.

Most of them let x through a gate, f(x) = x g(x) and f'(x) = g(x) + x g'(x), with a gate made of

    sigmoid(x) = 1 / (1 + e^-x)        sigmoid'(x) = sigmoid(x) (1 - sigmoid(x))        tanh(x) = 2 sigmoid(2 x) - 1

Written with t = e^-|x|, which lies between 0 and 1, none of these overflows. tanh is known to the last place of 1, not of
itself: below 1e-7 in float32 nothing of x is left. Where our NumPy approximates erf, `tl.erf` asks the GPU's own library.

`bias_gelu` works on tiles, since it must know the column of each number; its backward sums what it has seen of each column
for dbias, in two stages (`_column_sums.py`). For each element of x 2 numbers travel forward and 3 backward; adding the bias
in a trip of its own would cost 2 more forward, and summing its gradient 1 more backward. The bias may be of another dtype
than x (float32 beside bfloat16, say); y and dx are of the dtype of x, dbias of the bias's.

Not here: gated units, parametric activations, second derivatives; GELU at the end of the matrix product before it.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from kernels._column_sums import column_sums, parts_for
from kernels._launch import (
    accumulator,
    blocks_of,
    launcher,
    require,
    require_power_of_two,
    require_saved,
    rows_of,
    statistics_dtype,
)
from minirembert.ops.activations import ActivationSaved, BiasGeluSaved

SQRT_HALF = tl.constexpr(math.sqrt(0.5))
SQRT_2_OVER_PI = tl.constexpr(math.sqrt(2 / math.pi))
INV_SQRT_2PI = tl.constexpr(1 / math.sqrt(2 * math.pi))

BLOCK = 2048  # numbers that one program takes
BIAS_COLUMNS = 512  # of which in bias_gelu: the widths of RemBERT's feed-forward nets are multiples of it


# Each activation is a value function and a slope function; `_activation` makes the (forward, backward) pair.


@triton.jit
def _gelu(x):
    return 0.5 * x * (1 + tl.erf(x * SQRT_HALF))


@triton.jit
def _gelu_slope(x):
    cdf = 0.5 * (1 + tl.erf(x * SQRT_HALF))
    density = tl.exp(-0.5 * x * x) * INV_SQRT_2PI
    return cdf + x * density


@triton.jit
def _sigmoid(x):
    t = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1, t) / (1 + t)


@triton.jit
def _sigmoid_slope(x):
    t = tl.exp(-tl.abs(x))
    return t / ((1 + t) * (1 + t))


@triton.jit
def _gelu_new(x):
    return x * _sigmoid((x + 0.044715 * x * x * x) * (2 * SQRT_2_OVER_PI))


@triton.jit
def _gelu_new_slope(x):
    inner = (x + 0.044715 * x * x * x) * (2 * SQRT_2_OVER_PI)
    inner_slope = (1 + 3 * 0.044715 * x * x) * (2 * SQRT_2_OVER_PI)
    return _sigmoid(inner) + x * _sigmoid_slope(inner) * inner_slope


@triton.jit
def _silu(x):
    return x * _sigmoid(x)


@triton.jit
def _silu_slope(x):
    return _sigmoid(x) + x * _sigmoid_slope(x)


@triton.jit
def _quick_gelu(x):
    return x * _sigmoid(1.702 * x)


@triton.jit
def _quick_gelu_slope(x):
    return _sigmoid(1.702 * x) + x * _sigmoid_slope(1.702 * x) * 1.702


@triton.jit
def _relu(x):
    return tl.where(x < 0, 0, x)  # NaN stays NaN


@triton.jit
def _relu_slope(x):
    return tl.where(x > 0, 1, 0)


@triton.jit
def _tanh(x):
    return 2 * _sigmoid(2 * x) - 1


@triton.jit
def _tanh_slope(x):
    return 4 * _sigmoid_slope(2 * x)


@triton.jit
def _mish_gate(x):
    # tanh(log(1 + e^x)) = n / (n + 2) with n = e^x (e^x + 2); for x > 0 both sides times t^2 = e^-2x.
    t = tl.exp(-tl.abs(x))
    n = tl.where(x >= 0, 1 + 2 * t, t * (t + 2))
    return n / (n + tl.where(x >= 0, 2 * t * t, 2))


@triton.jit
def _mish(x):
    return x * _mish_gate(x)


@triton.jit
def _mish_slope(x):
    gate = _mish_gate(x)
    return gate + x * (1 - gate * gate) * _sigmoid(x)


@triton.jit
def activation_kernel(x_ptr, y_ptr, size, VALUE: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr):
    """One program owns BLOCK numbers that lie side by side: y = VALUE(x)."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < size, other=0).to(ACC)
    tl.store(y_ptr + at, VALUE(x).to(y_ptr.dtype.element_ty), mask=at < size)


@triton.jit
def activation_backward_kernel(
    dy_ptr, x_ptr, dx_ptr, size, SLOPE: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr
):
    """One program owns BLOCK numbers that lie side by side: dx = SLOPE(x) dy."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    dy = tl.load(dy_ptr + at, mask=at < size, other=0).to(ACC)
    x = tl.load(x_ptr + at, mask=at < size, other=0).to(ACC)
    tl.store(dx_ptr + at, (SLOPE(x) * dy).to(dx_ptr.dtype.element_ty), mask=at < size)


def _numbers(op: str, block: int | None) -> int:
    """How many numbers a program takes."""
    if block is None:
        return BLOCK
    require_power_of_two(op, "block", block, 16)
    return block


def _activation(
    name: str, value: Any, slope: Any, doc: str
) -> tuple[Callable[..., tuple[Any, ActivationSaved]], Callable[..., tuple[Any]]]:
    def forward(
        x: Float[Tensor, "*shape"], *, block: int | None = None
    ) -> tuple[Float[Tensor, "*shape"], ActivationSaved]:
        numbers = _numbers(name, block)
        y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        activation_kernel[(triton.cdiv(x.numel(), numbers),)](
            x.contiguous(), y, x.numel(), VALUE=value, BLOCK=numbers, ACC=accumulator(x)
        )
        return y, ActivationSaved(x)

    def backward(
        dy: Float[Tensor, "*shape"], saved: ActivationSaved, *, block: int | None = None
    ) -> tuple[Float[Tensor, "*shape"]]:
        require_saved(f"{name}_backward", saved, ActivationSaved)
        x = saved.x
        require(f"{name}_backward", "dy", dy, x.shape)
        numbers = _numbers(f"{name}_backward", block)
        dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        activation_backward_kernel[(triton.cdiv(x.numel(), numbers),)](
            dy.contiguous(), x.contiguous(), dx, x.numel(), SLOPE=slope, BLOCK=numbers, ACC=accumulator(x)
        )
        return (dx,)

    forward.__name__, backward.__name__ = name, f"{name}_backward"
    forward.__doc__ = f"{doc} Elementwise, any shape. `block`: numbers that a program takes, a power of two from 16 up."
    backward.__doc__ = (
        "dx = dy f'(x). Raises TypeError unless an activation saved `saved`, ValueError unless dy has x's shape."
    )
    return launcher(forward), launcher(backward)


gelu, gelu_backward = _activation("gelu", _gelu, _gelu_slope, "x Phi(x), with the exact normal distribution.")
gelu_new, gelu_new_backward = _activation(
    "gelu_new", _gelu_new, _gelu_new_slope, "GELU by its first tanh approximation."
)
quick_gelu, quick_gelu_backward = _activation("quick_gelu", _quick_gelu, _quick_gelu_slope, "x sigmoid(1.702 x).")
relu, relu_backward = _activation("relu", _relu, _relu_slope, "max(x, 0).")
silu, silu_backward = _activation("silu", _silu, _silu_slope, "x sigmoid(x), also known as swish.")
mish, mish_backward = _activation("mish", _mish, _mish_slope, "x tanh(log(1 + e^x)).")
sigmoid, sigmoid_backward = _activation("sigmoid", _sigmoid, _sigmoid_slope, "1 / (1 + e^-x).")
tanh, tanh_backward = _activation("tanh", _tanh, _tanh_slope, "Hyperbolic tangent.")


@triton.jit
def bias_gelu_kernel(
    x_ptr, bias_ptr, y_ptr, rows, width, x_stride, ROWS: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr
):
    """One program owns one block of columns in ROWS rows."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]  # below MOST_BLOCKS x BLOCK: 32 bits
    inside = (row < rows) & (column < width)
    x = tl.load(x_ptr + row * x_stride + column, mask=inside, other=0).to(ACC)
    bias = tl.load(bias_ptr + column, mask=column < width, other=0).to(ACC)
    # 1. the bias
    shifted = x + bias
    # 2. the activation
    y = _gelu(shifted)
    tl.store(y_ptr + row * width + column, y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def bias_gelu_backward_kernel(
    dy_ptr, x_ptr, bias_ptr, dx_ptr, parts_ptr, rows, width, dy_stride, x_stride,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """One program owns one block of columns in every n-th tile of ROWS rows: dx there, and its part of dbias.

    n is the number of programs that share the rows, the grid's first axis.
    """
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
    bias = tl.load(bias_ptr + column, mask=column < width, other=0).to(ACC)
    dbias = tl.zeros([ROWS, BLOCK], ACC)
    for first in range(tl.program_id(0).to(tl.int64) * ROWS, rows, tl.num_programs(0) * ROWS):
        row = (first + tl.arange(0, ROWS)[:, None]).to(tl.int64)  # `first` has 64 bits, but not where it is interpreted
        inside = (row < rows) & (column < width)
        dy = tl.load(dy_ptr + row * dy_stride + column, mask=inside, other=0).to(ACC)
        x = tl.load(x_ptr + row * x_stride + column, mask=inside, other=0).to(ACC)
        # 1. the bias
        shifted = x + bias
        # 2. through the activation; dy is 0 in the lanes outside, and so is dx
        dx = _gelu_slope(shifted) * dy
        tl.store(dx_ptr + row * width + column, dx.to(dx_ptr.dtype.element_ty), mask=inside)
        # 3. the bias took part in every row
        dbias += dx
    part = parts_ptr + tl.program_id(0).to(tl.int64) * width + column
    tl.store(part, tl.sum(dbias, axis=0, keep_dims=True), mask=column < width)


@launcher
def bias_gelu(
    x: Float[Tensor, "*batch I"], bias: Float[Tensor, " I"], *, block: int | None = None
) -> tuple[Float[Tensor, "*batch I"], BiasGeluSaved]:
    """gelu(x + bias). `block`: numbers of a tile, a power of two from 16 up.

    Raises ValueError if `bias` is not (I,) or I is 0, TypeError if `bias` is not a floating-point array.
    """
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"bias_gelu: x has shape {tuple(x.shape)}, but a row needs at least one number")
    require("bias_gelu", "bias", bias, x.shape[-1:])
    numbers = _numbers("bias_gelu", block)
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    rows_x = rows_of(x)
    rows, width = rows_x.shape
    tile = bias_tile(width, numbers)
    grid = (triton.cdiv(rows, tile["ROWS"]), blocks_of("bias_gelu", width, tile["BLOCK"]))
    bias_gelu_kernel[grid](rows_x, bias.contiguous(), y, rows, width, rows_x.stride(0), **tile, ACC=accumulator(x))
    return y, BiasGeluSaved(x, bias)


@launcher
def bias_gelu_backward(
    dy: Float[Tensor, "*batch I"], saved: BiasGeluSaved, *, block: int | None = None
) -> tuple[Float[Tensor, "*batch I"], Float[Tensor, " I"]]:
    """dx, dbias. Raises TypeError unless bias_gelu saved `saved`, ValueError unless dy has the shape of x."""
    require_saved("bias_gelu_backward", saved, BiasGeluSaved)
    x, bias = saved
    require("bias_gelu_backward", "dy", dy, x.shape)
    numbers = _numbers("bias_gelu_backward", block)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    rows_dy, rows_x = rows_of(dy), rows_of(x)
    rows, width = rows_x.shape
    tile = bias_tile(width, numbers)
    grid = (parts_for(triton.cdiv(rows, tile["ROWS"])), triton.cdiv(width, tile["BLOCK"]))
    parts = torch.empty((grid[0], 1, width), dtype=statistics_dtype(x), device=x.device)
    bias_gelu_backward_kernel[grid](
        rows_dy, rows_x, bias.contiguous(), dx, parts, rows, width, rows_dy.stride(0), rows_x.stride(0),
        **tile, ACC=accumulator(x),
    )  # fmt: skip
    (dbias,) = column_sums(parts, bias.dtype)
    return dx, dbias


def bias_tile(width: int, numbers: int) -> dict[str, int]:
    """A tile of this many numbers, at most BIAS_COLUMNS wide."""
    columns = min(BIAS_COLUMNS, numbers, triton.next_power_of_2(width))
    return {"ROWS": numbers // columns, "BLOCK": columns}


@launcher
def identity(x: Float[Tensor, "*shape"]) -> tuple[Float[Tensor, "*shape"], None]:
    """x itself: the `linear` activation."""
    return x, None


@launcher
def identity_backward(dy: Float[Tensor, "*shape"], saved: None) -> tuple[Float[Tensor, "*shape"]]:
    """dy, in an array of its own."""
    return (dy.clone(memory_format=torch.contiguous_format),)
