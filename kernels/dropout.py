"""Dropout in Triton: the twin of `minirembert/ops/dropout.py`.

    y = x * keep / (1 - p)        dx = dy * keep / (1 - p)

One kernel serves both directions: it draws the mask as it goes (`random.py`), so that 2 numbers travel for each element and
no mask is ever stored. It is not free: ten rounds of Philox for every four numbers make about 25 instructions a number,
where a copy has two.

Not here: dropout of attention probabilities, which never leave the kernel in `attention.py`.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from kernels._launch import accumulator, launcher, require_power_of_two, require_saved
from kernels.random import SEED_BITS, dropout_factor, keep_fours
from minirembert.ops.dropout import DropoutSaved
from minirembert.ops.random import check_drop_prob, check_seed

BLOCK = 2048  # numbers that one program takes


@triton.jit(do_not_specialize=["seed"])
def dropout_kernel(x_ptr, y_ptr, size, drop_prob, factor, seed: tl.uint64, BLOCK: tl.constexpr, ACC: tl.constexpr):
    """One program owns BLOCK numbers that lie side by side, and the BLOCK / 4 counters that decide about them."""
    first = tl.program_id(0).to(tl.int64) * BLOCK
    at = first + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < size, other=0).to(ACC)
    keep = keep_fours(seed, first // 4 + tl.arange(0, BLOCK // 4), drop_prob, factor)
    tl.store(y_ptr + at, (x * keep).to(y_ptr.dtype.element_ty), mask=at < size)


@launcher
def dropout(
    x: Float[Tensor, "*shape"], drop_prob: float, seed: int, *, block: int | None = None
) -> tuple[Float[Tensor, "*shape"], DropoutSaved]:
    """x with a share `drop_prob` of its elements zeroed. `block`: numbers that a program takes, a power of two of at least 4.

    Raises ValueError unless 0 <= drop_prob < 1, for a seed of more than 64 bits and for any other `block`; TypeError for a
    probability that is not a number, a seed that is not an integer.
    """
    drop_prob, seed = check_drop_prob(drop_prob), check_seed(seed)
    return _times_mask("dropout", x, drop_prob, seed, block), DropoutSaved(drop_prob, seed)


@launcher
def dropout_backward(
    dy: Float[Tensor, "*shape"], saved: DropoutSaved, *, block: int | None = None
) -> tuple[Float[Tensor, "*shape"]]:
    """dx. Raises TypeError unless dropout saved `saved`, which does not say what shape x had."""
    require_saved("dropout_backward", saved, DropoutSaved)
    return (_times_mask("dropout_backward", dy, saved.drop_prob, saved.seed, block),)


def _times_mask(op: str, x: Tensor, drop_prob: float, seed: int, block: int | None) -> Tensor:
    numbers = BLOCK if block is None else block
    require_power_of_two(op, "block", numbers, 4)
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    dropout_kernel[(triton.cdiv(x.numel(), numbers),)](
        x.contiguous(), y, x.numel(), drop_prob, dropout_factor(drop_prob), seed & SEED_BITS,
        BLOCK=numbers, ACC=accumulator(x),
    )  # fmt: skip
    return y
