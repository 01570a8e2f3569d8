"""Writing weights: one file, or shards with an index, whole or not at all."""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from minirembert.checkpoint.folder import INDEX, ORDER, WEIGHTS_FILE
from minirembert.checkpoint.keras_h5 import check_h5, write_h5
from minirembert.checkpoint.names import BASE_PREFIX
from minirembert.checkpoint.safetensors_file import write_safetensors
from minirembert.checkpoint.tensors import HeldTensor, Tensor, size_of
from minirembert.checkpoint.torch_file import check_torch, write_torch
from minirembert.files import WriteError, atomic_file, json_text
from minirembert.ops.array import Array

FORMATS = {"safetensors": WEIGHTS_FILE, "pytorch": "pytorch_model.bin", "h5": "tf_model.h5"}
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
MAX_SHARD_SIZE = "5GB"

Plan = Mapping[str, tuple[Tensor, str]]  # name -> a tensor, and its dtype in the file


def save_weights(parameters: Mapping[str, Array], path: Path) -> None:
    """Writes a safetensors file, whole or not at all. Raises OSError where it cannot."""
    plan = held(parameters)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        write_safetensors(plan, temporary)


def held(parameters: Mapping[str, Array]) -> dict[str, tuple[Tensor, str]]:
    """Arrays in memory, to be written in their own dtypes."""
    tensors = {name: HeldTensor(name, array) for name, array in parameters.items()}
    return {name: (tensor, tensor.dtype) for name, tensor in tensors.items()}


def write_weights(
    plan: Plan,
    folder: Path,
    format: str = "safetensors",
    max_shard_size: str | int | None = None,
    config: str | None = None,
) -> None:
    """Writes `plan` into `folder` as one file, or, where it takes more than `max_shard_size`, as shards and an index.

    `config` is the text of the config.json that goes with them: every file is written before the first takes its place.
    Weights that stood there before and would be read in the place of these, and shards that nothing names any more, are
    removed in the end. A kill leaves the old weights, the new ones, or, while shards take their places, none. Raises
    ValueError for a format or size that does not exist and what the format cannot hold, OSError where it cannot write.
    """
    check_plan(plan, format, max_shard_size)
    folder.mkdir(parents=True, exist_ok=True)
    name = FORMATS[format]
    limit = parse_size(MAX_SHARD_SIZE if max_shard_size is None else max_shard_size)
    groups = [plan] if format == "h5" else split(plan, limit)
    with ExitStack() as waiting:
        beside = None if config is None else waiting.enter_context(atomic_file(folder / "config.json"))
        write = _write_shards if len(groups) > 1 else _write_one
        written = write(groups, folder, name, waiting)
        if beside is not None and config is not None:
            try:
                beside.write_text(config, encoding="utf-8")
            except OSError as error:
                raise WriteError(folder / "config.json", error) from error
        if len(groups) > 1:
            (folder / (name + INDEX)).unlink(missing_ok=True)  # an old index must not name new shards
    _remove_stale(folder, name, written)


def check_plan(plan: Plan, format: str, max_shard_size: str | int | None = None) -> None:
    """Raises the ValueErrors of `write_weights` for what it is asked for, and ImportError without the library of the format.

    Writes nothing.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if not plan:
        raise ValueError("there are no tensors to write")
    if max_shard_size is not None:
        parse_size(max_shard_size)
    if format == "h5":
        if max_shard_size is not None:
            raise ValueError("tf_model.h5 is written as one file: leave out max_shard_size")
        check_h5(plan)
    if format == "pytorch":
        check_torch(plan)


def split(plan: Plan, limit: int) -> list[Plan]:
    """Groups of tensors in their order, each of at most `limit` bytes, or of one tensor that is larger."""
    groups: list[dict[str, tuple[Tensor, str]]] = [{}]
    filled = 0
    for name, (tensor, dtype) in plan.items():
        size = size_of(dtype, tensor.shape)
        if groups[-1] and filled + size > limit:
            groups.append({})
            filled = 0
        groups[-1][name] = (tensor, dtype)
        filled += size
    return list(groups)


def parse_size(size: str | int) -> int:
    """Bytes of "500MB" (10^6 bytes each) or "2GiB" (2^30). Raises ValueError for anything else."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]*)", str(size).strip())
    if match and match[2].upper() in UNITS:
        count = int(float(match[1]) * UNITS[match[2].upper()])
        if count > 0:
            return count
    raise ValueError(f"max_shard_size must be a size like 500MB, 2GiB or a positive number of bytes, got {size!r}")


def _write(plan: Plan, path: Path, suffix: str) -> None:
    if suffix == ".safetensors":
        write_safetensors(plan, path)
    elif suffix == ".bin":
        write_torch(plan, path)
    else:
        write_h5(plan, path, _keras_model(plan))


def _write_one(groups: list[Plan], folder: Path, name: str, waiting: ExitStack) -> set[str]:
    """Writes one file, which takes its place when `waiting` is left. Returns the names of the files."""
    path = folder / name
    _write(groups[0], waiting.enter_context(atomic_file(path)), path.suffix)
    return {name}


def _write_shards(groups: list[Plan], folder: Path, name: str, waiting: ExitStack) -> set[str]:
    """The same for shards and their index, which takes its place after them."""
    stem, suffix = Path(name).stem, Path(name).suffix
    names = [f"{stem}-{number:05}-of-{len(groups):05}{suffix}" for number in range(1, len(groups) + 1)]
    sizes = [size_of(dtype, tensor.shape) for group in groups for tensor, dtype in group.values()]
    shards = {tensor: shard for shard, group in zip(names, groups, strict=True) for tensor in group}
    index = {"metadata": {"total_size": sum(sizes)}, "weight_map": shards}
    temporary = waiting.enter_context(atomic_file(folder / (name + INDEX)))
    temporary.write_text(json_text(index, name + INDEX), encoding="utf-8")
    places = [folder / shard for shard in names]
    for place, group in zip(places, groups, strict=True):
        _write(group, waiting.enter_context(atomic_file(place)), suffix)
    return {*names, name + INDEX}


def _remove_stale(folder: Path, name: str, written: set[str]) -> None:
    """Files of an earlier save that a loader would prefer to those now written, and shards of the same format."""
    last = name if name in written else name + INDEX
    shard = re.compile(rf"{re.escape(Path(name).stem)}-[0-9]{{5}}-of-[0-9]{{5}}{re.escape(Path(name).suffix)}")
    before = ORDER[: ORDER.index(last)]
    for path in list(folder.iterdir()):
        is_index_of_same = path.name == name + INDEX
        if path.is_dir():  # somebody else's, whatever its name: no loader takes a folder for weights
            continue
        if path.name not in written and (path.name in before or is_index_of_same or shard.fullmatch(path.name)):
            path.unlink()


def _keras_model(plan: Plan) -> str:
    """The name that Keras gives to the model with these tensors."""
    tops = {name.removeprefix(BASE_PREFIX).split(".")[0] for name in plan}
    heads = {"cls": "masked_lm", "classifier": "sequence_classification", "qa_outputs": "question_answering"}
    return next((f"tf_rem_bert_for_{task}" for head, task in heads.items() if head in tops), "tf_rem_bert_model")
