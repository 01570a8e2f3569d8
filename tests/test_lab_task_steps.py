"""A step is the step: the lab's own training loops, written out in plain NumPy, agree with them to the last bit."""

import math
from dataclasses import replace
from functools import cache
from zlib import crc32

import numpy as np
import pytest

from minirembert.lab.jobs import Context
from minirembert.lab.model import OUTPUT_EMBEDDING, LabModel
from minirembert.lab.rank_of_head import HeadExperiment
from minirembert.lab.tasks import TASKS, finetune, score
from minirembert.lab.tasks.finetune import fine_tune, outputs
from minirembert.lab.tasks.task import Examples
from minirembert.lab.variant import Variant
from minirembert.lab.world import Corpus, World, build_corpus

TINY = Variant(
    input_embedding_size=8, output_embedding_size=10, hidden_size=12, num_hidden_layers=2, num_attention_heads=2
)


@cache
def corpus() -> Corpus:
    return build_corpus(World(sentences=150, held_out=80, breadth=0.0), seed=3)


@cache
def examples(task: str, count: int) -> Examples:
    return TASKS[task].examples(corpus(), "a", "train", count, seed=1)


def start(loud: bool = False) -> LabModel:
    """Stands for a pre-trained model. What its blocks hand on is large, and then so are the gradients; or small."""
    model = LabModel(TINY.sizes(len(corpus().pieces)), seed=7)
    for name, array in model.parameters.items():
        if loud or name.endswith(".output.LayerNorm.weight"):
            array *= np.float32(3.0 if loud else 0.02)
    return model


def adamw(p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, t: int, rate: float, decay: float) -> None:
    """Loshchilov and Hutter 2019 with the paper's Table 14: 0.9, 0.999, 1e-6. In place."""
    m[...] = 0.9 * m + (1 - 0.9) * g
    v[...] = 0.999 * v + (1 - 0.999) * (g * g)
    root = np.sqrt(v) * (1 / math.sqrt(1 - 0.999**t)) + 1e-6
    update = m / root * (rate / (1 - 0.9**t))
    p -= update + (rate * decay) * p if decay else update


def epochs(lengths: np.ndarray, size: int, seed: int):
    """Rows of batches: a new order in each epoch; of eight batches at a time, those of a length together; then mixed."""
    rng = np.random.default_rng([seed, len(lengths)])
    while True:
        order = rng.permutation(len(lengths)).tolist()
        batches = []
        while order:
            some, order = sorted(order[: 8 * size], key=lambda row: lengths[row]), order[8 * size :]
            while some:
                batches.append(some[:size])
                some = some[size:]
        for number in rng.permutation(len(batches)):
            yield np.array(batches[number])


@pytest.mark.parametrize("task", ["tags", "inference", "questions"])
@pytest.mark.parametrize(("loud", "kept"), [(False, None), (True, 1)])
def test_fine_tuning_written_out(task, loud, kept):
    """Seven epochs of three batches, one of which is short: initial weights, order, gradients clipped or not, rate,
    decay."""
    some, peak, seed = examples(task, 10), 0.01, 5
    the_task = TASKS[task]
    steps = 21 if the_task.times == 1 else 7  # 21 in all, two of them to the peak
    tuned = fine_tune(
        start(loud), the_task, some, steps=steps, batch_size=4, learning_rate=peak, seed=seed, kept_layers=kept
    )
    total = steps * the_task.times
    model = start(loud).task_model(
        the_task.model_class, 2 if kept is None else kept, 99, num_labels=len(the_task.answers)
    )
    first = start(loud).parameters
    for name, p in model.parameters.items():  # the encoder's are the pre-trained ones, the head's are of the seed
        if name in first:
            p[...] = first[name]
        elif name.endswith("weight"):
            rng = np.random.default_rng([seed, crc32(name.encode())])
            p[...] = rng.standard_normal(p.shape, np.float32) * np.float32(model.config.initializer_range)
        else:
            p[...] = 0
    moments = {name: (np.zeros_like(p), np.zeros_like(p)) for name, p in model.parameters.items()}
    lengths = (some.inputs["input_ids"] != 0).sum(axis=1)
    order = epochs(lengths, 4, seed)
    clipped = []
    seen: list[int] = []
    for step in range(total):
        rows = next(order)
        seen += rows.tolist()
        longest = lengths[rows].max()
        batch = {
            name: array[rows, :longest] if array.ndim == 2 else array[rows]
            for name, array in {**some.inputs, **some.labels}.items()
        }
        _, gradients = model.loss_and_gradients(**batch)
        norm = math.sqrt(sum(float(np.vdot(g, g)) for g in gradients.values()))
        clipped.append(norm > 1)
        warmup = total // 10
        rate = peak * (step + 1) / warmup if step < warmup else peak * (total - step) / (total - warmup)
        for name, g in gradients.items():
            p = model.parameters[name]
            if norm > 1:
                g = g * (1.0 / norm)
            adamw(p, g, *moments[name], step + 1, rate, 0.01 if p.ndim > 1 else 0.0)
    assert sorted(seen[:10]) == sorted(seen[10:20]) == list(range(10)) and seen[:10] != seen[10:20]
    assert clipped[0] is loud
    assert {name: p.tobytes() for name, p in tuned.parameters.items()} == {
        name: p.tobytes() for name, p in model.parameters.items()
    }


def test_a_step_is_not_what_a_setting_away_would_be():
    """The step above would not tell these apart if they were equal: the seed counts twice, for the head and for the order."""
    some = examples("tags", 10)

    def head(**changes) -> bytes:
        settings = {"steps": 0, "batch_size": 4, "seed": 5} | changes
        return fine_tune(start(), TASKS["tags"], some, **settings).parameters["classifier.weight"].tobytes()

    assert head() == head(batch_size=2) != head(seed=6)


@pytest.mark.parametrize("task", ["tags", "questions", "paraphrase"])
def test_outputs_of_more_examples_than_are_scored_together(task, monkeypatch):
    """Each row is what the model says of that row, whichever chunk it stands in; the last chunk is short."""
    some = examples(task, 10)
    tuned = fine_tune(start(loud=True), TASKS[task], some, steps=2, batch_size=4)
    monkeypatch.setattr(finetune, "SCORED_TOGETHER", 4)
    found = outputs(tuned, some)
    output = tuned(**some.inputs)
    whole = [output.logits] if "logits" in output else [output.start_logits, output.end_logits]
    assert len(found) == len(whole)
    for one, other in zip(found, whole, strict=True):
        limit = 2**8 * np.finfo(np.float32).eps * np.abs(other).max()  # sums of a few dozen products in another order
        np.testing.assert_allclose(one, other, rtol=0, atol=limit)
    if task != "tags":  # of pairs, the model is told which sentence is which
        alone = tuned(**{**some.inputs, "token_type_ids": np.zeros_like(some.inputs["token_type_ids"])})
        assert any((np.abs(one - other) > limit).any() for one, other in zip(found, alone.values(), strict=False))
    assert score(tuned, TASKS[task], some) == TASKS[task].score(found, some)


SMALL = HeadExperiment(
    head="none", output_embedding_size=4, hidden_size=4, vocab_size=9, contexts=6, steps=2, learning_rate=0.05, seed=3
)


def softmax(x: np.ndarray) -> np.ndarray:
    p = np.exp(x - x.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("changes", [{}, {"seed": 4}, {"spread": 5.0}, {"steps": 5}, {"learning_rate": 0.2}], ids=str)
def test_a_head_fitted_in_plain_numpy(changes):
    """Without a head the logits are x W' + b: two steps of Adam without decay on all contexts, the rate falling at once; and
    what is told of the result, with the divergence from the teacher to the head."""
    it = replace(SMALL, **changes)
    rng = np.random.default_rng(it.seed)
    teacher = softmax(it.spread * rng.standard_normal((6, 9)))
    fresh = LabModel(it.sizes, seed=it.seed).parameters
    W = fresh[OUTPUT_EMBEDDING].copy()
    b = np.zeros(9, np.float32)
    x = np.random.default_rng([it.seed, 1]).standard_normal((6, 4), np.float32)
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in (W, b, x)]
    for step in range(it.steps):
        d = (softmax(x @ W.T + b) - teacher.astype(np.float32)) / np.float32(6)
        gradients = d.T @ x, d.sum(axis=0), d @ W
        for p, g, (m, v) in zip((W, b, x), gradients, moments, strict=True):
            adamw(p, g, m, v, step + 1, it.learning_rate * (it.steps - step) / it.steps, 0.0)
    W, b, x = (p.astype(np.float64) for p in (W, b, x))
    logits = x @ W.T + b
    divergence = sum(p * math.log(p / q) for p, q in zip(teacher.flat, softmax(logits).flat, strict=True)) / 6
    singular = np.linalg.svd(logits - logits.mean(axis=1, keepdims=True), compute_uv=False)
    share = singular / singular.sum()
    share = share[share > 0]
    found = it.run(Context())
    limit = 2**8 * float(
        np.finfo(np.float32).eps
    )  # of a few steps in float32, whose sums may be taken in another order
    assert found["kl"] == pytest.approx(divergence, rel=limit)
    assert found["rank"] == 5
    assert found["effective_rank"] == pytest.approx(math.exp(-(share * np.log(share)).sum()), rel=limit)


def test_the_head_of_an_experiment_is_the_one_that_is_asked_for():
    for head, width in (("none", 4), ("linear", 7), ("gelu_ln", 7)):
        sizes = replace(SMALL, head=head, output_embedding_size=width).sizes
        assert (sizes.head, sizes.output_embedding_size, sizes.hidden_size, sizes.vocab_size) == (head, width, 4, 9)
        assert sizes.num_hidden_layers == 0
