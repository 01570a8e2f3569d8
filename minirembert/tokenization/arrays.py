"""Lists into arrays, of the type that their values have.

    [[5, 6], [7, 0]]   int64          [0.5, 2.75]   float64 for NumPy, PyTorch's default for PyTorch
    [True, False]      bool           arrays, and NumPy's scalars: their own floating type, never a narrower one

Whole numbers are int64 whatever they were, which is what models take. Nothing here knows about tokens.
"""

import numbers
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

OF_TOKENS = {"input_ids", "token_type_ids", "attention_mask", "special_tokens_mask", "offset_mapping"}


def require_tensor_type(tensor_type: Any) -> None:
    """Raises ValueError for anything but None, "np" and "pt"."""
    if tensor_type in (None, "np", "pt"):
        return
    if tensor_type in ("tf", "jax"):
        maker = {"tf": "tf.constant", "jax": "jax.numpy.array"}[tensor_type]
        raise ValueError(f"return_tensors={tensor_type!r} is not built in: take 'np' and give each array to {maker}")
    raise ValueError(f"return_tensors must be None, 'np' or 'pt', got {tensor_type!r}")


def import_torch() -> Any:
    """PyTorch. Raises ImportError, saying who needs it, where it is not installed."""
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "return_tensors='pt' needs PyTorch, which is not installed; 'np' gives NumPy arrays"
        ) from error
    return torch


def as_array(name: str, values: Any, tensor_type: str) -> Any:
    """As `to_array`, but what is an array already stays, or shares its memory with the tensor, whatever its type."""
    if tensor_type == "np":
        return values if isinstance(values, np.ndarray) else to_array(name, values, tensor_type)
    torch = import_torch()
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return torch.from_numpy(values)
    return values if isinstance(values, torch.Tensor) else to_array(name, values, tensor_type)


def to_array(name: str, values: Any, tensor_type: str) -> Any:
    """A value, or lists of lists of them to any depth, as one array: "np" for NumPy, "pt" for PyTorch.

    Raises ValueError, naming `name`, for lists of different lengths, for what is neither a number nor a truth value (NumPy
    also takes texts), and for integers outside int64 (NumPy also takes uint64); ImportError where PyTorch is not installed.
    """
    torch = import_torch() if tensor_type == "pt" else None
    shape, leaves, floats, mixed = _flat(name, values)
    kinds = set(map(type, leaves))
    if kinds and all(issubclass(kind, str) for kind in kinds) and torch is None:
        return np.array(leaves).reshape(shape)
    if wrong := next((kind for kind in kinds if not issubclass(kind, numbers.Real)), None):
        bad = next(leaf for leaf in leaves if type(leaf) is wrong)
        raise ValueError(f"{name}: {bad!r} is no number, and an array is asked for"[:300])
    if kinds and all(issubclass(kind, bool) for kind in kinds):
        array = np.array(leaves, dtype=np.bool_).reshape(shape)
    elif all(issubclass(kind, numbers.Integral) for kind in kinds):
        array = _integers(name, leaves, torch is None).reshape(shape)
    else:
        return _floats(name, leaves, floats, mixed, torch).reshape(shape)
    return array if torch is None else torch.from_numpy(array)


def _flat(name: str, values: Any) -> tuple[tuple[int, ...], list[Any], set[str], bool]:
    """The shape, the values in order as Python's own, the floating types of arrays among them, and whether others are."""
    rows: list[Any] = [values]
    shape: list[int] = []
    floats: set[str] = set()
    mixed = False
    while True:
        kinds = set(map(type, rows))
        arrays = {kind for kind in kinds if hasattr(kind, "tolist")}
        if arrays:
            mixed = mixed or arrays != kinds
            floats |= {_dtype(row) for row in rows if type(row) in arrays}
            rows = [row.tolist() if type(row) in arrays else row for row in rows]
            kinds = set(map(type, rows))
        lists = {kind for kind in kinds if issubclass(kind, list | tuple)}
        if not lists:
            return tuple(shape), rows, {dtype for dtype in floats if "float" in dtype}, mixed
        if lists != kinds:
            other = next(row for row in rows if type(row) not in lists)
            raise ValueError(f"{name}: lists beside {other!r}, which is no list, do not make one array"[:300])
        shape.append(require_equal_lengths(name, rows))
        rows = list(chain.from_iterable(rows))
        if not rows:
            return tuple(shape), rows, set(), False


def _dtype(array: Any) -> str:
    return str(getattr(array, "dtype", "")).removeprefix("torch.")


def _integers(name: str, values: list[Any], unsigned: bool) -> np.ndarray:
    try:
        return np.fromiter(values, np.int64, len(values))
    except OverflowError:
        if unsigned and min(values) >= 0 and max(values) < 2**64:
            return np.array(values, dtype=np.uint64)
        large = next(value for value in values if not -(2**63) <= value < 2**63)
        raise ValueError(f"{name}: the integer {large} is outside int64"[:300]) from None


def _floats(name: str, values: list[Any], dtypes: set[str], mixed: bool, torch: Any) -> Any:
    """In the widest type of the arrays that the values came from; values of no array count as the library's default."""
    try:
        plain = [float(value) for value in values]
    except OverflowError:
        raise ValueError(f"{name}: there is a number that is too large for a float") from None
    if torch is None:
        known = [dtype if hasattr(np, dtype) else "float32" for dtype in dtypes]  # NumPy has no bfloat16
        return np.array(plain, dtype=np.result_type(*known, *([np.float64] if mixed or not known else [])))
    wanted = [getattr(torch, dtype) for dtype in sorted(dtypes) if hasattr(torch, dtype)]
    dtype = torch.get_default_dtype() if mixed or not wanted else wanted[0]
    for other in wanted:
        dtype = torch.promote_types(dtype, other)
    return torch.tensor(plain, dtype=dtype)


def padded_array(rows: Sequence[Sequence[int]], width: int, fill: int, side: str) -> np.ndarray:
    """The rows in one array of int64, each filled up on `side`: much quicker than to fill lists up and turn them into one."""
    lengths = np.array([len(row) for row in rows])
    positions = np.arange(width)
    is_token = positions >= width - lengths[:, None] if side == "left" else positions < lengths[:, None]
    array = np.full(is_token.shape, fill, np.int64)
    array[is_token] = np.fromiter(chain.from_iterable(rows), np.int64, lengths.sum())
    return array


def require_equal_lengths(name: str, rows: Sequence[Sequence[Any]]) -> int:
    """The length of all rows. Raises ValueError where they differ."""
    lengths = set(map(len, rows))
    if len(lengths) > 1:
        short, long = min(lengths), max(lengths)
        if name == "overflowing_tokens":
            remedy = "do not ask for tensors"
        elif name in OF_TOKENS:
            remedy = "pass padding=True, or a max_length with truncation=True and padding='max_length'"
        else:
            what = f"{name}: lists of {short} to {long} values do not make one array"
            raise ValueError(
                f"{what}: padding fills only what a tokenizer makes, so fill these first (labels with -100)"
            )
        raise ValueError(f"{name}: sequences of {short} to {long} tokens do not make one array: {remedy}")
    return lengths.pop()
