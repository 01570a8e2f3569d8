"""The second stage of a gradient that is a sum over all rows: adds up what each program of the first stage left.

Programs that add into one place at the same time (atomics, a lock) end with whichever order they happened to arrive in, and
floating-point sums depend on their order. So each program of the first stage sums its own rows in registers and writes
that to a row of its own, and this kernel adds these rows, always in the same order: the same bits on every run. How many
programs there are depends on the number of rows, never on the device.

Not here: sums over the last axis, which a program has in its registers.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

import kernels._launch  # noqa: F401 - decides, before a kernel is defined, whether it will be compiled or interpreted

MOST_PARTS = (
    256  # enough programs to fill a GPU of 150 processors; few enough that reading their sums again costs little
)
TILES_PER_PART = 4  # a program that owned one tile would write more in partial sums than it read
ROWS, COLUMNS = 64, 64


@triton.jit
def column_sums_kernel(parts_ptr, first_ptr, last_ptr, parts, width, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """One program owns BLOCK columns of the first sum or of the last."""
    which, sums = tl.program_id(1), tl.num_programs(1)
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[None, :]
    total = tl.zeros([ROWS, BLOCK], parts_ptr.dtype.element_ty)
    for first_part in range(0, parts, ROWS):
        part = first_part + tl.arange(0, ROWS)[:, None]
        inside = (part < parts) & (column < width)
        total += tl.load(parts_ptr + (part * sums + which).to(tl.int64) * width + column, mask=inside, other=0)
    found = tl.sum(total, axis=0, keep_dims=True).to(first_ptr.dtype.element_ty)
    if which == 0:
        tl.store(first_ptr + column, found, mask=column < width)
    else:
        tl.store(last_ptr + column, found, mask=column < width)


def column_sums(parts: Float[Tensor, "P sums C"], dtype: torch.dtype) -> list[Float[Tensor, " C"]]:
    """One or two sums over the first axis in `dtype`, each in an array of its own, by one launch."""
    count, sums, width = parts.shape
    found = [torch.empty(width, dtype=dtype, device=parts.device) for _ in range(sums)]
    grid = (triton.cdiv(width, COLUMNS), sums)
    column_sums_kernel[grid](parts, found[0], found[-1], count, width, ROWS=ROWS, BLOCK=COLUMNS)
    return found


def parts_for(tiles: int) -> int:
    """Among how many programs `tiles` tiles of rows are dealt out."""
    return min(MOST_PARTS, triton.cdiv(tiles, TILES_PER_PART))
