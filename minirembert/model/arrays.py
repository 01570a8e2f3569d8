"""What a caller gave, as an array of the kind and shape that is needed, or one sentence about what is wrong with it."""

from typing import Any

import numpy as np

from minirembert.ops.array import Array
from minirembert.scalars import is_integer, is_switch


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
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} is not a rectangular array: {error}") from error
    if dtype is None:
        return array
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got {array.dtype}")
    return array.astype(dtype, copy=False)


def require_shape(array: Array, shape: tuple[int, ...], name: str) -> None:
    """Raises ValueError, naming the array `name`, unless it has this shape."""
    if array.shape != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)}, got {array.shape}")


def states(values: Any, name: str, width: int, dtype: Any) -> Any:
    """Vectors (batch, sequence, width): a list becomes an array, a backend's own array stays what it is."""
    if isinstance(values, list | tuple | np.ndarray):
        values = rectangular(values, name, dtype)
    shape = tuple(getattr(values, "shape", ()))
    if len(shape) != 3 or shape[2] != width:
        raise ValueError(f"{name} must have shape (batch, sequence, {width}), got {shape or type(values).__name__}")
    return values


def flag(value: Any, name: str) -> Any:
    """A switch: True, False, or None for what the configuration says. Raises TypeError for anything else."""
    if value is None:
        return None
    if is_switch(value) or (is_integer(value) and value in (0, 1)):
        return bool(value)
    raise TypeError(f"{name} must be True or False, got {value!r}")
