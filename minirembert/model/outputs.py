"""What the models return: dataclasses that also answer to `output["logits"]`, `output[0]` and `output.to_tuple()`."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from minirembert.ops.array import Array

Cache = tuple[tuple[Array, ...], ...]  # see cache.py


@dataclass
class ModelOutput:
    """A field that is None does not count: it has no key and no place in the tuple."""

    def keys(self) -> list[str]:
        """The names of the fields that count, in order."""
        return [f.name for f in fields(self) if getattr(self, f.name) is not None]

    def values(self) -> list[Any]:
        """The fields that count, in order."""
        return list(self.to_tuple())

    def items(self) -> list[tuple[str, Any]]:
        """Names and values of the fields that count, in order."""
        return [(name, getattr(self, name)) for name in self.keys()]

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that count, in order: what `output[i]` and slices look into."""
        return tuple(getattr(self, name) for name in self.keys())

    def as_plain_tuple(self) -> tuple[Any, ...]:
        """What `return_dict=False` gives."""
        return self.to_tuple()

    def __getitem__(self, key: str | int | slice) -> Any:
        if not isinstance(key, str):
            return self.to_tuple()[key]
        if key not in self.keys():
            raise KeyError(key)
        return getattr(self, key)

    def get(self, key: str, default: Any = None) -> Any:
        """`output[key]`; `default` where the field is None or there is no such field."""
        return getattr(self, key) if key in self.keys() else default

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __len__(self) -> int:
        return len(self.keys())


@dataclass
class BaseModelOutput(ModelOutput):
    """What `RemBertModel` returns: the states of an encoder, or of a decoder without its head."""

    last_hidden_state: Array | None = None  # (B, S, H)
    pooler_output: Array | None = None  # (B, H)
    hidden_states: tuple[Array, ...] | None = None  # L + 1 times (B, S, H)
    past_key_values: Cache | None = None  # L times 2 or 4 arrays (B, h, T, d)
    attentions: tuple[Array, ...] | None = None  # L times (B, h, S, T)
    cross_attentions: tuple[Array, ...] | None = None  # L times (B, h, S, T), T of the encoder's states

    def as_plain_tuple(self) -> tuple[Any, ...]:
        """As transformers has it: the cache before the hidden states, and a place for the pooler that is not there."""
        rest = (self.past_key_values, self.hidden_states, self.attentions, self.cross_attentions)
        return (self.last_hidden_state, self.pooler_output, *(part for part in rest if part is not None))


@dataclass
class TaskOutput(ModelOutput):
    """What masked language modelling, sequence and token classification, and multiple choice return."""

    loss: Array | None = None  # ()
    logits: Array | None = None  # (B, S, V), (B, num_labels), (B, S, num_labels) or (B, C)
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None


@dataclass
class CausalOutput(ModelOutput):
    """What `RemBertForCausalLM` returns."""

    loss: Array | None = None  # ()
    logits: Array | None = None  # (B, S, V)
    past_key_values: Cache | None = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
    cross_attentions: tuple[Array, ...] | None = None


@dataclass
class QuestionAnsweringOutput(ModelOutput):
    """What `RemBertForQuestionAnswering` returns."""

    loss: Array | None = None  # ()
    start_logits: Array | None = None  # (B, S)
    end_logits: Array | None = None  # (B, S)
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
