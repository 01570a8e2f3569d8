"""Which files in a folder are the weights, and loading them, whatever their format.

A folder may come from anywhere. A shard is opened by a plain name inside of the folder, never by a path; a file may be a
symbolic link, as all of them are in Hugging Face's cache.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minirembert.checkpoint.keras_h5 import read_h5
from minirembert.checkpoint.names import OBSOLETE, current_name
from minirembert.checkpoint.safetensors_file import read_safetensors
from minirembert.checkpoint.tensors import FLOATS, HEADER_LIMIT, Stored, damaged, shown, size_of
from minirembert.checkpoint.torch_file import read_torch
from minirembert.files import no_file, read_json
from minirembert.ops.array import Array

Reader = Callable[[Path], Mapping[str, Stored]]

WEIGHTS_FILE = "model.safetensors"
# A folder may have several of these; the first that is there counts, as in transformers 4.34 (which reads h5 last).
READERS: dict[str, Reader] = {WEIGHTS_FILE: read_safetensors, "pytorch_model.bin": read_torch, "tf_model.h5": read_h5}
INDEX = ".index.json"
ORDER = (WEIGHTS_FILE, WEIGHTS_FILE + INDEX, "pytorch_model.bin", "pytorch_model.bin" + INDEX, "tf_model.h5")


class Loaded(NamedTuple):
    """What was found in files for a model, and what was not."""

    found: dict[str, Array]
    unused: list[str]  # stored names
    mismatched: dict[str, tuple[int, ...]]  # names of the model whose tensors have another shape, and which


def weight_files(folder: Path) -> list[Path]:
    """The files with the weights in `folder`: one, or an index and its shards. Raises FileNotFoundError, ValueError."""
    first = _weights_in(folder)
    if not first.name.endswith(INDEX):
        return [first]
    return [first, *dict.fromkeys(folder / shard for shard in _read_index(first)[0].values())]


def read_tensors(place: Path) -> dict[str, Stored]:
    """The tensors of a file, or of the weight files in a folder, by PyTorch's names for them; no number is read yet.

    Raises FileNotFoundError where there is none, ValueError for a damaged one.
    """
    path = _weights_in(place) if place.is_dir() or not place.suffix else place
    if not path.is_file():
        raise FileNotFoundError(f"{no_file(path)}: {path.parent} has no saved weights")
    tensors = _read_shards(path) if path.name.endswith(INDEX) else _reader(path)(path)
    current: dict[str, Stored] = {}
    for name, tensor in tensors.items():
        if current_name(name) in current:
            raise damaged(path, f"both {shown(tensor.name)} and {shown(current[current_name(name)].name)} are there")
        current[current_name(name)] = tensor
    return current


def load_weights(
    place: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: Any,
    base_prefix: str = "",
    ignore_mismatched_sizes: bool = False,
) -> Loaded:
    """The tensors that `shapes` names, in `dtype`, from a file or from the weight files in a folder.

    The names may have or lack `base_prefix`, on either side. Raises FileNotFoundError for a missing file, ValueError for
    a damaged one and for a tensor of the wrong kind or shape (which, expected, found); with `ignore_mismatched_sizes` one
    of the wrong shape is only noted.
    """
    return load_tensors(read_tensors(place), shapes, dtype, base_prefix, ignore_mismatched_sizes)


def load_tensors(
    tensors: Mapping[str, Stored],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: Any,
    base_prefix: str = "",
    ignore_mismatched_sizes: bool = False,
) -> Loaded:
    """The same for tensors of `read_tensors`. All of them are checked before the first number is read."""
    chosen, unused, mismatched = choose_tensors(tensors, shapes, base_prefix, ignore_mismatched_sizes)
    return Loaded({name: tensor.read(np.dtype(dtype)) for name, tensor in chosen.items()}, unused, mismatched)


def choose_tensors(
    tensors: Mapping[str, Stored],
    shapes: Mapping[str, tuple[int, ...]],
    base_prefix: str = "",
    ignore_mismatched_sizes: bool = False,
) -> tuple[dict[str, Stored], list[str], dict[str, tuple[int, ...]]]:
    """The fields of `Loaded`, before any number is read: tensors in the place of arrays. Raises ValueError as it does."""
    wanted = {name.removeprefix(base_prefix): name for name in shapes}
    chosen: dict[str, Stored] = {}
    unused: list[str] = []
    mismatched: dict[str, tuple[int, ...]] = {}
    for stored, tensor in tensors.items():
        bare = stored.removeprefix(base_prefix)
        if bare in OBSOLETE:
            continue
        if bare not in wanted:
            unused.append(stored)
            continue
        name = wanted[bare]
        place = f"{tensor.path}: {shown(tensor.name)}"
        if name in chosen:
            raise ValueError(f"{place} is there twice, with and without {base_prefix} in front of its name")
        if tensor.dtype not in FLOATS.values():
            raise ValueError(f"{place} should hold floating-point numbers, found {tensor.dtype}")
        if tensor.shape == shapes[name]:
            chosen[name] = tensor
        elif ignore_mismatched_sizes:
            mismatched[name] = tensor.shape
        else:
            raise ValueError(f"{place} should have shape {shapes[name]}, found {tensor.shape}")
    return chosen, unused, mismatched


def has_output_head(folder: Path) -> bool:
    """Whether the model saved in `folder` can fill masks."""
    return any(name.startswith("cls.predictions.") for name in read_tensors(Path(folder)))


def _weights_in(folder: Path) -> Path:
    for name in ORDER:
        if (folder / name).is_file():
            return folder / name
    for name in ORDER:
        if (folder / name).exists() or (folder / name).is_symlink():
            raise FileNotFoundError(f"{no_file(folder / name)}: no saved weights are there")
    others = ", ".join(ORDER[1:])
    raise FileNotFoundError(f"{folder / WEIGHTS_FILE} does not exist, nor {others}: no saved weights are there")


def _reader(path: Path) -> Reader:
    for name, reader in READERS.items():
        if path.suffix == Path(name).suffix:
            return reader
    raise ValueError(f"{path} is no weight file: their names end in {', '.join(Path(name).suffix for name in READERS)}")


def _read_index(path: Path) -> tuple[dict[str, str], int | float | None]:
    """Which tensor is in which shard, and how many bytes they take together if the index says so."""
    index = read_json(path, HEADER_LIMIT)
    shards, metadata = index.get("weight_map"), index.get("metadata", {})
    if not isinstance(shards, dict) or not isinstance(metadata, dict):
        raise ValueError(f"{path} must have an object weight_map, and if it has metadata, an object there")
    suffix = Path(path.name.removesuffix(INDEX)).suffix
    for name, shard in shards.items():
        if not isinstance(shard, str) or not _is_plain(shard) or not shard.endswith(suffix):
            what = shown(str(shard)[:200])
            raise ValueError(f"{path}: the file of {shown(name)} must be a plain name ending in {suffix}, found {what}")
        if not (path.parent / shard).is_file():
            raise FileNotFoundError(f"{no_file(path.parent / shard)}, and {path.name} needs it")
    total = metadata.get("total_size")
    if total is not None and (isinstance(total, bool) or not isinstance(total, int | float)):
        raise ValueError(f"{path}: total_size must be a number, found {type(total).__name__}")
    return shards, total


def _is_plain(name: str) -> bool:
    """Whether `name` can only be a file in the folder it is looked up in, on any system."""
    return 0 < len(name) < 256 and name.isprintable() and not set(name) & set("/\\:") and name[0] != "."


def _read_shards(path: Path) -> dict[str, Stored]:
    """The tensors of all shards. Raises ValueError where index and shards do not agree."""
    shards, total = _read_index(path)
    tensors: dict[str, Stored] = {}
    for shard in dict.fromkeys(shards.values()):
        for name, tensor in _reader(path.parent / shard)(path.parent / shard).items():
            if name in tensors:
                raise damaged(path, f"{shown(name)} is both in {tensors[name].path.name} and in {shard}")
            if shards.get(name) != shard:
                raise damaged(path, f"it does not say that {shown(name)} is in {shard}, and it is")
            tensors[name] = tensor
    missing = [name for name in shards if name not in tensors]
    if missing:
        raise damaged(path, f"it says that {shown(missing[0])} is in {shards[missing[0]]}, and it is not")
    places = {(t.path, t.offset, t.shape): size_of(t.dtype, t.shape) for t in tensors.values()}
    size = sum(places.values())  # tensors that share their numbers count once
    if total is not None and total != size:
        raise damaged(path, f"it speaks of {total:,} bytes in all, and the shards have {size:,}")
    return tensors
