"""How a text is to be generated: every setting, its default, and what makes no sense.

Names and defaults are those of transformers 4.34's `generate`. What would be ignored there without a word, or with a line in
a log, is refused here: a temperature where nothing is sampled, `max_length` beside `max_new_tokens`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

import numpy as np

from minirembert.config import RemBertConfig
from minirembert.ops.array import Array
from minirembert.scalars import is_integer, is_number, is_switch, plain

MAX_LENGTH = 20  # where a caller does not say, as in transformers 4.34
LARGEST_EXPONENT = 600.0  # e ** 709 is the end of float64
Configured = Literal["config"]  # the configuration's


@dataclass(frozen=True)
class GenerationSettings:
    """The keyword arguments of `generate`, apart from the model's inputs.

    Raises ValueError, naming the setting, for a value that makes no sense, alone or beside the others.
    """

    # Length. Both kinds count tokens, `max_length` and `min_length` with those of the prompt and its padding.
    max_length: int | None = None  # 20
    max_new_tokens: int | None = None  # instead of max_length
    min_length: int | None = None  # no eos while the sequence is shorter
    min_new_tokens: int | None = None  # instead of min_length
    # Special tokens; "config": the configuration's
    eos_token_id: int | Sequence[int] | Configured | None = "config"  # what ends a text, perhaps several; None: nothing
    pad_token_id: int | Configured | None = "config"  # what stands after the end; None: the (first) eos
    bos_token_id: int | Configured | None = "config"  # the prompt, where there is none
    # Sampling instead of the best token
    do_sample: bool = False
    temperature: float = 1.0  # below 1: likely tokens become likelier
    top_k: int = 50  # only that many of the most likely tokens; 0: all
    top_p: float = 1.0  # only the most likely tokens that together have this probability
    seed: int | None = None  # the same seed, the same text; None: another text each time
    # Beam search
    num_beams: int = 1
    length_penalty: float = 1.0  # a text's score is its log probability / (number of new tokens) ** length_penalty
    early_stopping: bool | Literal["never"] = False  # when a search ends before max_length, see `beams.py`
    # Both
    num_return_sequences: int = 1  # texts for each prompt
    repetition_penalty: float = 1.0  # above 1: what was there becomes less likely
    use_cache: bool | None = None  # None: the configuration's; the result is the same
    return_dict_in_generate: bool = False  # a GenerationOutput, with the scores of beam search, instead of the ids

    def __post_init__(self) -> None:
        for field in fields(self):  # NumPy's scalars become Python's own
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))
        for name in ("max_length", "max_new_tokens", "num_beams", "num_return_sequences"):
            self._require_integer(name, 1)
        for name in ("min_length", "min_new_tokens", "top_k", "seed"):
            self._require_integer(name, 0)
        self._require("temperature", is_number(self.temperature) and self.temperature > 0, "a number above 0")
        self._require("top_p", is_number(self.top_p) and 0 < self.top_p <= 1, "a number above 0 and at most 1")
        self._require("length_penalty", is_number(self.length_penalty), "a finite number")
        penalty = self.repetition_penalty
        self._require("repetition_penalty", is_number(penalty) and penalty > 0, "a number above 0")
        for name in ("do_sample", "return_dict_in_generate"):
            self._require(name, is_switch(getattr(self, name)), "True or False")
        self._require("use_cache", self.use_cache is None or is_switch(self.use_cache), "True, False or None")
        known = is_switch(self.early_stopping) or self.early_stopping == "never"
        self._require("early_stopping", known, 'True, False or "never"')
        self._check_together()

    def _check_together(self) -> None:
        for one, other in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"generate: give {one} or {other}, not both")
        if self.do_sample and self.num_beams > 1:
            raise ValueError(f"generate: do_sample and num_beams = {self.num_beams} exclude each other")
        defaults = {field.name: field.default for field in fields(self)}
        for names, in_use, needed in (
            (("temperature", "top_k", "top_p"), self.do_sample, "do_sample=True"),
            (("length_penalty", "early_stopping"), self.num_beams > 1, "num_beams above 1"),
        ):
            for name in names:
                if not in_use and getattr(self, name) != defaults[name]:
                    raise ValueError(f"generate: {name} = {getattr(self, name)!r} has no effect without {needed}")
        if self.num_return_sequences > self.num_beams and not self.do_sample:
            raise ValueError(
                f"generate: num_return_sequences = {self.num_return_sequences} needs do_sample=True or at least as many "
                f"num_beams, got {self.num_beams}"
            )

    def _require_integer(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value is not None or name in ("num_beams", "num_return_sequences", "top_k"):
            self._require(name, is_integer(value) and value >= least, f"an integer of at least {least}")

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"generate: {name} must be {what}, got {getattr(self, name)!r}")


def read_settings(given: dict[str, Any]) -> GenerationSettings:
    """Raises TypeError for an unknown name, ValueError for a value that makes no sense."""
    known = [field.name for field in fields(GenerationSettings)]
    for name in given:
        if name not in known:
            near = "".join(f"; did you mean {n}?" for n in get_close_matches(name, known, n=1))
            raise TypeError(f"generate takes no argument {name}{near}")
    return GenerationSettings(**given)


class Plan(NamedTuple):
    """The settings as a search needs them, for one batch of prompts."""

    settings: GenerationSettings
    eos: Array  # ids that end a text, perhaps none
    pad: int
    min_length: int  # of the sequence with its prompt: no eos before
    max_length: int


def plan(config: RemBertConfig, settings: GenerationSettings, prompt_length: int, longest_prompt: int) -> Plan:
    """`prompt_length`: with padding; `longest_prompt`: of the prompts without it.

    Raises ValueError for lengths that no text can have, and for ids that are not in the vocabulary.
    """
    eos = eos_ids(config, settings)
    pad = special_id(config, settings, "pad_token_id")
    limit = config.max_position_embeddings
    room = limit - longest_prompt
    most = _length(settings.max_length, settings.max_new_tokens, prompt_length, min(MAX_LENGTH, prompt_length + room))
    least = _length(settings.min_length, settings.min_new_tokens, prompt_length, 0)
    new = most - prompt_length
    if new > room or room <= 0:
        raise ValueError(
            f"generate: a prompt of {longest_prompt} tokens and {max(new, 1)} new ones do not fit into "
            f"max_position_embeddings = {limit}"
        )
    if new <= 0:
        default = " (the default)" if settings.max_length is None else ""
        raise ValueError(
            f"generate: max_length = {most}{default} leaves no room after a prompt of {prompt_length} tokens; it counts the "
            "prompt, max_new_tokens does not"
        )
    if least > most:
        raise ValueError(
            f"generate: at least {least} tokens are asked for and at most {most}, the prompt's {prompt_length} included"
        )
    if settings.num_beams > 1 and abs(settings.length_penalty) * math.log(new) > LARGEST_EXPONENT:
        raise ValueError(
            f"generate: {new} ** length_penalty is out of range for length_penalty = {settings.length_penalty}"
        )
    others = config.vocab_size - len(eos)
    if settings.num_beams > others:
        raise ValueError(f"generate: num_beams = {settings.num_beams}, but only {others} tokens do not end the text")
    if pad is None:  # without an eos, texts are equally long and nothing is padded
        pad = int(eos[0]) if len(eos) else 0
    return Plan(settings, eos, pad, least, most)


def _length(total: int | None, new: int | None, prompt_length: int, default: int) -> int:
    if new is not None:
        return prompt_length + new
    return default if total is None else total


def eos_ids(config: RemBertConfig, settings: GenerationSettings) -> Array:
    """The ids that end a text, each once, in the order given. Raises ValueError for one that is not in the vocabulary."""
    given, whose = _chosen(config, settings, "eos_token_id")
    if given is None:
        given = []
    elif isinstance(given, str) or not isinstance(given, Sequence | np.ndarray):
        given = [given]
    ids = [_checked_id(config, value, "eos_token_id", whose) for value in given]
    return np.array(list(dict.fromkeys(ids)), np.int64)


def special_id(config: RemBertConfig, settings: GenerationSettings, name: str) -> int | None:
    """The setting `name`, or the configuration's. Raises ValueError for an id that is not in the vocabulary."""
    value, whose = _chosen(config, settings, name)
    return None if value is None else _checked_id(config, value, name, whose)


def _chosen(config: RemBertConfig, settings: GenerationSettings, name: str) -> tuple[Any, str]:
    """The value of an id, and what to say about where it is from if it is wrong."""
    value = getattr(settings, name)
    if isinstance(value, str) and value == "config":
        return getattr(config, name), f" of the configuration; pass another {name}, or None"
    return value, ""


def _checked_id(config: RemBertConfig, value: Any, name: str, whose: str) -> int:
    if not (is_integer(value) and 0 <= value < config.vocab_size):
        raise ValueError(f"generate: {name} must be an id below vocab_size = {config.vocab_size}, got {value!r}{whose}")
    return int(value)
