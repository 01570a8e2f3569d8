"""The implementations that every property runs over.

An implementation is a table of ops and the way into and out of its arrays. A property is written once, against `Impl`,
in NumPy arrays; what stands behind it may be NumPy, a kernel under an interpreter or a kernel on a GPU. Another one is put
to the test by `pytest --kernel mine.py` (`kernel_of_yours.py`).

An implementation need not have everything. What a function has no argument for is not asked of it: a case that happens to
ask is cut down (`Impl.fit`), and a property that is about it raises `NotTried`, which the run counts and shows.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from strategies import TILE, VALUES, Case

from kernels._launch import DEVICE, INTERPRETED
from kernels.attention import first
from kernels.table import OPS as KERNEL_OPS
from minirembert.ops import OPS, Op, OpTable, activations, attention


class NotTried(Exception):
    """What a property needs and an implementation does not have. It never passes in silence: the run says so at its end."""


# What may be asked of an op beside its arrays, by the argument that asks: what asks for nothing, and its name.
ASKED: dict[str, tuple[Any, str]] = {
    "bias": (None, "a bias or a mask"),
    "key_lengths": (None, "lengths of sequences"),
    "causal": (False, "a causal mask"),
    "drop_prob": (0.0, "dropout"),
    "padding_idx": (None, "a padding row"),
    "ignore_index": (-100, "labels of another number that are ignored"),
}


def asks(name: str, value: Any) -> bool:
    """Whether a setting asks for something."""
    nothing = ASKED[name][0]
    return value is not None if nothing is None else bool(value != nothing)


class NoGradients(tuple[None, ...]):
    """Stands where gradients would be, of an op that has no backward half."""

    def _none(self, *of: Any) -> Any:
        raise NotTried("gradients (no backward half)")

    __iter__ = __len__ = __getitem__ = _none  # type: ignore[assignment]


class Result(NamedTuple):
    """What an op made of a case, in NumPy arrays; `saved` as the implementation left it."""

    y: np.ndarray
    gradients: tuple[np.ndarray | None, ...]
    saved: Any


@dataclass(frozen=True, repr=False)
class Impl:
    name: str
    ops: OpTable
    to_device: Callable[[np.ndarray], Any]  # values and, where it can, strides are kept
    to_numpy: Callable[[Any], np.ndarray]
    shares_memory: Callable[[Any, Any], bool]
    tiny_blocks: Callable[["Impl"], AbstractContextManager["Impl"]]  # itself, in many blocks: what a large input meets
    dtypes: tuple[str, ...] = ("float64", "float32")  # the first is the one for identities: the most exact
    has_tiles: Callable[[Op], bool] = lambda op: "block" in inspect.signature(op.forward).parameters
    warnings_count: bool = True  # a floating-point warning on the way is a failure, also where its result is not used
    multiple: int = 1  # of attention: queries, keys and features of a head are multiples of it

    def __repr__(self) -> str:
        return self.name

    def put(self, value: Any) -> Any:
        return self.to_device(value) if isinstance(value, np.ndarray) else value

    def call(self, op: str, *arrays: np.ndarray | None, **settings: Any) -> tuple[np.ndarray, Any]:
        """The op's forward half on NumPy arrays."""
        if self.multiple > 1 and op.startswith("attention"):
            sizes = [n for a in arrays for n in (a.shape[-2], a.shape[-1] // settings["num_heads"])]  # type: ignore[union-attr]
            if any(n % self.multiple for n in sizes):
                raise NotTried(f"sizes that are no multiples of {self.multiple}")
        put = {name: self.put(value) for name, value in self.taken(op, settings).items()}
        y, saved = self.op(op).forward(*map(self.put, arrays), **put)
        return self.to_numpy(y), saved

    def op(self, name: str) -> Op:
        """One of its ops. Raises NotTried where it has none of this name."""
        if name not in self.ops:
            raise NotTried(f"{name} beside it (no function of this name)")
        return self.ops[name]

    def has(self, op: str, argument: str) -> bool:
        """Whether the op can be asked for this."""
        parameters = inspect.signature(self.op(op).forward).parameters
        return argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    def in_tiles(self, op: str) -> AbstractContextManager["Impl"]:
        """`tiny_blocks`, for a property that is about them. Raises NotTried where the size of a tile cannot be said."""
        if not self.has_tiles(self.op(op)):
            raise NotTried("several tiles (no `block`)")
        return self.tiny_blocks(self)

    def fit(self, case: Case) -> Case:
        """The case, cut down to what the op can be asked for."""
        for name, value in case.settings.items():
            if name in ASKED and asks(name, value) and not self.has(case.op, name):
                case = case.but_with(**{name: ASKED[name][0]})
        if self.multiple > 1 and case.op.startswith("attention"):
            case = in_whole_tiles(case, self.multiple)
        return case

    def taken(self, op: str, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings that the op has arguments for. Raises NotTried where another one asks for something."""
        for name, value in settings.items():
            if name in ASKED and asks(name, value) and not self.has(op, name):
                raise NotTried(f"{ASKED[name][1]} (no `{name}`)")
        return {name: value for name, value in settings.items() if self.has(op, name)}

    def call_back(self, op: str, dy: np.ndarray, saved: Any) -> tuple[np.ndarray | None, ...]:
        """The op's backward half."""
        backward = self.op(op).backward
        if backward is None:
            raise NotTried("gradients (no backward half)")
        return tuple(None if g is None else self.to_numpy(g) for g in backward(self.put(dy), saved))

    def run(self, case: Case, dtype: str | None = None) -> Result:
        """Both halves on a case, with the case's own cotangent. `dtype`: the most exact one, if it is not said."""
        dtype = dtype or self.dtypes[0]
        arrays, settings = case.at(dtype)
        y, saved = self.call(case.op, *arrays, **settings)
        if self.op(case.op).backward is None:
            return Result(y, () if OPS[case.op].backward is None else NoGradients(), saved)
        return Result(y, self.call_back(case.op, case.cotangent(y.shape, dtype), saved), saved)

    def saved(self, saved: Any, field: str) -> np.ndarray:
        """A saved statistic, by its name."""
        if not hasattr(saved, field):
            raise NotTried(f"what is saved as {field} (no such field)")
        return self.to_numpy(getattr(saved, field))


def in_whole_tiles(case: Case, multiple: int) -> Case:
    """The case with one to three times `multiple` queries and keys."""
    shapes = [a.shape for a in case.arrays if a is not None]
    h, rng = case.settings["num_heads"], np.random.default_rng([case.seed, 4])
    d = multiple * int(rng.choice([n for n in (1, 2, 4) if n * multiple <= 128]))
    S, T = (int(n) for n in multiple * rng.integers(1, 4, 2))
    arrays = [VALUES[case.values](rng, (shapes[0][0], n, h * d)) for n in (S, T, T)][: len(shapes)]
    return case.but_with(*map(np.asarray, arrays), bias=None, key_lengths=None)


def tiny_numpy_blocks(*modules: ModuleType) -> Callable[[Impl], AbstractContextManager[Impl]]:
    """One row of an activation at a time, one head of attention at a time, in these modules."""

    @contextmanager
    def tiny(impl: Impl) -> Iterator[Impl]:
        one_row = lambda rows, *_: (slice(i, i + 1) for i in range(rows))  # noqa: E731
        with ExitStack() as stack:
            for module in modules:
                if hasattr(module, "SCORES_BYTES"):
                    stack.enter_context(mock.patch.object(module, "SCORES_BYTES", 1))
                elif hasattr(module, "row_blocks"):
                    stack.enter_context(mock.patch.object(module, "row_blocks", one_row))
            yield impl

    return tiny


NUMPY = Impl(
    name="numpy",
    ops=OPS,
    to_device=lambda array: array,
    to_numpy=lambda array: array,
    shares_memory=np.shares_memory,
    tiny_blocks=tiny_numpy_blocks(attention, activations),
    has_tiles=lambda op: op.forward.__module__ in (attention.__name__, activations.__name__),
)


# --- Triton: interpreted, or compiled where there is a GPU; see kernels/_launch.py ------------------------------------------


def lent_to_torch(array: np.ndarray) -> torch.Tensor:
    """A tensor with the values and, as far as torch has them, the strides of `array`: all but negative ones."""
    shape = array.shape
    array = array[(*(slice(None, 1) if stride == 0 else slice(None) for stride in array.strides), ...)]
    if any(stride < 0 for stride in array.strides) or not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array).expand(shape)


@contextmanager
def tiny_triton_blocks(impl: Impl) -> Iterator[Impl]:
    """Every launcher that takes a block size is given a small one: a few dozen programs for what one would do. The few
    partial sums that they leave are then added in several tiles, too."""
    with ExitStack() as stack:
        for op in impl.ops.values():
            column_sums = inspect.unwrap(op.forward).__globals__.get("column_sums")
            if column_sums is not None:
                sizes = column_sums.__globals__
                stack.callback(sizes.update, {name: sizes[name] for name in ("ROWS", "COLUMNS")})
                sizes.update(ROWS=2, COLUMNS=16)
        ops = {name: Op(_in_tiles(op.forward), _in_tiles(op.backward)) for name, op in impl.ops.items()}
        yield replace(impl, name=f"{impl.name}, in tiny tiles", ops=ops)


def _in_tiles(launch: Any) -> Any:
    if launch is None or "block" not in inspect.signature(launch).parameters:
        return launch

    @functools.wraps(launch)  # with the arguments that it has
    def tiled(first: Any, *rest: Any, **settings: Any) -> Any:
        attends = launch.__name__.startswith("attention")
        block = (16, 16) if attends else max(16, 1 << (first.numel() // 24).bit_length())
        return launch(first, *rest, **settings, block=block)

    return tiled


def overlap(a: Any, b: Any) -> bool:
    """Whether two tensors lie in the same allocation."""
    tensors = isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)
    return tensors and a.numel() > 0 and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


TRITON = Impl(
    name="triton, interpreted" if INTERPRETED else "triton, compiled",
    ops=KERNEL_OPS,
    to_device=lambda array: lent_to_torch(array).to(DEVICE),
    to_numpy=lambda tensor: tensor.detach().cpu().numpy(),
    shares_memory=overlap,
    tiny_blocks=tiny_triton_blocks,
)

# --- attention's first rung: whole tiles, and nothing special asked ----------------------------------------------------------


def first_rung(rung: ModuleType) -> Impl:
    """`kernels/attention/first.py`, or a module like it."""
    ops = {"attention": Op(rung.attention, rung.attention_backward)}
    return replace(TRITON, name=f"{TRITON.name}, first rung", ops=ops, multiple=TILE)


FIRST_RUNG = first_rung(first)

IMPLS = [NUMPY, TRITON, FIRST_RUNG]  # what the properties run over; `pytest --kernel` puts another one in their place
