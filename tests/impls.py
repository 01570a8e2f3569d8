"""The implementations that every property runs over.

An implementation is a table of ops and the way into and out of its arrays. A property is written once, against `Impl`,
in NumPy arrays; what stands behind it may be NumPy, a kernel under an interpreter or a kernel on a GPU. To put another
implementation to the test, append it to IMPLS.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from strategies import Case

from kernels._launch import DEVICE, INTERPRETED
from kernels.attention import first
from kernels.table import OPS as KERNEL_OPS
from minirembert.ops import OPS, Op, OpTable, activations, attention


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

    def __repr__(self) -> str:
        return self.name

    def put(self, value: Any) -> Any:
        return self.to_device(value) if isinstance(value, np.ndarray) else value

    def call(self, op: str, *arrays: np.ndarray | None, **settings: Any) -> tuple[np.ndarray, Any]:
        """The op's forward half on NumPy arrays."""
        put = {name: self.put(value) for name, value in settings.items()}
        y, saved = self.ops[op].forward(*map(self.put, arrays), **put)
        return self.to_numpy(y), saved

    def call_back(self, op: str, dy: np.ndarray, saved: Any) -> tuple[np.ndarray | None, ...]:
        """The op's backward half."""
        backward = self.ops[op].backward
        assert backward is not None, f"{op} has no backward"
        return tuple(None if g is None else self.to_numpy(g) for g in backward(self.put(dy), saved))

    def run(self, case: Case, dtype: str | None = None) -> Result:
        """Both halves on a case, with the case's own cotangent. `dtype`: the most exact one, if it is not said."""
        dtype = dtype or self.dtypes[0]
        arrays, settings = case.at(dtype)
        y, saved = self.call(case.op, *arrays, **settings)
        if self.ops[case.op].backward is None:
            return Result(y, (), saved)
        return Result(y, self.call_back(case.op, case.cotangent(y.shape, dtype), saved), saved)

    def saved(self, saved: Any, field: str) -> np.ndarray:
        """A saved statistic, by its name."""
        return self.to_numpy(getattr(saved, field))


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

IMPLS = [NUMPY, TRITON]


# --- attention's first rung: whole tiles, and nothing special asked; see test_attention_ladder.py --------------------------


def first_rung(rung: ModuleType) -> Impl:
    """`kernels/attention/first.py`, or a module like it, behind the arguments that attention has."""

    def attention(
        q: Any, k: Any, v: Any, num_heads: int, bias: Any = None, key_lengths: Any = None, causal: bool = False,
        drop_prob: float = 0.0, seed: int = 0, *, block: tuple[int, int] | None = None,
    ) -> Any:  # fmt: skip
        asked = {"bias": bias is not None, "lengths": key_lengths is not None, "causal": causal, "dropout": drop_prob}
        assert not any(asked.values()), f"the first rung has none of {', '.join(a for a, yes in asked.items() if yes)}"
        return rung.attention(q, k, v, num_heads, block=block)

    ops = {"attention": Op(attention, rung.attention_backward)}
    return replace(TRITON, name=f"{TRITON.name}, first rung", ops=ops)


FIRST_RUNG = first_rung(first)
