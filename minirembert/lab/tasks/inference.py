"""Mini-NLI."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from minirembert.corpus import CONCEPTS, ONE, Event, Meaning, hypernym
from minirembert.lab.tasks.task import Said, Split, Task, accuracy
from minirembert.lab.world import Corpus
from minirembert.model.tasks import RemBertForSequenceClassification

LABELS = ("entailment", "neutral", "contradiction")


class Pair(NamedTuple):
    premise: Meaning
    hypothesis: Meaning
    label: str


def weaker(event: Event, concepts: frozenset[str]) -> list[Event]:
    """What follows from an event and says less of it, one step each: a part left out, or a noun's hypernym."""
    found = []
    if event.place is not None:
        found.append(replace(event, relation=None, place=None))
    if event.time is not None:
        found.append(replace(event, time=None))
    for field in ("subject", "object", "place"):
        phrase = getattr(event, field)
        if phrase is None:
            continue
        if phrase.adjective is not None:
            found.append(replace(event, **{field: replace(phrase, adjective=None)}))
        above = hypernym(phrase.noun)
        if above in concepts and (phrase.number == ONE or CONCEPTS[above].counted):
            found.append(replace(event, **{field: replace(phrase, noun=above)}))
    return found

# premise says (more?, negated?), hypothesis says (more?, negated?)
MORE, LESS = True, False
CELLS = {
    "entailment": [((MORE, False), (LESS, False)), ((LESS, True), (MORE, True))],
    "neutral": [((LESS, False), (MORE, False)), ((MORE, True), (LESS, True))],
    "contradiction": [((MORE, False), (LESS, True)), ((LESS, True), (MORE, False)), ((LESS, False), (LESS, True)),
     ((MORE, True), (MORE, False))],
}

def items(split: Split, rng: random.Random) -> Iterator[Pair | None]:
    concepts = split.corpus.world.concepts()
    while True:
        event = replace(rng.choice(split.events), negated=False)
        options = weaker(event, concepts)
        if not options:
            yield None
            continue
        said = {True: event, False: rng.choice(options)}
        said = {(more, negated): Meaning(replace(it, negated=negated)) for more, it in said.items() for negated in (False, True)}
        if not all(map(split.allows, said.values())):
            yield None
            continue
        label = rng.choice(LABELS)
        premise, hypothesis = rng.choice(CELLS[label])
        yield Pair(said[premise], said[hypothesis], label)


def say(corpus: Corpus, language: str, item: Pair) -> Said:
    first, second = corpus.encode([item.premise, item.hypothesis], language)
    return Said(first, second, LABELS.index(item.label))


INFERENCE = Task("inference", RemBertForSequenceClassification, LABELS, items, say, accuracy)
