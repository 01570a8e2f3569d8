"""Attention, second rung: what runs when nothing special is asked. Any size, padding, packed sequences, `causal`.

Whole tiles, which are nearly all, take no part in what the edges need: a program first walks over the blocks of keys that
all of its queries see, without a comparison, then over those on an edge. Where there is no edge, its loop is not compiled.

In bits. exp(x) is computed as 2^(x log2 e) anyway, so log2 e is part of the scale of the scores, and 2^(score c - m) is one
multiply-add and one exponential. The row maximum m and, in backward, the row's lse are in bits from where they are made;
what is saved, lse and lse_rest, is to base e.

Backward. P comes back from the saved lse, so a tile of it can be had anywhere, in any order. dK and dV of a key are sums over
queries and dQ of a query is one over keys: a program cannot own both, and to add to what another owns would be a race, or
with atomics a different rounding on every run. So one kernel owns queries and walks over the keys (it makes delta = dy . y on
the way, and leaves it for the other), another owns keys and walks over the queries. Both compute the scores and dP,
14 S T d FLOPs a head in all where 10 would do. Where the queries of a head are one block, one program owns both, with 10.

Traffic, where whole sequences fit a cache: forward reads q, k, v and writes y, 4 B S H numbers. Backward reads q, k, v, dy
twice and y once, and writes dq, dk, dv: 12 B S H; 8 where one program owns a head.

A sequence without any key: all T keys are taken, each with a score of 0, so that every query averages all values alike.
Hidden keys. A score that is not finite stays what it is although it is hidden, as it does in Hugging Face, where the lowest
number is added to it. Keys beyond a length are not read.

Not here: bias, dropout, `causal` with more queries than keys; see `general.py`.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl

from kernels._launch import dot
from kernels.attention.tiles import (
    LN2,
    LOG2E,
    KeyGradients,
    head_of,
    load_statistic,
    load_tile,
    place_of,
    sequence_of,
    store_key_gradients,
    store_statistic,
    store_tile,
)


class Sight(NamedTuple):
    """What the queries of a sequence see."""

    keys: Any  # query i sees keys 0 to min(i + ahead, keys - 1), where `causal`; else to keys - 1
    ahead: Any
    bits: Any  # how many bits a product q . k of 1 is worth; 0 in a sequence without any key
    blind: Any  # whether it is one


class Walk(NamedTuple):
    """The queries that a block of keys is seen by: on an edge from `start` to `whole` and `end` to `last`, and all between."""

    start: Any
    whole: Any
    end: Any
    last: Any


class Scores(NamedTuple):
    """A tile of scores; s times `bits` is in bits."""

    s: Any
    bits: tl.constexpr


class Online(NamedTuple):
    """What forward keeps of each query on its way over the keys."""

    m: Any  # (queries,): the largest score so far, in bits
    total: Any  # (queries,): the sum of 2^(score - m)
    y: Any  # (queries, features): the sum of the values, weighted by it


class Lse(NamedTuple):
    """log-sum-exp of each query, in bits."""

    bits: Any
    rest: Any  # what rounding took from it, where `tile.exact`


# --- who sees whom ----------------------------------------------------------------------------------------------------


@triton.jit
def sight_of(at, sequence, mask, shape, tile):
    """What the queries of this sequence see."""
    if mask.key_lengths is None:
        return Sight(sequence.T, sequence.T - sequence.S, shape.D**-0.5 * LOG2E, False)
    else:
        length = tl.load(mask.key_lengths + at.sequence).to(tl.int32)
        blind = length == 0
        return Sight(
            tl.where(blind, sequence.T, length),
            tl.where(blind, sequence.T - 1, sequence.T - sequence.S),
            tl.where(blind, 0, 1).to(tile.acc) * (shape.D**-0.5 * LOG2E),
            blind,
        )


@triton.jit
def keys_seen(first_query, sequence, sight, mask, tile):
    """(whole, end): all queries of the block see all keys before `whole`, which is whole blocks, and none sees `end`."""
    first_sees, last_sees = sight.keys, sight.keys
    if mask.causal:
        first_sees = tl.minimum(sight.keys, first_query + 1 + sight.ahead)
        last_sees = tl.minimum(sight.keys, tl.minimum(first_query + tile.queries, sequence.S) + sight.ahead)
    whole = first_sees // tile.keys * tile.keys
    if mask.key_lengths is not None:
        whole = tl.where(sight.blind, 0, whole)
    return whole, last_sees


@triton.jit
def queries_that_see(first_key, sequence, sight, mask, tile):
    """The blocks of queries that see a block of keys.

    Keys beyond a length need no comparison here: what is added up for one key touches no other, and is not stored.
    """
    start, whole, end, last = 0, 0, sequence.S // tile.queries * tile.queries, sequence.S
    if mask.causal:
        start = tl.maximum(first_key - sight.ahead, 0) // tile.queries * tile.queries
        whole = tl.cdiv(tl.maximum(first_key + tile.keys - 1 - sight.ahead, 0), tile.queries) * tile.queries
        start, whole = tl.minimum(start, end), tl.minimum(whole, end)
    if not tile.whole_keys:
        hidden = first_key >= sight.keys
        start, whole, last = tl.where(hidden, end, start), tl.where(hidden, end, whole), tl.where(hidden, end, last)
        if mask.key_lengths is not None:
            whole = tl.where(sight.blind, end, whole)
    return Walk(start, whole, end, last)


@triton.jit
def scores(a, b, query, key, sight, mask, shape, tile, EDGE: tl.constexpr):
    """q . k of a tile: a is queries and b keys, or the other way round. EDGE: some of the keys are hidden by their place."""
    s = dot(a, tl.trans(b), tl.zeros([a.shape[0], b.shape[0]], tile.acc), tile.precision)
    if EDGE:
        visible = key < sight.keys
        if mask.causal:
            visible = visible & (key <= query + sight.ahead)
        in_bits = tl.where(visible, s * sight.bits, -float("inf"))
        return Scores(tl.where(s * 0 == 0, in_bits, s), 1.0)
    else:
        return Scores(s, shape.D**-0.5 * LOG2E)


# --- forward ----------------------------------------------------------------------------------------------------------


@triton.jit
def attend(
    online, q, keys, values, first_query, first_key, sight, mask, shape, tile, FIRST: tl.constexpr, EDGE: tl.constexpr
):
    """The online softmax, one block of keys further. FIRST: it is the first, and there is nothing yet to rescale."""
    query = first_query + tl.arange(0, tile.queries)[:, None]
    key = first_key + tl.arange(0, tile.keys)[None, :]
    # 1. scores
    k = load_tile(keys, first_key, sight.keys, shape, tile, tile.keys, EDGE)
    scored = scores(q, k, query, key, sight, mask, shape, tile, EDGE)
    # 2. row maximum so far
    m = tl.max(scored.s, axis=1) * scored.bits
    if not FIRST:
        m = tl.maximum(online.m, m)
    # 3. exponentials of the differences
    p = tl.math.exp2(scored.s * scored.bits - m[:, None])
    # 4. row sum so far
    total = tl.sum(p, axis=1)
    # 6. sum of the values so far, weighted; and what a smaller maximum made too large
    v = load_tile(values, first_key, sight.keys, shape, tile, tile.keys, EDGE)
    if FIRST:
        y = dot(p.to(v.dtype), v, tl.zeros([tile.queries, tile.features], tile.acc), tile.precision)
    else:
        shrink = tl.math.exp2(online.m - m)
        total = online.total * shrink + total
        y = dot(p.to(v.dtype), v, online.y * shrink[:, None], tile.precision)
    return Online(m, total, y)


@triton.jit
def attention_plain_kernel(q, k, v, y, statistics, shape, mask, blocks, tile, ONE_BLOCK: tl.constexpr):
    """One program owns a block of queries of one head of one sequence. ONE_BLOCK: all keys are one block."""
    EDGES: tl.constexpr = mask.causal or not tile.whole_keys
    CHECK: tl.constexpr = not tile.whole_queries
    at = place_of(blocks, shape)
    sequence = sequence_of(at, shape, mask)
    first_query = at.block * tile.queries
    if mask.cu_seqlens is not None:  # noqa: SIM102 - the compiler decides the one, a program the other
        if first_query >= sequence.S:
            return
    sight = sight_of(at, sequence, mask, shape, tile)
    keys, values = head_of(k, at, sequence, shape), head_of(v, at, sequence, shape)
    q_tile = load_tile(head_of(q, at, sequence, shape), first_query, sequence.S, shape, tile, tile.queries, CHECK)

    online = Online(
        tl.full([tile.queries], -float("inf"), tile.acc),
        tl.zeros([tile.queries], tile.acc),
        tl.zeros([tile.queries, tile.features], tile.acc),
    )
    if ONE_BLOCK:
        online = attend(online, q_tile, keys, values, first_query, 0, sight, mask, shape, tile, True, EDGES)
    else:
        whole, end = keys_seen(first_query, sequence, sight, mask, tile)
        for first in tl.range(0, whole, tile.keys):
            online = attend(online, q_tile, keys, values, first_query, first, sight, mask, shape, tile, False, False)
        if EDGES:
            for first in tl.range(whole, end, tile.keys):
                online = attend(online, q_tile, keys, values, first_query, first, sight, mask, shape, tile, False, True)

    # 4. logarithm of the row sum, to base e, and what rounding takes from it, on the way to base e and back again too
    log_total = tl.log(online.total)
    lse = online.m * LN2 + log_total
    rest = (online.m - lse * LOG2E) * LN2 + log_total
    if (
        mask.key_lengths is not None
    ):  # the lowest number says that a row sees nothing, and leaves all of log T to the rest
        rest = tl.where(sight.blind & (lse == lse), log_total, rest)
        lse = tl.where(sight.blind & (lse == lse), tile.lowest, lse)
    store_statistic(statistics.lse, lse, first_query, sequence, tile, CHECK)
    store_statistic(statistics.rest, rest, first_query, sequence, tile, CHECK)
    # 6. division by the row sum
    average = online.y / online.total[:, None]
    store_tile(head_of(y, at, sequence, shape), average, first_query, sequence.S, shape, tile, tile.queries, CHECK)


# --- backward ---------------------------------------------------------------------------------------------------------


@triton.jit
def load_lse(statistics, first_query, sequence, sight, mask, tile, CHECK: tl.constexpr):
    """lse of a block of queries, in bits."""
    lse = load_statistic(statistics.lse, first_query, sequence, tile, CHECK)
    rest = load_statistic(statistics.rest, first_query, sequence, tile, CHECK)
    if mask.key_lengths is not None:
        lse = tl.where(sight.blind & (lse == lse), 0, lse)
    if tile.exact:
        return Lse(lse * LOG2E, rest * LOG2E)
    else:
        return Lse((lse + rest) * LOG2E, 0)


@triton.jit
def probabilities(scored, bits, rest, tile):
    """P of a tile of scores; lse comes in the shape of its queries there."""
    exponent = scored.s * scored.bits - bits
    if tile.exact:
        exponent = exponent - rest
    return tl.math.exp2(exponent)


@triton.jit
def through_queries(
    dq, q, dy, keys, values, lse, delta, first_query, first_key, sight, mask, shape, tile, EDGE: tl.constexpr
):
    """dq of a block of queries, one block of keys further."""
    query = first_query + tl.arange(0, tile.queries)[:, None]
    key = first_key + tl.arange(0, tile.keys)[None, :]
    k = load_tile(keys, first_key, sight.keys, shape, tile, tile.keys, EDGE)
    v = load_tile(values, first_key, sight.keys, shape, tile, tile.keys, EDGE)
    # 2. probabilities again
    scored = scores(q, k, query, key, sight, mask, shape, tile, EDGE)
    p = probabilities(scored, lse.bits[:, None], lse.rest[:, None] if tile.exact else 0, tile)
    # 3. dP
    dp = dot(dy, tl.trans(v), tl.zeros([tile.queries, tile.keys], tile.acc), tile.precision)
    # 4. through the softmax; the scale waits for the end
    ds = p * (dp - delta[:, None])
    # 5. dQ
    return dot(ds.to(k.dtype), k, dq, tile.precision)


@triton.jit
def attention_plain_queries_kernel(q, k, v, y, dy, statistics, delta_ptr, dq, shape, mask, blocks, tile):
    """One program owns a block of queries of one head of one sequence, and leaves delta for the owners of keys."""
    EDGES: tl.constexpr = mask.causal or not tile.whole_keys
    CHECK: tl.constexpr = not tile.whole_queries
    at = place_of(blocks, shape)
    sequence = sequence_of(at, shape, mask)
    first_query = at.block * tile.queries
    if mask.cu_seqlens is not None:  # noqa: SIM102 - the compiler decides the one, a program the other
        if first_query >= sequence.S:
            return
    sight = sight_of(at, sequence, mask, shape, tile)
    keys, values = head_of(k, at, sequence, shape), head_of(v, at, sequence, shape)
    q_tile = load_tile(head_of(q, at, sequence, shape), first_query, sequence.S, shape, tile, tile.queries, CHECK)
    y_tile = load_tile(head_of(y, at, sequence, shape), first_query, sequence.S, shape, tile, tile.queries, CHECK)
    dy_tile = load_tile(head_of(dy, at, sequence, shape), first_query, sequence.S, shape, tile, tile.queries, CHECK)
    lse = load_lse(statistics, first_query, sequence, sight, mask, tile, CHECK)
    # 1. delta
    delta = tl.sum(dy_tile.to(tile.acc) * y_tile.to(tile.acc), axis=1)
    store_statistic(delta_ptr, delta, first_query, sequence, tile, CHECK)

    total = tl.zeros([tile.queries, tile.features], tile.acc)
    whole, end = keys_seen(first_query, sequence, sight, mask, tile)
    for first in tl.range(0, whole, tile.keys):
        total = through_queries(
            total, q_tile, dy_tile, keys, values, lse, delta, first_query, first, sight, mask, shape, tile, False
        )
    if EDGES:
        for first in tl.range(whole, end, tile.keys):
            total = through_queries(
                total, q_tile, dy_tile, keys, values, lse, delta, first_query, first, sight, mask, shape, tile, True
            )
    total = total * shape.D**-0.5
    store_tile(head_of(dq, at, sequence, shape), total, first_query, sequence.S, shape, tile, tile.queries, CHECK)


@triton.jit
def through_keys(
    total, k, v, queries, gradients, statistics, delta_ptr, first_query, first_key, sequence, sight, mask, shape, tile,
    EDGE: tl.constexpr,
):  # fmt: skip
    """dk and dv of a block of keys, one block of queries further. The tile is (keys, queries)."""
    CHECK: tl.constexpr = EDGE and not tile.whole_queries
    query = first_query + tl.arange(0, tile.queries)[None, :]
    key = first_key + tl.arange(0, tile.keys)[:, None]
    q = load_tile(queries, first_query, sequence.S, shape, tile, tile.queries, CHECK)
    dy = load_tile(gradients, first_query, sequence.S, shape, tile, tile.queries, CHECK)
    lse = load_lse(statistics, first_query, sequence, sight, mask, tile, CHECK)
    # 1. delta
    delta = load_statistic(delta_ptr, first_query, sequence, tile, CHECK)
    # 2. probabilities again
    scored = scores(k, q, query, key, sight, mask, shape, tile, EDGE)
    p = probabilities(scored, lse.bits[None, :], lse.rest[None, :] if tile.exact else 0, tile)
    # 3. dV; and dP
    dv = dot(p.to(dy.dtype), dy, total.dv, tile.precision)
    dp = dot(v, tl.trans(dy), tl.zeros([tile.keys, tile.queries], tile.acc), tile.precision)
    # 4. through the softmax; the scale waits for the end
    ds = p * (dp - delta[None, :])
    # 5. dK
    return KeyGradients(dot(ds.to(q.dtype), q, total.dk, tile.precision), dv)


@triton.jit
def attention_plain_keys_kernel(q, k, v, dy, statistics, delta_ptr, dk, dv, shape, mask, blocks, tile):
    """One program owns a block of keys of one head of one sequence."""
    EDGES: tl.constexpr = mask.causal or mask.key_lengths is not None or not tile.whole_queries
    CHECK: tl.constexpr = not tile.whole_keys
    at = place_of(blocks, shape)
    sequence = sequence_of(at, shape, mask)
    first_key = at.block * tile.keys
    if mask.cu_seqlens is not None:  # noqa: SIM102 - the compiler decides the one, a program the other
        if first_key >= sequence.T:
            return
    sight = sight_of(at, sequence, mask, shape, tile)
    queries, gradients = head_of(q, at, sequence, shape), head_of(dy, at, sequence, shape)
    k_tile = load_tile(head_of(k, at, sequence, shape), first_key, sight.keys, shape, tile, tile.keys, CHECK)
    v_tile = load_tile(head_of(v, at, sequence, shape), first_key, sight.keys, shape, tile, tile.keys, CHECK)

    zeros = tl.zeros([tile.keys, tile.features], tile.acc)
    total = KeyGradients(zeros, zeros)
    walk = queries_that_see(first_key, sequence, sight, mask, tile)
    if EDGES:
        before = (walk.whole - walk.start) // tile.queries
        after = tl.cdiv(walk.last - walk.end, tile.queries)
        for i in tl.range(0, before + after):
            first = tl.where(i < before, walk.start + i * tile.queries, walk.end + (i - before) * tile.queries)
            total = through_keys(
                total, k_tile, v_tile, queries, gradients, statistics, delta_ptr, first, first_key,
                sequence, sight, mask, shape, tile, True,
            )  # fmt: skip
    for first in tl.range(walk.whole, walk.end, tile.queries):
        total = through_keys(
            total, k_tile, v_tile, queries, gradients, statistics, delta_ptr, first, first_key,
            sequence, sight, mask, shape, tile, False,
        )  # fmt: skip
    store_key_gradients(total, dk, dv, first_key, at, sequence, sight.keys, mask, shape, tile, CHECK)


@triton.jit
def attention_plain_head_kernel(q, k, v, y, dy, statistics, dq, dk, dv, shape, mask, tile):
    """One program owns one head of one sequence, whose queries are one block."""
    EDGE: tl.constexpr = mask.causal or not tile.whole_keys
    CHECK: tl.constexpr = not tile.whole_queries
    at = place_of(1, shape)
    sequence = sequence_of(at, shape, mask)
    sight = sight_of(at, sequence, mask, shape, tile)
    keys, values = head_of(k, at, sequence, shape), head_of(v, at, sequence, shape)
    q_tile = load_tile(head_of(q, at, sequence, shape), 0, sequence.S, shape, tile, tile.queries, CHECK)
    y_tile = load_tile(head_of(y, at, sequence, shape), 0, sequence.S, shape, tile, tile.queries, CHECK)
    dy_tile = load_tile(head_of(dy, at, sequence, shape), 0, sequence.S, shape, tile, tile.queries, CHECK)
    lse = load_lse(statistics, 0, sequence, sight, mask, tile, CHECK)
    # 1. delta
    delta = tl.sum(dy_tile.to(tile.acc) * y_tile.to(tile.acc), axis=1)

    query = tl.arange(0, tile.queries)[:, None]
    dq_tile = tl.zeros([tile.queries, tile.features], tile.acc)
    for first_key in tl.range(0, sequence.T, tile.keys):
        key = first_key + tl.arange(0, tile.keys)[None, :]
        k_tile = load_tile(keys, first_key, sight.keys, shape, tile, tile.keys, EDGE)
        v_tile = load_tile(values, first_key, sight.keys, shape, tile, tile.keys, EDGE)
        # 2. probabilities again
        scored = scores(q_tile, k_tile, query, key, sight, mask, shape, tile, EDGE)
        p = probabilities(scored, lse.bits[:, None], lse.rest[:, None] if tile.exact else 0, tile)
        # 3. dV; and dP
        zeros = tl.zeros([tile.keys, tile.features], tile.acc)
        dv_tile = dot(tl.trans(p.to(dy_tile.dtype)), dy_tile, zeros, tile.precision)
        dp = dot(dy_tile, tl.trans(v_tile), tl.zeros([tile.queries, tile.keys], tile.acc), tile.precision)
        # 4. through the softmax; the scale waits for the end
        ds = (p * (dp - delta[:, None])).to(q_tile.dtype)
        # 5. dQ and dK
        dq_tile = dot(ds, k_tile, dq_tile, tile.precision)
        dk_tile = dot(tl.trans(ds), q_tile, zeros, tile.precision)
        total = KeyGradients(dk_tile, dv_tile)
        store_key_gradients(total, dk, dv, first_key, at, sequence, sight.keys, mask, shape, tile, not tile.whole_keys)
    dq_tile = dq_tile * shape.D**-0.5
    store_tile(head_of(dq, at, sequence, shape), dq_tile, 0, sequence.S, shape, tile, tile.queries, CHECK)
