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

from minirembert.corpus import CONCEPTS, ONE, Event, Meaning, NounPhrase
from minirembert.lab.tasks.task import Said, Split, Task, accuracy
from minirembert.lab.world import Corpus
from minirembert.model.tasks import RemBertForSequenceClassification

import os
SWAP = float(os.environ.get("SWAP", "0.5"))
LABELS = ("different", "same")


class Pair(NamedTuple):
    first: Meaning
    second: Meaning
    same: bool


PARTS = (("subject", "object"), ("subject", "place"), ("object", "place"))


def exchanges(event: Event) -> list[Event]:
    """The event with the nouns, the adjectives or the numbers of two of its phrases exchanged: other claims, same words."""
    found = []
    for one, other in PARTS:
        mine, yours = getattr(event, one), getattr(event, other)
        if mine is None or yours is None:
            continue
        for field in ("noun", "adjective", "number"):
            here, there = getattr(mine, field), getattr(yours, field)
            changed = replace(mine, **{field: there}), replace(yours, **{field: here})
            if here != there and all(map(can_be, changed)):
                found.append(replace(event, **{one: changed[0], other: changed[1]}))
    return found


def can_be(phrase: NounPhrase) -> bool:
    """Names take no adjective, and mass nouns and names no number."""
    concept = CONCEPTS[phrase.noun]
    return (phrase.number == ONE or concept.counted) and (phrase.adjective is None or concept.kind == "noun")


def items(split: Split, rng: random.Random) -> Iterator[Pair | None]:
    while True:
        event = rng.choice(split.events)
        options = exchanges(event)
        if not options:
            yield None
            continue
        both = [Meaning(event), Meaning(rng.choice(options))]
        rng.shuffle(both)
        if not all(map(split.allows, both)):
            yield None
            continue
        same = rng.random() < 0.5
        yield Pair(both[0], both[0 if same else 1], same)


def say(corpus: Corpus, language: str, item: Pair) -> Said:
    first, second = corpus.encode([item.first, item.second], language)
    return Said(first, second, LABELS.index("same" if item.same else "different"))


PARAPHRASE = Task("paraphrase", RemBertForSequenceClassification, LABELS, items, say, accuracy)
