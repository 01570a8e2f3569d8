"""From what a caller passes to what the encoder needs: defaults filled in, everything checked once, by name.

NumPy reads a negative id from the end of a table and repeats an array of the wrong shape without a word, so nothing gets
past this file unchecked. Masks have a file of their own (`masks.py`), and so has the cache (`cache.py`).
"""

from typing import Any, NamedTuple

import numpy as np

from minirembert.config import RemBertConfig
from minirembert.model.arrays import flag, integers, rectangular, require_shape, states
from minirembert.model.attention import factor_by_feature
from minirembert.model.cache import LayerCache, read_cache
from minirembert.model.masks import Mask, read_mask
from minirembert.ops.array import Array
from minirembert.ops.embedding import check_ids


class Inputs(NamedTuple):
    """What the encoder needs of a call, checked, with the defaults filled in."""

    input_ids: Array | None  # (B, S), or None where inputs_embeds is given
    inputs_embeds: Any  # (B, S, E)
    token_type_ids: Array  # (B, S)
    position_ids: Array  # (1 or B, S)
    mask: Mask  # over the tokens of the past and these
    head_mask: Any  # (L, H): a factor for each layer and feature, or None
    encoder_hidden_states: Any  # (B, T, H) for cross-attention, or None
    encoder_mask: Mask
    past: list[LayerCache]  # one a layer
    use_cache: bool
    output_hidden_states: bool
    output_attentions: bool


def check_inputs(
    config: RemBertConfig,
    dtype: Any,
    input_ids: Any = None,
    attention_mask: Any = None,
    token_type_ids: Any = None,
    position_ids: Any = None,
    head_mask: Any = None,
    inputs_embeds: Any = None,
    encoder_hidden_states: Any = None,
    encoder_attention_mask: Any = None,
    past_key_values: Any = None,
    use_cache: bool | None = None,
    output_attentions: bool | None = None,
    output_hidden_states: bool | None = None,
) -> Inputs:
    """Raises ValueError for a wrong shape or kind, IndexError for an id outside its table, naming the argument."""
    if (input_ids is None) == (inputs_embeds is None):
        both = input_ids is not None
        raise ValueError(f"exactly one of input_ids and inputs_embeds is needed, got {'both' if both else 'neither'}")
    if input_ids is not None:
        input_ids = integers(input_ids, "input_ids")
        if input_ids.ndim == 1 and input_ids.size == 0:
            raise ValueError(f"the input is empty: input_ids has shape {input_ids.shape}, not (batch, sequence)")
        if input_ids.ndim != 2:
            raise ValueError(f"input_ids must have shape (batch, sequence), got {input_ids.shape}")
        check_ids(input_ids, config.vocab_size, "input_ids")
        batch, length = input_ids.shape
    else:
        inputs_embeds = states(inputs_embeds, "inputs_embeds", config.input_embedding_size, dtype)
        batch, length, _ = inputs_embeds.shape
    if batch == 0 or length == 0:
        raise ValueError(f"the input is empty: {batch} sequences of {length} tokens")

    past, past_length = read_cache(config, past_key_values, batch)
    keys, heads = past_length + length, config.num_attention_heads
    token_type_ids = np.zeros((batch, length), np.int64) if token_type_ids is None else token_type_ids
    token_type_ids = integers(token_type_ids, "token_type_ids")
    require_shape(token_type_ids, (batch, length), "token_type_ids")
    check_ids(token_type_ids, config.type_vocab_size, "token_type_ids")

    encoder_hidden_states, encoder_length = _encoder_states(config, encoder_hidden_states, past, batch, dtype)
    if encoder_length is None and encoder_attention_mask is not None:
        raise ValueError("encoder_attention_mask is of no use without encoder_hidden_states")
    return Inputs(
        input_ids,
        inputs_embeds,
        token_type_ids,
        _position_ids(config, position_ids, batch, length, past_length),
        read_mask(attention_mask, "attention_mask", batch, heads, length, keys, dtype, causal=config.is_decoder),
        _head_mask(config, head_mask, dtype),
        encoder_hidden_states,
        read_mask(encoder_attention_mask, "encoder_attention_mask", batch, heads, length, encoder_length or 0, dtype),
        past,
        _said("use_cache", use_cache, config) and config.is_decoder,
        _said("output_hidden_states", output_hidden_states, config),
        _said("output_attentions", output_attentions, config),
    )


def _said(name: str, value: Any, config: RemBertConfig) -> bool:
    """A switch: as the call says, else as the configuration does."""
    return bool(getattr(config, name) if flag(value, name) is None else value)


def _position_ids(config: RemBertConfig, position_ids: Any, batch: int, length: int, past_length: int) -> Array:
    """By default the tokens count on from the past, whatever the mask hides."""
    limit = config.max_position_embeddings
    if position_ids is None:
        if past_length + length > limit:
            before = f" after {past_length} in the cache" if past_length else ""
            raise ValueError(
                f"a sequence of {length} tokens{before} is longer than max_position_embeddings = {limit}; cut it or split it"
            )
        position_ids = np.arange(past_length, past_length + length)[None]
    position_ids = integers(position_ids, "position_ids")
    if position_ids.ndim == 1:
        position_ids = position_ids[None]
    if position_ids.shape not in ((batch, length), (1, length)):
        raise ValueError(f"position_ids must have shape ({batch}, {length}) or (1, {length}), got {position_ids.shape}")
    check_ids(position_ids, limit, "position_ids")
    return position_ids


def _encoder_states(
    config: RemBertConfig, encoder_states: Any, past: list[LayerCache], batch: int, dtype: Any
) -> tuple[Any, int | None]:
    """The states that cross-attention looks at, and how many there are: their keys and values may be in the cache."""
    cached = past[0].cross if past else None
    cached_length = None if cached is None else cached[0].shape[2]
    if encoder_states is None:
        if cached is not None and not config.add_cross_attention:
            raise ValueError("past_key_values has keys of an encoder, but the model has no cross-attention")
        return None, cached_length
    if not config.add_cross_attention:
        raise ValueError(
            "encoder_hidden_states need a decoder with cross-attention: is_decoder and add_cross_attention in the configuration"
        )
    encoder_states = states(encoder_states, "encoder_hidden_states", config.hidden_size, dtype)
    shape = encoder_states.shape
    if shape[0] != batch or shape[1] == 0 or cached_length not in (None, shape[1]):
        expected = f"({batch}, {'at least 1' if cached_length is None else cached_length}, {config.hidden_size})"
        raise ValueError(f"encoder_hidden_states must have shape {expected}, got {tuple(shape)}")
    return encoder_states, shape[1]


def _head_mask(config: RemBertConfig, head_mask: Any, dtype: Any) -> Array | None:
    """(h,) for all layers or (L, h) -> one factor for each layer and feature, (L, H)."""
    if head_mask is None:
        return None
    L, h = config.num_hidden_layers, config.num_attention_heads
    factors = rectangular(head_mask, "head_mask", dtype)
    if factors.shape not in ((h,), (L, h)):
        raise ValueError(f"head_mask must have shape ({h},) or ({L}, {h}), got {factors.shape}")
    return np.stack([factor_by_feature(row, config) for row in np.broadcast_to(factors, (L, h))])
