"""Embedding lookup, by torch: the twin of `minirembert/ops/embedding.py`, which has the formulas.

The obvious scatter-add, `index_add_`, adds on a GPU in whatever order the threads arrive, and floating-point sums depend on
their order. `embedding_dense_backward`, the backward half of `torch.nn.Embedding`, does not: it sorts the ids (for few of
them, it compares them within a block of threads), gives every row of the table one owner, and that owner adds in a fixed
order. It uses no atomics, and torch does not count it among its nondeterministic operations. It may round each addition to
the dtype of dy, so half precision is widened first.

Ids outside the table are an error here as there. NumPy arrays are looked at before they travel to the GPU; a tensor that
lies there already costs one wait for it.
Not here: sparse gradients.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from kernels._launch import integers, launcher, on_host, require, require_saved, statistics_dtype
from minirembert.ops.embedding import EmbeddingSaved, check_ids
from minirembert.scalars import as_integer


@launcher
def embedding(
    weight: Float[Tensor, "V E"], ids: Integer[Tensor, "*batch"], padding_idx: int | None = None
) -> tuple[Float[Tensor, "*batch E"], EmbeddingSaved]:
    """Rows of `weight` at `ids`, which may be a list.

    Raises IndexError for an id outside the table, TypeError for ids that are not integers.
    """
    padding_idx = None if padding_idx is None else as_integer("padding_idx", padding_idx)
    ids = integers("embedding", "ids", ids)
    check_ids(on_host(ids), len(weight), "ids")
    ids = ids.to(weight.device)
    # 1. copy the rows
    y = F.embedding(ids.long(), weight)
    return y, EmbeddingSaved(ids, len(weight), padding_idx)


@launcher
def embedding_backward(dy: Float[Tensor, "*batch E"], saved: EmbeddingSaved) -> tuple[Float[Tensor, "V E"]]:
    """dweight (V, E): dense, zero in rows that were not read and in row `padding_idx`.

    Raises TypeError unless embedding saved `saved`, ValueError unless dy has one row for each id.
    """
    require_saved("embedding_backward", saved, EmbeddingSaved)
    require("embedding_backward", "dy", dy, (*saved.ids.shape, *dy.shape[-1:]))
    ids = saved.ids.reshape(-1).long()
    rows_dy = dy.reshape(-1, dy.shape[-1]).to(statistics_dtype(dy))
    # 1. bring equal ids together
    # 2. add each run of equal ids
    dweight = torch.ops.aten.embedding_dense_backward(rows_dy, ids, saved.rows, -1, False)
    # 3. padding learns nothing
    if saved.padding_idx is not None:
        dweight[saved.padding_idx] = 0
    return (dweight.to(dy.dtype),)
