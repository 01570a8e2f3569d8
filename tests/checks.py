"""When is a floating-point answer right? The one rule of this suite, and the limits that were given from outside.

Take the truth from a float64 oracle. Take, as a baseline, the straightforward formula in the precision under test, and
look how far it is off: on the case itself, and on a few cases that differ from it in the last place of each input number
(no program can tell such an input from the one it should have been). Then

    allowed = MULTIPLE (largest error of the baseline in the row) + FLOOR eps scale

with scale the size of the answer or, where larger, of the terms it is made of (`oracles.SIZES`). Where the problem is ill-conditioned (a LayerNorm of a constant row) the baseline is far
off and much is allowed; where it is harmless, little is. No test chooses a tolerance.

The second part holds the properties that every op has, whatever it computes.
"""

import inspect
import math
from typing import Any, NamedTuple

import numpy as np
from impls import Impl
from oracles import SIZES, answers
from strategies import Case

from minirembert.ops import OPS

# --- the rule -------------------------------------------------------------------------------------------------------

MULTIPLE = 4
FLOOR = 8
DISTURBANCES = 5

# Limits from the issue, for whole models against transformers
PARITY_OUTPUTS = 1e-9  # float64, of outputs and losses
PARITY_GRADIENTS = 1e-8  # float64, relative to the largest entry of a parameter's gradient
PARITY_FLOAT32 = 2e-4
# Claims of `minirembert.ops.activations.erf`
ERF_FLOAT32 = 1.5e-7  # absolute
ERF_FLOAT64_ULPS = 1


class Answer(NamedTuple):
    exact: np.ndarray
    allowed: np.ndarray


class Truth(NamedTuple):
    y: Answer
    gradients: tuple[Answer | None, ...]


def truth(case: Case, dtype: str) -> Truth:
    """What the op should give on `case` with the case's cotangent, and how far a sound program in `dtype` may be off."""
    if dtype not in case.cache:
        case.cache[dtype] = _truth(case, dtype)
    return case.cache[dtype]


def _truth(case: Case, dtype: str) -> Truth:
    arrays, settings = case.at("float64")
    (y,) = answers(case.op, arrays, settings, None)
    dy = case.cotangent(y.shape, "float64") if OPS[case.op].backward else None
    exact = answers(case.op, arrays, settings, dy)

    eps = np.finfo(dtype).eps
    rng = np.random.default_rng([case.seed, 3])
    _, settings_here = case.at(dtype)
    errors = [np.zeros_like(e) if e is not None else None for e in exact]
    for i in range(1 + DISTURBANCES):
        inputs = [a if a is None or i == 0 else a * (1 + eps * rng.choice((-1, 1), a.shape)) for a in (*arrays, dy)]
        inputs = [None if a is None else np.asarray(a, dtype) for a in inputs]
        baseline = answers(case.op, tuple(inputs[:-1]), settings_here, inputs[-1])
        for j, (b, e) in enumerate(zip(baseline, exact, strict=True)):
            if e is not None:
                errors[j] = np.maximum(errors[j], np.abs(b.astype(np.float64) - e))

    terms = SIZES[case.op](*arrays, exact[0], dy, eps, **settings) if case.op in SIZES else [None] * len(exact)
    found: list[Answer | None] = []
    for e, error, term in zip(exact, errors, terms, strict=True):
        if e is not None:
            scale = np.abs(e) if term is None else np.maximum(np.abs(e), term)
            found.append(Answer(e, MULTIPLE * largest_in_row(error) + FLOOR * (eps * scale + np.finfo(dtype).tiny)))
        else:
            found.append(None)
    return Truth(found[0], tuple(found[1:]))


def largest_in_row(a: np.ndarray) -> np.ndarray:
    """The largest entry along the last axis, in the shape of `a`."""
    return np.broadcast_to(a.max(axis=-1, keepdims=True, initial=0), a.shape) if a.ndim else a


def assert_within(actual: np.ndarray, expected: np.ndarray, allowed: np.ndarray | float, what: str, seed: Any) -> None:
    """`actual` is `expected` to within `allowed`, entry by entry. Shape and NaN are compared first."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}, seed {seed}: shape {actual.shape}, expected {expected.shape}"
    a, e = actual.astype(np.float64), expected.astype(np.float64)
    _fail_at(np.isnan(a) != np.isnan(e), "NaN on one side only", a, e, None, what, seed)
    finite = np.isfinite(a) & np.isfinite(e)
    _fail_at(~finite & ~np.isnan(a) & (a != e), "infinite on one side only", a, e, None, what, seed)
    error = np.abs(np.subtract(a, e, where=finite, out=np.zeros_like(e)))
    allowed = np.broadcast_to(np.asarray(allowed, np.float64), a.shape)
    _fail_at(~(error <= allowed), "too far off", a, e, allowed, what, seed)


def _fail_at(wrong: np.ndarray, how: str, a: np.ndarray, e: np.ndarray, allowed: Any, what: str, seed: Any) -> None:
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        limit = "" if allowed is None else f", off by {abs(a[at] - e[at]):.3g} where {allowed[at]:.3g} is allowed"
        raise AssertionError(
            f"{what}, seed {seed}: {how} in {wrong.sum()} of {wrong.size} entries, "
            f"first at {list(at)}: {a[at]!r}, expected {e[at]!r}{limit}"
        )


def assert_right(actual: np.ndarray, answer: Answer, dtype: str, what: str, case: Case) -> None:
    """`actual` has the dtype, the shape and, as far as can be asked, the values of `answer`."""
    assert actual.dtype == dtype, f"{what} of {case}: dtype {actual.dtype}, expected {dtype}"
    assert_within(actual, answer.exact, answer.allowed, f"{what} ({dtype}) of {case}", case.seed)


def assert_same(actual: np.ndarray, expected: np.ndarray, what: str, case: Case) -> None:
    """The same bits, NaN included."""
    assert actual.dtype == expected.dtype, f"{what} of {case}: dtype {actual.dtype}, expected {expected.dtype}"
    assert_within(actual, expected, 0.0, f"{what} of {case}", case.seed)


def parameter_names(op: str) -> tuple[str, ...]:
    return tuple(inspect.signature(OPS[op].forward).parameters)


# --- what every op must do --------------------------------------------------------------------------------------------


def check_the_value_is_right(impl: Impl, case: Case) -> None:
    """Forward equals the oracle, in every precision, and stays in it."""
    for dtype in impl.dtypes:
        assert_right(impl.run(case, dtype).y, truth(case, dtype).y, dtype, "y", case)


def check_the_gradients_are_right(impl: Impl, case: Case) -> None:
    """Backward equals the oracle's derivative, which PyTorch took, for a random cotangent."""
    for dtype in impl.dtypes:
        gradients, expected = impl.run(case, dtype).gradients, truth(case, dtype).gradients
        assert len(gradients) == len(expected), f"{case}: {len(gradients)} gradients for {len(expected)} arrays"
        for name, gradient, answer in zip(parameter_names(case.op), gradients, expected, strict=False):
            if answer is None:
                assert gradient is None, f"d{name} of {case}: a gradient for an argument that was absent"
            else:
                assert gradient is not None, f"d{name} of {case}: no gradient"
                assert_right(gradient, answer, dtype, f"d{name}", case)


def check_backward_is_the_transpose_of_forward(impl: Impl, case: Case) -> None:
    """<v, J^T u> = <J v, u>: the gradient u J against the slope of the op's own forward pass along a random direction v.

    The slope comes from central differences of fourth order. (A complex step would have no rounding error, but the ops
    compare, clip and take maxima, which complex numbers do not do.) Its error is bounded from what it does: halving the
    step must not change it, and each value it is made of carries a few eps. The most exact of several steps is taken.
    """
    dtype = impl.dtypes[0]
    case = _where_the_transpose_is_asked_for(case)
    arrays, settings = case.at(dtype)
    y, saved = impl.call(case.op, *arrays, **settings)
    u = case.cotangent(y.shape, dtype)
    directions = [None if a is None else case.rng.standard_normal(a.shape) for a in arrays]
    terms = [
        v * g for v, g in zip(directions, impl.call_back(case.op, u, saved), strict=True) if v is not None
    ]
    along_gradient, gradient_size = sum(t.sum() for t in terms), sum(np.abs(t).sum() for t in terms)

    def value(t: float) -> tuple[float, float]:
        moved = [None if a is None else np.asarray(a + t * v, dtype) for a, v in zip(arrays, directions, strict=True)]
        product = u * impl.call(case.op, *moved, **settings)[0]
        return product.sum(), np.abs(product).sum()

    along_difference, error = slope_at_zero(value, np.finfo(dtype).eps)
    allowed = error + FLOOR * np.finfo(dtype).eps * gradient_size
    assert_within(along_gradient, along_difference, allowed, f"<v, J^T u> against <J v, u> of {case}", case.seed)


def _where_the_transpose_is_asked_for(case: Case) -> Case:
    """Three ops have places where backward is by definition not the derivative of forward; go round them."""
    if case.op == "relu":  # at the kink
        (x,) = case.arrays
        return case.but_with(np.where(np.abs(x) < 0.2, 1.0, x))
    if case.op == "embedding":  # in the padding row
        return case.but_with(padding_idx=None)
    if case.op == "attention" and case.settings["bias"] is not None:  # in rows that see nothing: rounding hides the scores
        bias = case.settings["bias"].copy()
        bias[(bias < -1).all(axis=-1)] = 0
        return case.but_with(bias=bias)
    return case


def slope_at_zero(value: Any, eps: float, steps: tuple[float, ...] = (2**-6, 2**-8, 2**-10, 2**-12)) -> tuple[float, float]:
    """(slope, bound of its error) of t -> value(t)[0] at 0, where value(t)[1] is the sum of the terms' absolute values."""
    best = (math.nan, math.inf)
    for h in steps:
        (far, near, tiny) = ((value(t * h), value(-t * h)) for t in (2, 1, 0.5))
        d = {t: (plus[0] - minus[0]) / (2 * t * h) for t, (plus, minus) in ((2, far), (1, near), (0.5, tiny))}
        slope, coarser = (4 * d[0.5] - d[1]) / 3, (4 * d[1] - d[2]) / 3
        error = abs(slope - coarser) + FLOOR * eps * max(near[0][1], far[0][1], tiny[0][1]) / h
        if error < best[1]:
            best = (slope, error)
    return best


def check_nothing_is_changed_or_shared(impl: Impl, case: Case) -> None:
    """An op changes none of its arguments, and its gradients are fresh: they overlap nothing, not even each other."""
    dtype = impl.dtypes[-1]
    arrays, settings = case.at(dtype)
    names = parameter_names(case.op)
    held = {name: impl.put(a) for name, a in zip(names, arrays, strict=False) if a is not None}
    held_settings = {name: impl.put(value) for name, value in settings.items()}
    before = {name: impl.to_numpy(a).copy() for name, a in held.items()}
    before |= {name: value.copy() for name, value in settings.items() if isinstance(value, np.ndarray)}
    y, saved = impl.ops[case.op].forward(*(held.get(name) for name in names[: len(arrays)]), **held_settings)

    def check_unchanged(when: str) -> None:
        for name, values in before.items():
            assert_same(impl.to_numpy(held.get(name, held_settings.get(name))), values, f"{name} after {when}", case)

    check_unchanged("forward")
    backward = impl.ops[case.op].backward
    if backward is None:
        return
    y_before = impl.to_numpy(y).copy()
    dy = impl.put(case.cotangent(y_before.shape, dtype))
    dy_before = impl.to_numpy(dy).copy()
    first = backward(dy, saved)
    copies = [None if g is None else impl.to_numpy(g).copy() for g in first]
    second = backward(dy, saved)
    check_unchanged("backward")
    assert_same(impl.to_numpy(dy), dy_before, "dy after backward", case)
    assert_same(impl.to_numpy(y), y_before, "y after backward", case)

    gradients = {f"d{name}": g for name, g in zip(names, first, strict=False) if g is not None}
    others = {**held, "dy": dy, "y": y, **{f"saved.{name}": a for name, a in _arrays_in(saved).items()}}
    for i, (name, gradient) in enumerate(gradients.items()):
        for other_name, other in [*others.items(), *list(gradients.items())[:i]]:
            assert not impl.shares_memory(gradient, other), f"{name} of {case} shares memory with {other_name}"
    for name, once, again in zip(names, copies, second, strict=False):
        if once is not None:
            assert_same(impl.to_numpy(again), once, f"d{name}, asked for a second time,", case)


def _arrays_in(saved: Any) -> dict[str, Any]:
    fields = saved._asdict() if hasattr(saved, "_asdict") else {}
    return {name: value for name, value in fields.items() if hasattr(value, "dtype") and hasattr(value, "shape")}


def check_the_blocks_do_not_matter(impl: Impl, case: Case) -> None:
    """Working through the input one row, head or tile at a time gives what one large block gives."""
    dtype = impl.dtypes[-1]
    with impl.tiny_blocks():
        y, gradients, _ = impl.run(case, dtype)
    assert_right(y, truth(case, dtype).y, dtype, "y in tiny blocks", case)
    for name, gradient, answer in zip(parameter_names(case.op), gradients, truth(case, dtype).gradients, strict=False):
        if answer is not None:
            assert_right(gradient, answer, dtype, f"d{name} in tiny blocks", case)
