"""What the ops mean by an array, and how they keep their working set in the cache.

Elementwise NumPy is bound by memory: an expression of ten operations on a large array travels ten times to main memory.
Working through the rows a block at a time keeps the intermediate results in the processor's cache, which is worth a
factor of two to three and costs one `for` line.
"""

from collections.abc import Iterator

import numpy as np

Array = np.ndarray
Whole = int | np.integer  # settings may be NumPy's scalars; an op makes Python's of them (`minirembert/scalars.py`)
Number = float | int | np.floating | np.integer
Switch = bool | np.bool_

CACHE_BYTES = 1 << 18  # a quarter of a MiB: a few temporaries of this size fit the level-2 cache of one core


def row_blocks(rows: int, bytes_per_row: int, budget: int = CACHE_BYTES) -> Iterator[slice]:
    """Slices that cover `range(rows)`, each of at most `budget` bytes (but at least one row)."""
    step = max(1, budget // max(1, bytes_per_row))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
