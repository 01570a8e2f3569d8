"""What one part of a run hands to the next: a record's figures are computed again from the weights that it left and the
sentences that were kept back; what is fine-tuned is what was pre-trained; each setting arrives.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_lab_steps
from test_lab_steps import VARIANT, held_out, tuned_by_hand

from minirembert import RemBertForMaskedLM
from minirembert.data.masked_lm import Language
from minirembert.lab import experiment
from minirembert.lab.conventions import PHASES
from minirembert.lab.experiment import Baseline, Experiment, Finetuning, Training, Twins, cached_corpus
from minirembert.lab.jobs import Context, Result
from minirembert.lab.model import INPUT_EMBEDDING, OUTPUT_EMBEDDING, LabModel
from minirembert.lab.probes import measure
from minirembert.lab.runs import Cache, records
from minirembert.lab.tasks import TASKS, baselines, fine_tune, score
from minirembert.lab.world import Corpus, World, build_corpus

SEED = test_lab_steps.SEED
WORLD = replace(test_lab_steps.WORLD, held_out=120)
BEFORE = Experiment(VARIANT, WORLD, Training(steps=2, batch_size=5, learning_rate=0.02, dtype="float64"), None, SEED)
TUNED = Finetuning(
    tasks=("tags", "inference"), dropped=(0, 2), steps=3, batch_size=4, learning_rate=0.03, examples=24, scored=11
)
ROUNDING = 2**12 * np.finfo(np.float64).eps  # of some thousand sums and products of numbers near 1


@cache
def corpus() -> Corpus:
    return build_corpus(WORLD, SEED)


@cache
def before() -> Result:
    return BEFORE.run(Context())


def kept_back(meanings: Any) -> list[Language]:
    it = corpus()
    return [Language(name, [it.pieces.encode(it.realize(m, name)) for m in meanings]) for name in ("a", "b")]


def test_the_figures_of_a_record_follow_from_its_weights_and_the_test_sentences(tmp_path: Path) -> None:
    """The weights are read from the file into RemBERT's own class."""
    (record,) = records([BEFORE], tmp_path, 1)
    with np.load(tmp_path / f"{Cache(tmp_path).name(BEFORE)}.npz") as file:
        weights = dict(file)
    assert all(array.dtype == np.float64 for array in weights.values())
    measured = record["measured"]
    model = RemBertForMaskedLM(LabModel(VARIANT.sizes(len(corpus().pieces))).config, dtype="float64")
    assert model.parameters.keys() == weights.keys()
    model.parameters = weights
    loss, right = held_out(model, kept_back(corpus().test))
    np.testing.assert_allclose([measured["loss"], measured["accuracy"]], [loss, right], rtol=ROUNDING)
    other, _ = held_out(model, kept_back(corpus().validation))
    assert abs(other - loss) > 1e-3, "validation and test could not be told apart"
    last, _ = held_out(model, kept_back(corpus().validation[:200]))
    np.testing.assert_allclose(measured["curve"]["held_out_loss"][-1], last, rtol=ROUNDING)
    encoder = sum(array.size for name, array in weights.items() if name.startswith("rembert."))
    pooler = 12 * 12 + 12
    assert measured["parameters"] == dict(
        zip(PHASES, (sum(array.size for array in weights.values()), encoder + pooler), strict=True)
    )
    assert measured["vocab_size"] == len(weights[INPUT_EMBEDDING]) == len(corpus().pieces)
    again = LabModel(VARIANT.sizes(len(corpus().pieces)), dtype="float64")
    again.parameters = weights
    assert measure(again, corpus()).items() <= measured.items()


def test_nothing_that_is_measured_was_read() -> None:
    """No sentence of validation or test, in no language, stands in a line of pre-training, told once or twice."""
    it = corpus()
    read = set()
    for language in (*it.train_lines, *it.told_twice):
        for line in language.lines:
            middle = line.index(2) if 2 in line else len(line)
            read |= {tuple(line[:middle]), tuple(line[middle + 1 :])} - {()}
    for meanings in (it.validation, it.test):
        for language in kept_back(meanings):
            assert not read & {tuple(line) for line in language.lines}
    assert not set(it.validation) & set(it.test)


def spy(monkeypatch: pytest.MonkeyPatch, place: Any) -> tuple[list[Any], list[Any]]:
    """Every model that `place` fine-tunes, and what it is scored on."""
    tuned: list[Any] = []
    asked: list[Any] = []

    def note_tuned(*given: Any, **named: Any) -> Any:
        tuned.append(fine_tune(*given, **named))
        return tuned[-1]

    def note_asked(model: Any, task: Any, examples: Any) -> Any:
        asked.append((model, examples, score(model, task, examples)))
        return asked[-1][-1]

    monkeypatch.setattr(place, "fine_tune", note_tuned)
    monkeypatch.setattr(place, "score", note_asked)
    return tuned, asked


def examples_of(task: str, language: str, split: str, count: int) -> Any:
    return TASKS[task].examples(corpus(), language, split, count, SEED)


def pretrained_model() -> LabModel:
    model = LabModel(VARIANT.sizes(len(corpus().pieces)), seed=SEED, dtype="float64")
    model.parameters = {name: array.copy() for name, array in before().arrays.items()}
    return model


def same_inputs(some: Any, others: Any) -> bool:
    every, rest = {**some.inputs, **some.labels}, {**others.inputs, **others.labels}
    return every.keys() == rest.keys() and all(np.array_equal(array, rest[name]) for name, array in every.items())


def test_what_is_fine_tuned_is_what_was_pre_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each task and number of blocks, from the same weights: two blocks dropped of two leave none. The first language is
    learned, each is scored, on what was kept back."""
    tuned, asked = spy(monkeypatch, experiment)
    reports: list[int] = []
    measured = replace(BEFORE, finetuning=TUNED).run(Context(reports.append, {"pretraining": before()}))
    start = pretrained_model()
    places = [(task, kept) for task in ("tags", "inference") for kept in (2, 0)]
    for (task, kept), model in zip(places, tuned, strict=True):
        learned = examples_of(task, "a", "train", 24)
        assert len(learned) == 24 and TASKS[task].times == 1
        by_hand = tuned_by_hand(start, task, learned, 3, 4, 0.03, seed=SEED, kept=kept)
        test_lab_steps.assert_equal(model.parameters, by_hand.weights)
        assert model.config.num_hidden_layers == kept
    pairs = [(task, kept, language) for task, kept in places for language in ("a", "b")]
    for (task, kept, language), (model, examples, scored) in zip(pairs, asked, strict=True):
        assert model is tuned[places.index((task, kept))]
        assert len(examples) == 11 and same_inputs(examples, examples_of(task, language, "test", 11))
        assert measured["tasks"][str(kept)][task][language] == scored["score"]
    assert measured.keys() == before().keys() | {"tasks"} and reports == [3] * 4
    assert replace(BEFORE, finetuning=TUNED).steps == sum(reports)


@pytest.mark.parametrize("name", ["own language", "untrained", "shuffled"])
def test_what_a_baseline_is_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The experiment's own settings, and its weights where it is not about fresh ones."""
    tuned, asked = spy(monkeypatch, baselines)
    settings = replace(TUNED, tasks=("tags",), dropped=(0,))
    of = Baseline(VARIANT, WORLD, BEFORE.training, settings, SEED, name=name)
    assert of.pretraining == BEFORE and of.needs == {"pretraining": BEFORE}
    reports: list[int] = []
    measured = of.run(Context(reports.append, {"pretraining": before()}))
    fresh = LabModel(VARIANT.sizes(len(corpus().pieces)), seed=SEED)
    start = fresh if name == "untrained" else pretrained_model()
    for language, model in zip("ab" if name == "own language" else "a", tuned, strict=True):
        learned = examples_of("tags", language, "train", 24)
        if name == "shuffled":
            learned = baselines.shuffled(learned, SEED)
        by_hand = tuned_by_hand(start, "tags", learned, 3, 4, 0.03, seed=SEED, kept=2)
        test_lab_steps.assert_equal(model.parameters, by_hand.weights)
    for language, (_, examples, scored) in zip("ab", asked, strict=True):
        assert len(examples) == 11 and same_inputs(examples, examples_of("tags", language, "test", 11))
        assert measured["tasks"]["2"]["tags"][language] == scored["score"]
    assert measured.keys() == {"tasks"} and measured["tasks"].keys() == {"2"} and reports == [3]


def test_a_majority_is_what_was_most_frequent_where_it_was_learned() -> None:
    """By hand, in a run: the answers of training in the first language, asked of the test examples of each."""
    settings = replace(TUNED, tasks=("inference",), dropped=(0,), examples=25, scored=40)
    of = Baseline(VARIANT, WORLD, BEFORE.training, settings, SEED, name="majority")
    measured = of.run(Context(results={"pretraining": before()}))
    answers = list(examples_of("inference", "a", "train", 25).labels["labels"])
    most = max(sorted(set(answers)), key=answers.count)
    for language in "ab":
        asked = examples_of("inference", language, "test", 40).labels["labels"]
        assert measured["tasks"]["2"]["inference"][language] == sum(asked == most) / 40


def cka(x: np.ndarray, y: np.ndarray) -> float:
    """Kornblith et al. 2019, equation 3 with linear kernels: HSIC of the centred matrices, as sums over all pairs of rows."""
    x, y = (one.astype(np.float64) - one.astype(np.float64).mean(axis=0) for one in (x, y))
    k, l = x @ x.T, y @ y.T  # noqa: E741
    return float((k * l).sum() / np.sqrt((k * k).sum() * (l * l).sum()))


def test_twins_by_hand() -> None:
    """Random matrices, whose special rows, the first nine, would decide if they were not left out."""
    rng = np.random.default_rng(0)
    tied, reading, scoring = (rng.standard_normal((40, width)) for width in (12, 12, 12))
    scoring[9:] += 2 * tied[9:]
    for matrix in (tied, reading, scoring):
        matrix[:9] = 30 * rng.standard_normal((9, 12))
    one = replace(BEFORE, variant=replace(VARIANT, input_embedding_size=12, output_embedding_size=12, tied=True))
    other = replace(one, variant=replace(one.variant, tied=False))
    twins = Twins(one, other)
    assert twins.needs == {"tied": one, "untied": other} and twins.steps == 0 and twins.seed == SEED
    given = {
        "tied": Result({}, {INPUT_EMBEDDING: tied}),
        "untied": Result({}, {INPUT_EMBEDDING: reading, OUTPUT_EMBEDDING: scoring}),
    }
    found = twins.run(Context(results=given))["cka"]
    mixed = scoring[9:][np.random.default_rng(SEED).permutation(31)]
    expected = {
        "input": cka(tied[9:], reading[9:]), "output": cka(tied[9:], scoring[9:]), "chance": cka(tied[9:], mixed)
    }  # fmt: skip
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=ROUNDING, err_msg=name)
    needs_tasks = Twins(replace(one, finetuning=TUNED), replace(other, finetuning=TUNED))
    assert needs_tasks.needs == twins.needs


def test_a_run_on_triton_is_probed_with_its_own_weights() -> None:
    """The weights come back to NumPy, in half precision as float32."""
    model = LabModel(VARIANT.sizes(30), seed=1, backend="triton", dtype="bfloat16")
    for name, array in model.parameters.items():
        model.parameters[name] = array + 1
    host = experiment.on_host(model)
    assert host.backend.name == "numpy" and host.sizes == model.sizes
    for name, array in host.parameters.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, model.parameters[name].float().cpu().numpy(), err_msg=name)
    numpy_model = LabModel(VARIANT.sizes(30))
    assert experiment.on_host(numpy_model) is numpy_model


def test_each_seed_and_world_has_its_own_corpus() -> None:
    """Also when they are asked for in turns, as a process goes through its jobs."""
    small = replace(WORLD, sentences=30, held_out=5)
    worlds: list[tuple[World, int]] = [(small, 0), (small, 1), (replace(small, overlap=0.5), 0), (small, 0), (small, 1)]
    for world, seed in worlds:
        found, right = cached_corpus(world, seed), build_corpus(world, seed)
        assert (found.world, found.seed) == (world, seed)
        assert found.pieces.words == right.pieces.words and found.train_lines == right.train_lines
        assert found.test == right.test


def test_the_layers_that_are_dropped_are_too_many_if_one_number_is() -> None:
    with pytest.raises(ValueError, match="there are 2 blocks, so 3 cannot be dropped"):
        replace(BEFORE, finetuning=replace(TUNED, dropped=(3, 0)))
    assert replace(BEFORE, finetuning=replace(TUNED, dropped=(2,))).finetuning
