"""Attention, first rung: the loop of chapter 11 as kernels, with nothing in its way.

Every tile is whole: the queries are a multiple of BLOCK_Q, the keys a multiple of BLOCK_K, and a head has 16, 32, 64 or 128
features. Heads lie one after another in memory, so a row of any array starts at (head length + row) D. Nobody is hidden
from anybody, nothing is dropped, and exponentials are to base e, as in the formulas of `minirembert/ops/attention.py`.

Not here: masks, dropout, other sizes, speed. The second rung, `plain.py`, takes any size and is what usually runs.
"""

import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from kernels._launch import dot, launcher, require, require_power_of_two, require_saved, statistics_dtype


@triton.jit
def tile_of(
    ptr,  # (heads, length, D): an array of heads, one after another
    head,  # which head; 64 bits, since heads length D may need them
    length,  # rows of a head
    first,  # the first row of the tile
    D: tl.constexpr,  # features of a row
    BLOCK: tl.constexpr,  # rows of the tile
):
    """The addresses of BLOCK rows of one head: (BLOCK, D)."""
    row = head * length + first + tl.arange(0, BLOCK)[:, None]
    return ptr + row * D + tl.arange(0, D)[None, :]


@triton.jit
def attention_first_kernel(
    q_ptr,  # (heads, S, D), read: queries
    k_ptr,  # (heads, T, D), read: keys
    v_ptr,  # (heads, T, D), read: values
    y_ptr,  # (heads, S, D), written: each query's average of the values
    lse_ptr,  # (heads, S), written: the logarithm of each query's sum of exponentials. Its type is what is computed in
    S,  # queries of a head
    T,  # keys of a head
    D: tl.constexpr,  # features of a head
    BLOCK_Q: tl.constexpr,  # queries of a tile
    BLOCK_K: tl.constexpr,  # keys of a tile
):
    """One program owns BLOCK_Q queries of one head and walks over the keys."""
    ACC: tl.constexpr = lse_ptr.dtype.element_ty
    head, first_query = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK_Q
    q = tl.load(tile_of(q_ptr, head, S, first_query, D, BLOCK_Q))
    m = tl.full([BLOCK_Q], -float("inf"), ACC)
    total = tl.zeros([BLOCK_Q], ACC)
    y = tl.zeros([BLOCK_Q, D], ACC)
    for first_key in tl.range(0, T, BLOCK_K):
        k = tl.load(tile_of(k_ptr, head, T, first_key, D, BLOCK_K))
        v = tl.load(tile_of(v_ptr, head, T, first_key, D, BLOCK_K))
        # 1. scores (BLOCK_Q, BLOCK_K)
        s = dot(q, tl.trans(k), tl.zeros([BLOCK_Q, BLOCK_K], ACC), "ieee") * D**-0.5
        # 2. row maximum so far
        new_m = tl.maximum(m, tl.max(s, axis=1))
        # 3. exponentials of the differences, and what a smaller maximum made too large
        p = tl.exp(s - new_m[:, None])
        shrink = tl.exp(m - new_m)
        m = new_m
        # 4. row sum so far
        total = total * shrink + tl.sum(p, axis=1)
        # 6. sum of the values so far, weighted; it has shrunk as well
        y = dot(p.to(v.dtype), v, y * shrink[:, None], "ieee")
    # 4. logarithm of the row sum
    tl.store(lse_ptr + head * S + first_query + tl.arange(0, BLOCK_Q), m + tl.log(total))
    # 6. division by the row sum
    tl.store(tile_of(y_ptr, head, S, first_query, D, BLOCK_Q), (y / total[:, None]).to(y_ptr.dtype.element_ty))


@triton.jit
def attention_first_delta_kernel(
    y_ptr,  # (heads, S, D), read: what the forward pass gave
    dy_ptr,  # (heads, S, D), read: the gradient of y
    delta_ptr,  # (heads, S), written: dy . y, which is sum_j P_ij dP_ij
    S,  # queries of a head
    D: tl.constexpr,  # features of a head
    BLOCK_Q: tl.constexpr,  # queries of a tile
):
    """One program owns BLOCK_Q queries of one head."""
    ACC: tl.constexpr = delta_ptr.dtype.element_ty
    head, first_query = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK_Q
    y = tl.load(tile_of(y_ptr, head, S, first_query, D, BLOCK_Q)).to(ACC)
    dy = tl.load(tile_of(dy_ptr, head, S, first_query, D, BLOCK_Q)).to(ACC)
    # 1. delta
    tl.store(delta_ptr + head * S + first_query + tl.arange(0, BLOCK_Q), tl.sum(y * dy, axis=1))


@triton.jit
def attention_first_queries_kernel(
    q_ptr,  # (heads, S, D), read: queries
    k_ptr,  # (heads, T, D), read: keys
    v_ptr,  # (heads, T, D), read: values
    dy_ptr,  # (heads, S, D), read: the gradient of y
    lse_ptr,  # (heads, S), read: log-sum-exp of the scores
    delta_ptr,  # (heads, S), read: dy . y
    dq_ptr,  # (heads, S, D), written: the gradient of q
    S,  # queries of a head
    T,  # keys of a head
    D: tl.constexpr,  # features of a head
    BLOCK_Q: tl.constexpr,  # queries of a tile
    BLOCK_K: tl.constexpr,  # keys of a tile
):
    """One program owns BLOCK_Q queries of one head and walks over the keys."""
    ACC: tl.constexpr = lse_ptr.dtype.element_ty
    head, first_query = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK_Q
    q = tl.load(tile_of(q_ptr, head, S, first_query, D, BLOCK_Q))
    dy = tl.load(tile_of(dy_ptr, head, S, first_query, D, BLOCK_Q))
    row = head * S + first_query + tl.arange(0, BLOCK_Q)
    lse, delta = tl.load(lse_ptr + row), tl.load(delta_ptr + row)
    dq = tl.zeros([BLOCK_Q, D], ACC)
    for first_key in tl.range(0, T, BLOCK_K):
        k = tl.load(tile_of(k_ptr, head, T, first_key, D, BLOCK_K))
        v = tl.load(tile_of(v_ptr, head, T, first_key, D, BLOCK_K))
        # 2. probabilities again
        s = dot(q, tl.trans(k), tl.zeros([BLOCK_Q, BLOCK_K], ACC), "ieee") * D**-0.5
        p = tl.exp(s - lse[:, None])
        # 3. dP
        dp = dot(dy, tl.trans(v), tl.zeros([BLOCK_Q, BLOCK_K], ACC), "ieee")
        # 4. through the softmax, and the scale
        ds = p * (dp - delta[:, None]) * D**-0.5
        # 5. dQ
        dq = dot(ds.to(k.dtype), k, dq, "ieee")
    tl.store(tile_of(dq_ptr, head, S, first_query, D, BLOCK_Q), dq.to(dq_ptr.dtype.element_ty))


@triton.jit
def attention_first_keys_kernel(
    q_ptr,  # (heads, S, D), read: queries
    k_ptr,  # (heads, T, D), read: keys
    v_ptr,  # (heads, T, D), read: values
    dy_ptr,  # (heads, S, D), read: the gradient of y
    lse_ptr,  # (heads, S), read: log-sum-exp of the scores
    delta_ptr,  # (heads, S), read: dy . y
    dk_ptr,  # (heads, T, D), written: the gradient of k
    dv_ptr,  # (heads, T, D), written: the gradient of v
    S,  # queries of a head
    T,  # keys of a head
    D: tl.constexpr,  # features of a head
    BLOCK_Q: tl.constexpr,  # queries of a tile
    BLOCK_K: tl.constexpr,  # keys of a tile
):
    """One program owns BLOCK_K keys of one head and walks over the queries. Its tiles are (keys, queries)."""
    ACC: tl.constexpr = lse_ptr.dtype.element_ty
    head, first_key = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK_K
    k = tl.load(tile_of(k_ptr, head, T, first_key, D, BLOCK_K))
    v = tl.load(tile_of(v_ptr, head, T, first_key, D, BLOCK_K))
    dk = tl.zeros([BLOCK_K, D], ACC)
    dv = tl.zeros([BLOCK_K, D], ACC)
    for first_query in tl.range(0, S, BLOCK_Q):
        q = tl.load(tile_of(q_ptr, head, S, first_query, D, BLOCK_Q))
        dy = tl.load(tile_of(dy_ptr, head, S, first_query, D, BLOCK_Q))
        row = head * S + first_query + tl.arange(0, BLOCK_Q)
        lse, delta = tl.load(lse_ptr + row), tl.load(delta_ptr + row)
        # 2. probabilities again
        s = dot(k, tl.trans(q), tl.zeros([BLOCK_K, BLOCK_Q], ACC), "ieee") * D**-0.5
        p = tl.exp(s - lse[None, :])
        # 3. dP; and dV
        dp = dot(v, tl.trans(dy), tl.zeros([BLOCK_K, BLOCK_Q], ACC), "ieee")
        dv = dot(p.to(dy.dtype), dy, dv, "ieee")
        # 4. through the softmax, and the scale
        ds = p * (dp - delta[None, :]) * D**-0.5
        # 5. dK
        dk = dot(ds.to(q.dtype), q, dk, "ieee")
    tl.store(tile_of(dk_ptr, head, T, first_key, D, BLOCK_K), dk.to(dk_ptr.dtype.element_ty))
    tl.store(tile_of(dv_ptr, head, T, first_key, D, BLOCK_K), dv.to(dv_ptr.dtype.element_ty))


# --- launchers --------------------------------------------------------------------------------------------------------


class FirstSaved(NamedTuple):
    """What backward needs, head by head."""

    q: Float[Tensor, "heads S D"]
    k: Float[Tensor, "heads T D"]
    v: Float[Tensor, "heads T D"]
    y: Float[Tensor, "heads S D"]
    lse: Float[Tensor, "B h S"]
    num_heads: int


@launcher
def attention(
    q: Float[Tensor, "B S H"],
    k: Float[Tensor, "B T H"],
    v: Float[Tensor, "B T H"],
    num_heads: int,
    *,
    block: tuple[int, int] | None = None,
) -> tuple[Float[Tensor, "B S H"], FirstSaved]:
    """Each query's average of the values, in `num_heads` slices of H. `block`: queries and keys of a tile, powers of two from
    16; if it is not said, the largest up to 64 (in float32 up to 32) that S and T are multiples of.

    Raises ValueError unless S and T are multiples of the tile, and H / `num_heads` is 16, 32, 64 or 128.
    """
    T = k.shape[-2]
    for name, x in (("k", k), ("v", v)):
        require("attention", name, x, (q.shape[0], T, q.shape[-1]), q.dtype)
    block = _tile(q.shape[1], T, q.shape[-1], num_heads, block, _largest(q))
    heads = [_heads_apart(x, num_heads) for x in (q, k, v)]
    S, D = heads[0].shape[1:]
    y = torch.empty_like(heads[0])
    lse = torch.empty((len(q), num_heads, S), dtype=statistics_dtype(y), device=y.device)
    attention_first_kernel[(len(y), S // block[0])](*heads, y, lse, S, T, D, *block)
    return _heads_together(y, num_heads), FirstSaved(heads[0], heads[1], heads[2], y, lse, num_heads)


@launcher
def attention_backward(
    dy: Float[Tensor, "B S H"], saved: FirstSaved, *, block: tuple[int, int] | None = None
) -> tuple[Float[Tensor, "B S H"], Float[Tensor, "B T H"], Float[Tensor, "B T H"]]:
    """dq, dk, dv. Raises what `attention` raises."""
    require_saved("attention_backward", saved, FirstSaved)
    q, k, v, y, lse, num_heads = saved
    (heads, S, D), T = q.shape, k.shape[1]
    require("attention_backward", "dy", dy, (heads // num_heads, S, num_heads * D), q.dtype)
    block = _tile(S, T, num_heads * D, num_heads, block, _largest(q))
    dy = _heads_apart(dy, num_heads)
    delta = torch.empty_like(lse)
    dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
    queries, keys = (heads, S // block[0]), (heads, T // block[1])
    attention_first_delta_kernel[queries](y, dy, delta, S, D, block[0])
    attention_first_queries_kernel[queries](q, k, v, dy, lse, delta, dq, S, T, D, *block)
    attention_first_keys_kernel[keys](q, k, v, dy, lse, delta, dk, dv, S, T, D, *block)
    return _heads_together(dq, num_heads), _heads_together(dk, num_heads), _heads_together(dv, num_heads)


def _tile(S: int, T: int, width: int, num_heads: int, block: tuple[int, int] | None, largest: int) -> tuple[int, int]:
    """Queries and keys of a tile. Raises ValueError for sizes that have none."""
    if block is None:
        block = max(16, math.gcd(largest, S)), max(16, math.gcd(largest, T))
    for side, value in enumerate(block):
        require_power_of_two("attention", f"block[{side}]", value, 16)
    if S % block[0] or T % block[1] or S == 0 or T == 0:
        raise ValueError(f"the first rung has whole tiles of {block[0]} x {block[1]}, got {S} queries and {T} keys")
    if width not in (num_heads * features for features in (16, 32, 64, 128)):
        raise ValueError(f"the first rung has heads of 16, 32, 64 or 128 features, got {width} in {num_heads} heads")
    return block


def _largest(x: Tensor) -> int:
    """The largest side of a tile whose program has room in its registers."""
    return 64 if x.element_size() == 2 else 32


def _heads_apart(x: Float[Tensor, "B S H"], num_heads: int) -> Float[Tensor, "heads S D"]:
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2).flatten(0, 1).contiguous()


def _heads_together(x: Float[Tensor, "heads S D"], num_heads: int) -> Float[Tensor, "B S H"]:
    return x.unflatten(0, (-1, num_heads)).transpose(1, 2).flatten(2)
