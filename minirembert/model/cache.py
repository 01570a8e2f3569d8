"""The cache of a decoder: keys and values of the tokens it has seen, so that the next token costs one token's work.

`past_key_values` has one entry a layer, each a tuple of arrays (B, h, T, d), as transformers 4.34 has it:

    (keys, values)                                 of the sequence so far
    (keys, values, cross keys, cross values)       and of the encoder's states, where the decoder has cross-attention

Nothing here is ever written to: a step returns a new cache and leaves the old one as it was, so that one prompt's cache may
be continued in several ways.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minirembert.config import RemBertConfig

KeysValues = tuple[Any, Any]  # both (B, T, H) inside the model


class LayerCache(NamedTuple):
    """One layer's part of the cache, as attention takes it."""

    own: KeysValues | None = None  # of the sequence so far
    cross: KeysValues | None = None  # of the encoder's states


def heads_apart(x: Any, num_heads: int) -> Any:
    """(B, T, H) -> (B, h, T, d), a view."""
    return x.reshape(*x.shape[:2], num_heads, -1).swapaxes(1, 2)


def heads_together(x: Any) -> Any:
    """(B, h, T, d) -> (B, T, H), a view if `heads_apart` made it."""
    batch, heads, length, size = x.shape
    return x.swapaxes(1, 2).reshape(batch, length, heads * size)


def read_cache(config: RemBertConfig, past: Any, batch: int) -> tuple[list[LayerCache], int]:
    """(one LayerCache a layer, the number of tokens in it) from a caller's `past_key_values`.

    Raises TypeError for another kind of cache, ValueError for arrays of the wrong number or shape.
    """
    if past is None:
        return [LayerCache()] * config.num_hidden_layers, 0
    if not isinstance(past, Sequence) or isinstance(past, str):
        raise TypeError(f"past_key_values must be a tuple with one entry a layer, got {type(past).__name__}")
    if len(past) != config.num_hidden_layers:
        raise ValueError(
            f"past_key_values has {len(past)} entries, but the model has {config.num_hidden_layers} layers"
        )
    sizes: dict[str, int] = {}
    layers = []
    for n, entry in enumerate(past):
        if not isinstance(entry, Sequence) or len(entry) not in (2, 4):
            found = len(entry) if isinstance(entry, Sequence) else type(entry).__name__
            raise ValueError(f"past_key_values[{n}] must hold 2 or 4 arrays, got {found}")
        for i, array in enumerate(entry):
            _check_array(config, array, f"past_key_values[{n}][{i}]", batch, sizes, "own" if i < 2 else "cross")
        layers.append(LayerCache((entry[0], entry[1]), (entry[2], entry[3]) if len(entry) == 4 else None))
    return layers, sizes.get("own", 0)


def _check_array(config: RemBertConfig, array: Any, name: str, batch: int, sizes: dict[str, int], kind: str) -> None:
    heads = config.num_attention_heads
    shape = tuple(getattr(array, "shape", ()))
    length = sizes.setdefault(kind, shape[2] if len(shape) == 4 else 0)
    expected = (batch, heads, length, config.hidden_size // heads)
    if shape != expected:
        raise ValueError(f"{name} must have shape {expected}, got {shape or type(array).__name__}")


def moved(layers: list[LayerCache], own_array: Callable[[Any], Any]) -> list[LayerCache]:
    """The cache as the model computes with it: (B, T, H), in the backend's arrays."""

    def both(pair: KeysValues | None) -> KeysValues | None:
        return None if pair is None else (heads_together(own_array(pair[0])), heads_together(own_array(pair[1])))

    return [LayerCache(both(layer.own), both(layer.cross)) for layer in layers]


def reorder(past: Sequence[Sequence[Any]], rows: Any) -> tuple[tuple[Any, ...], ...]:
    """The cache of the sequences `rows` of a batch, in that order: what beam search does to it."""
    rows = np.asarray(rows)
    return tuple(tuple(array[rows] for array in layer) for layer in past)
