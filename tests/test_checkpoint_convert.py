"""Turning one weight format into another: what arrives, what goes with it, and what is left when it fails."""

import contextlib
import itertools
import json
import shutil
import types
from pathlib import Path

import numpy as np
import pytest
from models import TASKS, make_model
from test_bad_input import refused

from minirembert import RemBertForMaskedLM
from minirembert.checkpoint import held, read_tensors, weight_files, write_weights
from minirembert.checkpoint.convert import convert
from minirembert.checkpoint.tensors import FLOATS, from_bfloat16, to_bfloat16
from minirembert.cli import main
from minirembert.training.finetune import discarded_parameters

FORMATS = ("safetensors", "pytorch", "h5")
SMALLEST_TOKENIZER = b"\x0a\x09\x0a\x05<unk>\x18\x02\x0a\x03\x0a\x01a"  # two pieces: <unk> and a


@pytest.fixture
def saved(tmp_path):
    make_model(TASKS["masked lm"], "one head", dtype="float32").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def numbers(folder: Path) -> dict[str, np.ndarray]:
    return {name: tensor.read() for name, tensor in read_tensors(folder).items()}


@pytest.mark.parametrize(("first", "second"), [*itertools.product(FORMATS, FORMATS)])
def test_any_format_into_any_other(first, second, saved, tmp_path):
    convert(saved, tmp_path / "a", first)
    convert(tmp_path / "a", tmp_path / "b", second)
    before, after = numbers(saved), numbers(tmp_path / "b")
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[n], after[n]) and before[n].dtype == after[n].dtype for n in before)
    model = RemBertForMaskedLM.from_pretrained(tmp_path / "b")
    assert all(np.array_equal(model.parameters[name], array) for name, array in before.items())
    assert discarded_parameters(tmp_path / "b") == discarded_parameters(saved) > 0


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_into_another_dtype(format, dtype, saved, tmp_path):
    """Rounded once; config.json says so; float32 models load from it."""
    if format == "h5" and dtype == "bfloat16":
        with refused(ValueError, "tf_model.h5 holds no BF16", "choose another dtype"):
            convert(saved, tmp_path / "a", format, dtype=dtype)
        assert not (tmp_path / "a").exists()
        return
    convert(saved, tmp_path / "a", format, dtype=dtype)
    stored = read_tensors(tmp_path / "a")
    assert {tensor.dtype for tensor in stored.values()} == {FLOATS[dtype]}
    for name, array in numbers(saved).items():
        rounded = from_bfloat16(to_bfloat16(array, name)) if dtype == "bfloat16" else array.astype(dtype)
        assert np.array_equal(stored[name].read(), rounded), name
    assert json.loads((tmp_path / "a" / "config.json").read_text())["dtype"] == dtype
    RemBertForMaskedLM.from_pretrained(tmp_path / "a")


def test_what_goes_along(saved, tmp_path):
    """The configuration and the tokenizer, byte for byte; not the old weights, nor whatever else is there."""
    (saved / "sentencepiece.model").write_bytes(SMALLEST_TOKENIZER)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        (saved / name).write_bytes(b'{"%s":\t1}\r\n' % name.encode())
    (saved / "optimizer.bin").write_text("mine")
    (tmp_path / "empty").mkdir()
    convert(saved, tmp_path / "empty", "pytorch")
    names = {path.name for path in (tmp_path / "empty").iterdir()}
    assert names == {path.name for path in saved.iterdir()} - {"model.safetensors", "optimizer.bin"} | {
        "pytorch_model.bin"
    }
    assert all((tmp_path / "empty" / n).read_bytes() == (saved / n).read_bytes() for n in names - {"pytorch_model.bin"})


@pytest.mark.parametrize("before", [{}, {"torch_dtype": "float32"}, {"torch_dtype": None, "dtype": "float16"}])
def test_every_name_of_the_dtype_is_kept_true(before, saved, tmp_path):
    """torch_dtype, as an older transformers calls it, must not stay what it was."""
    config = json.loads((saved / "config.json").read_text())
    config.pop("dtype", None)
    (saved / "config.json").write_text(json.dumps(config | before))
    convert(saved, tmp_path / "new", "pytorch", dtype="float64")
    after = json.loads((tmp_path / "new" / "config.json").read_text())
    assert after == config | dict.fromkeys(before, "float64") | {"dtype": "float64"}


@pytest.mark.parametrize("dtype", [None, "float16"])
def test_the_bar_counts_the_bytes_that_are_read(dtype, saved, tmp_path, monkeypatch):
    """Those of the source, each of them once; and nothing is said to one who did not ask."""
    told: list[int] = []

    @contextlib.contextmanager
    def fake(title, total, unit, **options):
        assert (title, unit) == ("converting", "bytes")
        told.append(total)
        yield types.SimpleNamespace(advance=told.append)

    monkeypatch.setattr("minirembert.checkpoint.convert.counted", fake)
    convert(saved, tmp_path / "quiet", "pytorch", dtype=dtype)
    assert told == []
    convert(saved, tmp_path / "new", "pytorch", dtype=dtype, progress=True)
    sizes = [array.nbytes for array in numbers(saved).values()]
    assert told[0] == sum(sizes) == sum(told[1:]) and sorted(told[1:]) == sorted(sizes)


def test_names_and_buffers_of_old_files_are_not_passed_on(saved, tmp_path):
    import torch

    tensors = {name: torch.tensor(array) for name, array in numbers(saved).items()}
    weight = tensors.pop("rembert.embeddings.LayerNorm.weight")
    old = {
        **tensors,
        "rembert.embeddings.LayerNorm.gamma": weight,
        "rembert.embeddings.position_ids": torch.arange(19)[None],
    }
    (tmp_path / "old").mkdir()
    shutil.copy(saved / "config.json", tmp_path / "old")
    torch.save(old, tmp_path / "old" / "pytorch_model.bin")
    convert(tmp_path / "old", tmp_path / "new", "safetensors", dtype="float16")
    assert read_tensors(tmp_path / "new").keys() == tensors.keys() | {"rembert.embeddings.LayerNorm.weight"}


@pytest.mark.parametrize("standing", ["a file", "a folder with a file", "the source"])
def test_a_target_that_is_taken(standing, saved, tmp_path):
    target = saved if standing == "the source" else tmp_path / "target"
    if standing == "a file":
        target.write_text("here first")
    elif standing == "a folder with a file":
        target.mkdir()
        (target / "notes").write_text("here first")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with refused(FileExistsError, f"{target} exists already and is not an empty folder"):
        convert(saved, target, "pytorch")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_source_that_is_damaged_leaves_nothing(saved, tmp_path):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "empty").mkdir()
    for target in ("new", "empty"):
        with refused(ValueError, str(path), "damaged or cut short"):
            convert(saved, tmp_path / target, "pytorch")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["config.json", "empty", "model", "model.safetensors"]


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"format": "onnx"}, ValueError, "format must be one of safetensors, pytorch, h5, got 'onnx'"),
        ({"dtype": "int8"}, ValueError, "dtype must be one of float16, bfloat16, float32, float64, got 'int8'"),
        ({"max_shard_size": "some"}, ValueError, "max_shard_size must be a size like 500MB"),
        ({"format": "h5", "max_shard_size": "1GB"}, ValueError, "tf_model.h5 is written as one file"),
        ({"format": "h5", "max_shard_size": "10XB"}, ValueError, "max_shard_size must be a size like 500MB"),
        ({"source": "nowhere", "max_shard_size": "10XB"}, ValueError, "max_shard_size must be a size like 500MB"),
        ({"source": "nowhere"}, FileNotFoundError, "nowhere is not a folder"),
    ],
)
def test_settings_that_make_no_sense(settings, kind, message, saved, tmp_path):
    settings = {"source": saved, "format": "pytorch"} | settings
    with refused(kind, message):
        convert(target=tmp_path / "new", **settings)
    assert not (tmp_path / "new").exists()


def test_a_source_without_weights(tmp_path):
    (tmp_path / "empty").mkdir()
    with refused(FileNotFoundError, str(tmp_path / "empty"), "model.safetensors", "pytorch_model.bin", "tf_model.h5"):
        convert(tmp_path / "empty", tmp_path / "new", "pytorch")


def test_the_command(saved, tmp_path, capsys):
    new = tmp_path / "new"
    command = ["convert", str(saved), str(new), "--format", "pytorch", "--dtype", "float64", "--max-shard-size", "1KB"]
    assert main(command) == 0
    assert capsys.readouterr().out == f"the model of {saved} is in {new}, as pytorch\n"
    assert len(weight_files(new)) > 3
    assert {tensor.dtype for tensor in read_tensors(new).values()} == {"F64"}
    assert main(command) == 1
    assert capsys.readouterr().err == f"minirembert convert: {new} exists already and is not an empty folder\n"


@pytest.mark.parametrize("name", ["counter", "rembert.encoder.layer.0.output.LayerNorm.scale"])
def test_a_tensor_that_tensorflow_has_no_place_for(name, tmp_path):
    with refused(ValueError, f"{name} is no tensor of RemBERT, and TensorFlow's model has no place for it"):
        write_weights(held({name: np.ones(5)}), tmp_path, "h5")
