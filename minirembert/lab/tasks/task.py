"""What a task is: labelled examples made of meanings, one of RemBERT's classes to learn them, a score.

A task first makes *items*, which are in no language: meanings, changed or put together, and what is asked about them. An
item is then said in a language, and its answer with it. So the test examples of two languages say the same.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer

from minirembert.lab.tasks.split import Split
from minirembert.lab.variant import POSITIONS
from minirembert.lab.world import Corpus, Pieces
from minirembert.model.base import RemBertPreTrainedModel
from minirembert.ops.array import Array
from minirembert.ops.losses import IGNORE_INDEX

PATIENCE = 20_000  # draws in a row that bring no new example, until a corpus counts as too small
Item = Any  # what a task asks, in no language: each task has its own kind


class Said(NamedTuple):
    """An item in a language, as ids without specials.

    `answer` is a class; or a tag for each id of `first`, -100 where none is asked for; or the first and the last place of a
    span of `second`.
    """

    first: list[int]
    second: list[int] | None
    answer: Any


@dataclass(frozen=True)
class Examples:
    """N labelled examples of one language, padded to the longest of them, S pieces.

    `inputs` and `labels` together are keyword arguments of the task's class. All arrays are int64: (N, S), but classes and
    the positions of spans are (N,).
    """

    inputs: Mapping[str, Array]
    labels: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.inputs["input_ids"])

    @property
    def lengths(self) -> Integer[Array, " N"]:
        """Pieces of each example, with [CLS] and [SEP]."""
        lengths: Array = self.inputs["attention_mask"].sum(axis=1)
        return lengths

    def batch(self, rows: Integer[Array, " B"]) -> dict[str, Any]:
        """Some of the examples, padded to the longest of these."""
        longest = int(self.lengths[rows].max())
        every = {**self.inputs, **self.labels}
        return {name: array[rows, :longest] if array.ndim == 2 else array[rows] for name, array in every.items()}


@dataclass(frozen=True)
class Task:
    """One task. `answers` are the classes, in the order of the logits; of a span, its two ends.

    `draw` makes an item of a split, or None where the dice made none of use; `say` says it in a language; `score` compares
    the model's outputs (see `finetune.outputs`) with the labels, higher is better, "score" in [0, 1]. `most` is how many
    examples there are to learn from, however many are asked for: with more of them an easy task says nothing of a model.
    Fine-tuning takes `times` as many steps as it is asked for: a hard task is learned more slowly.
    """

    name: str
    model_class: type[RemBertPreTrainedModel]
    answers: tuple[str, ...]
    draw: Callable[[Split, random.Random], Item | None]
    say: Callable[[Corpus, str, Item], Said]
    score: Callable[[Sequence[Array], Examples], dict[str, float]]
    most: int | None = None
    times: int = 1

    def examples(self, corpus: Corpus, language: str, split: str, count: int, seed: int = 0) -> Examples:
        """`count` different examples: of "train" made of what `language` read, of "test" of what was kept back from all.

        With one seed the test examples of all languages are the same items. Raises ValueError for a count below 1, an
        unknown language or split, and for a corpus that has too few meanings.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        if split == "train" and self.most is not None:
            count = min(count, self.most)
        items = self._items(
            Split(corpus, language, split), language, count, random.Random(f"{self.name}|{split}|{seed}")
        )
        return _padded([self.say(corpus, language, item) for item in items], corpus.pieces)

    def _items(self, split: Split, language: str, count: int, rng: random.Random) -> list[Item]:
        corpus = split.corpus
        # Lab languages say everything with equally many words; a real one may need more than another.
        languages = (language,) if corpus.world.track == "lab" else corpus.world.language_names
        found: dict[Item, None] = {}
        since = 0 if split.events else PATIENCE
        while since < PATIENCE:
            item = self.draw(split, rng)
            since += 1
            if item is None or item in found:
                continue
            if all(_length(self.say(corpus, name, item)) <= POSITIONS for name in languages):
                found[item] = None
                since = 0
            if len(found) == count:
                return list(found)
        raise ValueError(
            f"{self.name}: this corpus has {len(split.meanings)} meanings in its {split.name} split, which make "
            f"{len(found)} examples, and {count} are wanted"
        )


def accuracy(outputs: Sequence[Array], examples: Examples) -> dict[str, float]:
    """The share of all labels that have the largest logit: outputs[0] is (N, C) for classes, (N, S, C) for tags."""
    labels = examples.labels["labels"]
    asked = labels != IGNORE_INDEX
    return {"score": float((outputs[0].argmax(axis=-1) == labels)[asked].mean())}


def _length(said: Said) -> int:
    return len(said.first) + 2 + (0 if said.second is None else len(said.second) + 1)


def _padded(said: Sequence[Said], pieces: Pieces) -> Examples:
    shape = (len(said), max(map(_length, said)))
    ids = np.full(shape, pieces.pad_token_id, np.int64)
    mask, types, tags = np.zeros_like(ids), np.zeros_like(ids), np.full_like(ids, IGNORE_INDEX)
    for row, (first, second, answer) in enumerate(said):
        line = [pieces.cls_token_id, *first, pieces.sep_token_id]
        if second is None:
            tags[row, 1 : 1 + len(first)] = answer
        else:
            types[row, len(line) : len(line) + len(second) + 1] = 1
            line += [*second, pieces.sep_token_id]
        ids[row, : len(line)] = line
        mask[row, : len(line)] = 1
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    if said[0].second is None:
        return Examples(inputs, {"labels": tags})
    if isinstance(said[0].answer, int):
        return Examples(inputs, {"labels": np.array([it.answer for it in said], np.int64)})
    places = np.array([[len(it.first) + 2 + place for place in it.answer] for it in said], np.int64)
    return Examples(inputs, {"start_positions": places[:, 0], "end_positions": places[:, 1]})
