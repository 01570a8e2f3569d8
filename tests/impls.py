"""The implementations that every property runs over.

An implementation is a table of ops and the way into and out of its arrays. A property is written once, against `Impl`,
in NumPy arrays; what stands behind it may be NumPy, a kernel under an interpreter or a kernel on a GPU. To put another
implementation to the test, append it to IMPLS.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from strategies import Case

from minirembert.ops import OPS, OpTable, activations, attention


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
    tiny_blocks: Callable[[], AbstractContextManager[None]]  # as many blocks as possible: what a large input would meet
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


def tiny_numpy_blocks(*modules: ModuleType) -> Callable[[], AbstractContextManager[None]]:
    """One row of an activation at a time, one head of attention at a time, in these modules."""

    @contextmanager
    def tiny() -> Iterator[None]:
        one_row = lambda rows, *_: (slice(i, i + 1) for i in range(rows))  # noqa: E731
        with ExitStack() as stack:
            for module in modules:
                if hasattr(module, "SCORES_BYTES"):
                    stack.enter_context(mock.patch.object(module, "SCORES_BYTES", 1))
                elif hasattr(module, "row_blocks"):
                    stack.enter_context(mock.patch.object(module, "row_blocks", one_row))
            yield

    return tiny


NUMPY = Impl(
    name="numpy",
    ops=OPS,
    to_device=lambda array: array,
    to_numpy=lambda array: array,
    shares_memory=np.shares_memory,
    tiny_blocks=tiny_numpy_blocks(attention, activations),
)

IMPLS = [NUMPY]
