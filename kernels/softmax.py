"""Softmax over the last axis, in Triton: the twin of `minirembert/ops/softmax.py`, which has the formulas.

A row that fits a tile is read once, worked on in registers and written once: 2 C numbers travel forward, 3 C backward, and
no kernel can do with less. A wider row (the 250,300 pieces of the vocabulary) is cut into splits, each owned by one program.
Splits cannot wait for each other, so the row is read twice: one kernel finds each split's maximum and sum, the next
combines them, (m, l) with (m', l') to (M, l e^(m - M) + l' e^(m' - M)) where M = max(m, m'), and divides. Traffic: 3 C and 5 C.

Not here: masks, scales, dropout; see `attention.py`.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

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
from minirembert.ops.softmax import SoftmaxSaved

ONE_PASS = 16384  # the widest tile that stays in registers; wider rows are split
SPLIT = 8192  # columns of one split
TILE = 4096  # numbers in a tile of short rows: several rows to a program


@triton.jit
def softmax_kernel(x_ptr, y_ptr, rows, width, x_stride, ROWS: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr):
    """One program owns ROWS whole rows."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, BLOCK)[None, :]
    inside = (row < rows) & (column < width)
    x = tl.load(x_ptr + row * x_stride + column, mask=inside, other=-float("inf")).to(ACC)
    # 1. row maximum; 0 where the whole row is -inf, since -inf - (-inf) is NaN
    m = tl.max(x, axis=1, keep_dims=True)
    empty = m == -float("inf")
    # 2. exponentials of the differences; an empty row counts every entry once. A sum, since the maximum does not see NaN
    y = tl.exp(x - tl.where(empty, 0, m))
    y += (empty & (column < width)).to(ACC)
    # 3. divide by the row sum
    y = y / tl.sum(y, axis=1, keep_dims=True)
    tl.store(y_ptr + row * width + column, y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def softmax_backward_kernel(
    dy_ptr, y_ptr, dx_ptr, rows, width, dy_stride, ROWS: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr
):
    """One program owns ROWS whole rows."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, BLOCK)[None, :]
    inside = (row < rows) & (column < width)
    dy = tl.load(dy_ptr + row * dy_stride + column, mask=inside, other=0).to(ACC)
    y = tl.load(y_ptr + row * width + column, mask=inside, other=0).to(ACC)
    # 1. delta: how much the row as a whole would gain
    delta = tl.sum(dy * y, axis=1, keep_dims=True)
    # 2. each entry's share beyond that
    dx = y * (dy - delta)
    tl.store(dx_ptr + row * width + column, dx.to(dx_ptr.dtype.element_ty), mask=inside)


@triton.jit
def split_softmax_statistics_kernel(x_ptr, m_ptr, total_ptr, width, x_stride, BLOCK: tl.constexpr, ACC: tl.constexpr):
    """One program owns one split of one row: its maximum and its sum."""
    row, split, splits = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    column = split * BLOCK + tl.arange(0, BLOCK)  # below MOST_BLOCKS x BLOCK: 32 bits
    x = tl.load(x_ptr + row * x_stride + column, mask=column < width, other=-float("inf")).to(ACC)
    # 1. the split's maximum
    m = tl.max(x, axis=0)
    # 2. the split's sum; 0 where there is nothing but -inf
    total = tl.sum(tl.exp(x - tl.where(m == -float("inf"), 0, m)), axis=0)
    tl.store(m_ptr + row * splits + split, m)
    tl.store(total_ptr + row * splits + split, total)


@triton.jit
def split_softmax_kernel(
    x_ptr, m_ptr, total_ptr, y_ptr, width, x_stride, SPLITS: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr
):
    """One program owns one split of one row, and combines the statistics of all the row's splits for itself."""
    row, split, splits = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    other = tl.arange(0, SPLITS)
    ms = tl.load(m_ptr + row * splits + other, mask=other < splits, other=-float("inf"))
    totals = tl.load(total_ptr + row * splits + other, mask=other < splits, other=0)
    # 1. row maximum
    m = tl.max(ms, axis=0)
    empty = m == -float("inf")
    m = tl.where(empty, 0, m)
    total = tl.sum(totals * tl.exp(ms - m), axis=0) + tl.where(empty, width, 0)
    # 2. exponentials of the differences
    column = split * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * x_stride + column, mask=column < width, other=-float("inf")).to(ACC)
    y = tl.exp(x - m) + empty.to(ACC)
    # 3. divide by the row sum
    tl.store(y_ptr + row * width + column, (y / total).to(y_ptr.dtype.element_ty), mask=column < width)


@triton.jit
def split_softmax_delta_kernel(dy_ptr, y_ptr, delta_ptr, width, dy_stride, BLOCK: tl.constexpr, ACC: tl.constexpr):
    """One program owns one split of one row: its part of delta."""
    row, split, splits = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    column = split * BLOCK + tl.arange(0, BLOCK)  # below MOST_BLOCKS x BLOCK: 32 bits
    dy = tl.load(dy_ptr + row * dy_stride + column, mask=column < width, other=0).to(ACC)
    y = tl.load(y_ptr + row * width + column, mask=column < width, other=0).to(ACC)
    tl.store(delta_ptr + row * splits + split, tl.sum(dy * y, axis=0))


@triton.jit
def split_softmax_backward_kernel(
    dy_ptr, y_ptr, delta_ptr, dx_ptr, width, dy_stride, SPLITS: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr
):
    """One program owns one split of one row, and adds up the row's delta for itself."""
    row, split, splits = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    other = tl.arange(0, SPLITS)
    # 1. delta: how much the row as a whole would gain
    delta = tl.sum(tl.load(delta_ptr + row * splits + other, mask=other < splits, other=0), axis=0)
    # 2. each entry's share beyond that
    column = split * BLOCK + tl.arange(0, BLOCK)
    dy = tl.load(dy_ptr + row * dy_stride + column, mask=column < width, other=0).to(ACC)
    y = tl.load(y_ptr + row * width + column, mask=column < width, other=0).to(ACC)
    dx = y * (dy - delta)
    tl.store(dx_ptr + row * width + column, dx.to(dx_ptr.dtype.element_ty), mask=column < width)


@launcher
def softmax(
    x: Float[Tensor, "*batch C"], *, block: int | None = None
) -> tuple[Float[Tensor, "*batch C"], SoftmaxSaved]:
    """Probabilities along the last axis. `block`: columns of a tile, a power of two; rows that are wider are split.

    Raises ValueError for rows without numbers, and unless `block` is a power of two from 16 up.
    """
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"softmax: x has shape {tuple(x.shape)}, but a row needs at least one number")
    _check_block("softmax", block)
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    rows_x = rows_of(x)
    rows, width = rows_x.shape
    tile = one_pass_tile(rows, width, block)
    if tile is not None:
        softmax_kernel[(triton.cdiv(rows, tile["ROWS"]),)](
            rows_x, y, rows, width, rows_x.stride(0), **tile, ACC=accumulator(x)
        )
    else:
        split = split_tile(width, block)
        grid = (rows, blocks_of("softmax", width, split["BLOCK"]))
        m, total = torch.empty((2, *grid), dtype=statistics_dtype(x), device=x.device)
        arguments = {"BLOCK": split["BLOCK"], "num_warps": split["num_warps"], "ACC": accumulator(x)}
        split_softmax_statistics_kernel[grid](rows_x, m, total, width, rows_x.stride(0), **arguments)
        split_softmax_kernel[grid](rows_x, m, total, y, width, rows_x.stride(0), **split, ACC=accumulator(x))
    return y, SoftmaxSaved(y)


@launcher
def softmax_backward(
    dy: Float[Tensor, "*batch C"], saved: SoftmaxSaved, *, block: int | None = None
) -> tuple[Float[Tensor, "*batch C"]]:
    """dx. Raises TypeError unless softmax saved `saved`, ValueError unless dy has the shape of y."""
    require_saved("softmax_backward", saved, SoftmaxSaved)
    y = saved.y
    require("softmax_backward", "dy", dy, y.shape)
    _check_block("softmax_backward", block)
    dx = torch.empty(y.shape, dtype=y.dtype, device=y.device)
    rows_dy = rows_of(dy)
    rows, width = rows_dy.shape
    tile = one_pass_tile(rows, width, block)
    if tile is not None:
        softmax_backward_kernel[(triton.cdiv(rows, tile["ROWS"]),)](
            rows_dy, y, dx, rows, width, rows_dy.stride(0), **tile, ACC=accumulator(y)
        )
    else:
        split = split_tile(width, block)
        grid = (rows, blocks_of("softmax_backward", width, split["BLOCK"]))
        delta = torch.empty(grid, dtype=statistics_dtype(y), device=y.device)
        arguments = {"BLOCK": split["BLOCK"], "num_warps": split["num_warps"], "ACC": accumulator(y)}
        split_softmax_delta_kernel[grid](rows_dy, y, delta, width, rows_dy.stride(0), **arguments)
        split_softmax_backward_kernel[grid](
            rows_dy, y, delta, dx, width, rows_dy.stride(0), **split, ACC=accumulator(y)
        )
    return (dx,)


def _check_block(op: str, block: int | None) -> None:
    if block is not None:
        require_power_of_two(op, "block", block, 16)


def one_pass_tile(rows: int, width: int, block: int | None) -> dict[str, int] | None:
    """How a program takes whole rows: several short ones at a time. None where a row does not fit."""
    BLOCK = triton.next_power_of_2(width)
    if (block or ONE_PASS) < BLOCK:
        return None
    ROWS = min(max(1, (block or TILE) // BLOCK), triton.next_power_of_2(max(1, rows)))
    return {"ROWS": ROWS, "BLOCK": BLOCK, "num_warps": min(16, max(4, ROWS * BLOCK // 1024))}


def split_tile(width: int, block: int | None) -> dict[str, int]:
    """How a wide row is cut: splits of BLOCK columns, and SPLITS, their number rounded up to a power of two."""
    BLOCK = block or SPLIT
    return {"SPLITS": triton.next_power_of_2(triton.cdiv(width, BLOCK)), "BLOCK": BLOCK, "num_warps": 8}
