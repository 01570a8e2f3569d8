"""A forward pass with every dropout, written out in plain NumPy: where each stands, from which stream it draws, and whose
probability it has. Two of them exchanged would change no shape and no mean."""

import math
from typing import Any

import numpy as np
import pytest
from models import SEQUENCE, TASKS, make_batch, make_model
from test_bad_input import refused
from test_decoder import decoder, encoder_side, some_ids
from test_model import same_to_rounding

from minirembert import RemBertForMaskedLM, RemBertForSequenceClassification, RemBertModel
from minirembert.model.forward_pass import ForwardPass, dropout_key
from minirembert.model.outputs import BaseModelOutput
from minirembert.ops import OPS
from minirembert.ops.random import keep_mask
from minirembert.tape import Forward

DROPS = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.35, "classifier_dropout_prob": 0.5}
SEED = 9


class ByHand:
    """One pass through a RemBERT's encoder, with dropout."""

    def __init__(self, model: Any, batch: dict[str, np.ndarray], seed: int | None = SEED, past: int = 0) -> None:
        self.model, self.config, self.seed, self.places = model, model.config, seed, past
        self.prefix = type(model).base_prefix
        mask = batch["attention_mask"]
        hidden = np.where(mask == 1, 0.0, np.finfo(float).min)[:, None, None, :]
        words, types, places = (
            self.w(f"embeddings.{name}_embeddings.weight") for name in ("word", "token_type", "position")
        )
        e = words[batch["input_ids"]] + types[batch["token_type_ids"]] + places[: mask.shape[1]]
        e = self.drop(self.norm(e, "embeddings.LayerNorm"), self.config.hidden_dropout_prob)
        self.hidden_states = [self.linear(e, "encoder.embedding_hidden_mapping_in")]
        self.attentions: list[np.ndarray] = []
        for n in range(self.config.num_hidden_layers):
            self.hidden_states.append(self.block(self.hidden_states[-1], f"encoder.layer.{n}", hidden))

    def w(self, name: str) -> np.ndarray:
        return self.model.parameters.get(self.prefix + name, self.model.parameters.get(name))

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.w(f"{name}.weight").T + self.w(f"{name}.bias")

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + self.config.layer_norm_eps)
        return centred / scale * self.w(f"{name}.weight") + self.w(f"{name}.bias")

    def drop(self, x: np.ndarray, prob: float) -> np.ndarray:
        if self.seed is None:
            return x
        self.places += 1
        return x * keep_mask(x.shape, prob, dropout_key(self.seed, self.places))

    def block(self, x: np.ndarray, name: str, hidden: np.ndarray) -> np.ndarray:
        c = self.config
        batch, length, width = x.shape

        def heads(y: np.ndarray) -> np.ndarray:
            return y.reshape(batch, length, c.num_attention_heads, -1).swapaxes(1, 2)

        q, k, v = (heads(self.linear(x, f"{name}.attention.self.{part}")) for part in ("query", "key", "value"))
        scores = q @ k.swapaxes(2, 3) / math.sqrt(width // c.num_attention_heads) + hidden
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p = self.drop(p / p.sum(-1, keepdims=True), c.attention_probs_dropout_prob)
        self.attentions.append(p)
        y = self.linear((p @ v).swapaxes(1, 2).reshape(x.shape), f"{name}.attention.output.dense")
        x = self.norm(self.drop(y, c.hidden_dropout_prob) + x, f"{name}.attention.output.LayerNorm")
        y = self.linear(gelu(self.linear(x, f"{name}.intermediate.dense")), f"{name}.output.dense")
        return self.norm(self.drop(y, c.hidden_dropout_prob) + x, f"{name}.output.LayerNorm")


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def case(name: str) -> tuple[Any, dict[str, np.ndarray]]:
    model, batch = make_model(TASKS[name], num_hidden_layers=2, **DROPS), make_batch(TASKS[name])
    batch["attention_mask"][2, 3:] = 1  # no row that sees nothing: it would average what rounding leaves
    return model, batch


@pytest.mark.parametrize("seed", [SEED, 0, None])
def test_a_pass_with_every_dropout_is_the_pass_written_out(seed: int | None) -> None:
    model, batch = case("single label")
    assert type(model) is RemBertForSequenceClassification
    output = model(**batch, dropout_seed=seed, output_attentions=True, output_hidden_states=True)
    hand = ByHand(model, batch, seed)
    for n, (ours, expected) in enumerate(zip(output.hidden_states, hand.hidden_states, strict=True)):
        same_to_rounding(ours, expected, f"hidden states {n}")
    for n, (ours, expected) in enumerate(zip(output.attentions, hand.attentions, strict=True)):
        same_to_rounding(ours, expected, f"probabilities of layer {n}, after dropout")
    pooled = np.tanh(hand.linear(hand.hidden_states[-1][:, 0], "pooler.dense"))
    logits = hand.linear(hand.drop(pooled, model.config.classifier_dropout_prob), "classifier")
    same_to_rounding(output.logits, logits, "logits")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    loss = -log_p[np.arange(3), batch["labels"]].mean()
    for value in (output.loss, model.loss_and_gradients(**batch, dropout_seed=seed)[0]):
        same_to_rounding(np.asarray(value), np.asarray(loss), "loss")


def test_the_output_head_drops_nothing() -> None:
    model, batch = case("masked lm")
    assert type(model) is RemBertForMaskedLM
    output = model(**batch, dropout_seed=SEED)
    hand = ByHand(model, batch)
    y = hand.norm(gelu(hand.linear(hand.hidden_states[-1], "cls.predictions.dense")), "cls.predictions.LayerNorm")
    same_to_rounding(output.logits, hand.linear(y, "cls.predictions.decoder"), "logits")


def test_a_seed_counts_with_training_and_without() -> None:
    """`training=True` draws a seed only where the caller gave none."""
    model, batch = case("single label")
    given = model(**batch, dropout_seed=SEED).logits
    assert (model(**batch, dropout_seed=SEED, training=True).logits == given).all()
    assert (model(**batch, dropout_seed=SEED, training=False).logits == given).all()
    assert (model(**batch).logits != given).any()
    assert (model(**batch, training=True).logits != model(**batch, training=True).logits).any()


@pytest.mark.parametrize("name", ["input_ids", "token_type_ids", "position_ids", "labels"])
def test_truth_values_are_no_numbers_of_ids(name: str) -> None:
    model, batch = make_model(TASKS["token classification"]), make_batch(TASKS["token classification"])
    with refused(ValueError, f"{name} must hold integers, got bool"):
        model(**batch | {name: np.zeros((3, SEQUENCE), bool)})


def test_none_in_a_list_of_inputs_is_not_given() -> None:
    """So that it may be given by name."""
    model, batch = make_model(TASKS["encoder"]), make_batch(TASKS["encoder"])
    ids, mask, types = (batch[name] for name in ("input_ids", "attention_mask", "token_type_ids"))
    expected = model(**batch).last_hidden_state
    assert (model([ids, None, types], attention_mask=mask).last_hidden_state == expected).all()
    assert (model(ids, None, types, attention_mask=mask).last_hidden_state == expected).all()


# --- what one part hands to the next ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 6])
def test_chunks_of_several_positions_change_nothing(size: int) -> None:
    """Between one position and all of them the rows of a chunk have an order, too."""
    task = TASKS["masked lm"]
    batch = {name: values[:, :12] for name, values in make_batch(task).items()}
    whole, chunked = make_model(task), make_model(task, chunk_size_feed_forward=size)
    (loss, gradients), (chunked_loss, in_chunks) = (m.loss_and_gradients(**batch) for m in (whole, chunked))
    same_to_rounding(np.asarray(chunked_loss), np.asarray(loss), "loss")
    for name, gradient in gradients.items():
        same_to_rounding(in_chunks[name], gradient, f"gradient of {name}")


def test_a_chunk_longer_than_the_sequence() -> None:
    with refused(ValueError, "17 tokens", "chunks of 18", "chunk_size_feed_forward"):
        make_model(TASKS["encoder"], chunk_size_feed_forward=18)(**make_batch(TASKS["encoder"]))


def test_factors_of_heads_are_shown_and_count_in_both_attentions() -> None:
    """One row for each layer. c (P V) W^T = (P V) (W c)^T, in the attention over the text and in that over the encoder."""
    model, scaled = (decoder(kind=RemBertModel, cross=True) for _ in range(2))
    factors = np.random.default_rng(0).uniform(0.5, 2, (3, 6))
    for n, columns in enumerate(np.repeat(factors, 7, axis=1)):
        for part in ("attention", "crossattention"):
            scaled.parameters[f"encoder.layer.{n}.{part}.output.dense.weight"] *= columns
    given = {"input_ids": some_ids(), **encoder_side(), "output_attentions": True}
    output, expected = model(**given, head_mask=factors), scaled(**given)
    same_to_rounding(output.last_hidden_state, expected.last_hidden_state, "hidden states")
    for n in range(3):
        factor = factors[n][:, None, None]
        same_to_rounding(output.attentions[n], factor * expected.attentions[n], f"attentions of layer {n}")
        same_to_rounding(output.cross_attentions[n], factor * expected.cross_attentions[n], f"cross {n}")
    alike = model(**given, head_mask=factors[1]).last_hidden_state  # one row for all layers
    assert (alike == model(**given, head_mask=np.stack([factors[1]] * 3)).last_hidden_state).all()


@pytest.mark.parametrize("name", ["return_dict", "output_attentions", "training"])
@pytest.mark.parametrize("value", [2, -1, 0.5])
def test_a_number_that_is_no_switch(name: str, value: float) -> None:
    with refused(TypeError, f"{name} must be True or False, got {value}"):
        make_model(TASKS["encoder"])(**make_batch(TASKS["encoder"]), **{name: value})


def test_all_positions_may_be_asked_for_by_their_number() -> None:
    model, ids = decoder(), some_ids()
    logits = model(ids).logits
    for keep in (0, SEQUENCE, list(range(SEQUENCE))):
        same_to_rounding(model(ids, logits_to_keep=keep).logits, logits, f"logits to keep: {keep}")
    for keep in (SEQUENCE + 1, [0, SEQUENCE]):
        with refused(ValueError, "logits_to_keep must"):
            model(ids, logits_to_keep=keep)


def test_a_decoder_without_cross_attention_has_no_weights_for_it() -> None:
    plain, cross = decoder(), decoder(cross=True)
    assert {name for name in cross.parameters if name not in plain.parameters} == {
        name for name in cross.parameters if ".crossattention." in name
    }
    assert not any("crossattention" in name for name in plain.parameters)


def test_a_call_overrules_the_configuration_both_ways() -> None:
    batch = make_batch(TASKS["encoder"])
    for said in (True, False):
        model = make_model(TASKS["encoder"], output_attentions=said, output_hidden_states=said)
        for asked in (True, False, None):
            output = model(**batch, output_attentions=asked, output_hidden_states=asked)
            wanted = said if asked is None else asked
            assert ("attentions" in output, "hidden_states" in output) == (wanted, wanted)
        cached = decoder(use_cache=said)
        assert [("past_key_values" in cached(some_ids(), use_cache=asked)) for asked in (True, False, None)] == [
            True, False, said,
        ]  # fmt: skip
    assert "past_key_values" not in make_model(TASKS["encoder"])(**batch, use_cache=True)  # an encoder has none


def test_class_numbers_decide_the_loss_and_truth_values_do_not() -> None:
    """torch's bool is no integer either: labels that are true or false say of each class whether it holds."""
    task = TASKS["multi label"]
    model, batch = make_model(task), make_batch(task)
    truths = batch["labels"].astype(bool)
    loss = float(model(**batch | {"labels": truths}).loss)
    assert model.config.problem_type == "multi_label_classification"
    assert loss == float(make_model(task)(**batch).loss)


@pytest.mark.parametrize("name", ["masked lm", "causal lm", "token classification"])
def test_the_first_piece_and_the_first_tag_are_asked_for_like_any_other(name: str) -> None:
    """0 is a number of a class, not the absence of one. In a causal model position s answers for label s + 1."""
    model, batch = make_model(TASKS[name]), make_batch(TASKS[name])
    labels = np.full((3, SEQUENCE), -100)
    labels[0, 3] = labels[1, 7] = labels[2, 5] = 0
    labels[0, 4] = 2
    batch["attention_mask"][:] = 1
    batch["labels"] = labels
    output = model(**batch)
    logits = output.logits
    if name == "causal lm":
        logits, labels = logits[:, :-1], labels[:, 1:]
    asked = labels >= 0
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -log_p[asked, labels[asked]].mean()
    for loss in (output.loss, model.loss(**batch), model.loss_and_gradients(**batch)[0]):
        same_to_rounding(np.asarray(loss), np.asarray(expected), "loss")


@pytest.mark.parametrize("kind", ["no mask", "ones", "on the right", "on the left", "holes", "of its own"])
def test_the_future_is_hidden_behind_every_mask_of_keys(kind: str) -> None:
    """A mask over queries and keys, with three axes, says all there is to say: nothing is added to it."""
    model, ids = decoder(), some_ids()
    lengths = np.array([[17], [4], [9]])
    places = np.arange(SEQUENCE)
    mask: Any = {
        "no mask": None,
        "ones": np.ones((3, SEQUENCE), int),
        "on the right": (places < lengths).astype(int),
        "on the left": (places >= SEQUENCE - lengths).astype(int),
        "holes": np.where(places % 3 == 1, 0, np.ones((3, 1), int)),
        "of its own": np.ones((3, SEQUENCE, SEQUENCE), int),
    }[kind]
    at = 14 if kind == "on the left" else 3  # something that is seen, in every row
    other = ids.copy()
    other[:, at] = (other[:, at] + 1) % 61
    one, changed = (model(of, attention_mask=mask).logits for of in (ids, other))
    assert (one[:, at] != changed[:, at]).any(axis=-1).all()
    if kind == "of its own":
        assert (one[:, :at] != changed[:, :at]).any(axis=-1).all()
    else:
        sees = (
            np.ones((3, at), bool) if mask is None else mask[:, :at].cumsum(axis=1) > 0
        )  # the others average all keys
        assert sees.any(axis=1).all()
        same_to_rounding(one[:, :at][sees], changed[:, :at][sees], "logits before the change")


def test_the_order_of_a_plain_tuple() -> None:
    """transformers 4.34's: the cache before the hidden states, and None for the pooler that is not there, for nothing else."""
    parts = {"last_hidden_state": 0, "hidden_states": 2, "past_key_values": 3, "attentions": 4, "cross_attentions": 5}
    whole: Any = BaseModelOutput(**parts, pooler_output=1)  # type: ignore[arg-type]
    assert whole.as_plain_tuple() == (0, 1, 3, 2, 4, 5)
    assert whole.to_tuple() == (0, 1, 2, 3, 4, 5)
    some: Any = BaseModelOutput(last_hidden_state=0, attentions=4)  # type: ignore[arg-type]
    assert some.as_plain_tuple() == (0, None, 4)
    assert some.to_tuple() == (0, 4)
    assert (some.get("attentions", 9), some.get("hidden_states", 9), some.get("nothing", 9)) == (4, 9, 9)
    assert some.get("nothing") is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_minus_infinity_in_a_mask_with_four_axes_is_the_lowest_number(dtype: str) -> None:
    """So that a query which sees nothing averages all keys, as with any other mask. In float32, -1e300 is as good."""
    model, batch = make_model(TASKS["encoder"], dtype=dtype), make_batch(TASKS["encoder"])
    hidden = np.random.default_rng(0).random((3, 6, SEQUENCE, SEQUENCE)) < 0.3
    hidden[1, :, 4] = True
    lowest = np.where(hidden, np.finfo(dtype).min, 0.0)
    expected = model(**batch | {"attention_mask": lowest}).last_hidden_state
    assert np.isfinite(expected).all()
    for value in (-np.inf, *([-1e300] if dtype == "float32" else [])):
        found = model(**batch | {"attention_mask": np.where(hidden, value, 0.0)}).last_hidden_state
        assert (found == expected).all()


@pytest.mark.parametrize("shape", [(3, 6, 17, 1), (3, 1, 1, 1), (2, 6, 17, 17), (3, 2, 17, 17), (3, 6, 2, 17)])
def test_each_of_four_axes_has_its_size(shape: tuple[int, ...]) -> None:
    with refused(ValueError, "attention_mask must have shape (3, 1 or 6, 1 or 17, 17)"):
        make_model(TASKS["encoder"])(**make_batch(TASKS["encoder"]) | {"attention_mask": np.ones(shape, bool)})


def mean_loss(logits: np.ndarray, labels: Any) -> float:
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return float(np.mean([-row[label] for row, label in zip(log_p, labels, strict=True)]))


def test_an_answer_has_two_ends() -> None:
    """The mean of two losses. A position past the end is ignored, a negative one counts as 0."""
    model, batch = make_model(TASKS["question answering"]), make_batch(TASKS["question answering"], with_labels=False)
    batch["attention_mask"][:] = 1
    output = model(**batch, start_positions=[2, SEQUENCE, 5], end_positions=[-3, 9, SEQUENCE + 1])
    start = mean_loss(output.start_logits[[0, 2]], [2, 5])
    end = mean_loss(output.end_logits[[0, 1]], [0, 9])
    same_to_rounding(np.asarray(output.loss), np.asarray((start + end) / 2), "loss")
    states = model.encode(ForwardPass(Forward(OPS), model.config), **batch).last_hidden_state
    weight, bias = (model.parameters[f"qa_outputs.{part}"] for part in ("weight", "bias"))
    same_to_rounding(output.start_logits, states @ weight[0] + bias[0], "start")
    same_to_rounding(output.end_logits, states @ weight[1] + bias[1], "end")


def test_each_choice_is_scored_as_a_sequence_of_its_own() -> None:
    """Two examples of three choices, so that they cannot be taken for three of two."""
    model, batch = (
        make_model(TASKS["multiple choice"]),
        make_batch(TASKS["multiple choice"], batch=2, with_labels=False),
    )
    output = model(**batch, labels=[2, 1])
    assert output.logits.shape == (2, 3)
    for n in range(2):
        for c in range(3):
            one = model(**{name: values[n : n + 1, c : c + 1] for name, values in batch.items()}).logits
            same_to_rounding(output.logits[n, c], one[0, 0], f"logit of {n}, {c}")
    same_to_rounding(np.asarray(output.loss), np.asarray(mean_loss(output.logits, [2, 1])), "loss")


def test_each_problem_type_has_its_loss() -> None:
    batch = make_batch(TASKS["regression"], with_labels=False)
    labels = np.random.default_rng(0).uniform(0.1, 0.9, (3, 3))

    def of(problem_type: str | None, num_labels: int, given: Any) -> tuple[np.ndarray, float, str]:
        model = make_model(TASKS["regression"], num_labels=num_labels, problem_type=problem_type)
        output = model(**batch, labels=given)
        return output.logits, float(output.loss), model.config.problem_type

    for given, targets in ((labels, labels), (labels[:, :1], labels[:, :1]), (labels[:, 0], labels[:, :1])):
        logits, loss, _ = of("regression", targets.shape[1], given)
        same_to_rounding(np.asarray(loss), np.asarray(((logits - targets) ** 2).mean()), "squares")
    logits, loss, decided = of(None, 3, labels)
    p = 1 / (1 + np.exp(-logits))
    expected = -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean()
    same_to_rounding(np.asarray(loss), np.asarray(expected), "several labels")
    assert decided == "multi_label_classification"
    logits, loss, decided = of(None, 3, [2, 0, 1])
    same_to_rounding(np.asarray(loss), np.asarray(mean_loss(logits, [2, 0, 1])), "one label")
    assert decided == "single_label_classification"
    assert of(None, 1, [2, 0, 1])[2] == "regression"
