"""NaN and infinity where nobody looks: beyond a length, behind a mask, in a row that is ignored. The implementations agree.

What is expected comes from calls without the hidden numbers, or from Hugging Face's way of hiding, in PyTorch.
"""

import math
from typing import Any

import numpy as np
import pytest
import torch
from checks import PARITY_GRADIENTS, PARITY_OUTPUTS
from impls import TRITON
from oracles import split_heads

B, S, T, HEADS, H = 2, 5, 7, 2, 8
LENGTHS = np.array([3, 7])
SEEN = np.arange(T) < LENGTHS[:, None]
ONE_HIDDEN = np.broadcast_to(np.arange(T) != 3, (S, T))
LOWEST = np.finfo(np.float64).min

anything = pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
key_or_value = pytest.mark.parametrize("which", [1, 2], ids=["in a key", "in a value"])
in_tiles = pytest.mark.parametrize("block", [None, (16, 16)], ids=["one program owns a head", "tiles"])

pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def qkv(queries: int = S, keys: int = T) -> list[np.ndarray]:
    return [draw(i, B, n, H) for i, n in enumerate((queries, keys, keys))]


def both_passes(
    impl: Any, arrays: list[np.ndarray], block: Any = None, op: str = "attention", **settings: Any
) -> list[Any]:
    if impl is TRITON and block:
        settings["block"] = block
    y, saved = impl.call(op, *arrays, num_heads=HEADS, **settings)
    forward = impl.ops[op]
    dy = impl.put(draw(9, *y.shape))
    gradients = forward.backward(dy, saved, block=block) if impl is TRITON and block else forward.backward(dy, saved)
    return [y, *map(impl.to_numpy, gradients)]


def assert_alike(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """The same numbers, and NaN in the same places."""
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        tolerance = PARITY_GRADIENTS if i else PARITY_OUTPUTS
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True, err_msg=f"result {i}")


def eager(arrays: list[np.ndarray], hidden: np.ndarray) -> list[np.ndarray]:
    """Hugging Face's: the lowest number is added to the scores of hidden keys."""
    q, k, v = (torch.from_numpy(a).requires_grad_() for a in arrays)
    heads_q, heads_k, heads_v = (split_heads(x, HEADS) for x in (q, k, v))
    scores = heads_q @ heads_k.transpose(-1, -2) / math.sqrt(H // HEADS)
    p = torch.softmax(scores + torch.from_numpy(np.where(hidden, LOWEST, 0.0)), -1)
    y = (p @ heads_v).transpose(1, 2).flatten(-2)
    gradients = torch.autograd.grad(y, (q, k, v), torch.from_numpy(draw(9, *y.shape)))
    return [y.detach().numpy(), *(g.numpy() for g in gradients)]


# --- beyond a length: not read ----------------------------------------------------------------------------------------


@anything
@key_or_value
@in_tiles
@pytest.mark.parametrize("causal", [False, True], ids=["", "causal"])
def test_what_lies_beyond_a_length_may_be_anything(impl, which, value, block, causal):
    arrays = qkv()
    arrays[1][~SEEN] = arrays[2][~SEEN] = 0
    expected = both_passes(impl, arrays, block, key_lengths=LENGTHS, causal=causal)
    arrays[which][~SEEN] = value
    found = both_passes(impl, arrays, block, key_lengths=LENGTHS, causal=causal)
    assert all(np.isfinite(a).all() for a in found)
    assert not found[2][~SEEN].any() and not found[3][~SEEN].any()
    assert_alike(found, expected)


@anything
def test_the_probabilities_of_what_lies_beyond_a_length(impl, value):
    q, k, _ = qkv()
    k[~SEEN] = value
    p, _ = impl.call("attention_probabilities", q, k, num_heads=HEADS, key_lengths=LENGTHS)
    assert np.isfinite(p).all() and not p[0, :, :, LENGTHS[0] :].any()


@in_tiles
def test_nan_in_a_gradient_does_not_reach_what_was_not_read(impl, block):
    settings = {"block": block} if impl is TRITON and block else {}
    y, saved = impl.call("attention", *qkv(), num_heads=HEADS, key_lengths=LENGTHS, **settings)
    dy = draw(9, *y.shape)
    dy[0, 2] = np.nan
    _, dk, dv = (impl.to_numpy(g) for g in impl.ops["attention"].backward(impl.put(dy), saved, **settings))
    assert not dk[~SEEN].any() and not dv[~SEEN].any() and np.isnan(dv[0, 0]).all()


@anything
@key_or_value
@in_tiles
@pytest.mark.parametrize("causal", [False, True], ids=["", "causal"])
def test_a_query_that_sees_nothing_averages_all_that_is_there(impl, which, value, block, causal):
    arrays = [draw(0, B, T, H), *qkv()[1:]] if causal else qkv()
    arrays[which][0, 5, 1] = value
    found = both_passes(impl, arrays, block, key_lengths=np.array([0, 7]), causal=causal)
    hidden = (np.arange(T) >= np.array([0, 7])[:, None])[:, None, None]
    if causal:
        hidden = hidden | (np.arange(T) > np.arange(T)[:, None])
    assert_alike(found, eager(arrays, hidden))
    assert not np.isfinite(found[0][0]).all() and np.isfinite(found[0][1]).all()


@anything
@in_tiles
def test_another_packed_sequence_may_be_anything(impl, value, block):
    arrays = [draw(i, 7, H) for i in range(3)]
    settings = {"cu_seqlens": np.array([0, 3, 3, 7]), "drop_prob": 0.5, "seed": 3}
    expected = both_passes(impl, arrays, block, "attention_packed", **settings)
    for a in arrays:
        a[:3] = value
    found = both_passes(impl, arrays, block, "attention_packed", **settings)
    assert np.isnan(found[0][:3]).all()
    assert_alike([a[3:] for a in found], [a[3:] for a in expected])


# --- behind a mask: as in Hugging Face --------------------------------------------------------------------------------

MASKS = {
    "boolean": ({"bias": np.array(ONE_HIDDEN)}, ~ONE_HIDDEN),
    "added": ({"bias": np.where(ONE_HIDDEN, 0, LOWEST)}, ~ONE_HIDDEN),
    "causal": ({"causal": True}, np.arange(T) > np.arange(S)[:, None] + (T - S)),
    "boolean, lengths": ({"bias": np.array(ONE_HIDDEN), "key_lengths": LENGTHS}, ~ONE_HIDDEN | ~SEEN[:, None, None]),
}
masks = pytest.mark.parametrize("mask", MASKS)


@anything
@key_or_value
@masks
@in_tiles
def test_what_a_mask_hides_spreads_as_in_hugging_face(impl, mask, which, value, block):
    settings, hidden = MASKS[mask]
    arrays = qkv()
    arrays[which][0, 6 if mask == "causal" else 3, 2] = value
    found = both_passes(impl, arrays, block, **settings)
    assert_alike(found, eager(arrays, hidden))
    assert np.isnan(found[0][0]).any() and np.isfinite(found[0][1]).all()


@in_tiles
def test_nan_in_a_bias_is_not_lost(impl, block):
    bias = np.where(np.arange(T) == 2, np.nan, 0.0)
    y = both_passes(impl, qkv(), block, bias=bias)[0]
    assert np.isnan(y).all()


@in_tiles
def test_the_statistics_of_a_query_beside_nan(impl, block):
    """Also where the maximum of the others says that it sees nothing."""
    arrays = qkv()
    arrays[1][0, 3] = np.nan
    mask = np.zeros((S, T), bool)
    _, saved = impl.call(
        "attention", *arrays, num_heads=HEADS, bias=mask, **({"block": block} if impl is TRITON else {})
    )
    assert np.isnan(impl.saved(saved, "lse")[0]).all() and np.isfinite(impl.saved(saved, "lse")[1]).all()


# --- other ops --------------------------------------------------------------------------------------------------------


@anything
def test_rows_that_are_ignored_may_be_anything(impl, value):
    logits, labels = draw(0, 4, 3), np.array([1, -100, 2, -100])
    expected, expected_saved = impl.call("cross_entropy", logits, labels=labels)
    (expected_gradient,) = impl.call_back("cross_entropy", np.ones(()), expected_saved)
    logits[1] = value
    loss, saved = impl.call("cross_entropy", logits, labels=labels)
    (gradient,) = impl.call_back("cross_entropy", np.ones(()), saved)
    assert_alike([loss, gradient], [expected, expected_gradient])
    assert not gradient[1].any()


def test_padding_learns_nothing_from_nan(impl):
    y, saved = impl.call("embedding", draw(0, 3, 2), ids=np.array([0, 2, 2]), padding_idx=0)
    dy = np.full_like(y, np.nan)
    dy[1:] = 1
    (dweight,) = impl.call_back("embedding", dy, saved)
    np.testing.assert_array_equal(dweight, [[0, 0], [0, 0], [2, 2]])


def test_what_dropout_drops_is_nan_if_it_was(impl):
    """As in PyTorch: 0 times NaN."""
    y, saved = impl.call("dropout", np.full((4, 5), np.nan, np.float32), drop_prob=0.5, seed=1)
    assert np.isnan(y).all() and np.isnan(impl.call_back("dropout", np.full_like(y, np.nan), saved)[0]).all()


def test_nan_in_a_row_of_softmax_is_the_row_s_alone(impl):
    x = draw(0, 3, 5)
    x[0, 1], x[0, 2], x[1, 2] = np.nan, -np.inf, -np.inf
    y, saved = impl.call("softmax", x)
    assert np.isnan(y[0]).all() and np.isfinite(y[1:]).all() and y[1, 2] == 0
    (dx,) = impl.call_back("softmax", draw(1, 3, 5), saved)
    assert np.isnan(dx[0]).all() and np.isfinite(dx[1:]).all()
