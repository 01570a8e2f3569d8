"""Attention's rungs: the first, which has whole tiles and nothing else, keeps every property that needs no more."""

from dataclasses import replace

import numpy as np
import pytest
import test_op_attention  # noqa: F401 - its properties
import test_ops  # noqa: F401
from impls import FIRST_RUNG, Impl
from properties import PROPERTIES, Property
from strategies import TILE, VALUES, Case

# What needs a mask, dropout, sizes of its own, or lse_rest.
NEEDS_MORE = (
    "pytorch s",  # a bias in backward
    "hidden",
    "sees nothing",
    "the future",
    "permutation",
    "heads do not talk",
    "splitting the batch",
    "one key",
    "its probabilities",
    "dropout",
    "however",
    "several tiles",
    "lse rest",
)


def whole_tiles(case: Case) -> Case:
    """The case with one to three tiles of queries and of keys, and nothing special asked."""
    h, d = case.settings["num_heads"], TILE * int(case.rng.choice((1, 2, 4)))
    S, T = TILE * case.rng.integers(1, 4, 2)
    arrays = (VALUES[case.values](case.rng, (2, n, h * d)) for n in (S, T, T))
    return case.but_with(*map(np.asarray, arrays), bias=None, key_lengths=None, causal=False, drop_prob=0.0)


def on_whole_tiles(rule: Property) -> Property:
    plain: dict[int, Case] = {}  # one for each case: the truth about it is worked out once

    def check(impl: Impl, case: Case) -> None:
        rule.check(impl, replace(plain.setdefault(case.seed, whole_tiles(case))))

    check.__name__ = rule.check.__name__
    return rule._replace(check=check, enough=min(rule.enough, 3))


FIRST_RUNG_RULES = [
    on_whole_tiles(rule)
    for rule in PROPERTIES
    if rule.op == "attention" and not any(words in rule.name for words in NEEDS_MORE)
]


@pytest.mark.parametrize("rule", FIRST_RUNG_RULES, ids=lambda rule: rule.name)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_the_first_rung(rule: Property):
    rule.test(FIRST_RUNG)


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
