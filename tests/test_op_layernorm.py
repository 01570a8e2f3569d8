"""LayerNorm, alone and with the residual sum: what it undoes, what its gradient loses, and where float32 gives up."""

import numpy as np
from checks import FLOOR, MULTIPLE, assert_same, assert_within, truth
from oracles import ILL_CONDITIONED
from properties import holds_for, property_tests
from strategies import ORDINARY


def plain(case):
    """The same rows with weight 1 and bias 0, so that y is xhat."""
    H = case.arrays[0].shape[-1]
    return case.but_with(*case.arrays[:-2], np.ones(H), np.zeros(H))


@holds_for("layer_norm", "residual_layer_norm", values=ORDINARY)
def check_rows_come_out_with_mean_zero_and_variance_one(impl, case):
    """Variance var / (var + eps), to be exact."""
    dtype = impl.dtypes[0]
    case = plain(case)
    x, xhat, answer = sum(case.arrays[:-2]), impl.run(case, dtype).y, truth(case, dtype).y
    allowed = answer.allowed.mean(-1)
    assert_within(xhat.mean(-1), np.zeros(x.shape[:-1]), allowed, f"mean of {case}", case.seed)
    var = x.var(-1)
    size = 2 * (np.abs(answer.exact) * answer.allowed).mean(-1) + (answer.allowed**2).mean(-1)
    assert_within(
        (xhat**2).mean(-1), var / (var + case.settings["eps"]), size + FLOOR * np.finfo(dtype).eps, f"{case}", case.seed
    )


@holds_for("layer_norm", values=ORDINARY)
def check_it_undoes_shift_and_scale(impl, case):
    """LN(a x + c; a^2 eps) = LN(x; eps): units and zero point of a row are forgotten. a = 4, c whole: exact in binary."""
    dtype = impl.dtypes[0]
    x, weight, bias = case.arrays
    x = np.round(x * 2**10) / 2**10
    once = case.but_with(x, weight, bias)
    moved = once.but_with(4 * x + 8, weight, bias, eps=16 * case.settings["eps"])
    allowed = truth(once, dtype).y.allowed + truth(moved, dtype).y.allowed
    assert_within(impl.run(moved, dtype).y, impl.run(once, dtype).y, allowed, f"{case}, moved", case.seed)


@holds_for("layer_norm", "residual_layer_norm")
def check_the_statistics_are_what_their_names_say(impl, case):
    """mean and rstd = 1 / sqrt(var + eps), with the biased variance, of what was normalised; one for each row."""
    for dtype in impl.dtypes:
        saved = impl.run(case, dtype).saved
        x = sum(case.arrays[:-2])
        mean, var = x.mean(-1), x.var(-1)
        eps = np.finfo(dtype).eps
        largest = sum(np.abs(a) for a in case.arrays[:-2]).max(-1)
        noise = MULTIPLE * FLOOR * eps * largest
        assert impl.saved(saved, "mean").dtype == dtype
        assert_within(impl.saved(saved, "mean"), mean, noise, f"mean ({dtype}) of {case}", case.seed)
        # 1 / rstd^2 = var + eps, and noise in x - mean enters the variance twice
        spread = np.sqrt(var)
        allowed = 2 * spread * noise + noise**2 + FLOOR * eps * (var + case.settings["eps"])
        rstd = impl.saved(saved, "rstd")
        assert rstd.dtype == dtype
        assert_within(
            1 / rstd.astype(np.float64) ** 2,
            var + case.settings["eps"],
            allowed,
            f"rstd ({dtype}) of {case}",
            case.seed,
        )


@holds_for("layer_norm", "residual_layer_norm")
def check_the_rows_do_not_know_of_each_other(impl, case):
    dtype = impl.dtypes[0]
    answer, whole = truth(case, dtype).y, impl.run(case, dtype).y
    for where in list(np.ndindex(case.arrays[0].shape[:-1]))[-2:]:
        alone = impl.run(case.but_with(*(a[where] for a in case.arrays[:-2]), *case.arrays[-2:]), dtype).y
        assert_within(alone, whole[where], 2 * answer.allowed[where], f"row {where} of {case} alone", case.seed)


@holds_for("layer_norm", "residual_layer_norm", values=ORDINARY)
def check_the_gradient_has_no_part_along_a_shift(impl, case):
    """Shifting a row changes nothing, so dx sums to zero."""
    dtype = impl.dtypes[0]
    dx, allowed = impl.run(case, dtype).gradients[0], truth(case, dtype).gradients[0].allowed
    assert_within(dx.sum(-1), np.zeros(dx.shape[:-1]), allowed.sum(-1), f"sum of dx of {case}", case.seed)


@holds_for("layer_norm", "residual_layer_norm", values=ORDINARY)
def check_the_gradient_has_no_part_along_the_row_itself(impl, case):
    """Stretching a row changes nothing (but for eps), so dx is orthogonal to xhat."""
    dtype = impl.dtypes[0]
    case = case.but_with(eps=1e-12)
    x = sum(case.arrays[:-2])
    xhat = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    (dx, *_), gradient = impl.run(case, dtype).gradients, truth(case, dtype).gradients[0]
    stretch = (1 - (xhat**2).mean(-1)) * np.abs(gradient.exact * xhat).sum(
        -1
    )  # eps / (var + eps): what eps leaves over
    left = (gradient.exact * xhat).sum(-1)
    allowed = (gradient.allowed * np.abs(xhat)).sum(-1)
    assert_within((dx * xhat).sum(-1), left, allowed, f"dx along xhat of {case}", case.seed)
    if x.shape[-1] > 2:  # two numbers have no third direction: there, dx is nothing but what eps leaves over
        scale = np.abs(gradient.exact).sum(-1)
        assert (np.abs(left) <= stretch + np.sqrt(np.finfo(dtype).eps) * scale).all(), (
            f"{case}: dx has a part along xhat"
        )


@holds_for("layer_norm", "residual_layer_norm")
def check_a_row_that_does_not_vary_gives_about_the_bias(impl, case):
    """Where x - mean is nothing but rounding, exact answers cannot be asked for (eps is 1e-12). What can: the result is
    finite, and no entry of xhat exceeds sqrt(H), since their squares sum to at most H."""
    for dtype in impl.dtypes:
        *data, weight, bias = case.arrays
        H = weight.shape[0]
        flat = case.but_with(*(a * 0 + a.mean(-1, keepdims=True) for a in data), weight, bias, eps=1e-12)
        y, gradients, _ = impl.run(flat, dtype)
        assert all(np.isfinite(g).all() for g in gradients), f"{case}: a constant row has an infinite gradient"
        limit = np.abs(weight) * np.sqrt(H) * (1 + H * np.finfo(dtype).eps)
        assert_within(
            y, np.broadcast_to(bias, y.shape), limit + np.finfo(dtype).eps * np.abs(bias), f"flat {case}", case.seed
        )


@holds_for("layer_norm")
def check_a_constant_row_with_an_exact_mean_gives_the_bias(impl, case):
    """Rows of 1, or of 8, whose mean rounds to itself."""
    x, weight, bias = case.arrays
    for value in (1.0, -8.0, 0.0):
        y = impl.run(case.but_with(np.full_like(x, value), weight, bias)).y
        assert_same(y, np.broadcast_to(bias.astype(y.dtype), y.shape), f"y for rows of {value}", case)


@holds_for("residual_layer_norm")
def check_it_is_layer_norm_of_the_sum(impl, case):
    """And both terms of the sum get the same gradient."""
    dtype = impl.dtypes[0]
    x, residual, weight, bias = case.arrays
    y, gradients, _ = impl.run(case, dtype)
    summed = x + residual  # exact enough: float32 values added in float64
    y_of_sum, saved = impl.call("layer_norm", summed.astype(dtype), weight, bias, eps=case.settings["eps"])
    answer = truth(case, dtype)
    assert_within(y, y_of_sum, 2 * answer.y.allowed, f"y of {case}", case.seed)
    assert_same(gradients[1], gradients[0], "dresidual against dx", case)
    dx, dweight, dbias = impl.call_back("layer_norm", case.cotangent(y.shape, dtype), saved)
    for name, mine, other, answer_g in zip(
        ("dx", "dweight", "dbias"), (gradients[0], *gradients[2:]), (dx, dweight, dbias),
        (answer.gradients[0], *answer.gradients[2:]), strict=True,
    ):  # fmt: skip
        assert_within(mine, other, 2 * answer_g.allowed, f"{name} of {case}", case.seed)


test_layer_norm = property_tests()


def test_most_rows_are_well_conditioned():
    """The exception that `oracles` makes for rows that do not vary is an exception: ordinary rows are far from it."""
    rng = np.random.default_rng(0)
    for H in (2, 16, 1152):
        x = rng.standard_normal((100, H))
        terms = 2 * np.abs(x).max(-1) / x.std(-1)
        assert np.median(terms) * np.finfo(np.float32).eps < ILL_CONDITIONED / 1000
