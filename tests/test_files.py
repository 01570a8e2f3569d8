"""Files appear whole or not at all; and JSON is JSON, in both directions."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirembert.files import WriteError, atomic_file, atomic_folder, json_text, read_json, write_text_atomically


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_takes_its_place_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old", "what stood there is there until the end"
    assert path.read_text() == "new" and names(tmp_path) == {"x.txt"}
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == {"x.txt"}
    message = r"could not write .*x.txt: .*; what stood there before is unchanged"
    with pytest.raises(WriteError, match=message), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old" and names(tmp_path) == {"x.txt"}


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text("a")
        assert not path.exists()
    assert names(path) == {"a"} and names(tmp_path) == {"run"}
    with pytest.raises(FileExistsError, match="run exists already and is not an empty folder"), atomic_folder(path):
        raise AssertionError("never begun")
    assert names(path) == {"a"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError), atomic_folder(tmp_path / "empty") as temporary:
        (temporary / "a").write_text("half")
        raise ValueError
    assert names(tmp_path) == {"run", "empty"} and not names(tmp_path / "empty")


def test_text_is_utf_8(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "x.txt", "né 字 🥛\n")
    assert (tmp_path / "x.txt").read_bytes() == "né 字 🥛\n".encode()


def test_what_is_written_as_json_is_read_as_it_was(tmp_path: Path) -> None:
    values = {"a": [1, 2.5, None, True, "字"], "b": {"c": -0.0}}
    write_text_atomically(tmp_path / "x.json", json_text(values, "x.json"))
    assert read_json(tmp_path / "x.json") == values
    assert json.loads(json_text({"n": np.float32(0.5), "t": (1, np.int64(2)), "d": np.dtype("f4")}, "x")) == {
        "n": 0.5, "t": [1, 2], "d": "float32",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": float("nan")}, "it.a is nan, and JSON has no number for it"),
        ({"a": [0, float("inf")]}, r"it.a\[1\] is inf, and JSON has no number for it"),
        ({"a": {1, 2}}, "it.a cannot be written as JSON: it is of the type set"),
        ({"a": {1: 2}}, "it.a cannot be written as JSON: its key 1 is no string"),
    ],
)
def test_what_json_has_no_word_for(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        json_text(value, "it")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1, "b": 2, "a": 1}', "the key 'a' stands there twice"),
        (b'{"x": {"a": 1, "a": 2}}', "the key 'a' stands there twice"),
        (b'{"a": 1', "is not valid JSON"),
        (b"[1]", "must hold a JSON object, found list"),
        (b" " * 101, "is too large .*: more than 100 bytes"),
    ],
)
def test_json_that_cannot_be_used(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"x.json .*{message}"):
        read_json(path, limit_bytes=100)
