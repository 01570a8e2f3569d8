"""Searches over logits that a test writes down: what comes out is worked out by hand, and no model has a part in it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from test_bad_input import refused
from test_decoder import decoder, encoder_side
from test_generation import prompts, speaker, text

from minirembert import RemBertConfig
from minirembert.generation.beams import beam_search, highest
from minirembert.generation.next_token import NextToken
from minirembert.generation.prompt import Prompt
from minirembert.generation.sampling import token_by_token
from minirembert.generation.settings import GenerationSettings, plan

V = 8  # tokens of the searches below


class Written:
    """In the place of a model: the logits of each sequence are a function of it."""

    def __init__(self, prompt: Any, padding: Any, logits: Callable[[np.ndarray], Any]) -> None:
        ids = np.array(prompt)
        self.prompt = Prompt(ids, np.array(padding), np.zeros_like(ids), None, None, None, 0)
        self.logits = logits

    def __call__(self, sequences: np.ndarray, parents: Any = None) -> np.ndarray:
        return np.array([self.logits(row) for row in sequences], float)


def search(written: Written, **settings: Any) -> np.ndarray:
    chosen = GenerationSettings(**{"eos_token_id": None, "pad_token_id": 0} | settings)
    length = written.prompt.ids.shape[1]
    planned = plan(RemBertConfig(vocab_size=V, hidden_size=2, num_attention_heads=1), chosen, length, length)
    return beam_search(written, planned)[0] if chosen.num_beams > 1 else token_by_token(written, planned)


def likely(**values: float) -> np.ndarray:
    """log of these, "t3" for token 3; the other tokens are hardly ever drawn."""
    logits = np.full(V, -100.0)
    for name, value in values.items():
        logits[int(name[1:])] = np.log(value)
    return logits


# --- sampling ------------------------------------------------------------------------------------------------------------


def test_temperature_then_top_k_then_top_p() -> None:
    """Of 0.4, 0.3, 0.2 and 0.1, top-k 2 leaves 4/7 and 3/7, of which 0.5 needs one; the other way round two would stay. At
    temperature 2 the roots of 0.6, 0.25 and 0.15 count, 0.47, 0.30 and 0.23: 0.5 needs two of them, not one."""
    sampled = {"do_sample": True, "seed": 1, "num_return_sequences": 60, "max_new_tokens": 1, "top_p": 0.5}
    four = Written([[7]], [0], lambda row: likely(t1=0.4, t2=0.3, t3=0.2, t4=0.1))
    assert set(search(four, top_k=2, **sampled)[:, 1]) == {1}
    three = Written([[7]], [0], lambda row: likely(t1=0.6, t2=0.25, t3=0.15))
    assert set(search(three, temperature=2.0, **sampled)[:, 1]) == {1, 2}
    assert set(search(three, **sampled)[:, 1]) == {1}


def test_text_n_draws_from_the_stream_of_seed_and_n() -> None:
    """Even odds, so that a token is the V-th part in which the stream's number lies. Texts that end take no one's numbers."""
    even = Written([[7], [6]], [0, 0], lambda row: np.zeros(V))
    for seed in (0, 5):
        streams = [np.random.default_rng([seed, n]).random(12) for n in range(4)]
        expected = np.floor(np.array(streams) * V).astype(int)
        settings = {"do_sample": True, "seed": seed, "num_return_sequences": 2, "max_new_tokens": 12}
        assert (search(even, **settings)[:, 1:] == expected).all()
        assert len({int(np.argmax(row == 3)) for row in expected}) > 1  # texts that 3 ends, end in different places
        ended = search(even, **settings, eos_token_id=3, pad_token_id=0)[:, 1:]
        for row, whole in zip(ended, expected, strict=True):
            stop = [*whole, 3].index(3) + 1
            assert (row[:stop] == whole[:stop]).all() and (row[stop:] == 0).all()
    assert (search(even, **settings)[:, 0] == [7, 7, 6, 6]).all()  # the texts of a prompt stand side by side


def test_without_a_seed_no_two_calls_are_alike() -> None:
    even = Written([[7]], [0], lambda row: np.zeros(V))
    settings = {"do_sample": True, "max_new_tokens": 40}  # alike once in 8 ** 40
    assert (search(even, **settings) != search(even, **settings)).any()


# --- padding and penalties ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beams", [1, 2])
def test_padding_is_not_penalised_when_another_prompt_has_ended(beams: int) -> None:
    """The first prompt ends at once. The second is padded with 5, its likeliest next token, which it has not said yet."""

    def logits(row: np.ndarray) -> np.ndarray:
        return likely(t3=0.98, t1=0.01, t2=0.01) if row[0] == 4 else likely(t5=0.6, t6=0.4) + 10

    written = Written([[4, 4], [5, 7]], [0, 1], logits)
    settings = {"repetition_penalty": 5.0, "eos_token_id": 3, "num_beams": beams, "max_new_tokens": 2}
    if beams > 1:
        settings["early_stopping"] = True
    found = search(written, **settings)
    assert found[0, 2] == 3
    assert found[1, 2] == 5


def test_what_is_padding_stays_so_to_the_end_of_the_text() -> None:
    """The second prompt is padded with 6, which it says for the first time as its second token, when the first is alone."""

    def logits(row: np.ndarray) -> np.ndarray:
        if row[0] == 4:
            return likely(t3=0.98, t1=0.01, t2=0.01)
        return 10 + (likely(t6=0.85, t5=0.1, t1=0.05) if row[-1] == 5 else likely(t5=0.6, t6=0.4))

    written = Written([[4, 4], [6, 7]], [0, 1], logits)
    found = search(written, repetition_penalty=5.0, eos_token_id=3, max_new_tokens=2)
    assert found[:, 2:].tolist() == [[3, 0], [5, 6]]


# --- length ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("least", [0, 1, 2, 4])
def test_a_text_may_end_as_soon_as_it_is_long_enough(least: int, beams: int) -> None:
    """Where the end is always the likeliest token, it comes right after the last one that had to be there."""
    written = Written([[7, 7]], [0], lambda row: likely(t3=0.97, t1=0.02, t2=0.01))
    for settings in ({"min_new_tokens": least}, {"min_length": 2 + least}):
        found = search(written, **settings, eos_token_id=3, num_beams=beams, max_new_tokens=6)
        assert found[0, 2:].tolist() == [*[1] * least, 3]


def test_what_must_be_there_may_be_all_there_is() -> None:
    written = Written([[7, 7]], [0], lambda row: likely(t3=0.97, t1=0.02, t2=0.01))
    for settings in ({"min_new_tokens": 4, "max_new_tokens": 4}, {"min_length": 6, "max_length": 6}):
        assert search(written, **settings, eos_token_id=3)[0].tolist() == [7, 7, 1, 1, 1, 1]
    with refused(ValueError, "at least 7 tokens are asked for and at most 6, the prompt's 2 included"):
        search(written, min_new_tokens=5, max_new_tokens=4)


def test_the_longest_prompt_s_own_tokens_decide_what_fits() -> None:
    """33 positions. Of prompts padded to 30, one of 4 and one of 28, five more fit, not six."""
    model, ids = decoder(), prompts(batch=2, length=30)
    mask = (np.arange(30) >= np.array([[26], [2]])).astype(int)
    assert text(model, ids, attention_mask=mask, max_new_tokens=5).shape == (2, 35)
    with refused(ValueError, "a prompt of 28 tokens and 6 new ones do not fit into max_position_embeddings = 33"):
        text(model, ids, attention_mask=mask, max_new_tokens=6)
    assert text(model, ids[:1], attention_mask=mask[:1], max_new_tokens=29).shape == (1, 59)
    with refused(ValueError, "a prompt of 4 tokens and 30 new ones"):
        text(model, ids[:1], attention_mask=mask[:1], max_new_tokens=30)


def test_as_many_beams_as_tokens_that_go_on() -> None:
    model, ids = decoder(), prompts()
    eos = list(range(58))
    assert text(model, ids, num_beams=3, eos_token_id=eos, max_new_tokens=2).shape[0] == 3
    with refused(ValueError, "num_beams = 4, but only 3 tokens do not end the text"):
        text(model, ids, num_beams=4, eos_token_id=eos)


@pytest.mark.parametrize("penalty", [300.0, -300.0])
def test_a_penalty_that_no_number_holds(penalty: float) -> None:
    with refused(ValueError, f"28 ** length_penalty is out of range for length_penalty = {penalty}"):
        text(decoder(), prompts(), num_beams=2, length_penalty=penalty, max_new_tokens=28)


@pytest.mark.parametrize(("name", "value", "needed"), [
    ("temperature", 0.5, "do_sample=True"), ("top_k", 10, "do_sample=True"), ("top_p", 0.5, "do_sample=True"),
    ("length_penalty", 2.0, "num_beams above 1"), ("early_stopping", True, "num_beams above 1"),
])  # fmt: skip
def test_a_setting_that_would_do_nothing(name: str, value: Any, needed: str) -> None:
    with refused(ValueError, f"{name} = {value!r} has no effect without {needed}"):
        GenerationSettings(**{name: value})


# --- special tokens -------------------------------------------------------------------------------------------------------


def test_a_text_is_padded_with_the_first_eos_given_not_the_lowest() -> None:
    ends = Written([[7], [6]], [0, 0], lambda row: likely(t5=0.9, t1=0.1) if row[0] == 7 else likely(t1=0.9, t5=0.1))
    found = search(ends, eos_token_id=[5, 2], pad_token_id=None, max_new_tokens=3)
    assert found.tolist() == [[7, 5, 5, 5], [6, 1, 1, 1]]
    found = search(ends, eos_token_id=[2, 5], pad_token_id=None, max_new_tokens=3)
    assert found.tolist() == [[7, 5, 2, 2], [6, 1, 1, 1]]


def test_none_is_no_special_token_whatever_the_configuration_says() -> None:
    """And the padding of a prompt is told by the call's pad_token_id, before the configuration's."""
    model, ids = speaker(), prompts()
    eos = int(text(model, ids)[0, 6])
    configured = speaker(eos_token_id=eos, pad_token_id=1)
    assert (configured.generate(ids, eos_token_id=None, max_new_tokens=8) == text(configured, ids)).all()
    padded = np.concatenate([np.full((3, 2), 2), ids], axis=1)
    continued = configured.generate(padded, pad_token_id=2, eos_token_id=None, max_new_tokens=8)
    assert (continued[:, 2:] == text(configured, ids)).all()
    whole = configured.generate(padded, eos_token_id=None, max_new_tokens=8)  # here 2 is a token like any other
    assert (whole == text(configured, padded, attention_mask=np.ones_like(padded))).all()


# --- what a search asks of the model ---------------------------------------------------------------------------------------


class Output(NamedTuple):
    logits: np.ndarray
    past_key_values: Any = None


class Model:
    """Gives one batch of logits (N, V), and keeps what it was asked."""

    backend = type("Backend", (), {"numpy": staticmethod(lambda array: array)})

    def __init__(self, *logits: np.ndarray) -> None:
        self.waiting, self.asked = [*logits], []

    def __call__(self, **inputs: Any) -> Output:
        self.asked.append(inputs)
        return Output(self.waiting.pop(0)[:, None].astype(np.float32))


def test_a_row_that_is_not_finite_is_named_by_its_prompt() -> None:
    """Prompts 0 and 1 have ended; of the two texts that prompt 2 has, one has lost its numbers."""
    wrong = np.zeros((2, V))
    wrong[1] = np.nan
    ids = np.array([[4, 4], [5, 5], [6, 6]])
    prompt = Prompt(ids, np.zeros(3, int), np.zeros_like(ids), None, None, None, 0)
    next_token = NextToken(Model(np.zeros((3, V)), wrong), prompt, use_cache=False)
    first = next_token(ids)
    assert first.dtype == np.float64
    with refused(ValueError, "the highest of the model's logits for token 3 after prompt 2 is nan"):
        next_token(np.array([[4, 4, 1], [6, 6, 1]]), np.array([0, 2]))


def test_each_text_keeps_its_prompt_s_padding_and_types() -> None:
    """Texts change places: prompt 2's comes twice, prompt 0's is gone; then prompt 1's moves to the front."""
    ids = np.array([[4, 4], [5, 5], [6, 6]])
    prompt = Prompt(ids, np.array([0, 1, 0]), np.array([[0, 0], [1, 1], [0, 1]]), None, None, None, 0)
    model = Model(*(np.zeros((rows, V)) for rows in (3, 3, 2)))
    next_token = NextToken(model, prompt, use_cache=False)
    next_token(ids)
    next_token(np.array([[6, 6, 1], [6, 6, 2], [5, 5, 1]]), np.array([2, 2, 1]))
    next_token(np.array([[5, 5, 1, 3], [6, 6, 2, 3]]), np.array([2, 1]))
    assert model.asked[1]["token_type_ids"].tolist() == [[0, 1, 1], [0, 1, 1], [1, 1, 1]]
    assert model.asked[1]["attention_mask"].tolist() == [[True] * 3, [True] * 3, [False, True, True]]
    assert model.asked[2]["token_type_ids"].tolist() == [[1, 1, 1, 1], [0, 1, 1, 1]]
    assert model.asked[2]["attention_mask"].tolist() == [[False, True, True, True], [True] * 4]


def test_a_cache_without_the_encoder_s_keys_is_continued_with_them() -> None:
    """The prompt's first tokens were read without the encoder's states; its last token and the text see them."""
    model, ids, encoder = speaker(cross=True), prompts(), encoder_side()
    past = model(ids[:, :3]).past_key_values
    assert len(past[0]) == 2
    expected = ids
    for _ in range(4):
        logits = model(expected[:, 3:], past_key_values=past, **encoder).logits
        expected = np.concatenate([expected, logits[:, -1].argmax(axis=1)[:, None]], axis=1)
    assert (text(model, ids, past_key_values=past, max_new_tokens=4, **encoder) == expected).all()
    assert not np.array_equal(text(model, ids, past_key_values=past, max_new_tokens=4), expected)


def test_of_equals_the_first_are_the_highest() -> None:
    values = np.array([1.0, 3.0, 3.0, 2.0, 3.0, -np.inf])
    assert highest(values, 2).tolist() in ([1, 2], [1, 4], [2, 4])  # which of the equals is open; their order is not
    assert highest(values, 3).tolist() == [1, 2, 4]
    assert highest(values, 5).tolist() == [1, 2, 4, 3, 0]
    assert highest(values, 9).tolist() == [1, 2, 4, 3, 0, 5]
