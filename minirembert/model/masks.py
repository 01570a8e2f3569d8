"""Who may see whom: from the masks a caller gives to what the attention op takes.

A mask says 1 to attend and 0 to hide, as bools, integers or floats within [0, 1]:

    (B, T)        for the keys of each sequence. A decoder hides the future as well
    (B, S, T)     for each query and key; nothing is added to it, not even a decoder's future
    (B, 1 or h, 1 or S, T)   the same for each head: booleans, or floats that are added to the scores

A fraction is taken as transformers 4.34 takes it, (1 - mask) * finfo.min, so 0.5 hides as well as 0 does beside a 1.
Outside [0, 1] the same formula would give one token all the attention (2) or overflow to NaN (-1): refused. So are 0 and 1
with four axes, unless they are booleans: 4.34 refuses four axes, 5.x adds the ones to the scores, and neither hides anything.
"""

from typing import Any, NamedTuple

import numpy as np

from minirembert.model.arrays import rectangular
from minirembert.ops.array import Array


class Mask(NamedTuple):
    """What hides keys from queries, in the words of the attention op; all three may be combined."""

    bias: Array | None = None  # broadcasts to (B, h, S, T): added to the scores, or boolean, True to attend
    key_lengths: Array | None = None  # (B,): padding on the right
    causal: bool = False  # the future is hidden; the last query sees the last key


def read_mask(
    values: Any, name: str, batch: int, heads: int, queries: int, keys: int, dtype: Any, causal: bool = False
) -> Mask:
    """The mask of `queries` queries over `keys` keys. Raises ValueError for a shape or a value that no mask has."""
    if values is None:
        return Mask(causal=causal)
    mask = rectangular(values, name)
    if mask.ndim == 4:
        return Mask(_explicit(mask, name, (batch, heads, queries, keys), dtype))
    if mask.shape not in ((batch, keys), (batch, queries, keys)):
        raise ValueError(f"{name} must have shape ({batch}, {keys}) or ({batch}, {queries}, {keys}), got {mask.shape}")
    _check_values(mask, name)
    causal = causal and mask.ndim == 2
    if (mask == 1).all():
        return Mask(causal=causal)
    if mask.ndim == 2:
        lengths = (mask == 1).sum(axis=1)
        if (mask == (np.arange(keys) < lengths[:, None])).all():  # padding on the right: less for a kernel to read
            return Mask(key_lengths=lengths, causal=causal)
    mask = mask[:, None, None, :] if mask.ndim == 2 else mask[:, None, :, :]
    return Mask((1 - mask.astype(dtype)) * np.finfo(dtype).min, causal=causal)


def _explicit(mask: Array, name: str, shape: tuple[int, int, int, int], dtype: Any) -> Array:
    """A mask with four axes, for the attention op as it is."""
    B, h, S, T = shape
    fits = all(n in allowed for n, allowed in zip(mask.shape, ((1, B), (1, h), (1, S), (T,)), strict=True))
    if not fits:
        raise ValueError(f"{name} must have shape ({B}, 1 or {h}, 1 or {S}, {T}), got {mask.shape}")
    if mask.dtype == np.bool_:
        return mask
    if mask.dtype.kind == "f" and (mask < 0).any() and not np.isnan(mask).any() and (mask < np.inf).all():
        return np.maximum(mask, np.finfo(dtype).min).astype(dtype)
    raise ValueError(
        f"{name} has four axes and {mask.dtype} values from {mask.min()} to {mask.max()}: is that added to the scores, or is "
        "0 to hide? Pass booleans (True to attend) or floats to be added, of which some are negative"
    )


def _check_values(mask: Array, name: str) -> None:
    if mask.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers within [0, 1], got {mask.dtype}")
    outside = ~((mask >= 0) & (mask <= 1))  # written so that NaN is outside
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(f"{name}{list(where)} is {mask[where].item()}, but a mask lies within [0, 1]")
