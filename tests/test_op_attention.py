"""Attention: who may look where, what the heads share (nothing), and what the result does not depend on."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checks import FLOOR, assert_right, assert_same, assert_within, truth
from oracles import split_heads
from properties import holds_for, property_tests
from strategies import ORDINARY, TILE, full_bias, in_float32

from minirembert.ops import OPS

LOWEST = float(np.finfo(np.float32).min)


def undropped(case):
    return case.but_with(drop_prob=0.0)


def with_bias(case, bias):
    """Without dropout, and with this bias as the only mask."""
    return case.but_with(drop_prob=0.0, bias=bias, key_lengths=None, causal=False)


def by_head(a: np.ndarray, num_heads: int) -> np.ndarray:
    """(B, S, H) -> (B, h, S, d), in NumPy."""
    return a.reshape(*a.shape[:2], num_heads, -1).swapaxes(1, 2)


@holds_for("attention")
def check_it_is_pytorch_s(impl, case):
    """A second oracle, which nobody here wrote: scaled_dot_product_attention."""
    dtype = impl.dtypes[0]
    case = with_bias(case, full_bias(case))
    (q, k, v), settings = case.at(dtype)
    h, bias = settings["num_heads"], settings["bias"]
    heads = (split_heads(torch.from_numpy(a), h) for a in (q, k, v))
    mask = None if bias is None else torch.from_numpy(np.array(bias)).expand(q.shape[0], h, q.shape[1], k.shape[1])
    theirs = F.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2).flatten(-2)
    allowed = 2 * truth(case, dtype).y.allowed
    assert_within(impl.run(case, dtype).y, theirs.numpy(), allowed, f"{case} against PyTorch", case.seed)


@holds_for("attention")
def check_each_output_lies_between_the_smallest_and_the_largest_value(impl, case):
    """An average cannot leave the range of what it averages: head by head, feature by feature."""
    case = undropped(case)
    for dtype in impl.dtypes:
        y, v = impl.run(case, dtype).y, case.arrays[2]
        allowed = truth(case, dtype).y.allowed
        outside = (y < v.min(1, keepdims=True) - allowed) | (y > v.max(1, keepdims=True) + allowed)
        assert not outside.any(), f"{case}: an output outside the range of the values"


@holds_for("attention")
def check_a_permutation_of_keys_and_values_together_changes_nothing(impl, case):
    """Attention reads a set: order comes in by position embeddings alone."""
    dtype = impl.dtypes[0]
    case = with_bias(case, full_bias(case))
    q, k, v = case.arrays
    order = case.rng.permutation(k.shape[1])
    shuffled = case.but_with(q, k[:, order], v[:, order], bias=case.settings["bias"][..., order])
    (y, (dq, dk, dv), _), (y2, (dq2, dk2, dv2), _) = (impl.run(c, dtype) for c in (case, shuffled))
    answer = truth(case, dtype)
    for name, got, expected, expected_answer in (
        ("y", y2, y, answer.y),
        ("dq", dq2, dq, answer.gradients[0]),
        ("dk", dk2, dk[:, order], answer.gradients[1]),
        ("dv", dv2, dv[:, order], answer.gradients[2]),
    ):
        allowed = expected_answer.allowed[:, order] if name in ("dk", "dv") else expected_answer.allowed
        assert_within(got, expected, 2 * allowed, f"{name} of {case}, shuffled", case.seed)


@holds_for("attention", values=ORDINARY, hint="dS is P (dP - delta), with delta = dy . y of the query")
def check_the_same_vector_added_to_every_key_changes_nothing(impl, case):
    """It adds q . c to a whole row of scores. So the gradient of the keys sums to zero over the keys, and key.bias, which
    is added to every key, never learns."""
    dtype = impl.dtypes[0]
    q, k, v = case.arrays
    k = np.round(k * 2**10) / 2**10
    shift = np.round(case.rng.standard_normal(k.shape[-1]) * 2**4) / 2**4
    here, there = (undropped(case).but_with(q, keys, v) for keys in (k, k + shift))
    allowed = truth(here, dtype).y.allowed + truth(there, dtype).y.allowed
    assert_within(impl.run(there, dtype).y, impl.run(here, dtype).y, allowed, f"{case}, keys shifted", case.seed)
    dk, dk_allowed = impl.run(here, dtype).gradients[1], truth(here, dtype).gradients[1].allowed
    assert_within(
        dk.sum(1), np.zeros_like(dk[:, 0]), dk_allowed.sum(1), f"sum of dk over the keys of {case}", case.seed
    )


@holds_for("attention", values=ORDINARY, hint="a hidden key is hidden before the maximum is taken, not after")
def check_hidden_keys_do_not_change_real_tokens(impl, case):
    """Padding: whatever a hidden key and its value hold, the outputs are the same, and they get no gradient."""
    dtype = impl.dtypes[0]
    q, k, v = case.arrays
    extra = in_float32(case.rng.standard_normal((k.shape[0], 3, k.shape[2])) * 10)
    visible = np.zeros((*full_bias(case).shape[:3], k.shape[1]))
    hidden = np.full((*visible.shape[:3], 3), LOWEST)
    alone = with_bias(case, visible).but_with(q, k, v)
    padded = alone.but_with(
        q, np.concatenate([k, extra], 1), np.concatenate([v, -extra], 1), bias=np.concatenate([visible, hidden], -1)
    )
    (y, gradients, _), (y_padded, gradients_padded, _) = impl.run(alone, dtype), impl.run(padded, dtype)
    answer = truth(alone, dtype)
    assert_within(y_padded, y, 2 * answer.y.allowed, f"{case} with padding", case.seed)
    for name, there, here, expected in zip("qkv", gradients_padded, gradients, answer.gradients, strict=True):
        T = here.shape[1]
        assert_within(there[:, :T], here, 2 * expected.allowed, f"d{name} of {case} with padding", case.seed)
        assert not there[:, T:].any(), f"{case}: d{name} of a hidden key is not zero"


@holds_for("attention", values=ORDINARY)
def check_a_query_that_sees_nothing_averages_all_values_alike(impl, case):
    """Hugging Face's rule: every score is the lowest number, so they are all equal. Backward agrees: dv = dy / T."""
    q, k, v = case.arrays
    blind = with_bias(case, np.full((1, 1, 1, 1), LOWEST))
    for dtype in impl.dtypes:
        y, (_, _, dv), _ = impl.run(blind, dtype)
        expected = np.broadcast_to(v.mean(1, keepdims=True), y.shape)
        eps = FLOOR * np.finfo(dtype).eps * (1 + math.sqrt(max(k.shape[1], q.shape[1])))
        assert_within(y, expected, eps * np.abs(v).max(), f"y ({dtype}) of blind {case}", case.seed)
        dy = blind.cotangent(y.shape, dtype).astype(np.float64)
        expected = np.broadcast_to(dy.sum(1, keepdims=True) / k.shape[1], dv.shape)
        assert_within(dv, expected, eps * np.abs(dy).sum(1, keepdims=True), f"dv ({dtype}) of blind {case}", case.seed)


@holds_for("attention")
def check_every_query_hands_out_what_it_was_given(impl, case):
    """A query's probabilities sum to one in the backward pass as well, so the dv of all keys sum to the dy of all queries."""
    case = undropped(case)
    for dtype in impl.dtypes:
        y, (_, _, dv), _ = impl.run(case, dtype)
        dy = case.cotangent(y.shape, dtype).astype(np.float64)
        T, S = dv.shape[1], y.shape[1]
        terms = np.abs(case.arrays[0]).max() * np.abs(case.arrays[1]).max() * math.sqrt(y.shape[2])
        allowed = FLOOR * np.finfo(dtype).eps * (1 + terms) * math.sqrt(S + T) * np.abs(dy).sum(1)
        assert_within(dv.astype(np.float64).sum(1), dy.sum(1), allowed, f"sum of dv ({dtype}) of {case}", case.seed)


@holds_for("attention", values=ORDINARY)
def check_the_future_stays_hidden(impl, case):
    """With a causal mask, what comes later changes no bit of what came before."""
    q, _, _ = case.arrays
    S = q.shape[1]
    causal = np.where(np.arange(S) > np.arange(S)[:, None], LOWEST, 0.0)
    before = with_bias(case, causal[None, None]).but_with(q, q[:, ::-1], -q)
    now = S // 2
    later = [a.copy() for a in before.arrays]
    for a in later:
        a[:, now + 1 :] = in_float32(case.rng.standard_normal(a[:, now + 1 :].shape))
    changed = before.but_with(*later)
    dtype = impl.dtypes[0]
    y, y_changed = impl.run(before, dtype).y, impl.run(changed, dtype).y
    allowed = 2 * truth(before, dtype).y.allowed[:, : now + 1]
    assert_within(y_changed[:, : now + 1], y[:, : now + 1], allowed, f"{case}, causal", case.seed)


@holds_for("attention", values=ORDINARY)
def check_heads_do_not_talk_to_each_other(impl, case):
    """A head gives alone what it gives among others, backward too: it sees its own slice of H, its own bias, no more."""
    dtype = impl.dtypes[0]
    hidden = full_bias(case)
    case = with_bias(case, hidden + case.rng.standard_normal(hidden.shape))
    h = case.settings["num_heads"]
    d = case.arrays[0].shape[2] // h
    result, answer = impl.run(case, dtype), truth(case, dtype)
    for j in range(h):
        mine = np.s_[..., j * d : (j + 1) * d]
        arrays = [a[mine] for a in case.arrays]
        settings = {**case.at(dtype)[1], "num_heads": 1, "bias": case.at(dtype)[1]["bias"][:, j : j + 1]}
        y, saved = impl.call("attention", *(a.astype(dtype) for a in arrays), **settings)
        gradients = impl.call_back("attention", case.cotangent(result.y.shape, dtype)[mine], saved)
        assert_within(y, result.y[mine], 2 * answer.y.allowed[mine], f"head {j} of {case} alone", case.seed)
        for name, alone, among, expected in zip("qkv", gradients, result.gradients, answer.gradients, strict=True):
            assert_within(
                alone, among[mine], 2 * expected.allowed[mine], f"d{name} of head {j} of {case} alone", case.seed
            )


@holds_for("attention")
def check_splitting_the_batch_changes_nothing(impl, case):
    dtype = impl.dtypes[0]
    case = with_bias(case, full_bias(case))
    result, answer = impl.run(case, dtype), truth(case, dtype)
    for b in range(case.arrays[0].shape[0]):
        one = np.s_[b : b + 1]
        settings = case.at(dtype)[1]
        y, _ = impl.call(
            "attention", *(a[one].astype(dtype) for a in case.arrays), **{**settings, "bias": settings["bias"][one]}
        )
        assert_within(y, result.y[one], 2 * answer.y.allowed[one], f"sequence {b} of {case} alone", case.seed)


@holds_for("attention")
def check_one_key_is_taken_whatever_the_query(impl, case):
    dtype = impl.dtypes[0]
    q, k, v = case.arrays
    one = with_bias(case, None).but_with(q, k[:, :1], v[:, :1])
    answer = truth(one, dtype).y
    expected = np.broadcast_to(one.arrays[2], q.shape)
    assert_within(impl.run(one, dtype).y, expected, answer.allowed, f"{case} with one key", case.seed)


@holds_for("attention")
def check_lse_is_the_log_of_the_sum_of_the_exponentials(impl, case):
    """By name, before dropout: log sum exp of a query's scores."""
    for dtype in impl.dtypes:
        (q, k, _), h = case.arrays, case.settings["num_heads"]
        scores = by_head(q, h) @ by_head(k, h).swapaxes(-1, -2) / math.sqrt(q.shape[2] // h)
        bias = full_bias(case)
        sees = (bias > -1e30).any(-1)
        scores = np.where(bias > -1e30, scores + bias, -np.inf)[sees]
        m = scores.max(-1, keepdims=True)
        exact = m[..., 0] + np.log(np.exp(scores - m).sum(-1))
        lse = impl.saved(impl.run(case, dtype).saved, "lse")
        assert lse.shape == bias.shape[:3]
        assert lse.dtype == dtype
        terms = by_head(np.abs(q), h) @ by_head(np.abs(k), h).swapaxes(-1, -2) / math.sqrt(q.shape[2] // h)
        allowed = FLOOR * np.finfo(dtype).eps * math.sqrt(1 + q.shape[2]) * (1 + terms.max(-1)[sees])
        assert_within(lse[sees], exact, allowed, f"lse ({dtype}) of {case}", case.seed)


@holds_for("attention")
def check_attention_is_its_probabilities_times_the_values(impl, case):
    """The op for looking at shows the probabilities that the op for computing uses, dropout included."""
    dtype = impl.dtypes[0]
    (q, k, v), settings = case.at(dtype)
    p, _ = impl.call("attention_probabilities", q, k, **settings)
    expected = (p @ by_head(v, settings["num_heads"])).swapaxes(1, 2).reshape(q.shape)
    assert_within(impl.run(case, dtype).y, expected, 2 * truth(case, dtype).y.allowed, f"{case}", case.seed)


@holds_for("attention")
def check_dropout_draws_by_element_and_backward_draws_the_same(impl, case):
    """With all values 1, y is the sum of what dropout kept; with dy = 1, dv is. Both from the same mask, so their totals
    agree; and the same seed gives the same bits, another seed others."""
    dtype = impl.dtypes[0]
    q, k, v = case.arrays
    h, p = case.settings["num_heads"], case.settings["drop_prob"]
    ones = case.but_with(q, k, np.ones_like(v))
    y, saved = impl.call("attention", *ones.at(dtype)[0], **ones.at(dtype)[1])
    _, _, dv = impl.call_back("attention", np.ones_like(y), saved)
    probabilities, _ = impl.call("attention_probabilities", *ones.at(dtype)[0][:2], **ones.at(dtype)[1])
    allowed = truth(ones, dtype).y.allowed.max() + truth(ones, dtype).gradients[2].allowed.max()
    kept_by_query, kept_by_key = probabilities.sum(-1), probabilities.sum(-2)
    d = q.shape[2] // h
    for name, got, kept in (("y", y, kept_by_query), ("dv", dv, kept_by_key)):
        expected = np.repeat(kept.swapaxes(1, 2), d, axis=-1)
        size = FLOOR * np.finfo(dtype).eps * expected.max(initial=0)
        assert_within(got, expected, q.shape[1] * allowed + size, f"{name} of {case} with ones", case.seed)
    if p:
        other, _ = impl.call("attention_probabilities", *ones.at(dtype)[0][:2], **{**ones.at(dtype)[1], "seed": 12345})
        again, _ = impl.call("attention_probabilities", *ones.at(dtype)[0][:2], **ones.at(dtype)[1])
        assert_same(again, probabilities, "probabilities, asked for again,", case)
        if probabilities.size > 1000:
            assert (other != probabilities).any(), f"{case}: another seed drops the same"


@holds_for("attention_probabilities")
def check_a_query_s_probabilities_sum_to_one(impl, case):
    for dtype in impl.dtypes:
        p = impl.run(undropped(case), dtype).y
        assert (p >= 0).all(), f"{case}: a negative probability"
        allowed = FLOOR * np.finfo(dtype).eps * math.sqrt(p.shape[-1])
        assert_within(p.astype(np.float64).sum(-1), np.ones(p.shape[:-1]), allowed, f"sum of {case}", case.seed)


@holds_for("attention")
def check_however_a_mask_is_said_it_is_the_same_mask(impl, case):
    """Lengths, causal, a boolean mask, a bias of 0 and the lowest number, or of 0 and -inf: the same answer and gradients."""
    dtype = impl.dtypes[0]
    hidden = full_bias(case) < -1e30
    by_bias = case.but_with(key_lengths=None, causal=False)
    said = {
        "a boolean mask and the rest": case.but_with(bias=None if case.settings["bias"] is None else ~hidden),
        "a boolean mask": by_bias.but_with(bias=~hidden),
        "a bias": by_bias.but_with(bias=np.where(hidden, LOWEST, 0.0)),
        "a bias of -inf": by_bias.but_with(bias=np.where(hidden, -np.inf, 0.0)),
    }
    answer = truth(said["a bias"], dtype)
    for how, same in said.items():
        y, gradients, _ = impl.run(same, dtype)
        assert_within(y, answer.y.exact, answer.y.allowed, f"y of {same}, hidden by {how}", case.seed)
        for name, gradient, expected in zip("qkv", gradients, answer.gradients, strict=True):
            assert_within(gradient, expected.exact, expected.allowed, f"d{name} of {same}, hidden by {how}", case.seed)


@holds_for("attention", values=ORDINARY, enough=4)
def check_tiles_that_are_hidden_may_be_skipped(impl, case):
    """Keys behind the last real one and keys of the future are not visited at all, and blocks on that edge are compared with
    it. Small blocks, and sizes and lengths around their edges, say whether it is the right ones."""
    rng, dtype, edges = case.rng, impl.dtypes[0], (TILE, TILE + 1, 2 * TILE - 1, 3 * TILE + 5)
    hidden_by = itertools.product((edges[:2], edges[1::-1], edges[2:], edges[:1:-1]), (False, True), (True,))
    no_lengths = (((TILE + 1, 2 * TILE - 1), True, False), ((2 * TILE, TILE + 1), True, False))
    for (S, T), causal, has_lengths in (*hidden_by, *no_lengths):
        q, k, v = (rng.standard_normal((3, n, 3)) for n in (S, T, T))
        lengths = np.minimum((0, rng.choice((1, *edges)), T), T) if has_lengths else None
        hiding = undropped(case).but_with(q, k, v, num_heads=1, bias=None, key_lengths=lengths, causal=causal)
        with impl.tiny_blocks(impl) as tiny:
            y, gradients, _ = tiny.run(hiding, dtype)
        assert_right(y, truth(hiding, dtype).y, dtype, "y", hiding)
        for name, gradient, answer in zip("qkv", gradients, truth(hiding, dtype).gradients, strict=True):
            assert_right(gradient, answer, dtype, f"d{name}", hiding)


def walk_over_tiles(impl, case, tile, queries, keys, heads):
    """So many tiles, of which nothing is hidden and nothing dropped."""
    dtype = impl.dtypes[-1]
    width = heads * max(TILE, impl.multiple)
    q, k, v = (case.rng.standard_normal((1, n * tile, width)) for n in (queries, keys, keys))
    plain = with_bias(case, None).but_with(q, k, v, num_heads=heads)
    y, gradients, _ = impl.run(plain, dtype)
    what = f"{queries} x {keys} tiles of {tile}"
    assert_right(y, truth(plain, dtype).y, dtype, f"y over {what}", plain)
    for name, gradient, answer in zip("qkv", gradients, truth(plain, dtype).gradients, strict=True):
        assert_right(gradient, answer, dtype, f"d{name} over {what}", plain)


RESCALED = (
    "where a later tile has a larger score, what was summed before it must be multiplied by exp(old - new maximum)"
)


@holds_for("attention", values=ORDINARY, enough=1, hint=RESCALED)
def check_one_two_and_three_small_tiles_are_one_attention(impl, case):
    """Nothing is hidden and nothing dropped: what is left is the walk over tiles. The largest score of a query may come in
    any of them."""
    with impl.in_tiles("attention") as tiled:
        for queries, keys in ((1, 1), (1, 3), (2, 2), (3, 1), (3, 2)):
            walk_over_tiles(tiled, case, TILE, queries, keys, heads=2)


@holds_for("attention", values=ORDINARY, enough=1, hint=RESCALED)
def check_one_two_and_three_tiles_of_any_size_are_one_attention(impl, case):
    """Of 128, which are one to three tiles or more for whoever has smaller ones, and need not be told how large they are."""
    for queries, keys in ((1, 2), (3, 3)):
        walk_over_tiles(impl, case, 128, queries, keys, heads=1)


@holds_for("attention", "attention_packed", "attention_probabilities", values=ORDINARY, enough=2)
def check_several_tiles_heads_and_sequences_are_one_attention(impl, case):
    """With dropout, which goes by a probability's number among all. Whatever the case: two sequences of two heads, tiles of
    queries and of keys; rows of a multiple of four keys, where four share a counter, and rows of one key more."""
    drop_prob, dtype = case.settings["drop_prob"] or 0.5, impl.dtypes[0]
    for T in (2 * TILE + 4, 2 * TILE + 5):
        S = TILE + 1
        if case.op == "attention_packed":
            masks, shapes = {"cu_seqlens": np.array([0, T, S + T])}, [(S + T, 6)] * 3
        else:
            masks, shapes = {"bias": None, "key_lengths": None}, [(2, S, 6), (2, T, 6), (2, T, 6)][: len(case.arrays)]
        arrays = [case.rng.standard_normal(shape) for shape in shapes]
        dropped = case.but_with(*arrays, num_heads=2, causal=False, drop_prob=drop_prob, **masks)
        with impl.tiny_blocks(impl) as tiny:
            y, gradients, _ = tiny.run(dropped, dtype)
        assert_right(y, truth(dropped, dtype).y, dtype, "y", dropped)
        if gradients:
            for name, gradient, answer in zip("qkv", gradients, truth(dropped, dtype).gradients, strict=True):
                assert_right(gradient, answer, dtype, f"d{name}", dropped)


@holds_for("attention", values=ORDINARY)
def check_a_query_hands_out_what_it_was_given_however_large_its_scores(impl, case):
    """A last place of lse is worth a factor e^8 where lse is 10^8. With one number to a head (d = 1) a score is one product,
    the same in every order, so backward's probabilities have no excuse not to sum to one. With a mask that hides nothing, and
    without a mask."""
    for dtype, visible in itertools.product(impl.dtypes, (np.ones((1, 1, 5, 17), bool), None)):
        q, k, v = (case.rng.standard_normal((2, n, 2)) for n in (5, 17, 17))
        large = with_bias(case, visible).but_with(1e4 * q, 1e4 * k, v, num_heads=2)
        y, (_, _, dv), _ = impl.run(large, dtype)
        dy = large.cotangent(y.shape, dtype).astype(np.float64)
        allowed = FLOOR * np.finfo(dtype).eps * np.abs(dy).sum(1)
        assert_within(dv.astype(np.float64).sum(1), dy.sum(1), allowed, f"sum of dv ({dtype}) of {large}", case.seed)


@holds_for("attention")
def check_lse_rest_is_what_rounding_took_from_lse(impl, case):
    """In a row that sees nothing lse is the lowest number, and the logarithm of the number of keys is all in lse_rest;
    elsewhere it is less than the last place of lse. Asked of the case, and of the case without any key."""
    blind_case = case.but_with(bias=None, key_lengths=np.zeros(len(case.arrays[0]), int), drop_prob=0.0)
    for dtype, one in itertools.product(impl.dtypes, (case, blind_case)):
        saved = impl.run(one, dtype).saved
        lse, rest = impl.saved(saved, "lse"), impl.saved(saved, "lse_rest")
        eps = float(np.finfo(dtype).eps)
        blind = (full_bias(one) < -1e30).all(-1)
        assert (lse[blind] == np.finfo(dtype).min).all(), f"{one}: lse where nothing is seen"
        log_T = math.log(one.arrays[1].shape[1])
        expected, allowed = np.full(blind.sum(), log_T), FLOOR * eps * (1 + log_T)
        assert_within(rest[blind], expected, allowed, f"lse_rest where nothing is seen ({dtype}) of {one}", one.seed)
        last_place = FLOOR * eps * (1 + np.abs(lse[~blind]).astype(np.float64))
        assert_within(rest[~blind], np.zeros((~blind).sum()), last_place, f"lse_rest ({dtype}) of {one}", one.seed)


@holds_for("attention_packed")
def check_packed_sequences_do_not_see_each_other(impl, case):
    """Each gives what it gives alone in a batch of one, backward too: packing, like padding, does not change real tokens."""
    dtype = impl.dtypes[0]
    case = undropped(case)
    (y, gradients, saved), answer = impl.run(case, dtype), truth(case, dtype)
    dy = case.cotangent(y.shape, dtype)
    arrays, settings = case.at(dtype)
    settings = {name: settings[name] for name in ("num_heads", "causal")}
    ends = case.settings["cu_seqlens"]
    for start, stop in itertools.pairwise(ends):
        if start == stop:
            continue
        here = np.s_[start:stop]
        alone, alone_saved = impl.call("attention", *(a[None, here] for a in arrays), **settings)
        assert_within(y[here], alone[0], 2 * answer.y.allowed[here], f"tokens {start} to {stop} of {case}", case.seed)
        lse, lse_alone = impl.saved(saved, "lse")[:, here], impl.saved(alone_saved, "lse")[0]
        last_place = FLOOR * np.finfo(dtype).eps * (1 + np.abs(lse_alone))
        assert_within(lse, lse_alone, last_place, f"lse of {case}", case.seed)
        gradients_alone = impl.call_back("attention", dy[None, here], alone_saved)
        for name, packed, one, expected in zip("qkv", gradients, gradients_alone, answer.gradients, strict=True):
            assert_within(packed[here], one[0], 2 * expected.allowed[here], f"d{name} of {case}", case.seed)


test_attention = property_tests()


@pytest.mark.parametrize(
    ("dtype", "hidden"),
    [
        ("float32", "the lowest"),
        ("float64", "the lowest"),
        ("float32", -1e4),  # Google's
        ("float32", -1e9),
        ("float64", -1e9),
        ("float32", "half the lowest"),  # what a float mask of 0.5 makes
        ("float64", "half the lowest"),
        ("float32", -np.inf),
        ("float64", -np.inf),
    ],
)
def test_any_large_negative_number_hides(impl, dtype, hidden):
    """A row full of them is uniform, forward and backward, although next to such numbers log T is lost in rounding."""
    lowest = np.finfo(dtype).min
    value = {"half the lowest": lowest / 2, "the lowest": lowest}.get(hidden, hidden)
    rng = np.random.default_rng(0)
    q, k, v, dy = (rng.standard_normal((1, 3, 4)).astype(dtype) for _ in range(4))
    _, saved = impl.call("attention", q, k, v, num_heads=2, bias=np.full((1, 1, 1, 3), value, dtype))
    _, _, dv = impl.call_back("attention", dy, saved)
    eps = np.finfo(dtype).eps
    last_place = eps * abs(value) if abs(value) < 0.01 / eps else 0  # of the scores, where they are not lost altogether
    allowed = FLOOR * (eps + last_place) * np.abs(dy).sum(1)
    assert_within(dv.sum(1), dy.sum(1), allowed, f"sum of dv behind {hidden}", 0)


@pytest.mark.parametrize("lengths", [[2, 4], [-1, 3]])
def test_a_length_beyond_the_keys(impl, lengths):
    x = np.zeros((2, 3, 4))
    with pytest.raises(ValueError, match=r"key_lengths\[\d\] is -?\d, but a sequence has 0 to 3 keys"):
        impl.call("attention", x, x, x, num_heads=2, key_lengths=np.array(lengths))


@pytest.mark.parametrize("ends", [[0, 3], [1, 5], [0, 4, 3, 5], [5], [0]])
def test_packed_sequences_must_cover_the_tokens(impl, ends):
    x = np.zeros((5, 4))
    with pytest.raises(ValueError, match="cu_seqlens must rise from 0 to 5, the number of tokens, got"):
        impl.call("attention_packed", x, x, x, num_heads=2, cu_seqlens=np.array(ends))


def test_the_width_must_split_into_the_heads():
    with pytest.raises(ValueError, match="width 10 is not a multiple of the number of heads 3"):
        OPS["attention"].forward(*(np.zeros((1, 2, 10)) for _ in range(3)), num_heads=3)
