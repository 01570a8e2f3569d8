"""Converting refuses what is no RemBERT, or not a whole one, in one sentence, and writes nothing."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from models import TASKS, make_model
from test_bad_input import refused
from test_checkpoint_convert import SMALLEST_TOKENIZER

from minirembert import RemBertForCausalLM, RemBertModel
from minirembert.checkpoint import read_tensors, save_weights
from minirembert.checkpoint.convert import convert
from minirembert.cli import main

BIAS = "rembert.encoder.layer.1.attention.self.key.bias"


def config(**changes: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(values | changes))

    return change


def content(name: str, text: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(text)


def weights(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        arrays = {name: tensor.read() for name, tensor in read_tensors(folder).items()}
        change(arrays)
        save_weights(arrays, folder / "model.safetensors")

    return rewrite


def foreign(arrays: dict[str, np.ndarray]) -> None:
    arrays.clear()
    arrays.update({"foo.weight": np.ones((2, 3)), "bar": np.ones(1)})


def pipe(name: str) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return replace


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "half a configuration": (content("config.json", b"{"), "config.json is not valid JSON"),
    "a list": (content("config.json", b"[]"), "config.json must hold a JSON object, found list"),
    "an empty configuration": (content("config.json", b""), "config.json is not valid JSON"),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "config.json does not exist"),
    "a pipe": (pipe("config.json"), "config.json is a pipe or a device, not a file"),
    "a tokenizer's pipe": (pipe("tokenizer.json"), "tokenizer.json is a pipe or a device, not a file"),
    "a tokenizer's link": (
        lambda folder: (folder / "tokenizer.json").symlink_to("nowhere"), "tokenizer.json is a link that leads to no file",
    ),
    "a layer too few": (config(num_hidden_layers=3), "num_hidden_layers = 3, but the weights have 2"),
    "a layer too many": (config(num_hidden_layers=1), "num_hidden_layers = 1, but the weights have 2"),
    "layers without end": (config(num_hidden_layers=10**12), "the weights have 2"),
    "another vocabulary": (
        config(vocab_size=40), "cls.predictions.decoder.bias should have shape (40,), found (37,)",
    ),
    "another head": (
        weights(lambda arrays: arrays.update({"cls.predictions.decoder.bias": np.ones(3)})),
        "cls.predictions.decoder.bias should have shape",
    ),
    "another pooler": (
        weights(lambda arrays: arrays.update({"rembert.pooler.dense.weight": np.ones(3)})),
        "pooler.dense.weight should have shape",
    ),
    "answers of another width": (
        weights(lambda arrays: arrays.update({"qa_outputs.weight": np.ones((3, 5))})),
        "qa_outputs.weight should have shape (2, 5), found (3, 5)",
    ),
    "labels of another width": (
        weights(lambda arrays: arrays.update({"classifier.weight": np.ones((3, 6))})),
        "classifier.weight should have shape",
    ),
    "a broken tokenizer_config.json": (content("tokenizer_config.json", b"{]"), "tokenizer_config.json is not valid"),
    "a broken sentencepiece.model": (
        content("sentencepiece.model", b"broken"), "sentencepiece.model is not a SentencePiece model",
    ),
    "foreign tensors": (weights(foreign), "is no tensor of RemBERT, the first of 2 that are none"),
    "a tensor too few": (
        weights(lambda arrays: arrays.pop(BIAS)), "lacks 1 of the encoder's tensors, the first of them encoder.layer.1.",
    ),
    "a tensor of integers": (
        weights(lambda arrays: arrays.update({BIAS: arrays[BIAS].astype(int)})), "floating-point numbers, found I64",
    ),
    "a tensor twice": (
        weights(lambda arrays: arrays.update({BIAS.removeprefix("rembert."): arrays[BIAS]})), "is there twice",
    ),
}  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes in folders")
@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_whole_model_is_refused(what, tmp_path, capsys):
    breaking, message = BROKEN[what]
    make_model(TASKS["masked lm"], "one head", dtype="float32").save_pretrained(tmp_path / "model")
    breaking(tmp_path / "model")
    assert main(["convert", str(tmp_path / "model"), str(tmp_path / "new"), "--format", "pytorch"]) == 1
    error = capsys.readouterr().err
    assert message in error and error.startswith("minirembert convert: ") and error.count("\n") == 1
    assert str(tmp_path / "model") in error
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_tokenizer_may_be_larger_than_its_settings(tmp_path):
    """A vocabulary of 250,000 pieces takes more than the 16 MiB that other JSON may take."""
    make_model(TASKS["encoder"], "one head").save_pretrained(tmp_path / "model")
    large = b"{}".ljust(16 * 2**20 + 1)
    (tmp_path / "model" / "tokenizer.json").write_bytes(large)
    convert(tmp_path / "model", tmp_path / "new", "pytorch")
    assert (tmp_path / "new" / "tokenizer.json").read_bytes() == large
    (tmp_path / "model" / "tokenizer_config.json").write_bytes(large)
    with refused(ValueError, "tokenizer_config.json is too large", "16,777,216 bytes"):
        convert(tmp_path / "model", tmp_path / "other", "pytorch")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", ["one head", "head size 7"])
def test_every_model_is_one(task, size, tmp_path):
    """The classifier of multiple choice too, which is narrower than the configuration says."""
    make_model(TASKS[task], size).save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "sentencepiece.model").write_bytes(SMALLEST_TOKENIZER)
    convert(tmp_path / "model", tmp_path / "new", "pytorch")
    assert read_tensors(tmp_path / "new").keys() == read_tensors(tmp_path / "model").keys()


def test_what_a_configuration_asks_for_and_an_encoder_may_lack(tmp_path):
    """Cross-attention, and the pooler; and cross-attention that the configuration has switched off."""
    model = make_model(TASKS["causal lm"], "one head", add_cross_attention=True)
    assert isinstance(model, RemBertForCausalLM)
    model.save_pretrained(tmp_path / "a")
    config(add_cross_attention=False)(tmp_path / "a")
    convert(tmp_path / "a", tmp_path / "b", "safetensors")
    assert any(".crossattention." in name for name in read_tensors(tmp_path / "b"))
    RemBertModel(model.config, add_pooling_layer=False).save_pretrained(tmp_path / "c")
    weights(lambda arrays: [arrays.pop(name) for name in list(arrays) if ".crossattention." in name])(tmp_path / "c")
    convert(tmp_path / "c", tmp_path / "d", "h5")
    assert not any("pooler" in name or ".crossattention." in name for name in read_tensors(tmp_path / "d"))


def test_a_head_of_somebody_s_own_goes_along(tmp_path):
    make_model(TASKS["encoder"], "one head").save_pretrained(tmp_path / "a")
    weights(lambda arrays: arrays.update({"my_head.weight": np.ones(3)}))(tmp_path / "a")
    convert(tmp_path / "a", tmp_path / "b", "pytorch")
    assert (read_tensors(tmp_path / "b")["my_head.weight"].read() == 1).all()
    with refused(ValueError, "my_head.weight is no tensor of RemBERT"):
        convert(tmp_path / "a", tmp_path / "c", "h5")


@pytest.mark.parametrize("size", ["-5MB", "-1", "0", "10XB"])
@pytest.mark.parametrize("format", ["pytorch", "h5"])
def test_a_size_that_is_none(size, format, tmp_path, capsys):
    command = ["convert", str(tmp_path), str(tmp_path / "new"), "--max-shard-size", size, "--format", format]
    assert main(command) == 1
    assert f"max_shard_size must be a size like 500MB, 2GiB or a positive number of bytes, got '{size}'" in (
        capsys.readouterr().err
    )


def test_weights_that_are_no_file(tmp_path):
    path = tmp_path / "model.safetensors"
    for make, what in (
        (path.mkdir, "is a folder, not a file"),
        (lambda: path.symlink_to(path), "is a link that leads to no file"),
        (lambda: path.symlink_to("nowhere"), "is a link that leads to no file"),
    ):
        make()
        with refused(FileNotFoundError, f"{path} {what}: no saved weights are there"):
            read_tensors(tmp_path)
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes in folders")
def test_weights_that_are_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    with refused(FileNotFoundError, "model.safetensors is a pipe or a device, not a file"):
        read_tensors(tmp_path)


def test_a_file_in_a_folder_that_is_not_there(tmp_path):
    """Not "no such file", and not a word about what stood there."""
    from minirembert.files import WriteError, atomic_file, write_text_atomically

    with pytest.raises(WriteError) as caught:
        write_text_atomically(tmp_path / "none" / "x", "text")
    assert (
        str(caught.value) == f"could not write {tmp_path / 'none' / 'x'}: the folder {tmp_path / 'none'} does not exist"
    )
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WriteError, match=r"file is not a folder$"), atomic_file(tmp_path / "file" / "x") as temporary:
        temporary.write_text("text")
    assert (tmp_path / "file").read_text() == "mine"
