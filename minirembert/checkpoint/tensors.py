"""Tensors that lie in files or in memory, and the number formats that files hold.

What a file says of a tensor is checked against the file's size before a `StoredTensor` is made of it; its numbers are read
when somebody asks for them, straight from the file into one array. Formats go by the names that safetensors gives them.
"""

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from minirembert.ops.array import Array

# Name in files -> NumPy's type, in the order in which the safetensors library ranks them. NumPy has neither bfloat16 nor
# the 8-bit floats: their bits are read as integers.
NUMPY_TYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "F8_E5M2": "u1", "F8_E4M3": "u1", "I16": "i2", "U16": "u2", "F16": "f2",
    "BF16": "u2", "I32": "i4", "U32": "u4", "F32": "f4", "C64": "c8", "F64": "f8", "I64": "i8", "U64": "u8",
}  # fmt: skip
FLOATS = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}
HEADER_LIMIT = 2 * 2**20  # bytes of a file's table of contents; RemBERT's takes about 100,000
MOST_DIMENSIONS = 32
CHUNK = 2**20  # numbers converted at a time


class Tensor(Protocol):
    """What can be written: a tensor in memory or in a file."""

    @property
    def name(self) -> str:
        """What it is called in the file."""

    @property
    def dtype(self) -> str:
        """One of NUMPY_TYPES."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its axes in PyTorch's order."""

    def read(self, dtype: Any = None) -> Array:
        """The numbers in `dtype`, or without it as they are stored. Raises ValueError for one that `dtype` cannot hold."""


class Stored(Tensor, Protocol):
    """One in a file, whoever reads it."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def offset(self) -> int:
        """Where its numbers begin: tensors of one file that share their numbers begin at the same place."""


class StoredTensor(NamedTuple):
    """Where one tensor lies in a file that is read here."""

    path: Path
    name: str  # in the file
    dtype: str  # one of NUMPY_TYPES
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the file to the first number
    transposed: bool = False  # a matrix that lies there column after column
    order: str = "<"  # ">": the high byte comes first

    def read(self, dtype: Any = None) -> Array:
        """The numbers in `dtype`, or without it as they are stored (bfloat16 becomes float32).

        Raises ValueError, naming tensor and file, for one that `dtype` cannot hold, and for a file that has changed.
        """
        count = math.prod(self.shape)
        data = np.fromfile(self.path, self.order + NUMPY_TYPES[self.dtype], count, offset=self.offset)
        if data.size < count:
            raise damaged(self.path, f"the numbers of {shown(self.name)} end too soon")
        if self.dtype == "BF16":
            data = from_bfloat16(data)
        if self.transposed:
            data = np.ascontiguousarray(data.reshape(self.shape[::-1]).T)
        wanted = data.dtype.newbyteorder("=") if dtype is None else np.dtype(dtype)
        return cast(data, wanted, f"{self.path}: {shown(self.name)}").reshape(self.shape)


class HeldTensor(NamedTuple):
    """One in memory."""

    name: str
    array: Array

    @property
    def dtype(self) -> str:
        """One of NUMPY_TYPES."""
        return label(self.array.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array."""
        return self.array.shape

    def read(self, dtype: Any = None) -> Array:
        """The array itself, or a copy in another `dtype`. Raises ValueError for a number that `dtype` cannot hold."""
        return self.array if dtype is None else cast(self.array, np.dtype(dtype), shown(self.name))


def label(dtype: Any) -> str:
    """The name in files of a NumPy dtype. Raises ValueError for one that files cannot hold."""
    code = np.dtype(dtype).str[1:].replace("b1", "?")
    for name, numpy_type in NUMPY_TYPES.items():
        if numpy_type == code:
            return name
    raise ValueError(f"a weight file cannot hold an array of dtype {np.dtype(dtype)}")


def size_of(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes."""
    return math.prod(shape) * np.dtype(NUMPY_TYPES[dtype]).itemsize


def is_shape(value: Any) -> bool:
    """Whether `value`, which came from a file, is a list of sizes that an array can have."""
    if not isinstance(value, list | tuple) or len(value) > MOST_DIMENSIONS:
        return False
    return all(is_count(n) for n in value) and math.prod(max(n, 1) for n in value) < 2**56


def is_count(value: Any) -> bool:
    """Whether `value`, which came from a file, is a number of bytes or of entries, not of many petabytes."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**56


def encoded(tensor: Tensor, dtype: str) -> Iterator[memoryview]:
    """The bytes of a tensor in a file of ours, little end first, a chunk at a time. Raises ValueError as `cast` does."""
    array = np.ascontiguousarray(tensor.read()).reshape(-1)
    name = shown(tensor.name)
    for start in range(0, array.size, CHUNK):
        chunk = array[start : start + CHUNK]
        if dtype == "BF16":
            data = to_bfloat16(chunk, name)
        else:
            data = cast(chunk, np.dtype("<" + NUMPY_TYPES[dtype]), name)
        yield np.ascontiguousarray(data).view(np.uint8).data


def cast(array: Array, dtype: np.dtype[Any], place: str) -> Array:
    """`array` in `dtype`, rounded to nearest. Raises ValueError for a finite number that would become infinite."""
    if array.dtype == dtype:
        return array
    result = np.empty(array.shape, dtype)
    source, target = array.reshape(-1), result.reshape(-1)
    for start in range(0, source.size, CHUNK):
        part = slice(start, start + CHUNK)
        with np.errstate(over="ignore", invalid="ignore"):  # invalid: a signalling NaN becomes a quiet one
            target[part] = source[part]
        if dtype.kind == "f" and dtype.itemsize < source.itemsize:
            _check_finite(source[part], np.isinf(target[part]), str(dtype.newbyteorder("=")), place)
    return result


def _check_finite(exact: Array, infinite: Array, dtype: str, place: str) -> None:
    lost = infinite & np.isfinite(exact)
    if lost.any():
        raise ValueError(f"{place} holds {exact[lost][0]:.4g}, which is too large for {dtype}")


def from_bfloat16(bits: Array) -> Array:
    """bfloat16 is the upper half of a float32."""
    wide = bits.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def to_bfloat16(array: Array, place: str) -> Array:
    """The bits of bfloat16, as 16-bit integers: rounded once, to nearest, ties to even. NaN stays NaN, and quiet.

    Raises ValueError for a finite number that would become infinite.
    """
    exact = np.asarray(array, np.float64 if array.dtype == np.float64 else np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        single = exact.astype(np.float32)
        bits = single.view(np.uint32).copy()
        if exact.dtype == np.float64:
            # to float32 by "round to odd", so that the second rounding sees what the first one lost: cut off, mark
            bits -= np.abs(single.astype(np.float64)) > np.abs(exact)
            bits |= (single != exact) & ~np.isnan(exact)
    halves = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    halves[np.isnan(single)] = ((bits >> 16) | 0x40).astype("<u2")[np.isnan(single)]
    _check_finite(exact, halves & 0x7FFF == 0x7F80, "bfloat16", place)
    return halves


def require(library: str, what: str | Path) -> None:
    """Raises ImportError, saying that `what` needs it, where a library is not installed. Does not import it."""
    if importlib.util.find_spec(library) is None:
        raise ImportError(f"{what} needs the library {library}, which is not installed: pip install {library}")


def damaged(path: Path, reason: str) -> ValueError:
    """The error for a file that is not what its name says; `reason` is a clause."""
    return ValueError(f"{path} is damaged or cut short: {reason}")


def shown(name: str) -> str:
    """A name from a file, fit for a sentence."""
    short = name if len(name) <= 80 else name[:77] + "..."
    return short if short.isprintable() and short else repr(short)
