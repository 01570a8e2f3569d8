"""The prompts of a batch, checked: what generation continues."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minirembert.config import RemBertConfig
from minirembert.generation.settings import GenerationSettings, eos_ids, special_id
from minirembert.model.arrays import integers, rectangular, require_shape, states
from minirembert.ops.array import Array
from minirembert.ops.embedding import check_ids


class Prompt(NamedTuple):
    """B prompts of S tokens, the shorter ones padded on the left."""

    ids: Array  # (B, S) int64
    padding: Array  # (B,): how many tokens on the left of each prompt are padding
    token_type_ids: Array  # (B, S)
    encoder_hidden_states: Any  # (B, T, H), or None
    encoder_attention_mask: Array | None  # (B, T)
    past: Any  # the caller's cache of the first tokens, or None
    past_length: int


def read_prompt(
    config: RemBertConfig,
    dtype: Any,
    settings: GenerationSettings,
    input_ids: Any = None,
    attention_mask: Any = None,
    token_type_ids: Any = None,
    encoder_hidden_states: Any = None,
    encoder_attention_mask: Any = None,
    past_key_values: Any = None,
) -> Prompt:
    """Raises ValueError for a wrong shape or for padding that is not on the left, IndexError for an id outside its table."""
    if encoder_hidden_states is not None:
        encoder_hidden_states = states(encoder_hidden_states, "encoder_hidden_states", config.hidden_size, dtype)
    if encoder_attention_mask is not None:
        encoder_attention_mask = rectangular(encoder_attention_mask, "encoder_attention_mask")
        if encoder_attention_mask.ndim != 2:
            shape = encoder_attention_mask.shape
            raise ValueError(
                f"generate: encoder_attention_mask must have shape (batch, encoder's sequence), got {shape}"
            )
    if input_ids is None:
        ids = _only_bos(config, settings, 1 if encoder_hidden_states is None else len(encoder_hidden_states))
    else:
        ids = _read_ids(config, input_ids)
    if encoder_hidden_states is not None and len(encoder_hidden_states) != len(ids):
        raise ValueError(f"generate: {len(ids)} prompts, but encoder_hidden_states of {len(encoder_hidden_states)}")
    types = np.zeros_like(ids) if token_type_ids is None else integers(token_type_ids, "token_type_ids")
    require_shape(types, ids.shape, "token_type_ids")
    check_ids(types, config.type_vocab_size, "token_type_ids")
    padding = _padding(_mask(config, settings, ids, attention_mask))
    past_length = 0 if past_key_values is None else _past_length(past_key_values, ids.shape[1])
    return Prompt(ids, padding, types, encoder_hidden_states, encoder_attention_mask, past_key_values, past_length)


def _only_bos(config: RemBertConfig, settings: GenerationSettings, batch: int) -> Array:
    bos = special_id(config, settings, "bos_token_id")
    if bos is None:
        raise ValueError("generate: there is neither input_ids nor a bos_token_id to begin with")
    return np.full((batch, 1), bos)


def _read_ids(config: RemBertConfig, input_ids: Any) -> Array:
    if hasattr(input_ids, "keys"):
        raise TypeError("generate: the prompt comes as ids, or by name: generate(**encoding)")
    lengths = {len(row) for row in input_ids if hasattr(row, "__len__")} if isinstance(input_ids, Sequence) else ()
    if len(lengths) > 1:
        raise ValueError(
            f"generate: the rows of input_ids have {min(lengths)} to {max(lengths)} tokens: pad them on the left to one length "
            '(tokenizer.padding_side = "left") and give the attention_mask'
        )
    ids = integers(input_ids, "input_ids")
    if ids.ndim != 2 or ids.size == 0:
        raise ValueError(f"generate: input_ids must have shape (batch, sequence), neither of them 0, got {ids.shape}")
    check_ids(ids, config.vocab_size, "input_ids")
    return ids.astype(np.int64)


def _mask(config: RemBertConfig, settings: GenerationSettings, ids: Array, attention_mask: Any) -> Array:
    """Booleans (B, S). Without a mask, pad_token_id is padding, unless it is an eos as well."""
    if attention_mask is not None:
        mask = rectangular(attention_mask, "attention_mask")
        require_shape(mask, ids.shape, "attention_mask")
        if not np.isin(mask, (0, 1)).all():
            raise ValueError("generate: attention_mask must hold 1 for tokens and 0 for padding, nothing else")
        return mask == 1
    pad = special_id(config, settings, "pad_token_id")
    if pad is None or pad in eos_ids(config, settings):
        return np.ones(ids.shape, bool)
    return ids != pad


def _padding(mask: Array) -> Array:
    """How many tokens on the left of each row are padding."""
    padding = mask.shape[1] - mask.sum(axis=1)
    wrong = (mask != (np.arange(mask.shape[1]) >= padding[:, None])).any(axis=1) | (padding == mask.shape[1])
    if wrong.any():
        n = int(np.argmax(wrong))
        raise ValueError(
            f"generate: prompt {n} must be padding on the left, then at least one token to continue, but its attention_mask is "
            f'{_shortened(mask[n].astype(int).tolist())}; set tokenizer.padding_side = "left"'
        )
    return padding


def _shortened(values: list[int], most: int = 24) -> str:
    return " ".join(map(str, values[:most])) + (f" and {len(values) - most} more" if len(values) > most else "")


def _past_length(past: Any, prompt_length: int) -> int:
    """The tokens in a caller's cache; the model checks the rest of it."""
    try:
        length = int(past[0][0].shape[2])
    except (TypeError, IndexError, KeyError, AttributeError):
        return 0
    if length >= prompt_length:
        raise ValueError(
            f"generate: past_key_values has {length} tokens and input_ids {prompt_length}: the ids are the whole prompt, those "
            "in the cache included, and at least one must be new"
        )
    return length
