"""The ops that compute nothing new: what they pick up, and where their gradients go back to."""

import numpy as np
import pytest
from checks import assert_same, assert_within, truth
from properties import holds_for, property_tests

from minirembert.ops import OPS


@holds_for("add")
def check_the_order_of_the_terms_does_not_matter(impl, case):
    dtype = impl.dtypes[0]
    a, b = case.arrays
    (y, (da, db), _), (y2, (db2, da2), _) = impl.run(case.but_with(a, b), dtype), impl.run(case.but_with(b, a), dtype)
    assert_same(y2, y, "b + a", case)
    assert_same(da2, da, "da", case)
    assert_same(db2, db, "db", case)


@holds_for("add")
def check_a_term_that_was_repeated_gets_the_sum(impl, case):
    """Repeating is adding copies: broadcast by hand, and the gradients of the copies add up."""
    dtype = impl.dtypes[0]
    result = impl.run(case, dtype)
    for i, a in enumerate(case.arrays):
        copies = np.broadcast_to(a, result.y.shape)
        axes = tuple(range(result.y.ndim - a.ndim)) + tuple(
            result.y.ndim - a.ndim + j for j, n in enumerate(a.shape) if n != copies.shape[result.y.ndim - a.ndim + j]
        )
        dy = case.cotangent(result.y.shape, dtype).astype(np.float64)
        expected = dy.sum(axis=axes).reshape(a.shape)
        allowed = 2 * truth(case, dtype).gradients[i].allowed
        assert_within(result.gradients[i], expected, allowed, f"gradient {i} of {case}", case.seed)


@holds_for("reshape")
def check_reshape_keeps_the_numbers_in_order(impl, case):
    y, (dx,), _ = impl.run(case, "float32")
    assert_same(y.ravel(), case.arrays[0].astype("float32").ravel(), "y", case)
    assert_same(dx.ravel(), case.cotangent(y.shape, "float32").ravel(), "dx", case)


@holds_for("select_rows")
def check_a_row_taken_twice_gets_both_gradients(impl, case):
    dtype = impl.dtypes[0]
    rows, (x,) = case.settings["rows"], case.arrays
    y, (dx,), _ = impl.run(case, dtype)
    expected = np.zeros((6, x.shape[-1]))
    for dy_row, row in zip(case.cotangent(y.shape, dtype), rows, strict=True):
        expected[row] += dy_row
    allowed = 2 * truth(case, dtype).gradients[0].allowed
    assert_within(dx, expected.reshape(x.shape), allowed, f"dx of {case}", case.seed)


@holds_for("select_feature")
def check_only_the_feature_taken_gets_a_gradient(impl, case):
    y, (dx,), _ = impl.run(case)
    j = case.settings["feature"]
    assert_same(dx[..., j], case.cotangent(y.shape, impl.dtypes[0]), "dx where it was taken", case)
    assert not np.delete(dx, j, axis=-1).any(), f"{case}: a gradient in a feature that was not taken"


@holds_for("concatenate")
def check_every_part_comes_out_as_it_went_in(impl, case):
    """Forward it is a stretch of y, backward its gradient is that stretch of dy: bit for bit."""
    dtype = impl.dtypes[0]
    y, gradients, _ = impl.run(case, dtype)
    dy, start = case.cotangent(y.shape, dtype), 0
    for i, (part, gradient) in enumerate(zip(case.at(dtype)[0], gradients, strict=True)):
        here = np.s_[:, start : start + part.shape[1]]
        assert_same(y[here], part, f"part {i}", case)
        assert_same(gradient, dy[here], f"gradient {i}", case)
        start += part.shape[1]
    assert y.shape[1] == start


test_moving = property_tests()


@pytest.mark.parametrize("row", [-1, 6])
def test_a_row_that_is_not_there_is_refused(row):
    """NumPy would take row -1 from the end."""
    with pytest.raises(IndexError, match=rf"rows\[1\] is {row}, .* rows 0 to 5"):
        OPS["select_rows"].forward(np.zeros((2, 3, 4)), np.array([0, row]))
