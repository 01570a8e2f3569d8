"""Writing PyTorch's zip files without PyTorch: what `torch.load` reads, also with `weights_only=True`."""

import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from minirembert.checkpoint.tensors import Tensor, encoded, size_of
from minirembert.checkpoint.torch_pickle import STORAGES
from minirembert.checkpoint.torch_zip import LOCAL

ALIGNMENT = 64  # bytes; PyTorch can then map the numbers instead of copying them
ARCHIVE = "archive"
ZIP64_FROM = 2**30  # bytes; older sizes end at 2^32


def write_torch(tensors: Mapping[str, tuple[Tensor, str]], path: Path) -> None:
    """Writes tensors, each with the dtype that it is to have in the file. Raises ValueError for one too large for it."""
    check_torch(tensors)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_member("data.pkl"), _pickle(tensors))
        archive.writestr(_member("byteorder"), b"little")
        for key, (tensor, dtype) in enumerate(tensors.values()):
            member = _member(f"data/{key}")
            large = size_of(dtype, tensor.shape) > ZIP64_FROM
            member.extra = _padding(member, archive, large)
            with archive.open(member, "w", force_zip64=large) as file:
                for chunk in encoded(tensor, dtype):
                    file.write(chunk)
        archive.writestr(_member("version"), b"3\n")


def check_torch(tensors: Mapping[str, tuple[Tensor, str]]) -> None:
    """Raises ValueError for a dtype that PyTorch's files do not have."""
    for name, (_, dtype) in tensors.items():
        if dtype not in STORAGES.values():
            raise ValueError(f"PyTorch's files hold no {dtype}, which {name} has")


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"{ARCHIVE}/{name}")  # with a fixed date: the same weights make the same file


def _padding(member: zipfile.ZipInfo, archive: zipfile.ZipFile, large: bool) -> bytes:
    """A field that fills the local header up, so that the content begins at a multiple of ALIGNMENT."""
    assert archive.fp is not None
    fields = 4 + (20 if large else 0)  # the beginning of this one; in front of it, one with sizes in 64 bits
    begins = archive.fp.tell() + LOCAL.size + len(member.filename) + fields
    padding = -begins % ALIGNMENT
    return struct.pack("<2H", 0x4246, padding) + bytes(padding)  # the kind of field that PyTorch pads with, "FB"


def _pickle(tensors: Mapping[str, tuple[Tensor, str]]) -> bytes:
    """An OrderedDict from names to tensors, in the instructions of protocol 2."""
    storages = {dtype: name for name, dtype in STORAGES.items()}
    program = [b"\x80\x02", _global("collections", "OrderedDict"), b")R("]
    for key, (name, (tensor, dtype)) in enumerate(tensors.items()):
        count = 1
        strides = []
        for n in reversed(tensor.shape):
            strides.append(count)
            count *= max(n, 1)
        program += [
            _text(name), _global("torch._utils", "_rebuild_tensor_v2"), b"((",
            _text("storage"), _global("torch", storages[dtype]), _text(str(key)), _text("cpu"),
            _number(0 if 0 in tensor.shape else count), b"tQ",
            _number(0), _tuple(tensor.shape), _tuple(reversed(strides)), b"\x89", _global("collections", "OrderedDict"),
            b")RtR",
        ]  # fmt: skip
    return b"".join([*program, b"u."])


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    content = text.encode("utf-8")
    return b"X" + struct.pack("<I", len(content)) + content


def _number(number: int) -> bytes:
    return b"\x8a\x09" + number.to_bytes(9, "little", signed=True)


def _tuple(numbers: Iterable[int]) -> bytes:
    return b"(" + b"".join(_number(number) for number in numbers) + b"t"
