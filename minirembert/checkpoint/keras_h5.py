"""`tf_model.h5`, as transformers' TensorFlow models write it with Keras: HDF5, with a group for each layer of the model.

Reading: libhdf5 runs in a process of its own (`h5_child`), which says where the datasets lie. Its answer is checked against
the file's size like the header of any other format, and NumPy reads the numbers. Datasets in chunks or packed are refused:
Keras writes none.
"""

import os
import subprocess
import sys
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
    is_count,
    is_shape,
    label,
    shown,
    size_of,
)
from minirembert.files import parse_json

NO_H5PY = "needs the library h5py, which is not installed: pip install h5py"
CHILD = Path(__file__).with_name("h5_child.py")
TIME_LIMIT = 60  # seconds
KERAS_VERSION = "2.14.0"
ATTRIBUTE_LIMIT = 64512  # bytes that Keras puts into one attribute; libhdf5 takes no more


def read_h5(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file, by their names and in their shapes in PyTorch.

    Raises ValueError for a damaged file and for one that Keras cannot have written, ImportError without h5py.
    """
    answer = ask_child(path)
    if "error" in answer:
        raise damaged(path, answer["error"])
    tensors: dict[str, StoredTensor] = {}
    for name, dtype, shape, offset in answer["datasets"]:
        tensor = _tensor(path, name, dtype, shape, offset)
        torch_name, transposed = from_keras(name)
        if transposed and len(tensor.shape) == 2:
            rows, columns = tensor.shape
            tensor = tensor._replace(shape=(columns, rows), strides=(1, columns))
        if torch_name in tensors:
            raise damaged(path, f"both {shown(name)} and {shown(tensors[torch_name].name)} are {shown(torch_name)}")
        tensors[torch_name] = tensor
    end = 0
    for tensor in sorted(tensors.values(), key=lambda tensor: tensor.offset):
        if tensor.offset < end:
            raise damaged(path, f"{shown(tensor.name)} overlaps another dataset")
        end = tensor.offset + size_of(tensor.dtype, tensor.shape)
    return tensors


def _tensor(path: Path, name: str, dtype: str, shape: Any, offset: Any) -> StoredTensor:
    """A dataset as the child describes it, checked against the file."""
    if not is_shape(shape):
        raise damaged(path, f"{shown(name)} has an impossible shape")
    size = size_of(label(dtype), tuple(shape))
    if offset is None and size:
        raise damaged(path, f"the numbers of {shown(name)} were never written")
    if size and (not is_count(offset) or offset + size > path.stat().st_size):
        raise damaged(
            path, f"{shown(name)} would take {size:,} bytes from byte {offset:,} on, past the end of the file"
        )
    return StoredTensor(path, name, label(dtype), tuple(shape), offset if size else 0, None, dtype[0])


def ask_child(path: Path) -> dict[str, Any]:
    """The answer of `h5_child` about a file. Raises ValueError where it has none, ImportError without h5py."""
    from importlib.util import find_spec

    if find_spec("h5py") is None:
        raise ImportError(f"{path} {NO_H5PY}")
    try:
        code, answer = run_child(path)
    except subprocess.TimeoutExpired as error:
        raise damaged(path, f"libhdf5 did not finish with it within {TIME_LIMIT} seconds") from error
    if code != 0:
        raise damaged(path, f"libhdf5 could not cope with it (exit code {code})")
    return parse_json(answer, f"what h5_child said of {path}")


def run_child(path: Path) -> tuple[int, bytes]:
    """The exit code and the output of `h5_child`."""
    command = [sys.executable, "-P", str(CHILD), str(path.absolute())]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=TIME_LIMIT, check=False
    )
    return done.returncode, done.stdout


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
    from importlib.util import find_spec

    if find_spec("h5py") is None:
        raise ImportError(f"tf_model.h5 {NO_H5PY}")
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
