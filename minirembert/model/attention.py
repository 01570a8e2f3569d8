"""The attention half of a block: every token gathers from the others, then residual and LayerNorm."""

from typing import Any

from minirembert.config import RemBertConfig
from minirembert.model.forward_pass import ForwardPass, Parameters


def attention_shapes(config: RemBertConfig) -> dict[str, tuple[int, ...]]:
    H = config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {}
    for name in ("self.query", "self.key", "self.value", "output.dense"):
        shapes[f"attention.{name}.weight"] = (H, H)
        shapes[f"attention.{name}.bias"] = (H,)
    return {**shapes, "attention.output.LayerNorm.weight": (H,), "attention.output.LayerNorm.bias": (H,)}


def attention_block(
    run: ForwardPass, p: Parameters, x: Any, bias: Any = None, key_lengths: Any = None, want_probabilities: bool = False
) -> tuple[Any, Any]:
    """(B, S, H) -> (B, S, H), and the attention probabilities (B, h, S, S) where they are wanted, else None."""
    config = run.config
    # 1. queries, keys and values: three views of the same tokens
    q = run.linear(x, p.at("attention.self.query"))
    k = run.linear(x, p.at("attention.self.key"))
    v = run.linear(x, p.at("attention.self.value"))
    # 2. each head averages the values by its own weights; the heads' results stand side by side in H
    dropout = run.dropout_settings(config.attention_probs_dropout_prob)
    y = run.ops.attention(q, k, v, num_heads=config.num_attention_heads, bias=bias, key_lengths=key_lengths, **dropout)
    probabilities = None
    if want_probabilities:
        probabilities = run.ops.attention_probabilities(q, k, config.num_attention_heads, bias, key_lengths, **dropout)
    # 3. mix the heads
    y = run.linear(y, p.at("attention.output.dense"))
    y = run.dropout(y, config.hidden_dropout_prob)
    # 4. residual, then LayerNorm ("post-LN")
    return run.residual_layer_norm(y, x, p.at("attention.output.LayerNorm")), probabilities
