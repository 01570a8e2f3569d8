"""What a task is: labelled examples made of meanings, a class of RemBERT's, a score.

A task first makes *items*, which are in no language: meanings, changed or put together, and what is asked about them. An
item is then said in a language, and its label goes with it. So the test examples of two languages say the same.

The split is by meaning. Training items are made of meanings that the language read in pre-training, test items of
meanings kept back from every language. What is changed could become a meaning of the other side, so it is looked at again
(`Split.allows`): nothing that was kept back for measuring stands in a training example, not even as a clause, and no changed
meaning of a test example was read.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minirembert.corpus import Meaning, split_of
from minirembert.lab.variant import POSITIONS
from minirembert.lab.world import Corpus
from minirembert.model.base import RemBertPreTrainedModel
from minirembert.model.tasks import RemBertForQuestionAnswering
from minirembert.ops.array import Array
from minirembert.ops.losses import IGNORE_INDEX

SPLITS = ("train", "test")
TRIES = 200  # items that may be refused for each that is wanted


class Split:
    """The meanings that items of a split are made of, and which changed ones may stand beside them."""

    def __init__(self, corpus: Corpus, language: str, name: str) -> None:
        if name not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {name!r}")
        if language not in corpus.world.language_names:
            raise ValueError(
                f"this world has no language {language!r}; it has {', '.join(corpus.world.language_names)}"
            )
        self.corpus = corpus
        self.name = name
        self.meanings: Sequence[Meaning] = corpus.train[language] if name == "train" else corpus.test
        self.events = [meaning.first for meaning in self.meanings if meaning.second is None]

    def allows(self, meaning: Meaning) -> bool:
        """Whether a meaning that the task made may stand in an example: it, and each of its clauses."""
        parts = {meaning, *(Meaning(event) for event in meaning.events)}
        if self.name == "train":
            return all(split_of(part) == "train" for part in parts)
        return parts.isdisjoint(self.corpus.read)


class Said(NamedTuple):
    """An item in a language. `answer`: a class; or a tag (or -100) for each id of `first`; or the first and last place of the
    answer in `second`."""

    first: list[int]
    second: list[int] | None
    answer: Any


@dataclass(frozen=True)
class Examples:
    """Labelled examples of one language.

    `inputs` and `labels` are keyword arguments of the task's class, int64, padded to the longest example: (N, S) each, but
    labels of sequences and positions (N,).
    """

    inputs: Mapping[str, Array]
    labels: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.inputs["input_ids"])

    @property
    def lengths(self) -> Array:
        """(N,) pieces, with [CLS] and [SEP]."""
        lengths: Array = self.inputs["attention_mask"].sum(axis=1)
        return lengths

    def batch(self, rows: Array) -> dict[str, Array]:
        """Inputs and labels of some rows, padded to the longest of them."""
        longest = int(self.lengths[rows].max())
        every = {**self.inputs, **self.labels}
        return {name: array[rows, :longest] if array.ndim == 2 else array[rows] for name, array in every.items()}


Item = Any  # what a task asks, in no language; each task has its own


@dataclass(frozen=True)
class Task:
    """A task. `items` draws without end what `say` says in a language; `score` compares outputs with labels."""

    name: str
    model_class: type[RemBertPreTrainedModel]
    labels: tuple[str, ...]  # the classes, in the order of the logits; of questions: start and end
    items: Callable[[Split, random.Random], Iterator[Item | None]]  # None: the dice made nothing of use
    say: Callable[[Corpus, str, Item], Said]
    score: Callable[[Sequence[Array], Examples], dict[str, float]]

    @property
    def num_labels(self) -> int:
        return len(self.labels)

    def examples(self, corpus: Corpus, language: str, split: str, count: int, seed: int = 0) -> Examples:
        """`count` examples: of "train" in meanings that `language` read, of "test" in those kept back from all.

        For one seed the test examples of all languages are made of the same items. Raises ValueError for an unknown language
        or split, and where the corpus has too few meanings for so many examples.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        rng = random.Random(f"{self.name}|{split}|{seed}")
        said: list[Said] = []
        tries = 0
        for item in self.items(Split(corpus, language, split), rng):
            tries += 1
            if item is not None and all(_length(self.say(corpus, name, item)) <= POSITIONS for name in corpus.world.language_names):
                said.append(self.say(corpus, language, item))
            if len(said) == count:
                return _padded(self, said, corpus)
            if tries > TRIES * count:
                break
        raise ValueError(
            f"the {split} meanings of this corpus give only {len(said)} of {count} examples for {self.name}: "
            "more sentences or more held_out are needed"
        )


def _length(said: Said) -> int:
    return len(said.first) + 2 + (0 if said.second is None else len(said.second) + 1)


def _padded(task: Task, said: Sequence[Said], corpus: Corpus) -> Examples:
    pieces = corpus.pieces
    shape = (len(said), max(map(_length, said)))
    ids = np.full(shape, pieces.pad_token_id, np.int64)
    mask, types, tags = np.zeros_like(ids), np.zeros_like(ids), np.full_like(ids, IGNORE_INDEX)
    for row, (first, second, answer) in enumerate(said):
        line = [pieces.cls_token_id, *first, pieces.sep_token_id]
        types[row, len(line) :] = second is not None
        line += [] if second is None else [*second, pieces.sep_token_id]
        ids[row, : len(line)], mask[row, : len(line)] = line, 1
        types[row, len(line) :] = 0
        if second is None:
            tags[row, 1 : 1 + len(first)] = answer
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    if said[0].second is None:
        return Examples(inputs, {"labels": tags})
    if task.model_class is RemBertForQuestionAnswering:
        places = np.array([[len(it.first) + 2 + place for place in it.answer] for it in said])
        return Examples(inputs, {"start_positions": places[:, 0], "end_positions": places[:, 1]})
    return Examples(inputs, {"labels": np.array([it.answer for it in said])})


def accuracy(outputs: Sequence[Array], examples: Examples) -> dict[str, float]:
    """The share of the labels, where there is one, that have the largest logit: outputs[0] is (..., classes)."""
    labels = examples.labels["labels"]
    asked = labels != IGNORE_INDEX
    return {"score": float((outputs[0].argmax(-1) == labels)[asked].mean())}
