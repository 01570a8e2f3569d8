"""Moving, picking and adding, by torch: the twin of `minirembert/ops/rows.py`, which has the formulas.

A kernel could do nothing here that torch's own indexing and copying does not do as fast.

Not here: `index_add_`, the obvious backward half of `select_rows`; `embedding.py` says why.
"""

import math

import torch
from jaxtyping import Float, Integer
from torch import Tensor, contiguous_format

from kernels._launch import integers, launcher, on_host, require, require_saved
from kernels.embedding import embedding_backward
from minirembert.ops.embedding import EmbeddingSaved, check_ids
from minirembert.ops.rows import (
    AddSaved,
    ConcatenateSaved,
    ReshapeSaved,
    ScaleSaved,
    SelectFeatureSaved,
    SelectRowsSaved,
)
from minirembert.scalars import as_integer, as_number


@launcher
def add(a: Float[Tensor, "..."], b: Float[Tensor, "..."]) -> tuple[Float[Tensor, "..."], AddSaved]:
    """a + b, broadcast against each other, in the wider of their dtypes. Raises TypeError unless `b` is floating-point."""
    require("add", "b", b, getattr(b, "shape", ()))
    return a + b, AddSaved(tuple(a.shape), tuple(b.shape))


@launcher
def add_backward(dy: Float[Tensor, "..."], saved: AddSaved) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """da, db. Raises ValueError unless dy has the shape of the sum."""
    require_saved("add_backward", saved, AddSaved)
    shape = torch.broadcast_shapes(saved.a_shape, saved.b_shape)
    if shape or dy.numel() != 1:  # the gradient of a sum of losses is one number, however it is wrapped
        require("add_backward", "dy", dy, shape)
    return _sum_to(dy, saved.a_shape), _sum_to(dy, saved.b_shape)


def _sum_to(dy: Tensor, shape: tuple[int, ...]) -> Tensor:
    return dy.clone(memory_format=contiguous_format) if dy.shape == shape else dy.sum_to_size(shape)


@launcher
def scale(
    x: Float[Tensor, "*shape"], factor: float | Float[Tensor, "..."]
) -> tuple[Float[Tensor, "*shape"], ScaleSaved]:
    """factor x, in the dtype of x. An array of factors must broadcast to the shape of x, and gets no gradient.

    Raises TypeError for a factor that is neither a finite number nor an array.
    """
    if not isinstance(factor, Tensor):
        factor = as_number("factor", factor)
    return _times(x, factor), ScaleSaved(factor)


@launcher
def scale_backward(dy: Float[Tensor, "*shape"], saved: ScaleSaved) -> tuple[Float[Tensor, "*shape"]]:
    """dx."""
    require_saved("scale_backward", saved, ScaleSaved)
    return (_times(dy, saved.factor),)


def _times(x: Tensor, factor: Tensor | float) -> Tensor:
    return (x * factor).to(x.dtype)  # a factor may be wider than x, and rounding it before would cost accuracy


@launcher
def reshape(x: Float[Tensor, "..."], shape: tuple[int, ...]) -> tuple[Float[Tensor, "..."], ReshapeSaved]:
    """The same numbers in `shape`."""
    return x.reshape(shape), ReshapeSaved(tuple(x.shape))


@launcher
def reshape_backward(dy: Float[Tensor, "..."], saved: ReshapeSaved) -> tuple[Float[Tensor, "..."]]:
    """dx."""
    require_saved("reshape_backward", saved, ReshapeSaved)
    return (dy.clone(memory_format=contiguous_format).reshape(saved.x_shape),)


@launcher
def select_rows(
    x: Float[Tensor, "*batch H"], rows: Integer[Tensor, " N"]
) -> tuple[Float[Tensor, "N H"], SelectRowsSaved]:
    """Rows of x, counted through its flattened leading axes. `rows` may be a list.

    Raises IndexError for a row that x does not have, TypeError for rows that are not integers.
    """
    rows = integers("select_rows", "rows", rows)
    check_ids(on_host(rows), math.prod(x.shape[:-1]), "rows")
    rows = rows.to(x.device)
    return x.reshape(-1, x.shape[-1])[rows.long()], SelectRowsSaved(rows, tuple(x.shape))


@launcher
def select_rows_backward(dy: Float[Tensor, "N H"], saved: SelectRowsSaved) -> tuple[Float[Tensor, "*batch H"]]:
    """dx: an embedding lookup whose table is x. Raises ValueError unless dy has the shape of the rows that were taken."""
    require_saved("select_rows_backward", saved, SelectRowsSaved)
    require("select_rows_backward", "dy", dy, (*saved.rows.shape, saved.x_shape[-1]))
    (dx,) = embedding_backward(dy, EmbeddingSaved(saved.rows, math.prod(saved.x_shape[:-1]), None))
    return (dx.reshape(saved.x_shape),)


@launcher
def select_feature(x: Float[Tensor, "*batch C"], feature: int) -> tuple[Float[Tensor, "*batch"], SelectFeatureSaved]:
    """x[..., feature]."""
    feature = as_integer("feature", feature)
    return x[..., feature].clone(memory_format=contiguous_format), SelectFeatureSaved(feature, x.shape[-1])


@launcher
def select_feature_backward(dy: Float[Tensor, "*batch"], saved: SelectFeatureSaved) -> tuple[Float[Tensor, "*batch C"]]:
    """dx."""
    require_saved("select_feature_backward", saved, SelectFeatureSaved)
    dx = dy.new_zeros((*dy.shape, saved.width))
    dx[..., saved.feature] = dy
    return (dx,)


@launcher
def concatenate(*parts: Float[Tensor, "B _ H"]) -> tuple[Float[Tensor, "B S H"], ConcatenateSaved]:
    """The parts laid end to end along the sequence: (B, S1, H), (B, S2, H), ... -> (B, S1 + S2 + ..., H).

    Raises ValueError for parts that differ in more than their length, TypeError for a part of another dtype.
    """
    batch, _, width = parts[0].shape
    for i, part in enumerate(parts):
        length = part.shape[1] if getattr(part, "ndim", 0) == 3 else "S"
        require("concatenate", f"part {i}", part, (batch, length, width), parts[0].dtype)
    return torch.cat(parts, dim=1), ConcatenateSaved(tuple(part.shape[1] for part in parts))


@launcher
def concatenate_backward(dy: Float[Tensor, "B S H"], saved: ConcatenateSaved) -> tuple[Float[Tensor, "B _ H"], ...]:
    """One gradient for each part. Raises ValueError unless dy is as long as the parts together."""
    require_saved("concatenate_backward", saved, ConcatenateSaved)
    require("concatenate_backward", "dy", dy, (dy.shape[0], sum(saved.lengths), dy.shape[-1]))
    return tuple(part.clone(memory_format=contiguous_format) for part in dy.split(saved.lengths, dim=1))
