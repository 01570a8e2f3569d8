"""What each knob of a world, a lab language, a task and an experiment with a head does, in corpora of a few dozen sentences."""

import random
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from cases import Changes, Settings

from minirembert.corpus import CONCEPTS, Event, Meaning, NounPhrase
from minirembert.lab.jobs import Context
from minirembert.lab.model import LabModel
from minirembert.lab.rank_of_head import HeadExperiment
from minirembert.lab.tasks import TASKS, Task, fine_tune, score
from minirembert.lab.tasks.split import Split
from minirembert.lab.tasks.task import accuracy
from minirembert.lab.variant import Variant
from minirembert.lab.world import LabLanguage, World, build_corpus
from minirembert.model.tasks import RemBertForSequenceClassification

# ------------------------------------------------------------------------------------------------------ worlds


class Built(NamedTuple):
    """A corpus, as what is said and how."""

    names: tuple[str, ...]
    train: dict[str, list[str]]  # keys of meanings, by language
    validation: list[str]
    test: list[str]
    lines: dict[str, list[str]]  # the test as it is said
    pieces: int
    shared: int


def _world(changed: Mapping[str, Any]) -> Built:
    it = build_corpus(World(**{"sentences": 30, "held_out": 10, "breadth": 0.0} | dict(changed)), seed=1)
    names = it.world.language_names
    return Built(
        names,
        {name: [meaning.key for meaning in meanings] for name, meanings in it.train.items()},
        [meaning.key for meaning in it.validation],
        [meaning.key for meaning in it.test],
        {name: [it.realize(meaning, name).text for meaning in it.test] for name in names},
        len(it.pieces),
        len(it.shared_ids),
    )


def _says_the_same(before: Built, after: Built) -> bool:
    return before[1:4] == after[1:4] and before.lines != after.lines


def _orders_take_turns(before: Built, after: Built) -> bool:
    """The first language is as it was; the second has the same words in another order."""
    words = [[sorted(line.split()) for line in built.lines["b"]] for built in (before, after)]
    return _says_the_same(before, after) and before.lines["a"] == after.lines["a"] and words[0] == words[1]


def _dealt_out(before: Built, after: Built) -> bool:
    """Three languages in turn, where there were two: the same meanings first, and more of them."""
    told = [[m for row in zip(*built.train.values(), strict=True) for m in row] for built in (before, after)]
    return (
        after.names == ("a", "b", "c") and told[1][:60] == told[0] and len(told[1]) == 90 and before.test == after.test
    )


def _only_frequent(before: Built, after: Built) -> bool:
    return before.pieces > 1.5 * after.pieces and before.train != after.train and len(after.test) == 10


WORLD = Settings(
    World,
    tuple(field.name for field in fields(World)),
    _world,
    {
        "track": Changes("real", lambda before, after: after.names == ("en", "es") and before[2:4] == after[2:4]
            and [*before.train.values()] == [*after.train.values()]),
        "languages": Changes(3, _dealt_out),
        "overlap": Changes(0.5, lambda before, after: _says_the_same(before, after) and after.shared > 2 * before.shared),
        "order": Changes("mixed", _orders_take_turns),
        "synonyms": Changes(
            3, lambda before, after: _says_the_same(before, after) and after.pieces - 9 == 3 * (before.pieces - 9)
        ),
        "parallel": Changes(
            True,
            lambda before, after: after.train["a"] == after.train["b"]
            and after.train["a"][::2] == before.train["a"][:15]
            and not set(before.train["a"]) & set(before.train["b"]),
        ),
        "breadth": Changes(1.5, _only_frequent),
        "silent": Changes(
            1,
            lambda before, after: after.train["b"] == [] and len(after.train["a"]) == 30
            and after.lines["b"] == before.lines["b"] and after.pieces == before.pieces,
        ),
        "sentences": Changes(
            31,
            lambda before, after: all(
                after.train[name][:30] == before.train[name] and len(after.train[name]) == 31 for name in "ab"
            ) and after.test == before.test,
        ),
        "held_out": Changes(
            12,
            lambda before, after: after.test[:10] == before.test and after.validation[:10] == before.validation
            and len(after.test) == len(after.validation) == 12 and after.train == before.train,
        ),
    },
)  # fmt: skip

# --------------------------------------------------------------------------------------------------- languages

MEANINGS = tuple(
    Meaning(Event("to_chase", NounPhrase(noun, "many", "big"), NounPhrase("mouse", "two", adjective), time="noon"))
    for noun in ("dog", "cat", "lion", "wolf", "fox", "boy", "girl", "tiger")
    for adjective in ("white", "black", "brown")
)


def _language(changed: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    language = LabLanguage(**{"name": "x", "overlap": 0.3} | dict(changed))
    said = tuple(language.realize(meaning).text for meaning in MEANINGS)
    words = tuple(word for concept in CONCEPTS for word in language.words(concept))
    return said, words


def _without_name(said: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text.replace("x:", "").replace("y:", "") for text in said)


def _shared(words: tuple[str, ...]) -> set[str]:
    return {word for word in words if ":" not in word}


LANGUAGE = Settings(
    LabLanguage,
    tuple(field.name for field in fields(LabLanguage)),
    _language,
    {
        "name": Changes(
            "y",
            lambda before, after: before[0] != after[0] and _without_name(before[0]) == _without_name(after[0])
            and _shared(before[1]) == _shared(after[1]),
        ),
        "order": Changes(
            "sov-na",
            lambda before, after: before[1] == after[1] and before[0] != after[0]
            and [sorted(text.split()) for text in before[0]] == [sorted(text.split()) for text in after[0]],
        ),
        "overlap": Changes(
            0.6,
            lambda before, after: _shared(before[1]) < _shared(after[1])
            and _without_name(before[0]) == _without_name(after[0]),
        ),
        "synonyms": Changes(
            3, lambda before, after: len(set(after[1])) == 3 * len(set(before[1]))
            and len({word for text in after[0] for word in text.split() if "mouse." in word}) > 0,
        ),
        "seed": Changes(
            1,
            lambda before, after: _shared(before[1]) != _shared(after[1])
            and _without_name(before[0]) == _without_name(after[0]),
        ),
    },
)  # fmt: skip

# ------------------------------------------------------------------------------------------------------- tasks


@cache
def _corpus() -> Any:
    return build_corpus(World(sentences=60, held_out=40, breadth=0.0), seed=1)


class Made(NamedTuple):
    """What comes of a task: examples to learn from and to be scored on, what they ask, a model of it, and its score."""

    learned: tuple[tuple[int, ...], ...]
    asked: tuple[tuple[int, ...], ...]
    answers: tuple[int, ...]
    logits: int  # classes of the model
    model: str
    rates: tuple[float, ...]  # a number for each step
    score: dict[str, float]


def _task(changed: Mapping[str, Any]) -> Made:
    import minirembert.lab.tasks.finetune as finetune

    task = replace(TASKS["inference"], **changed)
    it = _corpus()
    train, test = (task.examples(it, "a", split, count, seed=2) for split, count in (("train", 12), ("test", 8)))
    model = LabModel(
        Variant(input_embedding_size=4, output_embedding_size=4, hidden_size=4, num_hidden_layers=1, num_attention_heads=1)
        .sizes(len(it.pieces)), seed=0,
    )  # fmt: skip
    rates: list[float] = []
    real = finetune.learning_rate_at
    try:
        finetune.learning_rate_at = lambda *asked: rates.append(real(*asked)) or rates[-1]  # type: ignore[func-returns-value]
        tuned = fine_tune(model, task, train, steps=2, batch_size=6)
    finally:
        finetune.learning_rate_at = real

    def rows(some: Any) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(row) for row in some.inputs["input_ids"].tolist())

    return Made(
        rows(train), rows(test), tuple(test.labels["labels"].tolist()), tuned.config.num_labels, type(tuned).__name__,
        tuple(rates), score(tuned, task, test),
    )  # fmt: skip


class Other(RemBertForSequenceClassification):
    """The same by another name."""


def _first_meaning_alone(split: Split, rng: random.Random) -> Any:
    """Items of which the premise is the hypothesis."""
    item = TASKS["inference"].draw(split, rng)
    return None if item is None else item._replace(hypothesis=item.premise)


def _says_it_twice(row: tuple[int, ...]) -> bool:
    """[CLS], a sentence, [SEP], the same sentence, [SEP], and padding."""
    words = [id for id in row if id]
    half = len(words) // 2
    return words[1:half] == words[half + 1 : -1]


def _say_backwards(corpus: Any, language: str, item: Any) -> Any:
    said = TASKS["inference"].say(corpus, language, item)
    return said._replace(first=said.first[::-1])


def _doubled(outputs: Any, examples: Any) -> dict[str, float]:
    return {"score": accuracy(outputs, examples)["score"] / 2, "twice": 1.0}


TASK = Settings(
    Task,
    tuple(field.name for field in fields(Task)),
    _task,
    {
        "name": Changes(
            "another",  # a task of its own has items of its own
            lambda before, after: before.learned != after.learned and before.asked != after.asked,
        ),
        "model_class": Changes(Other, lambda before, after: after.model == "Other" and after[:4] == before[:4]),
        "answers": Changes(
            ("entailment", "neutral", "contradiction", "unknown"),
            lambda before, after: (before.logits, after.logits) == (3, 4) and after[:3] == before[:3],
        ),
        "draw": Changes(
            _first_meaning_alone,
            lambda before, after: before.asked != after.asked and all(map(_says_it_twice, after.asked)),
        ),
        "say": Changes(
            _say_backwards,
            lambda before, after: before.answers == after.answers and before.asked != after.asked
            and [sorted(row) for row in before.asked] == [sorted(row) for row in after.asked],
        ),
        "score": Changes(
            _doubled, lambda before, after: after.score == {"score": before.score["score"] / 2, "twice": 1.0}
        ),
        "most": Changes(
            5, lambda before, after: before.learned[0][:5] == after.learned[0][:5] and len(after.learned) == 5
            and len(before.learned) == 12 and after.asked == before.asked,
        ),
        "times": Changes(
            4, lambda before, after: (len(before.rates), len(after.rates)) == (2, 8) and after[:5] == before[:5]
        ),
    },
)  # fmt: skip

# -------------------------------------------------------------------------------------- an experiment with a head


class Fitted(NamedTuple):
    found: dict[str, float]
    teacher: bytes
    steps: int
    parameters: int


def _head(changed: Mapping[str, Any]) -> Fitted:
    it = HeadExperiment(
        **{
            "hidden_size": 4,
            "vocab_size": 24,
            "output_embedding_size": 12,
            "contexts": 30,
            "steps": 3,
            "head": "linear",
        }
        | dict(changed)
    )
    steps: list[int] = []
    found = dict(it.run(Context(report=steps.append)))
    model = LabModel(it.sizes)
    size = sum(array.size for name, array in model.parameters.items() if name.startswith("cls.predictions"))
    return Fitted(found, it.teacher().tobytes(), sum(steps), size)


def _fits_the_same(before: Fitted, after: Fitted) -> bool:
    return before.teacher == after.teacher and before.found["kl"] != after.found["kl"]


HEAD = Settings(
    HeadExperiment,
    tuple(field.name for field in fields(HeadExperiment)),
    _head,
    {
        # only through a non-linearity has the rank room for more than H and the bias
        "head": Changes(
            "gelu_ln", lambda before, after: _fits_the_same(before, after) and before.found["rank"] <= 5 < after.found["rank"]
        ),
        "output_embedding_size": Changes(
            2,
            lambda before, after: _fits_the_same(before, after) and (before.found["rank"], after.found["rank"]) == (5, 3),
        ),
        "hidden_size": Changes(
            6,
            lambda before, after: _fits_the_same(before, after) and (before.found["rank"], after.found["rank"]) == (5, 7),
        ),
        "vocab_size": Changes(
            25,
            lambda before, after: len(after.teacher) == 8 * 30 * 25 and after.parameters - before.parameters == 12 + 1,
        ),
        "contexts": Changes(31, lambda before, after: len(after.teacher) == 8 * 31 * 24),
        "spread": Changes(
            4.0,
            # the surer a teacher is, the farther is a fresh head
            lambda before, after: np.frombuffer(after.teacher).max() > np.frombuffer(before.teacher).max()
            and after.found["kl"] > 1.5 * before.found["kl"],
        ),
        "steps": Changes(
            40, lambda before, after: _fits_the_same(before, after) and after.steps == 40
            and after.found["kl"] < before.found["kl"],
        ),
        "learning_rate": Changes(1e-9, lambda before, after: before.found["kl"] < after.found["kl"]),
        "seed": Changes(
            1, lambda before, after: before.teacher != after.teacher and before.found["kl"] != after.found["kl"]
        ),
    },
)  # fmt: skip

SETTINGS = [WORLD, LANGUAGE, TASK, HEAD]
NO_SETTINGS = {
    "Concept": "a row of the inventory",
    "VerbFrame": "a row of the inventory",
    "NounPhrase": "a part of a meaning",
    "Event": "a part of a meaning",
    "Meaning": "what is said",
    "Corpus": "what came of a world and a seed",
    "Examples": "arrays",
}
COMMANDS: dict[str, type] = {}
OPTIONS = {
    f"corpus {option}": "test_corpus_rules.py::test_the_options_of_the_command"
    for option in ("--out", "--sentences", "--seed", "--parallel")
}
