"""Tags."""

import random
from collections.abc import Iterator

from minirembert.corpus import CONCEPTS, Meaning, Sentence, Token
from minirembert.lab.tasks.task import Said, Split, Task, accuracy
from minirembert.lab.world import Corpus
from minirembert.model.tasks import RemBertForTokenClassification
from minirembert.ops.losses import IGNORE_INDEX

NUMBERS = ("one", "many")
LABELS = (
    *(f"{role}-{number}" for role in ("subject", "verb", "object", "place") for number in NUMBERS), "PERSON", "PLACE",
)
PHRASES = {"subject": "subject", "object": "object", "goal": "object", "place": "place"}


def tag(token: Token, meaning: Meaning) -> str | None:
    if token.concept is None and token.role not in PHRASES:
        return None
    event = meaning.events[token.clause]
    kind = "" if token.concept is None else CONCEPTS[token.concept].kind
    if kind == "person_name":
        return "PERSON"
    if kind == "place_name":
        return "PLACE"
    if token.role == "verb":
        return "verb-" + NUMBERS[event.subject.plural]
    if token.role in PHRASES:
        return f"{PHRASES[token.role]}-{NUMBERS[getattr(event, PHRASES[token.role]).plural]}"
    return None


def items(split: Split, rng: random.Random) -> Iterator[Meaning]:
    while True:
        yield from rng.sample(split.meanings, len(split.meanings))


def say(corpus: Corpus, language: str, item: Meaning) -> Said:
    sentence = corpus.realize(item, language)
    tags = [tag(token, item) for token in sentence.tokens]
    return Said(corpus.pieces.encode(sentence), None, [IGNORE_INDEX if t is None else LABELS.index(t) for t in tags])


TAGS = Task("tags", RemBertForTokenClassification, LABELS, items, say, accuracy)
