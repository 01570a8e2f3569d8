"""`generate` against transformers 5's, live, and what must not matter: the cache, padding, the other prompts of a batch.

transformers turns logits into float32 first, so that its beams' scores are float32's; to float64 they are compared with
log probabilities added up from its model's logits. Its cache is wrong with cross-attention: there it goes without.
"""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from checks import PARITY_FLOAT32, PARITY_OUTPUTS, assert_within
from test_against_transformers import hugging_face
from test_backends import on_triton
from test_decoder import decoder, encoder_side

from minirembert import RemBertForCausalLM

PAD = 3  # of most tests: transformers 5 fills up with an eos after a beam that has ended if the padding is 0
RNG = np.random.default_rng(0)


def speaker(seed: int = 0, size: int = 2, **changes: Any) -> Any:
    """A random decoder whose text says where it is and what went before. (With `randomised` weights alone, biases drown the
    rest and it says one word over and over: hardly a mistake would show.)"""
    model = decoder(seed=seed, num_hidden_layers=size, **changes)
    for name, array in model.parameters.items():
        if name.endswith("bias"):
            array *= 0.1
        elif "word_embeddings" in name or "position_embeddings" in name:
            array *= 6
        elif "attention" in name and "LayerNorm" not in name:
            array *= 2
    return model


def prompts(seed: int = 0, batch: int = 3, length: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(PAD + 1, 61, (batch, length))


def text(model: Any, ids: Any, **settings: Any) -> np.ndarray:
    """Never ends, unless told so."""
    return model.generate(ids, **{"eos_token_id": None, "pad_token_id": PAD, "max_new_tokens": 8} | settings)


def some_eos(model: Any, ids: np.ndarray, **settings: Any) -> list[int]:
    """Two ids that end the texts of a batch at different places, none of them at its first token."""
    new = text(model, ids, **settings)[:, ids.shape[1] :]
    for pair in combinations(np.unique(new), 2):
        ends = {int(np.argmax(row)) if row.any() else len(row) for row in np.isin(new, pair)}
        if len(ends) > 1 and min(ends) > 0:
            return [int(eos) for eos in pair]
    raise AssertionError(f"no two ids end these texts differently: {new.tolist()}")


def their_text(model: Any, ids: np.ndarray, **settings: Any) -> Any:
    given = {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in settings.items()}
    mask = given.pop("attention_mask", torch.ones(ids.shape, dtype=torch.int64))
    return model.generate(
        torch.from_numpy(ids),
        attention_mask=mask,
        **{"pad_token_id": PAD, "max_new_tokens": 8, "do_sample": False} | given,
    )


# --- greedy and beams are transformers' --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 2])
def test_greedy_text_is_theirs(seed: int) -> None:
    model, ids = speaker(seed), prompts(seed)
    theirs, eos = hugging_face(model), some_eos(model, ids)
    for ending in (None, eos[0], eos):
        ours, expected = text(model, ids, eos_token_id=ending), their_text(theirs, ids, eos_token_id=ending)
        assert ours.dtype == np.int64
        assert ours.shape == tuple(expected.shape)
        assert (ours == expected.numpy()).all()


BEAMS = [
    (2, 1.0, False), (3, 2.0, False), (5, 0.0, False), (3, -1.3, False), (2, 0.5, "never"), (3, 1.0, "never"),
    (3, -0.6, "never"), (3, 0.5, True), (3, -0.6, True),
]  # fmt: skip


def sharp_speaker(seed: int = 0) -> Any:
    """Sure of itself: one more token may then make a score better, so that it matters when a search ends."""
    model = speaker(seed, size=1)
    model.parameters["cls.predictions.decoder.weight"] *= 3
    return model


@pytest.mark.parametrize(("beams", "penalty", "stopping"), BEAMS)
def test_beams_are_theirs(beams: int, penalty: float, stopping: Any) -> None:
    model, ids = sharp_speaker(), prompts(1, batch=4)
    theirs, eos = hugging_face(model), some_eos(model, ids, num_beams=2)
    settings = dict(
        num_beams=beams, length_penalty=penalty, early_stopping=stopping, num_return_sequences=beams, eos_token_id=eos,
        max_new_tokens=14, return_dict_in_generate=True,
    )  # fmt: skip
    ours, expected = text(model, ids, **settings), their_text(theirs, ids, output_scores=True, **settings)
    assert ours.sequences.shape == tuple(expected.sequences.shape)
    assert (ours.sequences == expected.sequences.numpy()).all()
    their_scores = expected.sequences_scores.numpy()
    assert_within(ours.sequences_scores, their_scores, PARITY_FLOAT32 * np.abs(their_scores), "scores", None)
    exact = scores_of(theirs, ours.sequences, ids.shape[1], eos, penalty)
    assert_within(ours.sequences_scores, exact, PARITY_OUTPUTS * np.abs(exact), "scores in float64", None)


def test_when_a_search_ends_matters_here() -> None:
    """Else the comparison above would say nothing about it."""
    model, ids = sharp_speaker(), prompts(1, batch=4)
    settings = {
        "num_beams": 3,
        "num_return_sequences": 3,
        "max_new_tokens": 14,
        "eos_token_id": some_eos(model, ids, num_beams=2),
    }
    early, usual, late = (text(model, ids, early_stopping=stopping, **settings) for stopping in (True, False, "never"))
    assert not np.array_equal(early, usual)
    assert not np.array_equal(usual, late)


def test_beams_go_on_where_most_of_what_is_likely_ends() -> None:
    """Three eos are the likeliest tokens of all, so that of 2 * num_beams candidates none might go on."""
    model, ids = speaker(), prompts()
    eos = [20, 30, 40]
    model.parameters["cls.predictions.decoder.bias"][eos] += np.abs(model(ids).logits).max()
    settings = {
        "num_beams": 2,
        "num_return_sequences": 2,
        "eos_token_id": eos,
        "length_penalty": 3.0,
        "early_stopping": "never",
    }
    expected = their_text(hugging_face(model), ids, **settings).numpy()
    ours = text(model, ids, **settings)
    assert ours.shape == expected.shape
    assert (ours == expected).all()
    assert ours.shape[1] > 6


def scores_of(theirs: Any, sequences: np.ndarray, start: int, eos: list[int], penalty: float) -> np.ndarray:
    """log P(new tokens) / (how many) ** penalty, from one pass of their model over each whole sequence."""
    with torch.no_grad():
        log_probs = theirs(torch.from_numpy(sequences)).logits.log_softmax(-1).numpy()
    scores = []
    for ids, row in zip(sequences, log_probs, strict=True):
        ends = np.flatnonzero(np.isin(ids[start:], eos))
        stop = start + ends[0] + 1 if len(ends) else len(ids)
        scores.append(row[np.arange(start, stop) - 1, ids[start:stop]].sum() / (stop - start) ** penalty)
    return np.array(scores)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {"min_new_tokens": 8}, {"min_length": 10}, {"repetition_penalty": 1.7}, {"repetition_penalty": 0.6, "min_length": 9},
        {"max_length": 8, "max_new_tokens": None},
    ],
)  # fmt: skip
def test_lengths_and_repetition_are_theirs(settings: dict[str, Any], beams: int) -> None:
    model, ids = speaker(2), prompts(4)
    settings = {"num_beams": beams, "eos_token_id": some_eos(model, ids, num_beams=beams)} | settings
    expected = their_text(hugging_face(model), ids, **settings).numpy()
    ours = text(model, ids, **settings)
    assert ours.shape == expected.shape
    assert (ours == expected).all()
    assert not np.array_equal(ours, text(model, ids, num_beams=beams, eos_token_id=settings["eos_token_id"]))


def test_the_default_is_twenty_tokens_with_the_prompt() -> None:
    model, ids = decoder(), prompts()
    assert model.generate(ids, eos_token_id=None).shape == (3, 20)
    assert decoder(max_position_embeddings=12).generate(ids, eos_token_id=None).shape == (3, 12)


# --- cross-attention --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beams", [1, 3])
def test_with_an_encoder_the_text_is_that_of_full_passes(beams: int) -> None:
    """The mask of the encoder's states and the states follow their prompts through the beams, and into the cache."""
    model, ids, encoder = speaker(cross=True), prompts(), encoder_side()
    settings = {"num_beams": beams, "eos_token_id": some_eos(model, ids, **encoder), "num_return_sequences": beams}
    expected = their_text(hugging_face(model), ids, use_cache=False, **settings, **encoder).numpy()
    for use_cache in (True, False):
        ours = text(model, ids, use_cache=use_cache, **settings, **encoder)
        assert ours.shape == expected.shape
        assert (ours == expected).all()
    past = model(ids[:, :3], **encoder).past_key_values  # has the encoder's keys and values
    mask = {"encoder_attention_mask": encoder["encoder_attention_mask"]}
    for also in (encoder, mask):
        assert (text(model, ids, past_key_values=past, **settings, **also) == expected).all()
    swapped = {name: values[::-1] for name, values in encoder.items()}
    assert not np.array_equal(ours, text(model, ids, **settings, **swapped))


def test_without_a_prompt_a_text_begins_with_bos() -> None:
    model = speaker(bos_token_id=7)
    assert (text(model, None) == text(model, [[7]])).all()
    assert (text(model, None, bos_token_id=8) == text(model, [[8]])).all()
    model, encoder = speaker(cross=True, bos_token_id=7), encoder_side()
    assert (text(model, None, **encoder) == text(model, [[7]] * 3, **encoder)).all()


# --- what must not matter ------------------------------------------------------------------------------------------------

WAYS = {
    "greedy": {},
    "sampling": {"do_sample": True, "seed": 3, "temperature": 2.0, "num_return_sequences": 2},
    "beams": {"num_beams": 4, "num_return_sequences": 2},
}


@pytest.mark.parametrize("way", WAYS)
def test_the_cache_does_not_matter(way: str) -> None:
    """Whether there is one, and whether it begins with one of the caller's, which stays as it was."""
    model, ids = speaker(), prompts()
    settings = WAYS[way] | {"eos_token_id": some_eos(model, ids, **WAYS[way])}
    expected = text(model, ids, use_cache=False, **settings)
    assert (text(model, ids, use_cache=True, **settings) == expected).all()
    past = model(ids[:, :4]).past_key_values
    held = [[array.copy() for array in layer] for layer in past]
    assert (text(model, ids, past_key_values=past, **settings) == expected).all()
    assert all((a == b).all() for ours, was in zip(past, held, strict=True) for a, b in zip(ours, was, strict=True))


@pytest.mark.parametrize(("use_cache", "with_mask"), [(True, True), (False, False)])
@pytest.mark.parametrize("way", WAYS)
def test_a_prompt_padded_on_the_left_continues_as_it_does_alone(way: str, use_cache: bool, with_mask: bool) -> None:
    """Its positions count its own tokens. What the padding is does not matter; without a mask it is told by its id."""
    model, ids = speaker(), prompts()
    mask = (np.arange(5) >= np.array([[0], [3], [1]])).astype(int)
    padded = np.where(mask, ids, 50 if with_mask else PAD)
    settings = WAYS[way] | {"use_cache": use_cache, "repetition_penalty": 1.2, "eos_token_id": None}
    given = {"attention_mask": mask} if with_mask else {}
    together = text(model, padded, **given, **settings)
    copies = settings.get("num_return_sequences", 1)
    for n, padding in enumerate((0, 3, 1)):
        others = np.repeat(ids[n : n + 1, padding:], 3, axis=0)  # sampling: text n draws from stream n
        alone = text(model, others, **settings)
        here = slice(copies * n, copies * (n + 1))
        assert (together[here, 5:] == alone[here, 5 - padding :]).all()
        assert (together[here, padding:5] == ids[n, padding:]).all()


def test_an_eos_in_a_prompt_is_no_padding() -> None:
    """Where the same id pads and ends, as is usual with decoders."""
    model, ids = speaker(), prompts()
    ids[:, 3] = PAD
    expected = text(model, ids, eos_token_id=PAD, attention_mask=np.ones_like(ids))
    assert (text(model, ids, eos_token_id=PAD) == expected).all()


def test_padding_on_the_left_is_theirs() -> None:
    model, ids = speaker(), prompts()
    mask = (np.arange(5) >= np.array([[0], [3], [1]])).astype(int)
    expected = their_text(hugging_face(model), ids, attention_mask=mask, eos_token_id=None).numpy()
    assert (text(model, ids, attention_mask=mask) == expected).all()


def test_new_tokens_have_the_type_of_the_last() -> None:
    model, ids = speaker(), prompts()
    types = RNG.integers(0, 2, ids.shape)
    expected = their_text(hugging_face(model), ids, token_type_ids=types, eos_token_id=None).numpy()
    for use_cache in (True, False):
        assert (text(model, ids, token_type_ids=types, use_cache=use_cache) == expected).all()
    assert not np.array_equal(text(model, ids), expected)


def test_what_is_known_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each prompt once, then one token a step of the texts that have not ended; scored is only the last position."""
    model, ids = speaker(), prompts()
    eos = some_eos(model, ids)
    shapes = []
    call = RemBertForCausalLM.__call__

    def spy(self: Any, **inputs: Any) -> Any:
        output = call(self, **inputs)
        shapes.append((inputs["input_ids"].shape, output.logits.shape))
        return output

    monkeypatch.setattr(RemBertForCausalLM, "__call__", spy)
    sequences = text(model, ids, eos_token_id=eos)
    new = sequences[:, 5:]
    running = [3] + [int((~np.isin(new[:, :n], eos).any(axis=1)).sum()) for n in range(1, new.shape[1])]
    assert shapes == [((rows, 1 if n else 5), (rows, 1, 61)) for n, rows in enumerate(running)]
    assert min(running) < 3
    shapes.clear()
    text(model, ids, num_beams=4, max_new_tokens=3)
    assert [ids_shape for ids_shape, _ in shapes] == [(3, 5), (12, 1), (12, 1)]


def test_everything_a_caller_may_hold() -> None:
    """Lists, torch tensors, half a dozen kinds of integers; nothing given is written to."""
    model, ids = speaker(), prompts()
    expected = text(model, ids)
    for same in (ids.tolist(), torch.from_numpy(ids), ids.astype(np.int32), tuple(map(tuple, ids))):
        assert (text(model, same) == expected).all()
    beams = text(model, ids, num_beams=2)
    assert (text(model, ids.astype(np.uint64), num_beams=2) == beams).all()
    before = ids.copy()
    text(model, ids, num_beams=np.int64(2), attention_mask=np.ones((3, 5), bool))
    assert (ids == before).all()
    assert (text(speaker(output_attentions=True, return_dict=False, use_cache=False), ids) == expected).all()


@pytest.mark.parametrize("way", WAYS)
def test_a_token_that_is_ruled_out_never_comes(way: str) -> None:
    model, ids = speaker(), prompts()
    usual = text(model, ids, **WAYS[way])
    there = np.unique(usual[:, 5:])[:3]
    model.parameters["cls.predictions.decoder.bias"][there] = -np.inf
    assert not np.isin(text(model, ids, **WAYS[way])[:, 5:], there).any()


def test_what_is_returned() -> None:
    model, ids = speaker(), prompts()
    greedy = text(model, ids, return_dict_in_generate=True)
    assert list(greedy) == ["sequences"]
    beams = text(model, ids, return_dict_in_generate=True, num_beams=3, num_return_sequences=2)
    assert list(beams) == ["sequences", "sequences_scores"]
    assert beams.sequences.shape == (6, 13)
    assert beams.sequences_scores.shape == (6,)
    assert (beams.sequences_scores[::2] >= beams.sequences_scores[1::2]).all()
    assert (beams.sequences[:, :5] == np.repeat(ids, 2, axis=0)).all()


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("pad", [0, PAD, None])
def test_after_its_end_a_text_is_padded(pad: int | None, beams: int) -> None:
    """With the first eos, where there is no padding token."""
    model, ids = speaker(), prompts()
    eos = some_eos(model, ids, num_beams=beams)
    new = text(model, ids, eos_token_id=eos, pad_token_id=pad, num_beams=beams)[:, 5:]
    ended = np.isin(new, eos).cumsum(axis=1) - np.isin(new, eos) > 0
    assert ended.any()
    assert (new[ended] == (eos[0] if pad is None else pad)).all()


def test_the_configuration_says_what_ends_a_text() -> None:
    model, ids = speaker(), prompts()
    eos, _ = some_eos(model, ids)
    configured = speaker(eos_token_id=eos, pad_token_id=PAD)
    assert (configured.generate(ids, max_new_tokens=8) == text(configured, ids, eos_token_id=eos)).all()


@pytest.mark.parametrize("way", ["sampling", "beams"])
def test_on_triton(way: str) -> None:
    model, ids = speaker(size=1), prompts()[:2]
    mask = (np.arange(5) >= np.array([[0], [3]])).astype(int)
    settings = WAYS[way] | {"attention_mask": mask, "max_new_tokens": 3}
    ours = text(on_triton(model), ids, **settings)
    assert isinstance(ours, np.ndarray)
    assert (ours == text(model, ids, **settings)).all()
