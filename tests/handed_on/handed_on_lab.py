"""What each setting of the lab does: of a run and its parts, of the ledger, of an arm, of a rule."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import fields, replace
from fractions import Fraction
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from cases import Case, Changes, ChangesNothing, Refused, Settings

from minirembert.cli import main
from minirembert.data.masked_lm import MaskedLMData
from minirembert.lab import experiment
from minirembert.lab.claims import CLAIMS, find
from minirembert.lab.claims.arms import ARMS, Arm, job
from minirembert.lab.claims.claim import Claim, panel
from minirembert.lab.claims.comparison import EQUAL, NOT_SHOWN, SHOWN, Comparison, Everywhere
from minirembert.lab.claims.counts import EveryCount
from minirembert.lab.claims.profiles import PROFILES, Profile
from minirembert.lab.claims.results import run_claim
from minirembert.lab.conventions import FINETUNING, PHASES, PRETRAINING, Convention
from minirembert.lab.experiment import Baseline, Experiment, Finetuning, Training, Twins
from minirembert.lab.jobs import Context, Result
from minirembert.lab.ledger import parameters
from minirembert.lab.model import INPUT_EMBEDDING, OUTPUT_EMBEDDING, LabModel
from minirembert.lab.rank_of_head import HeadExperiment
from minirembert.lab.sizes import Sizes
from minirembert.lab.tasks import Examples, baselines, fine_tune
from minirembert.lab.variant import Variant
from minirembert.lab.world import World

Changed = Mapping[str, Any]


def of(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


# --- a run ------------------------------------------------------------------------------------------------------------

VARIANT = Variant(6, 10, 12, 2, 2)
WORLD = World(sentences=80, held_out=40, breadth=0.0)
TRAINING = Training(steps=4, batch_size=3, learning_rate=0.01, warmup=1, twice_every=2)
TUNING = Finetuning(tasks=("tags",), dropped=(0,), steps=2, batch_size=3, learning_rate=0.01, examples=12, scored=5)


class Seen:
    """What a run did on its way: batches, weights after each step, what was tuned and on what it was scored."""

    def __init__(self) -> None:
        self.batches: list[np.ndarray] = []
        self.weights: list[dict[str, np.ndarray]] = []
        self.backends: list[str] = []
        self.tuned: list[Any] = []
        self.kept: list[int] = []
        self.tasks: list[str] = []
        self.learned: list[int] = []
        self.rows: list[int] = []
        self.asked: list[int] = []
        self.reports: list[int] = []
        self.result: Result = Result({})

    def note(self, model: Any) -> None:
        self.weights.append({name: model.backend.numpy(array).copy() for name, array in model.parameters.items()})

    def __eq__(self, other: object) -> bool:
        """The same weights after every step."""
        assert isinstance(other, Seen) and len(self.weights) == len(other.weights) > 1
        pairs = zip(self.weights, other.weights, strict=True)
        return all(np.array_equal(array, after[name]) for before, after in pairs for name, array in before.items())

    __hash__ = None  # type: ignore[assignment]

    def step(self, number: int) -> np.ndarray:
        """How the input embedding changed in a step of pre-training."""
        return self.weights[number + 1][INPUT_EMBEDDING] - self.weights[number][INPUT_EMBEDDING]


@contextmanager
def watched() -> Iterator[Seen]:
    seen = Seen()
    batch_of, pretrain_of, some_of, scores_of = (
        MaskedLMData.batch, experiment.pretrain, Examples.batch, experiment._scores
    )  # fmt: skip

    def batch(self: Any, *given: Any) -> Any:
        made = batch_of(self, *given)
        seen.batches.append(made.input_ids)
        return made

    def pretrain(model: Any, corpus: Any, training: Any, report: Any) -> Any:
        seen.backends.append(model.backend.name)
        seen.note(model)

        def step(steps: int) -> None:
            seen.note(model)
            report(steps)

        return pretrain_of(model, corpus, training, step)

    def tune(start: Any, task: Any, examples: Any, **named: Any) -> Any:
        model = fine_tune(start, task, examples, **named)
        seen.tuned.append(model.parameters[INPUT_EMBEDDING].copy() - start.parameters[INPUT_EMBEDDING])
        seen.tasks.append(task.name)
        seen.kept.append(model.config.num_hidden_layers)
        seen.learned.append(len(examples))
        return model

    def some(self: Any, rows: Any) -> Any:
        seen.rows.append(len(rows))
        return some_of(self, rows)

    def scores(model: Any, *given: Any) -> Any:
        """Of held-out sentences; left out where it would take the interpreter a quarter of a minute."""
        return {"loss": 0.0, "accuracy": 0.0} if model.backend.name == "triton" else scores_of(model, *given)

    def score(model: Any, task: Any, examples: Any) -> Any:
        seen.asked.append(len(examples))
        return {"score": 0.5}

    with ExitStack() as stack:
        for place, name, new in (
            (MaskedLMData, "batch", batch), (experiment, "pretrain", pretrain), (experiment, "measure", lambda *_: {}),
            (experiment, "_scores", scores),
            (Examples, "batch", some), (experiment, "fine_tune", tune), (experiment, "score", score),
            (baselines, "fine_tune", tune), (baselines, "score", score),
        ):  # fmt: skip
            stack.enter_context(patch.object(place, name, new))
        yield seen


@cache
def ran(of: Experiment) -> Seen:
    """A run, after what it needs; the probes are left out, which take no setting."""
    with watched() as seen:
        results = {name: need.run(Context()) for name, need in of.needs.items()}
        seen.batches.clear()
        seen.result = of.run(Context(seen.reports.append, results))
    return seen


def told_twice(seen: Seen) -> list[bool]:
    """Of each batch, whether its lines have a second [SEP]."""
    return [bool(((ids == 2).sum(axis=1) == 2).all()) for ids in seen.batches]


def close(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal but for rounding in float32; what a step changes is at least as large as a hundredth of its rate."""
    return bool(np.allclose(one, other, rtol=1e-3, atol=float(np.abs(one).max()) * 1e-4))


TRAINING_SETTINGS = Settings(
    Training,
    of(Training),
    lambda changed: ran(Experiment(VARIANT, WORLD, replace(TRAINING, **changed))),
    {
        "steps": Changes(5, lambda before, after: (len(before.batches), len(after.batches)) == (4, 5)
                         and after.result["curve"]["step"] == [1, 2, 3, 4, 5]),
        "batch_size": Changes(4, lambda _, after: {len(ids) for ids in after.batches} == {4}),
        "learning_rate": Changes(0.02, lambda before, after: close(2 * before.step(0), after.step(0))),
        "warmup": (
            Changes(2, lambda before, after: close(before.step(0), 2 * after.step(0))),
            ChangesNothing(2, "half of all steps at most", also={"steps": 2, "warmup": 400}),
        ),
        "twice_every": Changes(3, lambda before, after: told_twice(before) == [False, True, False, True]
                               and told_twice(after) == [False, False, True, False]),
        "backend": Changes("triton", lambda before, after: before.backends == ["numpy"] and after.backends == ["triton"]
                           and close(before.weights[-1][INPUT_EMBEDDING], after.weights[-1][INPUT_EMBEDDING]),
                           also={"steps": 1, "batch_size": 2}),
        "dtype": Changes("float64", lambda before, after: {a.dtype.name for a in after.result.arrays.values()} == {"float64"}),
    },
)  # fmt: skip
TUNING_SETTINGS = Settings(
    Finetuning,
    of(Finetuning),
    lambda changed: ran(Experiment(VARIANT, WORLD, replace(TRAINING, steps=1), replace(TUNING, **changed))),
    {
        "tasks": Changes(("tags", "inference"), lambda _, after: after.tasks == ["tags", "inference"]
                         and after.result["tasks"]["2"].keys() == {"tags", "inference"}),
        "dropped": Changes((0, 2), lambda before, after: before.kept == [2] and after.kept == [2, 0]
                           and after.result["tasks"].keys() == {"2", "0"}),
        "steps": Changes(5, lambda before, after: (len(before.rows), len(after.rows)) == (2, 5) and after.reports == [5]),
        "batch_size": Changes(4, lambda before, after: set(before.rows) == {3} and set(after.rows) == {4}),
        "learning_rate": Changes(0.02, lambda before, after: close(2 * before.tuned[0], after.tuned[0]), also={"steps": 1}),
        "examples": Changes(13, lambda before, after: (before.learned, after.learned) == ([12], [13])),
        "scored": Changes(6, lambda before, after: (before.asked, after.asked) == ([5, 5], [6, 6])),
    },
)  # fmt: skip


def has_block_2(seen: Seen) -> bool:
    return any("layer.2." in name for name in seen.result.arrays)


PARTS: dict[str, Case | tuple[Case, ...]] = {
    "variant": Changes(replace(VARIANT, num_hidden_layers=3), lambda _, after: has_block_2(after)),
    "world": Changes(replace(WORLD, languages=1),
                     lambda before, after: after.result["vocab_size"] < before.result["vocab_size"]),
    "training": Changes(replace(TRAINING, steps=2), lambda _, after: len(after.batches) == 2),
    "finetuning": Changes(TUNING, lambda before, after: "tasks" not in before.result and "tasks" in after.result
                          and before.result.items() <= after.result.items()),
    "seed": Changes(1, lambda before, after: not np.array_equal(before.batches[0], after.batches[0])
                    and not np.array_equal(before.weights[0][OUTPUT_EMBEDDING][:99], after.weights[0][OUTPUT_EMBEDDING][:99])),
}  # fmt: skip
EXPERIMENT_SETTINGS = Settings(
    Experiment,
    of(Experiment),
    lambda changed: ran(Experiment(**{"variant": VARIANT, "world": WORLD, "training": TRAINING, **changed})),
    PARTS,
)


def baseline(changed: Changed) -> Seen:
    base = {"variant": VARIANT, "world": WORLD, "training": TRAINING, "finetuning": TUNING, "name": "own language"}
    return ran(Baseline(**{**base, **changed}))


def starts_elsewhere(before: Seen, after: Seen) -> bool:
    """Other weights were fine-tuned, on as many examples."""
    return before.learned == after.learned and not np.array_equal(before.tuned[0], after.tuned[0])


BASELINE_SETTINGS = Settings(
    Baseline,
    of(Baseline),
    baseline,
    {
        "variant": Changes(replace(VARIANT, num_hidden_layers=3), lambda before, after: before.kept == [2, 2]
                           and after.kept == [3, 3] and after.result["tasks"].keys() == {"3"}),
        "world": Changes(replace(WORLD, languages=3), lambda before, after: (len(before.tuned), len(after.tuned)) == (2, 3)),
        "training": Changes(replace(TRAINING, steps=2), starts_elsewhere),
        "finetuning": (
            Changes(replace(TUNING, examples=13), lambda _, after: after.learned == [13] * 2),
            Changes(replace(TUNING, scored=6), lambda _, after: after.asked == [6] * 2),
            Changes(replace(TUNING, steps=3), lambda before, after: (len(before.rows), len(after.rows)) == (4, 6)),
            Changes(replace(TUNING, batch_size=4), lambda before, after: set(before.rows) == {3} and set(after.rows) == {4}),
            Changes(replace(TUNING, learning_rate=0.5), starts_elsewhere),
            Refused(None, "is of tasks, so it needs finetuning"),
        ),
        "seed": Changes(1, lambda before, after: not np.array_equal(before.tuned[0], after.tuned[0])),
        "name": Changes("untrained", lambda before, after: (len(before.tuned), len(after.tuned)) == (2, 1)),
    },
)  # fmt: skip

TIED = Experiment(Variant(12, 12, 12, 2, 2, tied=True), WORLD, TRAINING)
UNTIED = replace(TIED, variant=replace(TIED.variant, tied=False))


def twins(changed: Changed) -> dict[str, float]:
    """Of matrices that depend on how long each of the two was trained."""
    it = Twins(**{"tied": TIED, "untied": UNTIED, **changed})
    results = {}
    for name, need in it.needs.items():
        assert isinstance(need, Experiment)
        rng = np.random.default_rng([need.training.steps, need.variant.tied])
        arrays = {side: rng.standard_normal((30, 12)) for side in (INPUT_EMBEDDING, OUTPUT_EMBEDDING)}
        results[name] = Result({}, arrays)
    found: dict[str, float] = it.run(Context(results=results))["cka"]
    return found


LONGER = replace(TRAINING, steps=9)
TWIN_SETTINGS = Settings(
    Twins,
    of(Twins),
    twins,
    {
        name: (
            Changes(replace(one, training=LONGER), lambda before, after: all(before[n] != after[n] for n in before)),
            ChangesNothing(replace(one, finetuning=TUNING), "what is compared is pre-trained"),
            Refused(other, "twins are a tied and an untied model of one seed, in this order"),
        )
        for name, one, other in (("tied", TIED, UNTIED), ("untied", UNTIED, TIED))
    },
)


def variant(changed: Changed) -> dict[str, Any]:
    model = LabModel(replace(VARIANT, **changed).sizes(40))
    return {
        "heads": model.config.num_attention_heads,
        **{name: array.shape for name, array in model.parameters.items()},
    }


DENSE, NORM = "cls.predictions.dense.weight", "cls.predictions.LayerNorm.weight"
VARIANT_SETTINGS = Settings(
    Variant,
    of(Variant),
    variant,
    {
        "input_embedding_size": Changes(7, lambda _, after: after[INPUT_EMBEDDING] == (40, 7)),
        "output_embedding_size": Changes(9, lambda _, after: after[OUTPUT_EMBEDDING] == (40, 9)),
        "hidden_size": Changes(14, lambda _, after: after[DENSE] == (10, 14)),
        "num_hidden_layers": Changes(3, lambda _, after: any("layer.2." in name for name in after)),
        "num_attention_heads": Changes(3, lambda before, after: (before["heads"], after["heads"]) == (2, 3)),
        "tied": Changes(True, lambda before, after: before.keys() - after.keys() == {OUTPUT_EMBEDDING},
                        also={"input_embedding_size": 10}),
        "head": (
            Changes("linear", lambda _, after: DENSE in after and NORM not in after),
            Changes("none", lambda _, after: DENSE not in after and NORM not in after, also={"output_embedding_size": 12}),
        ),
    },
)  # fmt: skip

# --- the ledger -------------------------------------------------------------------------------------------------------

SIZES: dict[str, Any] = {
    "vocab_size": 4000, "input_embedding_size": 128, "hidden_size": 128, "num_hidden_layers": 5, "num_attention_heads": 4,
    "intermediate_size": 512, "output_embedding_size": 128, "max_position_embeddings": 90, "type_vocab_size": 3,
}  # fmt: skip


def ledger(changed: Changed) -> dict[str, Any]:
    """What the command writes when it is given these sizes."""
    words = []
    for name, value in {**SIZES, **changed}.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None:
            words += [f"--{option}", str(value)]
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        path = Path(folder) / "ledger.json"
        if main(["ledger", *words, "--json", str(path)]):
            raise ValueError("see the sentence")
        made: dict[str, Any] = json.loads(path.read_text())
    return made


def grew(component: str, by: int, *others: tuple[str, int]) -> Any:
    """Whether this component, and no other but those that are named too, has so many parameters more in pre-training."""

    def how(before: dict[str, Any], after: dict[str, Any]) -> bool:
        one, other = before["parameters"][PRETRAINING], after["parameters"][PRETRAINING]
        more = {component: by, **dict(others)}
        found = {name: other[name] - one[name] for name in one if other[name] != one[name]}
        return found == {**more, "total": sum(more.values())}

    return how


def size(name: str, value: Any) -> Any:
    def how(before: dict[str, Any], after: dict[str, Any]) -> bool:
        return bool(
            before["sizes"][name] != value == after["sizes"][name] and before["parameters"] != after["parameters"]
        )

    return how


BLOCK = 4 * (128 * 128 + 128) + 2 * 128 * 512 + 512 + 128 + 4 * 128
SIZES_SETTINGS = Settings(
    Sizes,
    of(Sizes),
    ledger,
    {
        "vocab_size": Changes(4001, lambda before, after: after["parameters"][PRETRAINING]["total"]
                              - before["parameters"][PRETRAINING]["total"] == 128 + 128 + 1),
        "input_embedding_size": Changes(129, lambda before, after: after["parameters"][PRETRAINING]["total"]
                                        - before["parameters"][PRETRAINING]["total"] == 4000 + 93 + 2 + 128),
        "hidden_size": Changes(64, size("hidden_size", 64)),
        "num_hidden_layers": Changes(6, lambda before, after: after["parameters"][FINETUNING]["total"]
                                     - before["parameters"][FINETUNING]["total"] == BLOCK),
        "num_attention_heads": (
            Changes(8, lambda before, after: (before["sizes"]["num_attention_heads"], after["sizes"]["num_attention_heads"])
                    == (4, 8) and before["parameters"] == after["parameters"]),
            Changes(None, lambda before, after: after["sizes"]["num_attention_heads"] == 2),
        ),
        "intermediate_size": (
            Changes(100, grew("feed-forward", 5 * (100 - 512) * (2 * 128 + 1))),
            ChangesNothing(None, "4 H is the default"),
        ),
        "output_embedding_size": (
            Changes(129, lambda before, after: after["parameters"][PRETRAINING]["total"]
                    - before["parameters"][PRETRAINING]["total"] == 4000 + 128 + 1 + 2),
            Changes(None, lambda before, after: after["sizes"]["output_embedding_size"] == 1664),
            Changes(None, lambda before, after: after["sizes"]["output_embedding_size"] == 60,
                    also={"tied": True, "input_embedding_size": 60, "output_embedding_size": 60}),
        ),
        "max_position_embeddings": Changes(100, grew("positions, types, norm", 10 * 128)),
        "type_vocab_size": Changes(2, grew("positions, types, norm", -128)),
        "dropped_layers": Changes(2, lambda before, after: before["parameters"][PRETRAINING] == after["parameters"][PRETRAINING]
                                  and before["parameters"][FINETUNING]["total"] - after["parameters"][FINETUNING]["total"]
                                  == 2 * BLOCK),
        "tied": Changes(True, grew("output embedding", -4000 * 128)),
        "head": (
            Changes("linear", grew("head norm", -256)),
            Changes("none", grew("head dense", -(128 * 128 + 128)), also={"head": "linear"}),
        ),
        "square_projection": Changes(False, grew("input projection", -(128 * 128 + 128))),
        "cross_attention": Changes(True, grew("cross-attention", 5 * 4 * (128 * 128 + 128), ("norms", 5 * 2 * 128))),
    },
)  # fmt: skip


def convention(changed: Changed) -> dict[str, Any]:
    """What it counts of a model of which each component has its own size, and how it says a million and a half."""
    it = Convention(**{"name": "x", "pooler": (), "positions": False, "head_projection": False, "output_bias": False,
                       "rounding": "cut", **changed})  # fmt: skip
    counts = {phase: parameters(Sizes(vocab_size=100), phase, it) for phase in PHASES}
    return {"name": it.name, "millions": it.millions(1_500_000), **counts}


def counts_more(*expected: tuple[str, str]) -> Any:
    """Whether these components, each in its phase, are counted now, and no others."""

    def how(before: dict[str, Any], after: dict[str, Any]) -> bool:
        new = {(phase, name) for phase in PHASES for name in before[phase] if before[phase][name] != after[phase][name]}
        return new == set(expected) and all(before[phase][name] == 0 for phase, name in expected)

    return how


CONVENTION_SETTINGS = Settings(
    Convention,
    of(Convention),
    convention,
    {
        "name": Changes("y", lambda before, after: {**before, "name": "y"} == after),
        "pooler": (
            Changes((PRETRAINING,), counts_more((PRETRAINING, "pooler"))),
            Changes((FINETUNING,), counts_more((FINETUNING, "pooler"))),
        ),
        "positions": Changes(True, counts_more(*((phase, "positions, types, norm") for phase in PHASES))),
        "head_projection": Changes(True, counts_more((PRETRAINING, "head dense"), (PRETRAINING, "head norm"))),
        "output_bias": Changes(True, counts_more((PRETRAINING, "output bias"))),
        "rounding": Changes("rounded", lambda before, after: (before["millions"], after["millions"]) == (1, 2)),
    },
)

# --- claims -----------------------------------------------------------------------------------------------------------

ODD = replace(PROFILES["smoke"], deeper_layers=7)
WHOLE, HALF = Fraction(1), Fraction(1, 2)


def arm(changed: Changed) -> Experiment:
    return Arm(**{"input": WHOLE, "output": WHOLE, **changed}).experiment(ODD, 1)


def only(what: str, **values: Any) -> Any:
    """Whether this part of an experiment has these values now, and all else is as before."""

    def how(before: Experiment, after: Experiment) -> bool:
        return after == replace(before, **{what: replace(getattr(before, what), **values)}) != before

    return how


ARM_SETTINGS = Settings(
    Arm,
    of(Arm),
    arm,
    {
        "input": Changes(HALF, only("variant", input_embedding_size=16)),
        "output": Changes(HALF, only("variant", output_embedding_size=16)),
        "tied": Changes(True, only("variant", tied=True)),
        "wide": Changes(True, only("world", synonyms=2)),
        "deeper": Changes(True, only("variant", num_hidden_layers=7)),
        "dropping": Changes(True, only("finetuning", dropped=(0, 1))),
        "alone": Changes(True, only("world", silent=1)),
    },
)


def profile(changed: Changed) -> dict[str, Any]:
    """The runs of every claim, and what a result is called."""
    it = replace(ODD, **changed)
    arms = [name for claim in CLAIMS.values() for name in claim.columns]
    jobs = {(name, seed): job(name, it, seed) for name in arms for seed in range(it.seeds)}
    return {"name": run_claim(find("0"), it, Path("nowhere")).profile, "jobs": jobs}


def runs_of(kind: type, found: dict[str, Any]) -> dict[Any, Any]:
    return {place: one for place, one in found["jobs"].items() if isinstance(one, kind)}


def every(part: str, value: Any, arms: Any = None) -> Any:
    """Whether these arms' runs have this part now, and all others do not."""

    def how(before: dict[str, Any], after: dict[str, Any]) -> bool:
        runs = runs_of(Experiment, after)
        return before["jobs"].keys() == after["jobs"].keys() and bool(runs) and all(
            (getattr(one, part) == value(getattr(runs_of(Experiment, before)[place], part)))
            == (arms is None or arms(place[0]))
            for place, one in runs.items()
        )  # fmt: skip

    return how


def wide(name: str) -> bool:
    return name in ARMS and ARMS[name].wide


MORE = World(breadth=0, sentences=300, held_out=40)
PROFILE_SETTINGS = Settings(
    Profile,
    of(Profile),
    profile,
    {
        "name": Changes("odd", lambda before, after: (before["name"], after["name"]) == ("smoke", "odd")
                        and before["jobs"] == after["jobs"]),
        "seeds": Changes(2, lambda before, after: {seed for _, seed in after["jobs"]} == {0, 1}
                         and before["jobs"].items() <= after["jobs"].items()),
        "variant": Changes(replace(ODD.variant, num_attention_heads=4),
                           every("variant", lambda was: replace(was, num_attention_heads=4))),
        "world": Changes(MORE, every("world", lambda was: replace(was, sentences=300), lambda name: not wide(name))),
        "wide_world": Changes(replace(ODD.wide_world, sentences=300),
                              every("world", lambda was: replace(was, sentences=300), wide)),
        "deeper_layers": Changes(9, every("variant", lambda was: replace(was, num_hidden_layers=9),
                                          lambda name: name in ARMS and ARMS[name].deeper)),
        "training": Changes(Training(steps=9), every("training", lambda was: Training(steps=9))),
        "finetuning": Changes(replace(ODD.finetuning, steps=9), every("finetuning", lambda was: replace(was, steps=9))),
        "head": Changes(HeadExperiment(steps=9), lambda before, after: runs_of(Experiment, before) == runs_of(Experiment, after)
                        and {one.steps for one in runs_of(HeadExperiment, after).values()} == {9}),
    },
)  # fmt: skip

RUNS = {
    "a": {seed: {"loss": 2.0 + 0.01 * seed, "kl": 9.0, "met": 1, "printed": 2} for seed in range(4)},
    "b": {seed: {"loss": 1.0 - 0.01 * seed, "kl": 5.0 + seed, "met": 1, "printed": 2} for seed in range(4)},
    "c": {seed: {"loss": 0.1 - 0.2 * (seed % 2), "kl": 1.0, "met": 1, "printed": 2} for seed in range(4)},
}


def came(outcome: str, note: str) -> Any:
    return lambda before, after: (before.outcome, before.note) != (after.outcome, after.note) == (outcome, note)


COMPARISON_SETTINGS = Settings(
    Comparison,
    of(Comparison),
    lambda changed: Comparison(**{"what": "x", "quantity": "loss", "arm": "a", **changed}).judge(RUNS),
    {
        "what": Changes("y", lambda before, after: before._replace(what="y") == after),
        "quantity": Changes("kl", lambda _, after: after.values == dict.fromkeys(range(4), 9.0)),
        "arm": Changes("b", lambda _, after: after.values == {seed: 1.0 - 0.01 * seed for seed in range(4)}),
        "minus": Changes("b", lambda _, after: after.interval.mean < 1.1),
        "claimed": (
            Changes("below", came(NOT_SHOWN, "the opposite shows")),
            Changes("equal", came(NOT_SHOWN, "outside the band"), also={"band": 0.5}),
        ),
        "bound": Changes(3.0, came(NOT_SHOWN, "the opposite shows")),
        "band": (
            Changes(0.5, came(EQUAL, ""), also={"arm": "c"}),
            Changes(2.5, came(SHOWN, "inside the band")),
        ),
        "seeds": Changes(5, came(NOT_SHOWN, "too few seeds: 4 of 5")),
        "required": Changes(False, lambda before, after: before._replace(required=False) == after),
    },
)


def everywhere(kind: type) -> Settings:
    return Settings(
        kind,
        of(kind),
        lambda changed: kind(**{"what": "x", "quantity": "met", "value": 1, **changed}).judge(RUNS),
        {
            "what": Changes("y", lambda before, after: before._replace(what="y") == after),
            "quantity": Changes("printed", came(NOT_SHOWN, "0 of 3; not in a, b, c")),
            "value": Changes(2, came(NOT_SHOWN, "0 of 3; not in a, b, c")),
            "required": Changes(False, lambda before, after: before._replace(required=False) == after),
        },
    )


def claim(changed: Changed) -> dict[str, Any]:
    base = {name: name for name in ("name", "title", "paper", "question", "rule")}
    it = Claim(**{**base, "comparisons": (Comparison("x", "loss", "a"),), "panels": (), **changed})
    try:
        judgement = str(it.judge(RUNS))
    except ValueError as error:
        judgement = str(error)
    return {**{name: getattr(it, name) for name in base}, "columns": it.columns, "judgement": judgement}


TEXTS = ("name", "title", "paper", "question", "rule")
CLAIM_SETTINGS = Settings(
    Claim,
    of(Claim),
    claim,
    {
        **{name: Changes("y", lambda before, after, name=name: {**before, name: "y"} == after) for name in TEXTS},
        "comparisons": Changes((Comparison("x", "loss", "a", claimed="below"), Comparison("x", "kl", "b")),
                               lambda _, after: after["judgement"].startswith("not shown (1 of 2 comparisons hold")
                               and after["columns"] == {"a": ["loss"], "b": ["kl"]}),
        "panels": Changes((panel("kl", "c"),), lambda before, after: after["columns"] == {"c": ["kl"], "a": ["loss"]}
                          and before["judgement"] == after["judgement"]),
    },
)  # fmt: skip

SETTINGS = [
    TRAINING_SETTINGS, TUNING_SETTINGS, EXPERIMENT_SETTINGS, BASELINE_SETTINGS, TWIN_SETTINGS, VARIANT_SETTINGS,
    SIZES_SETTINGS, CONVENTION_SETTINGS, ARM_SETTINGS, PROFILE_SETTINGS, COMPARISON_SETTINGS, everywhere(Everywhere),
    everywhere(EveryCount), CLAIM_SETTINGS,
]  # fmt: skip
NO_SETTINGS = {
    "Context": "what a run is given from outside: somebody to tell, and results",
}
COMMANDS: dict[str, type] = {"ledger": Sizes}
_LEDGER, _LAB = "test_ledger_command.py", "test_lab_command.py"
_RUN, _REPORT = (f"{_LAB}::test_every_option_of_a_{what}_is_handed_on" for what in ("run", "report"))
OPTIONS = {
    "ledger --model": f"{_LEDGER}::test_the_command_reads_a_model",
    "ledger --paper": f"{_LEDGER}::test_the_command_prints_the_paper",
    **{
        f"ledger --{name}": f"{_LEDGER}::test_every_option_reaches_what_is_written"
        for name in ("convention", "sequence-length", "batch-size", "dtype", "json", "figure", "page")
    },
    **{f"lab run {name}": _RUN for name in ("claim", "--profile", "--cache", "--results", "--processes")},
    **{f"lab report {name}": _REPORT for name in ("claim", "--profile", "--results", "--out")},
    **{f"lab list {name}": _REPORT for name in ("--profile", "--results")},
}
