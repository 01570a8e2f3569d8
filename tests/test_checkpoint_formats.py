"""Every weight format, against the libraries that own it: what they write is read here, and what is written here they read.

The Keras file in `data/keras` was written by transformers 4.34 with TensorFlow 2.14, together with the logits of its model.
"""

import gzip
import json
import pickle
import struct
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
from minirembert.checkpoint.torch_pickle import Storage, unpickle
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
               for shape in [(3, 5), (), (0, 4), (7,), (2, 1, 3), (2, 0, 3)]}  # fmt: skip
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


@pytest.mark.parametrize("large", [False, True])
def test_a_pickle_of_ours_is_laid_out_as_torch_does(large, tmp_path, monkeypatch):
    """Every run of numbers at a multiple of 64 bytes, whatever the lengths of names; which byte comes first; the same bytes
    at any time. With sizes in 64 bits for members that are too large for others."""
    if large:
        monkeypatch.setattr("minirembert.checkpoint.torch_write.ZIP64_FROM", 0)
    arrays = {f"ключ {n}": np.arange(n % 3 + 1, dtype=np.float32) + n for n in range(12)}
    write_weights(held(arrays), tmp_path, "pytorch")
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path) as archive:
        assert archive.read("archive/byteorder") == b"little"
        assert archive.read("archive/data.pkl").startswith(b"\x80\x02")
        content = path.read_bytes()
        for info in archive.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            name, extra = struct.unpack_from("<2H", content, info.header_offset + 26)
            if "/data/" in info.filename:
                assert (info.header_offset + 30 + name + extra) % 64 == 0
                packed, size = struct.unpack_from("<2I", content, info.header_offset + 18)
                assert (packed == size == 0xFFFFFFFF) == large
    theirs = torch.load(path, weights_only=True)
    assert list(theirs) == list(arrays)
    assert all(np.array_equal(theirs[name].numpy(), array) for name, array in arrays.items())
    if not large:
        assert path.read_bytes().count(b"PK\x06\x06") == 0


def test_the_fields_of_a_member_in_any_order(tmp_path, monkeypatch):
    """The 64-bit sizes may stand behind a field of another kind that is as long; and members may have comments."""
    content = np.arange(6, dtype="<f4").tobytes()
    torch.save({"x": torch.zeros(2, 3)}, tmp_path / "theirs.bin")
    path = tmp_path / "pytorch_model.bin"
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 0)
    with zipfile.ZipFile(tmp_path / "theirs.bin") as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            member = zipfile.ZipInfo(info.filename)
            member.extra, member.comment = struct.pack("<2H", 0x4246, 32) + bytes(range(32)), b"PK\x01\x02"
            new.writestr(member, content if info.filename.endswith("/data/0") else old.read(info))
    monkeypatch.undo()
    assert np.array_equal(read_tensors(path)["x"].read(), [[0, 1, 2], [3, 4, 5]])
    start = path.read_bytes()
    wide = [n for n in range(len(start)) if start.startswith(struct.pack("<2H", 1, 24), n)]  # in the directory
    changed = bytearray(start)
    for n in wide:
        changed[n : n + 64] = start[n + 28 : n + 64] + start[n : n + 28]
    assert len(wide) >= 3 and changed != start
    path.write_bytes(changed)
    assert np.array_equal(read_tensors(path)["x"].read(), [[0, 1, 2], [3, 4, 5]])
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


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


# --- PyTorch's pickles ------------------------------------------------------------------------------------------------


def awkward_tensors() -> dict[str, torch.Tensor]:
    """Views with offsets and strides, two of them in one storage, parameters, and every number format."""
    numbers = torch.randn((6, 8), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {
        "transposed": numbers.T, "rows": numbers[2:4], "columns": numbers[:, 3:5], "every other": numbers[1::2, ::3],
        "scalar": numbers[3, 4], "permuted": numbers.reshape(2, 3, 8).permute(2, 0, 1), "one row": numbers[5:6, 2:],
        "parameter": torch.nn.Parameter(numbers.float()), "half": numbers.half(), "brain": numbers.bfloat16(),
        "long": torch.arange(5), "int": torch.arange(5, dtype=torch.int32), "bool": numbers > 0, "empty": numbers[6:],
        "nothing of columns": numbers[6:, ::2],
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


@pytest.mark.parametrize("big", [False, True])
def test_an_old_file_from_a_machine_with_the_other_byte_order(big, tmp_path):
    """The numbers are in the machine's order, how many there are is not."""
    path = tmp_path / "pytorch_model.bin"
    torch.save({"x": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert content.count(b"little_endian") == 1 and content.endswith(struct.pack("<Q", 3) + bytes(12))
    at = content.index(b"\x88", content.index(b"little_endian"))  # True
    numbers = struct.pack(">3f" if big else "<3f", 1.0, 2.5, -3.0)
    path.write_bytes(content[:at] + (b"\x89" if big else b"\x88") + content[at + 1 : -12] + numbers)
    assert read_tensors(path)["x"].read().tolist() == [1.0, 2.5, -3.0]


def test_nothing_at_the_end_of_an_old_file(tmp_path):
    """Rows of no columns have strides, but no number that could be missing."""
    path = tmp_path / "pytorch_model.bin"
    torch.save({"x": torch.empty(4, 0)}, path, _use_new_zipfile_serialization=False)
    assert path.read_bytes().endswith(bytes(8))  # so many numbers, and then the end
    assert read_tensors(path)["x"].read().shape == (4, 0)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_means_what_python_says(protocol):
    """Numbers of every length, more values than a short reference can count, and one value in several places."""
    numbers = [
        n + sign * 2**power for power in (0, 7, 8, 15, 16, 31, 40, 63, 80) for sign in (1, -1) for n in (-1, 0, 1)
    ]
    texts = [f"text {n}" for n in range(600)] + ["ж" * 100, "x" * 300]
    value = {"a": numbers, "b": [*texts, *texts], "c": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), "d": [None, True, False],
             "e": 1.5, 7: {"f": [[], {}]}}  # fmt: skip
    content = pickle.dumps(value, protocol)
    assert unpickle(content) == (value, len(content))
    assert unpickle(b"before" + content + b"behind", 6) == (value, 6 + len(content))


@pytest.mark.parametrize(
    "content",
    [b"\x80\x02K\x01q\x00K\x02q\x00h\x00.", b"\x80\x02](K\x01(K\x02K\x03tK\x04e.", b"\x80\x02]K\x052\x860K\x07a.",
     b"\x80\x02J\xfe\xff\xff\xff.", b"\x80\x02\x8b\x02\0\0\0\x00\xff.", b"\x80\x02ccollections\nOrderedDict\n(](]"
     b"(X\x01\0\0\0aK\x01e](X\x01\0\0\0bK\x02eetR."],
)  # fmt: skip
def test_pickles_by_hand_mean_what_python_says(content):
    """A cell that is written twice, marks in marks, a copy that is dropped, and what Python 2 made of an OrderedDict."""
    assert unpickle(content) == (pickle.loads(content), len(content))


@pytest.mark.parametrize("kind", ["torch.FloatStorage", "torch.cuda.FloatStorage"])
@pytest.mark.parametrize("views", [b"", b"N"])
def test_storages_of_a_gpu(kind, views):
    """As old files have them that were saved there."""
    content = b"\x80\x02(X\x07\0\0\0storagec%s\n%s\nX\x01\0\0\x007X\x06\0\0\0cuda:0K\x05%stQ." % (
        *(part.encode() for part in kind.rsplit(".", 1)),
        views,
    )
    assert unpickle(content)[0] == Storage("F32", "7", 5)


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
