"""RemBERT as a decoder: what the cache must not change, what transformers 5 says where it is right, and wrong input.

transformers 5's own cache is an `EncoderDecoderCache`. (With the plain one, which it makes for itself, keys of the encoder
end up among the decoder's own.)
"""

from typing import Any

import numpy as np
import pytest
import torch
from checks import PARITY_GRADIENTS, PARITY_OUTPUTS, assert_within, largest_in_row
from hypothesis import given, settings
from hypothesis import strategies as st
from models import SEQUENCE, SIZES, TASKS, Task, make_batch, make_model
from test_against_transformers import assert_parity, hugging_face, tensors
from test_backends import on_triton
from test_bad_input import refused
from test_model import assert_transpose, same_to_rounding
from transformers import DynamicCache, EncoderDecoderCache

from minirembert import (
    RemBertConfig,
    RemBertForCausalLM,
    RemBertForMaskedLM,
    RemBertForSequenceClassification,
    RemBertModel,
)
from minirembert.model.cache import reorder
from minirembert.model.forward_pass import ForwardPass
from minirembert.ops import OPS
from minirembert.tape import Forward

DECODER = {"is_decoder": True}
CROSS = {"is_decoder": True, "add_cross_attention": True}
KEYS = 7  # states of the encoder


def decoder(kind: type = RemBertForCausalLM, cross: bool = False, **changes: Any) -> Any:
    return make_model(Task(kind, None, CROSS if cross else DECODER), **changes)


def some_ids(seed: int = 0, batch: int = 3, length: int = SEQUENCE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 61, (batch, length))


def encoder_side(seed: int = 0, batch: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = (rng.random((batch, KEYS)) < 0.7).astype(int)
    mask[:, 2] = 1
    return {"encoder_hidden_states": rng.standard_normal((batch, KEYS, 42)), "encoder_attention_mask": mask}


def in_steps(model: Any, ids: np.ndarray, lengths: list[int], mask: np.ndarray | None = None, **inputs: Any) -> Any:
    """The logits of all steps side by side, and the last cache. `mask` covers what has been seen, as it grows."""
    past, start, logits = None, 0, []
    for length in lengths:
        stop = start + length
        seen = {} if mask is None else {"attention_mask": mask[:, :stop]}
        output = model(input_ids=ids[:, start:stop], past_key_values=past, **seen, **inputs)
        past, start = output.past_key_values, stop
        logits.append(model.backend.numpy(output.logits))
    return np.concatenate(logits, 1), past


@st.composite
def chunks(draw: st.DrawFn) -> list[int]:
    """Lengths that add up to the sequence."""
    cuts = sorted(draw(st.sets(st.integers(1, SEQUENCE - 1))))
    return np.diff([0, *cuts, SEQUENCE]).tolist()


MASKS = {
    "no mask": lambda rng: None,
    "padding on the left": lambda rng: (np.arange(SEQUENCE) >= np.array([[0], [4], [9]])).astype(int),
    "padding on the right": lambda rng: (np.arange(SEQUENCE) < np.array([[17], [4], [9]])).astype(int),
    "holes": lambda rng: np.concatenate([np.ones((3, 1), int), rng.integers(0, 2, (3, SEQUENCE - 1))], 1),
}


@settings(max_examples=15)
@given(lengths=chunks(), kind=st.sampled_from(list(MASKS)), cross=st.booleans())
def test_steps_of_any_length_give_what_one_pass_gives(lengths: list[int], kind: str, cross: bool) -> None:
    """Token by token, or prefilled in chunks. Padding on the left makes queries that see nothing: they average all keys
    there are, which are fewer in a step than in one pass, so only what sees something is compared."""
    model, ids, mask = decoder(cross=cross), some_ids(), MASKS[kind](np.random.default_rng(1))
    states = encoder_side() if cross else {}
    whole = model(input_ids=ids, attention_mask=mask, **states)
    logits, cache = in_steps(model, ids, lengths, mask, **states)
    sees = np.ones((3, SEQUENCE), bool) if mask is None else mask.cumsum(1) > 0
    same_to_rounding(logits[sees], whole.logits[sees], f"logits in steps of {lengths}")
    if sees.all():
        for layer, (ours, one_pass) in enumerate(zip(cache, whole.past_key_values, strict=True)):
            for name, mine, theirs in zip(("k", "v", "cross k", "cross v"), ours, one_pass, strict=False):
                same_to_rounding(mine, theirs, f"{name} of layer {layer}")


@pytest.mark.parametrize("cross", [False, True])
def test_steps_on_triton(cross: bool) -> None:
    """On the kernels, too, the first step's queries are many, the next ones' single."""
    model = decoder(cross=cross, num_hidden_layers=2)
    twin, ids, states = on_triton(model), some_ids(), encoder_side() if cross else {}
    mask = MASKS["padding on the left"](None)
    logits, _ = in_steps(twin, ids, [11, 1, 1, 4], mask, **states)
    expected = model(input_ids=ids, attention_mask=mask, **states).logits
    sees = mask.cumsum(1) > 0
    assert_within(logits[sees], expected[sees], PARITY_OUTPUTS * largest_in_row(np.abs(expected))[sees], "logits", None)


def test_the_future_changes_nothing() -> None:
    model, ids = decoder(), some_ids()
    other = ids.copy()
    other[:, 9:] = some_ids(1)[:, 9:]
    before, after = model(input_ids=ids).logits, model(input_ids=other).logits
    assert (before[:, :9] == after[:, :9]).all()
    assert (before[:, 9:] != after[:, 9:]).any(-1).all()


def test_one_cache_may_be_continued_in_several_ways() -> None:
    """What a caller holds stays what it was, whatever is computed from it."""
    model, ids = decoder(), some_ids()
    past = model(input_ids=ids[:, :9]).past_key_values
    held = [[array.copy() for array in layer] for layer in past]
    for seed in (1, 2, 1):
        there = some_ids(seed)[:, 9:]
        logits = model(input_ids=there, past_key_values=past).logits
        whole = model(input_ids=np.concatenate([ids[:, :9], there], 1)).logits[:, 9:]
        same_to_rounding(logits, whole, "logits")
        assert all((a == b).all() for ours, was in zip(past, held, strict=True) for a, b in zip(ours, was, strict=True))


def test_the_cache_has_the_documented_shape() -> None:
    model = decoder(cross=True)
    output = model(input_ids=some_ids(), **encoder_side())
    assert len(output.past_key_values) == 3
    assert {tuple(a.shape for a in layer) for layer in output.past_key_values} == {
        ((3, 6, SEQUENCE, 7), (3, 6, SEQUENCE, 7), (3, 6, KEYS, 7), (3, 6, KEYS, 7))
    }
    assert "past_key_values" not in model(input_ids=some_ids(), use_cache=False, **encoder_side())
    assert "past_key_values" not in make_model(TASKS["encoder"])(some_ids(), use_cache=True)


def test_the_states_of_the_encoder_need_not_be_given_again() -> None:
    """They are in the cache. transformers 4.34 leaves cross-attention out where they are not given."""
    model, ids, states = decoder(cross=True), some_ids(), encoder_side()
    past = model(input_ids=ids[:, :9], **states).past_key_values
    mask = {"encoder_attention_mask": states["encoder_attention_mask"]}
    again = model(input_ids=ids[:, 9:], past_key_values=past, **states)
    not_again = model(input_ids=ids[:, 9:], past_key_values=past, **mask)
    assert (again.logits == not_again.logits).all()


def test_a_cache_without_the_encoder_s_keys_gets_them() -> None:
    """A prompt read without cross-attention, then continued with it: version 4.34 took the prompt's own keys for the
    encoder's."""
    model, ids, states = decoder(cross=True), some_ids(), encoder_side()
    past = model(input_ids=ids[:, :9]).past_key_values
    assert {len(layer) for layer in past} == {2}
    output = model(input_ids=ids[:, 9:], past_key_values=past, **states)
    theirs = hugging_face(model)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    theirs(**tensors({"input_ids": ids[:, :9]}, "float64"), past_key_values=cache)
    expected = theirs(**tensors({"input_ids": ids[:, 9:], **states}, "float64"), past_key_values=cache)
    assert_parity(output.logits, expected.logits, PARITY_OUTPUTS, "logits")


def test_reordering_sequences_reorders_the_cache() -> None:
    model, ids, rows = decoder(cross=True), some_ids(), np.array([2, 0, 2])
    states = encoder_side()
    past = reorder(model(input_ids=ids[:, :9], **states).past_key_values, rows)
    logits = model(
        input_ids=ids[rows, 9:], past_key_values=past, encoder_attention_mask=states["encoder_attention_mask"][rows]
    ).logits
    whole = model(input_ids=ids, **states).logits[rows, 9:]
    same_to_rounding(logits, whole, "logits")


def test_cross_attention_that_is_not_asked_for() -> None:
    """Without states its layers do nothing, and no attention of theirs is shown. In transformers that is an IndexError."""
    model = decoder(cross=True)
    output = model(input_ids=some_ids(), output_attentions=True)
    assert list(output) == ["logits", "past_key_values", "attentions"]
    assert (model(input_ids=some_ids()).logits == output.logits).all()


def test_a_decoder_of_another_task_hands_out_no_cache() -> None:
    """transformers puts one into the tuple, though not into the output."""
    for kind, batch in ((RemBertForMaskedLM, some_ids()), (RemBertForSequenceClassification, some_ids())):
        assert len(decoder(kind)(batch, return_dict=False)) == 1


def test_a_causal_model_that_is_no_decoder_is_warned_about() -> None:
    with pytest.warns(UserWarning, match="is_decoder = True") as caught:
        RemBertForCausalLM(RemBertConfig(**SIZES["one head"]))
    assert caught[0].filename == __file__


# --- transformers 5 -------------------------------------------------------------------------------------------------

EVERYTHING = {"output_hidden_states": True, "output_attentions": True}


def assert_same_step(model: Any, theirs: Any, ours_in: dict[str, Any], cache: Any, past: Any) -> Any:
    """One call of each; every field but the cache. Returns ours."""
    ours = model(**ours_in, past_key_values=past, **EVERYTHING)
    expected = theirs(**tensors(ours_in, "float64"), past_key_values=cache, **EVERYTHING)
    assert list(ours) == list(expected.keys())
    for name in ours:
        if name != "past_key_values":
            pairs = (
                zip(ours[name], expected[name], strict=True)
                if isinstance(ours[name], tuple)
                else [(ours[name], expected[name])]
            )
            for i, (mine, their) in enumerate(pairs):
                assert_parity(mine, their, PARITY_OUTPUTS, f"{name} {i}")
    return ours


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("kind", ["no mask", "padding on the left", "holes"])
def test_a_prefill_and_steps_against_transformers(cross: bool, kind: str, size: str) -> None:
    """Prompt, a second chunk, single tokens."""
    model = decoder(cross=cross, size=size)
    theirs, past, start = hugging_face(model), None, 0
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    ids, mask = some_ids() % SIZES[size]["vocab_size"], MASKS[kind](np.random.default_rng(1))
    rng = np.random.default_rng(2)
    width = SIZES[size]["hidden_size"]
    states = {**encoder_side(), "encoder_hidden_states": rng.standard_normal((3, KEYS, width))} if cross else {}
    for length in (8, 5, 1, 1):
        inputs = {"input_ids": ids[:, start : start + length], **states}
        if mask is not None:
            inputs["attention_mask"] = mask[:, : start + length]
        past = assert_same_step(model, theirs, inputs, cache, past).past_key_values
        start += length
    for layer, ours in enumerate(past):
        own, cross_cache = cache.self_attention_cache.layers[layer], cache.cross_attention_cache.layers
        both = [own.keys, own.values, *([cross_cache[layer].keys, cross_cache[layer].values] if cross else [])]
        for mine, their in zip(ours, both, strict=True):
            assert_parity(np.ascontiguousarray(mine), their, PARITY_OUTPUTS, f"cache of layer {layer}")


@pytest.mark.parametrize("kind", [RemBertForMaskedLM, RemBertForCausalLM])
def test_gradients_through_cross_attention(kind: type) -> None:
    """Of every parameter, for a decoder that looks at an encoder's states behind a mask."""
    model = decoder(kind, cross=True, use_cache=False)
    theirs, states = hugging_face(model), encoder_side()
    batch = {**make_batch(TASKS["masked lm"]), **states}
    output = theirs(**tensors(batch, "float64"))
    labels = torch.from_numpy(batch["labels"])
    logits = output.logits
    if kind is RemBertForCausalLM:
        logits, labels = logits[:, :-1], labels[:, 1:]
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
    _, gradients = model.loss_and_gradients(**batch)
    noise = PARITY_GRADIENTS * max(p.grad.abs().max().item() for p in theirs.parameters()) * 1e-3
    for name, parameter in theirs.named_parameters():
        expected = parameter.grad.numpy()
        allowed = max(PARITY_GRADIENTS * np.abs(expected).max(), noise)
        assert_within(gradients[name], expected, allowed, f"gradient of {name}", None)


def test_gradients_behind_a_cache_are_the_slope_of_the_loss() -> None:
    """The past is a constant: what made it gets a gradient only for what the new tokens made of it."""
    model = make_model(Task(RemBertForCausalLM, None, DECODER), "head size 1", pad_token_id=None)
    ids = some_ids(length=12) % 29
    past = model(input_ids=ids[:, :5]).past_key_values
    batch = {
        "input_ids": ids[:, 5:],
        "labels": ids[:, 5:],
        "past_key_values": past,
        "head_mask": np.array([1, 0.5, -1, 2, 0, 3]),
    }

    def value() -> np.ndarray:
        return model.run_forward(ForwardPass(Forward(OPS), model.config), **batch).loss

    _, gradients = model.loss_and_gradients(**batch)
    assert_transpose(value, gradients, model.parameters, "a step", one_by_one=False)


# --- masks with four axes, factors of heads, chunks ----------------------------------------------------------------------


@pytest.mark.parametrize("cross", [False, True])
def test_four_axes_that_say_what_they_mean(cross: bool) -> None:
    """Booleans are the three axes' mask with a head's axis; negative floats are added, as in transformers 5."""
    model, batch = make_model(TASKS["encoder"]), make_batch(TASKS["encoder"])
    mask = np.random.default_rng(0).random((3, SEQUENCE, SEQUENCE)) < 0.6
    three = model(**batch | {"attention_mask": mask.astype(int)}).last_hidden_state
    boolean = model(**batch | {"attention_mask": mask[:, None]}).last_hidden_state
    same_to_rounding(boolean, three, "last hidden state")
    added = np.where(
        np.repeat(mask[:, None], 6, 1), np.random.default_rng(1).standard_normal((3, 6, SEQUENCE, SEQUENCE)), -np.inf
    )
    if cross:
        model, states = decoder(RemBertModel, cross=True, use_cache=False), encoder_side()
        states["encoder_attention_mask"] = added[..., :KEYS]
        theirs = {**states, "encoder_attention_mask": np.maximum(added[..., :KEYS], np.finfo(float).min)}
        inputs, their_inputs = {"input_ids": batch["input_ids"], **states}, {"input_ids": batch["input_ids"], **theirs}
    else:
        inputs = batch | {"attention_mask": added}
        their_inputs = batch | {"attention_mask": np.maximum(added, np.finfo(float).min)}
    expected = hugging_face(model)(**tensors(their_inputs, "float64")).last_hidden_state
    assert_parity(model(**inputs).last_hidden_state, expected, PARITY_OUTPUTS, "last hidden state")


@pytest.mark.parametrize(
    "mask",
    [np.ones((3, 1, 1, 17)), np.zeros((3, 1, 1, 17)), np.ones((3, 1, 1, 17), int), np.full((3, 1, 1, 17), np.nan)],
)
def test_four_axes_that_may_mean_two_things(mask: np.ndarray) -> None:
    batch = make_batch(TASKS["encoder"])
    with refused(ValueError, "attention_mask", "four axes", str(mask.dtype), "booleans"):
        make_model(TASKS["encoder"])(**batch | {"attention_mask": mask})


@pytest.mark.parametrize("shape", [(2, 1, 1, SEQUENCE), (3, 2, 1, SEQUENCE), (3, 1, 4, SEQUENCE), (3, 1, 1, 5)])
def test_four_axes_of_the_wrong_size(shape: tuple[int, ...]) -> None:
    batch = make_batch(TASKS["encoder"])
    with refused(ValueError, "attention_mask", "(3, 1 or 6, 1 or 17, 17)", str(shape)):
        make_model(TASKS["encoder"])(**batch | {"attention_mask": np.ones(shape, bool)})


def test_a_factor_of_a_head_is_a_factor_of_its_columns() -> None:
    """c (P V) W^T = (P V) (W c)^T: the same model without factors, its output matrices scaled, gives the same; backward too."""
    task = TASKS["masked lm"]
    model, scaled, batch = make_model(task), make_model(task), make_batch(task)
    factors = np.random.default_rng(0).standard_normal((3, 6))
    columns = np.repeat(factors, 7, axis=1)
    for n in range(3):
        scaled.parameters[f"rembert.encoder.layer.{n}.attention.output.dense.weight"] *= columns[n]
    (loss, gradients), (same_loss, expected) = (
        model.loss_and_gradients(**batch, head_mask=factors), scaled.loss_and_gradients(**batch),
    )  # fmt: skip
    same_to_rounding(loss, same_loss, "loss")
    for n in range(3):
        expected[f"rembert.encoder.layer.{n}.attention.output.dense.weight"] *= columns[n]
    for name, gradient in gradients.items():
        same_to_rounding(gradient, expected[name], f"gradient of {name}")


@pytest.mark.parametrize("size", [1, 17])
def test_chunks_of_the_feed_forward_half_change_nothing(size: int) -> None:
    task = TASKS["masked lm"]
    whole, chunked, batch = make_model(task), make_model(task, chunk_size_feed_forward=size), make_batch(task)
    (loss, gradients), (chunked_loss, in_chunks) = (m.loss_and_gradients(**batch) for m in (whole, chunked))
    same_to_rounding(chunked_loss, loss, "loss")
    for name, gradient in gradients.items():
        same_to_rounding(in_chunks[name], gradient, f"gradient of {name}")


def test_a_sequence_that_does_not_split_into_chunks() -> None:
    with refused(ValueError, "17 tokens", "chunks of 4", "chunk_size_feed_forward"):
        make_model(TASKS["encoder"], chunk_size_feed_forward=4)(**make_batch(TASKS["encoder"]))


# --- wrong input ----------------------------------------------------------------------------------------------------


def shortened(past: Any, layers: Any = None, arrays: Any = None, batch: Any = None, keys: Any = None) -> Any:
    return tuple(tuple(a[:batch, :, :keys] for a in layer[:arrays]) for layer in past[:layers])


def test_a_cache_of_the_wrong_kind() -> None:
    model, ids = decoder(), some_ids()
    past = model(input_ids=ids[:, :9]).past_key_values
    wrong = {
        "2 entries, but the model has 3 layers": shortened(past, layers=2),
        "past_key_values[0] must hold 2 or 4 arrays, got 1": shortened(past, arrays=1),
        "past_key_values[1][0] must have shape (3, 6, 9, 7), got (3, 6, 4, 7)": (past[0], *shortened(past, keys=4)[1:]),
        "past_key_values[0][0] must have shape (3, 6, 9, 7), got (2, 6, 9, 7)": shortened(past, batch=2),
        "past_key_values[0] must hold 2 or 4 arrays, got ndarray": tuple(layer[0] for layer in past),
    }  # fmt: skip
    for message, cache in wrong.items():
        with refused(ValueError, message):
            model(input_ids=ids[:, 9:], past_key_values=cache)
    with refused(TypeError, "past_key_values", "one entry a layer", "DynamicCache"):
        model(input_ids=ids[:, 9:], past_key_values=DynamicCache())


def test_what_a_decoder_is_not_given() -> None:
    ids, states = some_ids(), encoder_side()
    with refused(ValueError, "is_decoder", "add_cross_attention", "encoder_hidden_states"):
        decoder()(input_ids=ids, **states)
    with refused(ValueError, "is_decoder = True"):
        RemBertModel(RemBertConfig(**SIZES["one head"], add_cross_attention=True))
    model = decoder(cross=True)
    with refused(ValueError, "encoder_hidden_states", "(3, at least 1, 42)", "(2, 7, 42)"):
        model(input_ids=ids, encoder_hidden_states=states["encoder_hidden_states"][:2])
    with refused(ValueError, "encoder_hidden_states", "(batch, sequence, 42)", "(3, 7, 41)"):
        model(input_ids=ids, encoder_hidden_states=states["encoder_hidden_states"][..., 1:])
    with refused(ValueError, "encoder_attention_mask", "(3, 7)", "(3, 17, 7)", "(3, 6)"):
        model(input_ids=ids, **states | {"encoder_attention_mask": np.ones((3, 6))})
    with refused(ValueError, "encoder_attention_mask", "without encoder_hidden_states"):
        model(input_ids=ids, encoder_attention_mask=states["encoder_attention_mask"])
    past = model(input_ids=ids, **states).past_key_values
    with refused(ValueError, "encoder_hidden_states", "(3, 7, 42)", "(3, 5, 42)"):
        model(input_ids=ids[:, :1], past_key_values=past, encoder_hidden_states=states["encoder_hidden_states"][:, :5])
    with refused(ValueError, "no cross-attention"):
        decoder()(input_ids=ids[:, :1], past_key_values=past)


def test_more_tokens_than_positions() -> None:
    """Where one position is left, transformers repeats it for all new tokens."""
    model = decoder()
    past = model(input_ids=some_ids(length=32)).past_key_values
    assert model(input_ids=some_ids(length=1), past_key_values=past).logits.shape == (3, 1, 61)
    with refused(ValueError, "2 tokens after 32 in the cache", "max_position_embeddings = 33"):
        model(input_ids=some_ids(length=2), past_key_values=past)


def test_a_mask_that_does_not_cover_the_past() -> None:
    model = decoder()
    past = model(input_ids=some_ids(length=9)).past_key_values
    with refused(ValueError, "attention_mask", "(3, 11)", "(3, 2, 11)", "(3, 2)"):
        model(input_ids=some_ids(length=2), past_key_values=past, attention_mask=np.ones((3, 2)))


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 6), (1, 1, 6), ()])
def test_factors_for_other_heads(shape: tuple[int, ...]) -> None:
    with refused(ValueError, "head_mask", "(6,)", "(3, 6)", str(shape)):
        make_model(TASKS["encoder"])(some_ids(), head_mask=np.ones(shape))


@pytest.mark.parametrize("keep", [-1, 18, [17], [-1], [], [[0]]])
def test_logits_of_positions_that_are_not_there(keep: Any) -> None:
    with refused(ValueError, "logits_to_keep", "17" if not isinstance(keep, list) else "0 to 16"):
        decoder()(input_ids=some_ids(), logits_to_keep=keep)


def test_some_positions_logits_are_those_of_all() -> None:
    model, ids = decoder(), some_ids()
    everything = model(input_ids=ids).logits
    for keep, expected in {1: everything[:, -1:], 5: everything[:, -5:], 0: everything, 17: everything}.items():
        same_to_rounding(model(input_ids=ids, logits_to_keep=keep).logits, expected, f"the last {keep}")
    picked = model(input_ids=ids, logits_to_keep=np.array([3, 0, 3])).logits
    same_to_rounding(picked, everything[:, [3, 0, 3]], "three positions")
    with refused(ValueError, "labels need all logits", "1 of 17"):
        model(input_ids=ids, labels=ids, logits_to_keep=1)
