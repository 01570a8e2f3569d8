"""safetensors: eight bytes with the length of a header, the header in JSON, the numbers.

Read here and not by the safetensors library, which maps the file: the map and the copies out of it both count as memory of
the process, 2 x 2.3 GB for RemBERT. Written here because NumPy has no bfloat16, and the library would hold all of it in
memory once more. What is written is byte for byte what the library writes.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minirembert.checkpoint.tensors import (
    HEADER_LIMIT,
    NUMPY_TYPES,
    StoredTensor,
    Tensor,
    damaged,
    encoded,
    is_count,
    is_shape,
    shown,
    size_of,
)
from minirembert.files import parse_json

METADATA = {"format": "pt"}  # transformers 4.34 refuses a file without this


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file by name. Raises ValueError for a damaged file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise damaged(path, f"{size} bytes are too few for a safetensors file")
        (length,) = struct.unpack("<Q", start)
        if length > size - 8:
            raise damaged(path, f"its header should take {length:,} bytes, and the file has {size:,}")
        if length > HEADER_LIMIT:
            raise damaged(path, f"its header takes {length:,} bytes, and {HEADER_LIMIT:,} are the limit")
        header = parse_json(file.read(length), f"{path} is damaged or cut short: its header")
    header.pop("__metadata__", None)

    tensors = {name: _tensor(path, name, entry, 8 + length) for name, entry in header.items()}
    expected = 8 + length
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.offset, size_of(tensor.dtype, tensor.shape))):
        if tensor.offset != expected:
            raise damaged(path, f"{shown(tensor.name)} does not begin where the tensor before it ends")
        expected += size_of(tensor.dtype, tensor.shape)
    if expected != size:
        raise damaged(path, f"its header speaks of {expected:,} bytes, and the file has {size:,}")
    return tensors


def _tensor(path: Path, name: str, entry: Any, base: int) -> StoredTensor:
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise damaged(path, f"the entry of {shown(name)} in its header is not one of a tensor") from error
    if not isinstance(dtype, str) or dtype not in NUMPY_TYPES:
        raise damaged(path, f"{shown(name)} has the unknown dtype {shown(str(dtype)[:80])}")
    if not is_shape(shape):
        raise damaged(path, f"{shown(name)} has an impossible shape")
    if not (is_count(begin) and is_count(end)) or end - begin != size_of(dtype, tuple(shape)):
        raise damaged(path, f"the offsets of {shown(name)} do not fit its shape and dtype")
    return StoredTensor(path, name, dtype, tuple(shape), base + begin)


def write_safetensors(tensors: Mapping[str, tuple[Tensor, str]], path: Path) -> None:
    """Writes tensors, each with the dtype that it is to have in the file. Raises ValueError for one too large for it."""
    rank = list(NUMPY_TYPES)
    ordered = sorted(tensors.items(), key=lambda item: (-rank.index(item[1][1]), item[0]))
    header: dict[str, Any] = {"__metadata__": METADATA}
    end = 0
    for name, (tensor, dtype) in ordered:
        begin, end = end, end + size_of(dtype, tensor.shape)
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, (tensor, dtype) in ordered:
            for chunk in encoded(tensor, dtype):
                file.write(chunk)
