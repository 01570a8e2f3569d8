"""Softmax: what makes it a probability, what it does not notice, and what its gradient cannot contain."""

import numpy as np
import pytest
from checks import FLOOR, assert_within, truth
from properties import holds_for, property_tests
from strategies import ORDINARY

from minirembert.ops import OPS


@holds_for("softmax")
def check_every_row_is_a_probability(impl, case):
    for dtype in impl.dtypes:
        y = impl.run(case, dtype).y
        assert (y >= 0).all(), f"{case}: a negative probability"
        allowed = truth(case, dtype).y.allowed.sum(-1)
        assert_within(y.astype(np.float64).sum(-1), np.ones(y.shape[:-1]), allowed, f"sum of {case}", case.seed)


@holds_for("softmax", values=ORDINARY)
def check_a_constant_added_to_a_row_changes_nothing(impl, case):
    """exp(x + c) = exp(x) exp(c), and exp(c) cancels: a row of scores has no zero point, be it a thousand away."""
    dtype = impl.dtypes[0]
    grid = np.round(case.arrays[0] * 2**10) / 2**10  # in steps of 2^-10, so that adding whole numbers is exact
    constant = np.round(1000 * case.rng.standard_normal((*grid.shape[:-1], 1)))
    plain, shifted = case.but_with(grid), case.but_with(grid + constant)
    allowed = truth(plain, dtype).y.allowed + truth(shifted, dtype).y.allowed
    assert_within(impl.run(shifted, dtype).y, impl.run(plain, dtype).y, allowed, f"{case}, shifted", case.seed)


@holds_for("softmax")
def check_the_larger_score_gets_the_larger_probability(impl, case):
    for dtype in impl.dtypes:
        y = impl.run(case, dtype).y
        x = case.at(dtype)[0][0]
        ranked = np.take_along_axis(y, np.argsort(x, axis=-1, kind="stable"), axis=-1)
        assert (np.diff(ranked) >= 0).all(), f"{case}: a larger score with a smaller probability"


@holds_for("softmax")
def check_shuffling_the_scores_shuffles_the_probabilities(impl, case):
    dtype = impl.dtypes[0]
    (x,) = case.arrays
    order = case.rng.permutation(x.shape[-1])
    answer = truth(case, dtype).y
    shuffled, plain = impl.run(case.but_with(x[..., order]), dtype).y, impl.run(case, dtype).y[..., order]
    assert_within(shuffled, plain, 2 * answer.allowed[..., order], f"{case}, shuffled", case.seed)


@holds_for("softmax")
def check_the_last_axis_is_the_one_that_competes(impl, case):
    """A row alone gives what it gives among others, whatever stands beside it."""
    dtype = impl.dtypes[0]
    (x,) = case.arrays
    answer, whole = truth(case, dtype).y, impl.run(case, dtype).y
    for where in list(np.ndindex(x.shape[:-1]))[-2:]:
        alone = impl.run(case.but_with(x[where]), dtype).y
        assert_within(alone, whole[where], 2 * answer.allowed[where], f"row {where} of {case} alone", case.seed)


@holds_for("softmax")
def check_the_gradient_of_a_row_sums_to_zero(impl, case):
    """Raising all scores together changes nothing, so the gradient has no part in that direction."""
    for dtype in impl.dtypes:
        (dx,) = impl.run(case, dtype).gradients
        allowed = truth(case, dtype).gradients[0].allowed.sum(-1)
        assert_within(
            dx.astype(np.float64).sum(-1), np.zeros(dx.shape[:-1]), allowed, f"sum of dx of {case}", case.seed
        )


@holds_for("softmax")
def check_a_hidden_score_gets_nothing_and_changes_nothing(impl, case):
    """A score of -inf: probability exactly 0, and the others share as if it were not there; nor does it matter whether so
    many are hidden that they fill blocks of their own."""
    dtype = impl.dtypes[0]
    (x,) = case.arrays
    C = x.shape[-1]
    hidden = np.concatenate([x, np.full((*x.shape[:-1], 2 + C), -np.inf)], axis=-1)
    answer = truth(case, dtype).y
    with impl.tiny_blocks(impl) as tiny:
        for each in (impl, tiny):
            y = each.run(case.but_with(hidden), dtype).y
            assert not y[..., C:].any(), f"{case}: a hidden score has a probability"
            assert_within(y[..., :C], answer.exact, answer.allowed, f"{case} beside hidden scores ({each})", case.seed)


@holds_for("softmax")
def check_a_row_with_everything_hidden_is_uniform(impl, case):
    dtype = impl.dtypes[0]
    (x,) = case.arrays
    C = x.shape[-1]
    with impl.tiny_blocks(impl) as tiny:
        for each in (impl, tiny):
            for nothing in (-np.inf, float(np.finfo(np.float32).min)):
                y = each.run(case.but_with(np.full_like(x, nothing)), dtype).y
                assert_within(
                    y, np.full_like(x, 1 / C), FLOOR * np.finfo(dtype).eps / C, f"{case}, all hidden", case.seed
                )


@holds_for("softmax")
def check_a_row_with_a_NaN_is_all_NaN(impl, case):
    """Whatever stands beside it, be it nothing but hidden scores; and the other rows are none the worse for it."""
    dtype = impl.dtypes[0]
    (x,) = case.arrays
    C = x.shape[-1]
    hidden = np.full((*x.shape[:-1], 2 + C), -np.inf)
    with impl.tiny_blocks(impl) as tiny:
        for beside in (x, np.full_like(x, -np.inf)):
            scores = np.concatenate([beside, hidden], axis=-1)
            scores.reshape(-1, 2 + 2 * C)[0, case.rng.integers(C)] = np.nan
            for each in (impl, tiny):
                y = each.run(case.but_with(scores), dtype).y.reshape(-1, 2 + 2 * C)
                assert np.isnan(y[0]).all(), f"{case}: a number in a row with a NaN"
                assert np.isfinite(y[1:]).all(), f"{case}: a NaN in another row"


test_softmax = property_tests()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_largest_numbers_do_not_overflow(dtype):
    """Without the row maximum, exp(100) is inf in float32."""
    largest = np.finfo(dtype).max / 4
    y, _ = OPS["softmax"].forward(np.array([[largest, largest, -largest], [100, 0, -100]], dtype))
    assert np.isfinite(y).all()
    assert y[0].tolist() == [0.5, 0.5, 0]
