"""The split by meaning: what the items of a task may be made of.

Training items are made of meanings that the language read in pre-training, test items of meanings that no language read.
A task changes meanings, and a changed one could be a meaning of the other side. So it is asked about again:

- no meaning that is kept back for measuring stands in a training item, not even as one of two clauses;
- no meaning of a test item was read by any language, changed or not, nor was one of its two clauses by itself.

Not asked: whether a clause was read beside another one.
"""

from functools import cached_property

from minirembert.corpus import Event, Meaning, split_of
from minirembert.lab.world import Corpus

SPLITS = ("train", "test")


class Split:
    """The meanings of one split. Raises ValueError for a split or language that there is not."""

    def __init__(self, corpus: Corpus, language: str, name: str) -> None:
        if name not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {name!r}")
        if language not in corpus.world.language_names:
            raise ValueError(
                f"this world has no language {language!r}; it has {', '.join(corpus.world.language_names)}"
            )
        self.corpus = corpus
        self.name = name
        self.meanings = tuple(corpus.train[language] if name == "train" else corpus.test)
        self.concepts = corpus.world.concepts()

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """The events of all meanings with one clause."""
        return tuple(meaning.first for meaning in self.meanings if meaning.second is None)

    @cached_property
    def by_part(self) -> dict[str, tuple[Event, ...]]:
        """Those that say something true of an object, by what they have: "subject", "object", "place", "time"."""
        told = [event for event in self.events if event.object is not None and not event.negated]
        parts = ("subject", "object", "place", "time")
        return {part: tuple(event for event in told if getattr(event, part) is not None) for part in parts}

    def allows(self, meaning: Meaning) -> bool:
        """Whether a meaning that a task made may stand in an item."""
        parts = {meaning, *(Meaning(event) for event in meaning.events)}
        if self.name == "train":
            return all(split_of(part) == "train" for part in parts)
        return parts.isdisjoint(self.corpus.read)
