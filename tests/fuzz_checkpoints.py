"""Damaged weight files of every format, and what loading them must never do: `python tests/fuzz_checkpoints.py 12000`.

Each case is a number. It damages a good folder by its seed and loads it, which must end in a model of the right shapes or in
one sentence (ValueError or FileNotFoundError); within the time limit; with at most twice the folder's bytes of memory and
`MEMORY` more; opening nothing outside of the folder, writing nothing, running nothing. What PyTorch or the safetensors
library also load must be the same numbers.
"""

import argparse
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import fuzz_damage
import numpy as np
import safetensors.numpy
import torch
from models import TASKS, make_model

from minirembert import RemBertForMaskedLM
from minirembert.checkpoint import h5_child, keras_h5
from minirembert.checkpoint.convert import convert

MEMORY = 8 * 2**20  # bytes that Python's objects for a table of contents may take, besides twice the files
SECONDS = 10
FORMATS = ("safetensors", "safetensors shards", "zip", "zip shards", "old", "h5")
HARMLESS = tuple(
    map(os.path.realpath, (sys.prefix, sys.base_prefix, Path(__file__).parents[1], "/proc/self", os.devnull))
)


class Violation(Exception):
    """A case that did what it must not."""


def make_folders(root: Path) -> dict[str, Path]:
    """A good folder of every format, all with the same small model, most of it in float32."""
    model = make_model(TASKS["masked lm"], "one head", dtype="float32")
    folders = {name: root / name.replace(" ", "-") for name in FORMATS}
    model.save_pretrained(folders["safetensors"])
    model.save_pretrained(folders["safetensors shards"], max_shard_size=2000)
    for name in ("zip", "zip shards", "old"):
        model.config.save_pretrained(folders[name])
    tensors = {name: torch.tensor(array) for name, array in model.parameters.items()}
    tensors["rembert.embeddings.position_ids"] = torch.arange(19)[None]
    together = torch.cat([tensors.pop("cls.predictions.dense.bias"), tensors.pop("cls.predictions.LayerNorm.bias")])
    tensors["cls.predictions.dense.bias"], tensors["cls.predictions.LayerNorm.bias"] = (
        together[:3],
        together[3:],
    )  # views
    half = {name: tensor.half() if "layer.0" in name else tensor for name, tensor in tensors.items()}
    torch.save(half, folders["zip"] / "pytorch_model.bin")
    torch.save(half, folders["old"] / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    model.save_pretrained(folders["zip shards"], safe_serialization=False, max_shard_size=3000)
    convert(folders["safetensors"], folders["h5"], "h5")
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
        compare(model, work, good)
    return result


def compare(model: Any, folder: Path, good: Path) -> None:
    """What the formats' own libraries read must be what we read. Where PyTorch overlooks damage to an archive it returns
    memory that nobody wrote; then our numbers must be those of the undamaged file."""
    for path in folder.iterdir():
        undamaged = read_by_others(good / path.name)
        for name, array in read_by_others(path).items():
            ours = model.parameters.get(name)
            if ours is None or array.shape != ours.shape:  # a head of another name or shape was made anew
                continue
            right = [array, *([undamaged[name]] if name in undamaged else [])]
            with np.errstate(all="ignore"):
                if not any(np.array_equal(ours, numbers.astype(np.float32), equal_nan=True) for numbers in right):
                    raise Violation(f"{name} in {path.name} differs from what its own library reads")


def read_by_others(path: Path) -> dict[str, Any]:
    """The numbers in a file according to the safetensors library or PyTorch; nothing if they refuse it."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.numpy.load_file(path)
        if path.suffix == ".bin":
            return {name: tensor.numpy() for name, tensor in torch.load(path, weights_only=True).items()}
    except Exception:  # whatever they raise; or numbers that NumPy does not have
        pass
    return {}


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


# --- h5: the same child, forked instead of started anew ---------------------------------------------------------------

child_memory = 0  # bytes, the most that a child took on top of what it began with


def forked_child(path: Path) -> tuple[int, bytes]:
    """`keras_h5.run_child` without the start of a new Python, which would take nine tenths of the time."""
    global child_memory
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _watching.clear()
            tracemalloc.stop()
            start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            answer = h5_child.listing(str(path))
            answer["memory"] = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
            text = json.dumps(answer).encode()
            while text:
                text = text[os.write(writing, text) :]
        finally:
            os._exit(0)
    os.close(writing)
    answer = b""
    while select.select([reading], [], [], SECONDS)[0]:
        part = os.read(reading, 2**16)
        if not part:
            break
        answer += part
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(reading)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == 0 and answer:
        child_memory = max(child_memory, json.loads(answer)["memory"])
    return code, answer


@contextmanager
def forking() -> Iterator[None]:
    before: Callable[[Path], tuple[int, bytes]] = keras_h5.run_child
    keras_h5.run_child = forked_child
    try:
        yield
    finally:
        keras_h5.run_child = before


# --- many cases -------------------------------------------------------------------------------------------------------


def run(cases: range, formats: tuple[str, ...] = FORMATS, progress: bool = False) -> tuple[Counter[Any], list[str]]:
    """How often each (format, end) was, and the violations; case n is of format n modulo their number."""
    import h5py  # noqa: F401  (before the first fork)

    from minirembert.progress import progress as counted

    ends: Counter[Any] = Counter()
    found: list[str] = []
    counting = counted("damaging folders", len(cases), "cases") if progress else nullcontext()
    with tempfile.TemporaryDirectory() as name, forking(), warnings.catch_warnings(), counting as bar:
        warnings.simplefilter("ignore")  # zipfile and PyTorch have something to say of what is done here to their files
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
    print(f"{sum(ends.values()):,} cases in {time.monotonic() - start:.0f} s; libhdf5's process took at most "
          f"{child_memory / 2**20:.0f} MiB more than at its start")  # fmt: skip
    print("\n".join(found) or "no violation")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
