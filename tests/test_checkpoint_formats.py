"""Every weight format, against the libraries that own it: what they write is read here, and what is written here they read.

What is special about PyTorch's files is in `test_checkpoint_torch.py`, about h5 in `test_checkpoint_h5.py`. The Keras file in
`data/keras` was written by transformers 4.34 with TensorFlow 2.14, together with the logits of its model.
"""

import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.numpy
import torch
import transformers
from checks import PARITY_FLOAT32, PARITY_OUTPUTS, assert_within
from models import SIZES, TASKS, make_batch, make_model

from minirembert import RemBertConfig, RemBertForCausalLM, RemBertForMaskedLM, RemBertModel
from minirembert.checkpoint import (
    has_output_head,
    held,
    load_weights,
    read_tensors,
    save_weights,
    weight_files,
    write_weights,
)
from minirembert.checkpoint.convert import convert
from minirembert.checkpoint.names import from_keras, to_keras
from minirembert.cli import main

KERAS = Path(__file__).parent / "data" / "keras"
CLASSES = {name: task for name, task in TASKS.items() if name in (
    "encoder", "masked lm", "single label", "token classification", "question answering", "multiple choice"
)}  # fmt: skip
SAVED: dict[str, dict[str, Any]] = {
    "safetensors": {},
    "safetensors in shards": {"max_shard_size": "20KB"},
    "pickle": {"safe_serialization": False},
    "pickles in shards": {"safe_serialization": False, "max_shard_size": 20_000},
}


@pytest.fixture(autouse=True)
def no_warnings():
    """Loading a whole model has nothing to warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def same_numbers(model: Any, arrays: Any) -> None:
    assert model.parameters.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(model.parameters[name], np.asarray(array)), name


def keras_folder(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_bytes((KERAS / "config.json").read_bytes())
    (folder / "tf_model.h5").write_bytes(gzip.decompress((KERAS / "tf_model.h5.gz").read_bytes()))
    return folder


# --- there and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("saved", SAVED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_saved_loads_to_the_same_bits(saved, dtype, tmp_path):
    model = make_model(TASKS["masked lm"], dtype=dtype)
    model.save_pretrained(tmp_path, **SAVED[saved])
    same_numbers(RemBertForMaskedLM.from_pretrained(tmp_path, dtype=dtype), model.parameters)
    assert len(weight_files(tmp_path)) > 3 if "shards" in saved else len(weight_files(tmp_path)) == 1
    assert has_output_head(tmp_path)


@pytest.mark.parametrize("saved", SAVED)
def test_transformers_reads_what_is_saved(saved, tmp_path):
    model = make_model(TASKS["masked lm"])
    model.save_pretrained(tmp_path, **SAVED[saved])
    theirs = transformers.RemBertForMaskedLM.from_pretrained(tmp_path, dtype=torch.float64)
    same_numbers(model, theirs.state_dict())


@pytest.mark.parametrize(
    ("name", "dtype"), [*zip(CLASSES, ["float64", "float32", "float16", "bfloat16", "float16", "float64"], strict=True)]
)
def test_every_class_goes_through_every_format_to_transformers_and_back(name, dtype, tmp_path):
    """Theirs -> safetensors in shards -> our pickles -> h5 -> our safetensors -> theirs: the bits and the outputs stay."""
    task = CLASSES[name]
    config = transformers.RemBertConfig(**SIZES["head size 7"] | task.config)
    theirs = getattr(transformers, task.model.__name__)(config).to(getattr(torch, dtype)).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs.save_pretrained(tmp_path / "a", max_shard_size="100KB")
    convert(tmp_path / "a", tmp_path / "b", "pytorch", max_shard_size=50_000)
    if dtype == "bfloat16":  # h5 has none
        convert(tmp_path / "b", tmp_path / "c", "pytorch")
    else:
        convert(tmp_path / "b", tmp_path / "c", "h5")
    convert(tmp_path / "c", tmp_path / "d", "safetensors")
    again = getattr(transformers, task.model.__name__).from_pretrained(tmp_path / "d", dtype="auto")
    for parameter, tensor in theirs.state_dict().items():
        assert again.state_dict()[parameter].dtype == tensor.dtype
        assert torch.equal(again.state_dict()[parameter], tensor), parameter

    model = task.model.from_pretrained(tmp_path / "c", dtype="float64")
    ids = make_batch(task, with_labels=False)["input_ids"]
    with torch.no_grad():
        expected = theirs.double()(input_ids=torch.tensor(ids))
    for ours, answer in zip(model(input_ids=ids).to_tuple(), expected.to_tuple(), strict=True):
        assert_within(ours, answer.numpy(), PARITY_OUTPUTS, name, 0)


def test_a_file_of_ours_is_the_librarys_byte_for_byte(tmp_path):
    kinds = ("float64", "float32", "float16", "int64", "int32", "int8", "uint8", "bool")
    rng = np.random.default_rng(0)
    arrays = {f"{kind}.{n}": rng.integers(0, 100, shape).astype(kind)
              for n, shape in enumerate([(3, 5), (), (0, 4), (7,)]) for kind in kinds}  # fmt: skip
    arrays["Größe\n"] = arrays["float32.0"].T
    save_weights(arrays, tmp_path / "ours.safetensors")
    arrays["Größe\n"] = np.ascontiguousarray(arrays["Größe\n"])
    safetensors.numpy.save_file(arrays, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()
    for name, tensor in read_tensors(tmp_path / "theirs.safetensors").items():
        assert np.array_equal(tensor.read(), arrays[name]) and tensor.shape == arrays[name].shape


@pytest.mark.parametrize(
    ("dtype", "format", "message"),
    [
        ("uint16", "pytorch", "PyTorch's files hold no U16, which encoder.x.weight has"),
        ("uint64", "pytorch", "PyTorch's files hold no U64"),
        ("int32", "h5", "tf_model.h5 holds no I32, which encoder.x.weight has"),
        ("bool", "h5", "tf_model.h5 holds no BOOL"), ("complex128", "safetensors", "cannot hold an array of dtype complex128"),
        ("float64", "h5", None), ("float16", "h5", None), ("complex64", "pytorch", None), ("uint16", "safetensors", None),
    ],
)  # fmt: skip
def test_what_a_format_cannot_hold(dtype, format, message, tmp_path):
    """Asked before anything is written."""
    array = np.arange(6).reshape(2, 3).astype(dtype)
    if message is None:
        write_weights(held({"encoder.x.weight": array}), tmp_path, format)
        found = next(iter(read_tensors(tmp_path).values())).read()
        assert np.array_equal(found, array) and found.dtype == array.dtype
        return
    with pytest.raises(ValueError, match=message):
        write_weights(held({"encoder.x.weight": array}), tmp_path / "new", format)
    assert not (tmp_path / "new").exists()


# --- names ------------------------------------------------------------------------------------------------------------


def test_old_names_and_buffers(tmp_path):
    """As in google/rembert's pytorch_model.bin: position_ids; as in the oldest files: gamma and beta."""
    model = make_model(TASKS["encoder"])
    names = {name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
             for name in model.parameters}  # fmt: skip
    tensors = {names[name]: torch.tensor(array) for name, array in model.parameters.items()}
    assert sum("gamma" in name for name in tensors) == 7
    model.config.save_pretrained(tmp_path)
    torch.save({"embeddings.position_ids": torch.arange(33)[None], **tensors}, tmp_path / "pytorch_model.bin")
    same_numbers(RemBertModel.from_pretrained(tmp_path, dtype="float64"), model.parameters)


def test_names_that_only_look_like_old_ones(tmp_path):
    """In the middle of a name gamma is somebody's own."""
    names = ["x.LayerNorm.gamma_ema", "x.LayerNorm.gamma.average", "LayerNorm.beta2", "xLayerNorm.weight"]
    write_weights(held({name: np.zeros(1) for name in names}), tmp_path)
    assert set(read_tensors(tmp_path)) == set(names)


def test_which_heads_can_fill_masks(tmp_path):
    """That of pre-training on pairs of sentences, which BERT has beside it, cannot."""
    for name, can in [("cls.predictions.decoder.bias", True), ("cls.seq_relationship.weight", False),
                      ("rembert.cls_token", False)]:  # fmt: skip
        write_weights(held({name: np.zeros(1)}), tmp_path)
        assert has_output_head(tmp_path) is can


def test_what_a_model_has_no_use_for_is_called_as_in_the_file(tmp_path):
    """With the prefix where it has one; old buffers are of use to nobody, and nobody hears of them."""
    names = ["rembert.embeddings.position_ids", "rembert.mine.weight", "yours.weight", "rembert.a", "b"]
    write_weights(held({name: np.zeros(2) for name in names}), tmp_path)
    found, unused, _ = load_weights(tmp_path, {"rembert.b": (2,), "a": (2,)}, "float16", "rembert.")
    assert set(found) == {"rembert.b", "a"} and {array.dtype for array in found.values()} == {np.dtype("float16")}
    assert sorted(unused) == ["rembert.mine.weight", "yours.weight"]


def test_a_tensor_of_as_many_numbers_is_not_the_one(tmp_path):
    write_weights(held({"a": np.zeros((2, 3)), "b": np.zeros(2)}), tmp_path)
    with pytest.raises(ValueError, match=r"a should have shape \(3, 2\), found \(2, 3\)"):
        load_weights(tmp_path, {"a": (3, 2)}, "float32")
    found, _, mismatched = load_weights(tmp_path, {"a": (3, 2), "b": (2,)}, "float32", ignore_mismatched_sizes=True)
    assert list(found) == ["b"] and mismatched == {"a": (2, 3)}


def test_a_name_that_is_there_in_its_old_and_its_new_form(tmp_path):
    model = make_model(TASKS["encoder"])
    model.parameters["embeddings.LayerNorm.gamma"] = model.parameters["embeddings.LayerNorm.weight"]
    model.save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"embeddings.LayerNorm.weight and embeddings.LayerNorm.gamma|gamma and .*weight"
    ):
        RemBertModel.from_pretrained(tmp_path)


# --- Keras's h5 -------------------------------------------------------------------------------------------------------


def test_a_file_that_keras_wrote(tmp_path):
    """The logits are TensorFlow's, in float32."""
    answer = json.loads((KERAS / "logits.json").read_text())
    expected = np.array(answer.pop("logits"), np.float32)
    model = RemBertForMaskedLM.from_pretrained(keras_folder(tmp_path / "keras"), dtype="float64")
    inputs = {name: np.array(ids) for name, ids in answer.items()}
    assert_within(model(**inputs).logits, expected, PARITY_FLOAT32, "logits", 0)
    assert has_output_head(tmp_path / "keras")


def datasets(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, thing: found.update({name: thing[()]} if isinstance(thing, h5py.Dataset) else {}))
    return found


def test_an_h5_file_of_ours_is_laid_out_as_keras_does(tmp_path):
    """The same datasets at the same places, and the lists by which transformers finds them."""
    source = keras_folder(tmp_path / "keras")
    convert(source, tmp_path / "b", "safetensors")
    convert(tmp_path / "b", tmp_path / "c", "h5")
    ours, theirs = datasets(tmp_path / "c" / "tf_model.h5"), datasets(source / "tf_model.h5")
    assert ours.keys() == theirs.keys()
    assert all(ours[name].dtype == theirs[name].dtype and (ours[name] == theirs[name]).all() for name in theirs)
    with h5py.File(tmp_path / "c" / "tf_model.h5") as new, h5py.File(source / "tf_model.h5") as old:
        assert listed(new, "layer_names") == listed(old, "layer_names")
        for layer in new:
            assert listed(new[layer], "weight_names") == listed(old[layer], "weight_names")


def listed(group: Any, attribute: str) -> set[str]:
    """Older versions of Keras write bytes there, as we do, newer ones text."""
    return {name.decode() if isinstance(name, bytes) else name for name in group.attrs[attribute]}


def test_lists_of_names_that_are_too_long_for_one_attribute(tmp_path):
    names = [f"encoder.layer.{n}.attention.output.{'x' * 80}.weight" for n in range(500)]
    write_weights(held({name: np.full((1, 1), n, np.float32) for n, name in enumerate(names)}), tmp_path, "h5")
    with h5py.File(tmp_path / "tf_model.h5") as file:
        attributes = file["rembert"].attrs
        assert "weight_names" not in attributes and len(attributes) > 1
        listed = [name for n in range(len(attributes)) for name in attributes[f"weight_names{n}"]]
        assert len(listed) == 500 and all(name.decode() in file["rembert"] for name in listed)
    read = read_tensors(tmp_path)
    assert [read["rembert." + name].read().item() for name in names] == list(range(500))


def test_keras_names_go_there_and_back():
    config = RemBertConfig(**SIZES["one head"], is_decoder=True, add_cross_attention=True)
    for model in (RemBertForCausalLM, *(task.model for task in CLASSES.values())):
        for name, shape in model.parameter_shapes(config).items():
            place = to_keras(name)
            back, transposed = from_keras(f"{place.layer}/tf_model_7/{place.weight}")
            assert back.removeprefix("rembert.") == name.removeprefix("rembert.")
            assert transposed == place.transposed
            assert transposed == (len(shape) == 2 and "embeddings." not in name and "decoder" not in name)


def test_a_folder_that_needs_h5py(tmp_path, monkeypatch, capsys):
    source = keras_folder(tmp_path / "keras")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"tf_model.h5 needs the library h5py.*: pip install h5py$"):
        RemBertForMaskedLM.from_pretrained(source)
    assert main(["convert", str(source), str(tmp_path / "x"), "--format", "pytorch"]) == 1
    assert "pip install h5py" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
