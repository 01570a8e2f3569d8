"""What a caller gave, as an array of the kind and shape that is needed, or one sentence about why it is none."""

from typing import Any

import numpy as np

from minirembert.ops.array import Array


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


def states(values: Any, name: str, width: int, dtype: Any) -> Any:
    """Vectors (batch, sequence, width): what is no array yet becomes one, a backend's own array stays what it is."""
    if isinstance(values, list | tuple | np.ndarray):
        values = rectangular(values, name, dtype)
    shape = tuple(getattr(values, "shape", ()))
    if len(shape) != 3 or shape[2] != width:
        raise ValueError(f"{name} must have shape (batch, sequence, {width}), got {shape or type(values).__name__}")
    return values
