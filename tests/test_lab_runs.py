"""Runs and their cache: computed once, found again, several at once, and nothing half-written."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from minirembert.lab import runs
from minirembert.lab.experiment import Baseline, Experiment, Finetuning, Training
from minirembert.lab.jobs import Context, Result, settings_of
from minirembert.lab.rank_of_head import HeadExperiment
from minirembert.lab.runs import Cache, records
from minirembert.lab.variant import Variant
from minirembert.lab.world import World


@dataclass(frozen=True)
class Sum:
    """A job that costs nothing, and notes in a file that it ran."""

    log: str
    first: int
    numbers: tuple[int, ...] = (1, 2)
    seed: int = 0
    kind: ClassVar[str] = "sum"
    steps: ClassVar[int] = 3

    @property
    def needs(self) -> Mapping[str, "Sum"]:
        return {}

    def run(self, context: Context) -> Result:
        with Path(self.log).open("a") as log:
            log.write(f"{self.first}\n")
        if self.first == 13:
            raise ValueError("13 is no number for a job")
        if self.first == 17:
            time.sleep(1)
        if self.first == 18:
            while "13" not in Path(self.log).read_text():
                time.sleep(0.02)
            time.sleep(0.3)
            raise ValueError("18 is no number for a job")
        if self.first == 99:
            os._exit(1)
        context.report(3)
        return Result({"sum": self.first + sum(self.numbers)}, {"a/b.weight": np.full(2, self.first)})


@dataclass(frozen=True)
class Both:
    """A job that needs two others."""

    one: Sum
    other: Sum
    kind: ClassVar[str] = "both"
    steps: ClassVar[int] = 0

    @property
    def needs(self) -> Mapping[str, Sum]:
        return {"one": self.one, "other": self.other}

    def run(self, context: Context) -> Result:
        one, other = (context.results[name] for name in ("one", "other"))
        assert one["sum"] - 3 == one.arrays["a/b.weight"][0]
        return Result({"difference": int(other.arrays["a/b.weight"][0] - one.arrays["a/b.weight"][0])})


@dataclass
class Place:
    cache: Path
    log: Path
    seen: list[int] = field(default_factory=list)

    def job(self, first: int, **changes: object) -> Sum:
        return Sum(str(self.log), first, **changes)  # type: ignore[arg-type]

    def ran(self) -> list[int]:
        return [int(line) for line in self.log.read_text().split()] if self.log.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "cache", tmp_path / "log")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_job_is_computed_once(place, processes):
    jobs = [place.job(5, seed=2), place.job(7), place.job(5, seed=2), Both(place.job(7), place.job(11))]
    made = records(jobs, place.cache, processes)
    assert [record["measured"] for record in made] == [{"sum": 8}, {"sum": 10}, {"sum": 8}, {"difference": 4}]
    assert sorted(place.ran()) == [5, 7, 11]
    again = records([*jobs, place.job(11)], place.cache, processes)
    assert again[:4] == made and again[4]["measured"] == {"sum": 14} and len(place.ran()) == 3
    for record in made:
        assert record["provenance"]["seconds"] >= 0 and record["provenance"]["versions"]["numpy"] == np.__version__
    assert sorted(path.suffix for path in place.cache.iterdir()) == [".json"] * 4 + [".npz"] * 3


def test_every_setting_and_the_kind_are_in_the_name(place):
    cache = Cache(place.cache)
    jobs = [place.job(5), place.job(6), place.job(5, numbers=(1, 3)), place.job(5, numbers=(1,)), place.job(5, seed=1)]
    jobs.append(Both(jobs[0], jobs[1]))
    jobs.append(Both(jobs[1], jobs[0]))
    assert len({cache.name(job) for job in jobs}) == len(jobs)
    assert cache.name(place.job(5)) == cache.name(place.job(5, seed=0))


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_is_the_caller_s_and_what_was_done_stays(place, processes):
    with pytest.raises(ValueError, match="13 is no number for a job"):
        records([place.job(5), place.job(13, seed=1), place.job(7, seed=2)], place.cache, processes)
    assert Cache(place.cache).load(place.job(13, seed=1)) is None
    records([place.job(5)], place.cache, processes)
    assert place.ran().count(5) == 1


def test_an_error_does_not_take_the_running_jobs_along(place):
    """The one that runs beside it is finished and kept; the one that waits is not begun."""
    with pytest.raises(ValueError, match="13 is no number for a job"):
        records([place.job(17), place.job(13, seed=1), place.job(7, seed=2)], place.cache, 2)
    assert sorted(place.ran()) == [13, 17]
    assert records([place.job(17)], place.cache, 2)[0]["measured"] == {"sum": 20} and len(place.ran()) == 2


def test_a_process_that_dies_is_said(place):
    with pytest.raises(
        ChildProcessError, match="a process of the lab died, perhaps for lack of memory: try fewer processes"
    ):
        records([place.job(99), place.job(5, seed=1)], place.cache, 2)


def test_a_damaged_record_is_named(place):
    records([place.job(5)], place.cache, 1)
    (path,) = place.cache.glob("*.json")
    whole = path.read_text()
    path.write_text(whole[:-20])
    with pytest.raises(ValueError, match=f"{path.name} is not valid JSON: .*: delete it, and it is computed again"):
        records([place.job(5)], place.cache, 1)
    other = json.loads(whole)
    other["settings"]["first"] = 6
    path.write_text(json.dumps(other))
    with pytest.raises(ValueError, match=f"{path.name} is not the record of this run: delete it"):
        records([place.job(5)], place.cache, 1)
    for lost in ("measured", "provenance"):
        less = json.loads(whole)
        del less[lost]
        path.write_text(json.dumps(less))
        with pytest.raises(ValueError, match=f"{path.name} is not the record of this run: delete it"):
            records([place.job(5)], place.cache, 1)
    changed = whole.replace('"sum": 8', '"sum": 9')
    assert changed != whole
    path.write_text(changed)
    with pytest.raises(ValueError, match=f"{path.name} is not the record of this run: delete it"):
        records([place.job(5)], place.cache, 1)
    path.unlink()
    assert records([place.job(5)], place.cache, 1)[0]["measured"] == {"sum": 8}


def test_what_is_no_place_or_number(place, tmp_path):
    with pytest.raises(ValueError, match="processes must be at least 1, got 0"):
        records([place.job(5)], place.cache, 0)
    place.log.write_text("")
    with pytest.raises(NotADirectoryError, match="log is a file: the lab's cache needs a folder"):
        records([place.job(5)], place.log, 1)


def test_progress_is_said_in_steps(place, capsys):
    records([place.job(number) for number in range(5, 9)], place.cache, 1, title="claim 3")
    first, counted, *lines = capsys.readouterr().err.splitlines()
    assert first.startswith("claim 3: 4 runs, 12 steps, 1 at once; 0 runs are in ") and counted == "claim 3: 12 steps"
    assert lines[-1].startswith("claim 3: 12 of 12 steps, ") and len(lines) == 4
    records([place.job(5)], place.cache, 1)
    assert not capsys.readouterr().err


@dataclass(frozen=True)
class OtherSum(Sum):
    """The same settings under another name."""

    kind: ClassVar[str] = "other"


@dataclass(frozen=True)
class Turned:
    """The settings of `Sum` in another order."""

    seed: int
    numbers: tuple[int, ...]
    first: int
    log: str
    kind: ClassVar[str] = "sum"


@dataclass(frozen=True)
class InAWorld(Sum):
    world: str = "x"


def test_a_name_is_of_the_kind_the_settings_and_the_format(place, monkeypatch):
    cache, job = Cache(place.cache), place.job(5)
    name = cache.name(job)
    assert Cache(place.cache / "elsewhere").name(job) == name
    assert cache.name(OtherSum(str(place.log), 5)).removeprefix("other-") != name.removeprefix("sum-")
    assert cache.name(Turned(0, (1, 2), 5, str(place.log))) == name
    monkeypatch.setattr(runs, "FORMAT", runs.FORMAT + 1)
    assert cache.name(job) != name


def another(value: Any) -> Any:
    """Another value of a setting, such as it could have."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return value[:1]
    known = {
        "lab": "real",
        "same": "mixed",
        "numpy": "triton",
        "float32": "float64",
        "gelu_ln": "linear",
        "words": "majority",
    }
    return known[value] if isinstance(value, str) else value + 1 if isinstance(value, int) else value / 2


def leaves(settings: Any, *names: str) -> Iterator[tuple[str, ...]]:
    """Where each single setting stands in a job, by the names of fields that lead to it."""
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        yield from leaves(value, *names, entry.name) if is_dataclass(value) else iter([(*names, entry.name)])


def changed(settings: Any, names: Sequence[str]) -> Any:
    value = getattr(settings, names[0])
    return replace(settings, **{names[0]: changed(value, names[1:]) if len(names) > 1 else another(value)})


LAB = Experiment(
    Variant(), World(languages=3), Training(),
    Finetuning(tasks=("tags", "inference"), dropped=(0, 1)), seed=4,
)  # fmt: skip


@pytest.mark.parametrize(
    "job",
    [
        LAB,
        LAB.pretraining,
        Baseline(LAB.variant, LAB.world, LAB.training, LAB.finetuning, LAB.seed, name="words"),
        HeadExperiment(),
    ],
    ids=["tasks", "pretraining", "baseline", "head"],
)
def test_every_setting_makes_another_run(job, tmp_path):
    """Whatever setting of whatever part is changed alone, the run has another name, and settings that say so."""
    cache = Cache(tmp_path)
    names = {cache.name(job): ()}
    for path in leaves(job):
        if path == ("finetuning",) or (path == ("variant", "tied")):
            continue  # None; and a tied model needs other widths
        other = changed(job, path)
        assert cache.name(other) not in names, path
        names[cache.name(other)] = path
        stored, before = settings_of(other), settings_of(job)
        for name in path[:-1]:
            stored, before = stored[name], before[name]
        differing = [name for name in before if before[name] != stored[name]]
        assert differing == [path[-1]] and list(before) == list(stored)
        value = getattr(job, path[0]) if len(path) == 1 else getattr(getattr(job, path[0]), path[1])
        assert before[path[-1]] == (list(value) if isinstance(value, tuple) else value)
    assert cache.name(replace(job)) in names and len(names) > 8
    tied = replace(LAB, variant=Variant(tied=True))
    assert cache.name(tied) != cache.name(LAB) and settings_of(tied)["variant"]["tied"] is True
    assert settings_of(LAB.pretraining)["finetuning"] is None


def test_another_run_s_record_is_refused(place):
    """Whole, and with its checksum, but under the wrong name."""
    cache = Cache(place.cache)
    records([place.job(5), place.job(6)], place.cache, 1)
    (place.cache / f"{cache.name(place.job(6))}.json").replace(place.cache / f"{cache.name(place.job(5))}.json")
    with pytest.raises(ValueError, match="is not the record of this run: delete it"):
        records([place.job(5)], place.cache, 1)


def test_a_record_appears_after_its_arrays(place, monkeypatch):
    """A run that is stopped while its arrays are written has no record, and is run again."""

    def stop(*args, **arrays):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", stop)
        with pytest.raises(KeyboardInterrupt):
            records([place.job(5)], place.cache, 1)
    assert not list(place.cache.glob("*.json")) and Cache(place.cache).load(place.job(5)) is None
    assert records([place.job(5)], place.cache, 1)[0]["measured"] == {"sum": 8} and place.ran() == [5, 5]


def test_a_run_has_one_thread(place, monkeypatch):
    """However many the process has: the same bits on every machine."""
    threads = []
    original = Sum.run

    def run(self, context):
        threads.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return original(self, context)

    monkeypatch.setattr(Sum, "run", run)
    with threadpool_limits(2, user_api="blas"):
        records([place.job(5)], place.cache, 1)
    assert threads and set(threads) == {1}


def test_runs_of_one_seed_and_world_come_together_and_what_needs_others_last(place):
    """So that a process builds each corpus once; the records come in the order in which they were asked for."""
    jobs = [
        InAWorld(str(place.log), first, seed=seed, world=world)
        for first, seed, world in ((1, 1, "x"), (2, 0, "y"), (3, 1, "x"), (4, 0, "x"), (5, 0, "y"))
    ]
    asked = [Both(place.job(6, seed=2), jobs[0]), *jobs]
    made = records(asked, place.cache, 1)
    assert place.ran() == [4, 2, 5, 1, 3, 6]
    assert [record["settings"].get("first") for record in made] == [None, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("processes", "cpus", "at_once"), [(2, 8, 2), (None, 2, 2), (9, 1, 3), (None, 8, 3)])
def test_how_many_runs_at_once(processes, cpus, at_once, place, monkeypatch):
    """As many as are asked for, by default one for each processor, and never more than there are runs."""
    asked = []

    def compute(cache, jobs, number, report):
        asked.append(number)
        for job in jobs:
            cache.compute(job, report)

    monkeypatch.setattr(runs, "_compute_at_once", compute)
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    records([place.job(first) for first in (5, 6, 7)], place.cache, processes)
    assert asked == [at_once]


def test_the_first_error_is_the_one_that_is_raised(place):
    """Of two runs that fail one after the other."""
    with pytest.raises(ValueError, match="13 is no number"):
        records([place.job(13, seed=0), place.job(18, seed=1)], place.cache, 2)
    assert 18 in place.ran()


def test_a_result_and_its_context():
    given = {"a": np.zeros(2)}
    result = Result({"x": 1}, given)
    given["b"] = np.ones(1)
    assert dict(result) == {"x": 1} and result.arrays.keys() == {"a"} and Result({}).arrays == {}
    other = Result({"x": 2})
    context = Context(results={"one": result, "other": other})
    assert context.result("other") is other and context.result("one") is result
    with pytest.raises(ValueError, match="this run needs the result of another, third"):
        context.result("third")
