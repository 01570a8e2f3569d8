"""What the ops are tried on: one hypothesis strategy for each op, all in this file.

A strategy draws shapes, a seed and a few switches, never elements: the elements come from NumPy's generator. Hypothesis
shrinks a failure to a small shape, and the seed in the message is enough to see the same numbers again.

Four things are drawn for every case unless a test says otherwise, since kernels and block loops go wrong there:

    shape    around the edges of a tile, and RemBERT's own widths 1152 and 1664, which are no powers of two
    layout   how an array lies in memory: permuted, every other element of a larger one, backwards, or repeated (stride 0)
    values   ordinary, with a mean away from zero, large, small, of mixed magnitude, or full of ties and zeros
    dy       a random cotangent: with dy = 1 most wrong backward passes look right
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import hypothesis.strategies as st
import numpy as np

TILE = 16
EDGES = (1, TILE - 1, TILE, TILE + 1, 2 * TILE - 1, 3 * TILE + 5)
SMALL = (1, 2, 3, 5)  # batch, sequence or head counts: small, and 1 among them
REMBERT_WIDTHS = (1152, 1664)
BATCHES = ((3,), (1,), (2, 5), (), (1, 1), (17,), (3, TILE), (2, 3, 4))
WIDE_BATCHES = ((3,), (2, 2), (5,))

DROP_PROBS = (0.1, 0.5, 0.9)

# --- values ---------------------------------------------------------------------------------------------------------

Values = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

VALUES: dict[str, Values] = {
    "ordinary": lambda rng, shape: rng.standard_normal(shape),
    "shifted": lambda rng, shape: rng.standard_normal(shape) + 30,
    "far": lambda rng, shape: rng.standard_normal(shape) + 1000,
    "large": lambda rng, shape: rng.standard_normal(shape) * 1e3,
    "small": lambda rng, shape: rng.standard_normal(shape) * 1e-6,
    "mixed": lambda rng, shape: rng.standard_normal(shape) * 10 ** rng.uniform(-4, 4, shape),
    "ties": lambda rng, shape: rng.integers(-1, 2, shape).astype(float),
}
ORDINARY = ("ordinary",)
EVERY_KIND = tuple(VALUES)


def in_float32(values: np.ndarray) -> np.ndarray:
    """The nearest numbers that float32 holds, as float64: both precisions then start from the same input."""
    return values.astype(np.float32).astype(np.float64)


# --- layouts --------------------------------------------------------------------------------------------------------


def _permuted(a: np.ndarray) -> np.ndarray:
    """The axes lie in memory in the opposite order."""
    return np.asfortranarray(a)


def _sliced(a: np.ndarray) -> np.ndarray:
    """Every other element of a larger array; NaN in between, so that reading a neighbour shows."""
    around = np.full([2 * n for n in a.shape], np.nan if a.dtype.kind == "f" else -1, a.dtype)
    view = around[tuple(slice(None, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def _backwards(a: np.ndarray) -> np.ndarray:
    """Negative strides."""
    flip = tuple(slice(None, None, -1) for _ in a.shape)
    return a[flip].copy()[flip]


def _repeated(axis: int) -> Callable[[np.ndarray], np.ndarray]:
    """One slice, seen along the whole axis: stride 0. This layout changes the values."""
    return lambda a: np.broadcast_to(a.take([0], axis), a.shape)


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda a: a.copy(),
    "permuted": _permuted,
    "sliced": _sliced,
    "backwards": _backwards,
    "repeated along the first axis": _repeated(0),
    "repeated along the last axis": _repeated(-1),
}


def lay_out(a: np.ndarray, layout: str) -> np.ndarray:
    """A new array with this layout, and the values of `a` unless the layout repeats some."""
    return LAYOUTS[layout](a) if a.size > 1 else a.copy()


# --- cases ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One call of an op: its differentiable arguments in order, its other arguments by name, and a seed."""

    op: str
    arrays: tuple[np.ndarray | None, ...]  # float64 holding float32 values
    settings: dict[str, Any]
    seed: int
    values: str = "ordinary"
    layouts: tuple[str, ...] = ()  # of the arrays and, last, of dy; "plain" where the list is shorter
    cache: dict[str, Any] = field(default_factory=dict, compare=False)  # what checks.truth has worked out

    def at(self, dtype: str) -> tuple[tuple[np.ndarray | None, ...], dict[str, Any]]:
        """(arrays, settings) in `dtype`, each array in its layout."""
        arrays = tuple(
            None if a is None else lay_out(a.astype(dtype), self._layout(i)) for i, a in enumerate(self.arrays)
        )
        return arrays, {name: _in_dtype(value, dtype) for name, value in self.settings.items()}

    def cotangent(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """A random dy, in its layout."""
        dy = in_float32(np.asarray(np.random.default_rng([self.seed, 1]).standard_normal(shape)))
        return lay_out(dy.astype(dtype), self._layout(len(self.arrays)))

    @cached_property
    def rng(self) -> np.random.Generator:
        """For what a property draws on top of the case."""
        return np.random.default_rng([self.seed, 2])

    def but_with(self, *arrays: np.ndarray | None, **settings: Any) -> "Case":
        """The same case with other arrays (if any are given) and other settings, plainly laid out."""
        rounded = tuple(None if a is None else in_float32(a) for a in arrays or self.arrays)
        return replace(self, arrays=rounded, settings={**self.settings, **settings}, layouts=(), cache={})

    def _layout(self, i: int) -> str:
        return self.layouts[i] if i < len(self.layouts) else "plain"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # hypothesis would write out every element

    def __repr__(self) -> str:
        shapes = ["None" if a is None else f"{a.shape} {self._layout(i)}" for i, a in enumerate(self.arrays)]
        settings = ", ".join(
            f"{name}={f'{value.dtype}{value.shape}' if isinstance(value, np.ndarray) else value}"
            for name, value in self.settings.items()
        )
        dy = self._layout(len(self.arrays))
        return f"{self.op}[{'; '.join(shapes)}; {settings}; {self.values} values; dy {dy}; seed {self.seed}]"


def _in_dtype(value: Any, dtype: str) -> Any:
    """Floating-point settings (a bias, a target) follow the arrays; float32's lowest number becomes the dtype's own."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return value
    lowest = value == np.finfo(np.float32).min
    return (
        np.where(lowest, np.finfo(dtype).min, value.astype(dtype)).astype(dtype)
        if lowest.any()
        else value.astype(dtype)
    )


Cases = st.SearchStrategy[Case]
CASES: dict[str, Callable[[tuple[str, ...]], Cases]] = {}


def cases(op: str, values: tuple[str, ...] = EVERY_KIND) -> Cases:
    """The cases of an op, with values of these kinds."""
    return CASES[op](values)


def cases_of(*ops: str) -> Callable[[Any], Any]:
    """Registers a function (draw, op, rng) -> (shapes, settings) as the strategy of these ops.

    A shape of None stands for an optional array that is absent. Arrays get values of the drawn kind; only biases and
    other arrays with one axis, where there are several arrays, are always ordinary.
    """

    def register(shapes_and_settings: Callable[..., Any]) -> Callable[..., Any]:
        def strategy(op: str, kinds: tuple[str, ...]) -> Cases:
            @st.composite
            def one(draw: st.DrawFn) -> Case:
                seed = draw(st.integers(0, 2**32 - 1))
                rng = np.random.default_rng(seed)
                shapes, settings = shapes_and_settings(draw, op, rng)
                kind = draw(st.sampled_from(kinds))
                layouts = tuple(draw(st.sampled_from(list(LAYOUTS))) for _ in range(len(shapes) + 1))
                arrays = []
                for shape, layout in zip(shapes, layouts, strict=False):
                    if shape is None:
                        arrays.append(None)
                        continue
                    value = VALUES[kind if len(shape) > 1 or len(shapes) == 1 else "ordinary"](rng, shape)
                    arrays.append(in_float32(lay_out(np.asarray(value), layout)))
                return Case(op, tuple(arrays), settings, seed, kind, layouts)

            return one()

        for op in ops:
            CASES[op] = lambda kinds, op=op: strategy(op, kinds)
        return shapes_and_settings

    return register


def _batch_and_width(draw: st.DrawFn) -> tuple[tuple[int, ...], int]:
    width = draw(st.sampled_from((*EDGES, 2, 3, *REMBERT_WIDTHS)))
    return draw(st.sampled_from(WIDE_BATCHES if width in REMBERT_WIDTHS else BATCHES)), width


def _laid_out(draw: st.DrawFn, array: np.ndarray) -> np.ndarray:
    """An array of ids or labels in some layout that keeps its values."""
    return lay_out(np.asarray(array), draw(st.sampled_from(("plain", "permuted", "sliced", "backwards"))))


def _index_dtype(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(("int64", "int32")))


@cases_of("embedding")
def _embedding(draw: st.DrawFn, op: str, rng: np.random.Generator) -> Any:
    batch, width = _batch_and_width(draw)
    rows = draw(st.sampled_from((7, 1, 61)))
    ids = _laid_out(draw, rng.integers(0, rows, batch, _index_dtype(draw)))
    return [(rows, width)], {"ids": ids, "padding_idx": draw(st.sampled_from((None, 0, rows - 1)))}


@cases_of("linear")
def _linear(draw: st.DrawFn, op: str, rng: np.random.Generator) -> Any:
    batch, width = _batch_and_width(draw)
    out = draw(st.sampled_from((*EDGES, 3)))
    return [(*batch, width), (out, width), draw(st.sampled_from(((out,), None)))], {}


ACTIVATIONS = ("gelu", "gelu_new", "quick_gelu", "relu", "silu", "mish", "sigmoid", "tanh", "identity")


@cases_of(*ACTIVATIONS, "softmax")
def _one_array(draw: st.DrawFn, op: str, rng: np.random.Generator) -> Any:
    batch, width = _batch_and_width(draw)
    return [(*batch, width)], {}


EPS = (1e-12, 1e-5, 0.1)


@cases_of("layer_norm", "residual_layer_norm")
def _layer_norm(draw: st.DrawFn, op: str, rng: np.random.Generator) -> Any:
    batch, width = _batch_and_width(draw)
    data = [(*batch, width)] * (2 if op == "residual_layer_norm" else 1)
    return [*data, (width,), (width,)], {"eps": draw(st.sampled_from(EPS))}


@cases_of("bias_gelu")
def _bias_gelu(draw: st.DrawFn, op: str, rng: np.random.Generator) -> Any:
    batch, width = _batch_and_width(draw)
    return [(*batch, width), (width,)], {}


MASKS = (
    "none",
    "padding on the right",
    "padding on the left",
    "causal",
    "relative",
    "a query that sees nothing",
    "boolean",
)


def attention_bias(kind: str, B: int, h: int, S: int, T: int, rng: np.random.Generator) -> np.ndarray | None:
    """What is added to the scores: 0 to attend, the lowest number to hide; "relative" is any number for any pair;
    "boolean" says True to attend."""
    lowest = float(np.finfo(np.float32).min)
    hide = lambda hidden: np.where(hidden, lowest, 0.0)  # noqa: E731
    lengths = rng.integers(1, T + 1, (B, 1, 1, 1))
    if kind == "padding on the right":
        return hide(np.arange(T) >= lengths)
    if kind == "padding on the left":
        return hide(np.arange(T) < T - lengths)
    if kind == "causal":
        return hide(np.arange(T) > np.arange(S)[:, None])
    if kind == "relative":
        return in_float32(rng.standard_normal((B, h, S, T)))
    if kind == "boolean":
        return rng.random((*(rng.choice((1, n)) for n in (B, h, S)), T)) < 0.7
    if kind == "a query that sees nothing":
        hidden = rng.random((B, 1, S, T)) < 0.5
        hidden[:, :, rng.integers(S)] = True
        return hide(hidden)
    return None


def full_bias(case: Case) -> np.ndarray:
    """All that the case hides, as one bias (B, h, S, T)."""
    (B, S, _), T, h = case.arrays[0].shape, case.arrays[1].shape[1], case.settings["num_heads"]
    bias, lengths = case.settings["bias"], case.settings["key_lengths"]
    lowest = float(np.finfo(np.float32).min)
    full = np.zeros((B, h, S, T))
    if bias is not None:
        full += np.where(bias, 0, lowest) if bias.dtype == bool else bias
    if lengths is not None:
        full[np.broadcast_to(np.arange(T) >= lengths[:, None, None, None], full.shape)] = lowest
    if case.settings["causal"]:
        full[..., np.arange(T) > np.arange(S)[:, None] + T - S] = lowest
    return full


@cases_of("attention", "attention_probabilities")
def _attention(draw: st.DrawFn, op: str, rng: np.random.Generator) -> Any:
    B, h = draw(st.sampled_from((1, 2, 3))), draw(st.sampled_from((1, 2, 3)))
    S, T = draw(st.sampled_from((*EDGES, 2, 5))), draw(st.sampled_from((*EDGES, 2, 5)))
    d = draw(st.sampled_from((1, 3, 8, TILE - 1, TILE + 1, 64)))
    settings = {
        "num_heads": h,
        "bias": attention_bias(draw(st.sampled_from(MASKS)), B, h, S, T, rng),
        "key_lengths": rng.integers(0, T + 1, B, "int64") if draw(st.booleans()) else None,
        "causal": draw(st.booleans()),
        "drop_prob": draw(st.sampled_from((0.0, 0.0, *DROP_PROBS))),
        "seed": draw(st.integers(0, 2**48)),
    }
    data = [(B, S, h * d), (B, T, h * d), (B, T, h * d)]
    return data[: 3 if op == "attention" else 2], settings


@cases_of("attention_packed")
def _attention_packed(draw: st.DrawFn, op: str, rng: np.random.Generator) -> Any:
    h, d = draw(st.sampled_from((1, 2, 3))), draw(st.sampled_from((1, 3, 8, TILE + 1, 64)))
    lengths = [draw(st.sampled_from((*EDGES, 0, 2, 5))) for _ in range(draw(st.sampled_from((1, 2, 4))))]
    lengths[-1] = max(1, lengths[-1])
    settings = {
        "num_heads": h,
        "cu_seqlens": np.concatenate([[0], np.cumsum(lengths)]).astype(_index_dtype(draw)),
        "causal": draw(st.booleans()),
        "drop_prob": draw(st.sampled_from((0.0, 0.0, *DROP_PROBS))),
        "seed": draw(st.integers(0, 2**48)),
    }
    return [(sum(lengths), h * d)] * 3, settings


@cases_of("dropout")
def _dropout(draw: st.DrawFn, op: str, rng: np.random.Generator) -> Any:
    batch, width = _batch_and_width(draw)
    return [(*batch, width)], {
        "drop_prob": draw(st.sampled_from((*DROP_PROBS, 0.0))),
        "seed": draw(st.integers(0, 2**48)),
    }


@cases_of("add")
def _add(draw: st.DrawFn, op: str, rng: np.random.Generator) -> Any:
    a = (2, 3, draw(st.sampled_from(EDGES)))
    b = draw(st.sampled_from((a, (1, 3, a[2]), a[1:], (a[2],), (2, 1, 1), ())))
    return draw(st.permutations((a, b))) if draw(st.booleans()) else [(), ()], {}


@cases_of("scale")
def _scale(draw: st.DrawFn, op: str, rng: np.random.Generator) -> Any:
    batch, width = _batch_and_width(draw)
    shape = draw(st.sampled_from(((*batch, width), ())))
    by_feature = in_float32(rng.standard_normal(shape[-1:]))
    return [shape], {"factor": by_feature if draw(st.booleans()) else draw(st.sampled_from((0.5, -3.0, 0.0)))}


@cases_of("reshape")
def _reshape(draw: st.DrawFn, op: str, rng: np.random.Generator) -> Any:
    width = draw(st.sampled_from(EDGES))
    return [(2, 3, width)], {"shape": draw(st.sampled_from(((6, width), (-1, 3), (2 * 3 * width,), (2, 3, width))))}


@cases_of("select_rows")
def _select_rows(draw: st.DrawFn, op: str, rng: np.random.Generator) -> Any:
    width = draw(st.sampled_from((*EDGES, *REMBERT_WIDTHS)))
    count = draw(st.sampled_from((4, 1, 0, 9)))
    rows = _laid_out(draw, rng.integers(0, 6, count, _index_dtype(draw)))
    return [draw(st.sampled_from(((2, 3, width), (6, width))))], {"rows": rows}


@cases_of("select_feature")
def _select_feature(draw: st.DrawFn, op: str, rng: np.random.Generator) -> Any:
    batch, _ = _batch_and_width(draw)
    return [(*batch, 3)], {"feature": draw(st.sampled_from((0, 1, 2)))}


@cases_of("concatenate")
def _concatenate(draw: st.DrawFn, op: str, rng: np.random.Generator) -> Any:
    B, width = draw(st.sampled_from((1, 2, 3))), draw(st.sampled_from((1, 3, *EDGES)))
    lengths = draw(st.sampled_from(((1, 1), (5, 2), (0, 3), (3, 1, 2), (4,))))
    return [(B, length, width) for length in lengths], {}


@cases_of("cross_entropy")
def _cross_entropy(draw: st.DrawFn, op: str, rng: np.random.Generator) -> Any:
    rows, classes = draw(st.sampled_from((*EDGES, 2))), draw(st.sampled_from((*EDGES, 2, REMBERT_WIDTHS[0])))
    ignore_index = draw(st.sampled_from((-100, classes)))
    labels = rng.integers(0, classes, rows, _index_dtype(draw))
    labels[rng.random(rows) < draw(st.sampled_from((0.0, 0.8)))] = ignore_index
    labels[rng.integers(rows)] = rng.integers(classes)  # at least one counts
    return [(rows, classes)], {"labels": _laid_out(draw, labels), "ignore_index": ignore_index}


@cases_of("mse", "bce_with_logits")
def _pair(draw: st.DrawFn, op: str, rng: np.random.Generator) -> Any:
    batch, width = _batch_and_width(draw)
    target = rng.standard_normal((*batch, width)) if op == "mse" else rng.random((*batch, width))
    return [(*batch, width)], {"target": in_float32(target)}
