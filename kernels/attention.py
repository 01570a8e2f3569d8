"""Attention over several heads, in Triton: the twin of `minirembert/ops/attention.py`, which has the formulas.

Scores and probabilities never leave the chip. A program owns some queries and walks over the keys in blocks, keeping for
each query the largest score m so far, the sum of exp(score - m) and the average of the values weighted by it. When a block
brings a larger m, sum and average shrink by exp(m_old - m_new). Where all keys fit one block there is nothing to
shrink, and that path is written out first.

Traffic: q, k, v are read and y is written, 4 B S H numbers, for 4 S T d FLOPs a head. Every block of queries reads its
head's k and v again, which the L2 cache is there for.

Keys that nobody in the tile may see are not visited, and only tiles on an edge are compared with it. Heads are slices of H
and are read where they lie, so q, k and v may be slices of one packed product.

Not here: the kernels of the backward pass (`attention_backward.py`), how large a tile is and what is done with one
(`_attention_tiles.py`), projections, a gradient for the bias, heads of more than 128 features.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from kernels._attention_tiles import (
    LONGEST,
    TILES,
    choose_tile,
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
    scores,
    store_rows,
)
from kernels._launch import (
    accumulator,
    dot,
    input_precision,
    integers,
    launcher,
    on_host,
    require,
    require_power_of_two,
    require_saved,
    statistics_dtype,
)
from kernels.attention_backward import (
    attention_backward_head_kernel,
    attention_backward_keys_kernel,
    attention_backward_queries_kernel,
    attention_delta_kernel,
)
from kernels.random import SEED_BITS, dropout_factor
from minirembert.ops.attention import AttentionPackedSaved, AttentionSaved, check_cu_seqlens, check_key_lengths
from minirembert.ops.random import check_drop_prob, check_seed
from minirembert.scalars import as_integer, as_switch

LARGEST_HEAD = max(features for _, features in TILES)


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
    length, keys = my_length(b, S, T, key_lengths_ptr, CAUSAL, BIAS)
    draws = my_draws(b, head, heads, S, T, firsts_ptr)
    k_ptr += batch * k_batch + head * D
    v_ptr += batch * v_batch + head * D
    if BIAS is not None:
        bias_ptr += b * bias_batch + head * bias_head
    query = first_query + tl.arange(0, BLOCK_Q)
    q = load_rows(q_ptr + batch * q_batch + head * D, query, S, q_row, D, HEAD, True)

    if ONE_TILE:
        key = tl.arange(0, BLOCK_K)
        k = load_rows(k_ptr, key, keys, k_row, D, HEAD, True)
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
        v = load_rows(v_ptr, key, keys, v_row, D, HEAD, True)
        y = dot(p.to(v.dtype), v, tl.zeros([BLOCK_Q, HEAD], ACC), PRECISION)
    else:
        m = tl.full([BLOCK_Q], -float("inf"), ACC)
        total = tl.zeros([BLOCK_Q], ACC)
        y = tl.zeros([BLOCK_Q, HEAD], ACC)
        whole, end = key_range(first_query, S, T, length, CAUSAL, BIAS, BLOCK_Q, BLOCK_K)
        for EDGE in tl.static_range(2):  # the same loop over the whole blocks, then with comparisons over the others
            for first_key in tl.range(whole if EDGE else 0, end if EDGE else whole, BLOCK_K):
                key = first_key + tl.arange(0, BLOCK_K)
                k = load_rows(k_ptr, key, keys, k_row, D, HEAD, EDGE)
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
                v = load_rows(v_ptr, key, keys, v_row, D, HEAD, EDGE)
                y = dot(p.to(v.dtype), v, y * shrink[:, None], PRECISION)

    # 4. its logarithm, and what adding the maximum to that takes from it
    lse, lse_rest = log_sum_exp(m, total, BIAS, LOWEST)
    tl.store(lse_ptr + row0 + query, lse, mask=query < S)
    tl.store(lse_rest_ptr + row0 + query, lse_rest, mask=query < S)
    # 6. division by the row sum
    width = heads * D
    store_rows(y_ptr + query0 * width + head * D, y / total[:, None], query, S, width, D, HEAD)


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
    length, keys = my_length(b, S, T, key_lengths_ptr, CAUSAL, BIAS)
    draws = my_draws(b, head, heads, S, T, firsts_ptr)
    if BIAS is not None:
        bias_ptr += b * bias_batch + head * bias_head
    query = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    q = load_rows(q_ptr + batch * q_batch + head * D, query, S, q_row, D, HEAD, True)
    lse = tl.load(lse_ptr + row0 + query, mask=query < S, other=0)
    lse_rest = tl.load(lse_rest_ptr + row0 + query, mask=query < S, other=0)
    for first_key in tl.range(0, T, BLOCK_K):
        key = first_key + tl.arange(0, BLOCK_K)
        k = load_rows(k_ptr + batch * k_batch + head * D, key, keys, k_row, D, HEAD, True)
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
    key_lengths: Integer[Tensor, " B"] | Sequence[int] | None = None,
    causal: bool = False,
    drop_prob: float = 0.0,
    seed: int = 0,
    *,
    block: tuple[int, int] | None = None,
) -> tuple[Float[Tensor, "B S H"], AttentionSaved]:
    """Each query's average of the values. `block`: queries and keys of a tile, powers of two from 16.

    `bias` must broadcast to (B, h, S, T). Lengths that are on a GPU already are waited for, to be checked. Raises
    ValueError if a shape does not match, T is 0, H is no multiple of `num_heads`, H / `num_heads` is above 128, a length is
    outside [0, T], `drop_prob` outside [0, 1) or `seed` outside 64 bits; TypeError if a dtype is not the one of q.
    """
    _check("attention", q, k, v, num_heads, bias, causal, drop_prob, seed, block)
    key_lengths = _lengths("attention", key_lengths, k)
    problem = _problem(q, k, num_heads, bias, key_lengths, None, causal, drop_prob, seed)
    y, lse, lse_rest = _forward(q, k, v, problem, block)
    settings = int(num_heads), bool(causal), float(drop_prob), int(seed)
    return y, AttentionSaved(q, k, v, bias, key_lengths, y, lse, lse_rest, *settings)


@launcher
def attention_backward(
    dy: Float[Tensor, "B S H"], saved: AttentionSaved, *, block: tuple[int, int] | None = None
) -> tuple[Float[Tensor, "B S H"], Float[Tensor, "B T H"], Float[Tensor, "B T H"]]:
    """dq, dk, dv. Raises TypeError if `saved` is not what `attention` saved, ValueError if dy is not shaped like its y."""
    _check_backward("attention_backward", dy, saved, AttentionSaved, block)
    s = saved
    problem = _problem(s.q, s.k, s.num_heads, s.bias, s.key_lengths, None, s.causal, s.drop_prob, s.seed)
    return _backward(dy, saved, problem, block)


@launcher
def attention_packed(
    q: Float[Tensor, "N H"],
    k: Float[Tensor, "N H"],
    v: Float[Tensor, "N H"],
    num_heads: int,
    cu_seqlens: Integer[Tensor, " ends"] | Sequence[int],
    causal: bool = False,
    drop_prob: float = 0.0,
    seed: int = 0,
    *,
    block: tuple[int, int] | None = None,
) -> tuple[Float[Tensor, "N H"], AttentionPackedSaved]:
    """`attention` within each of several sequences that lie end to end: tokens cu_seqlens[b] to cu_seqlens[b + 1].

    Ends that are on a GPU already are waited for, forward and backward. Raises ValueError unless they start at 0, never
    fall and end at N; otherwise what `attention` raises.
    """
    _check("attention_packed", q, k, v, num_heads, None, causal, drop_prob, seed, block, packed=True)
    cu_seqlens = _ends("attention_packed", cu_seqlens, q)
    problem = _problem(q, k, num_heads, None, None, cu_seqlens, causal, drop_prob, seed)
    y, lse, lse_rest = _forward(q, k, v, problem, block)
    settings = int(num_heads), bool(causal), float(drop_prob), int(seed)
    return y, AttentionPackedSaved(q, k, v, cu_seqlens, y, lse, lse_rest, *settings)


@launcher
def attention_packed_backward(
    dy: Float[Tensor, "N H"], saved: AttentionPackedSaved, *, block: tuple[int, int] | None = None
) -> tuple[Float[Tensor, "N H"], Float[Tensor, "N H"], Float[Tensor, "N H"]]:
    """dq, dk, dv. Raises what `attention_backward` raises."""
    _check_backward("attention_packed_backward", dy, saved, AttentionPackedSaved, block)
    s = saved
    problem = _problem(s.q, s.k, s.num_heads, None, None, s.cu_seqlens, s.causal, s.drop_prob, s.seed)
    return _backward(dy, saved, problem, block)


@launcher
def attention_probabilities(
    q: Float[Tensor, "B S H"],
    k: Float[Tensor, "B T H"],
    num_heads: int,
    bias: Float[Tensor, "..."] | Bool[Tensor, "..."] | None = None,
    key_lengths: Integer[Tensor, " B"] | Sequence[int] | None = None,
    causal: bool = False,
    drop_prob: float = 0.0,
    seed: int = 0,
    *,
    block: tuple[int, int] | None = None,
) -> tuple[Float[Tensor, "B h S T"], None]:
    """The probabilities that `attention` uses, after dropout: for looking at. Raises what it raises; has no backward."""
    _check("attention_probabilities", q, k, k, num_heads, bias, causal, drop_prob, seed, block)
    key_lengths = _lengths("attention_probabilities", key_lengths, k)
    _, saved = attention(q, k, k, num_heads, bias, key_lengths, causal, block=block)
    q, k = _dense(q), _dense(k)
    problem = _problem(q, k, num_heads, bias, key_lengths, None, causal, drop_prob, seed)
    p = torch.empty((*saved.lse.shape, k.shape[1]), dtype=q.dtype, device=q.device)
    tile = choose_tile("queries", problem, q.dtype, block)
    blocks = triton.cdiv(problem["S"], tile["BLOCK_Q"])
    attention_probabilities_kernel[(blocks * problem["heads"] * len(q),)](
        q, k, saved.lse, saved.lse_rest, p, blocks=blocks, **_strides(q=q, k=k), **problem, **tile
    )
    return p, None


# --- what is refused --------------------------------------------------------------------------------------------------


def _check(
    op: str, q: Tensor, k: Tensor, v: Tensor, num_heads: int, bias: Tensor | None, causal: bool, drop_prob: float,
    seed: int, block: tuple[int, int] | None, packed: bool = False,
) -> None:  # fmt: skip
    """Raises TypeError or ValueError for what the kernels have no tile for, or would read beside its memory.

    It asks for shapes and dtypes alone, and so waits for no GPU.
    """
    if q.ndim != (2 if packed else 3):
        raise ValueError(f"{op}: q has shape {tuple(q.shape)}, expected {'(N, H)' if packed else '(B, S, H)'}")
    T = k.shape[-2] if isinstance(k, Tensor) and k.ndim == q.ndim and not packed else q.shape[-2]
    for name, x in (("k", k), ("v", v)):
        require(op, name, x, (*q.shape[:-2], T, q.shape[-1]), q.dtype)
    if max(*q.shape[-2:], T) > LONGEST:
        raise ValueError(
            f"{op}: shapes {tuple(q.shape)} and {tuple(k.shape)}, but an axis has at most {LONGEST} numbers"
        )
    if T == 0 and not packed:
        raise ValueError(f"{op}: k has shape {tuple(k.shape)}, but attention needs at least 1 key")

    num_heads = as_integer(f"{op}: num_heads", num_heads)
    width = q.shape[-1]
    if num_heads < 1:
        raise ValueError(f"{op}: num_heads is {num_heads}, but there must be at least 1")
    if width % num_heads:
        raise ValueError(f"{op}: the width {width} is not a multiple of the number of heads {num_heads}")
    if not 1 <= width // num_heads <= LARGEST_HEAD:
        raise ValueError(
            f"{op}: a width of {width} in {num_heads} heads makes {width // num_heads} features a head, "
            f"but the kernels have tiles for 1 to {LARGEST_HEAD}"
        )

    if bias is not None:
        if not isinstance(bias, Tensor) or not (bias.is_floating_point() or bias.dtype == torch.bool):
            found = bias.dtype if isinstance(bias, Tensor) else type(bias).__name__
            raise TypeError(f"{op}: bias must be an array of floating-point numbers or booleans, got {found}")
        scores_shape = (q.shape[0], int(num_heads), q.shape[1], T)
        try:
            bias.expand(scores_shape)
        except RuntimeError:
            raise ValueError(
                f"{op}: bias has shape {tuple(bias.shape)}, which does not broadcast to (B, h, S, T) = {scores_shape}"
            ) from None

    as_switch(f"{op}: causal", causal)
    check_drop_prob(drop_prob)
    check_seed(seed)
    _check_block(op, block)


def _check_backward(op: str, dy: Tensor, saved: Any, kind: type, block: tuple[int, int] | None) -> None:
    require_saved(op, saved, kind)
    require(op, "dy", dy, saved.y.shape, saved.y.dtype)
    _check_block(op, block)


def _check_block(op: str, block: tuple[int, int] | None) -> None:
    if block is None:
        return
    if not isinstance(block, (tuple, list)) or len(block) != 2:
        raise ValueError(f"{op}: block must be a pair, queries and keys of a tile, got {block!r}")
    for side, value in enumerate(block):
        require_power_of_two(op, f"block[{side}]", value, 16)


def _lengths(op: str, key_lengths: Any, k: Tensor) -> Tensor | None:
    """The lengths as a tensor, once they have been checked."""
    if key_lengths is None:
        return None
    key_lengths = integers(op, "key_lengths", key_lengths, len(k))
    check_key_lengths(on_host(key_lengths), k.shape[1])
    return key_lengths


def _ends(op: str, cu_seqlens: Any, q: Tensor) -> Tensor:
    """The ends of packed sequences as a tensor, once they have been checked."""
    cu_seqlens = integers(op, "cu_seqlens", cu_seqlens)
    if cu_seqlens.ndim != 1:
        raise ValueError(f"{op}: cu_seqlens has shape {tuple(cu_seqlens.shape)}, expected one axis")
    check_cu_seqlens(on_host(cu_seqlens), len(q))
    return cu_seqlens


# --- what launchers share ---------------------------------------------------------------------------------------------


def _problem(
    q: Tensor, k: Tensor, num_heads: int, bias: Tensor | None, key_lengths: Tensor | None, cu_seqlens: Tensor | None,
    causal: bool, drop_prob: float, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """What all kernels are told alike."""
    num_heads, causal, drop_prob = int(num_heads), bool(causal), float(drop_prob)  # NumPy's are none for Triton
    firsts = None
    if cu_seqlens is None:
        (batch, S, _), T = q.shape, k.shape[1]
    else:
        lengths = np.diff(on_host(cu_seqlens)).astype(np.int64)
        batch, S = len(lengths), int(lengths.max())
        T = S
        if drop_prob:
            firsts = torch.from_numpy(num_heads * (np.cumsum(lengths**2) - lengths**2)).to(q.device)
    kind = None
    strides: tuple[int | None, ...] = (None,) * 4
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
        "seed": int(seed) & SEED_BITS,
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
