"""h5 files, built to do harm, and the process in which libhdf5 looks at them. See `test_checkpoint_hostile.py`."""

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from models import TASKS, make_model
from test_bad_input import refused

from minirembert.checkpoint import h5_child, keras_h5, read_tensors
from minirembert.checkpoint.convert import convert

# --- h5 ---------------------------------------------------------------------------------------------------------------

PLACE = "rembert/model/rembert/pooler/dense/bias:0"


def compact(file: h5py.File) -> None:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((4,)), layout)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "d", (4,))
    file.create_virtual_dataset("x", layout)


def deep(file: Any) -> None:
    for _ in range(40):
        file = file.create_group("g")


def same(file: h5py.File) -> None:
    for model in ("one", "two"):
        file[f"rembert/{model}/rembert/pooler/dense/bias:0"] = np.zeros(3, "f4")


H5_ATTACKS: dict[str, tuple[Callable[[h5py.File], Any], str]] = {
    "soft link": (lambda file: file.__setitem__("x", h5py.SoftLink("/y")), "x is a link to somewhere else"),
    "external link": (lambda file: file.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")), "x is a link to somewhere"),
    "external storage": (
        lambda file: file.create_dataset("x", (4,), "f4", external=[("/etc/passwd", 0, 16)]), "in another file"
    ),
    "virtual dataset": (virtual, "chunks, packed or made of other"),
    "chunks": (lambda file: file.create_dataset("x", (4,), "f4", chunks=(2,)), "stored in chunks"),
    "packed": (lambda file: file.create_dataset("x", (4,), "f4", compression="gzip"), "packed"),
    "compact": (compact, "packed"),
    "hard link": (lambda file: [file.create_dataset("a", data=[1.0]), file.__setitem__("b", file["a"])], "b is a once more"),
    "loop": (lambda file: file.create_group("g").__setitem__("g", file["g"]), "g/g is g once more"),
    "texts": (lambda file: file.create_dataset("x", data=["text"]), "something else than numbers"),
    "nothing": (lambda file: file.create_dataset("x", data=h5py.Empty("f4")), "something else than numbers"),
    "never written": (lambda file: file.create_dataset("x/y/z", (10**12,), "f4"), "never written"),
    "a type": (lambda file: file.__setitem__("x", np.dtype("f4")), "neither a group nor a dataset"),
    "deep groups": (deep, "nested too deeply"),
    "long name": (lambda file: file.create_group("x" * 1001), "too long"),
    "same tensor": (same, "both rembert/one/rembert/pooler/dense/bias:0 and"),
}  # fmt: skip


@pytest.mark.parametrize("attack", H5_ATTACKS)
def test_h5_files_with_something_that_keras_never_writes(attack, tmp_path):
    write, reason = H5_ATTACKS[attack]
    path = tmp_path / "tf_model.h5"
    with h5py.File(path, "w") as file:
        write(file)
    if attack == "same tensor":
        reason = "are rembert.pooler.dense.bias"
    with refused(ValueError, f"{path} is damaged or cut short", reason):
        read_tensors(path)


def test_numbers_of_every_kind_and_shape(tmp_path):
    """Of another machine's byte order, empty ones, a kernel that is no matrix; a kernel that is one is transposed."""
    arrays = {
        "big": np.arange(6, dtype=">f4").reshape(2, 3), "big/kernel": np.arange(6, dtype=">f8").reshape(2, 3),
        "vector/kernel": np.arange(3, dtype="<f2"), "cube/kernel": np.arange(24, dtype="<f4").reshape(2, 3, 4),
        "none": np.zeros((0, 3), "<f4"), "none/kernel": np.zeros((0, 3), "<f4"), "one": np.array(5, "<i8"),
        "row/kernel": np.arange(4, dtype="<f4").reshape(1, 4),
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
        assert found.read().dtype == array.dtype.newbyteorder("="), name


def test_objects_without_end(tmp_path, monkeypatch):
    """As many as may be, and one more."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for n in range(5):
            file[f"g/{n}"] = np.zeros(1)  # six objects with their group
        datasets: list[Any] = []
        monkeypatch.setattr(h5_child, "MOST_OBJECTS", 6)
        h5_child._collect(file.id, "", datasets, {}, 0)
        assert [name for name, *_ in datasets] == [f"g/{n}" for n in range(5)]
        monkeypatch.setattr(h5_child, "MOST_OBJECTS", 5)
        with pytest.raises(h5_child.Refused, match="it has more than 5 groups and datasets"):
            h5_child._collect(file.id, "", [], {}, 0)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + b"\xff" * 500])
def test_files_that_are_no_h5(content, tmp_path):
    (tmp_path / "tf_model.h5").write_bytes(content)
    with refused(ValueError, "tf_model.h5 is damaged or cut short"):
        read_tensors(tmp_path)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([["a/b/x", "<f4", [4], 10**9]], "past the end"), ([["a/b/x", "<f4", [4], -16]], "past the end"),
        ([["a/b/x", "<f4", [2**60], 0]], "impossible shape"), ([["a/b/x", "<f4", [-1], 0]], "impossible shape"),
        ([["a/b/x", "<f4", [4], 0], ["a/b/y", "<f4", [4], 12]], "a/b/y overlaps"),
        ([["a/b/x", "<f4", [4], None]], "never written"), ([["a/b/x", "<f4", [4], 85]], "past the end"),
        ([["a/b/y", "<f4", [4], 52], ["a/b/x", "<f4", [4], 40]], "a/b/y overlaps"),
    ],
)  # fmt: skip
def test_what_libhdf5_says_is_checked(said, reason, tmp_path, monkeypatch):
    (tmp_path / "tf_model.h5").write_bytes(bytes(100))
    monkeypatch.setattr(keras_h5, "run_child", lambda path: (0, json.dumps({"datasets": said}).encode()))
    with refused(ValueError, "tf_model.h5 is damaged or cut short", reason):
        read_tensors(tmp_path)


@pytest.mark.parametrize(("code", "answer"), [(-11, b""), (1, b"Traceback"), (0, b""), (0, b"{"), (0, b"[]"),
                                              (-6, b'{"datasets": []}')])  # fmt: skip
def test_a_libhdf5_that_crashes(code, answer, tmp_path, monkeypatch):
    (tmp_path / "tf_model.h5").write_bytes(bytes(100))
    monkeypatch.setattr(keras_h5, "run_child", lambda path: (code, answer))
    with refused(ValueError, str(tmp_path / "tf_model.h5")):
        read_tensors(tmp_path)


def test_a_libhdf5_that_does_not_end(tmp_path, monkeypatch):
    (tmp_path / "tf_model.h5").write_bytes(bytes(100))
    (tmp_path / "slow.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(keras_h5, "TIME_LIMIT", 0.5)
    monkeypatch.setattr(keras_h5, "CHILD", tmp_path / "slow.py")
    with refused(ValueError, "tf_model.h5 is damaged", "did not finish with it within 0.5 seconds"):
        read_tensors(tmp_path / "tf_model.h5")


CONFINED = """
import sys
sys.path.insert(0, {place!r})
import h5_child
h5_child.confine()
{attempt}
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have not all of these limits")
@pytest.mark.parametrize(
    "attempt",
    ["open('/etc/hostname')", "open(sys.argv[0] + 'x', 'w')", "bytearray(2**30)", "import socket; socket.socket()",
     "import os; os.pipe()"],
)  # fmt: skip
def test_what_the_child_can_no_longer_do(attempt):
    program = CONFINED.format(place=str(Path(h5_child.__file__).parent), attempt=attempt)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode != 0 and "done" not in ran.stdout
    assert "Too many open files" in ran.stderr or "MemoryError" in ran.stderr


LISTED = """
import json, resource, sys
sys.path.insert(0, {place!r})
import h5_child
kept = open(sys.argv[1] + ".log", "wb", buffering=0)
print(json.dumps(h5_child.listing(sys.argv[1])))
again = open(sys.argv[1])  # in the place of the file that has been listed
for name in ("RLIMIT_CPU", "RLIMIT_CORE", "RLIMIT_FSIZE"):
    print(resource.getrlimit(getattr(resource, name))[0])
for attempt in (lambda: open("/etc/hostname"), lambda: kept.write(b"x"), lambda: bytearray(2**29)):
    try:
        attempt()
        print("done")
    except (OSError, MemoryError) as error:
        print(getattr(error, "errno", "memory"))
some = bytearray(200 * 2**20)
print("enough")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have not all of these limits")
def test_a_file_is_listed_in_confinement(tmp_path):
    """Not only what `confine` does: `listing` does it, before libhdf5 sees the file. And what is left is enough to work."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["a"] = np.zeros(3, "<f4")
    program = LISTED.format(place=str(Path(h5_child.__file__).parent))
    ran = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    said = ran.stdout.splitlines()
    assert json.loads(said[0])["datasets"][0][:3] == ["a", "<f4", [3]], ran.stderr
    assert said[1:] == ["20", "0", "0", str(errno.EMFILE), str(errno.EFBIG), "memory", "enough"]
    assert (tmp_path / "x.h5.log").stat().st_size == 0


def test_loading_opens_nothing_but_its_own_files(tmp_path):
    """Asked of the system, for the process that runs libhdf5 too: no file of the user's but those in the folder."""
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
