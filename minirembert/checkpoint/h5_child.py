"""What is in an h5 file? A program of its own, which `keras_h5` runs for every file: `python h5_child.py FILE`.

libhdf5 is a large C library that trusts what it reads: a damaged file may crash it, make it ask for any amount of memory, or
send it to other files. So it runs here, in a process that may take a bounded amount of memory and time, open nothing and
write nothing, and it is asked only where the datasets lie. Nobody reads numbers through it. It imports nothing of ours.

Prints a JSON object: {"datasets": [[name, dtype, shape, offset], ...]}, or {"error": a reason}.
"""

import contextlib
import json
import os
import sys
from typing import Any

MEMORY = 256 * 2**20  # bytes, on top of what Python and libhdf5 take when they start
SECONDS = 20  # of processor time
MOST_OBJECTS = 20_000  # groups and datasets; RemBERT has about 2,000
DEEPEST = 32
LONGEST_NAME = 1000
KINDS = {"<f2", "<f4", "<f8", ">f2", ">f4", ">f8", "<i4", "<i8", ">i4", ">i8"}


class Refused(Exception):
    """The file has something that Keras never writes."""


def listing(path: str) -> dict[str, Any]:
    """The datasets of a file. Never raises, whatever the file is: see `Refused`."""
    try:
        import h5py

        with open(path, "rb") as opened:  # noqa: PTH123  (the only file; libhdf5 gets to see it through Python's hands)
            confine()
            datasets: list[list[Any]] = []
            with h5py.File(opened, "r") as file:
                _collect(file.id, "", datasets, {}, 0)
        return {"datasets": datasets}
    except Refused as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "libhdf5 asks for too much memory"}
    except Exception as error:  # h5py raises what it likes
        return {"error": " ".join(str(error).split())[:150] or type(error).__name__}


def _collect(group: Any, prefix: str, datasets: list[list[Any]], seen: dict[tuple[int, int], str], depth: int) -> None:
    """Appends the datasets below a group; each object counts once, so that a loop of links ends."""
    import h5py

    if depth > DEEPEST:
        raise Refused("its groups are nested too deeply")
    for raw in group:
        name = prefix + raw.decode("utf-8", "backslashreplace")
        if len(name) > LONGEST_NAME:
            raise Refused(f"the name {name[:60]}... is too long")
        if group.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
            raise Refused(f"{name[:80]} is a link to somewhere else")
        thing = h5py.h5o.open(group, raw)
        info = h5py.h5o.get_info(thing)
        if (info.fileno, info.addr) in seen:
            raise Refused(f"{name[:80]} is {seen[info.fileno, info.addr][:80]} once more")
        seen[info.fileno, info.addr] = name
        if len(seen) > MOST_OBJECTS:
            raise Refused(f"it has more than {MOST_OBJECTS:,} groups and datasets")
        if isinstance(thing, h5py.h5g.GroupID):
            _collect(thing, name + "/", datasets, seen, depth + 1)
        elif isinstance(thing, h5py.h5d.DatasetID):
            datasets.append(_described(thing, name))
        else:
            raise Refused(f"{name[:80]} is neither a group nor a dataset")


def _described(dataset: Any, name: str) -> list[Any]:
    import h5py

    creation = dataset.get_create_plist()
    if creation.get_layout() != h5py.h5d.CONTIGUOUS or creation.get_nfilters():
        raise Refused(f"{name[:80]} is stored in chunks, packed or made of other datasets, as Keras stores none")
    if creation.get_external_count():
        raise Refused(f"{name[:80]} keeps its numbers in another file")
    if dataset.dtype.str not in KINDS or dataset.shape is None:
        raise Refused(f"{name[:80]} holds something else than numbers: {dataset.dtype.str[:20]}")
    return [name, dataset.dtype.str, list(dataset.shape), dataset.get_offset()]


def confine() -> None:
    """From here on: no other file, nothing written, bounded memory and time. Linux has all of these limits, macOS some, and
    on Windows only the caller's clock is left."""
    try:
        import resource
    except ImportError:
        return
    free = os.dup(2)  # the lowest number that is not taken: no file may get it, or a higher one
    os.close(free)
    limits = {"RLIMIT_NOFILE": free, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0, "RLIMIT_CPU": SECONDS}
    mapped = _address_space()
    if mapped is not None:
        limits["RLIMIT_AS"] = mapped + MEMORY
    for name, limit in limits.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):  # a system need not have or grant each of them
            kind = getattr(resource, name)
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _address_space() -> int | None:
    """Bytes that this process has mapped, where the system says."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


if __name__ == "__main__":
    print(json.dumps(listing(sys.argv[1])))
