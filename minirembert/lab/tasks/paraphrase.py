"""Mini-PAWS (after Zhang, Baldridge and He 2019): do two sentences say the same?

    the girl reads the book and the old cook buys tea     |  the old cook buys tea and the girl reads the book     yes
    the girl reads the book and the old cook buys tea     |  the girl buys tea and the old cook reads the book     no

Both sentences have the same words, in a lab language exactly. Of two clauses and the same two with one thing exchanged, four
pairs can be made: each with itself, each with the other. One of the four is drawn. So neither sentence alone says anything
about the answer, not even by being odd: it has to be compared.
"""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from minirembert.corpus import Event, Meaning
from minirembert.lab.tasks.task import Said, Split, Task, accuracy
from minirembert.lab.world import Corpus
from minirembert.model.tasks import RemBertForSequenceClassification

LABELS = ("different", "same")


class Pair(NamedTuple):
    first: Meaning
    second: Meaning
    same: bool


def exchanges(one: Event, other: Event) -> list[tuple[Event, Event]]:
    """Both events with one thing exchanged between them that makes them say something else."""
    found = []
    for field in ("subject", "object", "place", "time", "negated"):
        mine, yours = getattr(one, field), getattr(other, field)
        if mine == yours or (field != "negated" and (mine is None or yours is None)):
            continue
        found.append((replace(one, **{field: yours}), replace(other, **{field: mine})))
    return [pair for pair in found if {*pair} != {one, other}]


def items(split: Split, rng: random.Random) -> Iterator[Pair | None]:
    short = [event for event in split.events if sum(p is not None for p in (event.place, event.time)) <= 0]
    while True:
        one, other = rng.choice(short), rng.choice(short)
        options = exchanges(one, other)
        if not options:
            yield None
            continue
        meanings = [(one, other), rng.choice(options)]
        rng.shuffle(meanings)
        same = rng.random() < 0.5
        first, second = meanings[0], meanings[0 if same else 1]
        pair = Pair(Meaning(first[0], "and", first[1]), Meaning(second[1], "and", second[0]), same)
        yield pair if split.allows(pair.first) and split.allows(pair.second) else None


def say(corpus: Corpus, language: str, item: Pair) -> Said:
    first, second = corpus.encode([item.first, item.second], language)
    return Said(first, second, LABELS.index("same" if item.same else "different"))


PARAPHRASE = Task("paraphrase", RemBertForSequenceClassification, LABELS, items, say, accuracy)
