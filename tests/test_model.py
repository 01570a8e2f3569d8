"""The model as a whole, without an oracle: its gradients against its own forward pass, and what it must not depend on."""

from typing import Any

import numpy as np
import pytest
from checks import FLOOR, assert_within, slope_at_zero
from models import SEQUENCE, SIZES, TASKS, WITH_LOSS, make_batch, make_model

from minirembert import RemBertConfig, RemBertForMaskedLM, RemBertModel
from minirembert.model.attention import attention_block, keys_values_of
from minirembert.model.base import BASE_PREFIX
from minirembert.model.encoder import encoder, pooler
from minirembert.model.factorized_embedding import factorized_embedding
from minirembert.model.feed_forward import feed_forward
from minirembert.model.forward_pass import ForwardPass, Parameters, dropout_key
from minirembert.model.inputs import check_inputs
from minirembert.model.masks import Mask
from minirembert.model.output_head import output_head
from minirembert.ops import OPS
from minirembert.ops.random import keep_mask
from minirembert.tape import Forward, Tape

EPS = np.finfo(np.float64).eps

# --- <v, J^T u> = <J v, u> ------------------------------------------------------------------------------------------


def assert_transpose(
    value: Any, gradients: dict[str, np.ndarray], arrays: dict[str, np.ndarray], what: str, one_by_one: bool
) -> None:
    """`gradients` of value()'s sum against its slope along a random direction in all `arrays` at once and, if asked, in each.

    value() gives the terms of a sum at the present values of `arrays`. A model is a chain of some sixty roundings.
    """
    rng = np.random.default_rng(0)
    directions = {name: rng.standard_normal(a.shape) * (1 + np.abs(a)) for name, a in arrays.items()}
    start = {name: a.copy() for name, a in arrays.items()}
    scale = np.abs(value()).sum()
    noise = FLOOR * EPS * scale
    for chosen in [list(arrays), *([name] for name in arrays if one_by_one)]:

        def moved(t: float, chosen: list[str] = chosen) -> float:
            for name in chosen:
                arrays[name][...] = start[name] + t * directions[name]
            return value().sum()

        terms = np.concatenate([(gradients[name] * directions[name]).ravel() for name in chosen])
        slope, error = slope_at_zero(moved, noise, steps=(2**-8, 2**-11, 2**-14))
        for name in chosen:
            arrays[name][...] = start[name]
        place = chosen[0] if len(chosen) == 1 else "all parameters"
        assert_within(terms.sum(), slope, error + FLOOR * EPS * np.abs(terms).sum(), f"{what} along {place}", 0)
        size = np.sqrt((terms**2).sum())
        assert error <= np.sqrt(EPS) * (size + scale), f"{what} along {place}: the slope is too rough to tell"


def block_case(block: str) -> tuple[Any, dict[str, np.ndarray]]:
    """(function of a forward pass, the arrays that it is differentiated by)."""
    model = make_model(TASKS["masked lm"])
    batch = make_batch(TASKS["masked lm"], with_labels=False)
    inputs = check_inputs(model.config, model.dtype, **batch)
    bias = inputs.mask.bias.copy()
    bias[2] = 0  # where nothing is seen, scores are rounded away, and backward differs from forward by definition
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, SEQUENCE, model.config.hidden_size))
    p = Parameters(model.parameters, BASE_PREFIX)
    layer = p.at("encoder.layer.1")
    ids = inputs.input_ids, inputs.token_type_ids, inputs.position_ids
    functions = {
        "factorized embedding": lambda run: factorized_embedding(run, p, *ids),
        "attention block": lambda run: attention_of(run, layer.at("attention"), x, Mask(bias)),
        "feed forward": lambda run: feed_forward(run, layer, x),
        "encoder": lambda run: encoder(run, p, inputs._replace(mask=Mask(bias))).last_hidden_state,
        "pooler": lambda run: pooler(run, Parameters(pooled.parameters), x),
        "output head": lambda run: output_head(run, Parameters(model.parameters), x),
    }
    pooled = make_model(TASKS["encoder"])
    belongs = {
        "factorized embedding": ("embeddings.", "mapping_in"),
        "attention block": ("layer.1.attention.",),
        "feed forward": ("layer.1.intermediate", "layer.1.output"),
        "encoder": ("embeddings.", "encoder."),
        "pooler": ("pooler",),
        "output head": ("cls.",),
    }[block]
    parameters = pooled.parameters if block == "pooler" else model.parameters
    arrays = {name: a for name, a in parameters.items() if any(part in name for part in belongs)}
    if block in ("attention block", "feed forward", "pooler", "output head"):
        arrays["x"] = x
    return ForwardPassOf(model, functions[block]), arrays


def attention_of(run: ForwardPass, p: Parameters, x: np.ndarray, mask: Mask) -> np.ndarray:
    return attention_block(run, p, x, keys_values_of(run, p, x), mask)[0]


class ForwardPassOf:
    """A function of a ForwardPass, run with or without a tape."""

    def __init__(self, model: Any, function: Any) -> None:
        self.model, self.function = model, function

    def __call__(self, ops: Forward) -> np.ndarray:
        return self.function(ForwardPass(ops, self.model.config))


@pytest.mark.parametrize(
    "block", ["factorized embedding", "attention block", "feed forward", "encoder", "pooler", "output head"]
)
def test_the_gradients_of_each_block_are_its_transpose(block):
    function, arrays = block_case(block)
    tape = Tape(OPS)
    y = function(tape)
    u = np.random.default_rng(2).standard_normal(y.shape)
    gradients = tape.gradients(y, u, of=arrays)

    def value() -> np.ndarray:
        return u * function(Forward(OPS))

    padding = "rembert.embeddings.word_embeddings.weight"
    if padding in arrays:  # its padding row is frozen: backward is not the transpose there
        arrays[padding] = arrays[padding][1:]
        gradients[padding] = gradients[padding][1:]
    assert_transpose(value, gradients, arrays, block, one_by_one=block != "encoder")


@pytest.mark.parametrize("name", WITH_LOSS)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_gradients_of_each_model_are_the_slope_of_its_loss(name, dropout):
    """Over all parameters, without dropout and with it: there the same seed drops the same elements."""
    probabilities = dict.fromkeys(
        ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob"), dropout
    )
    model = make_model(TASKS[name], "head size 1", pad_token_id=None, **probabilities)
    batch = make_batch(TASKS[name], "head size 1")
    batch["attention_mask"] = np.maximum(batch["attention_mask"], np.arange(SEQUENCE) == 0)  # all see something
    seed = 7 if dropout else None

    def value() -> np.ndarray:
        return model.run_forward(ForwardPass(Forward(OPS), model.config, seed), **batch).loss

    _, gradients = model.loss_and_gradients(dropout_seed=seed, **batch)
    assert_transpose(value, gradients, model.parameters, name, one_by_one=False)


# --- the loss ---------------------------------------------------------------------------------------------------------


def same_to_rounding(a: np.ndarray, b: np.ndarray, what: str) -> None:
    """Two float64 programs for the same thing: as far apart as a chain of some sixty roundings makes them."""
    assert_within(a, b, FLOOR**2 * EPS * (1 + np.abs(b).max(initial=0)), what, 0)


def test_scoring_the_labelled_positions_alone_is_scoring_all():
    """`loss_and_gradients` leaves 70% of the head's work out; the full path, differentiated by hand, says the same."""
    task = TASKS["masked lm"]
    model, batch = make_model(task), make_batch(task)
    loss, gradients = model.loss_and_gradients(**batch)
    tape = Tape(model.ops)
    output = model.run_forward(ForwardPass(tape, model.config), **batch)
    assert output.logits.shape == (3, SEQUENCE, 61)
    full = tape.gradients(output.loss, np.ones(()), of=model.parameters)
    same_to_rounding(loss, output.loss, "loss")
    for name, gradient in gradients.items():
        same_to_rounding(gradient, full[name], name)


@pytest.mark.parametrize("name", WITH_LOSS)
def test_the_three_ways_to_the_loss_agree(name):
    model, batch = make_model(TASKS[name]), make_batch(TASKS[name])
    loss, _ = model.loss_and_gradients(**batch)
    same_to_rounding(loss, model(**batch).loss, "loss of a call")
    same_to_rounding(loss, model.loss(**batch), "loss alone")


def test_ignored_positions_teach_nothing():
    """Whatever stands at an ignored position of a sequence of its own, no gradient changes."""
    task = TASKS["token classification"]
    model, batch = make_model(task), make_batch(task)
    batch["labels"][1] = -100
    _, before = model.loss_and_gradients(**batch)
    batch["input_ids"][1] = (batch["input_ids"][1] + 7) % 61
    _, after = model.loss_and_gradients(**batch)
    for name in before:
        same_to_rounding(after[name], before[name], name)


def test_a_step_against_the_gradient_lowers_the_loss():
    task = TASKS["masked lm"]
    model, batch = make_model(task), make_batch(task)
    before, gradients = model.loss_and_gradients(**batch)
    squared = sum((g**2).sum() for g in gradients.values())
    step = 1e-3
    for name, gradient in gradients.items():
        model.parameters[name] -= step * gradient
    after = model.loss(**batch)
    assert before - 2 * step * squared < after < before


# --- what the outputs do not depend on ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_padding_does_not_change_real_tokens(dtype):
    model = make_model(TASKS["encoder"], dtype=dtype)
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 61, (2, 9))
    padded = np.concatenate([ids, rng.integers(0, 61, (2, 5))], axis=1)
    mask = np.concatenate([np.ones((2, 9), int), np.zeros((2, 5), int)], axis=1)
    alone, beside = model(ids), model(padded, mask)
    eps = FLOOR**2 * np.finfo(dtype).eps
    for name in ("last_hidden_state", "pooler_output"):
        expected, got = alone[name], beside[name]
        got = got[:, :9] if name == "last_hidden_state" else got
        assert_within(got, expected, eps * np.abs(expected).max(), name, 0)


def test_padding_on_the_left_does_not_either_if_positions_are_kept():
    model = make_model(TASKS["encoder"])
    ids = np.random.default_rng(0).integers(1, 61, (2, 9))
    padded = np.concatenate([np.zeros((2, 4), int), ids], axis=1)
    mask = np.concatenate([np.zeros((2, 4), int), np.ones((2, 9), int)], axis=1)
    positions = np.concatenate([np.zeros(4, int), np.arange(9)])
    beside = model(padded, mask, position_ids=positions[None]).last_hidden_state[:, 4:]
    same_to_rounding(beside, model(ids).last_hidden_state, "last hidden state")


@pytest.mark.parametrize("name", TASKS)
def test_splitting_the_batch_changes_nothing(name):
    task = TASKS[name]
    model, batch = make_model(task), make_batch(task, with_labels=False)
    together = model(**batch)
    for i in range(3):
        alone = model(**{key: value[i : i + 1] for key, value in batch.items()})
        for key in together:
            same_to_rounding(alone[key], together[key][i : i + 1], f"{key} of sequence {i}")


def test_a_permutation_of_the_tokens_with_their_positions_permutes_the_outputs():
    """The encoder itself has no order: it comes from position embeddings alone."""
    model = make_model(TASKS["encoder"])
    rng = np.random.default_rng(0)
    ids, order = rng.integers(0, 61, (2, SEQUENCE)), rng.permutation(SEQUENCE)
    plain = model(ids).last_hidden_state
    permuted = model(ids[:, order], position_ids=order[None]).last_hidden_state
    same_to_rounding(permuted, plain[:, order], "last hidden state")


def test_embeddings_in_place_of_ids():
    model, batch = make_model(TASKS["encoder"]), make_batch(TASKS["encoder"])
    ids = batch.pop("input_ids")
    rows = model.parameters["embeddings.word_embeddings.weight"][ids]
    by_ids, by_rows = model(ids, **batch), model(inputs_embeds=rows, **batch)
    assert (by_ids.last_hidden_state == by_rows.last_hidden_state).all()


def test_a_mask_for_every_query_that_repeats_one_row_is_that_row():
    model, batch = make_model(TASKS["encoder"]), make_batch(TASKS["encoder"])
    plain = model(**batch).last_hidden_state
    batch["attention_mask"] = np.repeat(batch["attention_mask"][:, None], SEQUENCE, axis=1)
    assert (model(**batch).last_hidden_state == plain).all()


@pytest.mark.parametrize("half", [0.5, 0.999])
def test_a_mask_between_zero_and_one_hides(half):
    """transformers 4.34 multiplies 1 - mask by the lowest number there is: a thousandth of it still hides."""
    model, batch = make_model(TASKS["encoder"]), make_batch(TASKS["encoder"])
    mask = batch["attention_mask"] = np.maximum(batch["attention_mask"], np.arange(SEQUENCE) == 3)  # all see something
    hidden = model(**batch).last_hidden_state
    batch["attention_mask"] = np.where(mask == 0, half, 1.0)
    assert (model(**batch).last_hidden_state == hidden).all()


def test_nothing_a_caller_owns_is_changed():
    for name, task in TASKS.items():
        model, batch = make_model(task), make_batch(task)
        parameters = {key: array.copy() for key, array in model.parameters.items()}
        before = {key: value.copy() for key, value in batch.items()}
        model(**batch, output_hidden_states=True, output_attentions=True)
        if task.labels:
            model.loss_and_gradients(**batch)
        assert all((batch[key] == value).all() for key, value in before.items()), name
        assert all((model.parameters[key] == array).all() for key, array in parameters.items()), name


@pytest.mark.parametrize("name", TASKS)
def test_float32_stays_float32(name):
    task = TASKS[name]
    model, batch = make_model(task, dtype="float32"), make_batch(task)
    output = model(**batch, output_hidden_states=True, output_attentions=True)
    for key in output:
        for array in output[key] if isinstance(output[key], tuple) else (output[key],):
            assert array.dtype == np.float32, key
    if task.labels:
        _, gradients = model.loss_and_gradients(**batch)
        assert {str(g.dtype) for g in gradients.values()} == {"float32"}


@pytest.mark.parametrize("name", WITH_LOSS)
def test_the_gradients_belong_to_the_caller(name):
    """Each is an array of its own: clipping one in place must not clip another, nor a parameter."""
    model, batch = make_model(TASKS[name]), make_batch(TASKS[name])
    _, gradients = model.loss_and_gradients(**batch)
    arrays = [*gradients.values(), *model.parameters.values()]
    for i, a in enumerate(arrays):
        assert not any(np.shares_memory(a, b) for b in arrays[:i])


# --- dropout --------------------------------------------------------------------------------------------------------


DROPS = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2, "classifier_dropout_prob": 0.2}


def test_nothing_is_dropped_unless_a_seed_is_given():
    task = TASKS["single label"]
    batch = make_batch(task)
    dropping, plain = make_model(task, **DROPS), make_model(task, **dict.fromkeys(DROPS, 0.0))
    assert (dropping(**batch).logits == plain(**batch).logits).all()
    assert dropping.loss_and_gradients(**batch)[0] == plain.loss_and_gradients(**batch)[0]
    assert plain.loss_and_gradients(dropout_seed=1, **batch)[0] == plain.loss_and_gradients(**batch)[0]


def test_the_same_seed_drops_the_same_and_another_drops_something_else():
    task = TASKS["single label"]
    model, batch = make_model(task, **DROPS), make_batch(task)
    (one, g_one), (again, g_again), (other, _) = (model.loss_and_gradients(dropout_seed=s, **batch) for s in (1, 1, 2))
    assert one == again != other
    assert all((g_one[name] == g_again[name]).all() for name in g_one)


@pytest.mark.parametrize("alone", DROPS)
def test_each_probability_has_its_place(alone):
    task = TASKS["single label"]
    batch = make_batch(task)
    model = make_model(task, **dict.fromkeys(DROPS, 0.0) | {alone: 0.3})
    assert model.loss_and_gradients(dropout_seed=1, **batch)[0] != model.loss_and_gradients(**batch)[0]


def test_every_bit_of_a_seed_counts():
    """Philox takes 64 bits; training makes seeds of more, (run's seed << 32) + step."""
    seeds = [0, *(1 << bit for bit in range(0, 129, 16)), (1 << 32) + 1, (1 << 33) + 1]
    keys = {dropout_key(seed, place) for seed in seeds for place in range(1, 100)}
    assert len(keys) == 99 * len(seeds) and all(0 <= key < 1 << 64 for key in keys)
    masks = {keep_mask((256,), 0.5, dropout_key(seed, 1)).tobytes() for seed in seeds}
    assert len(masks) == len(seeds)
    model, batch = make_model(TASKS["single label"], hidden_dropout_prob=0.3), make_batch(TASKS["single label"])
    losses = {model.loss_and_gradients(dropout_seed=seed, **batch)[0] for seed in (0, 65536, 1 << 32, 1 << 48, 1 << 64)}
    assert len(losses) == 5


def test_the_key_of_a_place_stays_what_it_is():
    """A run that is continued with another version should drop what it would have dropped."""
    assert [dropout_key(0, 1), dropout_key(1 << 64, 12)] == [0x44BC943B121B877A, 0x4151D494E3FE57CB]


def test_no_two_places_drop_alike():
    """Every place draws from a stream of its own: 1 embedding, 3 in each of 3 layers, 1 classifier."""
    task = TASKS["single label"]
    model, batch = make_model(task, **DROPS), make_batch(task)
    seeds = []

    class Listening(Forward):
        def __getattr__(self, name: str) -> Any:
            run = super().__getattr__(name)

            def heard(*inputs: Any, **settings: Any) -> Any:
                if settings.get("drop_prob"):
                    seeds.append(settings["seed"])
                return run(*inputs, **settings)

            return heard

    model.run_forward(ForwardPass(Listening(OPS), model.config, dropout_seed=5), **batch)
    assert len(seeds) == len(set(seeds)) == 1 + 3 * 3 + 1


# --- shapes, names, fresh weights -----------------------------------------------------------------------------------


def test_the_outputs_have_the_promised_shapes():
    B, S, C = 3, SEQUENCE, 3
    expected = {
        "encoder": {"last_hidden_state": (B, S, 42), "pooler_output": (B, 42)},
        "masked lm": {"logits": (B, S, 61)},
        "single label": {"logits": (B, 3)},
        "token classification": {"logits": (B, S, 4)},
        "question answering": {"start_logits": (B, S), "end_logits": (B, S)},
        "multiple choice": {"logits": (B, C)},
    }
    for name, shapes in expected.items():
        model, batch = make_model(TASKS[name]), make_batch(TASKS[name], with_labels=False)
        output = model(**batch)
        assert {key: output[key].shape for key in output} == shapes
        output = model(**batch, output_hidden_states=True, output_attentions=True)
        assert len(output.hidden_states) == 3 + 1
        assert len(output.attentions) == 3
        rows = B * C if name == "multiple choice" else B
        assert {a.shape for a in output.attentions} == {(rows, 6, S, S)}
        assert {h.shape for h in output.hidden_states} == {(rows, S, 42)}
        if name == "encoder":
            assert (output.hidden_states[-1] == output.last_hidden_state).all()


def test_an_output_answers_like_a_tuple_and_like_a_dictionary():
    model, batch = make_model(TASKS["masked lm"]), make_batch(TASKS["masked lm"])
    output = model(**batch)
    assert list(output) == ["loss", "logits"]
    assert output[0] is output.loss is output["loss"]
    assert output.to_tuple() == output[:2]
    assert "hidden_states" not in output
    assert len(output) == 2
    assert output.get("attentions") is None
    with pytest.raises(KeyError):
        output["hidden_states"]
    unlabelled = model(**{key: value for key, value in batch.items() if key != "labels"})
    assert unlabelled[0] is unlabelled.logits


def test_the_configuration_can_ask_for_hidden_states_and_attentions():
    model = make_model(TASKS["encoder"], output_hidden_states=True, output_attentions=True)
    batch = make_batch(TASKS["encoder"])
    assert {"hidden_states", "attentions"} <= set(model(**batch))
    assert "attentions" not in model(**batch, output_attentions=False)


# RemBERT's own sizes, counted on transformers' models on the meta device
@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("encoder", 575_920_384),
        ("masked lm", 993_263_548),
        ("single label", 575_922_690),
        ("multiple choice", 575_921_537),
        ("token classification", 574_594_434),
        ("question answering", 574_594_434),
    ],
)
def test_rembert_has_as_many_parameters_as_it_should(name, total):
    shapes = TASKS[name].model.parameter_shapes(RemBertConfig())
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == total


def test_a_fresh_model_is_what_the_configuration_says():
    config = RemBertConfig(**SIZES["head size 7"] | {"vocab_size": 5000, "initializer_range": 0.05, "pad_token_id": 2})
    model = RemBertForMaskedLM(config, seed=3)
    for name, array in model.parameters.items():
        if name.endswith("bias"):
            assert not array.any(), name
        elif name.endswith("LayerNorm.weight"):
            assert (array == 1).all(), name
        else:
            n = array.size
            assert abs(array.mean()) < 6 * 0.05 / np.sqrt(n), name
            assert abs(array.std() - 0.05) < 6 * 0.05 / np.sqrt(2 * n) + 0.05 * (
                name.endswith("word_embeddings.weight") / 5000
            ), name
    words = model.parameters["rembert.embeddings.word_embeddings.weight"]
    assert not words[2].any()
    assert words[[0, 1, 3]].all()
    again, other = RemBertForMaskedLM(config, seed=3), RemBertForMaskedLM(config, seed=4)
    assert (
        again.parameters["cls.predictions.decoder.weight"] == model.parameters["cls.predictions.decoder.weight"]
    ).all()
    assert (
        other.parameters["cls.predictions.decoder.weight"] != model.parameters["cls.predictions.decoder.weight"]
    ).any()


def test_writing_into_the_parameters_changes_the_model():
    model = RemBertModel(RemBertConfig(**SIZES["one head"]), dtype="float64")
    ids = np.arange(8).reshape(2, 4)
    before = model(ids).last_hidden_state
    model.parameters["encoder.layer.1.output.LayerNorm.bias"] += 1
    same_to_rounding(model(ids).last_hidden_state, before + 1, "last hidden state")


def test_ties_are_refused_quietly():
    """As in transformers 4.34: whatever a file says, input and output embeddings are two matrices."""
    config = RemBertConfig(**SIZES["one head"], tie_word_embeddings=True)
    assert config.to_dict()["tie_word_embeddings"] is False
    config = RemBertConfig(
        **{**config.to_dict(), "input_embedding_size": 3}
    )  # as wide as the output's: a tie would fit
    model = RemBertForMaskedLM(config)
    words, decoder = (
        model.parameters[f"{name}.weight"] for name in ("rembert.embeddings.word_embeddings", "cls.predictions.decoder")
    )
    assert words.shape == decoder.shape
    assert not (words == decoder).any()
