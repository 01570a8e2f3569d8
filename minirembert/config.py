"""The configuration: every size and switch of the model.

The defaults are google/rembert's. The letters are the ones used for shapes throughout the project.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from minirembert.files import as_folder, read_json, write_text_atomically
from minirembert.ops.activations import HIDDEN_ACT

MOST_LABELS = 2**20


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)  # Python's True is 1


def _is_number(value: Any) -> bool:
    return (_is_integer(value) or isinstance(value, float)) and math.isfinite(value)


@dataclass
class RemBertConfig:
    """Sizes and switches, under Hugging Face's names. Keys it does not know are kept in `extra` and written back.

    Raises ValueError, naming the field, for a value no model can be built from.
    """

    vocab_size: int = 250300  # V
    hidden_size: int = 1152  # H
    num_hidden_layers: int = 32  # L
    num_attention_heads: int = 18  # h; the head size is d = H / h
    input_embedding_size: int = 256  # E: the width of the embeddings that go in
    output_embedding_size: int = 1664  # O: the width of the embeddings that come out
    intermediate_size: int = 4608  # I: the width inside the feed-forward block
    hidden_act: str = "gelu"  # in the feed-forward blocks and in the output head
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    classifier_dropout_prob: float = 0.1
    max_position_embeddings: int = 512  # P
    type_vocab_size: int = 2  # token types: first and second sentence of a pair
    initializer_range: float = 0.02  # standard deviation of a fresh weight
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0  # its embedding row starts at zero and never learns
    bos_token_id: int = 312
    eos_token_id: int = 313
    is_decoder: bool = False  # hide the future, hand out a cache
    add_cross_attention: bool = False  # in a decoder: a second attention in each block, over an encoder's states
    use_cache: bool = True  # of a decoder, where a call does not say
    chunk_size_feed_forward: int = 0  # positions that the feed-forward half takes at a time; 0: all
    problem_type: str | None = None  # of RemBertForSequenceClassification; None: decided by the first labels
    id2label: dict[int, str] = field(default_factory=lambda: {0: "LABEL_0", 1: "LABEL_1"})
    output_hidden_states: bool = False
    output_attentions: bool = False
    return_dict: bool = True  # False: models return plain tuples
    extra: dict[str, Any] = field(default_factory=dict)

    def __init__(self, **values: Any) -> None:
        known = {f.name: f for f in fields(self)}
        num_labels = values.pop("num_labels", None)
        names_given = values.get("id2label") is not None
        values.pop("label2id", None)  # derived from id2label
        values.pop("tie_word_embeddings", None)  # RemBERT's are never tied, whatever a file says
        for name, f in known.items():
            default = f.default_factory() if callable(f.default_factory) else f.default
            setattr(self, name, values.pop(name, default))
        self.extra = {**self.extra, **values}
        self._read_labels()
        if num_labels is not None and num_labels != self.num_labels:
            if names_given:
                raise ValueError(
                    f"RemBertConfig: num_labels is {num_labels!r}, but id2label names {self.num_labels} labels"
                )
            self.num_labels = num_labels
        self._check()

    def __getattr__(self, name: str) -> Any:
        """What a file or a caller had besides is an attribute, too."""
        extra = self.__dict__.get("extra", {})
        if name not in extra:
            raise AttributeError(f"RemBertConfig has no {name!r}")
        return extra[name]

    @property
    def tie_word_embeddings(self) -> bool:
        """RemBERT's input and output embeddings are two matrices, always."""
        return False

    def _read_labels(self) -> None:
        """JSON has no numbers for keys: "0" becomes 0."""
        self._require("id2label", isinstance(self.id2label, Mapping), "a mapping from numbers to names")
        ids, labels = [str(i) for i in self.id2label], [str(label) for label in self.id2label.values()]
        numbered = len(ids) > 0 and sorted(ids) == sorted(str(i) for i in range(len(ids)))
        self._require("id2label", numbered, "a mapping with the ids 0 to n - 1, at least one of them")
        self._require("id2label", len(set(labels)) == len(labels), "a mapping to labels of which no two are alike")
        self.id2label = {int(i): label for i, label in zip(ids, labels, strict=True)}

    @property
    def num_labels(self) -> int:
        return len(self.id2label)

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        if not _is_integer(count) or not 1 <= count <= MOST_LABELS:  # each of them gets a name
            raise ValueError(f"RemBertConfig: num_labels must be an integer from 1 to {MOST_LABELS}, got {count!r}")
        self.id2label = {i: f"LABEL_{i}" for i in range(count)}

    @property
    def label2id(self) -> dict[str, int]:
        return {label: i for i, label in self.id2label.items()}

    def _check(self) -> None:
        sizes = (
            "vocab_size", "hidden_size", "num_attention_heads", "input_embedding_size", "output_embedding_size",
            "intermediate_size", "max_position_embeddings", "type_vocab_size",
        )  # fmt: skip
        for name in sizes:
            self._require(name, _is_integer(getattr(self, name)) and getattr(self, name) > 0, "a positive integer")
        for name in ("num_hidden_layers", "chunk_size_feed_forward"):
            value = getattr(self, name)
            self._require(name, _is_integer(value) and value >= 0, "an integer of at least 0")
        switches = ("is_decoder", "add_cross_attention", "use_cache", "return_dict")
        for name in (*switches, "output_attentions", "output_hidden_states"):
            self._require(name, isinstance(getattr(self, name), bool), "true or false")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob"):
            value = getattr(self, name)
            self._require(name, _is_number(value) and 0 <= value < 1, "a probability in [0, 1)")
        for name in ("layer_norm_eps", "initializer_range"):
            value = getattr(self, name)
            self._require(name, _is_number(value) and value >= 0, "a finite number of at least 0")
        self._require("hidden_act", self.hidden_act in list(HIDDEN_ACT), f"one of {', '.join(sorted(HIDDEN_ACT))}")
        heads = self.num_attention_heads
        self._require("hidden_size", self.hidden_size % heads == 0, f"a multiple of num_attention_heads ({heads})")
        pad, vocabulary = self.pad_token_id, self.vocab_size
        is_id = pad is None or (_is_integer(pad) and 0 <= pad < vocabulary)
        self._require("pad_token_id", is_id, f"an id below vocab_size ({vocabulary})")
        kinds = (None, "regression", "single_label_classification", "multi_label_classification")
        self._require("problem_type", self.problem_type in kinds, f"one of {', '.join(map(str, kinds))}")

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"RemBertConfig: {name} must be {what}, got {getattr(self, name)!r}")

    def to_dict(self) -> dict[str, Any]:
        """What goes into config.json."""
        values = asdict(self)
        extra = values.pop("extra")
        values["id2label"] = {str(i): label for i, label in self.id2label.items()}
        derived = {"label2id": self.label2id, "model_type": "rembert", "tie_word_embeddings": False}
        return {**extra, **values, **derived}

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes folder/config.json."""
        folder = as_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomically(folder / "config.json", json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n")

    @classmethod
    def from_pretrained(cls, folder: str | Path, **changes: Any) -> "RemBertConfig":
        """Reads folder/config.json, then applies `changes`. Raises FileNotFoundError or ValueError, naming the file."""
        path = as_folder(folder) / "config.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist: {folder} is not a folder with a saved model")
        values = read_json(path)
        for name in {"self", "extra"} & values.keys():  # names of ours that no file may set
            raise ValueError(f"{path}: {name} is no field of a configuration")
        kind = values.get("model_type", "rembert")
        if kind != "rembert":
            raise ValueError(f"{path} describes a model of the type {kind!r}, not 'rembert'")
        if "num_labels" in changes:  # a new number of labels makes the stored names meaningless
            values.pop("id2label", None)
        return cls(**{**values, **changes})
