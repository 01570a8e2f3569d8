"""Scaled dot-product attention over several heads (Vaswani et al. 2017, section 3.2).

For each sequence and head, with queries Q (S, d), keys K and values V (T, d):

    scores = Q K^T / sqrt(d) + bias       bias: 0 where a query may look, finfo.min where it may not
    P      = softmax(scores)              row by row
    y      = keep(P) V                    keep: dropout on the probabilities

The backward pass recomputes P from the saved log-sum-exp instead of storing it, P = exp(scores - lse), as FlashAttention
does: S T numbers per head are the only thing here that grows with the square of the sequence.

    dV = keep(P)^T dy      dP = keep(dy V^T)      delta_i = sum_j P_ij dP_ij = dy_i . y_i
    dscores = P (dP - delta)      dQ = dscores K / sqrt(d)      dK = dscores^T Q / sqrt(d)

delta needs no S x T work: sum_j P_ij keep_ij (dy_i . v_j) = dy_i . sum_j keep_ij P_ij v_j = dy_i . y_i, dropout or not.

A query that may look nowhere has every score at finfo.min (or -inf) and attends to all T keys alike, as in Hugging Face.
log T is lost in rounding next to such a number, so the backward pass divides the recomputed rows by their sums.

Heads are taken a few at a time, so that their scores stay in the cache between the two products.
Not here: projections, a gradient for the bias (it is a mask), relative positions.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from minirembert.ops.array import Array, row_blocks
from minirembert.ops.random import check_drop_prob, keep_mask
from minirembert.ops.softmax import softmax

SCORES_BYTES = 1 << 20  # scores worked on at a time: one head at 512 x 512 in float32


class AttentionSaved(NamedTuple):
    q: Float[Array, "B S H"]
    k: Float[Array, "B T H"]
    v: Float[Array, "B T H"]
    bias: Float[Array, "..."] | None
    y: Float[Array, "B S H"]
    lse: Float[Array, "B h S"]
    num_heads: int
    drop_prob: float
    seed: int


def attention(
    q: Float[Array, "B S H"],
    k: Float[Array, "B T H"],
    v: Float[Array, "B T H"],
    num_heads: int,
    bias: Float[Array, "..."] | None = None,
    drop_prob: float = 0.0,
    seed: int = 0,
) -> tuple[Float[Array, "B S H"], AttentionSaved]:
    """Each query's average of the values, weighted by how well its key matches, in `num_heads` slices of H.

    `bias` is added to the scores and must broadcast to (B, h, S, T). Raises ValueError if H is no multiple of
    `num_heads` or `drop_prob` is outside [0, 1).
    """
    check_drop_prob(drop_prob)
    heads_q, heads_k, heads_v = (split_heads(x, num_heads) for x in (q, k, v))
    bias = _broadcast_bias(bias, heads_q, heads_k)
    y = np.empty_like(q, order="C")
    heads_y = split_heads(y, num_heads)
    lse = np.empty(heads_q.shape[:3], q.dtype)

    for part in _head_blocks(heads_q, heads_k):
        # 1. scores
        p = _scores(heads_q, heads_k, bias, part)
        # 2. row maximum
        m = p.max(axis=-1, keepdims=True)
        blind = m == -np.inf
        # 3. exponentials of the differences, in place
        p -= np.where(blind, 0, m)
        np.exp(p, out=p)
        if blind.any():
            p += blind
        # 4. row sum and its logarithm
        total = p.sum(axis=-1, keepdims=True)
        lse[part] = (m + np.log(total))[..., 0]
        # 5. dropout: zeros some probabilities after they have been summed
        if drop_prob:
            p *= _keep(lse.shape, p.shape[-1], part, drop_prob, seed).astype(p.dtype, copy=False)
        # 6. average of the values; dividing the (S, d) result is cheaper than dividing the (S, T) weights
        np.divide(p @ heads_v[part], total, out=heads_y[part])
    return y, AttentionSaved(q, k, v, bias, y, lse, num_heads, drop_prob, seed)


def attention_backward(
    dy: Float[Array, "B S H"], saved: AttentionSaved
) -> tuple[Float[Array, "B S H"], Float[Array, "B T H"], Float[Array, "B T H"]]:
    """dq, dk, dv."""
    num_heads, bias, lse = saved.num_heads, saved.bias, saved.lse
    dq, dk, dv = (np.empty_like(x, order="C") for x in (saved.q, saved.k, saved.v))
    heads = [split_heads(x, num_heads) for x in (saved.q, saved.k, saved.v, saved.y, dy, dq, dk, dv)]
    heads_q, heads_k, heads_v, heads_y, heads_dy, heads_dq, heads_dk, heads_dv = heads
    scale = 1 / math.sqrt(heads_q.shape[-1])

    for part in _head_blocks(heads_q, heads_k):
        # 1. delta
        delta = np.vecdot(heads_dy[part], heads_y[part])[..., None]
        # 2. probabilities again
        p = _probabilities(_scores(heads_q, heads_k, bias, part), lse[part])
        # 3. dV, through the probabilities that dropout kept; and dP
        dp = heads_dy[part] @ heads_v[part].swapaxes(-1, -2)
        kept = p
        if saved.drop_prob:
            keep = _keep(lse.shape, p.shape[-1], part, saved.drop_prob, saved.seed).astype(p.dtype, copy=False)
            kept = p * keep
            dp *= keep
        np.matmul(kept.swapaxes(-1, -2), heads_dy[part], out=heads_dv[part])
        # 4. through the softmax, and the scale
        dp -= delta
        dp *= p
        dp *= scale
        # 5. dQ and dK
        np.matmul(dp, heads_k[part], out=heads_dq[part])
        np.matmul(dp.swapaxes(-1, -2), heads_q[part], out=heads_dk[part])
    return dq, dk, dv


def attention_probabilities(
    q: Float[Array, "B S H"],
    k: Float[Array, "B T H"],
    num_heads: int,
    bias: Float[Array, "..."] | None = None,
    drop_prob: float = 0.0,
    seed: int = 0,
) -> tuple[Float[Array, "B h S T"], None]:
    """The probabilities that `attention` uses, after dropout: for looking at. It has no backward."""
    heads_q, heads_k = split_heads(q, num_heads), split_heads(k, num_heads)
    everything = (slice(None), slice(None))
    p, _ = softmax(_scores(heads_q, heads_k, _broadcast_bias(bias, heads_q, heads_k), everything))
    if drop_prob:
        p *= keep_mask(p.shape, drop_prob, seed).astype(p.dtype, copy=False)
    return p, None


def split_heads(x: Float[Array, "B S H"], num_heads: int) -> Float[Array, "B h S d"]:
    """A view of (B, S, H) as (B, h, S, d): no copy, so writing to it writes to x."""
    batch, length, width = x.shape
    if width % num_heads:
        raise ValueError(f"the width {width} is not a multiple of the number of heads {num_heads}")
    return x.reshape(batch, length, num_heads, width // num_heads).transpose(0, 2, 1, 3)


Part = tuple[slice, slice]


def _head_blocks(heads_q: Array, heads_k: Array) -> Iterator[Part]:
    """(sequences, heads) slices: several sequences at a time where they are short, else one and some of its heads."""
    batch, num_heads, queries, _ = heads_q.shape
    bytes_per_head = queries * heads_k.shape[2] * heads_q.itemsize
    if num_heads * bytes_per_head <= SCORES_BYTES:
        for sequences in row_blocks(batch, num_heads * bytes_per_head, SCORES_BYTES):
            yield sequences, slice(0, num_heads)
    else:
        for sequence in range(batch):
            for heads in row_blocks(num_heads, bytes_per_head, SCORES_BYTES):
                yield slice(sequence, sequence + 1), heads


def _scores(heads_q: Array, heads_k: Array, bias: Array | None, part: Part) -> Array:
    scores = heads_q[part] @ heads_k[part].swapaxes(-1, -2)
    scores *= 1 / math.sqrt(heads_q.shape[-1])
    if bias is not None:
        scores += bias[part]
    return scores


def _probabilities(scores: Array, lse: Array) -> Array:
    """exp(scores - lse), in place, with rows that sum to 1 also where lse is so large that it lost the log of the sum."""
    lse = lse[..., None]
    blind = lse == -np.inf
    scores -= np.where(blind, 0, lse)
    np.exp(scores, out=scores)
    if blind.any():
        scores += blind
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def _broadcast_bias(bias: Array | None, heads_q: Array, heads_k: Array) -> Array | None:
    if bias is None:
        return None
    return np.broadcast_to(bias, (*heads_q.shape[:3], heads_k.shape[2]))


def _keep(rows_shape: tuple[int, ...], keys: int, part: Part, drop_prob: float, seed: int) -> Array:
    """The part of the dropout mask that belongs to `part`: numbers (b, h, s, t) count up without a gap inside it."""
    _, num_heads, queries = rows_shape
    sequences, heads = part
    start = (sequences.start * num_heads + heads.start) * queries * keys
    shape = (sequences.stop - sequences.start, heads.stop - heads.start, queries, keys)
    return keep_mask(shape, drop_prob, seed, start)
