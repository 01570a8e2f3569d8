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

What a query may see is said in three ways, which may be combined: `bias` (added to the scores, or boolean: True to look),
`key_lengths` (padding on the right: how many keys each sequence has) and `causal` (no key that comes after the query; with
T > S the queries are the last S positions, as in decoding with a cache).

A query that may look nowhere has every score at finfo.min and attends to all T keys alike, as in Hugging Face. Next to
such a number log T is lost in rounding: lse = m + log(total) comes out as m. So what the rounding took is saved as well,
lse_rest = (m - lse) + log(total), and P = exp((scores - lse) - lse_rest).

What is not finite. Keys and values beyond a length, or of another packed sequence, are not read and may be anything, unless
a query may see nothing: it averages all (no key, more causal queries than keys, or a bias beside the lengths). A key or value
that a bias or `causal` hides takes part with a probability of 0, as in Hugging Face: NaN + finfo.min and 0 times NaN are NaN.

`attention_packed` takes sequences of different lengths laid end to end, without padding between them.

Heads are taken a few at a time, so that their scores stay in the cache between the two products.
Not here: projections, a gradient for the bias (it is a mask), relative positions.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from minirembert.ops.array import Array, Number, Switch, Whole, row_blocks
from minirembert.ops.random import check_drop_prob, check_seed, keep_mask
from minirembert.ops.softmax import softmax
from minirembert.scalars import as_integer, as_switch

SCORES_BYTES = 1 << 20  # scores worked on at a time: one head at 512 x 512 in float32


class AttentionSaved(NamedTuple):
    """What `attention_backward` needs; P is made of it again."""

    q: Float[Array, "B S H"]
    k: Float[Array, "B T H"]
    v: Float[Array, "B T H"]
    bias: Float[Array, "..."] | Bool[Array, "..."] | None
    key_lengths: Integer[Array, " B"] | None
    y: Float[Array, "B S H"]
    lse: Float[Array, "B h S"]
    lse_rest: Float[Array, "B h S"]
    num_heads: int
    causal: bool
    drop_prob: float
    seed: int


def attention(
    q: Float[Array, "B S H"],
    k: Float[Array, "B T H"],
    v: Float[Array, "B T H"],
    num_heads: Whole,
    bias: Float[Array, "..."] | Bool[Array, "..."] | None = None,
    key_lengths: Integer[Array, " B"] | None = None,
    causal: Switch = False,
    drop_prob: Number = 0.0,
    seed: Whole = 0,
) -> tuple[Float[Array, "B S H"], AttentionSaved]:
    """Each query's average of the values, weighted by how well its key matches, in `num_heads` slices of H.

    `bias` must broadcast to (B, h, S, T). Raises ValueError if H is not a multiple of `num_heads`, a length is outside
    [0, T] or `drop_prob` outside [0, 1).
    """
    num_heads, causal, drop_prob, seed = _settings(num_heads, causal, drop_prob, seed)
    heads_q, heads_k, heads_v = (split_heads(x, num_heads) for x in (q, k, v))
    total_bias = _total_bias(bias, key_lengths, causal, heads_q, heads_k)
    heads_k, heads_v = _read((heads_k, heads_v), _unread(bias, key_lengths, causal, q, k))
    y = np.empty_like(q, order="C")
    lse, lse_rest = (np.empty(heads_q.shape[:3], q.dtype) for _ in range(2))
    draw = _Dropout(drop_prob, seed)
    _forward(heads_q, heads_k, heads_v, total_bias, draw, split_heads(y, num_heads), lse, lse_rest)
    saved = AttentionSaved(q, k, v, bias, key_lengths, y, lse, lse_rest, num_heads, causal, drop_prob, seed)
    return y, saved


def attention_backward(
    dy: Float[Array, "B S H"], saved: AttentionSaved
) -> tuple[Float[Array, "B S H"], Float[Array, "B T H"], Float[Array, "B T H"]]:
    """dq, dk, dv."""
    dq, dk, dv = (np.empty_like(x, order="C") for x in (saved.q, saved.k, saved.v))
    heads = [split_heads(x, saved.num_heads) for x in (saved.q, saved.k, saved.v, saved.y, dy, dq, dk, dv)]
    total_bias = _total_bias(saved.bias, saved.key_lengths, saved.causal, heads[0], heads[1])
    unread = _unread(saved.bias, saved.key_lengths, saved.causal, saved.q, saved.k)
    heads[1:3] = _read(heads[1:3], unread)
    _backward(heads, total_bias, _Dropout(saved.drop_prob, saved.seed), saved.lse, saved.lse_rest)
    if unread is not None:  # what was not read gets nothing, also where dy or a row of P is NaN
        dk[unread] = 0
        dv[unread] = 0
    return dq, dk, dv


class AttentionPackedSaved(NamedTuple):
    """What `attention_packed_backward` needs; N counts the tokens of all sequences."""

    q: Float[Array, "N H"]
    k: Float[Array, "N H"]
    v: Float[Array, "N H"]
    cu_seqlens: Integer[Array, " ends"]
    y: Float[Array, "N H"]
    lse: Float[Array, "h N"]
    lse_rest: Float[Array, "h N"]
    num_heads: int
    causal: bool
    drop_prob: float
    seed: int


def attention_packed(
    q: Float[Array, "N H"],
    k: Float[Array, "N H"],
    v: Float[Array, "N H"],
    num_heads: Whole,
    cu_seqlens: Integer[Array, " ends"],
    causal: Switch = False,
    drop_prob: Number = 0.0,
    seed: Whole = 0,
) -> tuple[Float[Array, "N H"], AttentionPackedSaved]:
    """`attention` within each of several sequences that lie end to end: tokens cu_seqlens[b] to cu_seqlens[b + 1].

    Raises ValueError unless `cu_seqlens` starts at 0, never falls and ends at N.
    """
    num_heads, causal, drop_prob, seed = _settings(num_heads, causal, drop_prob, seed)
    check_cu_seqlens(cu_seqlens, len(q))
    y = np.empty_like(q, order="C")
    lse, lse_rest = (np.empty((num_heads, len(q)), q.dtype) for _ in range(2))
    for tokens, first in _sequences(cu_seqlens, num_heads):
        heads_q, heads_k, heads_v, heads_y = (split_heads(x[None, tokens], num_heads) for x in (q, k, v, y))
        total_bias = _total_bias(None, None, causal, heads_q, heads_k)
        draw = _Dropout(drop_prob, seed, first)
        _forward(heads_q, heads_k, heads_v, total_bias, draw, heads_y, lse[None, :, tokens], lse_rest[None, :, tokens])
    return y, AttentionPackedSaved(q, k, v, cu_seqlens, y, lse, lse_rest, num_heads, causal, drop_prob, seed)


def attention_packed_backward(
    dy: Float[Array, "N H"], saved: AttentionPackedSaved
) -> tuple[Float[Array, "N H"], Float[Array, "N H"], Float[Array, "N H"]]:
    """dq, dk, dv."""
    dq, dk, dv = (np.empty_like(x, order="C") for x in (saved.q, saved.k, saved.v))
    arrays = (saved.q, saved.k, saved.v, saved.y, dy, dq, dk, dv)
    for tokens, first in _sequences(saved.cu_seqlens, saved.num_heads):
        heads = [split_heads(x[None, tokens], saved.num_heads) for x in arrays]
        total_bias = _total_bias(None, None, saved.causal, heads[0], heads[1])
        draw = _Dropout(saved.drop_prob, saved.seed, first)
        _backward(heads, total_bias, draw, saved.lse[None, :, tokens], saved.lse_rest[None, :, tokens])
    return dq, dk, dv


def attention_probabilities(
    q: Float[Array, "B S H"],
    k: Float[Array, "B T H"],
    num_heads: Whole,
    bias: Float[Array, "..."] | Bool[Array, "..."] | None = None,
    key_lengths: Integer[Array, " B"] | None = None,
    causal: Switch = False,
    drop_prob: Number = 0.0,
    seed: Whole = 0,
) -> tuple[Float[Array, "B h S T"], None]:
    """The probabilities that `attention` uses, after dropout: for looking at. It has no backward."""
    num_heads, causal, drop_prob, seed = _settings(num_heads, causal, drop_prob, seed)
    heads_q, heads_k = split_heads(q, num_heads), split_heads(k, num_heads)
    everything = (slice(None), slice(None))
    total_bias = _total_bias(bias, key_lengths, causal, heads_q, heads_k)
    (heads_k,) = _read((heads_k,), _unread(bias, key_lengths, causal, q, k))
    p, _ = softmax(_scores(heads_q, heads_k, total_bias, everything))
    if drop_prob:
        p *= keep_mask(p.shape, drop_prob, seed).astype(p.dtype, copy=False)
    return p, None


def split_heads(x: Float[Array, "B S H"], num_heads: int) -> Float[Array, "B h S d"]:
    """A view of (B, S, H) as (B, h, S, d): no copy, so writing to it writes to x."""
    batch, length, width = x.shape
    if width % num_heads:
        raise ValueError(f"the width {width} is not a multiple of the number of heads {num_heads}")
    return x.reshape(batch, length, num_heads, width // num_heads).transpose(0, 2, 1, 3)


def check_cu_seqlens(cu_seqlens: Integer[Array, " ends"], tokens: int) -> None:
    """Raises ValueError unless `cu_seqlens` cuts `tokens` tokens into sequences: 0, ..., tokens, never falling."""
    ends = cu_seqlens.astype(np.int64)  # differences of unsigned integers are never negative
    if len(ends) < 2 or ends[0] != 0 or ends[-1] != tokens or (np.diff(ends) < 0).any():
        raise ValueError(f"cu_seqlens must rise from 0 to {tokens}, the number of tokens, got {cu_seqlens.tolist()}")


def check_key_lengths(key_lengths: Integer[Array, " B"], keys: int) -> None:
    """Raises ValueError unless every length lies within [0, keys]."""
    outside = (key_lengths < 0) | (key_lengths > keys)
    if outside.any():
        b = int(np.argmax(outside))
        raise ValueError(f"key_lengths[{b}] is {int(key_lengths[b])}, but a sequence has 0 to {keys} keys")


# --- what both passes share ---------------------------------------------------------------------------------------------

Part = tuple[slice, slice]


class _Dropout(NamedTuple):
    """Probability (b, h, s, t) of an array of them is number first + ((b h + h) S + s) T + t of the stream of `seed`."""

    prob: float
    seed: int
    first: int = 0

    def keep(self, rows_shape: tuple[int, ...], keys: int, part: Part, dtype: np.dtype) -> Array:
        """The part of the mask that belongs to `part`: its numbers count up without a gap."""
        _, num_heads, queries = rows_shape
        sequences, heads = part
        start = self.first + (sequences.start * num_heads + heads.start) * queries * keys
        shape = (sequences.stop - sequences.start, heads.stop - heads.start, queries, keys)
        return keep_mask(shape, self.prob, self.seed, start).astype(dtype, copy=False)


def _settings(num_heads: Whole, causal: Switch, drop_prob: Number, seed: Whole) -> tuple[int, bool, float, int]:
    """As Python's own types. Raises TypeError for a value of another kind, ValueError for one that is out of range."""
    return (
        as_integer("num_heads", num_heads, least=1), as_switch("causal", causal), check_drop_prob(drop_prob),
        check_seed(seed),
    )  # fmt: skip


def _forward(
    heads_q: Array, heads_k: Array, heads_v: Array, bias: Array | None, draw: _Dropout,
    heads_y: Array, lse: Array, lse_rest: Array,
) -> None:  # fmt: skip
    """Fills heads_y, lse and lse_rest."""
    for part in _head_blocks(heads_q, heads_k):
        # 1. scores
        s = _scores(heads_q, heads_k, bias, part)
        # 2. row maximum
        m = s.max(axis=-1, keepdims=True)
        # 3. exponentials of the differences, in the memory of the scores, which nobody needs again
        p = np.exp(np.subtract(s, m, out=s), out=s)
        # 4. row sum, its logarithm, and what adding the maximum to that takes from it
        total = p.sum(axis=-1, keepdims=True)
        log_total = np.log(total)
        row_lse = m + log_total
        lse[part] = row_lse[..., 0]
        lse_rest[part] = ((m - row_lse) + log_total)[..., 0]
        # 5. dropout: zeros some probabilities after they have been summed
        if draw.prob:
            p *= draw.keep(lse.shape, p.shape[-1], part, p.dtype)
        # 6. average of the values; dividing the (S, d) result is cheaper than dividing the (S, T) weights
        np.divide(p @ heads_v[part], total, out=heads_y[part])


def _backward(heads: list[Array], bias: Array | None, draw: _Dropout, lse: Array, lse_rest: Array) -> None:
    """Fills the last three of `heads`: q, k, v, y, dy, dq, dk and dv."""
    heads_q, heads_k, heads_v, heads_y, heads_dy, heads_dq, heads_dk, heads_dv = heads
    scale = 1 / math.sqrt(heads_q.shape[-1])
    for part in _head_blocks(heads_q, heads_k):
        # 1. delta
        delta = np.vecdot(heads_dy[part], heads_y[part])[..., None]
        # 2. probabilities again
        s = _scores(heads_q, heads_k, bias, part)
        np.subtract(s, lse[part][..., None], out=s)
        p = np.exp(np.subtract(s, lse_rest[part][..., None], out=s), out=s)
        # 3. dV, through the probabilities that dropout kept; and dP
        dp = heads_dy[part] @ heads_v[part].swapaxes(-1, -2)
        kept = p
        if draw.prob:
            keep = draw.keep(lse.shape, p.shape[-1], part, p.dtype)
            kept = p * keep
            dp *= keep
        np.matmul(kept.swapaxes(-1, -2), heads_dy[part], out=heads_dv[part])
        # 4. through the softmax, and the scale; in the memory of dP
        ds = np.subtract(dp, delta, out=dp)
        ds *= p
        ds *= scale
        # 5. dQ and dK
        np.matmul(ds, heads_k[part], out=heads_dq[part])
        np.matmul(ds.swapaxes(-1, -2), heads_q[part], out=heads_dk[part])


def _scores(heads_q: Array, heads_k: Array, bias: Array | None, part: Part) -> Array:
    scores = heads_q[part] @ heads_k[part].swapaxes(-1, -2)
    scores *= 1 / math.sqrt(heads_q.shape[-1])
    if bias is not None:
        scores += bias[part]
    return scores


def _total_bias(
    bias: Array | None, key_lengths: Array | None, causal: bool, heads_q: Array, heads_k: Array
) -> Array | None:
    """Everything that hides, as one array to be added to the scores (B, h, S, T). -inf becomes finfo.min."""
    batch, _, queries, _ = heads_q.shape
    keys, dtype = heads_k.shape[2], heads_q.dtype
    lowest = np.finfo(dtype).min
    hidden: Any = np.False_
    if key_lengths is not None:
        check_key_lengths(key_lengths, keys)
        hidden = hidden | (np.arange(keys) >= key_lengths.reshape(batch, 1, 1, 1))
    if causal:
        hidden = hidden | (np.arange(keys) > np.arange(queries)[:, None] + (keys - queries))
    if bias is not None and bias.dtype == np.bool_:
        hidden, bias = hidden | ~bias, None
    if bias is None:
        if hidden is np.False_:
            return None
        bias = dtype.type(0)
    total = np.where(hidden, lowest, np.maximum(bias, lowest)).astype(dtype, copy=False)
    return np.broadcast_to(total, (*heads_q.shape[:3], keys))


def _unread(bias: Array | None, key_lengths: Array | None, causal: bool, q: Array, k: Array) -> Array | None:
    """Which keys (B, T) lie beyond a length and are read for nobody; None: no key.

    Every key is read where a query may see nothing, and averages all: at length 0, where S > T are causal, or beside a bias.
    """
    queries, keys = q.shape[1], k.shape[1]
    if key_lengths is None or bias is not None or (causal and queries > keys):
        return None
    lengths = key_lengths[:, None]
    unread = (np.arange(keys) >= lengths) & (lengths > 0)
    return unread if unread.any() else None


def _read(heads: Sequence[Array], unread: Array | None) -> list[Array]:
    """Keys or values (B, h, T, d) with zeros for those that are not read: a probability of 0 times NaN would be NaN."""
    if unread is None:
        return list(heads)
    return [np.where(unread[:, None, :, None], x.dtype.type(0), x) for x in heads]


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


def _sequences(cu_seqlens: Array, num_heads: int) -> Iterator[tuple[slice, int]]:
    """The tokens of each packed sequence that has any, and the number of its first probability."""
    first = 0
    for start, stop in zip(cu_seqlens[:-1].tolist(), cu_seqlens[1:].tolist(), strict=True):
        if stop > start:
            yield slice(start, stop), first
        first += num_heads * (stop - start) ** 2
