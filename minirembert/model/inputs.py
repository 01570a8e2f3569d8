"""From what a caller passes to what the encoder needs: defaults filled in, everything checked once, by name.

NumPy reads a negative id from the end of a table and repeats a mask of the wrong shape without a word, so nothing gets
past this file unchecked.

attention_mask: 1 to attend, 0 to hide, as bools, integers or floats within [0, 1]. A fraction is taken as 4.34 takes it,
(1 - mask) * finfo.min, so 0.5 hides as well as 0 does beside a 1. Outside [0, 1] the same formula would give one token
all the attention (2) or overflow to NaN (-1): refused, with the first such value and its place.
"""

from typing import Any, NamedTuple

import numpy as np

from minirembert.config import RemBertConfig
from minirembert.ops.array import Array
from minirembert.ops.embedding import check_ids


class Inputs(NamedTuple):
    input_ids: Array | None  # (B, S), or None where inputs_embeds is given
    inputs_embeds: Array | None  # (B, S, E)
    attention_bias: Array | None  # (B, 1, 1 or S, S): 0 to attend, finfo.min to hide; None: nothing hidden this way
    key_lengths: Array | None  # (B,) where the mask is padding on the right, and the bias is None
    token_type_ids: Array  # (B, S)
    position_ids: Array  # (1 or B, S)
    output_hidden_states: bool
    output_attentions: bool


def check_inputs(
    config: RemBertConfig,
    dtype: Any,
    input_ids: Any = None,
    attention_mask: Any = None,
    token_type_ids: Any = None,
    position_ids: Any = None,
    inputs_embeds: Any = None,
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
        inputs_embeds = rectangular(inputs_embeds, "inputs_embeds", dtype)
        if inputs_embeds.ndim != 3 or inputs_embeds.shape[2] != config.input_embedding_size:
            expected = f"(batch, sequence, {config.input_embedding_size})"
            raise ValueError(f"inputs_embeds must have shape {expected}, got {inputs_embeds.shape}")
        batch, length, _ = inputs_embeds.shape
    if batch == 0 or length == 0:
        raise ValueError(f"the input is empty: {batch} sequences of {length} tokens")

    if position_ids is None:
        if length > config.max_position_embeddings:
            raise ValueError(
                f"a sequence of {length} tokens is longer than max_position_embeddings = "
                f"{config.max_position_embeddings}; cut it or split it"
            )
        position_ids = np.arange(length)[None]
    position_ids = integers(position_ids, "position_ids")
    if position_ids.ndim == 1:
        position_ids = position_ids[None]
    if position_ids.shape not in ((batch, length), (1, length)):
        raise ValueError(f"position_ids must have shape ({batch}, {length}) or (1, {length}), got {position_ids.shape}")
    check_ids(position_ids, config.max_position_embeddings, "position_ids")

    token_type_ids = np.zeros((batch, length), np.int64) if token_type_ids is None else token_type_ids
    token_type_ids = integers(token_type_ids, "token_type_ids")
    require_shape(token_type_ids, (batch, length), "token_type_ids")
    check_ids(token_type_ids, config.type_vocab_size, "token_type_ids")

    attention_bias, key_lengths = _what_is_hidden(attention_mask, batch, length, dtype)
    return Inputs(
        input_ids,
        inputs_embeds,
        attention_bias,
        key_lengths,
        token_type_ids,
        position_ids,
        config.output_hidden_states if output_hidden_states is None else output_hidden_states,
        config.output_attentions if output_attentions is None else output_attentions,
    )


def _what_is_hidden(mask: Any, batch: int, length: int, dtype: Any) -> tuple[Array | None, Array | None]:
    """(bias, key lengths), one of them None: lengths where the mask is padding on the right, for that is less to read.

    The bias is (1 - mask) * finfo.min, as Hugging Face 4.34 has it: added to the scores, it leaves a hidden key no
    probability.
    """
    if mask is None:
        return None, None
    mask = rectangular(mask, "attention_mask")
    if mask.shape not in ((batch, length), (batch, length, length)):
        raise ValueError(
            f"attention_mask must have shape ({batch}, {length}) or ({batch}, {length}, {length}), got {mask.shape}"
        )
    _check_mask_values(mask)
    if (mask == 1).all():
        return None, None
    if mask.ndim == 2:
        lengths = (mask == 1).sum(axis=1)
        if (mask == (np.arange(length) < lengths[:, None])).all():
            return None, lengths
    mask = mask[:, None, None, :] if mask.ndim == 2 else mask[:, None, :, :]
    return (1 - mask.astype(dtype)) * np.finfo(dtype).min, None


def _check_mask_values(mask: Array) -> None:
    if mask.dtype.kind not in "biuf":
        raise ValueError(f"attention_mask must hold numbers within [0, 1], got {mask.dtype}")
    outside = ~((mask >= 0) & (mask <= 1))  # written so that NaN is outside
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(f"attention_mask{list(where)} is {mask[where].item()}, but a mask lies within [0, 1]")


def integers(values: Any, name: str) -> Array:
    """`values` as an integer array. Raises ValueError where they are something else (torch, too, refuses float ids)."""
    array = rectangular(values, name)
    if array.size == 0 and array.dtype == np.float64:
        return array.astype(np.int64)  # NumPy's guess for an empty list: what is wrong with it is not its kind
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold integers, got {array.dtype}")
    return array


def rectangular(values: Any, name: str, dtype: Any = None) -> Array:
    """`values` as an array. Raises ValueError where its rows differ in length."""
    try:
        return np.asarray(values, dtype)
    except ValueError as error:
        raise ValueError(f"{name} is not a rectangular array: {error}") from error


def require_shape(array: Array, shape: tuple[int, ...], name: str) -> None:
    if array.shape != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)}, got {array.shape}")
