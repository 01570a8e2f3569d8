"""Weights on disk: `model.safetensors`, under the names that Hugging Face uses.

The safetensors library checks and writes the files. Reading goes past it: it maps the file and copies out of the map,
and both count as memory of the process, 2 x 2.3 GB for RemBERT. Here each tensor is read from the file straight into the
array that the model will use.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from minirembert.files import atomic_file
from minirembert.ops.array import Array

WEIGHTS_FILE = "model.safetensors"
OBSOLETE = ("embeddings.position_ids",)  # a buffer in old checkpoints, computed nowadays
STORED_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class Entry(NamedTuple):
    """Where one tensor lies in a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the file

    def read(self, file: BinaryIO, dtype: np.dtype[Any]) -> Array:
        file.seek(self.offset)
        count = int(np.prod(self.shape, dtype=np.int64))
        array = np.fromfile(file, STORED_DTYPES[self.dtype], count)
        if self.dtype == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(dtype, copy=False).reshape(self.shape)


def save_weights(parameters: Mapping[str, Array], path: Path) -> None:
    """Writes a safetensors file, whole or not at all. Raises OSError where it cannot."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.ascontiguousarray(array) for name, array in parameters.items()}
    with atomic_file(path) as temporary:
        try:
            save_file(arrays, temporary, metadata={"format": "pt"})  # transformers 4.34 refuses a file without this key
        except SafetensorError as error:  # the library's name for a full disk
            raise OSError(str(error)) from error


def load_weights(
    path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: Any, base_prefix: str = ""
) -> tuple[dict[str, Array], list[str]]:
    """The tensors in `path` that `shapes` names, in `dtype`, and the stored names of the others.

    The names may have or lack `base_prefix`, on either side. Raises FileNotFoundError for a missing file, ValueError for
    a damaged one and for a tensor of the wrong shape or kind (which, expected, found).
    """
    entries = read_header(path)
    wanted = {name.removeprefix(base_prefix): name for name in shapes}
    found: dict[str, Array] = {}
    unused: list[str] = []
    with path.open("rb") as file:
        for stored, entry in entries.items():
            bare = stored.removeprefix(base_prefix)
            if bare in OBSOLETE:
                continue
            if bare not in wanted:
                unused.append(stored)
                continue
            name = wanted[bare]
            if entry.shape != shapes[name]:
                raise ValueError(f"{path}: {stored} should have shape {shapes[name]}, found {entry.shape}")
            if entry.dtype not in STORED_DTYPES:
                raise ValueError(f"{path}: {stored} should hold floating-point numbers, found {entry.dtype}")
            found[name] = entry.read(file, np.dtype(dtype))
    return found, unused


def has_output_head(folder: Path) -> bool:
    """Whether the model saved in `folder` can fill masks."""
    return any(name.startswith("cls.predictions.") for name in read_header(Path(folder) / WEIGHTS_FILE))


def read_header(path: Path) -> dict[str, Entry]:
    """Name -> place of every tensor in a safetensors file. Raises FileNotFoundError, or ValueError for a damaged file."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: {path.parent} has no saved weights")
    try:
        with safe_open(path, "np"):
            pass  # the library has checked the header against the size of the file
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or cut short: {error}") from error
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {
        name: Entry(entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
        for name, entry in header.items()
    }
