"""Mini-NLI, three-way (after Bowman et al. 2015): what a premise says of a hypothesis.

    two lions chase a goat in the forest      two animals chase a goat              entailment
    two animals chase a goat                  two lions chase a goat                neutral
    two lions do not chase a goat             two lions chase a goat                contradiction
    two animals do not chase a goat           two lions do not chase a goat         entailment: "not" turns it round

A sentence is read as "there is such an event", or with "not" as "there is none". Pairs are drawn from four sentences: a fact,
the same with less said of it, and both denied. Each answer has as many hypotheses that say more as say less, and as many
denied as not: no single word of a hypothesis tells the answer. Two shortcuts remain: sentences that say more are longer, and
a pair of which one is denied is always a contradiction. `baselines.py` measures what a hypothesis alone is worth.
"""

import random
from dataclasses import replace
from typing import NamedTuple

from minirembert.corpus import CONCEPTS, ONE, Event, Meaning, hypernym
from minirembert.lab.tasks.split import Split
from minirembert.lab.tasks.task import Said, Task, accuracy
from minirembert.lab.world import Corpus
from minirembert.model.tasks import RemBertForSequenceClassification

ANSWERS = ("entailment", "neutral", "contradiction")
# Which of the two facts, and whether it is denied.
MORE, LESS, NOT_MORE, NOT_LESS = (0, False), (1, False), (0, True), (1, True)
# Pairs of a premise and a hypothesis, one as likely as another; what stands there twice is twice as likely.
PAIRS = {
    "entailment": ((MORE, LESS), (NOT_LESS, NOT_MORE)),
    "neutral": ((LESS, MORE), (NOT_MORE, NOT_LESS)),
    "contradiction": (
        *((MORE, NOT_MORE), (NOT_LESS, LESS)) * 2,
        *((MORE, NOT_LESS), (LESS, NOT_LESS), (NOT_LESS, MORE), (NOT_MORE, MORE)),
    ),
}


class Pair(NamedTuple):
    """Two meanings, and one of ANSWERS."""

    premise: Meaning
    hypothesis: Meaning
    answer: str


def weaker(event: Event, concepts: frozenset[str]) -> list[Event]:
    """What follows from an event and says less, one step each: without place, time or an adjective, or with a hypernym."""
    found = []
    if event.place is not None:
        found.append(replace(event, relation=None, place=None))
    if event.time is not None:
        found.append(replace(event, time=None))
    for part in ("subject", "object", "place"):
        phrase = getattr(event, part)
        if phrase is None:
            continue
        if phrase.adjective is not None:
            found.append(replace(event, **{part: replace(phrase, adjective=None)}))
        above = hypernym(phrase.noun)
        if above in concepts and (phrase.number == ONE or CONCEPTS[above].counted):
            found.append(replace(event, **{part: replace(phrase, noun=above)}))
    return found


def draw(split: Split, rng: random.Random) -> Pair | None:
    """A pair made of an event and what follows from it, for an answer drawn evenly.

    None where nothing follows from the event, or where the split forbids one of the four meanings made of the two.
    """
    event = rng.choice(split.events)
    options = weaker(event, split.concepts)
    if not options:
        return None
    facts = (event, rng.choice(options))
    said = {
        (which, denied): Meaning(replace(facts[which], negated=denied)) for which in (0, 1) for denied in (False, True)
    }
    if not all(map(split.allows, said.values())):
        return None
    answer = rng.choice(ANSWERS)
    premise, hypothesis = rng.choice(PAIRS[answer])
    return Pair(said[premise], said[hypothesis], answer)


def say(corpus: Corpus, language: str, item: Pair) -> Said:
    """The premise and the hypothesis; the answer is its number in ANSWERS."""
    first, second = corpus.encode([item.premise, item.hypothesis], language)
    return Said(first, second, ANSWERS.index(item.answer))


INFERENCE = Task("inference", RemBertForSequenceClassification, ANSWERS, draw, say, accuracy)
