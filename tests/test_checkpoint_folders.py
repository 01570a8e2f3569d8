"""Number formats, folders with several weight files, shards, and the memory that loading takes. The formats themselves are in
`test_checkpoint_formats.py`."""

import io
import json
import tracemalloc
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import TASKS, make_model, randomised

import minirembert
from minirembert import RemBertConfig, RemBertForCausalLM, RemBertForMaskedLM, RemBertModel
from minirembert.checkpoint import held, read_tensors, weight_files, write_weights
from minirembert.checkpoint.convert import convert
from minirembert.checkpoint.save import parse_size
from minirembert.checkpoint.tensors import FLOATS, HeldTensor, from_bfloat16, to_bfloat16

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


# --- number formats ---------------------------------------------------------------------------------------------------


def test_bfloat16_is_rounded_as_torch_rounds_float32():
    """Every upper half, with the lower halves that decide: exact, just below the middle, the middle, just above, the end."""
    upper = np.arange(2**16, dtype=np.uint32)[:, None] << 16
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    numbers = (upper | lower).reshape(-1).view(np.float32)
    nan, huge = np.isnan(numbers), np.abs(numbers) >= np.float32(3.3961775e38)  # half-way to 2^128
    plain = numbers[~nan & ~(huge & np.isfinite(numbers))]
    expected = torch.tensor(plain).bfloat16().view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(to_bfloat16(plain, "x"), expected)
    assert np.isnan(from_bfloat16(to_bfloat16(numbers[nan], "x"))).all()
    quiet = nan & ((numbers.view(np.uint32) & 0x400000) > 0)
    assert np.array_equal(to_bfloat16(numbers[quiet], "x"), numbers[quiet].view(np.uint32) >> 16), (
        "what NaN says is kept"
    )


def test_bfloat16_of_float64_is_rounded_once():
    """Next to the middle of two bfloat16 numbers, where going through float32 would land on the middle first."""
    rng = np.random.default_rng(0)
    low = rng.integers(0, 0x7F7F, 2000).astype(np.uint16)
    middle = (from_bfloat16(low).astype(np.float64) + from_bfloat16(low + np.uint16(1))) / 2
    for nudge in (-1e-12, -1e-16, 0, 3e-16, 1e-12, 1e-3):
        for sign in (1, -1):
            numbers = sign * middle * (1 + nudge)
            found = to_bfloat16(numbers, "x")
            assert (found >> 15 == (sign < 0)).all()
            for x, bits in zip(numbers[:200], found[:200], strict=True):
                near = [int(bits) + step for step in (-1, 0, 1) if 0 <= (int(bits) & 0x7FFF) + step < 0x7F80]
                distance = {
                    b: abs(Fraction(float(from_bfloat16(np.array([b], np.uint16))[0])) - Fraction(x)) for b in near
                }
                best = [b for b in near if distance[b] == min(distance.values())]
                assert int(bits) in best and (len(best) == 1 or bits % 2 == 0), (x, bits)


@pytest.mark.parametrize(
    ("value", "dtype"), [(7e4, "float16"), (1e300, "bfloat16"), (-3.4e38, "bfloat16"), (1e39, "float32")]
)
@pytest.mark.parametrize("format", ["safetensors", "pytorch"])
def test_a_number_that_is_too_large_for_its_new_dtype(value, dtype, format, tmp_path):
    model = make_model(TASKS["encoder"], "one head")
    model.parameters["pooler.dense.weight"][1, 2] = value
    model.save_pretrained(tmp_path / "a")
    with pytest.raises(
        ValueError, match=rf"pooler.dense.weight holds {value:.4g}.*too large for {dtype}".replace("+", r"\+")
    ):
        convert(tmp_path / "a", tmp_path / "b", format, dtype=dtype)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    if dtype == "float32":
        with pytest.raises(ValueError, match=r"pooler.dense.weight holds 1e\+39"):
            RemBertModel.from_pretrained(tmp_path / "a")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_infinity_and_nan_stay_what_they_are(dtype, tmp_path):
    plan = {"x": (HeldTensor("x", np.array([np.inf, -np.inf, np.nan, -0.0, 1])), FLOATS[dtype])}
    write_weights(plan, tmp_path / "b", "pytorch")
    found = read_tensors(tmp_path / "b")["x"].read(np.float64)
    assert np.array_equal(found, [np.inf, -np.inf, np.nan, -0.0, 1], equal_nan=True) and np.signbit(found[3])


# --- folders ----------------------------------------------------------------------------------------------------------


def test_which_file_counts(tmp_path):
    """safetensors, its shards, pickles, their shards, h5: the first that is there."""
    order = ["safetensors", "safetensors in shards", "pickle", "pickles in shards"]
    models = {name: make_model(TASKS["encoder"], seed=n) for n, name in enumerate([*order, "h5"])}
    for name in order:
        models[name].save_pretrained(tmp_path / name, **SAVED[name])
    models["h5"].save_pretrained(tmp_path / "x")
    convert(tmp_path / "x", tmp_path / "h5", "h5")
    together = tmp_path / "together"
    together.mkdir()
    for name in reversed(models):
        for path in (tmp_path / name).iterdir():
            (together / path.name).write_bytes(path.read_bytes())
        same_numbers(RemBertModel.from_pretrained(together, dtype="float64"), models[name].parameters)


@pytest.mark.parametrize("first", SAVED)
@pytest.mark.parametrize("second", SAVED)
def test_a_second_save_takes_the_place_of_the_first(first, second, tmp_path):
    make_model(TASKS["masked lm"], seed=1).save_pretrained(tmp_path, **SAVED[first])
    (tmp_path / "sentencepiece.model").write_text("mine")
    model = make_model(TASKS["encoder"], seed=2)
    model.save_pretrained(tmp_path, **SAVED[second])
    same_numbers(RemBertModel.from_pretrained(tmp_path, dtype="float64"), model.parameters)
    model.save_pretrained(tmp_path / "fresh", **SAVED[second])
    suffix = ".safetensors" if "safe" in second else ".bin"
    here, fresh = ({p.name for p in folder.iterdir() if suffix in p.name} for folder in (tmp_path, tmp_path / "fresh"))
    assert here == fresh, "no shard of the first is left"
    assert (tmp_path / "sentencepiece.model").read_text() == "mine"


def test_a_save_in_shards_that_fails_leaves_the_old_ones(tmp_path, monkeypatch):
    model = make_model(TASKS["encoder"])
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model.parameters["pooler.dense.bias"] = np.array([object()])
    with pytest.raises(ValueError, match="dtype object"):
        model.save_pretrained(tmp_path, max_shard_size="10KB")
    write, calls = minirembert.checkpoint.save.write_safetensors, []

    def full_at_the_third(plan, path):
        calls.append(path)
        write(plan, path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(minirembert.checkpoint.save, "write_safetensors", full_at_the_third)
    with pytest.raises(OSError, match="No space left"):
        make_model(TASKS["encoder"], seed=1).save_pretrained(tmp_path, max_shard_size="20KB")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_shards_hold_as_much_as_they_may(tmp_path):
    arrays = {name: np.zeros(n, np.float32) for name, n in {"a": 2, "b": 3, "c": 5, "d": 100, "e": 1, "f": 1}.items()}
    write_weights(held(arrays), tmp_path, "safetensors", 20)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    names = {n: f"model-{n:05}-of-00004.safetensors" for n in range(1, 5)}
    assert index == {"metadata": {"total_size": 448}, "weight_map": {
        "a": names[1], "b": names[1], "c": names[2], "d": names[3], "e": names[4], "f": names[4]}}  # fmt: skip


def test_a_first_tensor_that_is_too_large_has_a_shard_of_its_own(tmp_path):
    """And no empty one in front of it."""
    write_weights(held({"a": np.zeros(9, np.int8), "b": np.zeros(1, np.int8)}), tmp_path, "safetensors", 8)
    assert weight_files(tmp_path) == [
        tmp_path / name for name in ("model.safetensors.index.json", "model-00001-of-00002.safetensors",
                                     "model-00002-of-00002.safetensors")
    ]  # fmt: skip


def test_shards_are_measured_as_they_are_written(tmp_path):
    """Numbers of eight bytes that become numbers of two: twice five of them fit into twenty bytes."""
    plan = {name: (HeldTensor(name, np.arange(5.0)), "F16") for name in ("a", "b", "c")}
    write_weights(plan, tmp_path, "safetensors", 20)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    assert index == {"metadata": {"total_size": 30}, "weight_map": {"a": first, "b": first, "c": second}}
    assert weight_files(tmp_path) == [tmp_path / n for n in ("model.safetensors.index.json", first, second)]
    assert all(np.array_equal(tensor.read(), np.arange(5)) for tensor in read_tensors(tmp_path).values())


def test_without_a_size_a_shard_holds_five_gigabytes(tmp_path, monkeypatch):
    limits = []
    monkeypatch.setattr(minirembert.checkpoint.save, "split", lambda plan, limit: limits.append(limit) or [plan])
    write_weights(held({"a": np.zeros(1)}), tmp_path)
    write_weights(held({"a": np.zeros(1)}), tmp_path, max_shard_size="1MB")
    assert limits == [5_000_000_000, 1_000_000]


def test_nothing_to_write(tmp_path):
    with pytest.raises(ValueError, match="there are no tensors to write"):
        write_weights({}, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("size", [None, 8])
def test_what_a_save_leaves_alone(size, tmp_path):
    """What is read only where these weights are not, folders, and files that are called almost like a shard."""
    others = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin", "tf_model.h5",
              "model-00001-of-00009.safetensors.bak", "old-model-00001-of-00009.safetensors",
              "model-1-of-2.safetensors"]  # fmt: skip
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / "model-00008-of-00009.safetensors").mkdir()
    (tmp_path / "model-00009-of-00009.safetensors").write_text("of an earlier save")
    write_weights(held({"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float32)}), tmp_path, "safetensors", size)
    shards = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}
    assert {path.name for path in tmp_path.iterdir()} == {
        *others, "model-00008-of-00009.safetensors", *(shards if size else {"model.safetensors"})
    }  # fmt: skip
    assert all((tmp_path / name).read_text() == "mine" for name in others)


@pytest.mark.parametrize("size", [None, 8])
def test_the_order_in_which_files_take_their_places(size, tmp_path, monkeypatch):
    """All are whole before the first does; config.json is the last; an old index is gone before a new shard is there."""
    save, seen = Path.replace, []
    arrays = held({"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float32)})
    write_weights(arrays, tmp_path, "safetensors", size, config="old")

    def replace(path, target):
        waiting = [p.name for p in tmp_path.iterdir() if p.name.endswith(".tmp") and p.stat().st_size]
        seen.append((target.name, len(waiting), (tmp_path / "model.safetensors.index.json").exists()))
        return save(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    write_weights(arrays, tmp_path, "safetensors", size, config="new")
    if size:
        assert seen == [
            ("model-00002-of-00002.safetensors", 4, False),
            ("model-00001-of-00002.safetensors", 3, False),
            ("model.safetensors.index.json", 2, False),
            ("config.json", 1, True),
        ]
    else:
        assert seen == [("model.safetensors", 2, False), ("config.json", 1, False)]
    assert (tmp_path / "config.json").read_text() == "new"


@pytest.mark.parametrize("difference", [0, 1])
def test_tensors_that_share_their_numbers_count_once(difference, tmp_path):
    """Two names for twelve bytes in one shard, and as many in another: 24 bytes, no other number."""
    for name in ("1", "2"):
        numbers = torch.arange(3.0)
        torch.save({f"a{name}": numbers, f"b{name}": numbers[:]}, tmp_path / f"pytorch_model-{name}.bin")
    shards = {f"{letter}{name}": f"pytorch_model-{name}.bin" for letter in "ab" for name in "12"}
    index = {"metadata": {"total_size": 24 + difference}, "weight_map": shards}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    if difference:
        with pytest.raises(ValueError, match="speaks of 25 bytes in all, and the shards have 24"):
            read_tensors(tmp_path)
    else:
        tensors = read_tensors(tmp_path)
        assert tensors["a1"].offset == tensors["b1"].offset
        assert all(np.array_equal(tensor.read(), [0, 1, 2]) for tensor in tensors.values())


def test_tensors_at_one_place_of_two_shards_count_twice(tmp_path):
    """Twelve bytes in each of two files that are laid out alike; the index says 24."""
    write_weights(held({name: np.full(3, ord(name), np.float32) for name in "ab"}), tmp_path, "safetensors", 12)
    tensors = read_tensors(tmp_path)
    assert tensors["a"].offset == tensors["b"].offset and tensors["a"].path != tensors["b"].path
    assert json.loads((tmp_path / "model.safetensors.index.json").read_text())["metadata"]["total_size"] == 24
    assert tensors["b"].read().tolist() == [98, 98, 98]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5GB", 5 * 10**9),
        ("2GiB", 2**31),
        (" 1.5 mb", 1_500_000),
        (7, 7),
        ("7", 7),
        ("3B", 3),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("2 MiB", 2_097_152),
        ("1tb", 10**12),
        ("1B", 1),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "5 bananas", -3, 0, "1e9", "0.1B", "9" * 400])
def test_sizes_that_are_none(text, tmp_path):
    with pytest.raises(ValueError, match="max_shard_size must be a size like 500MB"):
        make_model(TASKS["encoder"]).save_pretrained(tmp_path, max_shard_size=text)
    assert not list(tmp_path.iterdir())


def test_tensors_of_another_shape_can_be_made_anew(tmp_path):
    model = make_model(TASKS["token classification"])
    model.save_pretrained(tmp_path)
    task = minirembert.RemBertForTokenClassification
    with pytest.raises(ValueError, match=r"classifier.bias should have shape \(7,\), found \(4,\)"):
        task.from_pretrained(tmp_path, num_labels=7)
    with pytest.warns(UserWarning) as caught:
        new = task.from_pretrained(tmp_path, num_labels=7, dtype="float64", ignore_mismatched_sizes=True)
    assert [str(w.message).removeprefix(str(tmp_path)) for w in caught] == [
        " has classifier.bias (4,) instead of (7,), classifier.weight (4, 42) instead of (7, 42): "
        "newly initialised, train before use"
    ]
    assert new.parameters["classifier.weight"].shape == (7, 42) and new.parameters["classifier.weight"].any()
    for name, array in model.parameters.items():
        assert "classifier" in name or np.array_equal(new.parameters[name], array)


def test_a_decoder_made_of_an_encoder_gets_fresh_cross_attention(tmp_path):
    model = make_model(TASKS["masked lm"], "one head")
    model.save_pretrained(tmp_path)
    with pytest.warns(
        UserWarning, match=r"lacks .*encoder.layer.0.crossattention.self.query.weight.* newly initialised"
    ):
        decoder = RemBertForCausalLM.from_pretrained(
            tmp_path, dtype="float64", is_decoder=True, add_cross_attention=True
        )
    for name, array in model.parameters.items():
        assert np.array_equal(decoder.parameters[name], array), name
    assert decoder.parameters["rembert.encoder.layer.1.crossattention.self.key.weight"].any()


@pytest.mark.parametrize("format", ["safetensors", "pytorch", "h5"])
def test_the_files_of_hugging_faces_cache_are_links(format, tmp_path):
    model = make_model(TASKS["masked lm"], dtype="float32")
    model.save_pretrained(tmp_path / "a")
    convert(tmp_path / "a", tmp_path / "blobs", format, max_shard_size=None if format == "h5" else "20KB")
    (tmp_path / "snapshot").mkdir()
    for number, path in enumerate((tmp_path / "blobs").iterdir()):
        path.rename(tmp_path / "blobs" / f"{number:x}")
        (tmp_path / "snapshot" / path.name).symlink_to(f"../blobs/{number:x}")
    same_numbers(RemBertForMaskedLM.from_pretrained(tmp_path / "snapshot"), model.parameters)


def test_the_index_of_a_transformers_that_counted_in_floats(tmp_path):
    model = make_model(TASKS["encoder"])
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["metadata"] = {"total_size": float(index["metadata"]["total_size"]), "total_parameters": 5}
    path.write_text(json.dumps(index))
    same_numbers(RemBertModel.from_pretrained(tmp_path, dtype="float64"), model.parameters)


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["safetensors", "pytorch", "h5"])
def test_loading_takes_little_more_memory_than_the_model(format, tmp_path):
    """Half of this model is one table, and a quarter of it is stored transposed in h5."""
    config = RemBertConfig(vocab_size=40_000, hidden_size=512, num_hidden_layers=4, num_attention_heads=4,
                           input_embedding_size=64, intermediate_size=512)  # fmt: skip
    RemBertModel(config).save_pretrained(tmp_path / "a")
    convert(tmp_path / "a", tmp_path / "b", format)
    size = sum(path.stat().st_size for path in weight_files(tmp_path / "b"))
    tracemalloc.start()
    RemBertModel.from_pretrained(tmp_path / "b")
    loading = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    tracemalloc.stop()
    assert loading < 1.25 * size
    tracemalloc.start()
    convert(tmp_path / "b", tmp_path / "c", "safetensors")
    converting = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert converting < 0.6 * size


def test_every_piece_of_a_large_tensor_is_looked_at(tmp_path):
    """It is converted 2^20 numbers at a time."""
    numbers = np.arange(2**20 + 5, dtype=np.float64)
    write_weights({"x": (HeldTensor("x", numbers), "F32")}, tmp_path)
    tensor = read_tensors(tmp_path)["x"]
    assert np.array_equal(tensor.read("float64"), numbers) and np.array_equal(tensor.read(), numbers)
    numbers[-1] = -1e39
    for dtype in ("F32", "BF16"):
        with pytest.raises(ValueError, match=r"x holds -1e\+39, which is too large"):
            write_weights({"x": (HeldTensor("x", numbers), dtype)}, tmp_path)
    write_weights({"x": (HeldTensor("x", numbers), "F64")}, tmp_path)
    with pytest.raises(ValueError, match=r"x holds -1e\+39, which is too large for float32"):
        read_tensors(tmp_path)["x"].read(np.float32)


def test_an_array_in_memory_is_read_as_one_in_a_file():
    tensor = HeldTensor("x", np.array([[1, 2.5], [3e5, 0]]).T)
    assert tensor.read("float32").dtype == np.float32 and np.array_equal(tensor.read("float32"), tensor.array)
    assert tensor.read().dtype == np.float64 and tensor.shape == (2, 2)
    with pytest.raises(ValueError, match=r"^x holds 3e\+05, which is too large for float16$"):
        tensor.read(np.float16)


def test_an_array_in_memory_is_written_in_pieces():
    tensor = HeldTensor("x", np.arange(3_000_001, dtype=np.float32))
    pieces = list(minirembert.checkpoint.tensors.encoded(tensor, "F64"))
    assert len(pieces) == 3
    assert np.array_equal(np.frombuffer(b"".join(pieces), "<f8"), tensor.array)
    assert io.BytesIO().write(pieces[0]) == 8 * 2**20


def test_randomised_models_differ():
    """The tests above compare numbers: they must not all be alike."""
    model = make_model(TASKS["masked lm"])
    randomised(model.parameters, np.random.default_rng(1))
    assert all(len(np.unique(array)) == array.size for array in model.parameters.values())
