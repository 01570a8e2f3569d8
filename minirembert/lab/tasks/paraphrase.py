"""Mini-PAWS (after Zhang, Baldridge and He 2019): whether two sentences with the same words say the same.

    the young doctor loves the happy teacher          the happy doctor loves the young teacher          different
    the girl reads a book and Omar writes a letter    Omar writes a letter and the girl reads a book    same

A pair takes a meaning and the same with two parts exchanged, and says one of them twice, or both. In a lab language of one
word for each concept both sentences have exactly the same words, so a bag of words is at chance. Two clauses around "and" or
"but" stand in the other order in the second sentence; one clause has one order only, so that there the same is an exact copy.

What is exchanged is often odd (the book writes the mother), so either of the two meanings may come first, and second: one of
the four pairs that two meanings make (two the same, two different) is drawn, and neither sentence alone tells anything.
"""

import random
from dataclasses import replace
from typing import NamedTuple

from minirembert.corpus import CONCEPTS, ONE, Event, Meaning, NounPhrase
from minirembert.lab.tasks.split import Split
from minirembert.lab.tasks.task import Said, Task, accuracy
from minirembert.lab.world import Corpus
from minirembert.lab.world.world import exchanged
from minirembert.model.tasks import RemBertForSequenceClassification

ANSWERS = ("different", "same")
PARTS = (("subject", "object"), ("subject", "place"), ("object", "place"))


class Pair(NamedTuple):
    """Two meanings of the same words, and whether they are one."""

    first: Meaning
    second: Meaning
    same: bool


def exchanges(meaning: Meaning) -> list[Meaning]:
    """All meanings of the same words with two parts exchanged: inside the clause, or between two of them."""
    if meaning.second is None:
        return [Meaning(event) for event in _inside(meaning.first)]
    one, other, found = meaning.first, meaning.second, []
    for part in ("subject", "object", "negated"):
        mine, yours = getattr(one, part), getattr(other, part)
        if mine != yours and None not in (mine, yours):
            found.append((replace(one, **{part: yours}), replace(other, **{part: mine})))
    return [Meaning(a, meaning.connective, b) for a, b in found if {a, b} != {one, other}]


def _inside(event: Event) -> list[Event]:
    """The nouns, the adjectives or the numbers of two phrases exchanged."""
    found = []
    for one, other in PARTS:
        mine, yours = getattr(event, one), getattr(event, other)
        if mine is None or yours is None:
            continue
        for field in ("noun", "adjective", "number"):
            here, there = getattr(mine, field), getattr(yours, field)
            changed = replace(mine, **{field: there}), replace(yours, **{field: here})
            if here != there and all(map(_can_be, changed)) and (field != "noun" or not _has_place_name(changed)):
                found.append(replace(event, **{one: changed[0], other: changed[1]}))
    return found


def _can_be(phrase: NounPhrase) -> bool:
    """Names take no adjective; names and what cannot be counted take no number."""
    concept = CONCEPTS[phrase.noun]
    return (phrase.number == ONE or concept.counted) and (phrase.adjective is None or concept.kind == "noun")


def _has_place_name(phrases: tuple[NounPhrase, NounPhrase]) -> bool:
    """Madrid does nothing: some of the real languages could not say it."""
    return any(CONCEPTS[phrase.noun].kind == "place_name" for phrase in phrases)


def draw(split: Split, rng: random.Random) -> Pair | None:
    """The one pair that belongs to a meaning of the split.

    None for clauses joined by "because", where no two parts of the meaning can be exchanged, and where the split forbids a
    sentence that a pair could have.
    """
    meaning = rng.choice(split.meanings)
    options = exchanges(meaning) if meaning.connective != "because" else []
    if not options:
        return None
    # A meaning has one pair, whenever it is drawn. Else, twice drawn, "different" would be another pair more often.
    own = random.Random(meaning.digest)
    told = [meaning, own.choice(options)]
    own.shuffle(told)
    same = own.random() < 0.5
    if not all(split.allows(it) for one in told for it in (one, exchanged(one))):
        return None
    return Pair(told[0], exchanged(told[0 if same else 1]), same)


def say(corpus: Corpus, language: str, item: Pair) -> Said:
    """The two sentences; the answer is 1 where they say the same, else 0."""
    first, second = corpus.encode([item.first, item.second], language)
    return Said(first, second, int(item.same))


PARAPHRASE = Task("paraphrase", RemBertForSequenceClassification, ANSWERS, draw, say, accuracy, times=3)
