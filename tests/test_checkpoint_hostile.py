"""Folders that somebody else made: damaged, contradictory, or built to do harm. Each gets one sentence that names the file.

`fuzz_checkpoints.py` finds such cases by chance; here are those that one thinks of, and those that were found: JSON, indices
and safetensors. `test_checkpoint_torch.py` and `test_checkpoint_h5.py` have the others.
"""

import json
import os
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import TASKS, make_model
from test_bad_input import refused

from minirembert import RemBertModel
from minirembert.checkpoint import read_tensors, save_weights
from minirembert.checkpoint.tensors import HEADER_LIMIT
from minirembert.files import read_json


@pytest.fixture
def saved(tmp_path):
    """A good model in one file."""
    make_model(TASKS["encoder"], "one head", dtype="float32").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def sharded(tmp_path):
    make_model(TASKS["encoder"], "one head", dtype="float32").save_pretrained(tmp_path / "model", max_shard_size=1000)
    return tmp_path / "model"


# --- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not valid JSON"), (b"\xff", "not valid JSON"), (b"[1]", "a JSON object, found list"),
        (b'{"a": ' + b"[" * 200_000, "nested too deeply"), (b'{"a": 1, "b": 2, "a": 3}', "'a' stands there twice"),
        (b'{"x": {"a": 1, "a": 1}}', "'a' stands there twice"), (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a": 1}' + b" " * 100, "more than 100 bytes"),
    ],
)  # fmt: skip
def test_json_that_is_none(content, reason, tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with refused(ValueError, str(path), reason):
        read_json(path, 100 if "100" in reason else 10**6)


def test_json_that_is_not_there(tmp_path):
    with refused(FileNotFoundError, f"{tmp_path / 'x.json'} does not exist"):
        read_json(tmp_path / "x.json")
    with refused(FileNotFoundError, f"{tmp_path} is a folder, not a file"):
        read_json(tmp_path)


def test_json_that_is_good(tmp_path):
    (tmp_path / "x.json").write_text('{"a": [1, NaN, {"b": "ü"}]}', encoding="utf-8")
    values = read_json(tmp_path / "x.json", 100)
    assert values["a"][2] == {"b": "ü"} and np.isnan(values["a"][1])


def test_json_is_measured_before_it_is_read(tmp_path):
    path = tmp_path / "x.json"
    with path.open("wb") as file:
        file.truncate(10**12)  # a hole: no disk has that much
    tracemalloc.start()
    with refused(ValueError, "too large"):
        read_json(path)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


# --- indices and shards -----------------------------------------------------------------------------------------------


def change_index(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))
    return path


@pytest.mark.parametrize(
    "shard",
    ["../other/model.safetensors", "/etc/passwd.safetensors", "..", ".", "", "a/b.safetensors", "a\\b.safetensors",
     "C:x.safetensors", ".hidden.safetensors", "x\0.safetensors", "x\n.safetensors", "pytorch_model.bin",
     "x" * 300 + ".safetensors",
     5, None, ["model.safetensors"], {"a": 1}, "\ud800.safetensors"],
)  # fmt: skip
def test_a_shard_that_is_no_file_of_the_folder(shard, sharded):
    shutil.copytree(sharded, sharded.parent / "other")
    next((sharded.parent / "other").glob("model-00001*")).rename(sharded.parent / "other" / "model.safetensors")
    path = change_index(sharded, lambda index: index["weight_map"].update({"pooler.dense.bias": shard}))
    with refused(ValueError, str(path), "pooler.dense.bias must be a plain name ending in .safetensors"):
        RemBertModel.from_pretrained(sharded)


def test_a_shard_that_is_missing(sharded):
    shard = next(sharded.glob("model-00002*"))
    shard.unlink()
    with refused(FileNotFoundError, f"{shard} does not exist", "model.safetensors.index.json needs it"):
        RemBertModel.from_pretrained(sharded)


def test_an_index_and_shards_that_disagree(sharded):
    shards = json.loads((sharded / "model.safetensors.index.json").read_text())["weight_map"]
    other = next(shard for shard in shards.values() if shard != shards["pooler.dense.bias"])
    backup = sharded.parent / "backup"
    shutil.copytree(sharded, backup)

    def after(change: Callable[[dict[str, Any]], Any], *parts: str) -> None:
        path = change_index(sharded, change)
        with refused(ValueError, str(path), *parts):
            RemBertModel.from_pretrained(sharded)
        shutil.copytree(backup, sharded, dirs_exist_ok=True)

    after(lambda index: index["weight_map"].pop("pooler.dense.bias"), "does not say that pooler.dense.bias is in")
    after(
        lambda index: index["weight_map"].update({"pooler.dense.bias": other}), "pooler.dense.bias is in", "and it is"
    )
    after(lambda index: index["weight_map"].update({"x": other}), f"it says that x is in {other}, and it is not")
    after(lambda index: index["metadata"].update(total_size=10**12), "speaks of 1,000,000,000,000 bytes")
    after(lambda index: index["metadata"].update(total_size=True), "total_size must be a number, found bool")
    after(lambda index: index["metadata"].update(total_size="many"), "total_size must be a number, found str")
    after(lambda index: index.update(metadata=[]), "if it has metadata, an object there")
    after(lambda index: index.update(weight_map=[]), "must have an object weight_map")
    after(lambda index: index.pop("weight_map"), "must have an object weight_map")


def test_a_tensor_in_two_shards(sharded):
    save_weights(
        {"pooler.dense.bias": np.zeros(5, np.float32), "x": np.zeros(1, np.float32)}, sharded / "more.safetensors"
    )
    path = change_index(sharded, lambda index: index["weight_map"].update({"x": "more.safetensors"}))
    with refused(ValueError, str(path), "pooler.dense.bias is both in", "more.safetensors"):
        RemBertModel.from_pretrained(sharded)


def test_an_index_of_a_gigabyte(sharded):
    path = sharded / "model.safetensors.index.json"
    with path.open("ab") as file:
        file.truncate(10**9)
    with refused(ValueError, str(path), "too large"):
        RemBertModel.from_pretrained(sharded)


# --- safetensors ------------------------------------------------------------------------------------------------------

GOOD = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "F16", "shape": [4], "data_offsets": [24, 32]},
}


def safetensors_file(path: Path, header: Any, data: int = 32, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + bytes(data))
    return path


def entry(**changes: Any) -> dict[str, Any]:
    return {**GOOD, "b": GOOD["b"] | changes}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (entry(shape=[-4]), "impossible shape"), (entry(shape=[2**63]), "impossible shape"),
        (entry(shape=4), "impossible shape"),
        (entry(shape=[4.0]), "impossible shape"), (entry(shape=[True] * 4), "impossible shape"),
        (entry(shape=[1] * 40), "impossible shape"),
        (entry(shape=[0, 2**40, 2**40]), "impossible shape"), (entry(shape=[5]), "do not fit"),
        (entry(shape=["4"]), "impossible shape"),
        (entry(data_offsets=[24, 31]), "do not fit"), (entry(data_offsets=[32, 24]), "do not fit"),
        (entry(data_offsets=[16, 24]), "does not begin where"), (entry(data_offsets=[2**70, 2**70 + 8]), "do not fit"),
        (entry(data_offsets=[-8, 0]), "do not fit"), (entry(data_offsets=[24]), "not one of a tensor"),
        (entry(data_offsets=[40, 48]), "does not begin where"), (entry(dtype="F33"), "unknown dtype"),
        (entry(dtype=["F32"]), "unknown dtype"), ({"a": GOOD["a"]}, "speaks of"), (entry(dtype=None), "unknown dtype"),
        ({**GOOD, "c": GOOD["b"]}, "does not begin where"), ({**GOOD, "c": 5}, "not one of a tensor"),
        ([], "JSON object"),
        (json.dumps(GOOD).replace('"b"', '"a"').encode(), "'a' stands there twice"), (b"{" * 100_000, "not valid JSON"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"), (b"\xff\xff{}", "not valid JSON"),
    ],
)  # fmt: skip
def test_a_header_that_lies(header, reason, tmp_path):
    path = safetensors_file(tmp_path / "x.safetensors", header)
    with refused(ValueError, f"{path} is damaged or cut short", reason):
        read_tensors(path)


@pytest.mark.parametrize("length", [0, 1, 10**6, 2**40, 2**63, 2**64 - 1])
def test_a_header_of_another_length(length, tmp_path):
    path = safetensors_file(tmp_path / "x.safetensors", GOOD, length=length)
    with refused(ValueError, f"{path} is damaged or cut short"):
        read_tensors(path)


def test_a_header_that_is_large_but_there(tmp_path):
    text = json.dumps(GOOD).encode()
    path = safetensors_file(tmp_path / "x.safetensors", text + b" " * (HEADER_LIMIT - len(text)))
    assert list(read_tensors(path)) == ["a", "b"]
    safetensors_file(path, text + b" " * (HEADER_LIMIT + 1 - len(text)))
    with refused(ValueError, str(path), "2,097,152 are the limit"):
        read_tensors(path)


def test_a_tensor_that_promises_a_terabyte(saved):
    """Its place is in the file, a hole of a terabyte; what the model needs is asked first."""
    header = {"pooler.dense.bias": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}
    path = safetensors_file(saved / "model.safetensors", header, data=0)
    with path.open("ab") as file:
        file.truncate(path.stat().st_size + 2**40)
    tracemalloc.start()
    with refused(ValueError, "lacks layers"):
        RemBertModel.from_pretrained(saved)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["a" * 100_000, "line\nbreak", "\x1b[31m", ""])
def test_names_that_would_spoil_a_sentence(name, tmp_path):
    path = safetensors_file(tmp_path / "x.safetensors", {name: GOOD["a"] | {"shape": [-1]}})
    with refused(ValueError, str(path), "impossible shape"):
        read_tensors(path)


def test_a_configuration_that_promises_a_billion_layers(saved):
    config = json.loads((saved / "config.json").read_text()) | {"num_hidden_layers": 10**9}
    (saved / "config.json").write_text(json.dumps(config))
    with refused(ValueError, str(saved), "the configuration has 1,000,000,000, the weights 2"):
        RemBertModel.from_pretrained(saved)


def test_a_file_that_shrinks_between_two_looks(tmp_path):
    save_weights({"x": np.zeros(1000, np.float32)}, tmp_path / "model.safetensors")
    tensor = read_tensors(tmp_path)["x"]
    os.truncate(tmp_path / "model.safetensors", 500)
    with refused(ValueError, "model.safetensors", "the numbers of x end too soon"):
        tensor.read()


def test_a_model_that_is_fine_after_all(saved):
    """The folder that these tests spoil is a good one."""
    RemBertModel.from_pretrained(saved)
