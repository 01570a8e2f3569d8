"""The lab's two training loops against the same steps written out in plain NumPy: the same weights, to the last bit.

Gradients are the model's, which are held elsewhere; first weights, batches, their order, clipping, rate, decay and the update
are written out here.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from minirembert.data.masked_lm import Language, MaskedLMData
from minirembert.lab import experiment
from minirembert.lab.experiment import Training, pretrain
from minirembert.lab.model import INPUT_EMBEDDING, LabModel
from minirembert.lab.sides import side_gradients
from minirembert.lab.tasks import TASKS, Examples, fine_tune
from minirembert.lab.variant import Variant
from minirembert.lab.world import Corpus, World, build_corpus
from minirembert.model.base import RemBertPreTrainedModel

VARIANT = Variant(
    input_embedding_size=6, output_embedding_size=20, hidden_size=12, num_hidden_layers=2, num_attention_heads=2
)
WORLD = World(sentences=400, held_out=60, breadth=0.0)
SEED = 3
Weights = dict[str, np.ndarray]
# What all gradients are multiplied with, so that the joint norm of every step is above the limit, or below it.
SCALES = {"clipped": 64.0, "below the limit": 1 / 64}


@cache
def corpus() -> Corpus:
    return build_corpus(WORLD, SEED)


@pytest.fixture(params=SCALES, ids=list(SCALES))
def clipped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Every model's gradients, larger or smaller; whether they are then above the limit."""
    original = RemBertPreTrainedModel.loss_and_gradients

    def scaled(self: Any, *inputs: Any, **named: Any) -> Any:
        loss, gradients = original(self, *inputs, **named)
        return loss, {name: gradient * np.float32(SCALES[request.param]) for name, gradient in gradients.items()}

    monkeypatch.setattr(RemBertPreTrainedModel, "loss_and_gradients", scaled)
    return request.param == "clipped"


def first_weights(shapes: dict[str, tuple[int, ...]], seed: int, hidden_size: int, dtype: Any = np.float32) -> Weights:
    """Normal numbers of RemBERT's size, each array from a stream of its own; no bias, and norms that do nothing."""
    weights = {}
    for name, shape in shapes.items():
        if name.endswith("bias"):
            weights[name] = np.zeros(shape, dtype)
        elif name.endswith("LayerNorm.weight"):
            weights[name] = np.ones(shape, dtype)
        else:
            drawn = np.random.default_rng([seed, crc32(name.encode())]).standard_normal(shape, np.float32)
            weights[name] = drawn.astype(dtype) * dtype(0.02 * math.sqrt(1152) / math.sqrt(hidden_size))
            if "word_embeddings" in name:
                weights[name][0] = 0  # [PAD]
    return weights


class Written:
    """AdamW with the paper's settings and a limit of 1 for the gradient's norm."""

    def __init__(self, weights: Weights) -> None:
        self.weights = {name: array.copy() for name, array in weights.items()}
        self.m = {name: np.zeros_like(array) for name, array in weights.items()}
        self.v = {name: np.zeros_like(array) for name, array in weights.items()}
        self.norms: list[float] = []

    def step(self, gradients: Weights, rate: float) -> None:
        norm = math.sqrt(sum(float(np.vdot(g, g)) for g in gradients.values()))
        self.norms.append(norm)
        t = len(self.norms)
        for name, p in self.weights.items():
            g = gradients[name] * (1.0 / norm) if norm > 1 else gradients[name]
            m = self.m[name] = 0.9 * self.m[name] + (1 - 0.9) * g
            v = self.v[name] = 0.999 * self.v[name] + (1 - 0.999) * (g * g)
            update = m / (np.sqrt(v) * (1 / math.sqrt(1 - 0.999**t)) + 1e-6)
            update = update * (rate / (1 - 0.9**t))
            if p.ndim == 2:
                update = update + (rate * 0.01) * p
            self.weights[name] = p - update


def put(model: Any, weights: Weights) -> None:
    for name, array in model.parameters.items():
        array[...] = weights[name]


def assert_equal(found: Any, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)


# --- pre-training -----------------------------------------------------------------------------------------------------


def masked_lines(lines: list[Language]) -> MaskedLMData:
    """Batches of single lines, of the lengths that the lab has."""
    return MaskedLMData(lines, corpus().pieces, 40, lines_per_sequence=1)


def lines_of_training() -> tuple[list[Language], list[Language]]:
    """The sentences of both languages; and each with itself, [SEP] between, its clauses exchanged where that says the same."""
    it = corpus()
    once, twice = [], []
    for name in ("a", "b"):
        ids = [it.pieces.encode(it.realize(meaning, name)) for meaning in it.train[name]]
        swapped = [
            type(m)(m.second, m.connective, m.first) if m.second and m.connective != "because" else m
            for m in it.train[name]
        ]
        again = [it.pieces.encode(it.realize(meaning, name)) for meaning in swapped]
        once.append(Language(name, ids))
        twice.append(Language(name, [[*one, 2, *other] for one, other in zip(ids, again, strict=True)]))
    return once, twice


@pytest.mark.parametrize("tied", [False, True])
def test_steps_of_pre_training(tied: bool, clipped: bool) -> None:
    """Six steps: the rate rises for three, half of all, though more are asked for; every third batch is told twice."""
    variant = replace(VARIANT, output_embedding_size=6, tied=True) if tied else VARIANT
    model = LabModel(variant.sizes(len(corpus().pieces)), seed=SEED)
    training = Training(steps=6, batch_size=5, learning_rate=0.02, warmup=400, twice_every=3)
    by_hand = Written(first_weights(model._shapes(), SEED, hidden_size=12))
    assert_equal(model.parameters, by_hand.weights)
    reports: list[int] = []
    found = pretrain(model, corpus(), training, reports.append)
    twin = LabModel(model.sizes)
    once, twice = map(masked_lines, lines_of_training())
    peak = 0.02
    rates = (peak * 1 / 3, peak * 2 / 3, peak * 3 / 3, peak * 3 / 3, peak * 2 / 3, peak * 1 / 3)
    curve = []
    for step, rate in enumerate(rates):
        batch = (twice if step in (2, 5) else once).batch(5, SEED, step)._asdict()
        put(twin, by_hand.weights)
        if step == 0:
            reading, scoring = side_gradients(twin, batch)
        by_hand.step(twin.loss_and_gradients(**batch)[1], rate)
        put(twin, by_hand.weights)
        curve.append(held_out(twin, validation())[0])
    assert all((norm > 1) == clipped for norm in by_hand.norms) and len(set(by_hand.norms)) == 6
    assert_equal(model.parameters, by_hand.weights)
    assert reports == [1] * 6
    assert found["side_gradients"] == {"step": [0], "input": [reading], "output": [scoring]}
    assert found["curve"]["step"] == [1, 2, 3, 4, 5, 6]
    # float32, a few dozen roundings of a loss; a sentence more or less changes the third digit
    np.testing.assert_allclose(found["curve"]["held_out_loss"], curve, rtol=64 * np.finfo(np.float32).eps)


def test_the_two_sides_are_compared_early_and_the_curve_has_ten_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 241 steps: the sides at 0, 20, ... 180; the loss at ten places, the last of them the end."""
    model = LabModel(replace(VARIANT, num_hidden_layers=0).sizes(len(corpus().pieces)))

    def loss_and_gradients(self: LabModel, **inputs: Any) -> Any:
        return 0.0, {name: np.zeros_like(array) for name, array in self.parameters.items()}

    monkeypatch.setattr(LabModel, "loss_and_gradients", loss_and_gradients)
    monkeypatch.setattr(experiment, "side_gradients", lambda model, batch: (1.0, 2.0))
    monkeypatch.setattr(experiment, "_scores", lambda model, corpus, lines: {"loss": 3.0})
    found = pretrain(model, corpus(), Training(steps=241, batch_size=1), lambda steps: None)
    assert found["side_gradients"] == {"step": list(range(0, 200, 20)), "input": [1.0] * 10, "output": [2.0] * 10}
    assert found["curve"] == {"step": [24, 48, 72, 96, 120, 144, 168, 192, 216, 241], "held_out_loss": [3.0] * 10}


def validation() -> list[Language]:
    """The first 200 validation sentences, which are all of them here, in both languages."""
    return [Language(name, corpus().encode(corpus().validation[:200], name)) for name in ("a", "b")]


def held_out(model: Any, lines: list[Language]) -> tuple[float, float]:
    """Nats for each masked word of all batches together, and the share that is guessed right."""
    losses, right = [], []
    for _, batch in masked_lines(lines).held_out_batches(250, SEED):
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits.astype(np.float64)
        for place in np.argwhere(batch.labels != -100):
            row, wanted = logits[tuple(place)], batch.labels[tuple(place)]
            losses.append(row.max() + np.log(np.exp(row - row.max()).sum()) - row[wanted])
            right.append(row.argmax() == wanted)
    return float(np.mean(losses)), float(np.mean(right))


# --- fine-tuning ------------------------------------------------------------------------------------------------------


def batches_by_hand(examples: Examples, size: int, seed: int) -> Iterator[np.ndarray]:
    """Eight batches at a time are sorted by length; then all batches of the epoch come in any order."""
    lengths = [int(row.sum()) for row in examples.inputs["attention_mask"]]
    rng = np.random.default_rng([seed, len(lengths)])
    while True:
        rows = list(rng.permutation(len(lengths)))
        epoch = []
        while rows:
            some = sorted(rows[: 8 * size], key=lambda row: lengths[row])  # stable
            rows = rows[8 * size :]
            while some:
                epoch.append(np.array(some[:size]))
                some = some[size:]
        yield from (epoch[number] for number in rng.permutation(len(epoch)))


def tuned_by_hand(
    start: LabModel, task: str, examples: Examples, steps: int, size: int, peak: float, seed: int, kept: int
) -> Written:
    """`steps` in all, a tenth of them up to the peak."""
    model = start.task_model(TASKS[task].model_class, kept, seed, num_labels=len(TASKS[task].answers))
    fresh = first_weights(model._shapes(), seed, hidden_size=12, dtype=start.parameters[INPUT_EMBEDDING].dtype.type)
    by_hand = Written({name: start.parameters.get(name, fresh[name]) for name in fresh})
    warmup = steps // 10
    batches = batches_by_hand(examples, size, seed)
    for step in range(steps):
        rows = next(batches)
        longest = max(int(examples.inputs["attention_mask"][row].sum()) for row in rows)
        every = {**examples.inputs, **examples.labels}
        batch = {name: array[rows][:, :longest] if array.ndim == 2 else array[rows] for name, array in every.items()}
        rate = peak * (step + 1) / warmup if step < warmup else peak * (steps - step) / (steps - warmup)
        put(model, by_hand.weights)
        by_hand.step(model.loss_and_gradients(**batch)[1], rate)
    return by_hand


@pytest.mark.parametrize(("task", "steps", "times"), [("tags", 21, 1), ("inference", 21, 1), ("questions", 7, 3)])
def test_steps_of_fine_tuning(task: str, steps: int, times: int, clipped: bool) -> None:
    """Three epochs of 27 examples, in another order each; the rate rises for two of 21 steps."""
    start = LabModel(VARIANT.sizes(len(corpus().pieces)), seed=SEED)
    examples = TASKS[task].examples(corpus(), "a", "train", 27, SEED)
    before = {name: array.copy() for name, array in start.parameters.items()}
    model = fine_tune(
        start, TASKS[task], examples, steps=steps, batch_size=4, learning_rate=0.02, seed=5, kept_layers=1
    )
    by_hand = tuned_by_hand(start, task, examples, steps * times, 4, 0.02, seed=5, kept=1)
    assert all((norm > 1) == clipped for norm in by_hand.norms)
    assert_equal(model.parameters, by_hand.weights)
    assert not any("layer.1." in name for name in model.parameters)
    assert_equal(start.parameters, before)
