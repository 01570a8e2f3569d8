"""The feed-forward half of a block: every token by itself, H -> I -> H, then residual and LayerNorm."""

from typing import Any

from minirembert.config import RemBertConfig
from minirembert.model.forward_pass import ForwardPass, Parameters


def feed_forward_shapes(config: RemBertConfig) -> dict[str, tuple[int, ...]]:
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
    """(B, S, H) -> (B, S, H)."""
    # 1. widen to I, and bend
    y = run.linear_activation(x, p.at("intermediate.dense"))
    # 2. back to H
    y = run.linear(y, p.at("output.dense"))
    y = run.dropout(y, run.config.hidden_dropout_prob)
    # 3. residual, then LayerNorm
    return run.residual_layer_norm(y, x, p.at("output.LayerNorm"))
