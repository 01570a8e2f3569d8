"""How many bytes kernels load and store: counted as they run, not estimated.

    with traffic() as count:
        softmax(x)
    count["softmax_kernel"].loaded, count.stored    # bytes: of one kernel, of all

Most kernels here do so little with a number that their time is the time its bytes take to travel. That makes the bytes
worth predicting from a formula, and a prediction wants something to be held against. The interpreter sees every load and
every store, so `traffic` notes for each how many lanes the mask let through and how wide their numbers are.

These are the bytes that programs ask for. What four programs ask for is counted four times, though a GPU's cache may fetch
it from memory once: the count is what the kernel's text says, and where nothing is asked for twice it is the memory's
traffic as well.

Not here: what torch copies before or after a launch, caches, time. A compiled kernel cannot be counted.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
from triton.runtime.interpreter import GridExecutor, interpreter_builder

from kernels._launch import INTERPRETED


@dataclass
class KernelTraffic:
    """What all launches of one kernel did, in bytes. An atomic operation is a load and a store."""

    launches: int = 0
    programs: int = 0
    loaded: int = 0
    stored: int = 0

    @property
    def total(self) -> int:
        """Bytes loaded and stored."""
        return self.loaded + self.stored


class Traffic(dict[str, KernelTraffic]):
    """Kernels by name, in the order of their first launch; printed, a table."""

    @property
    def loaded(self) -> int:
        """Bytes loaded by all kernels together."""
        return sum(kernel.loaded for kernel in self.values())

    @property
    def stored(self) -> int:
        """Bytes stored by all kernels together."""
        return sum(kernel.stored for kernel in self.values())

    @property
    def total(self) -> int:
        """Bytes loaded and stored by all kernels together."""
        return self.loaded + self.stored

    def __str__(self) -> str:
        lines = [f"{'kernel':40} {'launches':>8} {'programs':>8} {'loaded':>12} {'stored':>12}"]
        for name, kernel in self.items():
            counts = f"{kernel.launches:8,} {kernel.programs:8,} {kernel.loaded:12,} {kernel.stored:12,}"
            lines.append(f"{name:40} {counts}")
        return "\n".join(lines)


@contextmanager
def traffic() -> Iterator[Traffic]:
    """Counts what kernels load and store until the end of the block. Blocks may stand in each other; threads may not.

    Raises RuntimeError where kernels are compiled.
    """
    if not INTERPRETED:
        raise RuntimeError(
            "traffic is counted by the interpreter, but kernels are compiled here: set TRITON_INTERPRET=1"
        )
    count = Traffic()
    running = KernelTraffic()  # the kernel that runs now
    builder = interpreter_builder
    launch, start_program = GridExecutor.__call__, builder.set_grid_idx
    load, store = builder.create_masked_load, builder.create_masked_store  # loads without a mask come by here, too
    atomic_rmw, atomic_cas = builder.create_atomic_rmw, builder.create_atomic_cas

    def counted_launch(grid: GridExecutor, *arguments: Any, **settings: Any) -> None:
        nonlocal running
        running = count.setdefault(grid.fn.__name__, KernelTraffic())
        running.launches += 1
        launch(grid, *arguments, **settings)

    def counted_program(*place: int) -> None:
        running.programs += 1
        start_program(*place)

    def lanes(mask: Any) -> int:
        return int(np.count_nonzero(mask.data))

    def counted_load(pointers: Any, mask: Any, *rest: Any, **settings: Any) -> Any:
        value = load(pointers, mask, *rest, **settings)
        running.loaded += lanes(mask) * value.data.itemsize
        return value

    def counted_store(pointers: Any, value: Any, mask: Any, *rest: Any, **settings: Any) -> None:
        store(pointers, value, mask, *rest, **settings)
        running.stored += lanes(mask) * value.data.itemsize

    def counted_rmw(operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        before = atomic_rmw(operation, pointers, value, mask, *rest)
        size = lanes(mask) * value.data.itemsize
        running.loaded += size
        running.stored += size
        return before

    def counted_cas(pointers: Any, compare: Any, value: Any, *rest: Any) -> Any:
        before = atomic_cas(pointers, compare, value, *rest)
        running.loaded += before.data.nbytes
        running.stored += int(np.count_nonzero(before.data == compare.data)) * value.data.itemsize
        return before

    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(GridExecutor, "__call__", counted_launch))
        for name, counted in (
            ("set_grid_idx", counted_program),
            ("create_masked_load", counted_load),
            ("create_masked_store", counted_store),
            ("create_atomic_rmw", counted_rmw),
            ("create_atomic_cas", counted_cas),
        ):
            patches.enter_context(mock.patch.object(builder, name, counted))
        yield count
