"""Attention, third rung: a bias, dropout, and queries that see nothing beside others that do; any combination of all.

The walk over the tiles is that of `plain.py`, where it is explained. What comes on top:

Bias. Where one is added, scores and exponentials are to base e: the lowest number times log2 e would be infinite, and a row of
equal scores of -1e9 must remain one of equal scores. Elsewhere they are in bits, as in `plain.py`.

Dropout. Probability (b, h, s, t) of (B, h, S, T) is decided by its number among all, so every program draws those of its tile.

A query that sees nothing has all scores at the lowest number and averages all T keys alike. Next to such a number log T is
lost in rounding: lse is the lowest number itself, and log T is all in lse_rest.

Not here: a gradient for the bias, heads of more than 128 features.
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
from kernels.random import keep_each, keep_fours


class Bias(NamedTuple):
    """What is added to the scores (B, h, S, T), or says who may look where."""

    ptr: Any  # None: there is no bias
    batch: Any  # numbers from one sequence to the next
    head: Any  # from one head to the next
    query: Any  # from one query to the next; None: one row for all queries
    key: Any  # from one key to the next
    added: tl.constexpr  # or boolean


class Dropout(NamedTuple):
    """Which probabilities are dropped. The seed is an argument of its own, since its type must be said."""

    firsts: Any  # (sequences,): the number of each packed sequence's first probability; or None
    prob: tl.constexpr  # 0: nothing is dropped
    factor: tl.constexpr  # what those that stay are multiplied by
    fours: tl.constexpr  # T is a multiple of 4: four neighbours share a counter


class Sight(NamedTuple):
    """What the queries of a sequence see, by place."""

    keys: Any  # how many of the T keys are real
    read: Any  # how many are read
    ahead: Any  # `causal`: query i sees keys up to i + ahead
    bias_ptr: Any  # the bias of this head of this sequence
    draws: Any  # the number of this head's first probability in the stream of random numbers


# --- who sees whom ----------------------------------------------------------------------------------------------------


@triton.jit
def sight_of(at, sequence, bias, mask, dropout, shape):
    """What the queries of this sequence see."""
    bias_ptr = 0
    if bias.ptr is not None:
        bias_ptr = bias.ptr + at.sequence * bias.batch + at.head * bias.head
    keys, read = keys_of(at, sequence, bias, mask)
    draws = 0
    if dropout.prob > 0:
        draws = draws_of(at, sequence, dropout, shape)
    return Sight(keys, read, sequence.T - sequence.S, bias_ptr, draws)


@triton.jit
def keys_of(at, sequence, bias, mask):
    """How many of the T keys are real, and how many are read.

    What lies beyond a length may be anything, NaN for one, and is read only for a query that sees nothing, which averages
    all keys. Beside a bias there may always be such a query.
    """
    if mask.key_lengths is None:
        return sequence.T, sequence.T
    else:
        length = tl.load(mask.key_lengths + at.sequence).to(tl.int32)
        some_are_blind = length == 0
        if mask.causal:
            some_are_blind = some_are_blind | (sequence.S > sequence.T)
        return length, sequence.T if bias.ptr is not None else tl.where(some_are_blind, sequence.T, length)


@triton.jit
def draws_of(at, sequence, dropout, shape):
    """The number of this head's first probability in the stream of random numbers."""
    if dropout.firsts is None:
        return (at.sequence * shape.heads + at.head) * sequence.S * sequence.T
    else:
        return tl.load(dropout.firsts + at.sequence) + at.head * sequence.S * sequence.T


@triton.jit
def keys_seen(first_query, sequence, sight, bias, mask, tile):
    """(whole, end): where the keys begin to be hidden from some query of the block, and from all of them.

    No key before `whole`, a multiple of the block of keys, is hidden from any query by its place; from `end` on, all keys are
    hidden from all queries.
    """
    first_sees, last_sees = sight.keys, sight.keys
    if mask.causal:
        first_sees = tl.minimum(sight.keys, first_query + 1 + sight.ahead)
        last_sees = tl.minimum(sight.keys, tl.minimum(first_query + tile.queries, sequence.S) + sight.ahead)
    whole = tl.maximum(first_sees, 0) // tile.keys * tile.keys
    # A query that sees nothing attends to all T keys. A bias may hide whatever is left of a row.
    end = sequence.T if bias.ptr is not None else tl.where(first_sees <= 0, sequence.T, last_sees)
    return whole, end


@triton.jit
def queries_that_see(first_key, sequence, sight, bias, mask, tile):
    """(start, whole): where the queries begin that see some key of the block, and those that see all of it.

    All keys of the block are hidden from the queries before `start`; from `whole` on, their place hides none.
    """
    start, whole = 0, 0
    if mask.causal:
        start = tl.maximum(first_key - sight.ahead, 0) // tile.queries * tile.queries
        whole = tl.cdiv(tl.maximum(first_key + tile.keys - 1 - sight.ahead, 0), tile.queries) * tile.queries
        whole = tl.minimum(whole, sequence.S)
    whole = tl.where(first_key + tile.keys <= sight.keys, whole, sequence.S)
    start = tl.where(first_key < sight.keys, start, sequence.S)
    # A query that sees nothing attends to all T keys. A bias may hide whatever is left of a row.
    some_are_blind = sight.keys == 0
    if mask.causal:
        some_are_blind = some_are_blind | (sequence.S > sequence.T)
    start = 0 if bias.ptr is not None else tl.where(some_are_blind, 0, start)
    return start, whole


# --- a tile -----------------------------------------------------------------------------------------------------------
# Its indices come shaped, `query` (queries, 1) and `key` (1, keys), or the other way round, and everything broadcasts.


@triton.jit
def hide(s, visible, tile):
    """The lowest number where a query may not look; but what is not finite stays, as it does when that number is added.

    (Not s - s: s is a product, and one fused operation would give what rounding took from it.)
    """
    return tl.where(visible | (s * 0 != 0), s, tile.lowest)


@triton.jit
def scores(a, b, query, key, sequence, sight, bias, mask, shape, tile, EDGE: tl.constexpr):
    """q . k / sqrt(d), and the lowest number where a query may not look: to base e beside an added bias, else in bits.

    a is queries and b keys, or the other way round. EDGE: some keys are hidden by their place.
    """
    s = dot(a, tl.trans(b), tl.zeros([a.shape[0], b.shape[0]], tile.acc), tile.precision)
    if bias.added:
        s = s * shape.D**-0.5
    else:
        s = s * (shape.D**-0.5 * LOG2E)
    if bias.ptr is not None:
        if bias.query is None:
            value = tl.load(sight.bias_ptr + key.to(tl.int64) * bias.key, mask=key < sequence.T, other=0)
        else:
            address = sight.bias_ptr + query.to(tl.int64) * bias.query + key.to(tl.int64) * bias.key
            value = tl.load(address, mask=(query < sequence.S) & (key < sequence.T), other=0)
        if bias.added:
            s = s + tl.maximum(value.to(tile.acc), tile.lowest, propagate_nan=tl.PropagateNan.ALL)
        else:
            s = hide(s, value, tile)
    if EDGE:
        visible = key < sight.keys
        if mask.causal:
            visible = visible & (key <= query + sight.ahead)
        # where there is no key at all, not even a query that sees nothing may look
        s = tl.where(key < sequence.T, hide(s, visible, tile), -float("inf"))
    return s


@triton.jit
def exponential(x, bias):
    """e^x or 2^x, as the scores are."""
    return tl.exp(x) if bias.added else tl.math.exp2(x)


@triton.jit
def log_sum_exp(m, total, bias, tile):
    """(lse, what rounding took from it), to base e. The lowest number says that a row sees nothing, and stays what it is."""
    log_total = tl.log(total)
    if bias.added:
        lse = m + log_total
        return lse, (m - lse) + log_total
    else:
        blind = (m == tile.lowest) & (total == total)  # a maximum does not see NaN, a sum does
        lse = tl.where(blind, tile.lowest, tl.where(blind, 0, m) * LN2 + log_total)
        # two more roundings, to base e here and back in `probabilities`: what they take counts from where it will start
        return lse, (m - in_bits(lse, tile)) * LN2 + log_total


@triton.jit
def in_bits(lse, tile):
    """lse to base 2, but for the lowest number."""
    blind = lse == tile.lowest
    return tl.where(blind, tile.lowest, tl.where(blind, 0, lse) * LOG2E)


@triton.jit
def probabilities(s, lse, rest, bias, tile):
    """exp(s - lse), by way of what rounding took from lse."""
    if not bias.added:
        lse = in_bits(lse, tile)
        rest = rest * LOG2E
    return exponential((s - lse) - rest, bias)


@triton.jit
def keep(seed, query, first_key, sequence, sight, dropout, tile):
    """What dropout multiplies the probabilities of these queries, (queries, 1), by, for a block of keys."""
    first = sight.draws + query.to(tl.int64) * sequence.T + first_key
    if dropout.fours:  # 32 bits do for a counter
        counter = (first >> 2).to(tl.uint32) + tl.arange(0, tile.keys // 4)[None, :].to(tl.uint32)
        return keep_fours(seed, counter, dropout.prob, dropout.factor)
    else:
        return keep_each(seed, first + tl.arange(0, tile.keys)[None, :], dropout.prob, dropout.factor)


# --- forward ----------------------------------------------------------------------------------------------------------


class Online(NamedTuple):
    """What forward keeps of each query on its way over the keys."""

    m: Any  # (queries,): the largest score so far
    total: Any  # (queries,): the sum of the exponentials of score - m
    y: Any  # (queries, features): the sum of the values, weighted by those that dropout keeps


@triton.jit
def attend(
    online, q, keys, values, first_query, first_key, sequence, sight, bias, mask, dropout, seed, shape, tile,
    FIRST: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """The online softmax, one block of keys further. FIRST: it is the first, and there is nothing yet to rescale."""
    query = first_query + tl.arange(0, tile.queries)[:, None]
    key = first_key + tl.arange(0, tile.keys)[None, :]
    # 1. scores
    k = load_tile(keys, first_key, sight.read, shape, tile, tile.keys, EDGE)
    s = scores(q, k, query, key, sequence, sight, bias, mask, shape, tile, EDGE)
    # 2. row maximum so far
    m = tl.max(s, axis=1)
    if not FIRST:
        m = tl.maximum(online.m, m)
    # 3. exponentials of the differences
    p = exponential(s - m[:, None], bias)
    # 4. row sum so far
    total = tl.sum(p, axis=1)
    # 5. dropout
    if dropout.prob > 0:
        p = p * keep(seed, query, first_key, sequence, sight, dropout, tile)
    # 6. sum of the values so far, weighted; and what a smaller maximum made too large
    v = load_tile(values, first_key, sight.read, shape, tile, tile.keys, EDGE)
    if FIRST:
        y = dot(p.to(v.dtype), v, tl.zeros([tile.queries, tile.features], tile.acc), tile.precision)
    else:
        shrink = exponential(online.m - m, bias)
        total = online.total * shrink + total
        y = dot(p.to(v.dtype), v, online.y * shrink[:, None], tile.precision)
    return Online(m, total, y)


@triton.jit
def attention_general_kernel(
    q, k, v, y, statistics, bias, shape, mask, dropout, seed: tl.uint64, blocks, tile, ONE_BLOCK: tl.constexpr
):
    """One program owns a block of queries of one head of one sequence. ONE_BLOCK: all keys are one block."""
    at = place_of(blocks, shape)
    sequence = sequence_of(at, shape, mask)
    first_query = at.block * tile.queries
    if first_query >= sequence.S:
        return
    sight = sight_of(at, sequence, bias, mask, dropout, shape)
    keys, values = head_of(k, at, sequence, shape), head_of(v, at, sequence, shape)
    q_tile = load_tile(head_of(q, at, sequence, shape), first_query, sequence.S, shape, tile, tile.queries, True)

    online = Online(
        tl.full([tile.queries], -float("inf"), tile.acc),
        tl.zeros([tile.queries], tile.acc),
        tl.zeros([tile.queries, tile.features], tile.acc),
    )
    if ONE_BLOCK:
        online = attend(
            online,
            q_tile,
            keys,
            values,
            first_query,
            0,
            sequence,
            sight,
            bias,
            mask,
            dropout,
            seed,
            shape,
            tile,
            True,
            True,
        )
    else:
        whole, end = keys_seen(first_query, sequence, sight, bias, mask, tile)
        for first in tl.range(0, whole, tile.keys):
            online = attend(
                online, q_tile, keys, values, first_query, first, sequence, sight, bias, mask, dropout, seed, shape, tile,
                False, False,
            )  # fmt: skip
        for first in tl.range(whole, end, tile.keys):
            online = attend(
                online, q_tile, keys, values, first_query, first, sequence, sight, bias, mask, dropout, seed, shape, tile,
                False, True,
            )  # fmt: skip

    # 4. logarithm of the row sum, and what adding the maximum to that takes from it
    lse, rest = log_sum_exp(online.m, online.total, bias, tile)
    store_statistic(statistics.lse, lse, first_query, sequence, tile, True)
    store_statistic(statistics.rest, rest, first_query, sequence, tile, True)
    # 6. division by the row sum
    average = online.y / online.total[:, None]
    store_tile(head_of(y, at, sequence, shape), average, first_query, sequence.S, shape, tile, tile.queries, True)


@triton.jit
def attention_probabilities_kernel(q, k, p_ptr, statistics, bias, shape, mask, dropout, seed: tl.uint64, blocks, tile):
    """One program owns a block of queries of one head of one sequence, and writes its probabilities (queries, T)."""
    at = place_of(blocks, shape)
    sequence = sequence_of(at, shape, mask)
    sight = sight_of(at, sequence, bias, mask, dropout, shape)
    first_query = at.block * tile.queries
    query = first_query + tl.arange(0, tile.queries)[:, None]
    keys = head_of(k, at, sequence, shape)
    q_tile = load_tile(head_of(q, at, sequence, shape), first_query, sequence.S, shape, tile, tile.queries, True)
    lse = load_statistic(statistics.lse, first_query, sequence, tile, True)[:, None]
    rest = load_statistic(statistics.rest, first_query, sequence, tile, True)[:, None]
    for first_key in tl.range(0, sequence.T, tile.keys):
        key = first_key + tl.arange(0, tile.keys)[None, :]
        k_tile = load_tile(keys, first_key, sight.read, shape, tile, tile.keys, True)
        s = scores(q_tile, k_tile, query, key, sequence, sight, bias, mask, shape, tile, True)
        p = probabilities(s, lse, rest, bias, tile)
        if dropout.prob > 0:
            p = p * keep(seed, query, first_key, sequence, sight, dropout, tile)
        address = p_ptr + (sequence.row + query) * sequence.T + key
        tl.store(address, p.to(p_ptr.dtype.element_ty), mask=(query < sequence.S) & (key < sequence.T))


# --- backward ---------------------------------------------------------------------------------------------------------


@triton.jit
def through_queries(
    dq, q, dy, keys, values, lse, rest, delta, first_query, first_key,
    sequence, sight, bias, mask, dropout, seed, shape, tile, EDGE: tl.constexpr,
):  # fmt: skip
    """dq of a block of queries, one block of keys further."""
    query = first_query + tl.arange(0, tile.queries)[:, None]
    key = first_key + tl.arange(0, tile.keys)[None, :]
    k = load_tile(keys, first_key, sight.read, shape, tile, tile.keys, EDGE)
    v = load_tile(values, first_key, sight.read, shape, tile, tile.keys, EDGE)
    # 2. probabilities again
    s = scores(q, k, query, key, sequence, sight, bias, mask, shape, tile, EDGE)
    p = probabilities(s, lse[:, None], rest[:, None], bias, tile)
    # 3. dP
    dp = dot(dy, tl.trans(v), tl.zeros([tile.queries, tile.keys], tile.acc), tile.precision)
    if dropout.prob > 0:
        dp = dp * keep(seed, query, first_key, sequence, sight, dropout, tile)
    # 4. through the softmax; the scale waits for the end
    ds = p * (dp - delta[:, None])
    # 5. dQ
    return dot(ds.to(k.dtype), k, dq, tile.precision)


@triton.jit
def attention_general_queries_kernel(
    q, k, v, y, dy, statistics, delta_ptr, dq, bias, shape, mask, dropout, seed: tl.uint64, blocks, tile
):
    """One program owns a block of queries of one head of one sequence, and leaves delta for the owners of keys."""
    at = place_of(blocks, shape)
    sequence = sequence_of(at, shape, mask)
    first_query = at.block * tile.queries
    if first_query >= sequence.S:
        return
    sight = sight_of(at, sequence, bias, mask, dropout, shape)
    keys, values = head_of(k, at, sequence, shape), head_of(v, at, sequence, shape)
    q_tile = load_tile(head_of(q, at, sequence, shape), first_query, sequence.S, shape, tile, tile.queries, True)
    y_tile = load_tile(head_of(y, at, sequence, shape), first_query, sequence.S, shape, tile, tile.queries, True)
    dy_tile = load_tile(head_of(dy, at, sequence, shape), first_query, sequence.S, shape, tile, tile.queries, True)
    lse = load_statistic(statistics.lse, first_query, sequence, tile, True)
    rest = load_statistic(statistics.rest, first_query, sequence, tile, True)
    # 1. delta
    delta = tl.sum(dy_tile.to(tile.acc) * y_tile.to(tile.acc), axis=1)
    store_statistic(delta_ptr, delta, first_query, sequence, tile, True)

    total = tl.zeros([tile.queries, tile.features], tile.acc)
    whole, end = keys_seen(first_query, sequence, sight, bias, mask, tile)
    for first in tl.range(0, whole, tile.keys):
        total = through_queries(
            total, q_tile, dy_tile, keys, values, lse, rest, delta, first_query, first,
            sequence, sight, bias, mask, dropout, seed, shape, tile, False,
        )  # fmt: skip
    for first in tl.range(whole, end, tile.keys):
        total = through_queries(
            total, q_tile, dy_tile, keys, values, lse, rest, delta, first_query, first,
            sequence, sight, bias, mask, dropout, seed, shape, tile, True,
        )  # fmt: skip
    total = total * shape.D**-0.5
    store_tile(head_of(dq, at, sequence, shape), total, first_query, sequence.S, shape, tile, tile.queries, True)


@triton.jit
def through_keys(
    total, k, v, queries, gradients, statistics, delta_ptr, first_query, first_key,
    sequence, sight, bias, mask, dropout, seed, shape, tile, EDGE: tl.constexpr,
):  # fmt: skip
    """dk and dv of a block of keys, one block of queries further. The tile is (keys, queries)."""
    query = first_query + tl.arange(0, tile.queries)
    key = first_key + tl.arange(0, tile.keys)[:, None]
    q = load_tile(queries, first_query, sequence.S, shape, tile, tile.queries, True)
    dy = load_tile(gradients, first_query, sequence.S, shape, tile, tile.queries, True)
    lse = load_statistic(statistics.lse, first_query, sequence, tile, True)
    rest = load_statistic(statistics.rest, first_query, sequence, tile, True)
    # 1. delta
    delta = load_statistic(delta_ptr, first_query, sequence, tile, True)
    # 2. probabilities again
    s = scores(k, q, query[None, :], key, sequence, sight, bias, mask, shape, tile, EDGE)
    p = probabilities(s, lse[None, :], rest[None, :], bias, tile)
    # 3. dV, through the probabilities that dropout kept; and dP
    dp = dot(v, tl.trans(dy), tl.zeros([tile.keys, tile.queries], tile.acc), tile.precision)
    kept = p
    if dropout.prob > 0:
        factor = tl.trans(keep(seed, query[:, None], first_key, sequence, sight, dropout, tile))
        kept = p * factor
        dp = dp * factor
    dv = dot(kept.to(dy.dtype), dy, total.dv, tile.precision)
    # 4. through the softmax; the scale waits for the end
    ds = p * (dp - delta[None, :])
    # 5. dK
    return KeyGradients(dot(ds.to(q.dtype), q, total.dk, tile.precision), dv)


@triton.jit
def attention_general_keys_kernel(
    q, k, v, dy, statistics, delta_ptr, dk, dv, bias, shape, mask, dropout, seed: tl.uint64, blocks, tile
):
    """One program owns a block of keys of one head of one sequence."""
    at = place_of(blocks, shape)
    sequence = sequence_of(at, shape, mask)
    first_key = at.block * tile.keys
    if first_key >= sequence.T:
        return
    sight = sight_of(at, sequence, bias, mask, dropout, shape)
    queries, gradients = head_of(q, at, sequence, shape), head_of(dy, at, sequence, shape)
    k_tile = load_tile(head_of(k, at, sequence, shape), first_key, sight.read, shape, tile, tile.keys, True)
    v_tile = load_tile(head_of(v, at, sequence, shape), first_key, sight.read, shape, tile, tile.keys, True)

    zeros = tl.zeros([tile.keys, tile.features], tile.acc)
    total = KeyGradients(zeros, zeros)
    start, whole = queries_that_see(first_key, sequence, sight, bias, mask, tile)
    for first in tl.range(start, whole, tile.queries):
        total = through_keys(
            total, k_tile, v_tile, queries, gradients, statistics, delta_ptr, first, first_key,
            sequence, sight, bias, mask, dropout, seed, shape, tile, True,
        )  # fmt: skip
    for first in tl.range(whole, sequence.S, tile.queries):
        total = through_keys(
            total, k_tile, v_tile, queries, gradients, statistics, delta_ptr, first, first_key,
            sequence, sight, bias, mask, dropout, seed, shape, tile, False,
        )  # fmt: skip
    store_key_gradients(total, dk, dv, first_key, at, sequence, sight.read, mask, shape, tile, True)


@triton.jit
def attention_general_head_kernel(
    q, k, v, y, dy, statistics, dq, dk, dv, bias, shape, mask, dropout, seed: tl.uint64, tile
):
    """One program owns one head of one sequence, whose queries are one block."""
    at = place_of(1, shape)
    sequence = sequence_of(at, shape, mask)
    sight = sight_of(at, sequence, bias, mask, dropout, shape)
    keys, values = head_of(k, at, sequence, shape), head_of(v, at, sequence, shape)
    query = tl.arange(0, tile.queries)[:, None]
    q_tile = load_tile(head_of(q, at, sequence, shape), 0, sequence.S, shape, tile, tile.queries, True)
    y_tile = load_tile(head_of(y, at, sequence, shape), 0, sequence.S, shape, tile, tile.queries, True)
    dy_tile = load_tile(head_of(dy, at, sequence, shape), 0, sequence.S, shape, tile, tile.queries, True)
    lse = load_statistic(statistics.lse, 0, sequence, tile, True)[:, None]
    rest = load_statistic(statistics.rest, 0, sequence, tile, True)[:, None]
    # 1. delta
    delta = tl.sum(dy_tile.to(tile.acc) * y_tile.to(tile.acc), axis=1)

    dq_tile = tl.zeros([tile.queries, tile.features], tile.acc)
    for first_key in tl.range(0, sequence.T, tile.keys):
        key = first_key + tl.arange(0, tile.keys)[None, :]
        k_tile = load_tile(keys, first_key, sight.read, shape, tile, tile.keys, True)
        v_tile = load_tile(values, first_key, sight.read, shape, tile, tile.keys, True)
        # 2. probabilities again
        s = scores(q_tile, k_tile, query, key, sequence, sight, bias, mask, shape, tile, True)
        p = probabilities(s, lse, rest, bias, tile)
        # 3. dV, through the probabilities that dropout kept; and dP
        dp = dot(dy_tile, tl.trans(v_tile), tl.zeros([tile.queries, tile.keys], tile.acc), tile.precision)
        kept = p
        if dropout.prob > 0:
            factor = keep(seed, query, first_key, sequence, sight, dropout, tile)
            kept = p * factor
            dp = dp * factor
        zeros = tl.zeros([tile.keys, tile.features], tile.acc)
        dv_tile = dot(tl.trans(kept.to(dy_tile.dtype)), dy_tile, zeros, tile.precision)
        # 4. through the softmax; the scale waits for the end
        ds = (p * (dp - delta[:, None])).to(q_tile.dtype)
        # 5. dQ and dK
        dq_tile = dot(ds, k_tile, dq_tile, tile.precision)
        dk_tile = dot(tl.trans(ds), q_tile, zeros, tile.precision)
        total = KeyGradients(dk_tile, dv_tile)
        store_key_gradients(total, dk, dv, first_key, at, sequence, sight.read, mask, shape, tile, True)
    dq_tile = dq_tile * shape.D**-0.5
    store_tile(head_of(dq, at, sequence, shape), dq_tile, 0, sequence.S, shape, tile, tile.queries, True)
