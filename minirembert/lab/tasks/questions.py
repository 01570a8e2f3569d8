"""Mini-QA (after Rajpurkar et al. 2016): a question, two sentences, and the span of them that answers it.

    [WHO] reads a book ?          Omar writes a letter . the young nurse reads a book .          the young nurse
    Omar buys tea [WHERE] ?       Omar buys tea in the market . Anna drinks milk in the park .   in the market

The question is one of the sentences with the answer's part replaced by a question word, and of the rest the verb and the
subject, or the object. The other sentence has a part of the same kind: to find the part is not enough, the sentence has to be
found too. No sentence of pre-training has a question word, and all languages have the same four.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from minirembert.corpus import Event, Meaning
from minirembert.lab.tasks.split import Split
from minirembert.lab.tasks.task import Examples, Said, Task
from minirembert.lab.world import Corpus
from minirembert.model.tasks import RemBertForQuestionAnswering
from minirembert.ops.array import Array

QUESTIONS_ABOUT = {"subject": "[WHO]", "object": "[WHAT]", "place": "[WHERE]", "time": "[WHEN]"}


class Question(NamedTuple):
    """Asks for the `part` of sentence number `about` of `context`."""

    context: tuple[Meaning, Meaning]
    about: int
    part: str


def draw(split: Split, rng: random.Random) -> Question | None:
    """A question about one of two sentences that both have the part asked for.

    None where the part is the same in both, where the question would fit both (the same verb, and the same subject or object),
    and where the split has fewer than two such sentences or forbids one.
    """
    part = rng.choice(tuple(QUESTIONS_ABOUT))
    if len(split.by_part[part]) < 2:
        return None
    one, other = (_without_rest(event, part) for event in rng.sample(split.by_part[part], 2))
    known = "object" if part == "subject" else "subject"
    if getattr(one, part) == getattr(other, part) or (one.verb, getattr(one, known)) == (
        other.verb,
        getattr(other, known),
    ):
        return None
    context = Meaning(one), Meaning(other)
    return Question(context, rng.randrange(2), part) if all(map(split.allows, context)) else None


def _without_rest(event: Event, part: str) -> Event:
    """Short enough for two in a line: place and time are left out unless they are asked for."""
    if part != "place":
        event = replace(event, relation=None, place=None)
    return event if part == "time" else replace(event, time=None)


def say(corpus: Corpus, language: str, item: Question) -> Said:
    """The question, and the two sentences with [SEP] between them; the answer is the span of the part."""
    asked = ("verb", "subject", "object") if item.part == "subject" else ("verb", "subject", item.part)
    question: list[int] = []
    context: list[int] = []
    answer = (0, 0)
    for number, meaning in enumerate(item.context):
        sentence = corpus.realize(meaning, language)
        parts = ["object" if token.role == "goal" else token.role for token in sentence.tokens]
        ids = corpus.pieces.encode(sentence)
        if number == item.about:
            places = [place for place, part in enumerate(parts) if part == item.part]
            answer = len(context) + places[0], len(context) + places[-1]
            for place, (id, part) in enumerate(zip(ids, parts, strict=True)):
                if part == item.part:
                    question += [corpus.pieces.ids[QUESTIONS_ABOUT[part]]] if place == places[0] else []
                elif part in asked:
                    question.append(id)
        context += ids if number else [*ids, corpus.pieces.sep_token_id]
    return Said(question, context, answer)


def spans(outputs: Sequence[Array], examples: Examples) -> Integer[Array, "N 2"]:
    """The first and the last position of the span with the largest sum of both logits: inside the context, of any length."""
    inside = examples.inputs["token_type_ids"] == 1
    start, end = (np.where(inside, logits, -np.inf) for logits in outputs)
    S = inside.shape[1]
    sums = start[:, :, None] + end[:, None, :]
    best = np.where(np.triu(np.ones((S, S), bool)), sums, -np.inf).reshape(len(sums), -1).argmax(axis=1)
    return np.stack([best // S, best % S], axis=1)


def exact_and_f1(found: Integer[Array, "N 2"], true: Integer[Array, "N 2"]) -> dict[str, float]:
    """SQuAD's two scores of spans, by position: how many are right, and the mean F1 of their pieces; `score` is the mean."""
    common = np.minimum(found[:, 1], true[:, 1]) - np.maximum(found[:, 0], true[:, 0]) + 1
    sizes = (found[:, 1] - found[:, 0] + 1) + (true[:, 1] - true[:, 0] + 1)
    exact = float((found == true).all(axis=1).mean())
    f1 = float((2 * np.maximum(common, 0) / sizes).mean())
    return {"score": (exact + f1) / 2, "em": exact, "f1": f1}


def score(outputs: Sequence[Array], examples: Examples) -> dict[str, float]:
    """`exact_and_f1` of start and end logits, (N, S) each."""
    true = np.stack([examples.labels["start_positions"], examples.labels["end_positions"]], axis=1)
    return exact_and_f1(spans(outputs, examples), true)


QUESTIONS = Task("questions", RemBertForQuestionAnswering, ("start", "end"), draw, say, score, times=3)
