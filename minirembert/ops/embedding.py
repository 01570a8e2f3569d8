"""Embedding lookup.

    y[n] = W[ids[n]]            forward: copy rows
    dW[r] = sum of dy[n] over the n with ids[n] == r

The backward pass is a scatter-add. `np.add.at` is slow and its order of addition is its own business; sorting the ids
first turns the sum into contiguous runs, which `np.add.reduceat` adds in a fixed order: the same bits on every run.

The row `padding_idx` is read like any other, but never receives a gradient (as in `torch.nn.Embedding`).
Not here: sparse gradients. dW has the size of W, also when few rows were read.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from minirembert.ops.array import Array, Whole
from minirembert.scalars import as_integer


class EmbeddingSaved(NamedTuple):
    """What `embedding_backward` needs; `rows` is V, the height of the table."""

    ids: Integer[Array, "*batch"]
    rows: int
    padding_idx: int | None


def check_ids(ids: Integer[Array, "*batch"], rows: int, name: str) -> None:
    """Raises IndexError if an id lies outside `[0, rows)`: NumPy would read a negative one from the end of the table."""
    if ids.size == 0:
        return
    outside = (ids < 0) | (ids >= rows)
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise IndexError(f"{name}{list(where)} is {int(ids[where])}, but the table has rows 0 to {rows - 1}")


def embedding(
    weight: Float[Array, "V E"], ids: Integer[Array, "*batch"], padding_idx: Whole | None = None
) -> tuple[Float[Array, "*batch E"], EmbeddingSaved]:
    """Rows of `weight` at `ids`. Raises IndexError for an id outside the table."""
    padding_idx = None if padding_idx is None else as_integer("padding_idx", padding_idx)
    check_ids(ids, weight.shape[0], "ids")
    # 1. copy the rows
    y = weight[ids]
    return y, EmbeddingSaved(ids, weight.shape[0], padding_idx)


def embedding_backward(dy: Float[Array, "*batch E"], saved: EmbeddingSaved) -> tuple[Float[Array, "V E"]]:
    """dweight (V, E): dense, zero in rows that were not read and in row `padding_idx`."""
    width = dy.shape[-1]
    dweight = np.zeros((saved.rows, width), dy.dtype)
    if saved.ids.size == 0:
        return (dweight,)
    # 1. bring equal ids together; a stable sort keeps the order of addition fixed
    ids = saved.ids.reshape(-1)
    order = np.argsort(ids, kind="stable")
    rows, starts = np.unique(ids[order], return_index=True)
    # 2. add each run of equal ids
    dweight[rows] = np.add.reduceat(dy.reshape(-1, width)[order], starts, axis=0)
    # 3. padding learns nothing
    if saved.padding_idx is not None:
        dweight[saved.padding_idx] = 0
    return (dweight,)
