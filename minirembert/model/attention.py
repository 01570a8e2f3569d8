"""The attention half of a block: every token gathers from others, then residual and LayerNorm.

Self-attention gathers from the same sequence. Cross-attention, in a decoder, is the same block with one difference: its keys
and values are made of an encoder's states.
"""

from typing import Any

import numpy as np

from minirembert.config import RemBertConfig
from minirembert.model.cache import KeysValues
from minirembert.model.forward_pass import ForwardPass, Parameters
from minirembert.model.masks import Mask


def attention_shapes(config: RemBertConfig, name: str = "attention") -> dict[str, tuple[int, ...]]:
    """The parameters of an attention block, under their names in a block. `name`: "attention", or "crossattention"."""
    H = config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {}
    for part in ("self.query", "self.key", "self.value", "output.dense"):
        shapes[f"{name}.{part}.weight"] = (H, H)
        shapes[f"{name}.{part}.bias"] = (H,)
    return {**shapes, f"{name}.output.LayerNorm.weight": (H,), f"{name}.output.LayerNorm.bias": (H,)}


def attention_block(
    run: ForwardPass,
    p: Parameters,
    x: Any,
    keys_values: KeysValues,
    mask: Mask,
    head_mask: Any = None,
    want_probabilities: bool = False,
) -> tuple[Any, Any]:
    """(B, S, H) -> (B, S, H), and the attention probabilities (B, h, S, T) where they are wanted, else None.

    `keys_values`: both (B, T, H), from `keys_values_of`. `head_mask` (H,): one factor a feature, the
    same for all features of a head.
    """
    config = run.config
    # 1. one query a token
    q = run.linear(x, p.at("self.query"))
    # 2. each head averages the values by its own weights; the heads' results stand side by side in H
    k, v = keys_values
    masks = mask._asdict()
    dropout = run.dropout_settings(config.attention_probs_dropout_prob)
    y = run.ops.attention(q, k, v, num_heads=config.num_attention_heads, **masks, **dropout)
    probabilities = None
    if want_probabilities:
        probabilities = run.ops.attention_probabilities(q, k, config.num_attention_heads, **masks, **dropout)
    if head_mask is not None:  # as good as on the probabilities: (c P) V = c (P V)
        y = run.ops.scale(y, head_mask)
        if probabilities is not None:
            by_head = head_mask[:: config.hidden_size // config.num_attention_heads]
            probabilities = run.ops.scale(probabilities, by_head.reshape(-1, 1, 1))
    # 3. mix the heads
    y = run.linear(y, p.at("output.dense"))
    y = run.dropout(y, config.hidden_dropout_prob)
    # 4. residual, then LayerNorm ("post-LN")
    return run.residual_layer_norm(y, x, p.at("output.LayerNorm")), probabilities


def keys_values_of(run: ForwardPass, p: Parameters, x: Any, past: KeysValues | None = None) -> KeysValues:
    """The keys and values of tokens x (B, S, H), after those of the past (B, P, H): both (B, P + S, H)."""
    k, v = run.linear(x, p.at("self.key")), run.linear(x, p.at("self.value"))
    if past is None:
        return k, v
    return run.ops.concatenate(past[0], k), run.ops.concatenate(past[1], v)


def factor_by_feature(factors: np.ndarray, config: RemBertConfig) -> np.ndarray:
    """One factor a head (h,) -> one a feature (H,)."""
    return np.repeat(factors, config.hidden_size // config.num_attention_heads)
