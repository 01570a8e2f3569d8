"""h5 files that Keras has not written, or that are damaged. See `test_checkpoint_hostile.py` for what we read ourselves."""

import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest
from models import TASKS, make_model
from test_bad_input import refused

from minirembert import RemBertForMaskedLM
from minirembert.checkpoint import keras_h5, read_tensors
from minirembert.checkpoint.convert import convert

PLACE = "rembert/model/rembert/pooler/dense/bias:0"


def compact(file: h5py.File) -> None:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((4,)), layout)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "d", (4,))
    file.create_virtual_dataset("x", layout)


def same(file: h5py.File) -> None:
    for model in ("one", "two"):
        file[f"rembert/{model}/rembert/pooler/dense/bias:0"] = np.zeros(3, "f4")


H5_ATTACKS: dict[str, tuple[Callable[[h5py.File], Any], str]] = {
    "external storage": (
        lambda file: file.create_dataset("x", (4,), "f4", external=[("/etc/passwd", 0, 16)]), "do not lie in one piece in it"
    ),
    "virtual dataset": (virtual, "the numbers of x do not lie in one piece in it"),
    "chunks": (lambda file: file.create_dataset("x", (4,), "f4", chunks=(2,)), "do not lie in one piece in it, as Keras"),
    "packed": (lambda file: file.create_dataset("x", (4,), "f4", compression="gzip"), "do not lie in one piece"),
    "compact": (compact, "do not lie in one piece"),
    "texts": (lambda file: file.create_dataset("x", data=["text"]), "x holds something else than numbers"),
    "texts of one length": (lambda file: file.create_dataset("x", data=[b"text"]), "something else than numbers"),
    "pairs": (lambda file: file.create_dataset("x", (4,), [("a", "f4"), ("b", "f4")]), "something else than numbers"),
    "nothing": (lambda file: file.create_dataset("x", data=h5py.Empty("f4")), "something else than numbers"),
    "never written": (lambda file: file.create_dataset("x/y/z", (10**12,), "f4"), "x/y/z do not lie in one piece"),
    "same tensor": (same, "both rembert/two/rembert/pooler/dense/bias:0 and rembert/one/rembert/pooler/dense/bias:0 are "
                          "rembert.pooler.dense.bias"),
}  # fmt: skip


@pytest.mark.parametrize("attack", H5_ATTACKS)
def test_h5_files_with_something_that_keras_never_writes(attack, tmp_path):
    write, reason = H5_ATTACKS[attack]
    path = tmp_path / "tf_model.h5"
    with h5py.File(path, "w") as file:
        write(file)
    with refused(ValueError, f"{path} is damaged or cut short", reason):
        read_tensors(path)


def test_numbers_of_every_kind_and_shape(tmp_path):
    """Of another machine's byte order, empty ones, a kernel that is no matrix; a kernel that is one is transposed."""
    arrays = {
        "big": np.arange(6, dtype=">f4").reshape(2, 3), "big/kernel": np.arange(6, dtype=">f8").reshape(2, 3),
        "vector/kernel": np.arange(3, dtype="<f2"), "cube/kernel": np.arange(24, dtype="<f4").reshape(2, 3, 4),
        "none": np.zeros((0, 3), "<f4"), "none/kernel": np.zeros((0, 3), "<f4"), "one": np.array(5, "<i8"),
        "row/kernel": np.arange(4, dtype="<f4").reshape(1, 4), "native/kernel": np.arange(6, dtype="<f4").reshape(2, 3),
        "bytes": np.arange(3, dtype="u1"), "switches": np.array([True, False]),
    }  # fmt: skip
    with h5py.File(tmp_path / "tf_model.h5", "w") as file:
        for number, (name, array) in enumerate(arrays.items()):
            file[f"rembert/model/{number}/{name}:0"] = array
    read = read_tensors(tmp_path)
    assert len(read) == len(arrays)
    for number, (name, array) in enumerate(arrays.items()):
        found = read[f"{number}.{name.replace('/kernel', '.weight')}"]
        expected = array.T if name.endswith("kernel") and array.ndim == 2 else array
        assert found.shape == expected.shape and np.array_equal(found.read(), expected), name
        assert found.read().dtype == array.dtype.newbyteorder("=") and found.read().flags.c_contiguous, name


LINKS: dict[str, Callable[[h5py.File], Any]] = {
    "soft": lambda file: file.__setitem__("rembert/model/x", h5py.SoftLink("/rembert/model/pooler")),
    "to nothing": lambda file: file.__setitem__("x", h5py.SoftLink("/y")),
    "to another file": lambda file: file.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")),
    "hard": lambda file: file.__setitem__("y", file["rembert/model/pooler/bias:0"]),
    "a loop": lambda file: file.create_group("g").__setitem__("g", file["g"]),
    "a type": lambda file: file.__setitem__("x", np.dtype("f4")),
    "a group": lambda file: file.create_group("x"),
}


@pytest.mark.parametrize("link", LINKS)
def test_links_are_not_followed(link, tmp_path):
    """Every dataset counts once, however many names lead to it; what is in other files does not count."""
    with h5py.File(tmp_path / "tf_model.h5", "w") as file:
        file["rembert/model/pooler/bias:0"] = np.arange(3, dtype="f4")
        LINKS[link](file)
    (tensor,) = read_tensors(tmp_path).values()
    assert tensor.read().tolist() == [0, 1, 2]


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + b"\xff" * 500])
def test_files_that_are_no_h5(content, tmp_path):
    (tmp_path / "tf_model.h5").write_bytes(content)
    with refused(ValueError, "tf_model.h5 is damaged or cut short"):
        read_tensors(tmp_path)


@pytest.fixture
def saved(tmp_path):
    make_model(TASKS["masked lm"], "one head", dtype="float32").save_pretrained(tmp_path / "safe")
    convert(tmp_path / "safe", tmp_path / "a", "h5")
    shutil.rmtree(tmp_path / "safe")
    return tmp_path / "a" / "tf_model.h5"


def test_a_file_cut_short_leaves_nothing_behind(saved, tmp_path):
    """At forty places, and before the last byte: one sentence, and no half of a model or of a folder."""
    content = saved.read_bytes()
    for end in [*range(0, len(content), len(content) // 40), len(content) - 1]:
        saved.write_bytes(content[:end])
        with refused(ValueError, f"{saved} is damaged or cut short: "):
            RemBertForMaskedLM.from_pretrained(saved.parent)
    with refused(ValueError, str(saved)):
        convert(saved.parent, tmp_path / "new", "safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("offset", "stored", "reason"),
    [
        (84, 16, None), (0, 16, None), (85, 16, "take 16 bytes from byte 85 on, past the end of the file"),
        (2**62, 16, "past the end of the file"), (None, 16, "do not lie in one piece"), (None, 0, "do not lie in one piece"),
        (84, 15, "do not lie in one piece"), (0, 32, "do not lie in one piece"),
    ],
)  # fmt: skip
def test_what_libhdf5_says_is_checked(offset, stored, reason, tmp_path):
    """Four numbers of four bytes, in a file of a hundred."""
    path = tmp_path / "tf_model.h5"
    path.write_bytes(bytes(range(100)))
    place = types.SimpleNamespace(get_offset=lambda: offset, get_storage_size=lambda: stored)
    dataset = types.SimpleNamespace(dtype=np.dtype("<u4"), shape=(2, 2), id=place)
    if reason is None:
        tensor = keras_h5._tensor(path, "x", dataset)
        assert tensor.read().tobytes() == bytes(range(offset, offset + 16)) and tensor.shape == (2, 2)
        return
    with pytest.raises(keras_h5._Refused, match=reason):
        keras_h5._tensor(path, "x", dataset)


def test_what_h5py_says_is_cut_short(saved, monkeypatch):
    """It may raise anything, at any length and in several lines."""

    def fails(*arguments: Any) -> None:
        raise RuntimeError("one\ntwo " + "x" * 5000)

    monkeypatch.setattr(h5py.File, "visititems", fails)
    with refused(ValueError, f"{saved} is damaged or cut short: h5py cannot read it (RuntimeError: one two xxx"):
        read_tensors(saved)
    monkeypatch.setattr(h5py.File, "visititems", lambda *arguments: {}["x"])
    with refused(ValueError, "h5py cannot read it (KeyError: 'x')"):
        read_tensors(saved)


def test_a_file_that_is_read_only(saved):
    """It is not written to, nor changed in any other way."""
    saved.chmod(0o444)
    before = saved.stat(), saved.read_bytes()
    RemBertForMaskedLM.from_pretrained(saved.parent)
    after = saved.stat(), saved.read_bytes()
    assert before[0].st_mtime_ns == after[0].st_mtime_ns and before[1] == after[1]
    assert len(list(saved.parent.iterdir())) == 2


def test_loading_opens_nothing_but_its_own_files(tmp_path):
    """Asked of the system, for libhdf5 too: no file of the user's but those in the folder."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace, which lists what a process opens, is not installed")
    make_model(TASKS["encoder"], "one head").save_pretrained(tmp_path / "a")
    convert(tmp_path / "a", tmp_path / "h5", "h5")
    program = f"from minirembert import RemBertModel; RemBertModel.from_pretrained({str(tmp_path / 'h5')!r})"
    ran = subprocess.run(
        [strace, "-f", "-e", "trace=openat", sys.executable, "-c", program], capture_output=True, text=True
    )
    assert ran.returncode == 0
    opened = {line.split('"')[1] for line in ran.stderr.splitlines() if str(tmp_path) in line}
    assert opened == {str(tmp_path / "h5" / "config.json"), str(tmp_path / "h5" / "tf_model.h5")}
