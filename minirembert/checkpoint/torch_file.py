"""PyTorch's files, `pytorch_model.bin`: a pickle that describes the tensors, and runs of numbers that it refers to.

Since PyTorch 1.6 they are zip archives without compression: NAME/data.pkl, NAME/data/0, NAME/data/1 ... Before, several
pickles in a row: a magic number, a version, the machine's byte order, the description, the keys of the runs; then each run
behind its length. In both, the numbers lie in the file as they are, and are read from there.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minirembert.checkpoint.tensors import (
    HEADER_LIMIT,
    NUMPY_TYPES,
    StoredTensor,
    damaged,
    is_count,
    is_shape,
    shown,
    size_of,
    span,
)
from minirembert.checkpoint.torch_pickle import PickleError, Storage, View, unpickle
from minirembert.checkpoint.torch_zip import Member, read_directory

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # the first two pickles of an old file
EXPANSION = 2  # tensors may share numbers, but together hold at most this many times the file's bytes, and
EXTRA_BYTES = 2**20  # this many more: else a file of a kilobyte could ask for a terabyte


class Run(NamedTuple):
    """Where the numbers of a storage lie."""

    offset: int
    size: int  # bytes


def read_torch(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file by name. Raises ValueError for a damaged file and for one that is more than tensors."""
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    try:
        views, runs, order = _read_zip(path) if is_zip else _read_old(path)
    except PickleError as error:
        raise damaged(path, str(error)) from error
    if not isinstance(views, dict):
        raise damaged(path, f"it holds a {type(views).__name__} instead of tensors by name")
    tensors = {str(name): _tensor(path, name, view, runs, order) for name, view in views.items()}
    total, size = sum(size_of(t.dtype, t.shape) for t in tensors.values()), path.stat().st_size
    if total > EXPANSION * size + EXTRA_BYTES:
        raise damaged(path, f"its tensors repeat their numbers, {total:,} bytes out of a file of {size:,}")
    return tensors


def _read_zip(path: Path) -> tuple[Any, dict[str, Run], str]:
    """What the pickle in a zip archive makes, the runs by key, and the order of bytes."""
    members = read_directory(path)
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise damaged(path, f"it has {len(pickles)} pickles named NAME/data.pkl, and PyTorch's files have one")
    prefix = pickles[0].removesuffix("data.pkl")
    if members[pickles[0]].size > HEADER_LIMIT:
        raise damaged(path, f"its pickle takes more than {HEADER_LIMIT:,} bytes")
    views, _ = unpickle(_content(path, members[pickles[0]]))
    order = _byte_order(path, members[prefix + "byteorder"]) if prefix + "byteorder" in members else "<"
    data = prefix + "data/"
    return views, {n.removeprefix(data): Run(*m) for n, m in members.items() if n.startswith(data)}, order


def _byte_order(path: Path, member: Member) -> str:
    orders = {b"little": "<", b"big": ">"}
    content = _content(path, member._replace(size=min(member.size, 10)))
    if content not in orders:
        raise damaged(path, f"its byte order is neither little nor big but {content!r}")
    return orders[content]


def _content(path: Path, member: Member) -> bytes:
    with path.open("rb") as file:
        file.seek(member.offset)
        return file.read(member.size)


def _read_old(path: Path) -> tuple[Any, dict[str, Run], str]:
    """The same of a file that is no zip archive."""
    with path.open("rb") as file:
        start = file.read(min(HEADER_LIMIT, path.stat().st_size))  # Python takes memory for what it is asked to read
    try:
        magic, position = unpickle(start)
    except PickleError:
        magic = None
    if magic != MAGIC:
        raise damaged(path, "it is neither a zip archive nor a file of PyTorch before 1.6")
    version, position = unpickle(start, position)
    system, position = unpickle(start, position)
    if version != PROTOCOL or not isinstance(system, dict):
        raise damaged(path, "it says that it was written by a PyTorch that nobody knows")
    views, position = unpickle(start, position)
    keys, position = unpickle(start, position)
    if not isinstance(views, dict) or not isinstance(keys, list):
        raise damaged(path, "it does not hold tensors by name, and after them the keys of their numbers")
    order = ">" if system.get("little_endian") is False else "<"
    storages = {view.storage.key: view.storage for view in views.values() if isinstance(view, View)}
    return views, _runs(path, position, keys, storages), order


def _runs(path: Path, position: int, keys: list[Any], storages: dict[str, Storage]) -> dict[str, Run]:
    size = path.stat().st_size
    runs: dict[str, Run] = {}
    with path.open("rb") as file:
        for key in keys:
            if not isinstance(key, str) or key not in storages or key in runs:
                raise damaged(path, "its list of keys does not fit its tensors")
            file.seek(position)
            count = int.from_bytes(file.read(8), "little")  # little whatever the machine
            length = count * np.dtype(NUMPY_TYPES[storages[key].dtype]).itemsize
            if length > size - position - 8:
                raise damaged(
                    path, f"{count:,} numbers should follow byte {position:,}, and the file has {size:,} bytes"
                )
            runs[key] = Run(position + 8, length)
            position += 8 + length
    if position != size:
        raise damaged(path, f"its numbers end at byte {position:,}, and the file has {size:,}")
    return runs


def _tensor(path: Path, name: Any, view: Any, runs: dict[str, Run], order: str) -> StoredTensor:
    """The view, checked against its storage, and that against the file."""
    title = shown(str(name)[:200])
    if not isinstance(name, str) or not isinstance(view, View):
        raise damaged(path, f"under {title} it holds no tensor but a {type(view).__name__}")
    storage, shape, strides = view.storage, view.shape, view.strides
    run = runs.get(storage.key)
    if run is None:
        raise damaged(path, f"the numbers of {title} are missing")
    itemsize = np.dtype(NUMPY_TYPES[storage.dtype]).itemsize
    if storage.length * itemsize != run.size:
        raise damaged(path, f"{title} should have {storage.length:,} numbers, and {run.size:,} bytes are there")
    fits = is_shape(shape) and is_shape(strides) and len(shape) == len(strides) and is_count(view.offset)
    if not fits or (math.prod(shape) and view.offset + span(shape, strides) > storage.length):
        raise damaged(path, f"{title} has an impossible shape, stride or offset")
    rows = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    dense = all(n <= 1 or stride == row for n, stride, row in zip(shape, strides, rows, strict=True))
    offset = run.offset + (view.offset * itemsize if math.prod(shape) else 0)
    return StoredTensor(path, name, storage.dtype, shape, offset, None if dense else strides, order)
