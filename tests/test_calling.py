"""The ways of calling a model that the documentation shows, PyTorch's and TensorFlow's, and what comes back."""

from typing import Any

import numpy as np
import pytest
import torch
from models import SIZES, TASKS, make_batch, make_model
from test_bad_input import refused
from test_model import same_to_rounding

import minirembert
from minirembert import RemBertConfig, RemBertForCausalLM, RemBertForMaskedLM, RemBertModel

ONE_EACH = [
    "encoder",
    "masked lm",
    "causal lm",
    "single label",
    "multiple choice",
    "token classification",
    "question answering",
]


def parts(name: str) -> tuple[Any, dict[str, Any]]:
    return make_model(TASKS[name]), make_batch(TASKS[name], with_labels=False)


@pytest.mark.parametrize("name", ONE_EACH)
def test_every_way_of_calling_is_the_same_call(name: str) -> None:
    model, batch = parts(name)
    ids, mask, types = (batch[key] for key in ("input_ids", "attention_mask", "token_type_ids"))
    expected = model(**batch)
    ways = {
        "in order": model(ids, mask, types),
        "some by name": model(ids, mask, token_type_ids=types),
        "a list": model([ids, mask, types]),
        "a tuple": model((ids, mask, types)),
        "a dictionary": model(batch),
        "a dictionary and names": model({"input_ids": ids, "attention_mask": mask}, token_type_ids=types),
        "lists of numbers": model(ids.tolist(), mask.tolist(), types.tolist()),
        "a list of lists of numbers": model([ids.tolist(), mask.tolist(), types.tolist()]),
        "a list of tensors": model([torch.from_numpy(a) for a in (ids, mask, types)]),
        "tensors by name": model(**{key: torch.from_numpy(value) for key, value in batch.items()}),
        "without dropout": model(batch, training=False),
        "by PyTorch's name": model.forward(ids, mask, token_type_ids=types),
        "by TensorFlow's name": model.call([ids, mask, types]),
    }
    for how, output in ways.items():
        assert list(output) == list(expected), how
        assert all((output[field] == expected[field]).all() for field in expected), how


@pytest.mark.parametrize("name", ONE_EACH)
def test_a_list_with_one_input_more_than_ids_is_a_list_of_inputs(name: str) -> None:
    """Ids alone, as an array, a list of numbers, and as the only input of a list. The TensorFlow classes of transformers take
    [[4, 5]] for a list of inputs, and fail."""
    model, batch = parts(name)
    ids = batch["input_ids"]
    expected = model(input_ids=ids)[0]
    for how in (ids, ids.tolist(), list(ids), [ids], [ids.tolist()], (ids,)):
        assert (model(how)[0] == expected).all()
    embeds = np.random.default_rng(0).standard_normal((*ids.shape, 10))
    nothing = [None] * 5
    assert (model([*nothing, embeds])[0] == model(inputs_embeds=embeds)[0]).all()


def test_the_order_is_that_of_the_documentation() -> None:
    encoder = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "head_mask", "inputs_embeds")
    flags = ("output_attentions", "output_hidden_states", "return_dict")
    cross = ("encoder_hidden_states", "encoder_attention_mask")
    expected = {
        "RemBertModel": (*encoder, *cross, "past_key_values", "use_cache", *flags),
        "RemBertForMaskedLM": (*encoder, *cross, "labels", *flags),
        "RemBertForCausalLM": (*encoder, *cross, "past_key_values", "labels", "use_cache", *flags, "logits_to_keep"),
        "RemBertForSequenceClassification": (*encoder, "labels", *flags),
        "RemBertForMultipleChoice": (*encoder, "labels", *flags),
        "RemBertForTokenClassification": (*encoder, "labels", *flags),
        "RemBertForQuestionAnswering": (*encoder, "start_positions", "end_positions", *flags),
    }
    assert {name: getattr(minirembert, name).arguments for name in expected} == expected


def test_where_the_cache_stands() -> None:
    """transformers' base output has it after the hidden states, its tuple before them."""
    model, ids = make_model(TASKS["encoder"], is_decoder=True), make_batch(TASKS["encoder"])["input_ids"]
    output = model(ids, output_hidden_states=True)
    assert list(output) == ["last_hidden_state", "pooler_output", "hidden_states", "past_key_values"]
    plain = model(ids, output_hidden_states=True, return_dict=False)
    assert [len(part) for part in plain] == [3, 3, 3, 4]  # of the batch twice, layers, hidden states
    assert isinstance(plain[2][0], tuple)


def test_labels_in_order_too() -> None:
    model, batch = make_model(TASKS["masked lm"]), make_batch(TASKS["masked lm"])
    loss, _ = model.loss_and_gradients(batch)
    assert loss == model.loss(batch) == model.loss(**batch)
    ids, mask, types = (batch[key] for key in ("input_ids", "attention_mask", "token_type_ids"))
    by_place = model(ids, mask, types, None, None, None, None, None, batch["labels"])
    assert by_place.loss == model(**batch).loss


def test_what_is_given_twice_or_once_too_often() -> None:
    model, batch = parts("encoder")
    ids = batch["input_ids"]
    with refused(TypeError, "RemBertModel", "input_ids", "twice"):
        model(ids, input_ids=ids)
    with refused(TypeError, "RemBertModel", "attention_mask", "twice"):
        model(batch, attention_mask=batch["attention_mask"])
    with refused(TypeError, "a dictionary", "1 more"):
        model(batch, ids)
    with refused(TypeError, "a list of inputs", "1 more"):
        model([ids], ids)
    with refused(TypeError, "13 inputs", "got 14"):
        model(*[None] * 14)
    with refused(TypeError, "no argument ids", "input_ids, attention_mask"):
        model({"ids": ids})


@pytest.mark.parametrize("name", ONE_EACH)
def test_tuples_instead_of_outputs(name: str) -> None:
    """By argument or by configuration; in the order of the fields, without what is None."""
    model, batch = make_model(TASKS[name]), make_batch(TASKS[name])
    wanted = {"output_hidden_states": True, "output_attentions": True}
    output = model(**batch, **wanted)
    tuples = [model(**batch, **wanted, return_dict=False), output.to_tuple(), output[:], tuple(output.values())]
    model.config.return_dict = False
    tuples.append(model(**batch, **wanted))
    assert isinstance(model(**batch, return_dict=True), type(output))
    for given in tuples:
        assert isinstance(given, tuple)
        assert len(given) == len(output)
        for value, key in zip(given, output, strict=True):
            pairs = zip(value, output[key], strict=True) if isinstance(value, tuple) else [(value, output[key])]
            assert all((a == b).all() for a, b in pairs), key
    assert [key for key, _ in output.items()] == list(output.keys())


def test_training_drops() -> None:
    model, batch = make_model(TASKS["encoder"], hidden_dropout_prob=0.2), make_batch(TASKS["encoder"])
    still = model(**batch).last_hidden_state
    one, another = (model(**batch, training=True).last_hidden_state for _ in range(2))
    assert (one != still).any() and (one != another).any()
    first, again = (model(**batch, dropout_seed=3).last_hidden_state for _ in range(2))
    assert (first == again).all() and (first != still).any()


def test_without_its_pooler() -> None:
    config = RemBertConfig(**SIZES["one head"])
    model, whole = RemBertModel(config, add_pooling_layer=False, seed=1), RemBertModel(config, seed=1)
    assert whole.parameters.keys() - model.parameters.keys() == {"pooler.dense.weight", "pooler.dense.bias"}
    ids = np.arange(8).reshape(2, 4)
    output = model(ids)
    assert list(output) == ["last_hidden_state"]
    assert (output[0] == whole(ids)[0]).all()
    hidden, nothing = model(ids, return_dict=False)
    assert nothing is None and (hidden == output[0]).all()


@pytest.mark.filterwarnings("error")
def test_without_its_pooler_from_a_folder(tmp_path: Any) -> None:
    make_model(TASKS["masked lm"]).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="the output head"):
        model = RemBertModel.from_pretrained(tmp_path, add_pooling_layer=False)  # and no word about a pooler
    assert not any("pooler" in name for name in model.parameters)
    with refused(TypeError, "RemBertForMaskedLM", "add_pooling_layer"):
        RemBertForMaskedLM.from_pretrained(tmp_path, add_pooling_layer=False)


# --- another vocabulary -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [75, 50])
@pytest.mark.parametrize("kind", ["encoder", "masked lm", "causal lm"])
def test_more_or_fewer_ids(kind: str, size: int, tmp_path: Any) -> None:
    """What stays keeps its values, at both ends; new rows are like fresh ones; the model runs, saves and loads."""
    model, before = make_model(TASKS[kind]), make_model(TASKS[kind])
    ids = np.random.default_rng(0).integers(0, 50, (2, 9))
    model.resize_token_embeddings(size)
    kept = min(size, 61)
    resized = {"word_embeddings.weight", "decoder.weight", "decoder.bias"}
    for name, array in model.parameters.items():
        old = before.parameters[name]
        if any(name.endswith(end) for end in resized):
            assert array.shape == (size, *old.shape[1:])
            assert (array[:kept] == old[:kept]).all(), name
            new = array[61:]
            assert (
                (not new.any()) if name.endswith("bias") else (np.abs(new) < 6 * model.config.initializer_range).all()
            )
            assert size < 61 or name.endswith("bias") or new.any(1).all()
        else:
            assert (array == old).all()
    assert model.config.vocab_size == size
    output, was = model(ids), before(ids)
    if kind == "encoder":
        assert (output[0] == was[0]).all()
    else:
        same_to_rounding(output.logits[..., :kept], was.logits[..., :kept], "logits")
    model.save_pretrained(tmp_path)
    assert (type(model).from_pretrained(tmp_path, dtype="float64")(ids)[0] == output[0]).all()


def test_sizes_that_are_none() -> None:
    model = make_model(TASKS["masked lm"], pad_token_id=60)
    for size, *what in (
        (0, "vocab_size", "0"),
        (-3, "vocab_size", "-3"),
        (2.5, "vocab_size", "2.5"),
        (60, "pad_token_id", "60"),
    ):
        with refused(ValueError, *what):
            model.resize_token_embeddings(size)
    assert model.config.vocab_size == 61
    assert model.parameters["cls.predictions.decoder.bias"].shape == (61,)


def test_a_decoder_is_told_by_its_configuration_alone() -> None:
    """As the page has it: from_pretrained, then is_decoder = True, then a model."""
    config = RemBertConfig(**SIZES["one head"])
    config.is_decoder = True
    output = RemBertForCausalLM(config)(np.arange(8).reshape(2, 4))
    assert list(output) == ["logits", "past_key_values"]
