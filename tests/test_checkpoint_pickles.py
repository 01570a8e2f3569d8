"""PyTorch's files, built to do harm: pickles that run code, archives that lie. See `test_checkpoint_hostile.py`."""

import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_bad_input import refused

from minirembert.checkpoint import read_tensors
from minirembert.checkpoint.tensors import HEADER_LIMIT

# --- pickles ----------------------------------------------------------------------------------------------------------


class Attack:
    """Runs a command where it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def pickled_file(path: Path, content: bytes, zipped: bool = True) -> Path:
    """A file of PyTorch's with `content` as the description of its tensors."""
    if not zipped:
        start = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
        path.write_bytes(b"".join(start) + content + pickle.dumps([], 2))
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "system"), (eval, "eval"), (getattr, "getattr"), (torch.load, "load"), (Path, "Path")],
)
def test_pickles_that_run_code(function, name, zipped, protocol, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    content = pickle.dumps({"x": Attack(function, f"touch {tmp_path}/harm")}, protocol)
    with refused(ValueError, str(pickled_file(path, content, zipped)), "asks for", f".{name}'", "nothing was run"):
        read_tensors(path)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_model.bin"]


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(b"\x8a\x09" + value.to_bytes(9, "little", signed=True) for value in values) + b"t"


def tensor(offset: int = 0, shape: bytes | None = None, strides: bytes | None = None, storage: bytes = b"FloatStorage",
           count: int = 6) -> bytes:  # fmt: skip
    """The instructions for a tensor that has its numbers in run 0, of six."""
    shape, strides = shape or numbers(2, 3), strides or numbers(3, 1)
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n" + storage + b"\nX\x01\0\0\x000X\x03\0\0\0cpu"
        + numbers(count)[1:-1] + b"tQ" + numbers(offset)[1:-1] + shape + strides + b"\x89NtR"
    )  # fmt: skip


def archive_with(path: Path, program: bytes, data: bytes = bytes(24)) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/version", b"3")
        archive.writestr("x/data.pkl", b"\x80\x02}(X\x01\0\0\0x" + program + b"u.")
        archive.writestr("x/data/0", data)
    return path


def test_the_tensor_of_these_tests_is_one(tmp_path):
    path = archive_with(tmp_path / "pytorch_model.bin", tensor(), np.arange(6, dtype="<f4").tobytes())
    assert np.array_equal(read_tensors(path)["x"].read(), [[0, 1, 2], [3, 4, 5]])
    assert torch.equal(torch.load(path, weights_only=True)["x"], torch.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (tensor(offset=1), "impossible shape, stride or offset"),
        (tensor(offset=-1), "impossible shape, stride or offset"),
        (tensor(offset=2**62), "impossible shape"), (tensor(shape=numbers(-2, 3)), "impossible shape"),
        (tensor(shape=numbers(2**40, 2**40)), "impossible shape"), (tensor(strides=numbers(3, -1)), "impossible shape"),
        (tensor(strides=numbers(4, 1)), "impossible shape"), (tensor(strides=numbers(1)), "impossible shape"),
        (tensor(shape=b"N"), "impossible shape"), (tensor(count=7), "should have 7 numbers, and 24 bytes"),
        (tensor(count=5, shape=numbers(5), strides=numbers(1)), "should have 5 numbers, and 24 bytes"),
        (tensor(offset=5, shape=numbers(2), strides=numbers(1)), "impossible shape, stride or offset"),
        (b"cos\nFloatStorage\n", "asks for 'os.FloatStorage'"), (b"ctorch\nload\n", "asks for 'torch.load'"),
        (b"](a", "takes a mark for a value"),
        (tensor().replace(b"tQ", b"X\x01\0\0\x001K\0K\x06\x87tQ"), "storages inside of storages"),
        (tensor(count=-1), "should have -1 numbers"), (tensor(storage=b"DoubleStorage"), "24 bytes are there"),
        (tensor(storage=b"QInt8Storage"), "asks for 'torch.QInt8Storage'"),
        (b"K\x05", "under x it holds no tensor but a int"),
        (b"}", "no tensor but a dict"), (b"ctorch\nFloatStorage\n)R", "calls FloatStorage"),
        (b")", "no tensor but a tuple"),
        (tensor(shape=numbers(2**38, 3), strides=numbers(0, 0)), "repeat their numbers"),
        (tensor().replace(b"X\x01\0\0\x000", b"X\x01\0\0\x007"), "the numbers of x are missing"),
        (b"\x8b\xff\xff\xff\x7f", "a number of 2,147,483,647 bytes"), (b"X\xff\xff\xff\xff", "ends too soon"),
        (b"\x8d" + b"\xff" * 8, "ends too soon"), (b"T\xfb\xff\xff\xff", "ends too soon"), (b"0" * 9, "makes no sense"),
        (b"r\xff\xff\xff\xff", "sets items"), (b"(", "sets items"), (b"\x8e" + b"\xff" * 8, "which no tensor needs"),
        (b"2" * 100_001, "twice"), (b"(ios\nsystem\n", "which no tensor needs"), (b"N)\x81", "which no tensor needs"),
        (b"]" * 100_000 + b"a" * 99_999, "no tensor but a list"), (b"}}}s", "neither text nor number"),
        (b"NN\x93", "is no text"),
        (b"Q", "makes no sense"), (b"(X\x07\0\0\0storageNNNNtQ", "is no storage"), (b"NR", "is no function"),
        (b"Na", "no list"),
    ],
)  # fmt: skip
def test_pickles_that_make_no_tensor(program, reason, tmp_path):
    path = archive_with(tmp_path / "pytorch_model.bin", program)
    tracemalloc.start()
    with refused(ValueError, f"{path} is damaged or cut short", reason):
        read_tensors(path)
    assert tracemalloc.get_traced_memory()[1] < 2 * path.stat().st_size + 64 * 200_000
    tracemalloc.stop()


@pytest.mark.parametrize("value", [[], 5, "text", (), None])
def test_an_archive_that_holds_no_dictionary(value, tmp_path):
    path = pickled_file(tmp_path / "pytorch_model.bin", pickle.dumps(value, 2))
    with refused(ValueError, str(path), f"it holds a {type(value).__name__} instead of tensors by name"):
        read_tensors(path)


def test_tensors_may_share_their_numbers_within_reason(tmp_path):
    """A million numbers under two names, and every row of a small table once more; not a thousand times the file."""
    path, large = tmp_path / "pytorch_model.bin", torch.zeros(2**20)
    torch.save({"a": large, "b": large, "c": large[:100].expand(2000, 100)}, path)
    assert path.stat().st_size < 4.3e6
    assert {name: tensor.shape for name, tensor in read_tensors(path).items()} == {
        "a": (2**20,), "b": (2**20,), "c": (2000, 100)
    }  # fmt: skip
    torch.save({"a": torch.zeros(100).expand(20_000, 100)}, path)
    with refused(ValueError, str(path), "its tensors repeat their numbers, 8,000,000 bytes out of"):
        read_tensors(path)


def test_a_pickle_with_one_name_twice(tmp_path):
    path = archive_with(tmp_path / "pytorch_model.bin", tensor() + b"X\x01\0\0\0x" + tensor())
    with refused(ValueError, str(path), "the key 'x' twice"):
        read_tensors(path)


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"hello", b"\x80\x02.", pickle.dumps(5), pickle.dumps({"a": 1}), b"\x93NUMPY"]
)
def test_files_that_are_not_pytorchs(content, tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with refused(ValueError, "pytorch_model.bin is damaged or cut short"):
        read_tensors(tmp_path)


def test_an_old_file_cut_at_every_byte(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.zeros(3), "b": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        with refused(ValueError, "pytorch_model.bin is damaged or cut short"):
            read_tensors(path)
    path.write_bytes(content + b"\0")
    with refused(ValueError, "its numbers end at byte"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("version", "system", "keys", "reason"),
    [
        (1001, {"little_endian": True}, ["0"], None), (1001, {}, ["0"], None),
        (1000, {}, ["0"], "a PyTorch that nobody knows"), (1001, [], ["0"], "a PyTorch that nobody knows"),
        (1001, {}, ["0", "0"], "keys does not fit"), (1001, {}, ["1"], "keys does not fit"),
        (1001, {}, [0], "keys does not fit"), (1001, {}, [], "are missing"),
    ],
)  # fmt: skip
def test_old_files_that_lie(version, system, keys, reason, tmp_path):
    start = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, version, system))
    program = b"\x80\x02}(X\x01\0\0\0x" + tensor() + b"u."
    run = struct.pack("<Q6f", 6, *range(6))
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(start + program + pickle.dumps(keys, 2) + run * len(keys))
    if reason is None:
        assert read_tensors(path)["x"].read().tolist() == [[0, 1, 2], [3, 4, 5]]
        return
    with refused(ValueError, str(path), reason):
        read_tensors(path)


# --- zip archives -----------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path):
    return archive_with(tmp_path / "pytorch_model.bin", tensor())


def test_an_archive_cut_at_every_byte(archive):
    content = archive.read_bytes()
    for end in range(len(content)):
        archive.write_bytes(content[:end])
        with refused(ValueError, "pytorch_model.bin is damaged or cut short"):
            read_tensors(archive)


def test_archives_that_are_packed(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(10**7))
    with refused(ValueError, str(path), "x/data.pkl is packed or encrypted"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("at", "form", "value", "reason"),
    [
        (8, "<H", 1, "packed or encrypted"), (20, "<I", 23, "two sizes"), (20, "<2I", (2**31, 2**31), "overlaps"),
        (42, "<I", 0, "two names"), (42, "<I", 5, "not where the directory says"), (28, "<H", 60_000, "makes no sense"),
        (20, "<2I", (2**32 - 1, 2**32 - 1), "its size is missing"), (0, "<I", 0, "makes no sense"),
        (46, "<B", 0x79, "two names"),
    ],
)  # fmt: skip
def test_directories_that_lie(at, form, value, reason, archive):
    """Fields of the second entry of the directory, that of the numbers."""
    content = bytearray(archive.read_bytes())
    struct.pack_into(form, content, content.rindex(b"PK\x01\x02") + at, *np.atleast_1d(value).tolist())
    archive.write_bytes(content)
    with refused(ValueError, str(archive), reason):
        read_tensors(archive)


@pytest.mark.parametrize(
    ("at", "value"), [(8, 1), (10, 4), (12, 7), (12, 2**32 - 1), (16, 0), (16, 2**32 - 1), (20, 5)]
)
def test_the_end_of_a_directory_that_lies(at, value, archive):
    content = bytearray(archive.read_bytes())
    struct.pack_into("<I" if at >= 12 and at < 20 else "<H", content, content.rindex(b"PK\x05\x06") + at, value)
    archive.write_bytes(content)
    if at in (8, 20):  # how many members on this disk, and the length of a comment: nobody asks
        read_tensors(archive)
        return
    with refused(ValueError, str(archive), "zip directory" if at != 10 else "3 members instead of 4"):
        read_tensors(archive)


def test_members_that_share_their_bytes(tmp_path):
    """A zip bomb of the kind that is not packed: every entry of the directory points at the same bytes."""
    path = tmp_path / "pytorch_model.bin"
    archive_with(path, tensor())
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")
    second = content.rindex(b"PK\x01\x02")
    end = content.rindex(b"PK\x05\x06")
    directory = content[start:end] + content[second:end]
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 4, 4, len(directory), start, 0)
    path.write_bytes(content[:start] + directory + tail)
    with refused(ValueError, str(path), "overlaps another"):
        read_tensors(path)


def test_a_member_inside_of_another(tmp_path):
    """Its header and its bytes stand among the numbers of the one before it."""
    inner = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 4, 4, 8, 0) + b"x/data/1" + bytes(4)
    assert len(inner) == 42
    path = archive_with(
        tmp_path / "pytorch_model.bin", tensor(count=11, shape=numbers(1), strides=numbers(1)), inner + bytes(2)
    )
    read_tensors(path)
    content = path.read_bytes()
    start, end = content.index(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, zlib.crc32(bytes(4)), 4, 4, 8, 0, 0, 0, 0, 0,
                        content.index(inner))  # fmt: skip
    directory = content[start:end] + entry + b"x/data/1"
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 4, 4, len(directory), start, 0)
    path.write_bytes(content[:start] + directory + tail)
    with zipfile.ZipFile(path) as archive:
        assert archive.read("x/data/1") == bytes(4)
    with refused(ValueError, str(path), "its member x/data/1 overlaps another"):
        read_tensors(path)


def test_a_directory_in_another_order(archive):
    """Its entries may stand in any order; the members do not move."""
    content = archive.read_bytes()
    at = [n for n in range(len(content)) if content.startswith(b"PK\x01\x02", n)]
    end = content.rindex(b"PK\x05\x06")
    entries = [content[a:b] for a, b in zip(at, [*at[1:], end], strict=True)]
    archive.write_bytes(content[: at[0]] + b"".join(reversed(entries)) + content[end:])
    assert read_tensors(archive)["x"].read().tolist() == [[0, 0, 0], [0, 0, 0]]


def test_bytes_that_belong_to_nobody(archive):
    """Between the directory and what says where it is."""
    content = archive.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    archive.write_bytes(content[:end] + bytes(46) + content[end:])
    with refused(ValueError, str(archive), "its zip directory is not where it should be"):
        read_tensors(archive)


@pytest.mark.parametrize(("at", "form", "value"), [(10, "<H", 3), (12, "<I", 100), (16, "<I", 100)])
def test_a_directory_that_is_described_twice(at, form, value, tmp_path):
    """In 64 bits, as PyTorch always does, and in 32: how many members, how long, from where on."""
    path = tmp_path / "pytorch_model.bin"
    torch.save({"x": torch.zeros(3)}, path)
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    assert content[end - 20 : end - 16] == b"PK\x06\x07"
    for wide in (value, (1 << 8 * struct.calcsize(form)) - 1):  # all ones: see the other
        struct.pack_into(form, content, end + at, wide)
        path.write_bytes(content)
        if wide != value:
            assert list(read_tensors(path)) == ["x"]
            continue
        with refused(ValueError, str(path), "its zip directory is described twice, and not alike"):
            read_tensors(path)


def test_a_directory_that_is_too_large(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(33):
            member = zipfile.ZipInfo(f"x/{n}")
            member.comment = bytes(65_535)
            archive.writestr(member, b"")
    with refused(ValueError, str(path), "its directory takes 2,164", "2,097,152 are the limit"):
        read_tensors(path)


def test_an_archive_with_two_members_of_one_name(tmp_path):
    path = archive_with(tmp_path / "pytorch_model.bin", tensor())
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x/data/0", bytes(24))
    with refused(ValueError, str(path), "two members named x/data/0"):
        read_tensors(path)


@pytest.mark.parametrize("names", [[], ["data.pkl"], ["a/data.pkl", "b/data.pkl"], ["a/b/data.pkl"], ["../data.pk"]])
def test_archives_without_the_one_pickle(names, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", b"")
        for name in names:
            archive.writestr(name, b"}.")
    with refused(ValueError, str(path), "PyTorch's files have one"):
        read_tensors(path)


def test_an_archive_in_no_byte_order(archive):
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("x/byteorder", b"middle" * 10**5)
    with refused(ValueError, str(archive), "neither little nor big but b'middlemidd'"):
        read_tensors(archive)


def test_a_pickle_that_is_too_large(tmp_path):
    path = archive_with(tmp_path / "pytorch_model.bin", b"N" * HEADER_LIMIT)
    with refused(ValueError, str(path), "2,097,152 bytes"):
        read_tensors(path)
    pickled_file(path, b"N" * HEADER_LIMIT + b".", zipped=False)
    with refused(ValueError, str(path), "longer than the limit"):
        read_tensors(path)
