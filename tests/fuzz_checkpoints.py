"""Damaged folders of safetensors, and what loading them must never do: `python tests/fuzz_checkpoints.py 12000`.

Each case is a number. It damages a good folder by its seed and loads it, which must end in a model of the right shapes or in
one sentence (ValueError or FileNotFoundError); within the time limit; with at most twice the folder's bytes of memory and
`MEMORY` more; opening nothing outside of the folder, writing nothing, running nothing. What the safetensors library also
loads must be the same numbers. The other formats are read by torch and h5py, and what these do with damage is theirs.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import fuzz_damage
import numpy as np
import safetensors.numpy
from models import TASKS, make_model

from minirembert import RemBertForMaskedLM
from minirembert.checkpoint import held, write_weights

MEMORY = 8 * 2**20  # bytes that Python's objects for a table of contents may take, besides twice the files
SECONDS = 10
FORMATS = ("safetensors", "safetensors shards")
HARMLESS = tuple(
    map(os.path.realpath, (sys.prefix, sys.base_prefix, Path(__file__).parents[1], "/proc/self", os.devnull))
)


class Violation(Exception):
    """A case that did what it must not."""


def make_folders(root: Path) -> dict[str, Path]:
    """A good folder of every kind with the same small model in float32; where it is one file, some is float16, and a buffer."""
    model = make_model(TASKS["masked lm"], "one head", dtype="float32")
    folders = {name: root / name.replace(" ", "-") for name in FORMATS}
    model.config.save_pretrained(folders["safetensors"])
    plan = held(model.parameters | {"rembert.embeddings.position_ids": np.arange(19)[None]})
    half = {name: (tensor, "F16" if "layer.0" in name else dtype) for name, (tensor, dtype) in plan.items()}
    write_weights(half, folders["safetensors"])
    model.save_pretrained(folders["safetensors shards"], max_shard_size=2000)
    return folders


# --- one case ---------------------------------------------------------------------------------------------------------


def run_case(format: str, seed: int, good: Path, work: Path) -> str:
    """Damages a copy of `good` at `work`, loads it, and says how that ended. Raises Violation."""
    rng = random.Random(f"{format} {seed}")
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(good, work)
    weights = sorted(path for path in work.iterdir() if path.name != "config.json")
    path = rng.choice([*weights, *(path for path in weights for _ in range(3) if path.suffix == ".json")])
    path.write_bytes(fuzz_damage.damaged(path, rng))
    size = sum(path.stat().st_size for path in work.iterdir())

    tracemalloc.start()
    try:
        with watched(work), time_limit(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # heads may be missing, and other tensors there
            model = RemBertForMaskedLM.from_pretrained(work)
        result = "loaded"
    except (ValueError, FileNotFoundError) as error:
        message = str(error)
        if "\n" in message or not 0 < len(message) < 400 + len(str(work)):
            raise Violation(f"{type(error).__name__} is no sentence: {message!r}") from error
        result = "refused"
    except Violation:
        raise
    except BaseException as error:
        raise Violation(f"{type(error).__name__}: {error}") from error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    if peak > 2 * size + MEMORY:
        raise Violation(f"{peak:,} bytes of memory for {size:,} bytes of files")
    if result == "loaded":
        for name, shape in model.parameter_shapes(model.config).items():
            array = model.parameters[name]
            if array.shape != shape or array.dtype != np.float32:
                raise Violation(f"{name} is {array.dtype}{array.shape}, and should be float32{shape}")
        compare(model, work)
    return result


def compare(model: Any, folder: Path) -> None:
    """What the library reads must be what we read."""
    for path in folder.glob("*.safetensors"):
        try:
            theirs = safetensors.numpy.load_file(path)
        except Exception:  # whatever it raises
            continue
        for name, array in theirs.items():
            ours = model.parameters.get(name)
            if ours is None or array.shape != ours.shape:  # a head of another name or shape was made anew
                continue
            with np.errstate(all="ignore"):
                if not np.array_equal(ours, array.astype(np.float32), equal_nan=True):
                    raise Violation(f"{name} in {path.name} differs from what the library reads")


# --- the watch --------------------------------------------------------------------------------------------------------

_watching: list[str] = []  # the real path of the folder, while one is loaded
_seen: list[str] = []
RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "subprocess.Popen", "pty.spawn")
WRITES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.link", "os.symlink", "os.truncate",
          "shutil.", "tempfile.")  # fmt: skip


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event.startswith((*RUNS, *WRITES, "socket.", "ctypes.", "winreg.", "urllib.")):
        _seen.append(f"{event}{arguments!r:.100}")
    elif event == "open" and isinstance(arguments[0], str | bytes):
        path, _, flags = arguments
        real = os.path.realpath(os.fsdecode(path))
        writing = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writing or not real.startswith((*_watching, *HARMLESS)):
            _seen.append(f"open {real}{' for writing' if writing else ''}")


sys.addaudithook(_audit)


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    _seen.clear()
    _watching.append(os.path.realpath(folder))
    try:
        yield
    finally:
        _watching.clear()
        if _seen:
            raise Violation(_seen[0])


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise Violation(f"not finished after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- many cases -------------------------------------------------------------------------------------------------------


def run(cases: range, formats: tuple[str, ...] = FORMATS, progress: bool = False) -> tuple[Counter[Any], list[str]]:
    """How often each (format, end) was, and the violations; case n is of format n modulo their number."""
    from minirembert.progress import progress as counted

    ends: Counter[Any] = Counter()
    found: list[str] = []
    counting = counted("damaging folders", len(cases), "cases") if progress else nullcontext()
    with tempfile.TemporaryDirectory() as name, counting as bar:
        folders = make_folders(Path(name))
        for folder in folders.values():
            RemBertForMaskedLM.from_pretrained(folder)  # good ones load; and everything is imported now
        for case in cases:
            format = formats[case % len(formats)]
            try:
                ends[format, run_case(format, case, folders[format], Path(name) / "work")] += 1
            except Violation as violation:
                ends[format, "VIOLATION"] += 1
                found.append(f"{format}, case {case}: {violation}")
                if progress:
                    print(found[-1], flush=True)
            if bar is not None:
                bar.advance()
    return ends, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="number of cases")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (default: 0)")
    parser.add_argument("--format", choices=FORMATS, help="only this format")
    arguments = parser.parse_args()
    start = time.monotonic()
    formats = (arguments.format,) if arguments.format else FORMATS
    ends, found = run(range(arguments.first, arguments.first + arguments.count), formats, progress=True)
    for format in formats:
        here = {end: count for (of, end), count in ends.items() if of == format}
        print(
            f"{format:20} {sum(here.values()):7,} tried: "
            + ", ".join(f"{n:,} {end}" for end, n in sorted(here.items()))
        )
    print(f"{sum(ends.values()):,} cases in {time.monotonic() - start:.0f} s")
    print("\n".join(found) or "no violation")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
