"""What `generate` refuses, each in one sentence."""

from typing import Any

import numpy as np
import pytest
from test_bad_input import refused
from test_decoder import decoder
from test_generation import PAD, prompts, text

from minirembert import RemBertConfig, RemBertForCausalLM

LEFT = 'tokenizer.padding_side = "left"'
NONSENSE: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"temperature": 0.0, "do_sample": True}, ("temperature must be a number above 0, got 0.0",)),
    ({"temperature": float("nan"), "do_sample": True}, ("temperature", "nan")),
    ({"temperature": 0.5}, ("temperature = 0.5 has no effect without do_sample=True",)),
    ({"top_p": 0.0, "do_sample": True}, ("top_p must be a number above 0 and at most 1, got 0.0",)),
    ({"top_p": 1.5, "do_sample": True}, ("top_p", "1.5")),
    ({"top_p": 0.9}, ("top_p = 0.9 has no effect without do_sample=True",)),
    ({"top_k": -1, "do_sample": True}, ("top_k must be an integer of at least 0, got -1",)),
    ({"top_k": None, "do_sample": True}, ("top_k", "None")),
    ({"seed": -1, "do_sample": True}, ("seed must be an integer of at least 0, got -1",)),
    ({"num_beams": 0}, ("num_beams must be an integer of at least 1, got 0",)),
    ({"num_beams": True}, ("num_beams", "True")),
    ({"num_beams": 61, "eos_token_id": 9}, ("num_beams = 61, but only 60 tokens do not end the text",)),
    ({"num_beams": 2, "do_sample": True}, ("do_sample and num_beams = 2",)),
    ({"num_beams": 2, "num_return_sequences": 3}, ("num_return_sequences = 3", "num_beams, got 2")),
    ({"num_return_sequences": 2}, ("num_return_sequences = 2", "do_sample")),
    ({"length_penalty": 2.0}, ("length_penalty = 2.0 has no effect without num_beams above 1",)),
    ({"length_penalty": 900.0, "num_beams": 2}, ("8 ** length_penalty", "900.0")),
    ({"early_stopping": "now", "num_beams": 2}, ('early_stopping must be True, False or "never"', "now")),
    ({"repetition_penalty": 0.0}, ("repetition_penalty", "0.0")),
    ({"use_cache": 1}, ("use_cache", "1")),
    ({"do_sample": "yes"}, ("do_sample", "'yes'")),
    ({"max_length": 9}, ("max_length or max_new_tokens, not both",)),
    ({"max_new_tokens": 0}, ("max_new_tokens must be an integer of at least 1, got 0",)),
    ({"max_new_tokens": None, "max_length": 5}, ("max_length = 5 leaves no room after a prompt of 5 tokens",)),
    ({"max_new_tokens": 29}, ("a prompt of 5 tokens and 29 new ones", "max_position_embeddings = 33")),
    ({"min_length": 3, "min_new_tokens": 1}, ("min_length or min_new_tokens, not both",)),
    ({"min_new_tokens": 9}, ("at least 14 tokens", "at most 13")),
    ({"eos_token_id": 61}, ("eos_token_id must be an id below vocab_size = 61, got 61",)),
    ({"eos_token_id": [7, -1]}, ("eos_token_id", "-1")),
    ({"eos_token_id": "config"}, ("got 313 of the configuration; pass another eos_token_id, or None",)),
    ({"pad_token_id": 61}, ("pad_token_id", "61")),
    ({"attention_mask": np.array([[1, 1, 1, 1, 0]] * 3)}, ("prompt 0", "1 1 1 1 0", LEFT)),
    ({"attention_mask": np.array([[1] * 5, [1, 0, 1, 1, 1], [1] * 5])}, ("prompt 1", "1 0 1 1 1", LEFT)),
    ({"attention_mask": np.array([[1] * 5, [0] * 5, [1] * 5])}, ("prompt 1", "at least one token", "0 0 0 0 0")),
    ({"attention_mask": np.ones((3, 4))}, ("attention_mask must have shape (3, 5), got (3, 4)",)),
    ({"attention_mask": np.full((3, 5), 0.5)}, ("attention_mask must hold 1 for tokens and 0 for padding",)),
    ({"token_type_ids": np.zeros((3, 4), int)}, ("token_type_ids", "(3, 4)")),
    ({"encoder_hidden_states": np.zeros((3, 7, 42))}, ("add_cross_attention",)),
    ({"encoder_hidden_states": np.zeros((2, 7, 42))}, ("3 prompts, but encoder_hidden_states of 2",)),
    ({"encoder_attention_mask": np.ones((3, 5, 7))}, ("encoder_attention_mask must have shape", "(3, 5, 7)")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "said"), NONSENSE, ids=[", ".join(s) + f" {n}" for n, (s, _) in enumerate(NONSENSE)]
)
def test_settings_that_make_no_sense(settings: dict[str, Any], said: tuple[str, ...]) -> None:
    with refused(ValueError, *said):
        text(decoder(), prompts(), **settings)


@pytest.mark.parametrize(
    ("ids", "error", "said"),
    [
        ([[4, 5], [6, 7, 8]], ValueError, ("2 to 3 tokens", LEFT)),
        ([np.array([4, 5]), np.array([6])], ValueError, ("1 to 2 tokens", LEFT)),
        ([4, 5], ValueError, ("(batch, sequence)", "(2,)")),
        (np.zeros((2, 0), int), ValueError, ("(2, 0)",)),
        ([[4, 61]], IndexError, ("input_ids[0, 1] is 61",)),
        ([[4.0, 5.0]], ValueError, ("input_ids must hold integers",)),
        ([[4, 5, PAD]], ValueError, ("prompt 0", "1 1 0", LEFT)),
        ({"input_ids": [[4, 5]]}, TypeError, ("generate(**encoding)",)),
        (None, ValueError, ("bos_token_id", "312 of the configuration")),
    ],
)
def test_prompts_that_are_none(ids: Any, error: type[Exception], said: tuple[str, ...]) -> None:
    with refused(error, *said):
        text(decoder(), ids)


def test_other_things_that_make_no_sense() -> None:
    model, ids = decoder(), prompts()
    with refused(ValueError, "generate needs a decoder", "is_decoder=True"):
        RemBertForCausalLM(RemBertConfig(**vars(model.config) | {"is_decoder": False})).generate(ids)
    with refused(TypeError, "generate takes no argument temprature; did you mean temperature?"):
        text(model, ids, temprature=1.0)
    with refused(ValueError, "neither input_ids nor a bos_token_id"):
        text(model, None, bos_token_id=None)
    past = model(ids).past_key_values
    with refused(ValueError, "past_key_values has 5 tokens and input_ids 5"):
        text(model, ids, past_key_values=past)
    with refused(ValueError, "past_key_values is of no use with use_cache=False"):
        text(model, prompts(length=7), past_key_values=past, use_cache=False)
    with refused(ValueError, "past_key_values[0][0] must have shape (1, 6, 5, 7)"):
        text(model, prompts(length=7, batch=1), past_key_values=past)
    with refused(TypeError, "past_key_values must be a tuple"):
        text(model, ids, past_key_values=7)
    model.parameters["cls.predictions.decoder.bias"][4] = np.nan
    with refused(ValueError, "the highest of the model's logits for token 5 after prompt 0 is nan"):
        text(model, ids)
