"""Settings take NumPy's scalars wherever they take numbers and switches, and keep Python's own types."""

import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import TASKS, make_batch, make_model

from minirembert.generation.settings import GenerationSettings
from minirembert.lab.experiment import Experiment, Finetuning, Training
from minirembert.lab.jobs import settings_of
from minirembert.lab.runs import Cache
from minirembert.lab.sizes import Sizes
from minirembert.lab.variant import Variant
from minirembert.lab.world import World, build_corpus
from minirembert.scalars import plain
from minirembert.training.finetune import FinetuneSettings
from minirembert.training.loop import Schedule, train
from minirembert.training.optimizer import AdamW, clip_gradients, learning_rate_at
from minirembert.training.pretrain import PretrainSettings
from minirembert.training.run_folder import RunFolder

OF_PYTHON: list[Any] = [
    PretrainSettings(out="x", corpus=("a.txt",), lines_per_sequence=2, warmup=3, steps=10, dropout=0.5),
    FinetuneSettings(model="m", train="a.tsv", out="x", warmup=3, max_length=9),
    Schedule(steps=10, learning_rate=0.5, warmup=2, threads=1),
    Training(learning_rate=0.5),
    Finetuning(dropped=(0, 1)),
    Variant(),
    World(overlap=0.25, parallel=True),
    Sizes(hidden_size=128, tied=True),
    GenerationSettings(do_sample=True, temperature=0.5, top_k=3, top_p=0.75, seed=7, max_new_tokens=4, use_cache=False),
    GenerationSettings(num_beams=3, length_penalty=0.5, early_stopping=True, min_length=2, eos_token_id=(1, 2)),
]


def of_numpy(value: Any) -> Any:
    """The same in NumPy's words."""
    if isinstance(value, tuple):
        return tuple(map(of_numpy, value))
    kinds: dict[type, Callable[[Any], Any]] = {bool: np.bool_, int: np.int64, float: np.float32, str: np.str_}
    return kinds[type(value)](value) if type(value) in kinds else value


def types_of(value: Any) -> Any:
    return tuple(map(type, value)) if isinstance(value, tuple) else type(value)


@pytest.mark.parametrize("settings", OF_PYTHON, ids=lambda settings: type(settings).__name__)
def test_numpy_s_scalars_become_python_s_own(settings: Any) -> None:
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    again = type(settings)(**{name: of_numpy(value) for name, value in values.items()})
    for name, value in values.items():
        found = getattr(again, name)
        assert types_of(found) == types_of(value), name
        assert found == plain(of_numpy(value)), name
    json.dumps(asdict(again), allow_nan=False)
    hash(again)


def test_a_job_of_numpy_s_numbers_is_the_same_job(tmp_path: Path) -> None:
    """Its name in a cache is a hash of its settings."""
    jobs = [
        Experiment(Variant(hidden_size=size), World(), Training(steps=steps), Finetuning(dropped=(dropped,)), seed)
        for size, steps, dropped, seed in ((48, 20, 1, 3), (np.int32(48), np.uint8(20), np.int64(1), np.int64(3)))
    ]
    assert jobs[0] == jobs[1]
    assert settings_of(jobs[0]) == settings_of(jobs[1])
    assert Cache(tmp_path).name(jobs[0]) == Cache(tmp_path).name(jobs[1])
    small = World(sentences=50, held_out=10)
    assert build_corpus(small, np.int64(1)).train == build_corpus(small, 1).train


WRONG = [
    (OF_PYTHON[0], {"steps": 2.5}, "steps must be an integer"), (OF_PYTHON[0], {"seed": "0"}, "seed must be an integer"),
    (OF_PYTHON[0], {"seed": True}, "seed must be an integer"),
    (OF_PYTHON[0], {"alpha": np.bool_(True)}, "alpha must be a number"),
    (OF_PYTHON[0], {"warmup": np.float64(3)}, "warmup must be an integer or None"),
    (OF_PYTHON[0], {"corpus": "a.txt"}, "corpus must be a tuple, each of its values a string"),
    (OF_PYTHON[1], {"epochs": None}, "epochs must be an integer"), (OF_PYTHON[1], {"out": 3}, "out must be a string"),
    (OF_PYTHON[2], {"learning_rate": "fast"}, "learning_rate must be a number"),
    (OF_PYTHON[2], {"steps": np.True_}, "steps must be an integer"),
    (OF_PYTHON[3], {"warmup": np.float64(1)}, "warmup must be an integer"),
    (OF_PYTHON[4], {"dropped": (np.bool_(True),)}, "dropped must hold numbers of blocks"),
    (OF_PYTHON[6], {"parallel": np.int64(1)}, "parallel must be true or false"),
    (OF_PYTHON[7], {"hidden_size": np.float32(64)}, "hidden_size must be an integer"),
    (OF_PYTHON[8], {"seed": np.float64(1)}, "seed must be an integer"),
    (OF_PYTHON[8], {"temperature": np.float32("nan")}, "temperature must be a number"),
    (OF_PYTHON[8], {"do_sample": np.int64(1)}, "do_sample must be True or False"),
    (OF_PYTHON[8], {"top_p": Fraction(10**400)}, "top_p must be a number"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "change", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_a_value_of_the_wrong_type_is_named(settings: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(settings, **change)


def test_paths_and_lists_are_what_they_spell() -> None:
    given = replace(OF_PYTHON[0], out=Path("x"), corpus=[Path("a.txt")], tokenizer=Path("t"))
    assert given == replace(OF_PYTHON[0], tokenizer="t")


def test_a_fraction_is_a_number() -> None:
    assert replace(OF_PYTHON[8], top_p=Fraction(3, 4)) == OF_PYTHON[8]


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_adamw_takes_numpy_s_numbers_and_computes_the_same_bits(kind: Any) -> None:
    """A NumPy float64 is a strong type: it would compute in float64 what Python's float leaves in float32."""
    rng = np.random.default_rng(0)
    start, gradient = (rng.standard_normal((5, 7)).astype(np.float32) for _ in range(2))
    ours, theirs = start.copy(), start.copy()
    numbers = (0.875, 0.96875, 2.0**-20, 0.0625, 2.0**-7)  # which float32 has exactly
    for parameter, (b1, b2, eps, decay, rate) in ((ours, numbers), (theirs, tuple(map(kind, numbers)))):
        optimizer = AdamW({"w": parameter}, betas=(b1, b2), eps=eps, weight_decay=decay)
        for _ in range(3):
            optimizer.step({"w": gradient}, rate)
    assert ours.tobytes() == theirs.tobytes() != start.tobytes()
    optimizer.load(optimizer.weights(), optimizer.state(), np.int64(4))
    assert type(optimizer.step_count) is int and optimizer.step_count == 4


def test_the_schedule_and_clipping_take_numpy_s_numbers() -> None:
    rate = learning_rate_at(np.int64(3), np.float32(0.5), np.int32(2), np.int64(10))
    assert type(rate) is float and rate == learning_rate_at(3, 0.5, 2, 10)
    ours, theirs = (np.full(3, 2, np.float32) for _ in range(2))
    assert clip_gradients({"w": ours}, 0.5) == clip_gradients({"w": theirs}, np.float64(0.5))
    assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"eps": "small"}, "eps"), ({"weight_decay": True}, "weight_decay"), ({"betas": (0.9, None)}, r"betas\[1\]")],
)
def test_adamw_refuses_what_is_no_number(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=f"{message} must be a number"):
        AdamW({"w": np.zeros(2, np.float32)}, **change)


def test_a_model_takes_numpy_s_seeds_and_sizes(tmp_path: Path) -> None:
    task = TASKS["masked lm"]
    model, batch = make_model(task, hidden_dropout_prob=0.5), make_batch(task)
    losses = {model.loss_and_gradients(**batch, dropout_seed=seed)[0] for seed in (7, np.int64(7), np.uint8(7))}
    assert len(losses) == 1
    for wrong in (7.0, np.float64(7), True, "7"):
        with pytest.raises(TypeError, match="dropout_seed must be an integer"):
            model.loss_and_gradients(**batch, dropout_seed=wrong)

    class Seen(Exception):
        pass

    def see(dropout_seed: int, **_: Any) -> None:
        raise Seen(dropout_seed)

    model.loss_and_gradients = see  # type: ignore[method-assign, assignment]
    seed = 2**40  # shifted, it needs more than 64 bits
    with RunFolder(tmp_path / "run", {}) as folder, pytest.raises(Seen) as seen:
        train(model, lambda step: batch, Schedule(2, 0.1, 0), folder, dropout_seed=np.int64(seed))
    assert seen.value.args == (seed << 32,)
    model.resize_token_embeddings(np.int64(70))
    assert type(model.config.vocab_size) is int and model.config.vocab_size == 70
