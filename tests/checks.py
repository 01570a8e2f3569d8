"""When is a floating-point answer right? The one rule of this suite, and the limits that were given from outside.

Take the truth from a float64 oracle. Take, as a baseline, the straightforward formula in the precision under test, and
look how far it is off: on the case itself, and on a few cases that differ from it in the last place of each input number
(no program can tell such an input from the one it should have been). Then

    allowed = MULTIPLE (largest error of the baseline in the row) + FLOOR eps scale

with scale the size of the answer or, where that is larger, of the terms it is made of (`oracles.SIZES`). Where the problem
is ill-conditioned the baseline is far off and much is allowed; where it is harmless, little is. No test chooses a
tolerance. MULTIPLE and FLOOR are set so that right programs mostly use about a third of what is allowed, and at most nine
tenths (300 to 400 random cases of each op, float32 and float64); the mutants in `mutants/` show that wrong ones exceed it.

The second part holds the properties that every op has, whatever it computes.
"""

import functools
import inspect
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from impls import Impl
from oracles import SIZES, answers
from strategies import Case, full_bias

from minirembert.ops import OPS

# --- the rule -------------------------------------------------------------------------------------------------------

MULTIPLE = 4
FLOOR = 8
DISTURBANCES = 3

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


class Truth:
    """What an op should give on a case with the case's cotangent, and how far a sound program in `dtype` may be off."""

    def __init__(self, case: Case, dtype: str) -> None:
        self.case, self.dtype = case, dtype

    @cached_property
    def y(self) -> Answer:
        return self._answers(None)[0]

    @cached_property
    def gradients(self) -> tuple[Answer | None, ...]:
        return self._answers(self.case.cotangent(self.y.exact.shape, "float64"))[1:]

    def _answers(self, dy: np.ndarray | None) -> tuple[Answer | None, ...]:
        """Of y and, if there is a dy, of the gradients."""
        op, eps = self.case.op, np.finfo(self.dtype).eps
        arrays, settings = self.case.at("float64")
        exact = answers(op, arrays, settings, dy)
        errors = [None if e is None else np.zeros_like(e) for e in exact]
        rng = np.random.default_rng([self.case.seed, 3])
        for i in range(1 + DISTURBANCES):
            inputs = [a if a is None or i == 0 else a * (1 + eps * rng.choice((-1, 1), a.shape)) for a in (*arrays, dy)]
            *inputs, dy_here = (None if a is None else np.asarray(a, self.dtype) for a in inputs)
            baseline = answers(op, tuple(inputs), self.case.at(self.dtype)[1], dy_here)
            for j, (b, e) in enumerate(zip(baseline, exact, strict=True)):
                if e is not None:
                    errors[j] = np.maximum(errors[j], np.abs(b.astype(np.float64) - e))

        terms = [None] * len(exact)
        if op in SIZES:
            some_dy = self.case.cotangent(exact[0].shape, "float64") if dy is None else dy
            terms = SIZES[op](*arrays, exact[0], some_dy, eps, **settings)
        found: list[Answer | None] = []
        for e, error, term in zip(exact, errors, terms, strict=False):
            if e is None:
                found.append(None)
                continue
            scale = np.abs(e) if term is None else np.maximum(np.abs(e), term)
            allowed = MULTIPLE * largest_in_row(error) + FLOOR * (eps * scale + np.finfo(self.dtype).tiny)
            found.append(Answer(e, allowed))
        return tuple(found)


def truth(case: Case, dtype: str) -> Truth:
    """The truth about a case; worked out once."""
    return case.cache.setdefault(dtype, Truth(case, dtype))


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
    """The names of an op's arguments; where it takes any number of arrays, of the first few."""
    parameters = inspect.signature(OPS[op].forward).parameters.values()
    any_number = [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]
    return tuple(f"{any_number[0]}[{i}]" for i in range(9)) if any_number else tuple(p.name for p in parameters)


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
    step must not change it, and each value it is made of carries the error that is allowed to it.
    """
    dtype = impl.dtypes[0]
    case = _where_the_transpose_is_asked_for(case)
    arrays, settings = case.at(dtype)
    y, saved = impl.call(case.op, *arrays, **settings)
    u = case.cotangent(y.shape, dtype)
    directions = [None if a is None else case.rng.standard_normal(a.shape) for a in arrays]

    along_gradient, allowed = 0.0, 0.0
    gradients = impl.call_back(case.op, u, saved)
    for v, gradient, answer in zip(directions, gradients, truth(case, dtype).gradients, strict=True):
        if v is not None:
            along_gradient += (v * gradient).sum()
            allowed += (np.abs(v) * answer.allowed).sum()

    def value(t: float) -> float:
        moved = [None if a is None else np.asarray(a + t * v, dtype) for a, v in zip(arrays, directions, strict=True)]
        return (u * impl.call(case.op, *moved, **settings)[0]).sum()

    noise = (np.abs(u) * truth(case, dtype).y.allowed).sum()
    along_difference, error = slope_at_zero(value, noise)
    what = f"<v, J^T u> against <J v, u> of {case}"
    assert_within(along_gradient, along_difference, allowed + error, what, case.seed)


def _where_the_transpose_is_asked_for(case: Case) -> Case:
    """Places where backward is by definition not the derivative of forward, or where no step is short enough."""
    if case.op == "relu":  # at the kink
        (x,) = case.arrays
        return case.but_with(np.where(np.abs(x) < 0.2, 1.0, x))
    if "eps" in case.settings and sum(case.arrays[:-2]).std(-1).min() < 0.1:  # in a row that hardly varies
        return case.but_with(eps=0.1)
    if case.op == "embedding":  # in the padding row
        return case.but_with(padding_idx=None)
    if case.op == "attention":  # in a row that sees nothing: rounding hides the scores
        bias = full_bias(case)
        blind = (bias < -1).all(axis=-1)
        if blind.any():
            bias[blind] = 0
            return case.but_with(bias=bias, key_lengths=None, causal=False)
    return case


def slope_at_zero(
    value: Callable[[float], float], noise: float, steps: tuple[float, ...] = (2**-6, 2**-8, 2**-10, 2**-12)
) -> tuple[float, float]:
    """(slope, bound of its error) of t -> value(t) at 0, where each value may be off by `noise`.

    Of several steps, the one with the smallest bound: a long step misses the curvature, a short one enlarges the noise.
    """
    value = functools.cache(value)  # the steps share points
    best = (math.nan, math.inf)
    for h in steps:
        far, near, nearest = ((value(t * h) - value(-t * h)) / (2 * t * h) for t in (2, 1, 0.5))
        slope, coarser = (4 * nearest - near) / 3, (4 * near - far) / 3
        error = (
            abs(slope - coarser) + 3 * noise / h
        )  # 3 = (4 / 0.5 + 1) / 3: what the two differences make of the noise
        if error < best[1]:
            best = (slope, error)
    return best


def check_nothing_is_changed_or_shared(impl: Impl, case: Case) -> None:
    """An op changes none of its arguments, and its gradients are fresh: they overlap nothing, not even each other."""
    dtype = impl.dtypes[-1]
    arrays, settings = case.at(dtype)
    names = parameter_names(case.op)
    held = {name: impl.put(a) for name, a in zip(names, arrays, strict=False) if a is not None}
    held_settings = {name: impl.put(value) for name, value in impl.taken(case.op, settings).items()}
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
    with impl.in_tiles(case.op) as tiny:
        y, gradients, _ = tiny.run(case, dtype)
    assert_right(y, truth(case, dtype).y, dtype, "y in tiny blocks", case)
    for name, gradient, answer in zip(parameter_names(case.op), gradients, truth(case, dtype).gradients, strict=False):
        if answer is not None:
            assert_right(gradient, answer, dtype, f"d{name} in tiny blocks", case)


def check_arrays_may_be_slices_of_wider_ones(impl: Impl, case: Case) -> None:
    """One product with several weights gives several results side by side: each is read where it lies, its rows further
    apart than they are long. So is dy; and the axes of a bias may lie in another order."""
    dtype = impl.dtypes[0]
    case = case.but_with()
    arrays, settings = case.at(dtype)

    def among(a: np.ndarray, others: int) -> np.ndarray:
        if a.ndim < 2:
            return a
        around = np.full((*a.shape[:-1], (1 + others) * a.shape[-1]), np.nan, dtype)
        around[..., -a.shape[-1] :] = a
        return around[..., -a.shape[-1] :]

    if settings.get("bias") is not None:
        settings["bias"] = np.asfortranarray(settings["bias"])
    y, saved = impl.call(case.op, *(among(a, 1 + i) for i, a in enumerate(arrays)), **settings)
    assert_right(y, truth(case, dtype).y, dtype, "y, sliced,", case)
    gradients = impl.call_back(case.op, among(case.cotangent(y.shape, dtype), 5), saved)
    for name, gradient, answer in zip(parameter_names(case.op), gradients, truth(case, dtype).gradients, strict=False):
        assert_right(gradient, answer, dtype, f"d{name}, sliced,", case)
