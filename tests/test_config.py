"""The configuration: names of labels, NumPy's scalars, and what config.json can hold."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from models import SIZES, TASKS, make_model
from test_bad_input import contents, refused

import minirembert.checkpoint.save
from minirembert import RemBertConfig, RemBertForSequenceClassification, RemBertForTokenClassification
from minirembert.checkpoint import weight_files
from minirembert.checkpoint.convert import convert
from minirembert.files import JSON_LIMIT, json_text
from minirembert.model.arrays import flag

NAMES = {0: "negative", 1: "neutral", 2: "positive"}
IDS = {"negative": 0, "neutral": 1, "positive": 2}


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A folder whose three labels have names."""
    make_model(TASKS["single label"], "one head", id2label=NAMES).save_pretrained(tmp_path)
    return tmp_path


# --- names of labels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"num_labels": 3},
        {"num_labels": np.int64(3)},
        {"num_labels": None},
        {"id2label": None},
        {"label2id": None},
        {"label2id": IDS},
        {"label2id": IDS, "num_labels": 3},
        {"id2label": NAMES, "label2id": IDS, "num_labels": 3},
        {"problem_type": "single_label_classification"},
        {"pad_token_id": None, "classifier_dropout_prob": 0.3},
    ],
    ids=str,
)
def test_a_change_leaves_the_names_of_labels_alone(named: Path, changes: dict[str, Any]) -> None:
    """As transformers does, which counts as the source of what is right here."""
    assert RemBertConfig.from_pretrained(named, **changes).id2label == NAMES
    model = RemBertForSequenceClassification.from_pretrained(named, **changes)
    assert (model.config.id2label, model.config.label2id) == (NAMES, IDS)
    if changes.get("num_labels"):
        theirs = transformers.RemBertConfig.from_pretrained(named, num_labels=int(changes["num_labels"]))
        assert (theirs.id2label, theirs.label2id) == (NAMES, IDS)


def test_another_number_of_labels_gives_them_new_names(named: Path) -> None:
    config = RemBertConfig.from_pretrained(named, num_labels=2)
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1"} == transformers.RemBertConfig().id2label


@pytest.mark.filterwarnings("ignore")  # of a head that is new
def test_names_by_label_alone_are_names(named: Path) -> None:
    other = {"up": 1, "down": 0, "aside": 2}
    for config in (
        RemBertConfig(label2id=other),
        RemBertConfig(label2id={label: np.int64(i) for label, i in other.items()}, num_labels=3),
        RemBertConfig.from_pretrained(named, label2id=other),
        RemBertForTokenClassification.from_pretrained(named, label2id=other).config,
    ):
        assert list(config.id2label.items()) == [(0, "down"), (1, "up"), (2, "aside")]
        assert config.label2id == other
    shorter = RemBertConfig.from_pretrained(named, id2label={0: "no", 1: "yes"})
    assert (shorter.id2label, shorter.label2id) == ({0: "no", 1: "yes"}, {"no": 0, "yes": 1})


def test_a_file_with_the_names_in_one_direction_or_null(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"label2id": IDS, "id2label": None}), encoding="utf-8")
    assert RemBertConfig.from_pretrained(tmp_path).id2label == NAMES
    assert RemBertConfig.from_pretrained(tmp_path, num_labels=3).id2label == NAMES
    assert RemBertConfig.from_pretrained(tmp_path, num_labels=4).num_labels == 4
    path.write_text(json.dumps({"id2label": None, "label2id": None}), encoding="utf-8")
    assert RemBertConfig.from_pretrained(tmp_path).id2label == {0: "LABEL_0", 1: "LABEL_1"}
    path.write_text(json.dumps({"num_labels": 5}), encoding="utf-8")
    assert RemBertConfig.from_pretrained(tmp_path, id2label=NAMES).id2label == NAMES


def test_a_number_that_is_set_again_leaves_the_names_alone() -> None:
    config = RemBertConfig(id2label=NAMES)
    config.num_labels = 3
    assert config.id2label == NAMES
    config.label2id = {"b": 1, "a": 0}
    assert config.id2label == {0: "a", 1: "b"}
    config.num_labels = 3
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"id2label": NAMES, "label2id": {**IDS, "neutral": 2, "positive": 1}}, ("label2id", "id2label")),
        ({"label2id": IDS, "num_labels": 2}, ("num_labels is 2", "3 labels")),
        ({"label2id": {"a": 0, "b": 0}}, ("label2id", "an id of its own")),
        ({"label2id": {"a": 1, "b": 2}}, ("0 to n - 1",)),
        ({"label2id": ["a"]}, ("label2id", "mapping", "['a']")),
        ({"id2label": {0: "a"}, "num_labels": True}, ("num_labels", "True")),
    ],
)
def test_labels_that_contradict_each_other(values: dict[str, Any], parts: tuple[str, ...]) -> None:
    with refused(ValueError, "RemBertConfig", *parts):
        RemBertConfig(**values)


# --- NumPy's scalars ------------------------------------------------------------------------------------------------

SCALARS = {
    int: (np.int64, np.int32, np.uint8), float: (np.float64, np.float32), bool: (np.bool_,), str: (np.str_,),
}  # fmt: skip


FIXED = ("model_type", "tie_word_embeddings", "label2id")


@pytest.mark.parametrize("name", [name for name in RemBertConfig().to_dict() if name not in FIXED])
def test_a_field_takes_numpy_s_scalars_and_keeps_python_s(name: str, tmp_path: Path) -> None:
    sizes = {**SIZES["one head"], "is_decoder": True, "bos_token_id": 1, "eos_token_id": 2, "hidden_dropout_prob": 0.5}
    value = getattr(RemBertConfig(**sizes), name)
    for kind in SCALARS.get(type(value), ()):
        given = RemBertConfig(**{**sizes, name: kind(value)})
        assigned = RemBertConfig(**sizes)
        setattr(assigned, name, kind(value))
        for config in (given, assigned):
            assert type(getattr(config, name)) is type(value)
            assert getattr(config, name) == type(value)(kind(value))
            config.save_pretrained(tmp_path)
            assert RemBertConfig.from_pretrained(tmp_path) == config


def test_numbers_of_labels_in_numpy_s_words() -> None:
    assert RemBertConfig(num_labels=np.int64(3)) == RemBertConfig(num_labels=3)
    assert RemBertConfig(id2label={np.int64(0): np.str_("a")}) == RemBertConfig(id2label={0: "a"})
    config = RemBertConfig(eos_token_id=np.array([7, 8]))
    assert json.loads(config.to_json_string())["eos_token_id"] == [7, 8]


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_labels", np.float64(3)), ("num_labels", np.bool_(True)), ("vocab_size", np.float32(61)),
     ("hidden_size", np.bool_(True)), ("hidden_dropout_prob", np.bool_(False)), ("use_cache", np.int64(1)),
     ("layer_norm_eps", np.float32("nan")), ("pad_token_id", np.int64(-1)), ("hidden_size", np.array([42]))],
)  # fmt: skip
def test_scalars_of_the_wrong_kind(name: str, value: Any) -> None:
    with refused(ValueError, "RemBertConfig", name):
        RemBertConfig(**{**SIZES["one head"], name: value})


def test_switches_of_a_call() -> None:
    for true in (True, np.bool_(True), 1, np.int64(1)):
        assert flag(true, "use_cache") is True
    for false in (False, np.bool_(False), 0, np.uint8(0)):
        assert flag(false, "use_cache") is False
    assert flag(None, "use_cache") is None
    for wrong in (2, 1.0, np.float64(1), "yes", np.array([True])):
        with refused(TypeError, "use_cache must be True or False"):
            flag(wrong, "use_cache")


# --- what config.json can hold --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["torch_dtype", "dtype"])
@pytest.mark.parametrize(
    ("dtype", "written"),
    [
        (torch.float32, "float32"), (torch.bfloat16, "bfloat16"), (np.dtype("float16"), "float16"),
        (np.float32, "float32"), ("float64", "float64"),
    ],
)  # fmt: skip
def test_a_dtype_is_saved_as_its_name(tmp_path: Path, name: str, dtype: Any, written: str) -> None:
    config = RemBertConfig(**SIZES["one head"], **{name: dtype}, inner={"deeper": [{name: dtype}]})
    config.save_pretrained(tmp_path / "config")
    stored = json.loads((tmp_path / "config" / "config.json").read_text(encoding="utf-8"))
    assert stored[name] == stored["inner"]["deeper"][0][name] == written
    if isinstance(dtype, torch.dtype):  # transformers' own way of writing it
        assert transformers.RemBertConfig(dtype=dtype).to_dict()["dtype"] == written
    model = RemBertForSequenceClassification(config)
    model.save_pretrained(tmp_path / "model")
    stored = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert {stored["dtype"], stored[name]} == {"float32"}, "what the weights are, under both names"
    transformers.RemBertConfig.from_pretrained(tmp_path / "model")


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)
DEEP: list[Any] = []
for _ in range(3000):
    DEEP = [DEEP]
UNWRITABLE = [
    ({1, 2}, "type set"), (Path("a"), "type PosixPath"), (float("nan"), "nan"), (np.float32("inf"), "inf"),
    ({1: "a"}, "key 1"), ({None: "a"}, "key None"), (CIRCLE, "itself"), (DEEP, "deeply"), (np.zeros(2), "type ndarray"),
    (1j, "type complex"), (b"a", "type bytes"), (object(), "type object"), ("a" * JSON_LIMIT, "limit"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "said"), UNWRITABLE, ids=[said for _, said in UNWRITABLE])
def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path, value: Any, said: str) -> None:
    model = make_model(TASKS["encoder"], "one head")
    model.config.extra["odd"] = {"in": [value]}
    for save in (
        model.save_pretrained,
        model.config.save_pretrained,
        lambda folder: model.save_pretrained(folder, safe_serialization=False),
        lambda folder: model.save_pretrained(folder, max_shard_size=2000),
    ):
        with refused(ValueError, "RemBertConfig", said):
            save(tmp_path / "new")
        assert not (tmp_path / "new").exists()
    assert "architectures" not in model.config.extra, "what was not saved is not said to be"
    make_model(TASKS["encoder"], "one head", seed=1).save_pretrained(tmp_path / "old")
    before = contents(tmp_path / "old")
    with refused(ValueError, said):
        model.save_pretrained(tmp_path / "old")
    assert contents(tmp_path / "old") == before


def test_a_configuration_that_became_impossible_is_not_saved(tmp_path: Path) -> None:
    model = make_model(TASKS["encoder"], "one head")
    model.config.hidden_dropout_prob = float("nan")
    with refused(ValueError, "hidden_dropout_prob", "nan"):
        model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_longer_names_than_a_file_may_hold_are_refused(tmp_path: Path) -> None:
    """It would be too long to be read again."""
    config = RemBertConfig(id2label={0: "n" * JSON_LIMIT})
    with refused(ValueError, "config.json", f"{JSON_LIMIT:,}"):
        config.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_names_of_labels_that_are_numbers_are_saved(tmp_path: Path) -> None:
    config = RemBertConfig(id2label={0: 5, 1: 7})
    config.save_pretrained(tmp_path)
    assert RemBertConfig.from_pretrained(tmp_path) == config


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "model-00001-of-00009.safetensors"])
@pytest.mark.parametrize("size", ["5GB", 2000])
def test_a_folder_in_the_place_of_a_file(tmp_path: Path, name: str, size: Any) -> None:
    """Either it is in nobody's way and stays, or it is refused and no file is written or replaced."""
    make_model(TASKS["encoder"], "one head").save_pretrained(tmp_path / "m")
    (tmp_path / "m" / name).unlink(missing_ok=True)
    (tmp_path / "m" / name / "mine").mkdir(parents=True)
    before = {path: path.read_bytes() for path in (tmp_path / "m").iterdir() if path.is_file()}
    model = make_model(TASKS["encoder"], "one head", seed=1)
    in_the_way = name == "config.json" or (name == "model.safetensors" and size == "5GB")
    if in_the_way:
        with refused(OSError, str(tmp_path / "m" / name), "folder"):
            model.save_pretrained(tmp_path / "m", max_shard_size=size)
        assert {path: path.read_bytes() for path in (tmp_path / "m").iterdir() if path.is_file()} == before
    else:
        model.save_pretrained(tmp_path / "m", max_shard_size=size)
        assert weight_files(tmp_path / "m")[0].stat().st_size > 0
        assert type(model).from_pretrained(tmp_path / "m").config == model.config
    assert (tmp_path / "m" / name / "mine").is_dir()


def test_what_a_format_cannot_hold_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    arrays = {"a": np.zeros(2, np.uint32)}
    held = minirembert.checkpoint.held(arrays)
    for format, size in (("pytorch", None), ("h5", None), ("h5", "1GB"), ("safetensors", "none"), ("zip", None)):
        with pytest.raises(ValueError, match=r"U32|max_shard_size|format|a is"):
            minirembert.checkpoint.write_weights(held, tmp_path / "new", format, size)
        assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match="cannot hold an array of dtype object"):
        minirembert.checkpoint.save_weights({"a": np.array([None])}, tmp_path / "new" / "a.safetensors")
    assert not (tmp_path / "new").exists()


def test_a_conversion_writes_no_nan(tmp_path: Path) -> None:
    """Python's json reads and writes it; it is no JSON."""
    make_model(TASKS["encoder"], "one head").save_pretrained(tmp_path / "a")
    path = tmp_path / "a" / "config.json"
    path.write_text(path.read_text(encoding="utf-8").replace("{", '{"odd": NaN,', 1), encoding="utf-8")
    with refused(ValueError, str(path), "odd is nan"):
        convert(tmp_path / "a", tmp_path / "b", "pytorch", dtype="float64")
    assert not (tmp_path / "b").exists()


def test_text_that_utf_8_does_not_have_is_escaped() -> None:
    assert json_text({"\udcff": 1, "字": 2}, "x", indent=None, readable=True) == '{"\\udcff": 1, "\\u5b57": 2}\n'
    assert json_text({"字": (1, None)}, "x", indent=None, readable=True) == '{"字": [1, null]}\n'


def test_an_attribute_that_a_configuration_does_not_know_is_saved(tmp_path: Path) -> None:
    config = RemBertConfig(torch_dtype="float16")
    config.torch_dtype = torch.float32
    config.finetuning_task = "xnli"
    config.save_pretrained(tmp_path)
    assert (
        RemBertConfig.from_pretrained(tmp_path).extra.items()
        >= {"torch_dtype": "float32", "finetuning_task": "xnli"}.items()
    )
    assert copy.deepcopy(config) == config
