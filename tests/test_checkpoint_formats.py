"""Every weight format, against the libraries that own it: what they write is read here, and what is written here they read.

The Keras file in `data/keras` was written by transformers 4.34 with TensorFlow 2.14, together with the logits of its model.
"""

import gzip
import json
import warnings
import zipfile
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
from minirembert.checkpoint import has_output_head, held, read_tensors, save_weights, weight_files, write_weights
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


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int64", "uint8", "bool"])
def test_torch_loads_our_pickles_without_trust(dtype, tmp_path):
    """With `weights_only`, from memory and mapped; also what is empty or a scalar."""
    rng = torch.Generator().manual_seed(0)
    tensors = {str(shape): (100 * torch.randn(shape, generator=rng)).to(getattr(torch, dtype))
               for shape in [(3, 5), (), (0, 4), (7,), (2, 1, 3)]}  # fmt: skip
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    plan = {name: (tensor, tensor.dtype) for name, tensor in read_tensors(tmp_path).items()}
    write_weights(plan, tmp_path / "new", "pytorch")
    for mapped in (False, True):
        again = torch.load(tmp_path / "new" / "pytorch_model.bin", weights_only=True, mmap=mapped)
        assert list(again) == list(tensors)
        for name, tensor in tensors.items():
            assert again[name].dtype == tensor.dtype and torch.equal(again[name], tensor)
            assert again[name].stride() == tensor.contiguous().stride()
            assert again[name].data_ptr() % tensor.element_size() == 0


@pytest.mark.parametrize("where", ["in front of a member", "everywhere"])
def test_archives_with_sizes_in_64_bits(where, tmp_path, monkeypatch):
    """As for members of more than a gigabyte, and archives of more than four."""
    monkeypatch.setattr("minirembert.checkpoint.torch_write.ZIP64_FROM", 0)
    if where == "everywhere":
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 0)
    model = make_model(TASKS["masked lm"], "one head")
    model.save_pretrained(tmp_path, safe_serialization=False)
    monkeypatch.undo()
    if where == "everywhere":
        assert (tmp_path / "pytorch_model.bin").read_bytes().count(b"PK\x06\x06") == 1
    same_numbers(model, torch.load(tmp_path / "pytorch_model.bin", weights_only=True, mmap=True))
    same_numbers(RemBertForMaskedLM.from_pretrained(tmp_path, dtype="float64"), model.parameters)


# --- PyTorch's pickles ------------------------------------------------------------------------------------------------


def awkward_tensors() -> dict[str, torch.Tensor]:
    """Views with offsets and strides, two of them in one storage, parameters, and every number format."""
    numbers = torch.randn((6, 8), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {
        "transposed": numbers.T, "rows": numbers[2:4], "columns": numbers[:, 3:5], "every other": numbers[1::2, ::3],
        "scalar": numbers[3, 4], "permuted": numbers.reshape(2, 3, 8).permute(2, 0, 1), "one row": numbers[5:6, 2:],
        "parameter": torch.nn.Parameter(numbers.float()), "half": numbers.half(), "brain": numbers.bfloat16(),
        "long": torch.arange(5), "int": torch.arange(5, dtype=torch.int32), "bool": numbers > 0, "empty": numbers[6:],
        "bytes": torch.arange(7, dtype=torch.uint8), "short": torch.arange(-3, 3, dtype=torch.int16),
    }  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_kind_of_tensor_that_torch_saves(zipped, protocol, tmp_path):
    tensors = awkward_tensors()
    path = tmp_path / "pytorch_model.bin"
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    read = read_tensors(path)
    assert list(read) == list(tensors)
    for name, tensor in tensors.items():
        expected = (tensor.float() if name == "brain" else tensor).detach().numpy()
        found = read[name].read()
        assert found.dtype == expected.dtype and found.shape == expected.shape, name
        assert np.array_equal(found, expected), name
        assert found.flags.c_contiguous


@pytest.mark.parametrize("zipped", [True, False])
def test_an_ordered_dictionary_with_metadata(zipped, tmp_path):
    state = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2)).state_dict()
    assert hasattr(state, "_metadata")
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    read = read_tensors(tmp_path)
    assert all(np.array_equal(read[name].read(), tensor.numpy()) for name, tensor in state.items())


def test_a_file_from_a_machine_with_the_other_byte_order(tmp_path):
    tensors = awkward_tensors()
    torch.save(tensors, tmp_path / "little.bin")
    with zipfile.ZipFile(tmp_path / "little.bin") as old, zipfile.ZipFile(tmp_path / "big.bin", "w") as new:
        sizes = {tensor.untyped_storage().data_ptr(): tensor.element_size() for tensor in tensors.values()}
        for info in old.infolist():
            content = b"big" if info.filename.endswith("byteorder") else old.read(info)
            if "/data/" in info.filename:
                width = list(sizes.values())[int(info.filename.rpartition("/")[2])]
                content = np.frombuffer(content, f"u{width}").byteswap().tobytes()
            new.writestr(zipfile.ZipInfo(info.filename), content)
    little, big = read_tensors(tmp_path / "little.bin"), read_tensors(tmp_path / "big.bin")
    assert {tensor.order for tensor in big.values()} == {">"}
    for name in tensors:
        assert np.array_equal(big[name].read(), little[name].read()), name
        assert big[name].read().dtype.isnative


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
