"""Fine-tuning of the lab's tasks: a function of its settings that leaves the pre-trained model alone; the baselines."""

from functools import cache

import numpy as np
import pytest

from minirembert.lab.model import LabModel
from minirembert.lab.tasks import TASKS, fine_tune, score
from minirembert.lab.tasks.baselines import BASELINES, baseline, majority, shuffled, without_first, words
from minirembert.lab.tasks.finetune import _batches, outputs
from minirembert.lab.variant import Variant
from minirembert.lab.world import Corpus, World, build_corpus
from minirembert.ops.losses import IGNORE_INDEX

TINY = Variant(
    input_embedding_size=8, output_embedding_size=10, hidden_size=12, num_hidden_layers=2, num_attention_heads=2
)
PAIRS = ("paraphrase", "inference", "questions")


@cache
def corpus() -> Corpus:
    return build_corpus(World(sentences=400, held_out=300, breadth=0.0), seed=0)


def model() -> LabModel:
    return LabModel(TINY.sizes(len(corpus().pieces)), seed=0)


@cache
def examples(task: str, split: str = "train", language: str = "a", count: int = 40):
    return TASKS[task].examples(corpus(), language, split, count, seed=1)


@pytest.mark.parametrize("task", TASKS)
def test_fine_tuning_is_a_function_of_its_settings(task):
    start = model()
    before = {name: array.copy() for name, array in start.parameters.items()}

    def tuned(**changes):
        settings = {"steps": 3, "batch_size": 4, "learning_rate": 1e-2, "seed": 0} | changes
        return fine_tune(start, TASKS[task], examples(task), **settings)

    one, again = tuned(), tuned()
    assert {name: array.tobytes() for name, array in one.parameters.items()} == {
        name: array.tobytes() for name, array in again.parameters.items()
    }
    for name, array in start.parameters.items():
        np.testing.assert_array_equal(array, before[name])
    head = next(name for name in reversed(one.parameters) if name.endswith("weight"))
    assert (tuned(seed=1).parameters[head] != one.parameters[head]).any()
    assert tuned(kept_layers=1).config.num_hidden_layers == 1
    assert one.config.num_labels == len(TASKS[task].answers)


@pytest.mark.parametrize("task", TASKS)
def test_it_learns_what_it_sees(task):
    """Eight examples, which sixty steps are enough to know by heart."""
    few = examples(task, count=8)
    before, after = (
        fine_tune(model(), TASKS[task], few, steps=steps, batch_size=8, learning_rate=1e-2) for steps in (0, 60)
    )
    assert after.loss(**few.batch(np.arange(8))) < before.loss(**few.batch(np.arange(8))) / 2
    assert score(after, TASKS[task], few)["score"] > score(before, TASKS[task], few)["score"]


@pytest.mark.parametrize("task", TASKS)
def test_a_hard_task_takes_more_steps(task, monkeypatch):
    """The learning rate of each step tells how many there are: it ends one step above 0."""
    rates = []
    monkeypatch.setattr("minirembert.lab.tasks.finetune.learning_rate_at", lambda *asked: rates.append(asked) or 0.0)
    fine_tune(model(), TASKS[task], examples(task), steps=4, batch_size=4, learning_rate=0.5)
    total = 4 * TASKS[task].times
    assert rates == [(step, 0.5, total // 10, total) for step in range(total)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": -1}, "steps must be an integer of at least 0, got -1"),
        ({"steps": 1.5}, "steps must be an integer of at least 0, got 1.5"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"learning_rate": -1}, "learning_rate must be above 0 and finite, got -1"),
    ],
)
def test_fine_tuning_that_cannot_be(wrong, message):
    with pytest.raises(ValueError, match=message):
        fine_tune(model(), TASKS["tags"], examples("tags"), **wrong)


@pytest.mark.parametrize("task", TASKS)
def test_outputs_do_not_depend_on_the_padding(task):
    """Logits of all examples at once are those of each by itself, but for float32's sums in another order.

    A model that saw the padding would differ in the first digit.
    """
    some = examples(task)
    tuned = fine_tune(model(), TASKS[task], some, steps=0)
    together = outputs(tuned, some)
    for row in range(0, len(some), 7):
        batch = {name: array for name, array in some.batch(np.array([row])).items() if name in some.inputs}
        output = tuned(**batch)
        alone = [output.logits] if "logits" in output else [output.start_logits, output.end_logits]
        for whole, one in zip(together, alone, strict=True):
            width = one.shape[1] if whole.shape[1] == some.inputs["input_ids"].shape[1] else whole.shape[1]
            np.testing.assert_allclose(whole[row, :width], one[0], rtol=1e-4, atol=1e-5)


def test_an_epoch_has_every_row_once_and_little_padding():
    lengths = np.random.default_rng(0).integers(5, 30, 300)
    batches = _batches(lengths, 8, seed=0)
    epoch = [next(batches) for _ in range(5 * 8 - 2)]  # 300 rows: 37 batches of 8 and one of 4
    assert sorted(np.concatenate(epoch)) == list(range(300))
    padded = sum(lengths[rows].max() * len(rows) for rows in epoch)
    unsorted = sum(lengths[first : first + 8].max() * 8 for first in range(0, 296, 8))
    assert lengths.sum() <= padded < 1.2 * lengths.sum() < unsorted
    assert any(
        (a != b).any() for a, b in zip(epoch[:3], [next(batches) for _ in range(3)], strict=True) if len(a) == len(b)
    )


@pytest.mark.parametrize("task", PAIRS)
def test_without_the_first_sentence(task):
    some = examples(task)
    alone = without_first(some)
    ids = some.inputs["input_ids"]
    for row in range(len(some)):
        second = ids[row][some.inputs["token_type_ids"][row] == 1]
        assert alone.lengths[row] == len(second) + 1
        assert list(alone.inputs["input_ids"][row][: len(second) + 1]) == [corpus().pieces.cls_token_id, *second]
        assert not alone.inputs["input_ids"][row][len(second) + 1 :].any()
        if task == "questions":
            for name, place in alone.labels.items():
                assert alone.inputs["input_ids"][row, place[row]] == ids[row, some.labels[name][row]]


def test_a_bag_of_embeddings_is_at_chance_where_the_bags_are_equal():
    """Of 150 pairs it does not stray from one half by more than five standard deviations."""
    train, test = examples("paraphrase"), examples("paraphrase", "test", count=200)
    assert words(model(), TASKS["paraphrase"], train, test) == pytest.approx(0.5, abs=5 * 0.5 / 150**0.5)


def test_a_bag_of_embeddings_learns_what_bags_tell():
    """Whether a second sentence has a certain word: of that a linear classifier of means knows something."""
    some = examples("paraphrase", count=200)
    word = np.bincount(some.inputs["input_ids"].ravel())[9:].argmax() + 9
    told = (some.inputs["input_ids"] == word).any(axis=1).astype(np.int64)
    labelled = type(some)(some.inputs, {"labels": told})
    assert words(model(), TASKS["paraphrase"], labelled, labelled) > max(told.mean(), 1 - told.mean())


def test_the_baselines_by_hand():
    tags = examples("tags")
    labels = tags.labels["labels"]
    asked = labels[labels != IGNORE_INDEX]
    assert majority(tags, tags) == np.bincount(asked).max() / len(asked)
    # a look-up of the words it was learned from is right at least as often as the most frequent tag
    assert majority(tags, tags) < words(model(), TASKS["tags"], tags, tags) < 1


@pytest.mark.parametrize("task", TASKS)
def test_shuffled_answers_are_other_answers_of_the_same_kind(task):
    some = examples(task)
    mixed = shuffled(some, seed=0)
    assert any((mixed.labels[name] != array).any() for name, array in some.labels.items())
    for name, array in some.labels.items():
        assert mixed.labels[name].shape == array.shape and mixed.labels[name].dtype == array.dtype
        if name == "labels":
            np.testing.assert_array_equal(mixed.labels[name] == IGNORE_INDEX, array == IGNORE_INDEX)
            assert sorted(mixed.labels[name].flat) == sorted(array.flat)
    if task == "questions":
        rows = np.arange(len(some))
        for places in mixed.labels.values():
            assert (some.inputs["token_type_ids"][rows, places] == 1).all() and (places < some.lengths - 1).all()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_has_a_score_in_every_language(name, task):
    settings = {"examples": 12, "scored": 10, "steps": 1, "batch_size": 4}
    if name == "second alone" and task not in PAIRS:
        with pytest.raises(ValueError, match="tags has no pairs, so no second sentence that could stand alone"):
            baseline(name, corpus(), model(), TASKS[task], **settings)
        return
    found = baseline(name, corpus(), model(), TASKS[task], **settings)
    assert found.keys() == {"a", "b"} and all(0 <= value <= 1 for value in found.values())


def test_a_baseline_that_is_none():
    with pytest.raises(ValueError, match=r"a baseline is one of majority, words, .*, got 'luck'"):
        baseline("luck", corpus(), model(), TASKS["tags"])
