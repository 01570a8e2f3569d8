"""The encoder: the factorized embedding, then L blocks of attention and feed-forward; and the pooler on top of it.

As a decoder (`config.is_decoder`) the same blocks hide the future, hand out their keys and values as a cache, and may have
a second attention between the two halves, over the states of another encoder (`config.add_cross_attention`).
"""

from typing import Any, NamedTuple

import numpy as np

from minirembert.config import RemBertConfig
from minirembert.model.attention import attention_block, attention_shapes, keys_values_of
from minirembert.model.cache import KeysValues, LayerCache, heads_apart
from minirembert.model.factorized_embedding import factorized_embedding, factorized_embedding_shapes
from minirembert.model.feed_forward import feed_forward, feed_forward_shapes
from minirembert.model.forward_pass import ForwardPass, Parameters
from minirembert.model.inputs import Inputs
from minirembert.model.outputs import BaseModelOutput


def block_shapes(config: RemBertConfig) -> dict[str, tuple[int, ...]]:
    """The parameters of one block, under their names inside it; cross-attention's too, where it is added."""
    cross = attention_shapes(config, "crossattention") if config.add_cross_attention else {}
    return {**attention_shapes(config), **cross, **feed_forward_shapes(config)}


def encoder_shapes(config: RemBertConfig) -> dict[str, tuple[int, ...]]:
    """The parameters of the embedding and of L blocks, in the order of the forward pass."""
    shapes = factorized_embedding_shapes(config)
    for n in range(config.num_hidden_layers):
        shapes |= {f"encoder.layer.{n}.{name}": shape for name, shape in block_shapes(config).items()}
    return shapes


class Block(NamedTuple):
    """What one block gives."""

    x: Any  # (B, S, H)
    probabilities: Any  # (B, h, S, T), or None
    cross_probabilities: Any  # over the encoder's states, or None
    own: KeysValues  # (B, T, H)
    cross: KeysValues | None


def block(run: ForwardPass, p: Parameters, x: Any, inputs: Inputs, past: LayerCache, head_mask: Any) -> Block:
    """Attention, in a decoder perhaps cross-attention, feed-forward: (B, S, H) -> (B, S, H)."""
    own = keys_values_of(run, p.at("attention"), x, past.own)
    wanted = inputs.output_attentions
    x, probabilities = attention_block(run, p.at("attention"), x, own, inputs.mask, head_mask, wanted)
    cross, cross_probabilities = past.cross, None
    if inputs.encoder_hidden_states is not None and cross is None:
        cross = keys_values_of(run, p.at("crossattention"), inputs.encoder_hidden_states)
    if cross is not None:
        x, cross_probabilities = attention_block(
            run, p.at("crossattention"), x, cross, inputs.encoder_mask, head_mask, wanted
        )
    return Block(feed_forward(run, p, x), probabilities, cross_probabilities, own, cross)


def encoder(run: ForwardPass, p: Parameters, inputs: Inputs) -> BaseModelOutput:
    """ids -> hidden states (B, S, H). `hidden_states` has L + 1 entries: the embedding's, then each block's."""
    x = factorized_embedding(run, p, inputs.input_ids, inputs.token_type_ids, inputs.position_ids, inputs.inputs_embeds)
    hidden_states, attentions, cross_attentions, cache = [x], [], [], []
    for n, past in enumerate(inputs.past):
        head_mask = None if inputs.head_mask is None else inputs.head_mask[n]
        made = block(run, p.at(f"encoder.layer.{n}"), x, inputs, past, head_mask)
        x = made.x
        if inputs.output_hidden_states:
            hidden_states.append(x)
        attentions.append(made.probabilities)
        cross_attentions.append(made.cross_probabilities)
        if inputs.use_cache:
            parts = (*made.own, *(made.cross or ()))
            cache.append(tuple(heads_apart(part, run.config.num_attention_heads) for part in parts))
    crossed = inputs.output_attentions and any(p is not None for p in cross_attentions)
    return BaseModelOutput(
        last_hidden_state=x,
        past_key_values=tuple(cache) if inputs.use_cache else None,
        hidden_states=tuple(hidden_states) if inputs.output_hidden_states else None,
        attentions=tuple(attentions) if inputs.output_attentions else None,
        cross_attentions=tuple(cross_attentions) if crossed else None,
    )


def pooler_shapes(config: RemBertConfig) -> dict[str, tuple[int, ...]]:
    """The parameters of the pooler, H -> H."""
    H = config.hidden_size
    return {"pooler.dense.weight": (H, H), "pooler.dense.bias": (H,)}


def pooler(run: ForwardPass, p: Parameters, x: Any) -> Any:
    """(B, S, H) -> (B, H): tanh of a linear map of each sequence's first token, [CLS]."""
    batch, length, _ = x.shape
    first = run.ops.select_rows(x, np.arange(0, batch * length, length))
    return run.ops.tanh(run.linear(first, p.at("pooler.dense")))
