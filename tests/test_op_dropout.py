"""Dropout: what is kept, how it is scaled, and that backward uses forward's mask."""

import math

import numpy as np
from checks import assert_same, assert_within, truth
from properties import holds_for, property_tests
from strategies import ORDINARY

from minirembert.ops import OPS

SIGMAS = 6


@holds_for("dropout")
def check_every_element_is_zero_or_scaled_up(impl, case):
    x = case.arrays[0]
    p = case.settings["drop_prob"]
    y = impl.run(case, "float32").y
    kept = x.astype(np.float32) * (np.float32(1 / (1 - p)))
    wrong = (y != 0) & (y != kept)
    assert not wrong.any(), f"{case}: {y[wrong][0]} is neither 0 nor x / (1 - {p})"


@holds_for("dropout", values=ORDINARY)
def check_the_mean_stays(impl, case):
    """On a large array: each of n elements is x / (1 - p) with probability 1 - p, so the sum varies by what follows."""
    p = case.settings["drop_prob"]
    x = case.rng.uniform(1, 2, (1 << 14,))
    y = impl.run(case.but_with(x)).y
    deviation = math.sqrt((x**2).sum() * p / (1 - p))
    rounding = np.finfo(np.float32).eps * x.sum()  # of the factor, a float32
    assert_within(y.sum(), x.sum(), SIGMAS * deviation + rounding, f"sum after {case}", case.seed)


@holds_for("dropout")
def check_backward_uses_the_same_mask(impl, case):
    """y / x and dx / dy are the same factors."""
    x = np.ones(case.arrays[0].shape)
    result = impl.run(case.but_with(x))
    dy = case.but_with(x).cotangent(x.shape, impl.dtypes[0])
    assert_same(result.gradients[0], dy * result.y, "dx against dy times the forward factors", case)


@holds_for("dropout")
def check_the_same_seed_gives_the_same_mask_and_another_seed_another(impl, case):
    """All 64 bits of the seed count."""
    x, seed = np.ones((64, 16)), case.settings["seed"]
    dropped = case.but_with(x, drop_prob=case.settings["drop_prob"] or 0.5)
    here, again = (impl.run(dropped).y for _ in range(2))
    assert_same(again, here, "y, drawn again,", case)
    for other in (seed + 1, seed + 2**32, seed + 2**63):
        there = impl.run(dropped.but_with(seed=other)).y
        assert (here != there).any(), f"{case}: seed {other} drops the same of {x.size} elements"


@holds_for("dropout")
def check_an_element_is_dropped_by_its_number_not_by_its_surroundings(impl, case):
    """The first rows of a larger array lose what they lose alone: no state, no dependence on shape."""
    x = np.ones((8, 24))
    assert_same(impl.run(case.but_with(x[:3])).y, impl.run(case.but_with(x)).y[:3], "first rows", case)
    assert_same(impl.run(case.but_with(x.ravel())).y, impl.run(case.but_with(x)).y.ravel(), "flattened", case)


@holds_for("dropout")
def check_probability_zero_changes_nothing(impl, case):
    off = case.but_with(drop_prob=0.0)
    assert_same(impl.run(off).y, off.at(impl.dtypes[0])[0][0], "y without dropout", case)
    assert truth(off, impl.dtypes[0]).y.exact.shape == case.arrays[0].shape


test_dropout = property_tests()


def test_only_numpy_is_needed_to_see_it():
    """Half of a row of ones is dropped, and the sum is about what it was."""
    y, saved = OPS["dropout"].forward(np.ones(1000, np.float32), drop_prob=0.5, seed=1)
    (dx,) = OPS["dropout"].backward(np.ones(1000, np.float32), saved)
    assert set(y.tolist()) == {0.0, 2.0}
    assert (dx == y).all()
