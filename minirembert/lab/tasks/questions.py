"""Mini-QA."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from minirembert.corpus import Event, Meaning, classes_of
from minirembert.lab.tasks.task import Examples, Said, Split, Task
from minirembert.lab.world import Corpus
from minirembert.model.tasks import RemBertForQuestionAnswering
from minirembert.ops.array import Array

ASKED = {"[WHO]": "subject", "[WHAT]": "object", "[WHERE]": "place", "[WHEN]": "time"}
KNOWN = {"subject": "object", "object": "subject", "place": "subject", "time": "subject"}
LONGEST = 8


class Question(NamedTuple):
    context: tuple[Meaning, ...]
    word: str
    about: int


def only(event, role):
    if role != "place":
        event = replace(event, relation=None, place=None)
    return event if role == "time" else replace(event, time=None)


def items(split: Split, rng: random.Random) -> Iterator[Question | None]:
    events = [event for event in split.events if not event.negated and event.object is not None]
    having = {role: [e for e in events if getattr(e, role) is not None] for role in KNOWN}
    words = list(ASKED)
    while True:
        word = rng.choice(words)
        role = ASKED[word]
        chosen = [only(event, role) for event in rng.sample(having[role], 2)]
        about = rng.randrange(2)
        known = {(event.verb, getattr(event, KNOWN[role])) for event in chosen}
        parts = {getattr(event, role) for event in chosen}
        if len(known) < 2 or len(parts) < 2:
            yield None
            continue
        yield Question(tuple(map(Meaning, chosen)), word, about)


def say(corpus: Corpus, language: str, item: Question) -> Said:
    role = ASKED[item.word]
    same = {"object": ("object", "goal")}
    first, second, answer = [], [], (0, 0)
    for number, meaning in enumerate(item.context):
        sentence = corpus.realize(meaning, language)
        ids = corpus.pieces.encode(sentence)
        if number:
            second.append(corpus.pieces.sep_token_id)
        if number == item.about:
            roles = ["object" if token.role == "goal" else token.role for token in sentence.tokens]
            question = [(corpus.pieces.ids[item.word] if it == role else id, it) for id, it in zip(ids, roles, strict=True)]
            first = [id for id, it in dict.fromkeys(question) if it in ("verb", KNOWN[role], role)]
            places = [len(second) + place for place, it in enumerate(roles) if it == role]
            answer = (places[0], places[-1])
        second += ids
    return Said(first, second, answer)


def spans(outputs: Sequence[Array], examples: Examples) -> Array:
    """The likeliest span of each example, (N, 2): the largest sum of a start's and an end's logit, inside the context, no
    longer than LONGEST."""
    start, end = outputs
    inside = (examples.inputs["token_type_ids"] == 1)
    start, end = (np.where(inside, logits, -np.inf) for logits in (start, end))
    S = start.shape[1]
    sums = start[:, :, None] + end[:, None, :]
    length = np.arange(S)[None, :] - np.arange(S)[:, None]
    sums = np.where((length >= 0) & (length < LONGEST), sums, -np.inf).reshape(len(start), -1)
    best = sums.argmax(1)
    return np.stack([best // S, best % S], 1)


def exact_and_f1(found: Array, examples: Examples) -> dict[str, float]:
    gold = np.stack([examples.labels["start_positions"], examples.labels["end_positions"]], 1)
    overlap = np.minimum(found[:, 1], gold[:, 1]) - np.maximum(found[:, 0], gold[:, 0]) + 1
    overlap = np.maximum(overlap, 0)
    both = (found[:, 1] - found[:, 0] + 1) + (gold[:, 1] - gold[:, 0] + 1)
    f1 = float((2 * overlap / both).mean())
    em = float((found == gold).all(1).mean())
    return {"score": (em + f1) / 2, "em": em, "f1": f1}


def score(outputs: Sequence[Array], examples: Examples) -> dict[str, float]:
    return exact_and_f1(spans(outputs, examples), examples)


QUESTIONS = Task("questions", RemBertForQuestionAnswering, ("start", "end"), items, say, score)
