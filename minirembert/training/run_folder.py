"""A run on disk, made so that a kill at any moment costs at most the steps since the last checkpoint.

OUT/run.json                        the settings; a folder belongs to one run
OUT/checkpoints/step-000200/        weights, optimizer state, step: appears whole, by a rename
OUT/metrics.jsonl                   one line a record; lines after the checkpoint are dropped on resume
OUT/model.safetensors, config.json, ...     the result, at the end

Anything else that lies there, a copy of a checkpoint say, belongs to somebody: it is neither read nor removed.
"""

import json
import math
import re
import shutil
from collections.abc import Container, Mapping
from pathlib import Path
from typing import IO, Any, Self

from minirembert.checkpoint import load_weights, save_weights
from minirembert.files import atomic_folder, json_text, unique_keys, write_text_atomically
from minirembert.ops.array import Array
from minirembert.scalars import is_integer, plain
from minirembert.training.optimizer import AdamW

CHECKPOINT = re.compile(r"step-([0-9]{6,18})")
WEIGHTS, OPTIMIZER = "model.safetensors", "optimizer.safetensors"
LEFTOVER = re.compile(r"\..+\.[0-9]+\.tmp")  # as `files.atomic_file` names them


class RunFolder:
    """The folder of one run. In a `with` statement, it is free for other processes again at the end.

    Raises FileExistsError if `path` holds anything but this very run, BlockingIOError while another process works on it.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.metrics_path = path / "metrics.jsonl"
        self._checkpoints = path / "checkpoints"
        self._is_new = False
        run_file = path / "run.json"
        text = json_text(_as_stored(settings), "the settings of a run", sort_keys=True)
        if run_file.is_file():
            self._require_same(run_file, json.loads(text))
        elif path.exists() and not _is_free(path):
            raise FileExistsError(f"{path} exists and is not a run of minirembert: choose another output folder")
        else:
            path.mkdir(parents=True, exist_ok=True)
            write_text_atomically(run_file, text)
            self._is_new = True
        self._lock = _lock(path)
        for leftover in [*path.glob(".*.tmp"), *self._checkpoints.glob(".*.tmp")]:  # of a run that was killed
            if LEFTOVER.fullmatch(leftover.name) and not leftover.is_symlink():
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Gives the folder free for others. What fails before the first checkpoint takes a folder made for it along."""
        if kind is not None and self._is_new and not self.latest_step():
            shutil.rmtree(self.path)
        if self._lock is not None:
            self._lock.close()

    def _require_same(self, run_file: Path, settings: dict[str, Any]) -> None:
        stored = _as_stored(_json_object(run_file.read_bytes(), str(run_file)))
        for key in sorted({*settings, *stored}):
            if settings.get(key) != stored.get(key):
                raise FileExistsError(
                    f"{self.path} holds another run: its {key} is {_short(stored.get(key))}, "
                    f"this one's is {_short(settings.get(key))}; choose another output folder"
                )

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def latest_step(self) -> int:
        """The number of steps in the newest complete checkpoint; 0 without one."""
        return max(self._complete(), default=0)

    def require_room(self, steps: Container[int]) -> None:
        """Raises FileExistsError where something else lies in the place of the checkpoint after one of `steps`."""
        for step, path in self._named_like_ours().items():
            if step in steps:
                self._require_room(path)

    def save(self, optimizer: AdamW) -> None:
        """A checkpoint after `optimizer.step_count` steps; older ones go once it stands."""
        if optimizer.step_count in self._complete():
            return
        folder = self._folder(optimizer.step_count)
        self._require_room(folder)
        with atomic_folder(folder) as temporary:
            save_weights(optimizer.weights(), temporary / WEIGHTS)
            save_weights(optimizer.state(), temporary / OPTIMIZER)
        for step, old in self._complete().items():
            if step != optimizer.step_count:
                shutil.rmtree(old)

    def restore(self, optimizer: AdamW) -> int:
        """Loads the newest checkpoint into it, and forgets metrics written after it. Returns its step, or 0."""
        step = self.latest_step()
        if step:
            folder = self._folder(step)
            weights = _load_all(folder / WEIGHTS, optimizer.weights())
            optimizer.load(weights, _load_all(folder / OPTIMIZER, optimizer.state()), step)
        kept = [_line(record) for record in self.metrics() if record["step"] <= step]
        write_text_atomically(self.metrics_path, "".join(kept))
        return step

    def _folder(self, step: int) -> Path:
        return self._checkpoints / f"step-{step:06d}"

    def _require_room(self, folder: Path) -> None:
        is_free = folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())
        if (folder.exists() or folder.is_symlink()) and not is_free and not _is_checkpoint(folder):
            raise FileExistsError(f"{folder} is no checkpoint of this run, and one has to go there: move it away")

    def _complete(self) -> dict[int, Path]:
        """Step -> checkpoint."""
        return {step: path for step, path in self._named_like_ours().items() if _is_checkpoint(path)}

    def _named_like_ours(self) -> dict[int, Path]:
        """Step -> what has the name of its checkpoint, which a stranger may have too."""
        there = self._checkpoints.iterdir() if self._checkpoints.is_dir() else ()
        matches = [match for match in (CHECKPOINT.fullmatch(path.name) for path in there) if match]
        return {int(m[1]): self._checkpoints / m[0] for m in matches if m[0] == self._folder(int(m[1])).name}

    # --- results and metrics --------------------------------------------------------------------------------------

    def write_json(self, name: str, values: Any) -> None:
        """Writes OUT/name, whole or not at all."""
        write_text_atomically(self.path / name, json_text(values, name, readable=True))

    def record(self, **values: Any) -> None:
        """Appends one line to metrics.jsonl. A number that is not finite is written as null: JSON has none."""
        line = _line(values)
        with self.metrics_path.open("a", encoding="utf-8") as file:
            file.write(line)

    def metrics(self) -> list[dict[str, Any]]:
        """Every whole line of metrics.jsonl; a kill may have left half of one at the end.

        Raises ValueError, with the file and the line, for one that is not a record of a step.
        """
        if not self.metrics_path.is_file():
            return []
        lines = self.metrics_path.read_bytes().split(b"\n")[:-1]
        records = []
        for number, line in enumerate(lines, start=1):
            record = _json_object(line, f"{self.metrics_path}, line {number}")
            if not is_integer(record.get("step")):
                raise ValueError(f"{self.metrics_path}, line {number} is damaged: it has no step")
            records.append(record)
        return records


def _load_all(file: Path, like: Mapping[str, Array]) -> dict[str, Array]:
    """An array from `file` for each of `like`, in its dtype. Raises ValueError for one that is missing."""
    dtype = next(iter(like.values())).dtype
    found = load_weights(file, {name: array.shape for name, array in like.items()}, dtype).found
    missing = [name for name in like if name not in found]
    if missing:
        raise ValueError(f"{file} lacks {missing[0]}: delete {file.parent} to start over")
    return found


def _is_checkpoint(path: Path) -> bool:
    """A folder, and no link to one, that has a checkpoint's files, or what is left of them."""
    return not path.is_symlink() and path.is_dir() and any((path / name).exists() for name in (WEIGHTS, OPTIMIZER))


def _line(record: Mapping[str, Any]) -> str:
    finite = {name: value if _is_finite(value) else None for name, value in record.items()}
    return json_text(finite, "a record of metrics", indent=None)


def _is_finite(value: Any) -> bool:
    value = plain(value)
    return not isinstance(value, float) or math.isfinite(value)


def _as_stored(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that JSON cannot hold become their names: a path, an infinite `clip`."""

    def stored(value: Any) -> Any:
        value = plain(value)
        if isinstance(value, Mapping):
            return {str(key): stored(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [stored(item) for item in value]
        return (
            value
            if value is None or (isinstance(value, bool | int | float | str) and _is_finite(value))
            else str(value)
        )

    return {str(key): stored(value) for key, value in settings.items()}


def _is_free(path: Path) -> bool:
    """An empty folder; or one in which a run was killed while it wrote its very first file."""
    return path.is_dir() and all(file.match(".run.json.*.tmp") for file in path.iterdir())


def _lock(path: Path) -> IO[str] | None:
    """Holds `path` until the returned file is closed. Raises BlockingIOError if another process has it."""
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        return None
    file = (path / ".lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise BlockingIOError(f"another process is training in {path}") from error
    return file


def _json_object(text: bytes, place: str) -> dict[str, Any]:
    """Raises ValueError that names `place` for anything else."""
    try:
        values = json.loads(text.decode("utf-8"), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place} is damaged: not JSON ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{place} is damaged: it should hold a JSON object, found {type(values).__name__}")
    return values


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
