"""What a score is to be compared with: what can be had without understanding, and what with an ideal teacher.

    majority        always the most frequent answer of training (of spans: the most frequent place in the context)
    words           without order: a linear classifier on the mean input embeddings of both sentences; of tags a look-up of each
                    word's most frequent one; of spans the words of the best-matching sentence that the question has not
    second alone    the model, fine-tuned without the first sentence of its pairs; of questions, without the question
    untrained       the same fine-tuning of fresh weights: what pre-training is worth
    shuffled        the model, fine-tuned with the answers of other examples: what chance looks like
    own language    the model, fine-tuned in the very language that it is scored in: what transfer could reach at best

Pre-training in one language alone is another comparison: another world, so another model.
"""

from collections import Counter
from itertools import groupby
from typing import Any

import numpy as np

from minirembert.lab.model import INPUT_EMBEDDING, LabModel
from minirembert.lab.tasks.finetune import fine_tune, score
from minirembert.lab.tasks.questions import exact_and_f1
from minirembert.lab.tasks.task import Examples, Task
from minirembert.lab.world import Corpus
from minirembert.lab.zero_shot import ridge_classifier
from minirembert.model.tasks import RemBertForSequenceClassification, RemBertForTokenClassification
from minirembert.ops.array import Array
from minirembert.ops.losses import IGNORE_INDEX

BASELINES = ("majority", "words", "second alone", "untrained", "shuffled", "own language")


def baseline(
    name: str,
    corpus: Corpus,
    lab_model: LabModel,
    task: Task,
    *,
    examples: int = 8000,
    scored: int = 500,
    seed: int = 0,
    **finetuning: Any,
) -> dict[str, float]:
    """The scores of one of BASELINES, by language; of "own language" every one is of another model.

    `finetuning` goes to `fine_tune`. Raises ValueError for another name, and for "second alone" of a task without pairs.
    """
    if name not in BASELINES:
        raise ValueError(f"a baseline is one of {', '.join(BASELINES)}, got {name!r}")
    languages = corpus.world.language_names
    tests = {language: task.examples(corpus, language, "test", scored, seed) for language in languages}

    def learn(language: str) -> Examples:
        return task.examples(corpus, language, "train", examples, seed)

    def tuned(start: LabModel, learned: Examples, asked: dict[str, Examples]) -> dict[str, float]:
        model = fine_tune(start, task, learned, seed=seed, **finetuning)
        return {language: score(model, task, some)["score"] for language, some in asked.items()}

    if name == "own language":
        return {
            language: tuned(lab_model, learn(language), {language: tests[language]})[language] for language in tests
        }
    train = learn(languages[0])
    if name == "majority":
        return {language: majority(train, some) for language, some in tests.items()}
    if name == "words":
        return {language: words(lab_model, task, train, some) for language, some in tests.items()}
    if name == "shuffled":
        return tuned(lab_model, shuffled(train, seed), tests)
    if name == "untrained":
        return tuned(LabModel(lab_model.sizes, seed=seed, backend=lab_model.backend.name), train, tests)
    if not train.inputs["token_type_ids"].any():
        raise ValueError(f"{task.name} has no pairs, so no second sentence that could stand alone")
    return tuned(lab_model, without_first(train), {language: without_first(some) for language, some in tests.items()})


def majority(train: Examples, test: Examples) -> float:
    """The score of the answer that is most frequent in `train`."""
    if "labels" not in train.labels:
        (offsets, _), *_ = Counter(map(tuple, (_spans(train) - _context(train)[:, None]).tolist())).most_common(1)
        last = test.lengths - 2  # before the last [SEP]
        return exact_and_f1(np.minimum(_context(test)[:, None] + np.array(offsets), last[:, None]), _spans(test))[
            "score"
        ]
    labels, answers = (it.labels["labels"][it.labels["labels"] != IGNORE_INDEX] for it in (train, test))
    return float((answers == np.bincount(labels).argmax()).mean())


def words(lab_model: LabModel, task: Task, train: Examples, test: Examples) -> float:
    """The score of what looks at words and not at their order; how, depends on the kind of task."""
    if task.model_class is RemBertForTokenClassification:
        return _look_up(train, test)
    if task.model_class is RemBertForSequenceClassification:
        embedding = lab_model.backend.numpy(lab_model.parameters[INPUT_EMBEDDING])
        classify = ridge_classifier(_bags(embedding, train), train.labels["labels"], len(task.answers))
        return float((classify(_bags(embedding, test)) == test.labels["labels"]).mean())
    return exact_and_f1(_matching_spans(test), _spans(test))["score"]


def shuffled(examples: Examples, seed: int) -> Examples:
    """Every example with the answer of another one; of tags, every word with that of another word."""
    rng = np.random.default_rng([seed, 2])
    if examples.labels.keys() == {"labels"}:
        labels = examples.labels["labels"].copy()
        asked = labels != IGNORE_INDEX
        labels[asked] = rng.permutation(labels[asked])
        return Examples(examples.inputs, {"labels": labels})
    start, last = _context(examples), examples.lengths - 2
    moved = np.sort(rng.integers(start[:, None], last[:, None] + 1, (len(examples), 2)), axis=1)
    return Examples(examples.inputs, {"start_positions": moved[:, 0], "end_positions": moved[:, 1]})


def without_first(examples: Examples) -> Examples:
    """The pairs without their first sentence: [CLS], the second, [SEP]."""
    shift = _context(examples) - 1
    columns = np.arange(examples.inputs["input_ids"].shape[1])
    source = columns + np.where(columns > 0, shift[:, None], 0)
    there = source < examples.lengths[:, None]
    inputs = {
        name: np.where(there, np.take_along_axis(array, np.where(there, source, 0), axis=1), 0)  # 0 is [PAD] too
        for name, array in examples.inputs.items()
    }
    is_span = "labels" not in examples.labels
    return Examples(inputs, {name: array - shift if is_span else array for name, array in examples.labels.items()})


def _look_up(train: Examples, test: Examples) -> float:
    counts: dict[int, Counter[int]] = {}
    every: Counter[int] = Counter()
    for id, label in zip(train.inputs["input_ids"].flat, train.labels["labels"].flat, strict=True):
        if label != IGNORE_INDEX:
            counts.setdefault(int(id), Counter())[int(label)] += 1
            every[int(label)] += 1
    asked = test.labels["labels"] != IGNORE_INDEX
    given = [counts.get(int(id), every).most_common(1)[0][0] for id in test.inputs["input_ids"][asked]]
    return float((np.array(given) == test.labels["labels"][asked]).mean())


def _bags(embedding: Array, examples: Examples) -> Array:
    """The mean embedding of the first sentence beside that of the second: (N, 2 E)."""
    seen, types = examples.inputs["attention_mask"] == 1, examples.inputs["token_type_ids"]
    rows = embedding[examples.inputs["input_ids"]]
    parts = [np.where((seen & (types == part))[..., None], rows, 0).sum(1) for part in (0, 1)]
    sizes = [(seen & (types == part)).sum(1, keepdims=True) for part in (0, 1)]
    return np.concatenate([part / size for part, size in zip(parts, sizes, strict=True)], axis=1)


def _spans(examples: Examples) -> Array:
    return np.stack([examples.labels["start_positions"], examples.labels["end_positions"]], axis=1)


def _context(examples: Examples) -> Array:
    """(N,) where the context begins."""
    return (examples.inputs["token_type_ids"] == 1).argmax(axis=1)


def _matching_spans(examples: Examples) -> Array:
    rows = zip(examples.inputs["input_ids"].tolist(), _context(examples), examples.lengths, strict=True)
    return np.array([_matching_span(ids, int(start), int(length)) for ids, start, length in rows])


def _matching_span(ids: list[int], start: int, length: int) -> tuple[int, int]:
    """In the sentence of the context that shares most words with the question, the longest run of words that it has not."""
    asked, sep = {*ids[1 : start - 1]}, ids[length - 1]
    middle = ids.index(sep, start)
    sentences = [range(start, middle), range(middle + 1, length - 1)]
    best = max(sentences, key=lambda places: len({ids[place] for place in places} & asked))
    runs = [list(run) for is_new, run in groupby(best, lambda place: ids[place] not in asked) if is_new]
    longest = max(runs, key=len, default=list(best))
    return longest[0], longest[-1]
