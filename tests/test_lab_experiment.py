"""A run of the lab: a function of its settings, paired by seed, all of it measured; and the same on Triton."""

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from minirembert.lab.experiment import Baseline, Experiment, Finetuning, Training, Twins, pretrain
from minirembert.lab.jobs import Context, Result, settings_of
from minirembert.lab.model import INPUT_EMBEDDING, OUTPUT_EMBEDDING, LabModel
from minirembert.lab.runs import records
from minirembert.lab.tasks import TASKS
from minirembert.lab.variant import Variant
from minirembert.lab.world import World, build_corpus

TINY = Experiment(
    Variant(input_embedding_size=6, output_embedding_size=20, hidden_size=12, num_hidden_layers=2, num_attention_heads=2),
    World(sentences=120, held_out=60, breadth=0.0),
    Training(steps=6, batch_size=8),
)  # fmt: skip
TASK = Finetuning(dropped=(0, 1), steps=2, batch_size=4, examples=20, scored=10)


def numbers(value):
    """Every number inside lists and dictionaries."""
    if isinstance(value, dict):
        return [number for one in value.values() for number in numbers(one)]
    if isinstance(value, list):
        return [number for one in value for number in numbers(one)]
    return [value]


def run(experiment, report=lambda steps: None):
    """A run and, before it, what it needs."""
    results = {name: need.run(Context(report)) for name, need in experiment.needs.items()}
    return experiment.run(Context(report, results))


def test_a_run_is_a_function_of_its_settings():
    steps = []
    experiment = replace(TINY, finetuning=TASK)
    assert experiment.needs == {"pretraining": TINY} and not TINY.needs
    one, again = (run(experiment, steps.append) for _ in range(2))
    assert one == again and sum(steps) == 2 * (experiment.steps + TINY.steps)
    assert json.loads(json.dumps(one, allow_nan=False)) == one
    assert all(math.isfinite(number) for number in numbers(one))
    assert one["vocab_size"] > 700 and one["curve"]["step"][-1] == 6 and one["side_gradients"]["step"] == [0]
    assert one["tasks"].keys() == {"1", "2"} and one["tasks"]["1"].keys() == set(TASKS)
    assert all(scores.keys() == {"a", "b"} for scores in one["tasks"]["2"].values())
    before, other = TINY.run(Context()), replace(TINY, seed=1).run(Context())
    assert dict(before) == {key: value for key, value in one.items() if key != "tasks"}
    assert other["loss"] != before["loss"] and before.arrays.keys() > {INPUT_EMBEDDING, OUTPUT_EMBEDDING}


def test_a_run_says_what_it_needs():
    with pytest.raises(ValueError, match="this run needs the result of another, pretraining"):
        replace(TINY, finetuning=TASK).run(Context())


def test_which_steps_read_what_is_told_twice(monkeypatch):
    """Each line of their batches has a second [SEP]."""
    ends = []

    def loss_and_gradients(self, input_ids, **inputs):
        ends.append({*(input_ids == 2).sum(axis=1)})
        return 0.0, {name: np.ones_like(array) for name, array in self.parameters.items()}

    monkeypatch.setattr(LabModel, "loss_and_gradients", loss_and_gradients)
    corpus = build_corpus(TINY.world, 0)
    model = LabModel(TINY.variant.sizes(len(corpus.pieces)))
    pretrain(model, corpus, Training(steps=6, batch_size=4, twice_every=3), lambda steps: None)
    assert ends[-6:] == [{1}, {1}, {2}, {1}, {1}, {2}]


def test_it_learns():
    """Not how well; that the steps go downhill on sentences that it never read."""
    curve = replace(TINY, training=Training(steps=60, batch_size=16, warmup=10)).run(Context())["curve"][
        "held_out_loss"
    ]
    assert curve[-1] < min(curve[0], math.log(840))


def test_a_pair_reads_the_same():
    """Runs of one seed see the same sentences and masks: with the encoder's first weights alike, the first gradients are
    those of the same batch. A width that only the output has changes nothing on the input side but what comes back."""
    wide = replace(TINY, variant=replace(TINY.variant, output_embedding_size=24))
    from minirembert.lab import experiment

    seen = []
    original = experiment.side_gradients

    def note(model, batch):
        seen.append((batch["input_ids"], model.parameters[INPUT_EMBEDDING].copy()))
        return original(model, batch)

    experiment.side_gradients = note
    try:
        for one in (TINY, wide):
            one.run(Context())
    finally:
        experiment.side_gradients = original
    (ids, rows), (other_ids, other_rows) = seen
    np.testing.assert_array_equal(ids, other_ids)
    np.testing.assert_array_equal(rows, other_rows)


def test_twins_compare_one_tied_matrix_with_both_of_the_other(tmp_path):
    tied = replace(TINY, variant=replace(TINY.variant, input_embedding_size=12, output_embedding_size=12, tied=True))
    untied = replace(TINY, variant=replace(tied.variant, tied=False))
    twins = Twins(tied, untied)
    (record,) = records([twins], tmp_path, 1)
    cka = record["measured"]["cka"]
    # at the start the tied matrix and the untied input are one; six steps have not parted them
    assert cka["input"] > 0.9 > cka["output"] and 0 <= cka["chance"] < 0.5
    assert record["settings"] == settings_of(twins)


@pytest.mark.parametrize("tied", [False, True])
def test_a_run_on_triton_is_the_run_on_numpy(tied):
    """In float64, two steps: the same losses, probes and tasks, to rounding."""
    variant = replace(TINY.variant, input_embedding_size=20, tied=tied)
    task = Finetuning(tasks=("tags",), steps=1, batch_size=4, examples=8, scored=6)
    world = replace(TINY.world, sentences=60, held_out=30)
    runs = [
        run(Experiment(variant, world, Training(steps=2, batch_size=4, backend=backend, dtype="float64"), task))
        for backend in ("numpy", "triton")
    ]
    # Adam's first steps divide each gradient by its own size, which multiplies the rounding of those near zero. What is
    # looked for is another batch, task or step, which changes the third digit.
    for name in ("loss", "curve", "side_gradients", "tasks", "isotropy"):
        expected, actual = (np.array(numbers(run[name]), float) for run in runs)
        np.testing.assert_allclose(actual, expected, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be an integer of at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"twice_every": 0}, "twice_every must be an integer of at least 1, got 0"),
        ({"warmup": -5}, "warmup must be an integer of at least 0, got -5"),
        ({"learning_rate": 0.0}, "learning_rate must be a number above 0 and finite, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number above 0 and finite, got nan"),
    ],
)
def test_training_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        Training(**change)
    if change.keys() & {"steps", "batch_size", "learning_rate"}:
        with pytest.raises(ValueError, match=message):
            Finetuning(**change)


def test_experiments_that_cannot_be():
    for change, message in (
        ({"tasks": ("foo",)}, "there is no task 'foo'; the tasks are paraphrase, inference, tags, questions"),
        ({"tasks": "tags"}, "tasks must be a tuple with at least one entry, got 'tags'"),
        ({"dropped": ()}, "dropped must be a tuple with at least one entry"),
        ({"dropped": (-1,)}, "dropped must hold numbers of blocks, 0 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            Finetuning(**change)
    with pytest.raises(ValueError, match="there are 2 blocks, so 3 cannot be dropped"):
        replace(TINY, finetuning=Finetuning(dropped=(0, 3)))
    with pytest.raises(ValueError, match="seed must be an integer of at least 0, got -1"):
        replace(TINY, seed=-1)
    with pytest.raises(ValueError, match=r"a baseline is one of majority, .*, got 'luck'"):
        Baseline(TINY.variant, TINY.world, TINY.training, TASK, name="luck")
    with pytest.raises(ValueError, match="the baseline 'words' is of tasks, so it needs finetuning"):
        Baseline(TINY.variant, TINY.world, TINY.training)
    with pytest.raises(ValueError, match="twins are a tied and an untied model of one seed, in this order"):
        Twins(TINY, TINY)


def test_weights_that_are_not_there_are_not_replaced_by_fresh_ones(tmp_path):
    """Fine-tuning needs what pre-training left; a cache that lost it says so."""
    experiment = replace(TINY, finetuning=replace(TASK, tasks=("tags",), dropped=(0,)))
    records([TINY], tmp_path, 1)
    (path,) = tmp_path.glob("*.npz")
    kept = path.read_bytes()
    path.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(ValueError, match=f"{path.name} is damaged .*: delete it and {path.stem}.json, and the run is"):
        records([experiment], tmp_path, 1)
    with np.load(io.BytesIO(kept)) as file:
        arrays = dict(file)
    arrays.popitem()
    with path.open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(ValueError, match=f"{path.name} does not have the arrays of its record"):
        records([experiment], tmp_path, 1)
    path.unlink()
    with pytest.raises(
        ValueError, match=f"{path.name} does not exist, though its record is there: delete {path.stem}.json"
    ):
        records([experiment], tmp_path, 1)
    assert len(list(tmp_path.glob("*.json"))) == 1
    path.with_suffix(".json").unlink()
    assert records([experiment], tmp_path, 1)[0]["measured"]["tasks"]
    with pytest.raises(ValueError, match="the weights of the pre-trained model with seed 0 are not all there"):
        experiment.run(Context(results={"pretraining": Result({}, {})}))
