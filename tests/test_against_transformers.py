"""The whole model against Hugging Face transformers: the same weights, the same inputs, the same numbers.

transformers 5 runs in eager mode, on the CPU. The limits are those of the issue (`checks.PARITY_...`): they are far above
what two correct float64 programs differ by (1e-13) and far below what any mistake makes (1e-3).
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from checks import FLOOR, PARITY_FLOAT32, PARITY_GRADIENTS, PARITY_OUTPUTS, assert_within, largest_in_row
from models import SEQUENCE, SIZES, TASKS, WITH_LOSS, Task, make_batch, make_model
from safetensors.numpy import load_file, save_file

import minirembert
from minirembert.ops.activations import HIDDEN_ACT

LIMIT = {"float64": PARITY_OUTPUTS, "float32": PARITY_FLOAT32}
GRADIENT_LIMIT = {"float64": PARITY_GRADIENTS, "float32": PARITY_FLOAT32}


def hugging_face(model: Any) -> torch.nn.Module:
    """Their model with our model's configuration and weights. Fails unless the parameters have the same names."""
    ours = model.config
    known = transformers.RemBertConfig().to_dict()
    values = {name: value for name, value in ours.to_dict().items() if name in known}
    config = transformers.RemBertConfig(**values)
    config._attn_implementation = "eager"
    theirs = getattr(transformers, type(model).__name__)(config).to(getattr(torch, str(model.dtype))).eval()
    theirs.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in model.parameters.items()})
    return theirs


def tensors(batch: dict[str, Any], dtype: str) -> dict[str, Any]:
    made = {name: torch.from_numpy(np.array(v)) if isinstance(v, np.ndarray) else v for name, v in batch.items()}
    return {
        n: v.to(getattr(torch, dtype)) if torch.is_tensor(v) and v.is_floating_point() else v for n, v in made.items()
    }


def assert_parity(ours: Any, theirs: Any, limit: float, what: str) -> None:
    """Equal to `limit`, relative to the largest entry along the last axis."""
    expected = theirs.detach().numpy()
    assert ours.dtype == expected.dtype, f"{what}: dtype {ours.dtype}, theirs {expected.dtype}"
    assert_within(ours, expected, limit * largest_in_row(np.abs(expected)), what, None)


def assert_same_outputs(model: Any, theirs: torch.nn.Module, batch: dict[str, Any], **theirs_instead: Any) -> Any:
    """Every field both have, hidden states and attentions layer by layer. Returns their output."""
    dtype = str(model.dtype)
    wanted = {"output_hidden_states": True, "output_attentions": True}
    ours = model(**batch, **wanted)
    expected = theirs(**tensors(batch, dtype) | theirs_instead, **wanted)
    assert list(ours.keys()) == list(expected.keys())
    if "labels" in batch and type(model).__name__ == "RemBertForCausalLM":
        # transformers 5 computes this loss, and so its gradients, in float32 whatever the model is in
        logits, labels = expected.logits[:, :-1], torch.from_numpy(batch["labels"])[:, 1:]
        expected.loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    for name in ours:
        pairs = (
            zip(ours[name], expected[name], strict=True)
            if isinstance(ours[name], tuple)
            else [(ours[name], expected[name])]
        )
        for layer, (mine, their) in enumerate(pairs):
            assert_parity(mine, their, LIMIT[dtype], f"{name} {layer}")
    return expected


def assert_same_gradients(model: Any, theirs: torch.nn.Module, batch: dict[str, Any], loss: torch.Tensor) -> None:
    """Of every parameter. Some are zero in theory (a key's bias) and rounding noise in practice: no entry can be asked to
    be better than a few last places of the model's largest gradient."""
    dtype = str(model.dtype)
    loss.backward()
    our_loss, gradients = model.loss_and_gradients(**batch)
    expected = {
        name: np.zeros(tuple(p.shape)) if p.grad is None else p.grad.numpy() for name, p in theirs.named_parameters()
    }
    assert gradients.keys() == expected.keys()
    assert_within(our_loss, loss.item(), LIMIT[dtype] * abs(loss.item()), "loss", None)
    noise = FLOOR * np.finfo(dtype).eps * max(np.abs(g).max() for g in expected.values())
    for name, gradient in gradients.items():
        assert gradient.dtype == dtype, f"gradient of {name}: {gradient.dtype}"
        allowed = max(GRADIENT_LIMIT[dtype] * np.abs(expected[name]).max(), noise)
        assert_within(gradient, expected[name], allowed, f"gradient of {name}", None)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", TASKS)
def test_every_model_gives_the_same_outputs_and_gradients(name, size, dtype):
    task = TASKS[name]
    model, batch = make_model(task, size, dtype), make_batch(task, size)
    theirs = hugging_face(model)
    output = assert_same_outputs(model, theirs, batch)
    if task.labels:
        assert_same_gradients(model, theirs, batch, output.loss)


@pytest.mark.parametrize("act", HIDDEN_ACT)
def test_every_activation_is_theirs(act):
    task = TASKS["masked lm"]
    model, batch = make_model(task, hidden_act=act), make_batch(task)
    theirs = hugging_face(model)
    assert_same_gradients(model, theirs, batch, assert_same_outputs(model, theirs, batch).loss)


def without(batch: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name not in names}


RNG = np.random.default_rng(5)
VARIATIONS = {
    "no mask": lambda b: without(b, "attention_mask"),
    "no token types": lambda b: without(b, "token_type_ids"),
    "ids alone": lambda b: without(b, "attention_mask", "token_type_ids"),
    "a mask of ones": lambda b: b | {"attention_mask": np.ones_like(b["attention_mask"])},
    "a boolean mask": lambda b: b | {"attention_mask": b["attention_mask"].astype(bool)},
    "int32 ids": lambda b: b | {"input_ids": b["input_ids"].astype(np.int32)},
    "positions of their own": lambda b: b | {"position_ids": RNG.integers(0, 33, b["input_ids"].shape)},
    "one row of positions": lambda b: b | {"position_ids": RNG.integers(0, 33, (1, SEQUENCE))},
    "embeddings for ids": lambda b: without(b, "input_ids") | {"inputs_embeds": RNG.standard_normal((3, SEQUENCE, 10))},
    "one sequence": lambda b: {name: value[:1] for name, value in b.items()},
    "one token": lambda b: {name: value[:, :1] for name, value in b.items()},
}


@pytest.mark.parametrize("variation", VARIATIONS)
def test_every_way_of_asking(variation):
    task = TASKS["token classification"]
    model, batch = make_model(task), VARIATIONS[variation](make_batch(task))
    batch["labels"] = np.maximum(batch["labels"], 0)  # one token of one sequence is to be labelled, too
    theirs = hugging_face(model)
    assert_same_gradients(model, theirs, batch, assert_same_outputs(model, theirs, batch).loss)


def test_the_longest_sequence():
    task = TASKS["encoder"]
    model = make_model(task)
    batch = {"input_ids": RNG.integers(0, 61, (2, 33))}
    assert_same_outputs(model, hugging_face(model), batch)


@pytest.mark.parametrize(
    "changes", [{"layer_norm_eps": 0.3}, {"pad_token_id": None}, {"pad_token_id": 60}, {"num_hidden_layers": 0}]
)
def test_other_configurations(changes):
    task = TASKS["masked lm"]
    model, batch = make_model(task, **changes), make_batch(task)
    batch["input_ids"][0, :5] = 60
    theirs = hugging_face(model)
    assert_same_gradients(model, theirs, batch, assert_same_outputs(model, theirs, batch).loss)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_mask_for_every_query(dtype):
    """(B, S, S), 1 where query i may see key j. transformers 5 takes such a mask only as the numbers to add."""
    task = TASKS["masked lm"]
    model, batch = make_model(task, dtype=dtype), make_batch(task)
    mask = (RNG.random((3, SEQUENCE, SEQUENCE)) < 0.6).astype(int)
    mask[1, 4] = 0  # a query that sees nothing
    additive = torch.from_numpy((1 - mask[:, None]) * np.finfo(dtype).min).to(getattr(torch, dtype))
    theirs = hugging_face(model)
    batch["attention_mask"] = mask
    expected = assert_same_outputs(model, theirs, batch, attention_mask=additive)
    assert_same_gradients(model, theirs, batch, expected.loss)


def test_choices_as_embeddings():
    task = TASKS["multiple choice"]
    model, batch = make_model(task), make_batch(task)
    batch = without(batch, "input_ids") | {"inputs_embeds": RNG.standard_normal((3, 3, SEQUENCE, 10))}
    assert_same_outputs(model, hugging_face(model), batch)


@pytest.mark.parametrize("name", ["masked lm", "token classification", "question answering", "single label"])
def test_nothing_labelled_costs_nan_and_teaches_nothing(name):
    task = TASKS[name]
    model, batch = make_model(task), make_batch(task)
    for label in ("labels", "start_positions", "end_positions"):
        if label in batch:
            batch[label] = np.full_like(batch[label], SEQUENCE if label != "labels" else -100)
    theirs = hugging_face(model)
    loss = theirs(**tensors(batch, "float64")).loss
    ours, gradients = model.loss_and_gradients(**batch)
    assert torch.isnan(loss)
    assert np.isnan(ours)
    assert np.isnan(model(**batch).loss)
    assert not any(gradient.any() for gradient in gradients.values())


def test_the_first_labels_decide_the_problem_type_as_theirs_do():
    for name in ("single label", "multi label", "regression"):
        model, batch = make_model(TASKS[name]), make_batch(TASKS[name])
        theirs = hugging_face(model)
        theirs(**tensors(batch, "float64"))
        model(**batch)
        assert model.config.problem_type == theirs.config.problem_type


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["encoder", "masked lm", "single label", "token classification", "question answering", "multiple choice"]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_they_load_what_we_save_and_we_load_what_they_save(name, dtype, tmp_path):
    task = TASKS[name]
    model, batch = make_model(task, dtype=dtype), make_batch(task, with_labels=False)
    model.save_pretrained(tmp_path / "ours")
    theirs = getattr(transformers, task.model.__name__).from_pretrained(
        tmp_path / "ours", dtype=getattr(torch, dtype), attn_implementation="eager"
    )
    assert_same_outputs(model, theirs.eval(), batch)
    theirs.save_pretrained(tmp_path / "theirs")
    again = task.model.from_pretrained(tmp_path / "theirs", dtype=dtype)
    assert again.parameters.keys() == model.parameters.keys()
    for parameter, array in model.parameters.items():
        assert again.parameters[parameter].dtype == dtype
        assert (again.parameters[parameter] == array).all(), parameter
    assert (model(**batch)[0] == again(**batch)[0]).all()


@pytest.mark.parametrize("stored", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_files_in_every_precision_load(stored, dtype, tmp_path):
    """To the value that is stored, widened or rounded once."""
    theirs = hugging_face(make_model(TASKS["masked lm"])).to(getattr(torch, stored))
    theirs.save_pretrained(tmp_path)
    model = minirembert.RemBertForMaskedLM.from_pretrained(tmp_path, dtype=dtype)
    for name, tensor in theirs.state_dict().items():
        assert (model.parameters[name] == tensor.to(getattr(torch, dtype)).numpy()).all(), name
        assert model.parameters[name].dtype == dtype


def resaved(folder: Path, change: Any) -> None:
    """Rewrites the weights in `folder` as `change` makes them."""
    path = folder / "model.safetensors"
    arrays = load_file(path)
    save_file(change(arrays), path, metadata={"format": "pt"})


def test_a_file_of_mixed_precision_loads(tmp_path):
    model = make_model(TASKS["encoder"], dtype="float32")
    model.save_pretrained(tmp_path)
    kinds = ("float16", "float32", "float64")
    resaved(tmp_path, lambda arrays: {n: a.astype(kinds[i % 3]) for i, (n, a) in enumerate(arrays.items())})
    again = minirembert.RemBertModel.from_pretrained(tmp_path)
    assert {str(a.dtype) for a in again.parameters.values()} == {"float32"}
    for name, array in model.parameters.items():
        allowed = np.finfo(np.float16).eps * (np.abs(array) + np.finfo(np.float16).tiny)
        assert_within(again.parameters[name], array, allowed, name, 0)


def strip(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix("rembert."): array for name, array in arrays.items()}


def prefix(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name if name.startswith("cls.") else "rembert." + name: array for name, array in strip(arrays).items()}


@pytest.mark.parametrize("change", [strip, prefix])
@pytest.mark.parametrize("name", ["encoder", "masked lm"])
@pytest.mark.filterwarnings("error")
def test_the_prefix_may_be_there_or_not(change, name, tmp_path):
    task = TASKS[name]
    model = make_model(task)
    model.save_pretrained(tmp_path)
    resaved(tmp_path, change)
    again = task.model.from_pretrained(tmp_path, dtype="float64")
    assert all((again.parameters[name] == array).all() for name, array in model.parameters.items())


@pytest.mark.filterwarnings("error")
def test_the_position_ids_of_old_files_are_dropped_without_a_word(tmp_path):
    model = make_model(TASKS["masked lm"])
    model.save_pretrained(tmp_path)
    resaved(tmp_path, lambda arrays: arrays | {"rembert.embeddings.position_ids": np.arange(33)[None]})
    again = minirembert.RemBertForMaskedLM.from_pretrained(tmp_path, dtype="float64")
    assert again.parameters.keys() == model.parameters.keys()


def load_and_listen(model: Any, folder: Path, **settings: Any) -> tuple[Any, str]:
    """The model in `folder`, and what was said while loading it."""
    with pytest.warns(UserWarning) as caught:
        loaded = model.from_pretrained(folder, **settings)
    return loaded, "; ".join(str(w.message) for w in caught)


def test_a_missing_head_is_made_anew_and_named(tmp_path):
    make_model(TASKS["encoder"]).save_pretrained(tmp_path)
    task = minirembert.RemBertForTokenClassification
    one, said = load_and_listen(task, tmp_path, seed=1, num_labels=4)
    assert "lacks the classifier (classifier.*, 2 tensors): newly initialised" in said
    two, _ = load_and_listen(task, tmp_path, seed=2, num_labels=4)
    assert one.parameters["classifier.weight"].shape == (4, 42)
    assert one.parameters["classifier.weight"].any()
    assert (one.parameters["classifier.weight"] != two.parameters["classifier.weight"]).all()
    assert not one.parameters["classifier.bias"].any()


def test_what_a_file_has_and_the_model_has_not_is_named(tmp_path):
    make_model(TASKS["masked lm"]).save_pretrained(tmp_path)
    _, said = load_and_listen(minirembert.RemBertForTokenClassification, tmp_path)
    assert "the output head (cls.predictions.*, 6 tensors)" in said
    assert "not used by RemBertForTokenClassification" in said


def test_a_missing_pooler_is_named_too(tmp_path):
    make_model(TASKS["masked lm"]).save_pretrained(tmp_path)
    _, said = load_and_listen(minirembert.RemBertModel, tmp_path)
    assert "lacks the pooler (pooler.dense.*, 2 tensors): newly initialised" in said


def test_settings_we_do_not_know_survive(tmp_path):
    """google/rembert's config.json has keys like embedding_size that nothing reads."""
    model = make_model(TASKS["encoder"], embedding_size=256, embedding_dropout_prob=0)
    model.save_pretrained(tmp_path)
    again = minirembert.RemBertConfig.from_pretrained(tmp_path)
    assert again.to_dict()["embedding_size"] == 256
    assert transformers.RemBertConfig.from_pretrained(tmp_path).embedding_size == 256


@pytest.mark.parametrize("name", WITH_LOSS)
def test_labels_come_in_their_names(name):
    """Their configuration of our saved model has as many labels, under the same names."""
    model = make_model(TASKS[name])
    theirs = hugging_face(model)
    assert theirs.config.num_labels == model.config.num_labels
    assert theirs.config.id2label == model.config.id2label


def test_tasks_cover_every_class():
    classes = {task.model.__name__ for task in TASKS.values()}
    assert classes == {n for n in minirembert.__all__ if n.startswith("RemBertFor") or n == "RemBertModel"}
    assert all(isinstance(task, Task) for task in TASKS.values())
