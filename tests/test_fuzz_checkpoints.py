"""A few hundred of the cases of `fuzz_checkpoints.py`, and whether it notices what it is there for."""

import os
import time
from pathlib import Path

import fuzz_checkpoints
import numpy as np
import pytest
from fuzz_checkpoints import FORMATS, Violation, make_folders, run, run_case

from minirembert.checkpoint import folder
from minirembert.checkpoint.tensors import StoredTensor


def test_damaged_files_load_or_are_refused():
    ends, found = run(range(180))
    assert not found, "\n".join(found)
    for format in FORMATS:
        assert ends[format, "loaded"] and ends[format, "refused"] > ends[format, "loaded"]


# Found by it while this was written: an index was read into a buffer as large as the limit, whatever its size
MENDED = [("safetensors shards", 1)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return make_folders(tmp_path_factory.mktemp("good"))


@pytest.mark.parametrize(("format", "seed"), MENDED)
def test_what_it_found_stays_mended(format, seed, folders, tmp_path):
    run_case(format, seed, folders[format], tmp_path / "work")


def planted(fault: str, path: Path) -> None:
    match fault:
        case "reads outside":
            Path("/etc/hostname").read_text()
        case "writes":
            (path.parent / "new").write_text("")
        case "removes":
            path.unlink()
        case "runs":
            os.system("true")
        case "takes memory":
            np.zeros(2 * fuzz_checkpoints.MEMORY)
        case "never ends":
            time.sleep(60)
        case "another error":
            raise KeyError("x")
        case "no sentence":
            raise ValueError("two\nlines")


@pytest.mark.parametrize(
    "fault",
    ["reads outside", "writes", "removes", "runs", "takes memory", "never ends", "another error", "no sentence"],
)
def test_it_notices(fault, folders, tmp_path, monkeypatch):
    read = folder.READERS["model.safetensors"]
    monkeypatch.setattr(fuzz_checkpoints, "SECONDS", 0.3)
    monkeypatch.setitem(folder.READERS, "model.safetensors", lambda path: planted(fault, path) or read(path))
    with pytest.raises(Violation):
        run_case("safetensors", 0, folders["safetensors"], tmp_path / "work")


def test_it_notices_wrong_numbers(folders, tmp_path, monkeypatch):
    right = StoredTensor.read
    monkeypatch.setattr(fuzz_checkpoints.fuzz_damage, "damaged", lambda path, rng: path.read_bytes())
    assert run_case("safetensors", 0, folders["safetensors"], tmp_path / "work") == "loaded"
    monkeypatch.setattr(StoredTensor, "read", lambda self, dtype=None: -right(self, dtype))
    with pytest.raises(Violation, match="differs from what the library reads"):
        run_case("safetensors", 0, folders["safetensors"], tmp_path / "work")
