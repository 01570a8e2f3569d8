"""Moving, picking and adding: the ops that compute nothing new.

The model uses them instead of NumPy's own indexing so that the tape sees them.

    add            y = a + b            da, db: dy, summed over the axes along which a or b was repeated
    scale          y = c x              dx = c dy; c is a constant, a number or an array that is repeated along x
    reshape        same numbers, other shape
    select_rows    y = x[rows]          dx: zero but for those rows; a row taken twice gets both gradients
    select_feature y = x[..., j]        dx: zero but for feature j
    concatenate    y = the parts, one after the other in the sequence      each part's gradient is its stretch of dy
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from minirembert.ops.array import Array, Number, Whole
from minirembert.ops.embedding import EmbeddingSaved, check_ids, embedding_backward
from minirembert.scalars import as_integer, as_number


class AddSaved(NamedTuple):
    """The shapes to which `add_backward` sums dy up."""

    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]


def add(a: Float[Array, "..."], b: Float[Array, "..."]) -> tuple[Float[Array, "..."], AddSaved]:
    """a + b, broadcast against each other."""
    return np.asarray(a + b), AddSaved(a.shape, b.shape)  # asarray: the sum of two () arrays is a scalar, no array


def add_backward(dy: Float[Array, "..."], saved: AddSaved) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """da, db."""
    return _sum_to(dy, saved.a_shape), _sum_to(dy, saved.b_shape)


def _sum_to(dy: Array, shape: tuple[int, ...]) -> Array:
    leading = dy.ndim - len(shape)
    repeated = tuple(leading + i for i, n in enumerate(shape) if n == 1 and dy.shape[leading + i] != 1)
    axes = tuple(range(leading)) + repeated
    return np.asarray(dy.sum(axis=axes)).reshape(shape) if axes else dy.copy()


class ScaleSaved(NamedTuple):
    """What `scale_backward` multiplies dy by."""

    factor: Any  # a number or an array


def scale(x: Float[Array, "*shape"], factor: Number | Float[Array, "..."]) -> tuple[Float[Array, "*shape"], ScaleSaved]:
    """factor x, in the dtype of x. An array of factors must broadcast to the shape of x, and gets no gradient.

    Raises TypeError for a factor that is neither a finite number nor an array.
    """
    if not isinstance(factor, np.ndarray):
        factor = as_number("factor", factor)
    return _times(x, factor), ScaleSaved(factor)


def scale_backward(dy: Float[Array, "*shape"], saved: ScaleSaved) -> tuple[Float[Array, "*shape"]]:
    """dx."""
    return (_times(dy, saved.factor),)


def _times(x: Array, factor: Any) -> Array:
    return np.asarray(x * factor).astype(x.dtype, copy=False)  # a factor may be wider than x


class ReshapeSaved(NamedTuple):
    """The shape to which `reshape_backward` returns dy."""

    x_shape: tuple[int, ...]


def reshape(x: Float[Array, "..."], shape: tuple[Whole, ...]) -> tuple[Float[Array, "..."], ReshapeSaved]:
    """The same numbers in `shape`."""
    return x.reshape(shape), ReshapeSaved(x.shape)


def reshape_backward(dy: Float[Array, "..."], saved: ReshapeSaved) -> tuple[Float[Array, "..."]]:
    """dx."""
    return (dy.reshape(saved.x_shape).copy(),)


class SelectRowsSaved(NamedTuple):
    """Where `select_rows_backward` adds each row of dy."""

    rows: Integer[Array, " N"]
    x_shape: tuple[int, ...]


def select_rows(x: Float[Array, "*batch H"], rows: Integer[Array, " N"]) -> tuple[Float[Array, "N H"], SelectRowsSaved]:
    """Rows of x, counted through its flattened leading axes. Raises IndexError for a row that x does not have."""
    flat = x.reshape(-1, x.shape[-1])
    check_ids(rows, len(flat), "rows")
    return flat[rows], SelectRowsSaved(rows, x.shape)


def select_rows_backward(dy: Float[Array, "N H"], saved: SelectRowsSaved) -> tuple[Float[Array, "*batch H"]]:
    """dx: an embedding lookup whose table is x."""
    count = int(np.prod(saved.x_shape[:-1]))
    (dx,) = embedding_backward(dy, EmbeddingSaved(saved.rows, count, None))
    return (dx.reshape(saved.x_shape),)


class SelectFeatureSaved(NamedTuple):
    """Where `select_feature_backward` puts dy; `width` is C."""

    feature: int
    width: int


def select_feature(x: Float[Array, "*batch C"], feature: Whole) -> tuple[Float[Array, "*batch"], SelectFeatureSaved]:
    """x[..., feature]."""
    feature = as_integer("feature", feature)
    return x[..., feature].copy(), SelectFeatureSaved(feature, x.shape[-1])


def select_feature_backward(dy: Float[Array, "*batch"], saved: SelectFeatureSaved) -> tuple[Float[Array, "*batch C"]]:
    """dx."""
    dx = np.zeros((*dy.shape, saved.width), dy.dtype)
    dx[..., saved.feature] = dy
    return (dx,)


class ConcatenateSaved(NamedTuple):
    """The length of each part along the sequence, by which `concatenate_backward` cuts dy."""

    lengths: tuple[int, ...]


def concatenate(*parts: Float[Array, "B _ H"]) -> tuple[Float[Array, "B S H"], ConcatenateSaved]:
    """The parts laid end to end along the sequence: (B, S1, H), (B, S2, H), ... -> (B, S1 + S2 + ..., H)."""
    return np.concatenate(parts, axis=1), ConcatenateSaved(tuple(part.shape[1] for part in parts))


def concatenate_backward(dy: Float[Array, "B S H"], saved: ConcatenateSaved) -> tuple[Float[Array, "B _ H"], ...]:
    """One gradient for each part."""
    ends = np.cumsum(saved.lengths)
    return tuple(dy[:, end - length : end].copy() for length, end in zip(saved.lengths, ends, strict=True))
