"""The kernels of attention's backward pass; their launchers are in `attention.py`, the formulas in its NumPy twin.

P comes back from the saved lse, so a tile of it can be had anywhere, in any order. dK and dV of a key are sums over queries
and dQ of a query is one over keys: a program cannot own both, and to add to what another owns would be a race, or with
atomics a different rounding on every run. So there are two kernels: one program owns keys and walks over the queries,
another owns queries and walks over the keys. Both compute the scores and dP, 14 S T d FLOPs a head in all where 10
would do. Where the queries of a head are one block, one program does own both, and does it with 10.

Traffic: q, k, v, dy are read by both kernels, y and dy before them for delta, dq, dk, dv written: 13 B S H numbers; 8 where
one program owns a head.

Not here: how large a tile is and what is done with one; see `_attention_tiles.py`.
"""

import triton
import triton.language as tl

from kernels._attention_tiles import (
    keep,
    key_range,
    load_rows,
    my_draws,
    my_length,
    my_sequence,
    my_tile,
    probabilities,
    query_range,
    scores,
    store_rows,
)
from kernels._launch import dot


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
    length, keys = my_length(b, S, T, key_lengths_ptr, CAUSAL, BIAS)
    draws = my_draws(b, head, heads, S, T, firsts_ptr)
    q_ptr += batch * q_batch + head * D
    dy_ptr += batch * dy_batch + head * D
    if BIAS is not None:
        bias_ptr += b * bias_batch + head * bias_head
    key = first_key + tl.arange(0, BLOCK_K)
    k = load_rows(k_ptr + batch * k_batch + head * D, key, keys, k_row, D, HEAD, True)
    v = load_rows(v_ptr + batch * v_batch + head * D, key, keys, v_row, D, HEAD, True)

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

    if key_lengths_ptr is not None:  # what was not read gets nothing, also where dy or a row of P is NaN
        dk = tl.where(key[:, None] < keys, dk, 0)
        dv = tl.where(key[:, None] < keys, dv, 0)
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
    length, keys = my_length(b, S, T, key_lengths_ptr, CAUSAL, BIAS)
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
            k = load_rows(k_ptr, key, keys, k_row, D, HEAD, EDGE)
            v = load_rows(v_ptr, key, keys, v_row, D, HEAD, EDGE)
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
    length, keys = my_length(b, S, T, key_lengths_ptr, CAUSAL, BIAS)
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
        k = load_rows(k_ptr, key, keys, k_row, D, HEAD, True)
        v = load_rows(v_ptr, key, keys, v_row, D, HEAD, True)
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
        if key_lengths_ptr is not None:  # what was not read gets nothing, also where dy or a row of P is NaN
            dv = tl.where(key[:, None] < keys, dv, 0)
        store_rows(dv_ptr + key0 * width + head * D, dv, key, T, width, D, HEAD)
        # 4. through the softmax; the scale waits for the end
        ds = (p * (dp - delta[:, None])).to(q.dtype)
        # 5. dQ and dK
        dq = dot(ds, k, dq, PRECISION)
        dk = dot(tl.trans(ds), q, tl.zeros([BLOCK_K, HEAD], ACC), PRECISION)
        if key_lengths_ptr is not None:
            dk = tl.where(key[:, None] < keys, dk, 0)
        store_rows(dk_ptr + key0 * width + head * D, dk * D**-0.5, key, T, width, D, HEAD)
    store_rows(dq_ptr + query0 * width + head * D, dq * D**-0.5, query, S, width, D, HEAD)
