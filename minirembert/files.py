"""Writing files so that a crash, a kill or a full disk leaves either the old content or the new, never half of it; writing
JSON that every reader takes, and reading JSON that somebody else wrote.
"""

import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import EISDIR
from pathlib import Path
from typing import Any

import numpy as np

from minirembert.scalars import plain

JSON_LIMIT = 16 * 2**20  # bytes: Python's objects take up to thirty times as much


class WriteError(OSError):
    """A file or folder could not be written: the disk is full, say. What stood at `path` before still does."""

    def __init__(self, path: Path, error: OSError) -> None:
        if path.parent.is_dir():
            self.reason: str = error.reason if isinstance(error, WriteError) else error.strerror or str(error)
            super().__init__(f"could not write {path}: {self.reason}; what stood there before is unchanged")
        else:
            is_missing = not path.parent.exists()
            self.reason = f"the folder {path.parent} does not exist" if is_missing else f"{path.parent} is not a folder"
            super().__init__(f"could not write {path}: {self.reason}")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it takes the place of `path`, on any error it is removed.

    Raises WriteError where it cannot be written; before anything is, where `path` is a folder.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, "it is a folder")
        yield temporary
        temporary.chmod(_usual_mode())
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except WriteError:  # of a file that was written meanwhile, and is named already
        raise
    except OSError as error:
        raise WriteError(path, error) from error
    finally:
        with suppress(NotADirectoryError):  # where the folder is a file, there is nothing to remove either
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """The same for a new folder. Raises FileExistsError if `path` exists already, unless it is an empty folder."""
    is_empty = path.is_dir() and not any(path.iterdir())
    if path.exists() and not is_empty:
        raise FileExistsError(f"{path} exists already and is not an empty folder")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        if is_empty:
            path.rmdir()  # Windows puts no folder in the place of another
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise WriteError(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def as_folder(folder: str | Path) -> Path:
    """Raises TypeError for anything but a path, ValueError for an empty one, which would mean the current folder."""
    if not isinstance(folder, str | Path):
        raise TypeError(f"a folder is needed, got {type(folder).__name__} {folder!r}")
    if folder == "":
        raise ValueError("a folder is needed, got an empty name; the current one is '.'")
    return Path(folder)


def write_text_atomically(path: Path, text: str) -> None:
    """Replaces the content of `path`, in UTF-8."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(
    values: Any, what: str, *, indent: int | None = 2, sort_keys: bool = False, readable: bool = False
) -> str:
    """`values` as JSON that any reader takes, ending in a line feed. `readable`: letters of all scripts as they are.

    NumPy's scalars become numbers and switches, dtypes (NumPy's and torch's) their names, tuples lists. Raises ValueError,
    naming `what` and the place in it, for anything else that JSON cannot hold: NaN and infinity, a key that is not a string, a
    set, a path, an array, a value that contains itself.
    """
    try:
        content = _json_value(values, what, ())
    except RecursionError as error:
        raise ValueError(f"{what} cannot be written as JSON: it is nested too deeply") from error
    text = json.dumps(content, indent=indent, sort_keys=sort_keys, ensure_ascii=not readable, allow_nan=False) + "\n"
    if readable and not _is_text(text):  # half a surrogate pair, say, in the name of a file
        return json_text(content, what, indent=indent, sort_keys=sort_keys)
    return text


def _json_value(value: Any, place: str, around: tuple[int, ...]) -> Any:
    value = plain(_dtype_name(value))
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise ValueError(f"{place} is {value}, and JSON has no number for it")
    if not isinstance(value, Mapping | list | tuple):
        raise ValueError(f"{place} cannot be written as JSON: it is of the type {type(value).__name__}")
    if id(value) in around:
        raise ValueError(f"{place} cannot be written as JSON: it contains itself")
    around = (*around, id(value))
    if not isinstance(value, Mapping):
        return [_json_value(item, f"{place}[{number}]", around) for number, item in enumerate(value)]
    for key in value:
        if not isinstance(key, str):
            raise ValueError(f"{place} cannot be written as JSON: its key {key!r} is no string")
    return {str(key): _json_value(item, f"{place}.{key}", around) for key, item in value.items()}


def _dtype_name(value: Any) -> Any:
    """A dtype of NumPy's or torch's by its name, "float32" for one; anything else as it is."""
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, type) and issubclass(value, np.generic) and value.__subclasses__() == []:
        return np.dtype(value).name
    kind = type(value)
    return str(value).removeprefix("torch.") if (kind.__module__, kind.__name__) == ("torch", "dtype") else value


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def no_file(path: Path) -> str:
    """What is wrong with `path`, which is not a file: a sentence without its full stop."""
    if path.is_dir():
        return f"{path} is a folder, not a file"
    if path.exists():
        return f"{path} is a pipe or a device, not a file"
    return f"{path} is a link that leads to no file" if path.is_symlink() else f"{path} does not exist"


def read_json(path: Path, limit_bytes: int = JSON_LIMIT) -> dict[str, Any]:
    """The JSON object in a file. NaN and Infinity count as JSON, as Python and transformers write them.

    Raises FileNotFoundError where there is no such file; ValueError, naming the file, where it is not JSON, not an object,
    longer than `limit_bytes`, nested too deeply for Python, or has two values under one key.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(no_file(path))
    if path.stat().st_size > limit_bytes:
        raise ValueError(f"{path} is too large for JSON that belongs to a model: more than {limit_bytes:,} bytes")
    content = path.read_bytes()
    return parse_json(content, str(path))


def parse_json(content: bytes, place: str) -> dict[str, Any]:
    """The JSON object in `content`. Raises ValueError that names `place`, as `read_json` does."""
    try:
        values = json.loads(content.decode("utf-8"), object_pairs_hook=unique_keys)
    except RecursionError as error:
        raise ValueError(f"{place} is not valid JSON: it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{place} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{place} must hold a JSON object, found {type(values).__name__}")
    return values


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`, which would let the last value of a key win. Raises ValueError for a key that is there twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {key[:80]!r} stands there twice")
    return values


def _usual_mode() -> int:
    """Who may read a new file by the user's own settings; some libraries let nobody but the owner."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _sync(path: Path) -> None:
    """Asks the system to put `path` on the disk: a rename may otherwise survive a power cut that the content does not."""
    if os.name == "nt":  # Windows opens no folders, and syncs no file that is open for reading
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
