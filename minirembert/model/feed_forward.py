"""The feed-forward half of a block: every token by itself, H -> I -> H, then residual and LayerNorm."""

from typing import Any

import numpy as np

from minirembert.config import RemBertConfig
from minirembert.model.forward_pass import ForwardPass, Parameters


def feed_forward_shapes(config: RemBertConfig) -> dict[str, tuple[int, ...]]:
    """The parameters of the feed-forward half, under their names inside a block."""
    H, I = config.hidden_size, config.intermediate_size  # noqa: E741
    return {
        "intermediate.dense.weight": (I, H),
        "intermediate.dense.bias": (I,),
        "output.dense.weight": (H, I),
        "output.dense.bias": (H,),
        "output.LayerNorm.weight": (H,),
        "output.LayerNorm.bias": (H,),
    }


def feed_forward(run: ForwardPass, p: Parameters, x: Any) -> Any:
    """(B, S, H) -> (B, S, H). With `config.chunk_size_feed_forward`, that many positions at a time: less memory at width I.

    Raises ValueError for a sequence that does not split into such chunks.
    """
    size = run.config.chunk_size_feed_forward
    batch, length, width = x.shape
    if size == 0 or size == length:
        return _feed_forward(run, p, x)
    if length % size:
        raise ValueError(
            f"a sequence of {length} tokens does not split into chunks of {size}: pad it, or set "
            "chunk_size_feed_forward = 0 in the configuration"
        )
    rows = np.arange(batch * length).reshape(batch, length)
    chunks = []
    for start in range(0, length, size):
        chunk = run.ops.select_rows(x, rows[:, start : start + size].reshape(-1))
        chunks.append(run.ops.reshape(_feed_forward(run, p, chunk), (batch, size, width)))
    return run.ops.concatenate(*chunks)


def _feed_forward(run: ForwardPass, p: Parameters, x: Any) -> Any:
    # 1. widen to I, and bend
    y = run.linear_activation(x, p.at("intermediate.dense"))
    # 2. back to H
    y = run.linear(y, p.at("output.dense"))
    y = run.dropout(y, run.config.hidden_dropout_prob)
    # 3. residual, then LayerNorm
    return run.residual_layer_norm(y, x, p.at("output.LayerNorm"))
