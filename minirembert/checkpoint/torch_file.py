"""PyTorch's files, `pytorch_model.bin`: a pickle that describes the tensors, and their numbers. PyTorch reads and writes them.

A pickle is a program. So `torch.load` is always called with `weights_only=True`, which makes tensors and calls nothing else.
Zip archives, which PyTorch writes since 1.6, are mapped into memory: their numbers come from the disk when a tensor is read.
Older files are read whole. How much time and memory PyTorch takes for a damaged file is not bounded here.
"""

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minirembert.checkpoint.tensors import (
    NUMPY_TYPES,
    Tensor,
    cast,
    damaged,
    encoded,
    from_bfloat16,
    require,
    shown,
    size_of,
)
from minirembert.ops.array import Array

# PyTorch's name of a dtype -> ours
DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32", "int16": "I16",
    "int8": "I8", "uint8": "U8", "bool": "BOOL", "complex64": "C64",
}  # fmt: skip
ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # how new and old files begin
EXPANSION = 2  # tensors may share numbers, but together hold at most this many times the file's bytes, and
EXTRA_BYTES = 2**20  # this many more: else a file of a kilobyte could ask for a terabyte


class TorchTensor(NamedTuple):
    """One that PyTorch has loaded or mapped. Its file must not change before it is read."""

    path: Path
    name: str
    tensor: Any

    @property
    def dtype(self) -> str:
        """One of NUMPY_TYPES."""
        return DTYPES[_dtype(self.tensor)]

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the tensor."""
        return tuple(self.tensor.shape)

    @property
    def offset(self) -> int:
        """An address in memory. It is the same for tensors that share their numbers."""
        return int(self.tensor.data_ptr())

    def read(self, dtype: Any = None) -> Array:
        """A copy of the numbers in `dtype`, or without it as they are stored (bfloat16 becomes float32).

        Raises ValueError, naming tensor and file, for one that `dtype` cannot hold.
        """
        if self.dtype == "BF16":
            import torch

            data = from_bfloat16(self.tensor.detach().view(torch.int16).numpy().view(np.uint16))
        else:
            data = self.tensor.numpy(force=True)
        wanted = data.dtype if dtype is None else np.dtype(dtype)
        array = cast(data, wanted, f"{self.path}: {shown(self.name)}")
        return np.array(array, order="C") if array is data else array


def read_torch(path: Path) -> dict[str, TorchTensor]:
    """The tensors of a file by name.

    Raises ValueError for a damaged file and for one that holds more than tensors, ImportError without torch.
    """
    require("torch", path)
    import torch

    with path.open("rb") as file:
        start = file.read(4)
    if start != ZIP and start[:1] != PICKLE:
        raise damaged(path, "it is neither a zip archive nor a file of PyTorch before 1.6")
    try:
        packed = _packed(path) if start == ZIP else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd about a file and does not keep PyTorch from reading it
            found = None if packed else torch.load(path, map_location="cpu", weights_only=True, mmap=start == ZIP)
    except Exception as error:  # PyTorch raises whatever it likes; its own text would be a page of advice
        raise damaged(path, _reason(error)) from None
    if packed:
        raise damaged(path, f"its member {shown(packed)} is packed, and PyTorch packs none")
    if not isinstance(found, dict):
        raise damaged(path, f"it holds a {type(found).__name__} instead of tensors by name")
    tensors = {name: _tensor(path, name, value) for name, value in found.items()}
    total, size = sum(size_of(t.dtype, t.shape) for t in tensors.values()), path.stat().st_size
    if total > EXPANSION * size + EXTRA_BYTES:
        raise damaged(path, f"its tensors repeat their numbers, {total:,} bytes out of a file of {size:,}")
    return tensors


def _packed(path: Path) -> str | None:
    """The first member of an archive that is packed. Where a file is mapped, PyTorch would take its bytes for numbers."""
    with zipfile.ZipFile(path) as archive:
        return next((m.filename for m in archive.infolist() if m.compress_type != zipfile.ZIP_STORED), None)


def _tensor(path: Path, name: Any, value: Any) -> TorchTensor:
    """`value`, if it is a tensor with numbers of its own in a dtype that weights can have."""
    import torch

    title = shown(str(name)[:200])
    if not isinstance(name, str) or type(value) not in (torch.Tensor, torch.nn.Parameter):
        raise damaged(path, f"under {title} it holds no tensor but a {type(value).__name__}")
    is_plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_nested
    if not is_plain or _dtype(value) not in DTYPES:
        raise damaged(path, f"{title} is a tensor of a kind that weights never have ({_dtype(value)})")
    return TorchTensor(path, name, value)


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _reason(error: Exception) -> str:
    """What PyTorch says is wrong with a file, as a part of a sentence."""
    text = str(error)
    asked = re.search(r"GLOBAL (\S+)", text)
    if asked:
        return f"its pickle asks for {shown(asked[1])}, which is no part of a tensor; nothing was run"
    said = " ".join(text.rpartition("WeightsUnpickler error: ")[2].split())
    return f"PyTorch cannot read it ({type(error).__name__}: {shown(said)})"


def write_torch(tensors: Mapping[str, tuple[Tensor, str]], path: Path) -> None:
    """Writes tensors, each with the dtype that it is to have in the file. They are all in memory while PyTorch writes.

    Raises ValueError for a number that is too large for its dtype, OSError where it cannot write, and as `check_torch` does.
    """
    check_torch(tensors)
    import torch

    content = {name: _to_torch(tensor, dtype) for name, (tensor, dtype) in tensors.items()}
    with path.open(
        "wb"
    ) as file:  # PyTorch would write a path's name into the file: the same weights make the same file
        try:
            torch.save(content, file)
        except RuntimeError as error:  # of its end, which does not stand where PyTorch expects it
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def check_torch(tensors: Mapping[str, tuple[Tensor, str]]) -> None:
    """Raises ValueError for a dtype that PyTorch's files do not have, ImportError without torch. Writes nothing."""
    require("torch", "pytorch_model.bin")
    for name, (_, dtype) in tensors.items():
        if dtype not in DTYPES.values():
            raise ValueError(f"PyTorch's files hold no {dtype}, which {shown(name)} has")


def _to_torch(tensor: Tensor, dtype: str) -> Any:
    import torch

    if dtype == "BF16":
        bits = np.frombuffer(bytearray().join(encoded(tensor, dtype)), "<i2")
        return torch.from_numpy(bits.reshape(tensor.shape)).view(torch.bfloat16)
    array = cast(tensor.read(), np.dtype(NUMPY_TYPES[dtype]), shown(tensor.name))
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))
