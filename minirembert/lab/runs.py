"""Runs jobs once: what a cache folder has is read, the rest is computed, several at once, and kept as soon as it is there.

    records([Experiment(...), Twins(...)], Path("lab-runs"), processes=2)

A cache folder has two files for a job, named by a hash of its kind and all its settings:

    pretraining-1f6c0a52d3b8e974.json     settings, what was measured, seconds, commit and versions; a checksum of it all
    pretraining-1f6c0a52d3b8e974.npz      its arrays, if another job may want them

Each appears whole, the .json last. A run that is stopped at any moment therefore goes on with the next job that is missing,
and loses what the running ones have done.

A record knows the commit that made it, and its name does not: who changes what a run computes (a task, a probe, the optimizer)
takes an empty folder, or raises FORMAT if everybody has to.
"""

import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from threadpoolctl import threadpool_limits

from minirembert.files import atomic_file, no_file, read_json, write_text_atomically
from minirembert.lab.jobs import Context, Job, Result, settings_of
from minirembert.progress import busy, duration, progress
from minirembert.provenance import provenance

FORMAT = 2  # of a record: another number makes all older ones unknown
RECORD_LIMIT = 16 * 2**20  # bytes
PACKAGES = ("minirembert", "numpy")

Record = dict[str, Any]


class Cache:
    """The records of the jobs that are done."""

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"{folder} is a file: the lab's cache needs a folder")
        self.folder = folder

    def name(self, job: Job) -> str:
        """`kind` and 16 hexadecimal digits that stand for the settings."""
        return f"{job.kind}-{_digest(json.dumps([FORMAT, job.kind, settings_of(job)], sort_keys=True))}"

    def load(self, job: Job) -> Record | None:
        """The record of a job; None if it has not run. Raises ValueError, naming the file, for one that is damaged."""
        path = self.folder / f"{self.name(job)}.json"
        if not path.exists():
            return None
        try:
            record = read_json(path, RECORD_LIMIT)
        except ValueError as error:
            raise ValueError(f"{error}: delete it, and it is computed again") from error
        if record.get("settings") != settings_of(job) or record.get("checksum") != _checksum(record):
            raise ValueError(f"{path} is not the record of this run: delete it, and it is computed again")
        return record

    def result(self, job: Job) -> Result:
        """What a job that is done measured, with the arrays that it left behind. Raises as `load`, and for the arrays too."""
        record, path = self.load(job), self.folder / f"{self.name(job)}.npz"
        if record is None:
            raise FileNotFoundError(f"{self.folder} has no record of a {job.kind} run that another needs")
        if not record["arrays"]:
            return Result(record["measured"])
        again = f"delete it and {path.with_suffix('.json').name}, and the run is computed again"
        if not path.exists():
            raise ValueError(f"{no_file(path)}, though its record is there: {again.replace('it and ', '')}")
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
        except (ValueError, OSError, EOFError, BadZipFile) as error:
            raise ValueError(f"{path} is damaged ({error}): {again}") from error
        if sorted(arrays) != record["arrays"]:
            raise ValueError(f"{path} does not have the arrays of its record: {again}")
        return Result(record["measured"], arrays)

    def compute(self, job: Job, report: Callable[[int], None]) -> Record:
        """Runs a job whose needs are here, and keeps what comes of it."""
        began = time.perf_counter()
        with threadpool_limits(
            1, user_api="blas"
        ):  # these matrices are small; and the same bits, however many run at once
            result = job.run(Context(report, {name: self.result(need) for name, need in job.needs.items()}))
        record = {
            "kind": job.kind,
            "settings": settings_of(job),
            "measured": dict(result),
            "arrays": sorted(result.arrays),
            "provenance": provenance(*PACKAGES) | {"seconds": round(time.perf_counter() - began, 1)},
        }
        record["checksum"] = _checksum(record)
        text = json.dumps(record, indent=1, allow_nan=False) + "\n"
        self.folder.mkdir(parents=True, exist_ok=True)
        if result.arrays:
            with atomic_file(self.folder / f"{self.name(job)}.npz") as temporary, temporary.open("wb") as file:
                np.savez(file, **result.arrays)  # type: ignore[arg-type]  # names may be those of its own arguments
        write_text_atomically(self.folder / f"{self.name(job)}.json", text)
        return record


def _checksum(record: Record) -> str:
    return _digest(json.dumps({name: value for name, value in record.items() if name != "checksum"}))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def records(jobs: Sequence[Job], folder: Path, processes: int | None = None, title: str = "lab") -> list[Record]:
    """The records of `jobs`, in their order.

    `processes` at once, by default one for each processor; 1 computes here. Raises what a job raised, once; ValueError for a
    damaged record; ChildProcessError where a process died.
    """
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    cache = Cache(folder)
    every = _with_needs(jobs)
    kept = {job: record for job in every if (record := cache.load(job)) is not None}
    missing = [job for job in every if job not in kept]
    if missing:
        at_once = min(processes or os.cpu_count() or 1, len(missing))
        print(_announced(title, kept, missing, at_once, folder), file=sys.stderr, flush=True)
    with _counted(title, sum(job.steps for job in missing)) as report:
        for dependent in (False, True):
            now = [job for job in missing if bool(job.needs) == dependent]
            at_once = min(processes or os.cpu_count() or 1, len(now))
            if at_once > 1:
                _compute_at_once(cache, now, at_once, report)
            else:
                for job in now:
                    cache.compute(job, report)
    found = [cache.load(job) for job in jobs]
    assert all(record is not None for record in found)
    return [record for record in found if record is not None]


def _announced(title: str, kept: dict[Job, Record], missing: list[Job], at_once: int, folder: Path) -> str:
    """How much is to be done, and how long it takes at the rate of the runs that are there already."""
    steps = sum(job.steps for job in missing)
    line = f"{title}: {len(missing):,} runs, {steps:,} steps, {at_once} at once; {len(kept):,} runs are in {folder} already"
    seconds = sum(record["provenance"]["seconds"] for record in kept.values())
    done = sum(job.steps for job in kept)
    if seconds and done:
        return f"{line}, and at their rate these take about {duration(seconds / done * steps / at_once)}"
    return f"{line}; how long they take is said as soon as steps are done"


@contextmanager
def _counted(title: str, total: int) -> Iterator[Callable[[int], None]]:
    if total == 0:
        with busy(title):
            yield lambda steps: None
    else:
        with progress(title, total) as bar:
            yield bar.advance


def _with_needs(jobs: Iterable[Job]) -> list[Job]:
    """Every job once, after what it needs (which needs nothing itself).

    Jobs of one seed stand together, so that a process builds a corpus once.
    """
    every: dict[Job, None] = {}
    for job in jobs:
        every |= dict.fromkeys([*job.needs.values(), job])
    return sorted(every, key=lambda job: (bool(job.needs), getattr(job, "seed", 0), str(getattr(job, "world", ""))))


# --- several processes --------------------------------------------------------------------------------------------


class _Worker(NamedTuple):
    process: Any
    connection: Connection


def _compute_at_once(cache: Cache, jobs: list[Job], number: int, report: Callable[[int], None]) -> None:
    """Hands the jobs to `number` processes, the next job to whoever is free.

    After an error no job is begun; those that run are finished and kept, and then the error is raised.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks, and a GPU's state
    waiting = iter(jobs)
    workers: list[_Worker] = []
    try:
        for _ in range(number):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, cache.folder), daemon=True)
            process.start()
            theirs.close()
            workers.append(_Worker(process, ours))
            ours.send(next(waiting))
        busy = {worker.connection for worker in workers}
        failed: Exception | None = None
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                try:
                    said = connection.recv()
                except EOFError:
                    raise ChildProcessError(
                        "a process of the lab died, perhaps for lack of memory: try fewer processes"
                    ) from None
                if isinstance(said, Exception):
                    failed = failed or said
                    busy.discard(connection)
                elif said is not None:
                    report(said)
                else:
                    job = None if failed else next(waiting, None)
                    connection.send(job)
                    if job is None:
                        busy.discard(connection)
        for worker in workers:
            worker.process.join()
        if failed:
            raise failed
    finally:
        for worker in workers:
            worker.process.terminate()
            worker.connection.close()


def _work(connection: Connection, folder: Path) -> None:
    """What a process does: jobs come in; steps done, and None after each job, go out."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends us
    cache = Cache(folder)
    try:
        while (job := connection.recv()) is not None:
            try:
                cache.compute(job, connection.send)
            except Exception as error:
                connection.send(error)
                return
            connection.send(None)
    except (BrokenPipeError, EOFError):  # the parent is gone, so nobody waits for the rest
        return
