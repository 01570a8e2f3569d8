"""Which meanings there are, and how often: a seeded sampler.

A masked language model can only learn what the context decides. So every choice depends on choices made
before it:

    verb     Zipf over the verbs
    subject  frequency in its class  x  the verb's taste
    object   frequency in its class  x  the verb's taste  x  the subject's taste
    place    the verb's places       x  the verb's taste
    time     frequency               x  the verb's taste
    adjective, numeral               x  the noun's taste

A taste is a number from 1 to 1 + TASTE for a pair of concepts, drawn from a hash of the pair. Most pairs are
near 1, about one in ten is far above: nurses like apples, and they do so with any seed. Tastes are
arbitrary on purpose. Classes alone would make all nouns of a class alike, and then a small embedding could
hold all there is to know about them.

The second clause shares its verb or its object with the first, so that a masked word can be found by looking
back.
"""

import random
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from hashlib import blake2b
from itertools import accumulate, islice
from operator import mul

from .concepts import (
    ADJECTIVE_NOUNS,
    ATTITUDES,
    CLASS_PARENT,
    CONCEPTS,
    CONNECTIVES,
    NOUN_CONCEPTS,
    NUMERALS,
    PLACE_NAME_RELATIONS,
    RELATIONS,
    TIMES,
    VERB_FRAMES,
    select,
)
from .meaning import MANY, ONE, Event, Meaning, NounPhrase

TASTE = 30.0
MAX_MEANINGS = 5_000_000
"""More distinct meanings than this are refused: the frequent ones are used up, and sampling slows down."""

# Every sentence has 5 to 16 words in every language. To know without saying the sentence, this table lists
# how many words each part takes at most, besides one for each noun: the verb with its auxiliary and its
# preposition, the negation, the time, the preposition of a place, what a counted noun brings with it
# (article, measure word, a second word of its own) and an adjective. Esperanto never needs more than English.
FEWEST_CONTENT_WORDS = 5
MOST_WORDS = 16
WORDS_AT_MOST = {
    #      verb  not  time  place  counted  adjective
    "en": (2, 2, 2, 3, 1, 1),
    "es": (2, 1, 2, 3, 1, 1),
    "id": (2, 1, 3, 2, 2, 1),
    "zh": (2, 1, 3, 2, 2, 2),
    "hi": (4, 1, 2, 3, 0, 2),
}


def taste(kind: str, first: str, second: str) -> float:
    """How much `first` prefers `second`: between 1 and 1 + TASTE, the same in every run."""
    digest = blake2b(f"{kind}|{first}|{second}".encode(), digest_size=8).digest()
    return 1.0 + TASTE * (int.from_bytes(digest, "big") / 2**64) ** 12


class Choice:
    """A weighted choice among concepts, drawn with one random number."""

    def __init__(self, options: Sequence[str], weights: Sequence[float]) -> None:
        self.options = tuple(options)
        self._sums = list(accumulate(weights))

    def draw(self, rng: random.Random) -> str:
        """One of the options, each with a probability proportional to its weight."""
        # rng.random() alone is promised to stay the same in every version of Python.
        return self.options[bisect(self._sums, rng.random() * self._sums[-1], 0, len(self.options) - 1)]


def _zipf(rank: int, flattening: float = 2.0) -> float:
    return 1.0 / (rank + 1.0 + flattening)


@cache
def _frequencies() -> dict[str, float]:
    """Every noun's and name's frequency: Zipf by its rank in its class."""
    seen: dict[str, int] = {}
    frequencies = {}
    for noun, concept in NOUN_CONCEPTS.items():
        noun_class = concept.noun_class or ""
        frequencies[noun] = _zipf(seen.get(noun_class, 0))
        seen[noun_class] = seen.get(noun_class, 0) + 1
        if concept.kind == "person_name":
            # Names take no adjective and no number, so half as many leave more to learn.
            frequencies[noun] *= 0.5
    # A noun that names a class stands alone in it, or last: neither is how often one says "animal" or "tool".
    for noun in CLASS_PARENT:
        if noun in frequencies:
            frequencies[noun] = _zipf(6)
    return frequencies


@cache
def _verbs() -> Choice:
    verbs = tuple(VERB_FRAMES)
    return Choice(verbs, [_zipf(rank, 8.0) for rank in range(len(verbs))])


@cache
def _subjects(verb: str) -> Choice:
    nouns = VERB_FRAMES[verb].subjects
    return Choice(nouns, [_frequencies()[noun] * taste("subject", verb, noun) for noun in nouns])


@cache
def _objects(verb: str, subject: str) -> Choice:
    nouns = [noun for noun in VERB_FRAMES[verb].objects if noun != subject]
    weights = [_frequencies()[noun] * taste("object", verb, noun) * taste("likes", subject, noun) for noun in nouns]
    return Choice(nouns, weights)


@cache
def _places(verb: str) -> Choice:
    places = VERB_FRAMES[verb].places
    return Choice(places, [_zipf(rank) * taste("place", verb, place) for rank, place in enumerate(places)])


@cache
def _towns(subject: str) -> Choice:
    towns = select("place_name")
    return Choice(towns, [_frequencies()[town] * taste("town", subject, town) for town in towns])


@cache
def _times(verb: str) -> Choice:
    times = TIMES.split()
    return Choice(times, [_zipf(rank) * taste("time", verb, time) for rank, time in enumerate(times)])


@cache
def _relations(place: str) -> Choice:
    relations = PLACE_NAME_RELATIONS if CONCEPTS[place].kind == "place_name" else RELATIONS.split()
    weights = [(6.0 if relation == "in" else 0.3) * taste("relation", place, relation) ** 0.5 for relation in relations]
    return Choice(relations, weights)


@cache
def _numerals(noun: str) -> Choice:
    numerals = NUMERALS.split()
    return Choice(numerals, [_zipf(rank) * taste("number", noun, numeral) for rank, numeral in enumerate(numerals)])


@cache
def _adjectives(noun: str) -> Choice | None:
    adjectives = [adjective for adjective, nouns in ADJECTIVE_NOUNS.items() if noun in nouns]
    if not adjectives:
        return None
    weights = [_zipf(rank, 3.0) * taste("adjective", noun, adjective) for rank, adjective in enumerate(adjectives)]
    return Choice(adjectives, weights)


@cache
def _verbs_for(noun: str, among: tuple[str, ...]) -> Choice | None:
    """Which of some verbs can have a noun as their object."""
    verbs = [verb for verb in among if noun in VERB_FRAMES[verb].objects]
    return (
        Choice(verbs, [_zipf(rank) * taste("object", verb, noun) for rank, verb in enumerate(verbs)]) if verbs else None
    )


def _phrase(rng: random.Random, noun: str, modified: float = 1.0) -> NounPhrase:
    """A noun with a number and perhaps an adjective; `modified` scales how often it has either."""
    concept = NOUN_CONCEPTS[noun]
    if concept.kind != "noun":
        return NounPhrase(noun)
    number = ONE
    if concept.counted:
        luck = rng.random()
        if luck < 0.18 * modified:
            number = _numerals(noun).draw(rng)
        elif luck < 0.30 * modified:
            number = MANY
    adjective = None
    if rng.random() < 0.5 * modified:
        adjectives = _adjectives(noun)
        adjective = adjectives.draw(rng) if adjectives is not None else None
    return NounPhrase(noun, number, adjective)


def _event(rng: random.Random, verb: str, modified: float, adjuncts: float) -> Event:
    """An event with a verb; `adjuncts` scales how often it has a place and a time."""
    frame = VERB_FRAMES[verb]
    if verb in ATTITUDES:
        # Who likes tea likes it everywhere and always.
        adjuncts = 0.0
    subject = _subjects(verb).draw(rng)
    thing = relation = place = None
    if frame.objects:
        thing = _phrase(rng, _objects(verb, subject).draw(rng), modified)
        if frame.motion:
            thing = NounPhrase(thing.noun, ONE, thing.adjective)
    if frame.places and rng.random() < (0.5 if frame.objects else 1.0) * adjuncts:
        town = NOUN_CONCEPTS[subject].noun_class != "plant" and rng.random() < 0.15
        where = _towns(subject).draw(rng) if town else _places(verb).draw(rng)
        if thing is None or where != thing.noun:
            relation = _relations(where).draw(rng)
            place = NounPhrase(where, ONE, _phrase(rng, where, 0.5 * modified).adjective)
    time = _times(verb).draw(rng) if rng.random() < 0.5 * adjuncts else None
    return Event(verb, _phrase(rng, subject, modified), thing, relation, place, time, rng.random() < 0.12)


def _second_event(rng: random.Random, first: Event, connective: str) -> Event | None:
    """What comes after the connective: the same verb or object again, and somebody else who does it."""
    if first.object is None or CONCEPTS[first.object.noun].kind == "place_name":
        verb = first.verb
    elif connective == "because":
        reasons = _verbs_for(first.object.noun, ATTITUDES)
        if reasons is None:
            return None
        verb = reasons.draw(rng)
    elif connective == "but" or rng.random() < 0.5:
        verb = first.verb
    else:
        others = _verbs_for(first.object.noun, tuple(VERB_FRAMES))
        verb = others.draw(rng) if others is not None else first.verb
    event = _event(rng, verb, 0.3, 0.5 if first.object is None else 0.0)
    if event.subject.noun == first.subject.noun or (verb == first.verb and connective == "because"):
        return None
    thing, negated = event.object, False
    if first.object is not None and (verb != first.verb or connective == "but"):
        thing = NounPhrase(first.object.noun, ONE if VERB_FRAMES[verb].motion else first.object.number)
        if event.subject.noun == thing.noun:
            return None
    if connective == "but":
        negated = not first.negated
    return Event(verb, event.subject, thing, event.relation, event.place, event.time, negated)


def _fits(meaning: Meaning) -> bool:
    """Whether the meaning has enough content words and no language needs too many words for it."""
    clauses = negations = times = places = nouns = counted = numerals = adjectives = 0
    for event in meaning.events:
        clauses += 1
        negations += event.negated
        times += event.time is not None
        places += event.place is not None
        for phrase in (event.subject, event.object, event.place):
            if phrase is not None:
                nouns += 1
                counted += NOUN_CONCEPTS[phrase.noun].counted
                numerals += phrase.number not in (ONE, MANY)
                adjectives += phrase.adjective is not None
    # The connective and what every language says with one word each.
    content = clauses - 1 + nouns + numerals
    if content + clauses + negations + times + places + adjectives < FEWEST_CONTENT_WORDS:
        return False
    parts = (clauses, negations, times, places, counted, adjectives)
    return all(content + sum(map(mul, parts, costs)) <= MOST_WORDS for costs in WORDS_AT_MOST.values())


def _draw(rng: random.Random) -> Meaning | None:
    """One meaning, or None where the dice made a sentence that is too short, too long or senseless."""
    verb = _verbs().draw(rng)
    if rng.random() < 0.7:
        meaning = Meaning(_event(rng, verb, 1.0, 1.0))
    else:
        connective = CONNECTIVES.split()[int(rng.random() * 3)]
        first = _event(rng, verb, 0.5, 0.3)
        if connective == "because" and first.object is None:
            return None
        if connective != "but":
            first = replace(first, negated=False)
        second = _second_event(rng, first, connective)
        if second is None:
            return None
        meaning = Meaning(first, connective, second)
    return meaning if _fits(meaning) else None


def iter_meanings(seed: int) -> Iterator[Meaning]:
    """Distinct meanings without end, in an order that depends on the seed alone."""
    rng = random.Random(seed)
    seen: set[int] = set()
    while True:
        meaning = _draw(rng)
        if meaning is None:
            continue
        digest = meaning.digest
        if digest not in seen:
            seen.add(digest)
            yield meaning


def sample_meanings(n: int, seed: int) -> list[Meaning]:
    """The first `n` distinct meanings of a seed; a longer list begins with the shorter one."""
    if n < 0:
        raise ValueError(f"the number of meanings is at least 0, not {n}")
    if n > MAX_MEANINGS:
        raise ValueError(f"at most {MAX_MEANINGS} distinct meanings can be sampled, not {n}")
    return list(islice(iter_meanings(seed), n))
