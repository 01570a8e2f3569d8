"""The configuration: every size and switch of the model.

The defaults are google/rembert's. The letters are the ones used for shapes throughout the project.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minirembert.files import JSON_LIMIT, as_folder, json_text, read_json, write_text_atomically
from minirembert.ops.activations import HIDDEN_ACT
from minirembert.scalars import is_integer, is_number, is_switch, plain

MOST_LABELS = 2**20
LABEL_FIELDS = ("num_labels", "id2label", "label2id")


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
        """`num_labels`, `id2label` and `label2id` say one thing: any of them is enough, and where several are given they have
        to agree.
        """
        num_labels, id2label, label2id = (values.pop(name, None) for name in LABEL_FIELDS)
        for name in ("model_type", "tie_word_embeddings"):  # RemBERT's are never tied, whatever a file says
            values.pop(name, None)
        self.extra = {}
        for name, f in self.__dataclass_fields__.items():
            default = f.default_factory() if callable(f.default_factory) else f.default
            setattr(self, name, values.pop(name, default))
        self.extra = {**self.extra, **values}
        self._name_labels(num_labels, id2label, label2id)
        self._check()

    def __setattr__(self, name: str, value: Any) -> None:
        """NumPy's scalars become Python's own; what a configuration does not know goes to `extra`."""
        if name == "id2label":
            value = _label_names(value)
        elif name == "extra":
            if not isinstance(value, Mapping):
                raise ValueError(f"RemBertConfig: extra must be a mapping from names to values, got {value!r}")
        elif name.endswith("_token_id") and isinstance(value, np.ndarray):
            value = value.tolist()
        if name in self.__dataclass_fields__ or hasattr(type(self), name):
            object.__setattr__(self, name, plain(value))
        else:
            self.extra[name] = value

    def __getattr__(self, name: str) -> Any:
        """What a file or a caller had besides is an attribute, too."""
        extra = self.__dict__.get("extra", {})
        if name not in extra:
            raise AttributeError(f"RemBertConfig has no {name!r}")
        return extra[name]

    @property
    def model_type(self) -> str:
        """What config.json says of the kind of model."""
        return "rembert"

    @property
    def tie_word_embeddings(self) -> bool:
        """RemBERT's input and output embeddings are two matrices, always."""
        return False

    def _name_labels(self, num_labels: Any, id2label: Any, label2id: Any) -> None:
        """What was given of the three, or None. Raises ValueError where they contradict each other."""
        if label2id is not None:
            by_label = _label_names(_inverted(label2id))
            if id2label is None:
                id2label = by_label
            elif {i: str(label) for i, label in _label_names(id2label).items()} != by_label:
                raise ValueError(f"RemBertConfig: label2id {label2id!r} says something else than id2label {id2label!r}")
        if id2label is not None:
            self.id2label = id2label
            if num_labels is not None and _label_count(num_labels) != self.num_labels:
                raise ValueError(
                    f"RemBertConfig: num_labels is {num_labels!r}, but id2label names {self.num_labels} labels"
                )
        elif num_labels is not None:
            self.num_labels = num_labels

    @property
    def num_labels(self) -> int:
        """Set to another number, it gives the labels new names; set to the number there is, it leaves them alone."""
        return len(self.id2label)

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        if _label_count(count) != len(self.id2label):
            self.id2label = {i: f"LABEL_{i}" for i in range(count)}

    @property
    def label2id(self) -> dict[str, int]:
        """The reverse of `id2label`, which follows where this is set."""
        return {label: i for i, label in self.id2label.items()}

    @label2id.setter
    def label2id(self, ids: Mapping[str, int]) -> None:
        self.id2label = _inverted(ids)

    def _check(self) -> None:
        sizes = (
            "vocab_size", "hidden_size", "num_attention_heads", "input_embedding_size", "output_embedding_size",
            "intermediate_size", "max_position_embeddings", "type_vocab_size",
        )  # fmt: skip
        for name in sizes:
            self._require(name, is_integer(getattr(self, name)) and getattr(self, name) > 0, "a positive integer")
        for name in ("num_hidden_layers", "chunk_size_feed_forward"):
            value = getattr(self, name)
            self._require(name, is_integer(value) and value >= 0, "an integer of at least 0")
        switches = ("is_decoder", "add_cross_attention", "use_cache", "return_dict")
        for name in (*switches, "output_attentions", "output_hidden_states"):
            self._require(name, is_switch(getattr(self, name)), "true or false")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob"):
            value = getattr(self, name)
            self._require(name, is_number(value) and 0 <= value < 1, "a probability in [0, 1)")
        for name in ("layer_norm_eps", "initializer_range"):
            value = getattr(self, name)
            self._require(name, is_number(value) and value >= 0, "a finite number of at least 0")
        self._require("hidden_act", self.hidden_act in list(HIDDEN_ACT), f"one of {', '.join(sorted(HIDDEN_ACT))}")
        heads = self.num_attention_heads
        self._require("hidden_size", self.hidden_size % heads == 0, f"a multiple of num_attention_heads ({heads})")
        pad, vocabulary = self.pad_token_id, self.vocab_size
        is_id = pad is None or (is_integer(pad) and 0 <= pad < vocabulary)
        self._require("pad_token_id", is_id, f"an id below vocab_size ({vocabulary})")
        kinds = (None, "regression", "single_label_classification", "multi_label_classification")
        self._require("problem_type", self.problem_type in kinds, f"one of {', '.join(map(str, kinds))}")

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"RemBertConfig: {name} must be {what}, got {getattr(self, name)!r}")

    def to_dict(self) -> dict[str, Any]:
        """What goes into config.json, in a copy."""
        return copy.deepcopy(self._values())

    def _values(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        extra = values.pop("extra")
        values["id2label"] = {str(i): label for i, label in self.id2label.items()}
        ids = {str(label): i for i, label in self.id2label.items()}
        derived = {"label2id": ids, "model_type": self.model_type, "tie_word_embeddings": False}
        return {**extra, **values, **derived}

    def to_json_string(self) -> str:
        """The text of config.json. A dtype is written as its name.

        Raises ValueError, naming the field, for a value that no model can be built from, for one that JSON cannot hold, and for
        a text that `from_pretrained` would refuse as too long.
        """
        self._check()
        text = json_text(self._values(), "RemBertConfig", sort_keys=True)
        if len(text) > JSON_LIMIT:
            raise ValueError(
                f"RemBertConfig: config.json would take {len(text):,} bytes, and {JSON_LIMIT:,} are the limit"
            )
        return text

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes folder/config.json. Raises ValueError as `to_json_string`, before anything is written."""
        folder, text = as_folder(folder), self.to_json_string()
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomically(folder / "config.json", text)

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
        changes = {name: value for name, value in changes.items() if name not in LABEL_FIELDS or value is not None}
        names = values.get("label2id") if values.get("id2label") is None else values["id2label"]
        if values.get("id2label") is not None:
            values.pop("label2id", None)  # the names win where a file contradicts itself
        if {"id2label", "label2id"} & changes.keys():
            values = {name: value for name, value in values.items() if name not in LABEL_FIELDS}
        elif "num_labels" in changes and isinstance(names, Mapping) and len(names) != changes["num_labels"]:
            values.pop("id2label", None)  # another number of labels makes the stored names meaningless
            values.pop("label2id", None)
        return cls(**{**values, **changes})


def _label_count(count: Any) -> int:
    if not is_integer(count) or not 1 <= count <= MOST_LABELS:  # each of them gets a name
        raise ValueError(f"RemBertConfig: num_labels must be an integer from 1 to {MOST_LABELS}, got {count!r}")
    return int(count)


def _label_names(id2label: Any) -> dict[int, str]:
    """In the order of the ids. JSON has no numbers for keys: "0" becomes 0."""

    def require(holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"RemBertConfig: id2label must be {what}, got {id2label!r}")

    require(isinstance(id2label, Mapping), "a mapping from numbers to names")
    names = {str(i): plain(label) for i, label in id2label.items()}
    numbered = 0 < len(names) == len(id2label) and names.keys() == {str(i) for i in range(len(names))}
    require(numbered, "a mapping with the ids 0 to n - 1, at least one of them")
    require(
        len({str(label) for label in names.values()}) == len(names), "a mapping to labels of which no two are alike"
    )
    return {i: names[str(i)] for i in range(len(names))}


def _inverted(label2id: Any) -> dict[Any, Any]:
    """id -> label. Raises ValueError for anything but a mapping, and for two labels with one id."""
    if not isinstance(label2id, Mapping):
        raise ValueError(f"RemBertConfig: label2id must be a mapping from names to numbers, got {label2id!r}")
    inverted = {str(i): label for label, i in label2id.items()}
    if len(inverted) < len(label2id):
        raise ValueError(f"RemBertConfig: label2id must give every label an id of its own, got {label2id!r}")
    return inverted
