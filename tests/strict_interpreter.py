"""Makes the interpreter notice what it would let pass: access outside a kernel's arrays, and results that nobody wrote.

Triton's interpreter reads and writes whatever address a kernel computes. A forgotten mask then goes unnoticed, as long as
the memory beyond the end happens to be there; on a GPU that is where a neighbour's numbers get overwritten. And an entry of
the result that no program wrote may hold the right answer, left there by an earlier run in the same place.

Offsets are noticed before they are too large: a stride or a length that a kernel is handed must be multiplied in 64 bits,
though the arrays of a test are so small that 32 would do. The launcher hands over 32 bits as long as a number fits. Within
a tile of attention 32 bits are right, where the launcher has asked for the last row of one: so a row's distance may be
multiplied by the rows of a tile, counted from its first, but not by a row's place in the sequence.

Not here: races, shared memory. On a GPU, `compute-sanitizer` looks for such mistakes.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from triton.runtime import interpreter

from kernels._launch import INTERPRETED

YOURS = "kernel_of_yours_file"  # the module that `pytest --kernel` makes of a file

Extent = tuple[int, int]  # of an array in memory: its first byte, and the first one beyond it


# Arguments of kernels that are strides, or lengths of arrays that may be as long as memory is.
FAR = re.compile(r"(.*_)?(batch|row|head|query|key|stride|tokens|S|T)|width|rows")


NEAR = re.compile(r".*_step")  # from one row of a tile to the next
ROWS_OF_A_TILE = 256


class Far(int):
    """Such an argument."""


class Near(int):
    """One that the rows of a tile may be multiplied by in 32 bits."""


class NarrowOffsetError(AssertionError):
    """A kernel computes an offset in 32 bits."""


class OutOfBoundsError(AssertionError):
    """A kernel reaches beyond its arrays."""


class _Bounds:
    """Those of the arrays of the kernel that is running."""

    def __init__(self) -> None:
        self.kernel = ""
        self.starts, self.ends = np.zeros(0, np.uint64), np.zeros(0, np.uint64)

    def set(self, kernel: str, arrays: list[torch.Tensor]) -> None:
        merged: list[Extent] = []
        for start, end in sorted(_extent(array) for array in arrays if array.numel()):
            if merged and start <= merged[-1][1]:
                start, end = merged[-1][0], max(end, merged.pop()[1])
            merged.append((start, end))
        self.kernel = kernel
        self.starts, self.ends = (
            np.array(side, np.uint64) for side in ([s for s, _ in merged], [e for _, e in merged])
        )

    def check(self, pointers: Any, mask: Any, verb: str) -> None:
        addresses = pointers.data[mask.data.astype(bool)]
        size = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        array = np.searchsorted(self.starts, addresses, side="right") - 1  # the last one that starts before
        outside = (array < 0) | (addresses + np.uint64(size) > self.ends[array]) if len(self.ends) else addresses > 0
        if outside.any():
            raise OutOfBoundsError(
                f"{self.kernel}, program {interpreter.interpreter_builder.grid_idx}: {verb} {outside.sum()} of "
                f"{outside.size} numbers outside of its arrays"
            )


def _extent(array: torch.Tensor) -> Extent:
    last = sum((n - 1) * stride for n, stride in zip(array.shape, array.stride(), strict=True))
    return array.data_ptr(), array.data_ptr() + (last + 1) * array.itemsize


def _far(name: str, value: Any) -> Any:
    """The argument, marked if it is one of these; of a named tuple, its members, `q.step` under the name of q_step."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_far(f"{name}_{field}", item) for field, item in value._asdict().items()))
    if type(value) is int and NEAR.fullmatch(name):
        return Near(value)
    return Far(value) if type(value) is int and FAR.fullmatch(name) else value


def _arrays(values: Any) -> Iterator[torch.Tensor]:
    """Those among arguments, also in named tuples."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, tuple):
            yield from _arrays(value)


def make_strict() -> None:
    """For the rest of the process. Does nothing where kernels are compiled."""
    if not INTERPRETED:
        return
    bounds, builder, executor = _Bounds(), interpreter.InterpreterBuilder, interpreter.GridExecutor
    load, store, arguments = builder.create_masked_load, builder.create_masked_store, executor._init_args_hst

    def checked_load(self: Any, pointers: Any, mask: Any, *rest: Any, **more: Any) -> Any:
        bounds.check(pointers, mask, "reads")
        return load(self, pointers, mask, *rest, **more)

    def checked_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any, **more: Any) -> Any:
        bounds.check(pointers, mask, "writes")
        return store(self, pointers, value, mask, *rest, **more)

    def noted_arguments(self: Any, *given: Any) -> Any:
        positional, named = arguments(self, *given)
        if self.fn.__module__ != YOURS:  # 64 bits are a rule of this project
            positional = [_far(name, value) for name, value in zip(self.arg_names, positional, strict=False)]
            named = {name: value if name in self.constexprs else _far(name, value) for name, value in named.items()}
        bounds.set(self.fn.__name__, list(_arrays((*positional, *named.values()))))
        return positional, named

    multiply, convert = interpreter.TritonSemantic.mul, interpreter._implicit_cvt

    def noted_number(value: Any) -> Any:
        marked = isinstance(value, (Far, Near))
        converted = convert(int(value) if marked else value)
        if marked:
            converted.handle.mark = type(value)  # a cast to 64 bits makes another handle
        return converted

    def is_narrow(side: Any, other: Any) -> bool:
        mark = getattr(getattr(side, "handle", None), "mark", None)
        if mark is Near:
            rows = np.asarray(getattr(getattr(other, "handle", None), "data", other))
            return rows.size == 1 or rows.min() > 0 or rows.max() >= ROWS_OF_A_TILE
        return mark is Far

    @functools.wraps(multiply)  # what is computed is known by its name
    def checked_product(self: Any, left: Any, right: Any, *rest: Any, **more: Any) -> Any:
        product = multiply(self, left, right, *rest, **more)
        narrow = product.dtype.is_int() and product.dtype.int_bitwidth < 64
        if narrow and (is_narrow(left, right) or is_narrow(right, left)):
            raise NarrowOffsetError(f"{bounds.kernel} multiplies a stride or a length in {product.dtype}")
        return product

    interpreter.TritonSemantic.mul, interpreter._implicit_cvt = checked_product, noted_number
    builder.create_masked_load, builder.create_masked_store = checked_load, checked_store
    executor._init_args_hst = noted_arguments
    torch.use_deterministic_algorithms(True)  # what torch.empty gives is full of NaN then
