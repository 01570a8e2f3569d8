"""PyTorch's files: what torch writes is read here and the other way round; files that do harm; and a machine without torch."""

import errno
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import TASKS, make_model
from test_bad_input import refused

from minirembert import RemBertForMaskedLM
from minirembert.checkpoint import held, read_tensors, write_weights
from minirembert.checkpoint.convert import convert
from minirembert.cli import main

# --- there and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int64", "uint8", "bool", "complex64"])
def test_torch_loads_our_files_without_trust(dtype, tmp_path):
    """With `weights_only`, from memory and mapped; also what is empty or a scalar. The same weights make the same file."""
    rng = torch.Generator().manual_seed(0)
    tensors = {f"имя {shape}": (100 * torch.randn(shape, generator=rng)).to(getattr(torch, dtype))
               for shape in [(3, 5), (), (0, 4), (7,), (2, 1, 3), (2, 0, 3)]}  # fmt: skip
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    plan = {name: (tensor, tensor.dtype) for name, tensor in read_tensors(tmp_path).items()}
    write_weights(plan, tmp_path / "new", "pytorch")
    for mapped in (False, True):
        again = torch.load(tmp_path / "new" / "pytorch_model.bin", weights_only=True, mmap=mapped)
        assert list(again) == list(tensors)
        for name, tensor in tensors.items():
            assert again[name].dtype == tensor.dtype and torch.equal(again[name], tensor)
            assert again[name].is_contiguous()
    write_weights(plan, tmp_path / "once more", "pytorch")
    first, second = (tmp_path / folder / "pytorch_model.bin" for folder in ("new", "once more"))
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert archive.namelist()[0] == "archive/data.pkl", "and not the name of a temporary file"


def awkward_tensors() -> dict[str, torch.Tensor]:
    """Views with offsets and strides, two of them in one storage, parameters, and every number format."""
    numbers = torch.randn((6, 8), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {
        "transposed": numbers.T, "rows": numbers[2:4], "columns": numbers[:, 3:5], "every other": numbers[1::2, ::3],
        "scalar": numbers[3, 4], "permuted": numbers.reshape(2, 3, 8).permute(2, 0, 1), "one row": numbers[5:6, 2:],
        "parameter": torch.nn.Parameter(numbers.float()), "half": numbers.half(), "brain": numbers.bfloat16(),
        "brain, transposed": numbers.bfloat16().T, "brain's parameter": torch.nn.Parameter(numbers.bfloat16()),
        "long": torch.arange(5), "int": torch.arange(5, dtype=torch.int32), "bool": numbers > 0, "empty": numbers[6:],
        "nothing of columns": numbers[6:, ::2], "signed": torch.arange(-3, 3, dtype=torch.int8),
        "bytes": torch.arange(7, dtype=torch.uint8), "short": torch.arange(-3, 3, dtype=torch.int16),
        "complex": numbers.to(torch.complex64), "conjugate": (numbers * (1 + 2j)).to(torch.complex64).conj(),
    }  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
def test_every_kind_of_tensor_that_torch_saves(zipped, tmp_path):
    tensors = awkward_tensors()
    path = tmp_path / "pytorch_model.bin"
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    read = read_tensors(path)
    assert list(read) == list(tensors)
    for name, tensor in tensors.items():
        expected = (tensor.float() if "brain" in name else tensor).detach().resolve_conj().numpy()
        assert read[name].shape == expected.shape
        found = read[name].read()
        assert found.dtype == expected.dtype and found.shape == expected.shape, name
        assert np.array_equal(found, expected), name
        assert found.flags.c_contiguous and found.flags.writeable and found.flags.owndata
        found[...] = 0
        assert np.array_equal(read[name].read(), expected), "what is read is a copy"
    assert path.read_bytes() == content


def test_half_precision_as_torch_rounds_it(tmp_path):
    """float16 and bfloat16 to float32, exactly; into their own dtype again; and a number that is too large."""
    numbers = torch.tensor([1.0, 1 / 3, -65504.0, 1e-7, 3e38, float("inf"), float("-inf")])
    torch.save({"half": numbers.half(), "brain": numbers.bfloat16(), "wide": numbers.double()}, tmp_path / "x.bin")
    read = read_tensors(tmp_path / "x.bin")
    assert [tensor.dtype for tensor in read.values()] == ["F16", "BF16", "F64"]
    assert np.array_equal(read["half"].read("float32"), numbers.half().float().numpy())
    assert np.array_equal(read["brain"].read("float64"), numbers.bfloat16().double().numpy())
    assert read["half"].read().dtype == np.float16 and read["brain"].read().dtype == np.float32
    with refused(ValueError, f"{tmp_path / 'x.bin'}: brain holds -6.554e+04, which is too large for float16"):
        read["brain"].read("float16")
    plan = {name: (tensor, "F64" if name == "wide" else tensor.dtype) for name, tensor in read.items()}
    write_weights(plan, tmp_path / "new", "pytorch")
    again = torch.load(tmp_path / "new" / "pytorch_model.bin", weights_only=True)
    assert torch.equal(again["half"], numbers.half()) and torch.equal(again["brain"], numbers.bfloat16())


def test_arrays_that_torch_cannot_take_as_they_are(tmp_path):
    """Read-only, of the other byte order, backwards, transposed: written like any other, without a warning."""
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    locked = numbers.copy()
    locked.flags.writeable = False
    arrays = {"locked": locked, "other": numbers.astype(">f4"), "backwards": numbers[::-1, ::-1], "columns": numbers.T}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_weights(held(arrays), tmp_path, "pytorch")
    again = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    for name, array in arrays.items():
        assert np.array_equal(again[name].numpy(), array) and again[name].is_contiguous(), name
    assert np.array_equal(numbers, np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("zipped", [True, False])
def test_an_ordered_dictionary_with_metadata(zipped, tmp_path):
    state = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2)).state_dict()
    assert hasattr(state, "_metadata")
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    read = read_tensors(tmp_path)
    assert all(np.array_equal(read[name].read(), tensor.numpy()) for name, tensor in state.items())


def rewritten(source: Path, target: Path, change: Any, method: int = zipfile.ZIP_STORED) -> Path:
    """A copy of an archive with `change(name, content)` in the place of each member's content."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for info in old.infolist():
            new.writestr(zipfile.ZipInfo(info.filename), change(info.filename, old.read(info)), method)
    return target


def test_a_file_from_a_machine_with_the_other_byte_order(tmp_path):
    tensors = {name: t for name, t in awkward_tensors().items() if not t.is_complex()}
    torch.save(tensors, tmp_path / "little.bin")
    sizes = list({t.untyped_storage().data_ptr(): t.element_size() for t in tensors.values()}.values())

    def swapped(name: str, content: bytes) -> bytes:
        if "/data/" not in name:
            return b"big" if name.endswith("byteorder") else content
        return np.frombuffer(content, f"u{sizes[int(name.rpartition('/')[2])]}").byteswap().tobytes()

    content = rewritten(tmp_path / "little.bin", tmp_path / "big.bin", swapped).read_bytes()
    little, big = read_tensors(tmp_path / "little.bin"), read_tensors(tmp_path / "big.bin")
    for name in tensors:
        assert np.array_equal(big[name].read(), little[name].read()), name
        assert big[name].read().dtype.isnative
    assert (tmp_path / "big.bin").read_bytes() == content, "swapped in memory, not in the file"


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_that_were_saved_on_a_gpu(zipped, tmp_path):
    """They come to the processor, whether there is a GPU or not."""
    path = tmp_path / "pytorch_model.bin"
    torch.save({"x": torch.arange(3.0)}, path, _use_new_zipfile_serialization=zipped)
    here, there = b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0"
    if zipped:
        path = rewritten(path, tmp_path / "gpu.bin", lambda name, content: content.replace(here, there))
    else:
        path.write_bytes(path.read_bytes().replace(here, there))
    assert path.read_bytes().count(there) == 1
    assert read_tensors(path)["x"].read().tolist() == [0, 1, 2]


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


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say so simply what is in memory")
def test_a_mapped_file_takes_no_memory_until_a_tensor_is_read(tmp_path):
    """A tensor of 80 MB beside one that is read."""

    def in_memory() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    torch.save({"large": torch.zeros(20_000_000), "small": torch.tensor([1.0, 2.0])}, tmp_path / "pytorch_model.bin")
    before = in_memory()
    tensors = read_tensors(tmp_path)
    assert tensors["small"].read().tolist() == [1, 2] and tensors["large"].shape == (20_000_000,)
    assert in_memory() - before < 20_000_000
    tensors["large"].read()


# --- what is refused --------------------------------------------------------------------------------------------------


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
        archive.writestr("archive/version", b"3\n")
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "posix.system"), (eval, "eval"), (getattr, "getattr"), (torch.load, "torch.serialization.load"),
     (Path, "pathlib")],
)  # fmt: skip
def test_pickles_that_run_code(function, name, zipped, tmp_path, capsys):
    (tmp_path / "model").mkdir()
    content = pickle.dumps({"x": Attack(function, f"touch {tmp_path}/harm")}, 2)
    path = pickled_file(tmp_path / "model" / "pytorch_model.bin", content, zipped)
    with refused(ValueError, f"{path} is damaged or cut short: its pickle asks for {name}", "nothing was run"):
        read_tensors(path)
    assert main(["convert", str(tmp_path / "model"), str(tmp_path / "new"), "--format", "safetensors"]) == 1
    assert "weights_only" not in capsys.readouterr().err, "PyTorch's advice is to trust the file"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["model", "pytorch_model.bin"]


def test_code_is_refused_whatever_the_surroundings_say(tmp_path, monkeypatch):
    """PyTorch has a variable that makes it trust every file whose reader has not said what it wants."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = pickled_file(tmp_path / "x.bin", pickle.dumps({"x": Attack(os.system, f"touch {tmp_path}/harm")}, 2))
    with refused(ValueError, str(path), "nothing was run"):
        read_tensors(path)
    assert not (tmp_path / "harm").exists()


def test_what_pytorch_says_is_not_shown_whole(tmp_path, monkeypatch):
    """Not in the message, and not as the error before it."""
    torch.save({}, tmp_path / "pytorch_model.bin")
    path = pickled_file(tmp_path / "x.bin", pickle.dumps({"x": Attack(os.system, "true")}, 2))
    with pytest.raises(ValueError, match="nothing was run") as caught:
        read_tensors(path)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    path = pickled_file(
        tmp_path / "y.bin", b"\x80\x02" + b"c" + b"x" * 5000 + b"\n" + b"\x1b[31m" + b"y" * 5000 + b"\n."
    )
    with refused(ValueError, str(path), "its pickle asks for xxx"):
        read_tensors(path)
    (tmp_path / "z.bin").write_bytes(b"\x80" + bytes(range(256)) * 40)
    with refused(ValueError, str(tmp_path / "z.bin"), "PyTorch cannot read it ("):
        read_tensors(tmp_path / "z.bin")

    def fails(*arguments: Any, **settings: Any) -> None:
        raise RuntimeError("one\ntwo\x1b[31m " + "x" * 5000)

    monkeypatch.setattr(torch, "load", fails)
    with refused(
        ValueError, "pytorch_model.bin is damaged", r"PyTorch cannot read it (RuntimeError: 'one two\x1b[31m xxx"
    ):
        read_tensors(tmp_path)


@pytest.mark.parametrize("value", [[], 5, "text", (), None])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_holds_no_dictionary(value, zipped, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    with refused(ValueError, str(path), f"it holds a {type(value).__name__} instead of tensors by name"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"x": 5}, "under x it holds no tensor but a int"), ({"x": {"y": torch.zeros(1)}}, "no tensor but a dict"),
        ({5: torch.zeros(1)}, "under 5 it holds no tensor"), ({"x\n": None}, "under 'x\\n' it holds no tensor but a NoneType"),
        ({"x": torch.zeros(2, 2).to_sparse()}, "x is a tensor of a kind that weights never have (float32)"),
        ({"x": torch.zeros(2, device="meta")}, "x is a tensor of a kind"),
        ({"x": torch.zeros(2, dtype=torch.uint16)}, "a kind that weights never have (uint16)"),
        ({"x": torch.zeros(2, dtype=torch.float8_e5m2)}, "a kind that weights never have (float8_e5m2)"),
    ],
)  # fmt: skip
def test_a_dictionary_of_something_else(value, reason, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save(value, path)
    with refused(ValueError, f"{path} is damaged or cut short", reason):
        read_tensors(path)


def test_archives_that_are_packed(tmp_path):
    """PyTorch maps the file, and would take the packed bytes for numbers."""
    numbers = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    torch.save({"x": numbers}, tmp_path / "good.bin")
    path = rewritten(tmp_path / "good.bin", tmp_path / "packed.bin", lambda _, content: content, zipfile.ZIP_DEFLATED)
    with refused(ValueError, f"{path} is damaged or cut short: its member good/", "is packed, and PyTorch packs none"):
        read_tensors(path)
    path = rewritten(tmp_path / "good.bin", tmp_path / "again.bin", lambda _, content: content)
    assert np.array_equal(read_tensors(path)["x"].read(), numbers.numpy())


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"hello", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\x80\x02.", pickle.dumps(5), pickle.dumps({"a": 1}, 2),
     b"\x93NUMPY", b"version https://git-lfs.github.com/spec/v1\n", b"\x80"],
)  # fmt: skip
def test_files_that_are_not_pytorchs(content, tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with refused(ValueError, f"{tmp_path / 'pytorch_model.bin'} is damaged or cut short: "):
        read_tensors(tmp_path)


def test_a_tar_archive_is_not_unpacked(tmp_path, monkeypatch):
    """As PyTorch's files were at first: it would make a folder for what is in them."""
    import tarfile
    import tempfile

    with tarfile.open(tmp_path / "x.bin", "w") as archive:
        archive.add(__file__, "storages")
    monkeypatch.setattr(tempfile, "mkdtemp", None)
    with refused(ValueError, "neither a zip archive nor a file of PyTorch before 1.6"):
        read_tensors(tmp_path / "x.bin")


def test_a_program_of_torchscript_is_refused(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("constants.pkl", "data.pkl"):
            archive.writestr(f"x/{name}", pickle.dumps({}, 2))
        archive.writestr("x/version", b"3\n")
    with refused(ValueError, str(path), "PyTorch cannot read it (RuntimeError: Cannot use"):
        read_tensors(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_short_leaves_nothing_behind(zipped, tmp_path):
    """At every tenth byte, and at the last: one sentence, and no half of a model or of a folder."""
    make_model(TASKS["masked lm"], "one head", dtype="float32").save_pretrained(tmp_path / "a")
    arrays = {name: torch.from_numpy(tensor.read()) for name, tensor in read_tensors(tmp_path / "a").items()}
    (tmp_path / "a" / "model.safetensors").unlink()
    path = tmp_path / "a" / "pytorch_model.bin"
    torch.save(arrays, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    RemBertForMaskedLM.from_pretrained(tmp_path / "a")
    for end in [*range(0, len(content), len(content) // 40), len(content) - 1]:
        path.write_bytes(content[:end])
        with refused(ValueError, f"{path} is damaged or cut short: "):
            RemBertForMaskedLM.from_pretrained(tmp_path / "a")
    with refused(ValueError, str(path)):
        convert(tmp_path / "a", tmp_path / "new", "safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_tensor_that_reaches_beyond_its_numbers(tmp_path):
    """Its shape in the pickle is larger than what is there."""
    torch.save({"x": torch.zeros(2, 3)}, tmp_path / "good.bin")

    def larger(name: str, content: bytes) -> bytes:
        return content.replace(b"K\x02K\x03\x86", b"K\x7fK\x7f\x86") if name.endswith("data.pkl") else content

    path = rewritten(tmp_path / "good.bin", tmp_path / "bad.bin", larger)
    with refused(ValueError, f"{path} is damaged or cut short: PyTorch cannot read it ("):
        read_tensors(path)


def test_an_index_names_a_shard_that_is_damaged(tmp_path):
    make_model(TASKS["encoder"], "one head", dtype="float32").save_pretrained(
        tmp_path, safe_serialization=False, max_shard_size=2000
    )
    path = next(tmp_path.glob("pytorch_model-00002-*"))
    path.write_bytes(path.read_bytes()[:-200])
    with refused(ValueError, f"{path} is damaged or cut short: PyTorch cannot read it ("):
        read_tensors(tmp_path)


def test_a_disk_that_fills_up_while_torch_writes(tmp_path):
    """A process that may write a hundred thousand bytes and no more: what stood there before still does."""
    model = make_model(TASKS["masked lm"])
    model.save_pretrained(tmp_path, safe_serialization=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(before["pytorch_model.bin"]) > 100_000
    script = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch
from models import TASKS, make_model
model = make_model(TASKS["masked lm"], seed=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    model.save_pretrained({str(tmp_path)!r}, safe_serialization=False)
except OSError as error:
    print(error)
    sys.exit(7)
"""
    ran = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 7, (ran.returncode, ran.stdout, ran.stderr[-2000:])
    assert ran.stdout.count("\n") == 1 and str(tmp_path / "pytorch_model.bin") in ran.stdout
    assert os.strerror(errno.EFBIG) in ran.stdout
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_number_of_another_length_in_an_old_file(tmp_path):
    """The storage says that it has more numbers than the file."""
    path = tmp_path / "pytorch_model.bin"
    torch.save({"x": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert content.endswith(struct.pack("<Q", 3) + bytes(12))
    path.write_bytes(content[:-20] + struct.pack("<Q", 2**40) + bytes(12))
    with refused(ValueError, f"{path} is damaged or cut short: PyTorch cannot read it ("):
        read_tensors(path)


# --- without torch ----------------------------------------------------------------------------------------------------


def test_a_folder_that_needs_torch(tmp_path, monkeypatch, capsys):
    make_model(TASKS["masked lm"], "one head").save_pretrained(tmp_path / "bin", safe_serialization=False)
    make_model(TASKS["masked lm"], "one head").save_pretrained(tmp_path / "safe")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    missing = "pytorch_model.bin needs the library torch, which is not installed: pip install torch"
    with pytest.raises(ImportError) as caught:
        RemBertForMaskedLM.from_pretrained(tmp_path / "bin")
    assert str(caught.value) == f"{tmp_path / 'bin'}/{missing}"
    assert main(["convert", str(tmp_path / "bin"), str(tmp_path / "new"), "--format", "safetensors"]) == 1
    assert missing in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "safe"), str(tmp_path / "new"), "--format", "pytorch"]) == 1
    assert missing in capsys.readouterr().err
    with pytest.raises(ImportError, match=f"^{missing}$"):
        make_model(TASKS["masked lm"], "one head").save_pretrained(tmp_path / "new", safe_serialization=False)
    assert not (tmp_path / "new").exists()


def test_torch_is_imported_for_its_own_files_alone(tmp_path):
    """Also beside one that another is preferred to."""
    program = f"""
import sys
from minirembert import RemBertForMaskedLM
from minirembert.checkpoint.convert import convert
folder = {str(tmp_path)!r}
convert(folder + "/a", folder + "/h5", "h5")
convert(folder + "/h5", folder + "/b", "safetensors", max_shard_size=2000)
RemBertForMaskedLM.from_pretrained(folder + "/a").save_pretrained(folder + "/c")
assert "torch" not in sys.modules
convert(folder + "/b", folder + "/bin", "pytorch")
assert "torch" in sys.modules
"""
    model = make_model(TASKS["masked lm"], "one head")
    model.save_pretrained(tmp_path / "a", safe_serialization=False)
    (tmp_path / "a" / "pytorch_model.bin").write_bytes(b"never read")
    model.save_pretrained(tmp_path / "b")
    (tmp_path / "b" / "model.safetensors").rename(tmp_path / "a" / "model.safetensors")
    (tmp_path / "b" / "config.json").unlink()
    subprocess.run([sys.executable, "-c", program], check=True)
