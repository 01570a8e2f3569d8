"""Attention's rungs: what the first refuses, and which of the others runs."""

from typing import Any

import numpy as np
import pytest
from impls import FIRST_RUNG

from kernels._launch import INTERPRETED
from kernels.attention import attention, attention_backward
from kernels.traffic import traffic


@pytest.mark.parametrize(
    ("shape", "num_heads", "message"),
    [
        ((1, 24, 32), 2, "the first rung has whole tiles of 16 x 16, got 24 queries and 24 keys"),
        ((1, 0, 32), 2, "the first rung has whole tiles of 32 x 32, got 0 queries and 0 keys"),
        ((1, 16, 24), 1, "the first rung has heads of 16, 32, 64 or 128 features, got 24 in 1 heads"),
        ((1, 16, 256), 1, "the first rung has heads of 16, 32, 64 or 128 features, got 256 in 1 heads"),
    ],
)
def test_what_the_first_rung_has_no_tile_for(shape, num_heads, message):
    x = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match=message):
        FIRST_RUNG.ops["attention"].forward(x, x, x, num_heads)


@pytest.mark.skipif(not INTERPRETED, reason="compiled kernels cannot be counted")
@pytest.mark.parametrize("block", [None, (16, 16)], ids=["one program owns a head", "tiles"])
@pytest.mark.parametrize(
    ("rung", "asked"),
    [
        ("plain", {}),
        ("plain", {"causal": True}),
        ("plain", {"key_lengths": np.array([0, 33])}),
        ("plain", {"key_lengths": np.array([40, 7]), "causal": True}),
        ("general", {"bias": np.zeros((1, 1, 1, 40))}),
        ("general", {"bias": np.ones((33, 40), bool)}),
        ("general", {"drop_prob": 0.5}),
    ],
)
def test_which_rung_runs(rung: str, asked: dict[str, Any], block: tuple[int, int] | None):
    """The plain one unless it cannot: forward and backward alike, and no kernel of another."""
    q, k = (np.random.default_rng(0).standard_normal((2, n, 32)).astype("float32") for n in (33, 40))
    with traffic() as count:
        y, saved = attention(q, k, k, 2, **asked, block=block)
        attention_backward(y, saved, block=block)
    assert count and all(name.startswith(f"attention_{rung}_") for name in count)


@pytest.mark.skipif(not INTERPRETED, reason="compiled kernels cannot be counted")
def test_causal_with_more_queries_than_keys_is_not_plain():
    """Its first queries see nothing, the others do."""
    q, k = (np.zeros((1, n, 16), np.float32) for n in (5, 3))
    with traffic() as count:
        attention(q, k, k, 1, causal=True)
        attention(k, q, q, 1, causal=True)
    assert list(count) == ["attention_general_kernel", "attention_plain_kernel"]
