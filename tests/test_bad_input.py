"""What a user gets wrong, and the one sentence it is answered with: what was wrong, which value, which limit, where.

A model that reads row -1 of a table, or repeats a mask of the wrong shape, gives an answer; only it is the wrong one.
"""

import contextlib
import copy
import errno
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from models import SEQUENCE, SIZES, TASKS, make_batch, make_model

import minirembert.checkpoint.save
from minirembert import (
    RemBertConfig,
    RemBertForMaskedLM,
    RemBertForQuestionAnswering,
    RemBertForSequenceClassification,
    RemBertModel,
)


def one_sentence(message: str) -> bool:
    return 0 < len(message) < 400 and "\n" not in message.strip()


@contextlib.contextmanager
def refused(kind: type[Exception], *parts: str):
    """The block raises `kind`, in one sentence that has every one of `parts` in it."""
    with pytest.raises(kind) as caught:
        yield
    message = str(caught.value.args[0]) if isinstance(caught.value, KeyError) else str(caught.value)
    assert one_sentence(message), message
    assert not [part for part in parts if part not in message], f"{message!r} lacks one of {parts}"


def spoiled(name: str, where: tuple[int, ...], value: int, task: str = "encoder") -> dict:
    batch = make_batch(TASKS[task])
    batch[name] = np.array(batch[name])
    batch[name][where] = value
    return batch


# --- ids ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bad", "last"),
    [
        ("input_ids", 61, 60), ("input_ids", -1, 60), ("input_ids", 10**12, 60),
        ("token_type_ids", 2, 1), ("token_type_ids", -1, 1),
    ],
)  # fmt: skip
def test_an_id_outside_its_table(name, bad, last):
    with refused(IndexError, f"{name}[1, 3] is {bad}", f"0 to {last}"):
        make_model(TASKS["encoder"])(**spoiled(name, (1, 3), bad))


@pytest.mark.parametrize("bad", [-1, 33])
def test_a_position_outside_its_table(bad):
    positions = np.arange(SEQUENCE)[None].copy()
    positions[0, 4] = bad
    with refused(IndexError, f"position_ids[0, 4] is {bad}", "0 to 32"):
        make_model(TASKS["encoder"])(**make_batch(TASKS["encoder"]), position_ids=positions)


def test_a_sequence_longer_than_the_positions():
    with refused(ValueError, "34 tokens", "max_position_embeddings = 33"):
        make_model(TASKS["encoder"])(np.zeros((2, 34), int))


@pytest.mark.parametrize("name", ["input_ids", "token_type_ids", "position_ids"])
def test_ids_that_are_no_integers(name):
    batch = make_batch(TASKS["encoder"])
    with refused(ValueError, name, "integers", "float64"):
        make_model(TASKS["encoder"])(**batch | {name: np.zeros((3, SEQUENCE))})


RAGGED = [[1, 2, 3], [4, 5]]


@pytest.mark.parametrize(
    "name", ["input_ids", "token_type_ids", "position_ids", "attention_mask", "inputs_embeds", "labels"]
)
def test_ragged_lists(name):
    task = TASKS["token classification"]
    batch = make_batch(task) | {name: RAGGED}
    if name == "inputs_embeds":
        del batch["input_ids"]
    with refused(ValueError, name, "rectangular"):
        make_model(task)(**batch)


def test_ragged_labels():
    task = TASKS["multi label"]
    with refused(ValueError, "labels", "rectangular"):
        make_model(task)(**make_batch(task) | {"labels": [[1.0, 0.0], [1.0], [0.0]]})


@pytest.mark.parametrize("name", ["input_ids", "attention_mask"])
def test_ragged_choices(name):
    task = TASKS["multiple choice"]
    with refused(ValueError, name, "rectangular"):
        make_model(task)(**make_batch(task) | {name: [[[1, 2], [3]], [[4, 5], [6]]]})


def test_both_or_neither_of_ids_and_embeddings():
    model, batch = make_model(TASKS["encoder"]), make_batch(TASKS["encoder"])
    with refused(ValueError, "input_ids", "inputs_embeds", "both"):
        model(**batch, inputs_embeds=np.zeros((3, SEQUENCE, 10)))
    with refused(ValueError, "input_ids", "inputs_embeds", "neither"):
        model(attention_mask=batch["attention_mask"])


@pytest.mark.parametrize("shape", [(), (17,), (1, 3, 17)])
def test_ids_with_the_wrong_number_of_axes(shape):
    with refused(ValueError, "input_ids", "(batch, sequence)", str(shape)):
        make_model(TASKS["encoder"])(np.zeros(shape, int))


@pytest.mark.parametrize("shape", [(0, 5), (2, 0)])
def test_nothing_at_all(shape):
    with refused(ValueError, "empty", f"{shape[0]} sequences of {shape[1]} tokens"):
        make_model(TASKS["encoder"])(np.zeros(shape, int))


@pytest.mark.parametrize(("nothing", "parts"), [([[]], ("1 sequences of 0 tokens",)), ([], ("input_ids", "(0,)"))])
def test_an_empty_list(nothing, parts):
    """NumPy takes an empty list for floats."""
    with refused(ValueError, "the input is empty", *parts):
        make_model(TASKS["encoder"])(nothing)


@pytest.mark.parametrize("nothing", [[[[]]], [[[], []]]])
def test_empty_choices(nothing):
    with refused(ValueError, "the input is empty", "of 0 tokens"):
        make_model(TASKS["multiple choice"])(nothing)


@pytest.mark.parametrize("shape", [(3, SEQUENCE, 42), (3, SEQUENCE), (3, SEQUENCE, 1)])
def test_embeddings_of_the_wrong_width(shape):
    """The width is E, where transformers' documentation says hidden_size."""
    with refused(ValueError, "inputs_embeds", "(batch, sequence, 10)", str(shape)):
        make_model(TASKS["encoder"])(inputs_embeds=np.zeros(shape))


# --- masks and labels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 16), (1, SEQUENCE), (SEQUENCE,), (3, 1), (3, SEQUENCE, 1)])
def test_a_mask_of_the_wrong_shape(shape):
    """NumPy would repeat most of these without a word."""
    batch = make_batch(TASKS["encoder"]) | {"attention_mask": np.ones(shape)}
    with refused(ValueError, "attention_mask", "(3, 17)", "(3, 17, 17)", str(shape)):
        make_model(TASKS["encoder"])(**batch)


@pytest.mark.parametrize("bad", [2.0, -1.0, 1.0000001, -1e-9, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [(1, 3), (2, 0, 16)])
def test_a_mask_value_that_is_none(bad, where):
    """2 would give a token all the attention, -1 overflows to NaN."""
    mask = np.ones((3,) + (SEQUENCE,) * (len(where) - 1))
    mask[where] = bad
    with refused(ValueError, f"attention_mask{list(where)} is {bad}", "within [0, 1]"):
        make_model(TASKS["encoder"])(**make_batch(TASKS["encoder"]) | {"attention_mask": mask})


@pytest.mark.parametrize("mask", [[["1"] * 4], [[None] * 4], [[1j] * 4]])
def test_a_mask_that_holds_no_numbers(mask):
    with refused(ValueError, "attention_mask", "numbers within [0, 1]", str(np.asarray(mask).dtype)):
        make_model(TASKS["encoder"])([[1, 2, 3, 4]], mask)


@pytest.mark.parametrize("dtype", [bool, np.uint8, int, np.float16, np.float32, float])
def test_a_mask_of_any_kind_of_number(dtype):
    model, batch = make_model(TASKS["encoder"]), make_batch(TASKS["encoder"])
    expected = model(**batch).last_hidden_state
    mask = batch["attention_mask"].astype(dtype)
    assert np.array_equal(model(**batch | {"attention_mask": mask}).last_hidden_state, expected)


@pytest.mark.parametrize("name", ["attention_mask", "token_type_ids", "position_ids"])
@pytest.mark.parametrize("shape", [(3, 2, 4), (1, 6, 4), (6, 1, 4), (2, 2, 4)])
def test_choices_that_disagree(name, shape):
    """Six sequences of four tokens are six, whichever way they are counted: reshaping would not notice."""
    model = make_model(TASKS["multiple choice"])
    with refused(ValueError, f"{name} has shape {shape}", "input_ids (2, 3, 4)", "(batch, choice)"):
        model(np.ones((2, 3, 4), int), **{name: np.ones(shape, int)})


def test_positions_for_all_choices_at_once():
    model, ids = make_model(TASKS["multiple choice"]), np.ones((2, 3, 4), int)
    positions = np.arange(4)[None, None]
    assert np.array_equal(model(ids, position_ids=positions).logits, model(ids).logits)


@pytest.mark.parametrize("name", ["token_type_ids", "position_ids"])
def test_ids_of_the_wrong_shape(name):
    batch = make_batch(TASKS["encoder"]) | {name: np.zeros((2, SEQUENCE), int)}
    with refused(ValueError, name, "(3, 17)", "(2, 17)"):
        make_model(TASKS["encoder"])(**batch)


@pytest.mark.parametrize(
    ("task", "name", "bad", "expected"),
    [
        ("masked lm", "labels", np.zeros((3, 16), int), (3, 17)),
        ("masked lm", "labels", np.zeros((51,), int), (3, 17)),
        ("token classification", "labels", np.zeros((3,), int), (3, 17)),
        ("single label", "labels", np.zeros((4,), int), (3,)),
        ("multi label", "labels", np.zeros((3, 2)), (3, 3)),
        ("multi label", "labels", np.zeros((3,)), (3, 3)),
        ("regression", "labels", np.zeros((3, 3)), (3, 1)),
        ("regression", "labels", np.zeros((1,)), (3, 1)),
        ("multiple choice", "labels", np.zeros((9,), int), (3,)),
        ("question answering", "start_positions", np.zeros((2,), int), (3,)),
        ("question answering", "end_positions", np.zeros((3, 17), int), (3,)),
    ],
)
def test_labels_of_the_wrong_shape(task, name, bad, expected):
    shown = bad.reshape(-1).shape if name != "labels" or task in ("single label", "multiple choice") else bad.shape
    with refused(ValueError, name, str(expected), str(shown)):
        make_model(TASKS[task])(**make_batch(TASKS[task]) | {name: bad})


@pytest.mark.parametrize("task", ["masked lm", "token classification", "multiple choice", "question answering"])
def test_labels_that_are_no_integers(task):
    batch = make_batch(TASKS[task])
    name = "start_positions" if task == "question answering" else "labels"
    with refused(ValueError, name, "integers", "float64"):
        make_model(TASKS[task])(**batch | {name: batch[name] * 1.0})


@pytest.mark.parametrize(
    ("task", "where", "bad", "last"),
    [
        ("masked lm", (1, 3), 61, 60), ("masked lm", (1, 3), -1, 60), ("token classification", (0, 0), 4, 3),
        ("single label", (2,), 3, 2), ("single label", (2,), -5, 2), ("multiple choice", (0,), 3, 2),
    ],
)  # fmt: skip
@pytest.mark.parametrize("training", [False, True])
def test_a_label_out_of_range(task, where, bad, last, training):
    model = make_model(TASKS[task])
    batch = spoiled("labels", where, bad, task)
    with refused(IndexError, f"labels{list(where)} is {bad}", f"0 to {last}", "-100"):
        model.loss_and_gradients(**batch) if training else model(**batch)


def test_a_label_of_a_kind_the_problem_type_does_not_take():
    model = make_model(TASKS["single label"], problem_type="single_label_classification")
    batch = make_batch(TASKS["single label"])
    with refused(ValueError, "labels", "integers", "float64"):
        model(**batch | {"labels": batch["labels"] * 1.0})


@pytest.mark.parametrize("task", ["encoder", "masked lm", "single label", "question answering", "multiple choice"])
def test_gradients_without_labels(task):
    model, batch = make_model(TASKS[task]), make_batch(TASKS[task], with_labels=False)
    with refused(ValueError, type(model).__name__, "labels", "input_ids"):
        model.loss_and_gradients(**batch)


def test_gradients_with_half_of_the_positions():
    task = TASKS["question answering"]
    batch = make_batch(task)
    del batch["end_positions"]
    with refused(ValueError, "RemBertForQuestionAnswering", "start_positions"):
        make_model(task).loss_and_gradients(**batch)


def test_choices_without_their_axis():
    task = TASKS["multiple choice"]
    with refused(ValueError, "input_ids", "3 axes", "(3, 17)"):
        make_model(task)(**make_batch(TASKS["encoder"]))


def test_an_argument_nobody_knows():
    """transformers 5 swallows these."""
    with refused(TypeError, "RemBertModel", "cache_position", "it takes input_ids, attention_mask", "position_ids"):
        make_model(TASKS["encoder"])(**make_batch(TASKS["encoder"]), cache_position=np.arange(17))


@pytest.mark.parametrize(
    ("task", "own"), [("masked lm", "labels"), ("multiple choice", "labels"), ("question answering", "end_positions")]
)
def test_an_argument_nobody_knows_to_a_task(task, own):
    model = make_model(TASKS[task])
    with refused(TypeError, type(model).__name__, "no argument foo", "input_ids", own):
        model(**make_batch(TASKS[task]), foo=1)


def test_labels_for_a_model_that_takes_none():
    with refused(TypeError, "RemBertModel", "no argument labels"):
        make_model(TASKS["encoder"])(**make_batch(TASKS["encoder"]), labels=[1, 2, 3])


# --- configuration --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"num_attention_heads": 5}, ("hidden_size", "num_attention_heads (5)", "42")),
        ({"hidden_act": "gelo"}, ("hidden_act", "'gelo'", "gelu, gelu_accurate")),
        ({"problem_type": "ranking"}, ("problem_type", "'ranking'", "single_label_classification")),
        ({"hidden_size": 0}, ("hidden_size", "positive", "0")),
        ({"vocab_size": -5}, ("vocab_size", "positive", "-5")),
        ({"intermediate_size": 7.5}, ("intermediate_size", "integer", "7.5")),
        ({"hidden_dropout_prob": 1.0}, ("hidden_dropout_prob", "[0, 1)", "1.0")),
        ({"attention_probs_dropout_prob": -0.1}, ("attention_probs_dropout_prob", "[0, 1)", "-0.1")),
        ({"layer_norm_eps": -1e-12}, ("layer_norm_eps", "at least 0", "-1e-12")),
        ({"pad_token_id": 61}, ("pad_token_id", "vocab_size (61)", "61")),
        ({"pad_token_id": -1}, ("pad_token_id", "vocab_size (61)", "-1")),
        ({"num_hidden_layers": -1}, ("num_hidden_layers", "at least 0", "-1")),
        ({"layer_norm_eps": float("inf")}, ("layer_norm_eps", "finite", "inf")),
        ({"initializer_range": -0.02}, ("initializer_range", "at least 0", "-0.02")),
        ({"initializer_range": float("nan")}, ("initializer_range", "finite", "nan")),
        ({"id2label": {}}, ("id2label", "at least one", "{}")),
        ({"id2label": {1: "a", 2: "b"}}, ("id2label", "0 to n - 1", "{1: 'a', 2: 'b'}")),
        ({"id2label": {0: "a", "0": "b"}}, ("id2label", "0 to n - 1")),
        ({"id2label": {"x": "a"}}, ("id2label", "0 to n - 1", "'x'")),
        ({"id2label": {0: "a", 1: "a"}}, ("id2label", "no two are alike")),
    ],
)  # fmt: skip
def test_a_configuration_no_model_can_be_built_from(changes, parts):
    with refused(ValueError, "RemBertConfig", *parts):
        RemBertConfig(**SIZES["head size 7"] | changes)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"hidden_dropout_prob": "0.1"}, ("hidden_dropout_prob", "'0.1'")),
        ({"hidden_dropout_prob": None}, ("hidden_dropout_prob", "None")),
        ({"layer_norm_eps": "1e-12"}, ("layer_norm_eps", "'1e-12'")),
        ({"hidden_act": ["gelu"]}, ("hidden_act", "['gelu']")),
        ({"vocab_size": "61"}, ("vocab_size", "'61'")),
        ({"pad_token_id": "0"}, ("pad_token_id", "'0'")),
        ({"num_labels": 0}, ("num_labels", "0")),
        ({"num_labels": "3"}, ("num_labels", "'3'")),
        ({"num_labels": True}, ("num_labels", "True")),
        ({"id2label": ["a", "b"]}, ("id2label", "['a', 'b']")),
        ({"vocab_size": True}, ("vocab_size", "True")),
        ({"num_hidden_layers": True}, ("num_hidden_layers", "True")),
        ({"pad_token_id": False}, ("pad_token_id", "False")),
        ({"hidden_dropout_prob": False}, ("hidden_dropout_prob", "False")),
        ({"layer_norm_eps": True}, ("layer_norm_eps", "True")),
        ({"initializer_range": "0.02"}, ("initializer_range", "'0.02'")),
        ({"initializer_range": None}, ("initializer_range", "None")),
    ],
)
def test_a_configuration_value_of_the_wrong_kind(changes, parts):
    """A JSON file can hold anything."""
    with refused(ValueError, "RemBertConfig", *parts):
        RemBertConfig(**SIZES["head size 7"] | changes)


@pytest.mark.parametrize("num_labels", [1, 3])
def test_question_answering_needs_two_labels(num_labels):
    model = make_model(TASKS["question answering"], num_labels=num_labels)
    with refused(ValueError, "num_labels = 2", f"got {num_labels}"):
        model(**make_batch(TASKS["question answering"]))


@pytest.mark.parametrize("dtype", ["float16", "int64", "flout32", None])
def test_a_dtype_models_do_not_come_in(dtype, tmp_path):
    with refused(ValueError, "dtype", "float32, float64", repr(dtype)):
        RemBertModel(RemBertConfig(**SIZES["one head"]), dtype=dtype)
    make_model(TASKS["encoder"]).save_pretrained(tmp_path)
    with refused(ValueError, "dtype", "float32, float64", repr(dtype)):
        RemBertModel.from_pretrained(tmp_path, dtype=dtype)


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    make_model(TASKS["encoder"], "one head").save_pretrained(tmp_path)
    return tmp_path


def test_a_folder_that_is_not_there():
    with refused(FileNotFoundError, "/no/such/folder/config.json", "does not exist"):
        RemBertModel.from_pretrained("/no/such/folder")


def test_a_misspelt_argument(saved):
    """The configuration keeps keys it does not know, so it would take this one, and the model stay float32."""
    with refused(TypeError, "RemBertModel.from_pretrained", "no argument dtpe", "did you mean dtype?"):
        RemBertModel.from_pretrained(saved, dtpe="float64")
    with refused(TypeError, "no argument num_label;", "num_labels"):
        RemBertModel.from_pretrained(saved, num_label=3)


def test_a_configuration_and_changes_to_it(saved):
    config = RemBertConfig.from_pretrained(saved)
    with refused(TypeError, "either config or num_labels", "not both"):
        RemBertModel.from_pretrained(saved, config=config, num_labels=7)


def test_the_changes_a_configuration_takes(saved):
    labels = {0: "no", 1: "yes", 2: "maybe"}
    changes = dict(id2label=labels, label2id={label: i for i, label in labels.items()}, problem_type="regression")
    config = RemBertModel.from_pretrained(saved, **changes, classifier_dropout_prob=0.3).config
    assert (config.id2label, config.problem_type, config.classifier_dropout_prob) == (labels, "regression", 0.3)
    assert RemBertModel.from_pretrained(saved, num_labels=7).config.num_labels == 7


# --- what loading warns of ------------------------------------------------------------------------------------------


def warned(model: type, folder: Path) -> list[str]:
    with pytest.warns(UserWarning) as caught:
        line = sys._getframe().f_lineno + 1
        model.from_pretrained(folder)
    assert {(w.filename, w.lineno) for w in caught} == {(__file__, line)}, "they point to the line that loads"
    return [str(w.message).removeprefix(f"{folder} ") for w in caught]


OUTPUT_HEAD, POOLER = "the output head (cls.predictions.*, 6 tensors)", "the pooler (pooler.dense.*, 2 tensors)"
CLASSIFIER, QA = "the classifier (classifier.*, 2 tensors)", "the question answering head (qa_outputs.*, 2 tensors)"
FRESH = ": newly initialised, train before use"


def test_parts_that_are_missing_whole_are_named(saved, tmp_path):
    assert warned(RemBertForMaskedLM, saved) == [
        f"lacks {OUTPUT_HEAD}{FRESH}", f"also has {POOLER}: not used by RemBertForMaskedLM"
    ]  # fmt: skip
    assert warned(RemBertForSequenceClassification, saved) == [f"lacks {CLASSIFIER}{FRESH}"]
    assert warned(RemBertForQuestionAnswering, saved)[0] == f"lacks {QA}{FRESH}"
    make_model(TASKS["masked lm"]).save_pretrained(tmp_path / "lm")
    assert warned(RemBertForSequenceClassification, tmp_path / "lm") == [
        f"lacks {POOLER}, {CLASSIFIER}{FRESH}", f"also has {OUTPUT_HEAD}: not used by RemBertForSequenceClassification"
    ]  # fmt: skip


def test_tensors_that_are_missing_from_a_part_are_named(saved):
    change_tensors(saved, pooler__dense__bias=None, something__else=np.zeros(3))
    assert warned(RemBertModel, saved) == [
        f"lacks pooler.dense.bias{FRESH}", "also has something.else: not used by RemBertModel"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_is_not_there(saved, name):
    (saved / name).unlink()
    with refused(FileNotFoundError, str(saved / name), "does not exist"):
        RemBertModel.from_pretrained(saved)


@pytest.mark.parametrize("text", ["", "{", "vocab_size: 5", '{"vocab_size": 5,}', "\x00\x01"])
def test_a_configuration_that_is_not_json(saved, text):
    (saved / "config.json").write_text(text)
    with refused(ValueError, str(saved / "config.json"), "not valid JSON"):
        RemBertModel.from_pretrained(saved)


def test_a_configuration_that_is_not_text(saved):
    (saved / "config.json").write_bytes(b"\xff\xfe\xfa")
    with refused(ValueError, str(saved / "config.json"), "not valid JSON"):
        RemBertModel.from_pretrained(saved)


@pytest.mark.parametrize(
    ("text", "kind"), [("[1, 2]", "list"), ('"rembert"', "str"), ("3", "int"), ("null", "NoneType")]
)
def test_a_configuration_that_is_json_but_no_object(saved, text, kind):
    (saved / "config.json").write_text(text)
    with refused(ValueError, str(saved / "config.json"), "JSON object", kind):
        RemBertModel.from_pretrained(saved)


def test_a_configuration_file_with_an_impossible_value(saved):
    values = json.loads((saved / "config.json").read_text()) | {"num_attention_heads": 4}
    (saved / "config.json").write_text(json.dumps(values))
    with refused(ValueError, "hidden_size", "num_attention_heads (4)"):
        RemBertModel.from_pretrained(saved)


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 100, 0.3, 0.9, -1])
def test_weights_cut_short(saved, keep):
    """Inside the length of the header, inside the header, inside the numbers, one byte before the end."""
    path = saved / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    with refused(ValueError, str(path), "damaged or cut short"):
        RemBertModel.from_pretrained(saved)


@pytest.mark.parametrize(
    "start", [b"\xff" * 8, b"\x00" * 16, b"\x05\0\0\0\0\0\0\0hello", b"PK\x03\x04" + b"x" * 60, b"\x02\0\0\0\0\0\0\0{}"]
)
def test_weights_with_garbage_for_a_header(saved, start):
    path = saved / "model.safetensors"
    path.write_bytes(start + path.read_bytes()[len(start) :])
    with refused(ValueError, str(path), "damaged or cut short"):
        RemBertModel.from_pretrained(saved)


def test_weights_followed_by_something_else(saved):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"more")
    with refused(ValueError, str(path), "damaged or cut short"):
        RemBertModel.from_pretrained(saved)


def test_a_folder_in_place_of_the_weights(saved):
    (saved / "model.safetensors").unlink()
    (saved / "model.safetensors").mkdir()
    with refused(FileNotFoundError, str(saved / "model.safetensors")):
        RemBertModel.from_pretrained(saved)


def change_tensors(folder: Path, **changes: np.ndarray | None) -> None:
    path = folder / "model.safetensors"
    arrays = safetensors.numpy.load_file(path) | {name.replace("__", "."): array for name, array in changes.items()}
    safetensors.numpy.save_file({n: a for n, a in arrays.items() if a is not None}, path, metadata={"format": "pt"})


def test_a_tensor_of_the_wrong_shape(saved):
    change_tensors(saved, encoder__layer__1__output__dense__weight=np.zeros((5, 8)))
    with refused(ValueError, "encoder.layer.1.output.dense.weight", "(5, 7)", "(5, 8)", "model.safetensors"):
        RemBertModel.from_pretrained(saved)


def test_a_tensor_of_the_right_size_and_the_wrong_shape(saved):
    change_tensors(saved, encoder__layer__1__output__dense__weight=np.zeros((7, 5)))
    with refused(ValueError, "encoder.layer.1.output.dense.weight", "(5, 7)", "(7, 5)"):
        RemBertModel.from_pretrained(saved)


def test_a_tensor_of_integers(saved):
    change_tensors(saved, pooler__dense__bias=np.zeros(5, np.int64))
    with refused(ValueError, "pooler.dense.bias", "floating-point", "I64"):
        RemBertModel.from_pretrained(saved)


def test_a_part_of_the_encoder_that_is_missing(saved):
    change_tensors(saved, encoder__layer__0__attention__self__key__weight=None)
    with refused(ValueError, str(saved), "lacks 1", "encoder.layer.0.attention.self.key.weight"):
        RemBertModel.from_pretrained(saved)


def test_the_weights_of_another_size(saved):
    make_model(TASKS["encoder"], "head size 1").config.save_pretrained(saved)
    with refused(ValueError, "embeddings", "should have shape", "found"):
        RemBertModel.from_pretrained(saved)


# --- a disk that fills up -------------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("place", ["model.safetensors", "config.json"])
def test_a_disk_that_fills_up_while_saving(saved, place, monkeypatch):
    """Half of the file is written, then the disk is full: the previous checkpoint survives, and nothing else does."""
    before = contents(saved)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def half_then_full(tensors, path):
        path.write_bytes(before["model.safetensors"][:100])
        raise full

    def half_text_then_full(self, text, **_):
        self.write_bytes(text.encode()[: len(text) // 2])
        raise full

    if place == "model.safetensors":
        monkeypatch.setattr(minirembert.checkpoint.save, "write_safetensors", half_then_full)
    else:
        monkeypatch.setattr(Path, "write_text", half_text_then_full)
    with refused(OSError, str(saved / place), "No space left on device"):
        make_model(TASKS["encoder"], "one head", dtype="float64", seed=1, classifier_dropout_prob=0.2).save_pretrained(
            saved
        )
    monkeypatch.undo()
    after = contents(saved)
    assert after.keys() == before.keys()
    assert after[place] == before[place]
    RemBertModel.from_pretrained(saved)


SAVE_ON_A_SMALL_DISK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from models import TASKS, make_model
model = make_model(TASKS["masked lm"])
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    model.save_pretrained(Path({folder!r}))
except OSError as error:
    print(error)
    sys.exit(7)
"""


@pytest.mark.parametrize("limit", [1, 1000, 100_000])
def test_a_file_that_may_not_grow(tmp_path, limit):
    """The same from the system's side: a process that may write `limit` bytes and no more."""
    model = make_model(TASKS["masked lm"])
    model.save_pretrained(tmp_path)
    before = contents(tmp_path)
    assert len(before["model.safetensors"]) > limit
    script = SAVE_ON_A_SMALL_DISK.format(tests=str(Path(__file__).parent), limit=limit, folder=str(tmp_path))
    ran = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 7, (ran.returncode, ran.stdout, ran.stderr[-2000:])
    assert one_sentence(ran.stdout)
    assert str(tmp_path / "model.safetensors") in ran.stdout
    assert contents(tmp_path) == before


def test_a_folder_that_may_not_be_written(tmp_path):
    """A file stands where the folder should be."""
    place = tmp_path / "model"
    place.write_text("here first")
    with refused(OSError, str(place)):
        make_model(TASKS["encoder"]).save_pretrained(place)
    assert place.read_text() == "here first"


def test_a_save_that_is_killed_leaves_the_previous_checkpoint(tmp_path):
    """SIGKILL in the middle of writing: no handler runs, and still the old files are whole."""
    make_model(TASKS["masked lm"]).save_pretrained(tmp_path)
    before = contents(tmp_path)
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import minirembert.checkpoint.save
from models import TASKS, make_model
def half_then_die(tensors, path):
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
minirembert.checkpoint.save.write_safetensors = half_then_die
make_model(TASKS["masked lm"], seed=1).save_pretrained({str(tmp_path)!r})
"""
    ran = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, timeout=60)
    assert ran.returncode == -signal.SIGKILL
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    RemBertForMaskedLM.from_pretrained(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("self", 1), ("extra", []), ("num_labels", 10**9), ("num_labels", 0)])
def test_a_configuration_file_with_a_trap_in_it(name, value, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({name: value}), encoding="utf-8")
    with refused(ValueError, name):
        RemBertConfig.from_pretrained(tmp_path)


def test_a_configuration_that_is_none(tmp_path):
    make_model(TASKS["encoder"]).save_pretrained(tmp_path)
    for nothing in (str(tmp_path / "config.json"), {"hidden_size": 5}, [], ""):
        with refused(TypeError, "RemBertModel", "config must be a RemBertConfig", type(nothing).__name__):
            RemBertModel(nothing)
        with refused(TypeError, "RemBertModel", "config must be a RemBertConfig"):
            RemBertModel.from_pretrained(tmp_path, config=nothing)


def test_a_folder_that_is_none(tmp_path, monkeypatch):
    """An empty name would be the current folder, and what is there would be written over."""
    monkeypatch.chdir(tmp_path)
    model = make_model(TASKS["encoder"])
    for use in (model.save_pretrained, model.config.save_pretrained, RemBertModel.from_pretrained):
        with refused(ValueError, "a folder is needed", "empty"):
            use("")
        with refused(TypeError, "a folder is needed", "NoneType"):
            use(None)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_another_architecture(tmp_path):
    make_model(TASKS["encoder"]).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"rembert"', '"bert"'))
    with refused(ValueError, "config.json", "type 'bert'", "'rembert'"):
        RemBertModel.from_pretrained(tmp_path)


def test_names_of_labels_that_are_not_as_many_as_the_labels():
    """transformers 4.34 warns and keeps the names."""
    names = {0: "NEG", 1: "POS", 2: "NEU"}
    assert RemBertConfig(id2label=names, num_labels=3).id2label == names
    with refused(ValueError, "num_labels is 2", "id2label names 3"):
        RemBertConfig(id2label=names, num_labels=2)


def test_what_a_configuration_does_not_know_is_an_attribute():
    config = RemBertConfig(embedding_size=256, tie_word_embeddings=True)
    assert config.embedding_size == 256
    assert config.tie_word_embeddings is False
    with pytest.raises(AttributeError, match="has no 'hidden_siz'"):
        config.hidden_siz  # noqa: B018
    assert copy.deepcopy(config) == config == pickle.loads(pickle.dumps(config))


@pytest.mark.parametrize("name", ["return_dict", "output_attentions", "output_hidden_states", "use_cache", "training"])
def test_a_switch_that_is_no_switch(name):
    with refused(TypeError, name, "True or False", "'no'"):
        make_model(TASKS["encoder"])(**make_batch(TASKS["encoder"]), **{name: "no"})


def test_embeddings_that_are_no_real_numbers():
    for wrong in (np.ones((3, SEQUENCE, 10), complex), np.full((3, SEQUENCE, 10), "x")):
        with refused(ValueError, "inputs_embeds", "real numbers", str(wrong.dtype)):
            make_model(TASKS["encoder"])(inputs_embeds=wrong)
