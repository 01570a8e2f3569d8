"""What attention's kernels share: where a program works, what it does with one tile of scores, and how large that is.

A tile is some queries by some keys. Its indices come shaped, `query` (queries, 1) and `key` (1, keys), and everything
here broadcasts; a kernel that wants its tiles the other way round shapes them the other way round.

Logarithms: exp(x) is computed as 2^(x log2 e) anyway, so where it can be, log2 e is part of the scale of the scores, and a
score, its row maximum and the lse are all counted in bits. It cannot be where a bias is added (ADDED): the lowest number
times log2 e is infinite, and a row of equal scores of -1e9 must remain one of equal scores.

Places. `head` and `b` have 64 bits, and so has every product of them, and of a query or a key, with a stride or a length.
What counts queries or keys themselves has 32: the launcher refuses more than LONGEST of them, so that the sum of one and of
a tile fits. Two more products have 32 bits: heads d, which is H and no more than LONGEST, and blocks heads, at most the grid.

Not here: the order in which tiles are visited; see `attention.py` and `attention_backward.py`.
"""

import math
from typing import Any

import torch
import triton
import triton.language as tl

from kernels._launch import INTERPRETED, dot
from kernels.random import keep_each, keep_fours

LOG2E = tl.constexpr(math.log2(math.e))
LN2 = tl.constexpr(math.log(2))

LONGEST = 2**30  # queries, keys and features of a sequence

# --- where a program works ------------------------------------------------------------------------------------------


@triton.jit
def my_tile(blocks, heads):
    # Programs are numbered block by block, head by head, sequence by sequence: neighbours read the same keys. Their number
    # has 32 bits, as everything that counts programs; head and sequence have 64, since strides are multiplied by them.
    program = tl.program_id(0)
    head, sequence = program // blocks % heads, program // (blocks * heads)
    return program % blocks, head.to(tl.int64), sequence.to(tl.int64)


@triton.jit
def my_sequence(b, head, heads, S, T, tokens, cu_seqlens_ptr):
    # Of sequence b: what batch strides are multiplied by, its queries and keys, the number of its first query and of its
    # first key among all, and where the statistics of this head begin.
    if cu_seqlens_ptr is None:
        return b, S, T, b * S, b * T, (b * heads + head) * S
    else:
        start = tl.load(cu_seqlens_ptr + b).to(tl.int64)
        length = (tl.load(cu_seqlens_ptr + b + 1) - start).to(tl.int32)
        return start, length, length, start, start, head * tokens + start


@triton.jit
def my_length(b, S, T, key_lengths_ptr, CAUSAL: tl.constexpr, BIAS: tl.constexpr):
    # How many of the T keys are real; and how many are read. What lies beyond a length may be anything, NaN for one, and is
    # read for nobody but a query that sees nothing, which averages all. Beside a bias there may always be such a query.
    if key_lengths_ptr is None:
        return T, T
    else:
        length = tl.load(key_lengths_ptr + b).to(tl.int32)
        some_are_blind = length == 0
        if CAUSAL:
            some_are_blind = some_are_blind | (S > T)
        keys = T if BIAS is not None else tl.where(some_are_blind, T, length)
        return length, keys


@triton.jit
def my_draws(b, head, heads, S, T, firsts_ptr):
    # The number of this head's first probability in the stream of random numbers.
    if firsts_ptr is None:
        return (b * heads + head) * S * T
    else:
        return tl.load(firsts_ptr + b) + head * S * T


@triton.jit
def key_range(
    first_query, S, T, length, CAUSAL: tl.constexpr, BIAS: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr
):
    # (whole, end): no key before `whole`, which is whole blocks, is hidden from any query of the block by its place, and
    # all keys from `end` on are hidden from all of them.
    first_sees, last_sees = length, length
    if CAUSAL:
        first_sees = tl.minimum(length, first_query + 1 + (T - S))
        last_sees = tl.minimum(length, tl.minimum(first_query + BLOCK_Q, S) + (T - S))
    whole = tl.maximum(first_sees, 0) // BLOCK_K * BLOCK_K
    # A query that sees nothing attends to all T keys. A bias may hide whatever is left of a row.
    end = T if BIAS is not None else tl.where(first_sees <= 0, T, last_sees)
    return whole, end


@triton.jit
def query_range(
    first_key, S, T, length, CAUSAL: tl.constexpr, BIAS: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr
):
    # (start, whole): all keys of the block are hidden from the queries before `start`, and by their place none from the
    # queries from `whole` on.
    start, whole = 0, 0
    if CAUSAL:
        start = tl.maximum(first_key - (T - S), 0) // BLOCK_Q * BLOCK_Q
        whole = tl.minimum(tl.cdiv(tl.maximum(first_key + BLOCK_K - 1 - (T - S), 0), BLOCK_Q) * BLOCK_Q, S)
    whole = tl.where(first_key + BLOCK_K <= length, whole, S)
    start = tl.where(first_key < length, start, S)
    # A query that sees nothing attends to all T keys. A bias may hide whatever is left of a row.
    some_are_blind = length == 0
    if CAUSAL:
        some_are_blind = some_are_blind | (S > T)
    start = 0 if BIAS is not None else tl.where(some_are_blind, 0, start)
    return start, whole


# --- a tile ---------------------------------------------------------------------------------------------------------


@triton.jit
def load_rows(ptr, row, rows, stride, D: tl.constexpr, HEAD: tl.constexpr, CHECK: tl.constexpr):
    # Rows of a head's queries, keys or values, (rows, HEAD); zeros beyond the last row (if CHECK) and beyond d.
    feature = tl.arange(0, HEAD)[None, :]
    address = ptr + row[:, None].to(tl.int64) * stride + feature
    if CHECK and D < HEAD:
        return tl.load(address, mask=(row[:, None] < rows) & (feature < D), other=0)
    elif CHECK:
        return tl.load(address, mask=row[:, None] < rows, other=0)
    elif D < HEAD:
        return tl.load(address, mask=feature < D, other=0)
    else:
        return tl.load(address)


@triton.jit
def store_rows(ptr, value, row, rows, stride, D: tl.constexpr, HEAD: tl.constexpr):
    feature = tl.arange(0, HEAD)[None, :]
    address = ptr + row[:, None].to(tl.int64) * stride + feature
    tl.store(address, value.to(ptr.dtype.element_ty), mask=(row[:, None] < rows) & (feature < D))


@triton.jit
def hide(s, visible, LOWEST: tl.constexpr):
    # The lowest number where a query may not look; but what is not finite stays, as it does when that number is added to it.
    # (Not s - s: s is a product, and one fused operation would give what rounding took from it.)
    return tl.where(visible | (s * 0 != 0), s, LOWEST)


@triton.jit
def scores(
    a, b, query, key, S, T, length, bias_ptr, bias_query, bias_key,
    D: tl.constexpr, CAUSAL: tl.constexpr, BIAS: tl.constexpr, HIDE: tl.constexpr, ACC: tl.constexpr,
    LOWEST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    # a b^T / sqrt(d), and the lowest number where a query may not look. `a` is queries and `b` keys, or the other way
    # round. HIDE: some keys are hidden by their place.
    s = dot(a, tl.trans(b), tl.zeros([a.shape[0], b.shape[0]], ACC), PRECISION)
    if BIAS == "added":
        s = s * D**-0.5
    else:
        s = s * (D**-0.5 * LOG2E)
    if BIAS is not None:
        if bias_query is None:  # one row for all queries
            bias = tl.load(bias_ptr + key.to(tl.int64) * bias_key, mask=key < T, other=0)
        else:
            address = bias_ptr + query.to(tl.int64) * bias_query + key.to(tl.int64) * bias_key
            bias = tl.load(address, mask=(query < S) & (key < T), other=0)
        if BIAS == "added":
            s = s + tl.maximum(bias.to(ACC), LOWEST, propagate_nan=tl.PropagateNan.ALL)
        else:
            s = hide(s, bias, LOWEST)
    if HIDE:
        visible = key < length
        if CAUSAL:
            visible = visible & (key <= query + (T - S))
        # where there is no key at all, not even a row that sees nothing may look
        s = tl.where(key < T, hide(s, visible, LOWEST), -float("inf"))
    return s


@triton.jit
def exponential(x, BIAS: tl.constexpr):
    return tl.exp(x) if BIAS == "added" else tl.math.exp2(x)


@triton.jit
def log_sum_exp(m, total, BIAS: tl.constexpr, LOWEST: tl.constexpr):
    # lse and what rounding took from it, to base e. The lowest number says that a row sees nothing, and stays what it is.
    log_total = tl.log(total)
    if BIAS == "added":
        lse = m + log_total
        return lse, (m - lse) + log_total
    else:
        blind = (m == LOWEST) & (total == total)  # a maximum does not see NaN, a sum does
        lse = tl.where(blind, LOWEST, tl.where(blind, 0, m) * LN2 + log_total)
        # two more roundings, to base e here and back in `probabilities`: what they take counts from where it will start
        return lse, (m - in_bits(lse, LOWEST)) * LN2 + log_total


@triton.jit
def in_bits(lse, LOWEST: tl.constexpr):
    blind = lse == LOWEST
    return tl.where(blind, LOWEST, tl.where(blind, 0, lse) * LOG2E)


@triton.jit
def probabilities(s, lse, lse_rest, BIAS: tl.constexpr, LOWEST: tl.constexpr):
    # exp(s - lse), by way of what rounding took from lse.
    if BIAS != "added":
        lse = in_bits(lse, LOWEST)
        lse_rest = lse_rest * LOG2E
    return exponential((s - lse) - lse_rest, BIAS)


@triton.jit
def keep(
    seed, draws, query, first_key, T,
    DROP_PROB: tl.constexpr, FACTOR: tl.constexpr, FOURS: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    # What dropout multiplies the probabilities of these queries, (queries, 1), by, for BLOCK_K keys. FOURS: T is a multiple
    # of 4, so that four probabilities share a counter, and 32 bits do for it.
    first = draws + query.to(tl.int64) * T + first_key
    if FOURS:
        counter = (first >> 2).to(tl.uint32) + tl.arange(0, BLOCK_K // 4)[None, :].to(tl.uint32)
        return keep_fours(seed, counter, DROP_PROB, FACTOR)
    else:
        return keep_each(seed, first + tl.arange(0, BLOCK_K)[None, :], DROP_PROB, FACTOR)


# --- how large a tile is ----------------------------------------------------------------------------------------------

# How many queries and keys make a tile, by how many warps, in how many stages of loading ahead. A tile is as large as the
# registers of its program allow: a larger one reads less, one that does not fit goes back and forth to memory.
# "one tile": forward over at most so many keys; "head": backward where queries and keys are at most so many queries.
# Tensor cores take float16 and bfloat16; exact products of float32 and float64 hold all their factors in registers.
TILES = {
    ("half", 64): {
        "one tile": (128, 128, 8, 1), "forward": (128, 64, 8, 3),
        "head": (128, 32, 8, 1), "queries": (128, 64, 8, 2), "keys": (64, 128, 8, 2),
    },
    ("half", 128): {
        "one tile": (64, 64, 8, 1), "forward": (128, 64, 8, 2),
        "head": (64, 32, 8, 1), "queries": (64, 32, 8, 2), "keys": (32, 64, 8, 2),
    },
    ("single", 64): {
        "one tile": (32, 32, 4, 1), "forward": (64, 32, 8, 2),
        "head": (32, 32, 8, 1), "queries": (32, 32, 4, 2), "keys": (32, 32, 4, 2),
    },
    ("single", 128): {
        **dict.fromkeys(("one tile", "forward", "head", "queries"), (16, 16, 4, 2)), "keys": (16, 16, 8, 2),
    },
    ("double", 64): dict.fromkeys(("one tile", "forward", "head", "queries", "keys"), (32, 32, 8, 1)),
    ("double", 128): dict.fromkeys(("one tile", "forward", "head", "queries", "keys"), (16, 16, 4, 1)),
}  # fmt: skip
# The same where dropout wants registers too, and where a bias for every pair of query and key does.
TILES_WITH_DROPOUT = {
    ("half", 64): {"head": (64, 32, 8, 1), "queries": (128, 32, 8, 2), "keys": (32, 128, 8, 2)},
    ("half", 128): {"forward": (64, 64, 8, 2)},
}
TILES_WITH_BIAS = {
    ("half", 64): {
        "one tile": (64, 128, 8, 1), "forward": (64, 64, 8, 3),
        "head": (64, 32, 8, 1), "queries": (128, 32, 8, 2), "keys": (32, 64, 8, 2),
    },
    ("half", 128): {"forward": (64, 64, 8, 2)},
}  # fmt: skip


def choose_tile(
    kernel: str, problem: dict[str, Any], dtype: torch.dtype, block: tuple[int, int] | None
) -> dict[str, int]:
    """The tile of one of the kernels, no larger than the problem; `block` overrules its size."""
    kind = {2: "half", 4: "single", 8: "double"}[dtype.itemsize], max(64, problem["HEAD"])
    tiles = TILES[kind]
    if problem["DROP_PROB"]:
        tiles = tiles | TILES_WITH_DROPOUT.get(kind, {})
    if problem["bias_query"] is not None:
        tiles = tiles | TILES_WITH_BIAS.get(kind, {})
    queries, keys, warps, stages = tiles[kernel]
    queries = min(queries, max(16, triton.next_power_of_2(problem["S"])))
    keys = min(keys, max(16, triton.next_power_of_2(problem["T"])))
    if block is not None:
        queries, keys = block
    if not INTERPRETED and triton.runtime.driver.active.get_current_target().backend == "hip":
        # AMD's warps have 64 lanes, and what is loaded ahead waits in registers
        warps, stages = max(4, warps // 2), max(1, stages - 1)
    return {"BLOCK_Q": queries, "BLOCK_K": keys, "num_warps": warps, "num_stages": stages}
