"""The activations: known values, symmetries, and how exact erf is."""

import math

import mpmath
import numpy as np
import pytest
from checks import ERF_FLOAT32, ERF_FLOAT64_ULPS, FLOOR, assert_same, assert_within, truth
from properties import holds_for, property_tests
from strategies import ACTIVATIONS

from minirembert.ops import OPS
from minirembert.ops.activations import HIDDEN_ACT, erf

X_TIMES_A_PROBABILITY = ("gelu", "gelu_new", "quick_gelu", "silu", "relu")


def check_f_of_x_minus_f_of_minus_x(impl, case, expected) -> None:
    dtype = impl.dtypes[0]
    (x,) = case.arrays
    there, back = case.but_with(x), case.but_with(-x)
    allowed = truth(there, dtype).y.allowed + truth(back, dtype).y.allowed
    f = impl.run(there, dtype).y, impl.run(back, dtype).y
    assert_within(f[0] - f[1], expected(x, *f), allowed, f"f(x) - f(-x) of {case}", case.seed)


@holds_for(*X_TIMES_A_PROBABILITY)
def check_a_gate_and_its_mirror_let_x_through(impl, case):
    """f(x) = x P(x) with P(x) + P(-x) = 1, so f(x) - f(-x) = x: what is held back on one side passes on the other."""
    check_f_of_x_minus_f_of_minus_x(impl, case, lambda x, *_: x)


@holds_for("tanh")
def check_it_is_odd(impl, case):
    check_f_of_x_minus_f_of_minus_x(impl, case, lambda x, there, back: 2 * there)


@holds_for("sigmoid")
def check_it_and_its_mirror_sum_to_one(impl, case):
    check_f_of_x_minus_f_of_minus_x(impl, case, lambda x, there, back: 1 - 2 * back)


@holds_for(*ACTIVATIONS)
def check_the_shape_does_not_matter(impl, case):
    """Elementwise: flattened it gives the same bits."""
    dtype = impl.dtypes[-1]
    (x,) = case.arrays
    flat = impl.run(case.but_with(x.ravel()), dtype).y
    assert_within(
        flat, impl.run(case, dtype).y.ravel(), 2 * truth(case, dtype).y.allowed.ravel(), f"{case}, flat", case.seed
    )


@holds_for("identity")
def check_it_is_x(impl, case):
    arrays, _ = case.at(impl.dtypes[0])
    assert_same(impl.run(case).y, arrays[0], "y", case)


test_activation = property_tests()

# f(0), f'(0), and what is left of f(x) - max(x, 0) far out
KNOWN = {
    "gelu": (0, 0.5), "gelu_new": (0, 0.5), "quick_gelu": (0, 0.5), "silu": (0, 0.5), "relu": (0, 0), "mish": (0, 0.6),
    "sigmoid": (0.5, 0.25), "tanh": (0, 1), "identity": (0, 1),
}  # fmt: skip


@pytest.mark.parametrize("op", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_everybody_knows(impl, op, dtype):
    x = np.array([0, 100, -100], dtype)
    y, saved = impl.call(op, x)
    (dx,) = impl.call_back(op, np.ones_like(x), saved)
    far = {"sigmoid": (1, 0, 0, 0), "tanh": (1, -1, 0, 0), "identity": (100, -100, 1, 1)}.get(op, (100, 0, 1, 0))
    eps = np.finfo(dtype).eps
    assert_within(y, [KNOWN[op][0], far[0], far[1]], eps * (1 + np.abs(x)), f"{op} at 0, 100, -100", None)
    assert_within(dx, [KNOWN[op][1], far[2], far[3]], FLOOR * eps, f"{op}' at 0, 100, -100", None)


@pytest.mark.parametrize("op", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_million_is_not_too_much(impl, op, dtype):
    """Large inputs neither overflow on the way nor lose the slope."""
    x = np.array([1e6, -1e6, 1e12, -1e12], dtype)
    y, saved = impl.call(op, x)
    (dx,) = impl.call_back(op, np.ones_like(x), saved)
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()


def test_hidden_act_names_only_ops_that_exist():
    assert set(HIDDEN_ACT.values()) == set(ACTIVATIONS) <= set(OPS)


# --- erf ------------------------------------------------------------------------------------------------------------

GRID = np.concatenate([np.linspace(-6, 6, 60_001), [0.0, -0.0, 3.9, -3.9, 10, -10, 1e30, -1e30, 1e-30, -1e-30]])


def test_erf_in_float32_is_as_exact_as_it_claims():
    x = GRID.astype(np.float32)
    exact = np.array([math.erf(float(v)) for v in x])
    y = erf(x)
    assert y.dtype == np.float32
    assert_within(y, exact, ERF_FLOAT32, "erf in float32", None)


def test_erf_in_float32_around_the_places_where_it_could_jump():
    """Every float32 within 1000 of where the polynomial ends, and of zero."""
    for centre in (3.9, -3.9, 1.0, 0.0):
        x = np.float32(centre) + np.arange(-1000, 1001, dtype=np.float32) * np.spacing(
            np.float32(max(1e-3, abs(centre)))
        )
        assert_within(erf(x), [math.erf(float(v)) for v in x], ERF_FLOAT32, f"erf around {centre}", None)


def test_erf_in_float32_is_odd_and_stays_within_one():
    x = GRID.astype(np.float32)
    assert (erf(-x) == -erf(x)).all()
    assert (np.abs(erf(x)) <= 1).all()


def test_erf_in_float64_against_fifty_digits():
    """One unit in the last place, against mpmath; the far tail and the smallest numbers included."""
    x = np.concatenate([np.linspace(-6, 6, 401), [1e-300, -1e-8, 0.5, 5.9, 27.0, -40.0, 0.0]])
    with mpmath.workdps(50):
        exact = [mpmath.erf(mpmath.mpf(float(v))) for v in x]
        ulps = [
            abs(mpmath.mpf(float(y)) - e) / np.spacing(abs(float(e)) or 1.0) for y, e in zip(erf(x), exact, strict=True)
        ]
    assert max(ulps) <= ERF_FLOAT64_ULPS, f"erf({x[np.argmax(ulps)]}) is off by {float(max(ulps)):.2f} ulp"


def test_erf_passes_nan_on():
    for dtype in (np.float32, np.float64):
        assert np.isnan(erf(np.array([np.nan], dtype))).all()
