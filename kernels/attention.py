"""Attention over several heads, in Triton: the twin of `minirembert/ops/attention.py`, which has the formulas.

Scores and probabilities never leave the chip. A program owns some queries and walks over the keys in blocks, keeping for
each query the largest score m so far, the sum of exp(score - m) and the average of the values weighted by it. When a block
brings a larger m, sum and average shrink by exp(m_old - m_new). Where all keys fit one block there is nothing to
shrink, and that path is written out first.

Traffic: q, k, v are read and y is written, 4 B S H numbers (k and v again for every block of queries, which the L2 cache
is there for). Forward does 4 S T d FLOPs a head. Backward does 10: it computes the scores and dP once in the kernel that
owns keys (dk, dv) and again in the one that owns queries (dq), 14 in all, so that every sum has one owner: no atomics,
and the same bits on every run. Where a whole head fits one tile, one program does all of it with 10.

Keys that nobody in the tile may see are not visited, and only tiles on an edge are compared with it. Heads are slices of H
and are read where they lie, so q, k and v may be slices of one packed product.

Not here: what a tile is made of (`_attention_tiles.py`), projections, a gradient for the bias.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from kernels._attention_tiles import (
    exponential,
    keep,
    key_range,
    load_rows,
    log_sum_exp,
    my_draws,
    my_length,
    my_sequence,
    my_tile,
    probabilities,
    query_range,
    scores,
    store_rows,
)
from kernels._launch import INTERPRETED, accumulator, dot, input_precision, launcher, statistics_dtype
from kernels.random import dropout_factor
from minirembert.ops.attention import AttentionPackedSaved, AttentionSaved, check_cu_seqlens, check_key_lengths
from minirembert.ops.random import check_drop_prob


@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, y_ptr, lse_ptr, lse_rest_ptr, bias_ptr, key_lengths_ptr, cu_seqlens_ptr, firsts_ptr,
    blocks, S, T, heads, tokens, q_batch, q_row, k_batch, k_row, v_batch, v_row,
    bias_batch, bias_head, bias_query, bias_key, seed: tl.uint64,
    D: tl.constexpr, HEAD: tl.constexpr, CAUSAL: tl.constexpr, BIAS: tl.constexpr, DROP_PROB: tl.constexpr,
    FACTOR: tl.constexpr, FOURS: tl.constexpr, ACC: tl.constexpr, LOWEST: tl.constexpr, PRECISION: tl.constexpr,
    ONE_TILE: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    # One program owns BLOCK_Q queries of one head of one sequence.
    block, head, b = my_tile(blocks, heads)
    batch, S, T, query0, _, row0 = my_sequence(b, head, heads, S, T, tokens, cu_seqlens_ptr)
    first_query = block * BLOCK_Q
    if first_query >= S:
        return
    length = my_length(b, T, key_lengths_ptr)
    draws = my_draws(b, head, heads, S, T, firsts_ptr)
    k_ptr += batch * k_batch + head * D
    v_ptr += batch * v_batch + head * D
    if BIAS is not None:
        bias_ptr += b * bias_batch + head * bias_head
    query = first_query + tl.arange(0, BLOCK_Q)
    q = load_rows(q_ptr + batch * q_batch + head * D, query, S, q_row, D, HEAD, True)

    if ONE_TILE:
        key = tl.arange(0, BLOCK_K)
        k = load_rows(k_ptr, key, T, k_row, D, HEAD, True)
        # 1. scores
        s = scores(
            q, k, query[:, None], key[None, :], S, T, length, bias_ptr, bias_query, bias_key,
            D, CAUSAL, BIAS, True, ACC, LOWEST, PRECISION,
        )  # fmt: skip
        # 2. row maximum
        m = tl.max(s, axis=1)
        # 3. exponentials of the differences
        p = exponential(s - m[:, None], BIAS)
        # 4. row sum
        total = tl.sum(p, axis=1)
        # 5. dropout
        if DROP_PROB > 0:
            p = p * keep(seed, draws, query[:, None], 0, T, DROP_PROB, FACTOR, FOURS, BLOCK_K)
        # 6. average of the values
        v = load_rows(v_ptr, key, T, v_row, D, HEAD, True)
        y = dot(p.to(v.dtype), v, tl.zeros([BLOCK_Q, HEAD], ACC), PRECISION)
    else:
        m = tl.full([BLOCK_Q], -float("inf"), ACC)
        total = tl.zeros([BLOCK_Q], ACC)
        y = tl.zeros([BLOCK_Q, HEAD], ACC)
        whole, end = key_range(first_query, S, T, length, CAUSAL, BIAS, BLOCK_Q, BLOCK_K)
        for EDGE in tl.static_range(2):  # the same loop over the whole blocks, then with comparisons over the others
            for first_key in tl.range(whole if EDGE else 0, end if EDGE else whole, BLOCK_K):
                key = first_key + tl.arange(0, BLOCK_K)
                k = load_rows(k_ptr, key, T, k_row, D, HEAD, EDGE)
                # 1. scores
                s = scores(
                    q, k, query[:, None], key[None, :], S, T, length, bias_ptr, bias_query, bias_key,
                    D, CAUSAL, BIAS, EDGE, ACC, LOWEST, PRECISION,
                )  # fmt: skip
                # 2. row maximum so far
                new_m = tl.maximum(m, tl.max(s, axis=1))
                # 3. exponentials of the differences, and what a smaller maximum made too large
                p = exponential(s - new_m[:, None], BIAS)
                shrink = exponential(m - new_m, BIAS)
                m = new_m
                # 4. row sum
                total = total * shrink + tl.sum(p, axis=1)
                # 5. dropout
                if DROP_PROB > 0:
                    p = p * keep(seed, draws, query[:, None], first_key, T, DROP_PROB, FACTOR, FOURS, BLOCK_K)
                # 6. average of the values
                v = load_rows(v_ptr, key, T, v_row, D, HEAD, EDGE)
                y = dot(p.to(v.dtype), v, y * shrink[:, None], PRECISION)

    # 4. its logarithm, and what adding the maximum to that takes from it
    lse, lse_rest = log_sum_exp(m, total, BIAS, LOWEST)
    tl.store(lse_ptr + row0 + query, lse, mask=query < S)
    tl.store(lse_rest_ptr + row0 + query, lse_rest, mask=query < S)
    # 6. division by the row sum
    width = heads * D
    store_rows(y_ptr + query0 * width + head * D, y / total[:, None], query, S, width, D, HEAD)


@triton.jit
def attention_delta_kernel(
    dy_ptr, y_ptr, delta_ptr, cu_seqlens_ptr, blocks, S, heads, tokens, dy_batch, dy_row,
    D: tl.constexpr, HEAD: tl.constexpr, ACC: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    # One program owns BLOCK_Q queries of one head of one sequence.
    block, head, b = my_tile(blocks, heads)
    batch, S, _, query0, _, row0 = my_sequence(b, head, heads, S, S, tokens, cu_seqlens_ptr)
    query = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    width = heads * D
    dy = load_rows(dy_ptr + batch * dy_batch + head * D, query, S, dy_row, D, HEAD, True).to(ACC)
    y = load_rows(y_ptr + query0 * width + head * D, query, S, width, D, HEAD, True).to(ACC)
    # 1. delta
    tl.store(delta_ptr + row0 + query, tl.sum(dy * y, axis=1), mask=query < S)


@triton.jit
def attention_backward_keys_kernel(
    q_ptr, k_ptr, v_ptr, dy_ptr, lse_ptr, lse_rest_ptr, delta_ptr, dk_ptr, dv_ptr,
    bias_ptr, key_lengths_ptr, cu_seqlens_ptr, firsts_ptr,
    blocks, S, T, heads, tokens, q_batch, q_row, k_batch, k_row, v_batch, v_row, dy_batch, dy_row,
    bias_batch, bias_head, bias_query, bias_key, seed: tl.uint64,
    D: tl.constexpr, HEAD: tl.constexpr, CAUSAL: tl.constexpr, BIAS: tl.constexpr, DROP_PROB: tl.constexpr,
    FACTOR: tl.constexpr, FOURS: tl.constexpr, ACC: tl.constexpr, LOWEST: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    # One program owns BLOCK_K keys of one head of one sequence. Its tiles are (keys, queries).
    block, head, b = my_tile(blocks, heads)
    batch, S, T, _, key0, row0 = my_sequence(b, head, heads, S, T, tokens, cu_seqlens_ptr)
    first_key = block * BLOCK_K
    if first_key >= T:
        return
    length = my_length(b, T, key_lengths_ptr)
    draws = my_draws(b, head, heads, S, T, firsts_ptr)
    q_ptr += batch * q_batch + head * D
    dy_ptr += batch * dy_batch + head * D
    if BIAS is not None:
        bias_ptr += b * bias_batch + head * bias_head
    key = first_key + tl.arange(0, BLOCK_K)
    k = load_rows(k_ptr + batch * k_batch + head * D, key, T, k_row, D, HEAD, True)
    v = load_rows(v_ptr + batch * v_batch + head * D, key, T, v_row, D, HEAD, True)

    dk = tl.zeros([BLOCK_K, HEAD], ACC)
    dv = tl.zeros([BLOCK_K, HEAD], ACC)
    start, whole = query_range(first_key, S, T, length, CAUSAL, BIAS, BLOCK_Q, BLOCK_K)
    for WHOLE in tl.static_range(2):  # the same loop with comparisons, then over the queries that see all these keys
        for first_query in tl.range(whole if WHOLE else start, S if WHOLE else whole, BLOCK_Q):
            query = first_query + tl.arange(0, BLOCK_Q)
            q = load_rows(q_ptr, query, S, q_row, D, HEAD, True)
            dy = load_rows(dy_ptr, query, S, dy_row, D, HEAD, True)
            # 1. delta
            delta = tl.load(delta_ptr + row0 + query, mask=query < S, other=0)
            # 2. probabilities again
            s = scores(
                k, q, query[None, :], key[:, None], S, T, length, bias_ptr, bias_query, bias_key,
                D, CAUSAL, BIAS, not WHOLE, ACC, LOWEST, PRECISION,
            )  # fmt: skip
            lse = tl.load(lse_ptr + row0 + query, mask=query < S, other=0)
            lse_rest = tl.load(lse_rest_ptr + row0 + query, mask=query < S, other=0)
            p = probabilities(s, lse[None, :], lse_rest[None, :], BIAS, LOWEST)
            # 3. dV, through the probabilities that dropout kept; and dP
            dp = dot(v, tl.trans(dy), tl.zeros([BLOCK_K, BLOCK_Q], ACC), PRECISION)
            kept = p
            if DROP_PROB > 0:
                factor = tl.trans(keep(seed, draws, query[:, None], first_key, T, DROP_PROB, FACTOR, FOURS, BLOCK_K))
                kept = p * factor
                dp = dp * factor
            dv = dot(kept.to(dy.dtype), dy, dv, PRECISION)
            # 4. through the softmax; the scale waits for the end
            ds = p * (dp - delta[None, :])
            # 5. dK
            dk = dot(ds.to(q.dtype), q, dk, PRECISION)

    width = heads * D
    store_rows(dk_ptr + key0 * width + head * D, dk * D**-0.5, key, T, width, D, HEAD)
    store_rows(dv_ptr + key0 * width + head * D, dv, key, T, width, D, HEAD)


@triton.jit
def attention_backward_queries_kernel(
    q_ptr, k_ptr, v_ptr, dy_ptr, lse_ptr, lse_rest_ptr, delta_ptr, dq_ptr,
    bias_ptr, key_lengths_ptr, cu_seqlens_ptr, firsts_ptr,
    blocks, S, T, heads, tokens, q_batch, q_row, k_batch, k_row, v_batch, v_row, dy_batch, dy_row,
    bias_batch, bias_head, bias_query, bias_key, seed: tl.uint64,
    D: tl.constexpr, HEAD: tl.constexpr, CAUSAL: tl.constexpr, BIAS: tl.constexpr, DROP_PROB: tl.constexpr,
    FACTOR: tl.constexpr, FOURS: tl.constexpr, ACC: tl.constexpr, LOWEST: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    # One program owns BLOCK_Q queries of one head of one sequence.
    block, head, b = my_tile(blocks, heads)
    batch, S, T, query0, _, row0 = my_sequence(b, head, heads, S, T, tokens, cu_seqlens_ptr)
    first_query = block * BLOCK_Q
    if first_query >= S:
        return
    length = my_length(b, T, key_lengths_ptr)
    draws = my_draws(b, head, heads, S, T, firsts_ptr)
    k_ptr += batch * k_batch + head * D
    v_ptr += batch * v_batch + head * D
    if BIAS is not None:
        bias_ptr += b * bias_batch + head * bias_head
    query = first_query + tl.arange(0, BLOCK_Q)
    q = load_rows(q_ptr + batch * q_batch + head * D, query, S, q_row, D, HEAD, True)
    dy = load_rows(dy_ptr + batch * dy_batch + head * D, query, S, dy_row, D, HEAD, True)
    lse = tl.load(lse_ptr + row0 + query, mask=query < S, other=0)
    lse_rest = tl.load(lse_rest_ptr + row0 + query, mask=query < S, other=0)
    # 1. delta
    delta = tl.load(delta_ptr + row0 + query, mask=query < S, other=0)

    dq = tl.zeros([BLOCK_Q, HEAD], ACC)
    whole, end = key_range(first_query, S, T, length, CAUSAL, BIAS, BLOCK_Q, BLOCK_K)
    for EDGE in tl.static_range(2):  # the same loop over the whole blocks, then with comparisons over the others
        for first_key in tl.range(whole if EDGE else 0, end if EDGE else whole, BLOCK_K):
            key = first_key + tl.arange(0, BLOCK_K)
            k = load_rows(k_ptr, key, T, k_row, D, HEAD, EDGE)
            v = load_rows(v_ptr, key, T, v_row, D, HEAD, EDGE)
            # 2. probabilities again
            s = scores(
                q, k, query[:, None], key[None, :], S, T, length, bias_ptr, bias_query, bias_key,
                D, CAUSAL, BIAS, EDGE, ACC, LOWEST, PRECISION,
            )  # fmt: skip
            p = probabilities(s, lse[:, None], lse_rest[:, None], BIAS, LOWEST)
            # 3. dP
            dp = dot(dy, tl.trans(v), tl.zeros([BLOCK_Q, BLOCK_K], ACC), PRECISION)
            if DROP_PROB > 0:
                dp = dp * keep(seed, draws, query[:, None], first_key, T, DROP_PROB, FACTOR, FOURS, BLOCK_K)
            # 4. through the softmax; the scale waits for the end
            ds = p * (dp - delta[:, None])
            # 5. dQ
            dq = dot(ds.to(k.dtype), k, dq, PRECISION)

    width = heads * D
    store_rows(dq_ptr + query0 * width + head * D, dq * D**-0.5, query, S, width, D, HEAD)


@triton.jit
def attention_backward_head_kernel(
    q_ptr, k_ptr, v_ptr, y_ptr, dy_ptr, lse_ptr, lse_rest_ptr, dq_ptr, dk_ptr, dv_ptr,
    bias_ptr, key_lengths_ptr, cu_seqlens_ptr, firsts_ptr,
    S, T, heads, tokens, q_batch, q_row, k_batch, k_row, v_batch, v_row, dy_batch, dy_row,
    bias_batch, bias_head, bias_query, bias_key, seed: tl.uint64,
    D: tl.constexpr, HEAD: tl.constexpr, CAUSAL: tl.constexpr, BIAS: tl.constexpr, DROP_PROB: tl.constexpr,
    FACTOR: tl.constexpr, FOURS: tl.constexpr, ACC: tl.constexpr, LOWEST: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    # One program owns one head of one sequence, whose queries are one block.
    _, head, b = my_tile(1, heads)
    batch, S, T, query0, key0, row0 = my_sequence(b, head, heads, S, T, tokens, cu_seqlens_ptr)
    length = my_length(b, T, key_lengths_ptr)
    draws = my_draws(b, head, heads, S, T, firsts_ptr)
    k_ptr += batch * k_batch + head * D
    v_ptr += batch * v_batch + head * D
    if BIAS is not None:
        bias_ptr += b * bias_batch + head * bias_head
    width = heads * D
    query = tl.arange(0, BLOCK_Q)
    q = load_rows(q_ptr + batch * q_batch + head * D, query, S, q_row, D, HEAD, True)
    dy = load_rows(dy_ptr + batch * dy_batch + head * D, query, S, dy_row, D, HEAD, True)
    y = load_rows(y_ptr + query0 * width + head * D, query, S, width, D, HEAD, True)
    lse = tl.load(lse_ptr + row0 + query, mask=query < S, other=0)
    lse_rest = tl.load(lse_rest_ptr + row0 + query, mask=query < S, other=0)
    # 1. delta
    delta = tl.sum(dy.to(ACC) * y.to(ACC), axis=1)

    dq = tl.zeros([BLOCK_Q, HEAD], ACC)
    for first_key in tl.range(0, T, BLOCK_K):
        key = first_key + tl.arange(0, BLOCK_K)
        k = load_rows(k_ptr, key, T, k_row, D, HEAD, True)
        v = load_rows(v_ptr, key, T, v_row, D, HEAD, True)
        # 2. probabilities again
        s = scores(
            q, k, query[:, None], key[None, :], S, T, length, bias_ptr, bias_query, bias_key,
            D, CAUSAL, BIAS, True, ACC, LOWEST, PRECISION,
        )  # fmt: skip
        p = probabilities(s, lse[:, None], lse_rest[:, None], BIAS, LOWEST)
        # 3. dV, through the probabilities that dropout kept; and dP
        dp = dot(dy, tl.trans(v), tl.zeros([BLOCK_Q, BLOCK_K], ACC), PRECISION)
        kept = p
        if DROP_PROB > 0:
            factor = keep(seed, draws, query[:, None], first_key, T, DROP_PROB, FACTOR, FOURS, BLOCK_K)
            kept = p * factor
            dp = dp * factor
        dv = dot(tl.trans(kept.to(dy.dtype)), dy, tl.zeros([BLOCK_K, HEAD], ACC), PRECISION)
        store_rows(dv_ptr + key0 * width + head * D, dv, key, T, width, D, HEAD)
        # 4. through the softmax; the scale waits for the end
        ds = (p * (dp - delta[:, None])).to(q.dtype)
        # 5. dQ and dK
        dq = dot(ds, k, dq, PRECISION)
        dk = dot(tl.trans(ds), q, tl.zeros([BLOCK_K, HEAD], ACC), PRECISION)
        store_rows(dk_ptr + key0 * width + head * D, dk * D**-0.5, key, T, width, D, HEAD)
    store_rows(dq_ptr + query0 * width + head * D, dq * D**-0.5, query, S, width, D, HEAD)


@triton.jit
def attention_probabilities_kernel(
    q_ptr, k_ptr, lse_ptr, lse_rest_ptr, p_ptr, bias_ptr, key_lengths_ptr, cu_seqlens_ptr, firsts_ptr,
    blocks, S, T, heads, tokens, q_batch, q_row, k_batch, k_row,
    bias_batch, bias_head, bias_query, bias_key, seed: tl.uint64,
    D: tl.constexpr, HEAD: tl.constexpr, CAUSAL: tl.constexpr, BIAS: tl.constexpr, DROP_PROB: tl.constexpr,
    FACTOR: tl.constexpr, FOURS: tl.constexpr, ACC: tl.constexpr, LOWEST: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    # One program owns BLOCK_Q queries of one head of one sequence.
    block, head, b = my_tile(blocks, heads)
    batch, S, T, _, _, row0 = my_sequence(b, head, heads, S, T, tokens, cu_seqlens_ptr)
    length = my_length(b, T, key_lengths_ptr)
    draws = my_draws(b, head, heads, S, T, firsts_ptr)
    if BIAS is not None:
        bias_ptr += b * bias_batch + head * bias_head
    query = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    q = load_rows(q_ptr + batch * q_batch + head * D, query, S, q_row, D, HEAD, True)
    lse = tl.load(lse_ptr + row0 + query, mask=query < S, other=0)
    lse_rest = tl.load(lse_rest_ptr + row0 + query, mask=query < S, other=0)
    for first_key in tl.range(0, T, BLOCK_K):
        key = first_key + tl.arange(0, BLOCK_K)
        k = load_rows(k_ptr + batch * k_batch + head * D, key, T, k_row, D, HEAD, True)
        s = scores(
            q, k, query[:, None], key[None, :], S, T, length, bias_ptr, bias_query, bias_key,
            D, CAUSAL, BIAS, True, ACC, LOWEST, PRECISION,
        )  # fmt: skip
        p = probabilities(s, lse[:, None], lse_rest[:, None], BIAS, LOWEST)
        if DROP_PROB > 0:
            p = p * keep(seed, draws, query[:, None], first_key, T, DROP_PROB, FACTOR, FOURS, BLOCK_K)
        address = p_ptr + (row0 + query[:, None]) * T + key[None, :]
        tl.store(address, p.to(p_ptr.dtype.element_ty), mask=(query[:, None] < S) & (key[None, :] < T))


@launcher
def attention(
    q: Float[Tensor, "B S H"],
    k: Float[Tensor, "B T H"],
    v: Float[Tensor, "B T H"],
    num_heads: int,
    bias: Float[Tensor, "..."] | Bool[Tensor, "..."] | None = None,
    key_lengths: Integer[Tensor, " B"] | None = None,
    causal: bool = False,
    drop_prob: float = 0.0,
    seed: int = 0,
    *,
    block: tuple[int, int] | None = None,
) -> tuple[Float[Tensor, "B S H"], AttentionSaved]:
    """Each query's average of the values. `block`: queries and keys of a tile, powers of two from 16.

    `bias` must broadcast to (B, h, S, T). To check `key_lengths` waits for the device. Raises ValueError if H is no
    multiple of `num_heads`, a length is outside [0, T] or `drop_prob` outside [0, 1).
    """
    check_drop_prob(drop_prob)
    if key_lengths is not None:
        check_key_lengths(key_lengths.cpu().numpy(), k.shape[1])
    problem = _problem(q, k, num_heads, bias, key_lengths, None, causal, drop_prob, seed)
    y, lse, lse_rest = _forward(q, k, v, problem, block)
    return y, AttentionSaved(q, k, v, bias, key_lengths, y, lse, lse_rest, num_heads, causal, drop_prob, seed)


@launcher
def attention_backward(
    dy: Float[Tensor, "B S H"], saved: AttentionSaved, *, block: tuple[int, int] | None = None
) -> tuple[Float[Tensor, "B S H"], Float[Tensor, "B T H"], Float[Tensor, "B T H"]]:
    """dq, dk, dv."""
    s = saved
    problem = _problem(s.q, s.k, s.num_heads, s.bias, s.key_lengths, None, s.causal, s.drop_prob, s.seed)
    return _backward(dy, saved, problem, block)


@launcher
def attention_packed(
    q: Float[Tensor, "N H"],
    k: Float[Tensor, "N H"],
    v: Float[Tensor, "N H"],
    num_heads: int,
    cu_seqlens: Integer[Tensor, " ends"],
    causal: bool = False,
    drop_prob: float = 0.0,
    seed: int = 0,
    *,
    block: tuple[int, int] | None = None,
) -> tuple[Float[Tensor, "N H"], AttentionPackedSaved]:
    """`attention` within each of several sequences that lie end to end: tokens cu_seqlens[b] to cu_seqlens[b + 1].

    To read `cu_seqlens` waits for the device. Raises ValueError unless it starts at 0, never falls and ends at N.
    """
    check_drop_prob(drop_prob)
    check_cu_seqlens(cu_seqlens.cpu().numpy(), len(q))
    problem = _problem(q, k, num_heads, None, None, cu_seqlens, causal, drop_prob, seed)
    y, lse, lse_rest = _forward(q, k, v, problem, block)
    return y, AttentionPackedSaved(q, k, v, cu_seqlens, y, lse, lse_rest, num_heads, causal, drop_prob, seed)


@launcher
def attention_packed_backward(
    dy: Float[Tensor, "N H"], saved: AttentionPackedSaved, *, block: tuple[int, int] | None = None
) -> tuple[Float[Tensor, "N H"], Float[Tensor, "N H"], Float[Tensor, "N H"]]:
    """dq, dk, dv. Waits for the device to read the lengths."""
    s = saved
    problem = _problem(s.q, s.k, s.num_heads, None, None, s.cu_seqlens, s.causal, s.drop_prob, s.seed)
    return _backward(dy, saved, problem, block)


@launcher
def attention_probabilities(
    q: Float[Tensor, "B S H"],
    k: Float[Tensor, "B T H"],
    num_heads: int,
    bias: Float[Tensor, "..."] | Bool[Tensor, "..."] | None = None,
    key_lengths: Integer[Tensor, " B"] | None = None,
    causal: bool = False,
    drop_prob: float = 0.0,
    seed: int = 0,
    *,
    block: tuple[int, int] | None = None,
) -> tuple[Float[Tensor, "B h S T"], None]:
    """The probabilities that `attention` uses, after dropout: for looking at. It has no backward."""
    _, saved = attention(q, k, k, num_heads, bias, key_lengths, causal, block=block)
    q, k = _dense(q), _dense(k)
    problem = _problem(q, k, num_heads, bias, key_lengths, None, causal, drop_prob, seed)
    p = torch.empty((*saved.lse.shape, k.shape[1]), dtype=q.dtype, device=q.device)
    tile = choose_tile("queries", problem, q.dtype, block)
    blocks = triton.cdiv(problem["S"], tile["BLOCK_Q"])
    attention_probabilities_kernel[(blocks * num_heads * len(q),)](
        q, k, saved.lse, saved.lse_rest, p, blocks=blocks, **_strides(q=q, k=k), **problem, **tile
    )
    return p, None


# --- what launchers share ---------------------------------------------------------------------------------------------


def _problem(
    q: Tensor, k: Tensor, num_heads: int, bias: Tensor | None, key_lengths: Tensor | None, cu_seqlens: Tensor | None,
    causal: bool, drop_prob: float, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """What all kernels are told alike."""
    if q.shape[-1] % num_heads:
        raise ValueError(f"the width {q.shape[-1]} is not a multiple of the number of heads {num_heads}")
    firsts = None
    if cu_seqlens is None:
        (batch, S, _), T = q.shape, k.shape[1]
    else:
        lengths = cu_seqlens.diff().long()
        batch, S = len(lengths), int(lengths.max())
        T = S
        if drop_prob:
            firsts = num_heads * (lengths.square().cumsum(0) - lengths.square())
    kind, strides = None, (None,) * 4
    if bias is not None:
        kind = "boolean" if bias.dtype == torch.bool else "added"
        if bias.dtype == torch.float64:
            bias = bias.to(statistics_dtype(q))  # what does not fit becomes -inf
        bias = bias.expand(batch, num_heads, S, T)
        strides = bias.stride()
        if strides[2] == 0:
            strides = (*strides[:2], None, strides[3])  # one row for all queries
    D = q.shape[-1] // num_heads
    return {
        "bias_ptr": bias,
        "key_lengths_ptr": None if key_lengths is None else key_lengths.contiguous(),
        "cu_seqlens_ptr": None if cu_seqlens is None else cu_seqlens.contiguous(),
        "firsts_ptr": firsts,
        "S": S,
        "T": T,
        "heads": num_heads,
        "tokens": q.shape[0],
        "seed": seed,
        **dict(zip(("bias_batch", "bias_head", "bias_query", "bias_key"), strides, strict=True)),
        "D": D,
        "HEAD": max(16, triton.next_power_of_2(D)),
        "CAUSAL": causal,
        "BIAS": kind,
        "DROP_PROB": drop_prob,
        "FACTOR": dropout_factor(drop_prob),
        "FOURS": T % 4 == 0 and cu_seqlens is None,
        "ACC": accumulator(q),
        "LOWEST": torch.finfo(statistics_dtype(q)).min,
        "PRECISION": input_precision(),
    }


def _sequences(problem: dict[str, Any], q: Tensor) -> int:
    return len(q) if problem["cu_seqlens_ptr"] is None else len(problem["cu_seqlens_ptr"]) - 1


def _forward(q: Tensor, k: Tensor, v: Tensor, problem: dict[str, Any], block: tuple[int, int] | None) -> Any:
    """y, lse, lse_rest."""
    y = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    heads = problem["heads"]
    shape = (len(q), heads, q.shape[1]) if q.ndim == 3 else (heads, len(q))
    lse, lse_rest = (torch.empty(shape, dtype=statistics_dtype(q), device=q.device) for _ in range(2))
    q, k, v = (_dense(x) for x in (q, k, v))
    tile = choose_tile("one tile", problem, q.dtype, block)
    one_tile = problem["T"] <= tile["BLOCK_K"]
    if not one_tile:
        tile = choose_tile("forward", problem, q.dtype, block)
    blocks = triton.cdiv(problem["S"], tile["BLOCK_Q"])
    attention_kernel[(blocks * heads * _sequences(problem, q),)](
        q, k, v, y, lse, lse_rest, blocks=blocks, **_strides(q=q, k=k, v=v), **problem, **tile, ONE_TILE=one_tile
    )
    return y, lse, lse_rest


def _backward(dy: Tensor, saved: Any, problem: dict[str, Any], block: tuple[int, int] | None) -> Any:
    """dq, dk, dv."""
    q, k, v, dy = (_dense(x) for x in (saved.q, saved.k, saved.v, dy))
    y, lse, lse_rest = saved.y.contiguous(), saved.lse, saved.lse_rest
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    strides = _strides(q=q, k=k, v=v, dy=dy)
    S, T, heads = problem["S"], problem["T"], problem["heads"]
    pairs = heads * _sequences(problem, q)

    tile = choose_tile("head", problem, q.dtype, block)
    if max(S, T) <= tile["BLOCK_Q"]:
        attention_backward_head_kernel[(pairs,)](
            q, k, v, y, dy, lse, lse_rest, dq, dk, dv, **strides, **problem, **tile
        )  # fmt: skip
        return dq, dk, dv

    delta = torch.empty_like(lse)
    tile = choose_tile("queries", problem, q.dtype, block)
    blocks = triton.cdiv(S, tile["BLOCK_Q"])
    attention_delta_kernel[(blocks * pairs,)](
        dy, y, delta, problem["cu_seqlens_ptr"], blocks, S, heads, problem["tokens"], dy.stride(0), dy.stride(-2),
        problem["D"], problem["HEAD"], problem["ACC"], tile["BLOCK_Q"],
    )  # fmt: skip
    attention_backward_queries_kernel[(blocks * pairs,)](
        q, k, v, dy, lse, lse_rest, delta, dq, blocks=blocks, **strides, **problem, **tile
    )
    tile = choose_tile("keys", problem, q.dtype, block)
    blocks = triton.cdiv(T, tile["BLOCK_K"])
    attention_backward_keys_kernel[(blocks * pairs,)](
        q, k, v, dy, lse, lse_rest, delta, dk, dv, blocks=blocks, **strides, **problem, **tile
    )
    return dq, dk, dv


def _dense(x: Tensor) -> Tensor:
    """The features of a token side by side in memory, as the kernels read them; the other axes as they are."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def _strides(**arrays: Tensor) -> dict[str, int]:
    """From one sequence to the next and from one token to the next; packed sequences start at any token."""
    return {f"{name}_{axis}": x.stride(i) for name, x in arrays.items() for axis, i in (("batch", 0), ("row", -2))}


# How many queries and keys make a tile, by how many warps, in how many stages of loading ahead. A tile is as large as the
# registers of its program allow: a larger one reads less, one that does not fit goes back and forth to memory.
# "one tile": forward over at most so many keys; "head": backward where queries and keys are at most so many queries.
# Tensor cores take float16 and bfloat16; exact products of float32 and float64 hold all their factors in registers.
TILES = {
    ("half", 64): {
        "one tile": (128, 128, 8, 1), "forward": (128, 64, 8, 3),
        "head": (128, 64, 8, 1), "queries": (128, 64, 8, 2), "keys": (64, 128, 8, 2),
    },
    ("half", 128): {
        "one tile": (64, 64, 8, 1), "forward": (128, 64, 8, 2),
        "head": (64, 32, 8, 1), "queries": (64, 32, 8, 2), "keys": (32, 64, 8, 2),
    },
    ("single", 64): {
        "one tile": (32, 32, 4, 1), "forward": (64, 32, 8, 2),
        "head": (32, 32, 8, 1), "queries": (32, 32, 4, 2), "keys": (32, 32, 4, 2),
    },
    ("single", 128): dict.fromkeys(("one tile", "forward", "head", "queries", "keys"), (16, 16, 4, 2)),
    ("double", 64): dict.fromkeys(("one tile", "forward", "head", "queries", "keys"), (16, 16, 4, 1)),
    ("double", 128): dict.fromkeys(("one tile", "forward", "head", "queries", "keys"), (16, 16, 4, 1)),
}  # fmt: skip
# The same where dropout, or a bias for every pair of query and key, wants registers too.
SMALL_TILES = {
    ("half", 64): {
        "one tile": (64, 128, 8, 1),
        "head": (128, 32, 8, 1), "queries": (128, 32, 8, 2), "keys": (32, 128, 8, 2),
    },
    ("half", 128): {"forward": (64, 64, 8, 2)},
}  # fmt: skip


def choose_tile(
    kernel: str, problem: dict[str, Any], dtype: torch.dtype, block: tuple[int, int] | None
) -> dict[str, int]:
    """The tile of one of the kernels; `block` overrules its size."""
    kind = {2: "half", 4: "single", 8: "double"}[dtype.itemsize], max(64, problem["HEAD"])
    queries, keys, warps, stages = TILES[kind][kernel]
    if problem["DROP_PROB"] or problem["bias_query"] is not None:
        queries, keys, warps, stages = SMALL_TILES.get(kind, {}).get(kernel, (queries, keys, warps, stages))
    queries = min(queries, max(16, triton.next_power_of_2(problem["S"])))
    keys = min(keys, max(16, triton.next_power_of_2(problem["T"])))
    queries, keys = block or (queries, keys)
    if not INTERPRETED and triton.runtime.driver.active.get_current_target().backend == "hip":
        warps = max(4, warps // 2)  # a warp of AMD's has 64 lanes
    return {"BLOCK_Q": queries, "BLOCK_K": keys, "num_warps": warps, "num_stages": stages}
