"""The affine map: what "linear" means, and where its gradients sum."""

import numpy as np
from checks import assert_within, truth
from properties import holds_for, property_tests
from strategies import ORDINARY


@holds_for("linear", values=ORDINARY)
def check_a_sum_goes_in_a_sum_comes_out(impl, case):
    """f(a + b) = f(a) + f(b) - f(0)."""
    dtype = impl.dtypes[0]
    x, weight, bias = case.arrays
    other = case.rng.standard_normal(x.shape)
    a, b, both, nothing = (case.but_with(v, weight, bias) for v in (x, other, x, np.zeros_like(x)))
    both = case.but_with(a.arrays[0] + b.arrays[0], weight, bias)
    allowed = sum(truth(one, dtype).y.allowed for one in (a, b, both, nothing))
    rounding = np.abs(both.arrays[0] - a.arrays[0] - b.arrays[0]) @ np.abs(weight).T  # of a + b to float32
    y_a, y_b, y_both, y_nothing = (impl.run(one, dtype).y for one in (a, b, both, nothing))
    assert_within(y_both, y_a + y_b - y_nothing, allowed + rounding, f"f(a + b) of {case}", case.seed)


@holds_for("linear")
def check_the_rows_do_not_know_of_each_other(impl, case):
    """Row by row, or all at once: only the last axis is mapped."""
    dtype = impl.dtypes[0]
    x, weight, bias = case.arrays
    whole, answer = impl.run(case, dtype).y, truth(case, dtype).y
    for where in list(np.ndindex(x.shape[:-1]))[:3]:
        alone = impl.run(case.but_with(x[where], weight, bias), dtype).y
        assert_within(alone, whole[where], 2 * answer.allowed[where], f"row {where} of {case} alone", case.seed)


@holds_for("linear")
def check_the_weights_are_stored_out_by_in(impl, case):
    """y[..., o] depends on row o of W and entry o of b alone."""
    dtype = impl.dtypes[0]
    x, weight, bias = case.arrays
    o = int(case.rng.integers(len(weight)))
    one = case.but_with(x, weight[o : o + 1], None if bias is None else bias[o : o + 1])
    expected, answer = impl.run(case, dtype).y[..., o : o + 1], truth(case, dtype).y
    assert_within(
        impl.run(one, dtype).y, expected, 2 * answer.allowed[..., o : o + 1], f"output {o} of {case}", case.seed
    )


@holds_for("linear")
def check_the_gradient_of_the_bias_is_the_sum_of_dy_over_all_rows(impl, case):
    dtype = impl.dtypes[0]
    y, gradients, _ = impl.run(case, dtype)
    if case.arrays[2] is None:
        assert gradients[2] is None, f"{case}: a gradient for a bias that was absent"
        return
    dy = case.cotangent(y.shape, dtype).astype(np.float64)
    expected = dy.sum(axis=tuple(range(dy.ndim - 1)))
    allowed = truth(case, dtype).gradients[2].allowed
    assert_within(gradients[2], expected, 2 * allowed, f"dbias of {case}", case.seed)


test_linear = property_tests()
