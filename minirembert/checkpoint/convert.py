"""One weight format into another, a tensor at a time."""

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from minirembert.checkpoint.check import COMPANIONS, check_model
from minirembert.checkpoint.folder import read_tensors
from minirembert.checkpoint.names import BASE_PREFIX, OBSOLETE
from minirembert.checkpoint.save import FORMATS, Plan, check_plan, parse_size, write_weights
from minirembert.checkpoint.tensors import FLOATS, Stored, size_of
from minirembert.files import atomic_folder, json_text, read_json
from minirembert.ops.array import Array
from minirembert.progress import Progress
from minirembert.progress import progress as counted


def convert(
    source: str | Path,
    target: str | Path,
    format: str,
    *,
    dtype: str | None = None,
    max_shard_size: str | int | None = None,
    progress: bool = False,
) -> None:
    """Writes the model in the folder `source` into the new folder `target`, its weights in another format.

    `format` is safetensors, pytorch or h5. Without `dtype` (float16, bfloat16, float32 or float64) every tensor keeps the
    dtype it has. Names become the ones of today: gamma and beta go, and position_ids too. config.json and the tokenizer's
    files are copied; with `dtype` config.json says so. Holds one tensor in memory at a time; for pytorch, those of one file,
    at most `max_shard_size` (5GB if it is not given).

    Raises FileNotFoundError and ValueError as loading does, and for all that is no RemBERT (see `check_model`); ValueError
    for a value that `dtype` is too small for and for what h5 cannot hold, ImportError for pytorch without torch and for h5
    without h5py, FileExistsError if `target` is there and not empty. Then `target` is as it was.
    """
    source, target = Path(source), Path(target)
    if dtype is not None and dtype not in FLOATS:
        raise ValueError(f"dtype must be one of {', '.join(FLOATS)}, got {dtype!r}")
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if max_shard_size is not None:
        parse_size(max_shard_size)  # refuses what it cannot read, before anything else is read
    if not source.is_dir():
        raise FileNotFoundError(f"{source} is not a folder")
    tensors = {name: t for name, t in read_tensors(source).items() if name.removeprefix(BASE_PREFIX) not in OBSOLETE}
    check_model(source, tensors)
    plan = _plan(tensors, dtype)
    check_plan(plan, format, max_shard_size)
    changed_config = None if dtype is None else _config_text(source / "config.json", dtype)
    with atomic_folder(target) as folder, _bar(tensors, progress) as bar:
        write_weights(_plan(tensors, dtype, bar), folder, format, max_shard_size)
        for name in COMPANIONS:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
        if changed_config is not None:
            (folder / "config.json").write_text(changed_config, encoding="utf-8")


def _config_text(path: Path, dtype: str) -> str:
    """The file with another dtype. Raises ValueError for what JSON cannot hold, like a NaN that Python's json wrote there."""
    config = read_json(path)
    config |= dict.fromkeys(("dtype", "torch_dtype") if "torch_dtype" in config else ("dtype",), dtype)
    return json_text(config, str(path))


def _plan(tensors: dict[str, Stored], dtype: str | None, bar: Progress | None = None) -> Plan:
    return {name: (Counted(t, bar), t.dtype if dtype is None else FLOATS[dtype]) for name, t in tensors.items()}


class Counted(NamedTuple):
    """A stored tensor that tells a progress bar when it is read."""

    tensor: Stored
    bar: Progress | None

    @property
    def name(self) -> str:
        """That of the tensor."""
        return self.tensor.name

    @property
    def dtype(self) -> str:
        """That of the tensor."""
        return self.tensor.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the tensor."""
        return self.tensor.shape

    def read(self, dtype: Any = None) -> Array:
        """Its numbers, as the tensor reads them; then the bar moves on by its bytes in the file."""
        array = self.tensor.read(dtype)
        if self.bar is not None:
            self.bar.advance(size_of(self.tensor.dtype, self.tensor.shape))
        return array


def _bar(tensors: dict[str, Stored], wanted: bool) -> Any:
    total = sum(size_of(tensor.dtype, tensor.shape) for tensor in tensors.values())
    return counted("converting", total, "bytes", unit_scale=True) if wanted else nullcontext()
