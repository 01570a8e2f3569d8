"""Runs and their cache: computed once, found again, several at once, and nothing half-written."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from minirembert.lab.jobs import Context, Result
from minirembert.lab.runs import Cache, records


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
