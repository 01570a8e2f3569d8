"""`tf_model.h5`, as transformers' TensorFlow models write it with Keras: HDF5, with a group for each layer of the model.

Reading: h5py says where the datasets lie, and NumPy reads the numbers when somebody asks for them. Datasets in chunks or
packed are refused: Keras writes none. How much time and memory libhdf5 takes for a damaged file is not bounded here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minirembert.checkpoint.names import from_keras, to_keras
from minirembert.checkpoint.tensors import (
    NUMPY_TYPES,
    StoredTensor,
    Tensor,
    cast,
    damaged,
    label,
    require,
    shown,
    size_of,
)

KERAS_VERSION = "2.14.0"
ATTRIBUTE_LIMIT = 64512  # bytes that Keras puts into one attribute; libhdf5 takes no more


def read_h5(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file, by their names and in their shapes in PyTorch. Links to other places are not followed.

    Raises ValueError for a damaged file and for one that Keras cannot have written, ImportError without h5py.
    """
    require("h5py", path)
    tensors: dict[str, StoredTensor] = {}
    for tensor in _datasets(path):
        torch_name, transposed = from_keras(tensor.name)
        if transposed and len(tensor.shape) == 2:
            tensor = tensor._replace(shape=tensor.shape[::-1], transposed=True)
        if torch_name in tensors:
            both = f"both {shown(tensor.name)} and {shown(tensors[torch_name].name)}"
            raise damaged(path, f"{both} are {shown(torch_name)}")
        tensors[torch_name] = tensor
    return tensors


def _datasets(path: Path) -> list[StoredTensor]:
    """Every dataset of a file, as it lies there."""
    import h5py

    found: list[StoredTensor] = []

    def visit(name: str, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset):
            found.append(_tensor(path, name, thing))

    with path.open("rb") as opened:  # by Python, so that libhdf5 puts no lock on the file
        try:
            with h5py.File(opened, "r") as file:
                file.visititems(visit)
        except _Refused as error:
            raise damaged(path, str(error)) from None
        except Exception as error:  # h5py raises whatever it likes
            said = shown(" ".join(str(error).split()))
            raise damaged(path, f"h5py cannot read it ({type(error).__name__}: {said})") from None
    return found


class _Refused(Exception):
    """The file has something that Keras never writes."""


def _tensor(path: Path, name: str, dataset: Any) -> StoredTensor:
    """Where a dataset lies. Raises _Refused for one that is not an array in one piece."""
    try:
        dtype = label(dataset.dtype)
    except ValueError:
        dtype = ""
    if not dtype or dataset.shape is None:
        raise _Refused(f"{shown(name)} holds something else than numbers")
    size, offset = size_of(dtype, dataset.shape), dataset.id.get_offset()
    if size == 0:
        return StoredTensor(path, name, dtype, dataset.shape, 0)
    if offset is None or dataset.id.get_storage_size() != size:
        raise _Refused(f"the numbers of {shown(name)} do not lie in one piece in it, as Keras writes them")
    if offset + size > path.stat().st_size:
        raise _Refused(f"{shown(name)} would take {size:,} bytes from byte {offset:,} on, past the end of the file")
    return StoredTensor(path, name, dtype, dataset.shape, offset, order=dataset.dtype.str[0])


def write_h5(tensors: Mapping[str, tuple[Tensor, str]], path: Path, model: str) -> None:
    """Writes tensors under the names and in the layout in which transformers' TF classes look for them.

    `model` is the first part of Keras's full names; nobody reads it. Raises ValueError for a tensor that is none of
    RemBERT's and for bfloat16, which h5 does not have; ImportError without h5py.
    """
    check_h5(tensors)
    import h5py

    places = {name: to_keras(name) for name in tensors}
    layers: dict[str, list[str]] = {}
    for place in places.values():
        layers.setdefault(place.layer, []).append(f"{model}/{place.weight}")
    with h5py.File(path, "w", libver="earliest") as file:
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = KERAS_VERSION
        _write_names(file, "layer_names", list(layers))
        for layer, weights in layers.items():
            _write_names(file.create_group(layer), "weight_names", weights)
        for name, (tensor, dtype) in tensors.items():
            place = places[name]
            shape = tensor.shape[::-1] if place.transposed else tensor.shape
            file[place.layer].create_dataset(
                f"{model}/{place.weight}",
                shape,
                "<" + NUMPY_TYPES[dtype],
                data=_content(tensor, dtype, place.transposed),
            )


def check_h5(tensors: Mapping[str, tuple[Tensor, str]]) -> None:
    """Raises what `write_h5` raises, apart from numbers that a dtype is too small for. Writes nothing."""
    require("h5py", "tf_model.h5")
    for name, (_, dtype) in tensors.items():
        to_keras(name)
        if dtype not in ("F16", "F32", "F64"):
            raise ValueError(f"tf_model.h5 holds no {dtype}, which {shown(name)} has: choose another dtype")


def _content(tensor: Tensor, dtype: str, transposed: bool) -> Any:
    array = cast(tensor.read(), np.dtype("<" + NUMPY_TYPES[dtype]), shown(tensor.name))
    return array.T if transposed else array


def _write_names(group: Any, attribute: str, names: list[str]) -> None:
    """As Keras does: a list that is too long for one attribute continues in NAME0, NAME1, ..."""
    encoded_names = np.array([name.encode() for name in names])
    parts = -(-encoded_names.nbytes // ATTRIBUTE_LIMIT)
    if parts <= 1:
        group.attrs[attribute] = encoded_names
    else:
        for number, part in enumerate(np.array_split(encoded_names, parts)):
            group.attrs[f"{attribute}{number}"] = part
