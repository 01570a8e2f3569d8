"""Layer normalisation in Triton, alone and fused with the residual sum: the twin of `minirembert/ops/layernorm.py`, which
has the formulas.

Forward, a program reads whole rows once and has everything in registers: the mean, then the centred row, then its variance.
A row of 1152 lies in a tile of 2048 columns, since a tile's sides are powers of two. The lanes beyond the row are loaded as
0, which is right for the mean, but centring makes -mean of them, and 896 times mean^2 would enter the variance. So they are
zeroed again after centring. (With inputs around zero the mistake is nearly invisible: the mean is small.)

Backward, dx needs its own row alone, but dweight and dbias are sums over all rows. Each of n programs takes every n-th
tile of rows and keeps its sums in registers; at the end it writes them out, and a second kernel adds them (`_column_sums.py`).
No atomics: those would add in another order each time. A row too wide for this to stay in registers is cut into blocks of
columns, and a kernel before finds each row's two sums.

Numbers that travel, for each element of x: 2 forward (x; y), 4 with a residual (x, residual; y and the sum, which backward
needs); 3 backward (dy, x; dx), 4 with a residual, 2 more for rows of more than FUSED columns. Statistics and partial sums
come to a few per cent of that.

In half precision the sum x + residual is rounded before it is normalised, as it is when two kernels do this: backward then
sees the row that was normalised. Were it another by half a unit in its last place, then in a row that hardly varies, where
rstd is up to 1e6, backward's xhat would be nothing but that difference.

x and the residual are of one dtype, which y and their gradients have as well. Weight and bias may be of another (float32
beside bfloat16, say), and dweight and dbias are of the weight's.

Not here: running statistics, RMS norm, any axis but the last, rows of more than WIDEST columns.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from kernels._column_sums import column_sums, parts_for
from kernels._launch import (
    accumulator,
    launcher,
    require,
    require_power_of_two,
    require_saved,
    rows_of,
    statistics_dtype,
)
from minirembert.ops.layernorm import LayerNormSaved
from minirembert.scalars import as_number

WIDEST = 16384  # what a program can hold in registers, forward
FUSED = 4096  # and backward, where sums over rows are held as well
TILE, PER_WARP = 4096, 1024  # numbers in a tile of short rows (several to a program), and how many a warp takes
BACKWARD_TILE, BACKWARD_PER_WARP = 2048, 256


@triton.jit
def layer_norm_kernel(
    x_ptr, residual_ptr, weight_ptr, bias_ptr, y_ptr, sum_ptr, mean_ptr, rstd_ptr, rows, width, x_stride, residual_stride,
    EPS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """One program owns ROWS whole rows. Without a residual, residual_ptr and sum_ptr are None."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, BLOCK)[None, :]
    inside = (row < rows) & (column < width)
    x = tl.load(x_ptr + row * x_stride + column, mask=inside, other=0).to(ACC)
    if residual_ptr is not None:
        x += tl.load(residual_ptr + row * residual_stride + column, mask=inside, other=0).to(ACC)
        rounded = x.to(sum_ptr.dtype.element_ty)
        tl.store(sum_ptr + row * width + column, rounded, mask=inside)
        x = rounded.to(ACC)
    # 1. mean
    mean = tl.sum(x, axis=1, keep_dims=True) / width
    # 2. centre; the lanes outside, which this makes -mean, become 0 again
    y = tl.where(inside, x - mean, 0)
    # 3. variance of the centred row
    var = tl.sum(y * y, axis=1, keep_dims=True) / width
    rstd = 1 / tl.sqrt(var + EPS)
    # 4. scale to unit variance
    y *= rstd
    # 5. affine
    weight = tl.load(weight_ptr + column, mask=column < width, other=0).to(ACC)
    bias = tl.load(bias_ptr + column, mask=column < width, other=0).to(ACC)
    y = y * weight + bias
    tl.store(y_ptr + row * width + column, y.to(y_ptr.dtype.element_ty), mask=inside)
    tl.store(mean_ptr + row, mean, mask=row < rows)
    tl.store(rstd_ptr + row, rstd, mask=row < rows)


@triton.jit
def layer_norm_backward_kernel(
    dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, along_ptr, dx_ptr, dresidual_ptr, parts_ptr, rows, width, dy_stride,
    x_stride, ROWS: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """One program owns every n-th tile of ROWS rows: their dx, and its part of dweight and dbias.

    n is the number of programs that share the rows, the grid's first axis. The tiles hold whole rows, or one block of their
    columns; then along_ptr, otherwise None, has the two sums that need the whole row.
    """
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]  # below WIDEST + BLOCK: 32 bits
    weight = tl.load(weight_ptr + column, mask=column < width, other=0).to(ACC)
    dweight = tl.zeros([ROWS, BLOCK], ACC)
    dbias = tl.zeros([ROWS, BLOCK], ACC)
    for first in range(tl.program_id(0).to(tl.int64) * ROWS, rows, tl.num_programs(0) * ROWS):
        row = (first + tl.arange(0, ROWS)[:, None]).to(tl.int64)  # `first` has 64 bits, but not where it is interpreted
        inside = (row < rows) & (column < width)
        dy = tl.load(dy_ptr + row * dy_stride + column, mask=inside, other=0).to(ACC)
        x = tl.load(x_ptr + row * x_stride + column, mask=inside, other=0).to(ACC)
        mean = tl.load(mean_ptr + row, mask=row < rows, other=0)
        rstd = tl.load(rstd_ptr + row, mask=row < rows, other=0)
        # 1. the normalised row again
        xhat = tl.where(inside, x - mean, 0) * rstd
        # 2. affine parameters: sums over all rows
        dweight += dy * xhat
        dbias += dy
        # 3. through the affine map
        dx = dy * weight
        # 4. take out the component along the mean and the one along xhat
        if along_ptr is None:
            along_mean = tl.sum(dx, axis=1, keep_dims=True) / width
            along_xhat = tl.sum(dx * xhat, axis=1, keep_dims=True) / width
        else:
            along_mean = tl.load(along_ptr + row, mask=row < rows, other=0)
            along_xhat = tl.load(along_ptr + rows + row, mask=row < rows, other=0)
        dx = dx - along_mean - xhat * along_xhat
        # 5. through the division by the standard deviation
        dx *= rstd
        tl.store(dx_ptr + row * width + column, dx.to(dx_ptr.dtype.element_ty), mask=inside)
        if dresidual_ptr is not None:
            tl.store(dresidual_ptr + row * width + column, dx.to(dresidual_ptr.dtype.element_ty), mask=inside)
    part = parts_ptr + tl.program_id(0).to(tl.int64) * 2 * width + column
    tl.store(part, tl.sum(dweight, axis=0, keep_dims=True), mask=column < width)
    tl.store(part + width, tl.sum(dbias, axis=0, keep_dims=True), mask=column < width)


@triton.jit
def layer_norm_along_kernel(
    dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, along_ptr, rows, width, dy_stride, x_stride,
    BLOCK: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """One program owns one wide row: how far its gradient lies along the mean, and how far along xhat."""
    row = tl.program_id(0).to(tl.int64)
    mean = tl.load(mean_ptr + row)
    rstd = tl.load(rstd_ptr + row)
    along_mean = tl.zeros([BLOCK], ACC)
    along_xhat = tl.zeros([BLOCK], ACC)
    for first in range(0, width, BLOCK):
        column = first + tl.arange(0, BLOCK)
        inside = column < width
        dy = tl.load(dy_ptr + row * dy_stride + column, mask=inside, other=0).to(ACC)
        x = tl.load(x_ptr + row * x_stride + column, mask=inside, other=0).to(ACC)
        weight = tl.load(weight_ptr + column, mask=inside, other=0).to(ACC)
        # 1. the normalised row again
        xhat = tl.where(inside, x - mean, 0) * rstd
        # 3. through the affine map
        dx = dy * weight
        # 4. the two components
        along_mean += dx
        along_xhat += dx * xhat
    tl.store(along_ptr + row, tl.sum(along_mean, axis=0) / width)
    tl.store(along_ptr + rows + row, tl.sum(along_xhat, axis=0) / width)


@launcher
def layer_norm(
    x: Float[Tensor, "*batch H"],
    weight: Float[Tensor, " H"],
    bias: Float[Tensor, " H"],
    eps: float,
    *,
    block: int | None = None,
) -> tuple[Float[Tensor, "*batch H"], LayerNormSaved]:
    """Rows of zero mean and unit variance, scaled by `weight` and shifted by `bias`.

    `block`: numbers of a tile, a power of two from 16 up. Raises ValueError if it is not, if H is 0 or above WIDEST, or if
    `weight` or `bias` are not (H,); TypeError if these are not floating-point arrays.
    """
    return _forward("layer_norm", x, None, weight, bias, eps, block)


@launcher
def layer_norm_backward(
    dy: Float[Tensor, "*batch H"], saved: LayerNormSaved, *, block: int | None = None
) -> tuple[Float[Tensor, "*batch H"], Float[Tensor, " H"], Float[Tensor, " H"]]:
    """dx, dweight, dbias. `block`: numbers of a tile; rows that are wider are cut into blocks of columns.

    Raises TypeError unless a layer norm saved `saved`, ValueError unless dy has the shape of x.
    """
    _check_backward("layer_norm_backward", dy, saved, block)
    dx = torch.empty(saved.x.shape, dtype=saved.x.dtype, device=saved.x.device)
    dweight, dbias = _backward(dy, saved, dx, None, block)
    return dx, dweight, dbias


@launcher
def residual_layer_norm(
    x: Float[Tensor, "*batch H"],
    residual: Float[Tensor, "*batch H"],
    weight: Float[Tensor, " H"],
    bias: Float[Tensor, " H"],
    eps: float,
    *,
    block: int | None = None,
) -> tuple[Float[Tensor, "*batch H"], LayerNormSaved]:
    """`layer_norm(x + residual)`: the end of each half of a post-LN block.

    Raises as `layer_norm` does; ValueError if the two terms have different shapes, TypeError for different dtypes.
    """
    require("residual_layer_norm", "residual", residual, x.shape, x.dtype)
    return _forward("residual_layer_norm", x, residual, weight, bias, eps, block)


@launcher
def residual_layer_norm_backward(
    dy: Float[Tensor, "*batch H"], saved: LayerNormSaved, *, block: int | None = None
) -> tuple[Float[Tensor, "*batch H"], Float[Tensor, "*batch H"], Float[Tensor, " H"], Float[Tensor, " H"]]:
    """dx, dresidual, dweight, dbias. A sum hands the same gradient to both its terms; each gets an array of its own.

    Raises as `layer_norm_backward` does.
    """
    _check_backward("residual_layer_norm_backward", dy, saved, block)
    dx, dresidual = (torch.empty(saved.x.shape, dtype=saved.x.dtype, device=saved.x.device) for _ in range(2))
    dweight, dbias = _backward(dy, saved, dx, dresidual, block)
    return dx, dresidual, dweight, dbias


def _forward(
    op: str, x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float, block: int | None
) -> tuple[Tensor, LayerNormSaved]:
    if x.ndim == 0 or not 1 <= x.shape[-1] <= WIDEST:
        raise ValueError(f"{op}: x has shape {tuple(x.shape)}, but rows must have 1 to {WIDEST} numbers")
    eps = as_number(f"{op}: eps", eps)
    width = x.shape[-1]
    require(op, "weight", weight, (width,))
    require(op, "bias", bias, (width,))
    if block is not None:
        require_power_of_two(op, "block", block, 16)
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    total = x if residual is None else torch.empty_like(y)
    mean, rstd = (torch.empty(x.shape[:-1], dtype=statistics_dtype(x), device=x.device) for _ in range(2))
    rows_x = rows_of(x)
    rows_residual = None if residual is None else rows_of(residual)
    rows = rows_x.shape[0]
    tile = row_tile(rows, width, block or TILE, PER_WARP)
    layer_norm_kernel[(triton.cdiv(rows, tile["ROWS"]),)](
        rows_x, rows_residual, weight.contiguous(), bias.contiguous(), y, None if residual is None else total, mean, rstd,
        rows, width, rows_x.stride(0), 0 if rows_residual is None else rows_residual.stride(0),
        EPS=eps, **tile, ACC=accumulator(x),
    )  # fmt: skip
    return y, LayerNormSaved(total, weight, mean, rstd)


def _check_backward(op: str, dy: Tensor, saved: LayerNormSaved, block: int | None) -> None:
    require_saved(op, saved, LayerNormSaved)
    require(op, "dy", dy, saved.x.shape)
    if block is not None:
        require_power_of_two(op, "block", block, 16)


def _backward(
    dy: Tensor, saved: LayerNormSaved, dx: Tensor, dresidual: Tensor | None, block: int | None
) -> tuple[Tensor, Tensor]:
    """Fills dx and dresidual; dweight, dbias."""
    x, weight, mean, rstd = saved
    rows_dy, rows_x, weight = rows_of(dy), rows_of(x), weight.contiguous()
    rows, width = rows_x.shape
    acc = accumulator(x)
    given = (rows_dy, rows_x, weight, mean, rstd)
    sizes = (rows, width, rows_dy.stride(0), rows_x.stride(0))
    along = None
    if triton.next_power_of_2(width) > (block or FUSED):
        BLOCK = block or BACKWARD_TILE
        tile = {"ROWS": 1, "BLOCK": BLOCK, "num_warps": 8}
        along = torch.empty((2, rows), dtype=mean.dtype, device=x.device)
        layer_norm_along_kernel[(rows,)](*given, along, *sizes, BLOCK=BLOCK, num_warps=8, ACC=acc)
    else:
        tile = row_tile(rows, width, block or BACKWARD_TILE, BACKWARD_PER_WARP)
    grid = (parts_for(triton.cdiv(rows, tile["ROWS"])), triton.cdiv(width, tile["BLOCK"]))
    parts = torch.empty((grid[0], 2, width), dtype=mean.dtype, device=x.device)
    layer_norm_backward_kernel[grid](*given, along, dx, dresidual, parts, *sizes, **tile, ACC=acc)
    dweight, dbias = column_sums(parts, weight.dtype)
    return dweight, dbias


def row_tile(rows: int, width: int, numbers: int, per_warp: int) -> dict[str, int]:
    """A tile of whole rows that holds about this many numbers: several rows where they are short."""
    BLOCK = triton.next_power_of_2(width)
    ROWS = max(1, min(numbers // BLOCK, triton.next_power_of_2(rows)))
    return {"ROWS": ROWS, "BLOCK": BLOCK, "num_warps": min(16, max(4, ROWS * BLOCK // per_warp))}
