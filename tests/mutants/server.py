"""Runs tests in copies of the tree, a fork for each: the libraries, which take most of a test's start, are loaded once.

Reads a JSON line {root, tests, patience} from standard input and answers with one {caught_by, broken}. Of ours only the ops
are here, checked for their shapes as in the tests: they have mutants of their own. A fork takes everything else from its own
tree; with the argument `fresh` the ops too.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

LIBRARIES = (
    "beartype", "h5py", "hypothesis.extra.numpy", "jaxtyping", "matplotlib.pyplot", "mpmath", "numpy", "pytest",
    "safetensors.numpy", "sentencepiece", "threadpoolctl", "tokenizers", "torch", "torch._dynamo",
    "torch._inductor.standalone_compile", "tqdm", "transformers.models.rembert.modeling_rembert", "triton",
    "triton.language", "triton.runtime.interpreter",
)  # fmt: skip


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    os.environ.setdefault("MPLBACKEND", "Agg")
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):  # the tests that need it say so
            importlib.import_module(library)
    for name in [name for name in sys.modules if name.split(".")[0] in ("kernels", "minirembert")]:
        del sys.modules[name]  # a library that looks for a package called kernels may have found ours
    if "fresh" not in sys.argv:
        _load_ops()
    gc.freeze()  # a fork that looks for garbage shall not look through the libraries
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), file=answers, flush=True)


def _load_ops() -> None:
    from jaxtyping import install_import_hook

    sys.path.insert(0, str(Path(__file__).parents[2]))
    with install_import_hook("minirembert.ops", "beartype.beartype"):
        importlib.import_module("minirembert.ops")
    for name in [name for name in sys.modules if name.split(".")[0] == "minirembert"]:
        if name.split(".")[:2] != ["minirembert", "ops"]:
            del sys.modules[name]
    del sys.path[0]


def _take_rest_from(root: Path) -> None:
    """What is imported from now on is that of the tree at `root`."""
    sys.path[:] = [str(root), *(entry for entry in sys.path if entry != str(Path(__file__).parent))]
    if ops := sys.modules.get("minirembert.ops"):
        importlib.import_module("minirembert").ops = ops  # type: ignore[attr-defined]


def _answer(request: dict[str, Any]) -> dict[str, str | None]:
    root = Path(request["root"])
    child = os.fork()
    if child == 0:
        _run(root, request["tests"])
    deadline = time.monotonic() + request["patience"]
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return {"caught_by": None, "broken": f"nothing after {request['patience']} s"}
        time.sleep(0.02)
    outcome = root / "outcome.json"
    if not outcome.is_file():
        return {"caught_by": None, "broken": "the process died: " + _end_of(root / "output")}
    said = json.loads(outcome.read_text())
    if said["broken"]:
        said["broken"] += ": " + _end_of(root / "output")
    return said


def _end_of(file: Path) -> str:
    return file.read_text(errors="replace")[-3000:] if file.is_file() else "nothing was printed"


def _run(root: Path, tests: list[str]) -> None:
    """In the fork: the tests in the tree at `root`, what they print to a file, what came out to another."""
    code = 1
    try:
        os.setsid()
        output = os.open(root / "output", os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(root)
        _take_rest_from(root)
        os.environ["PYTHONPATH"] = str(root)  # for processes that the tests start
        import pytest

        recorder = _Recorder()
        plugins = [word for name in ("cacheprovider", "xdist", "unraisableexception") for word in ("-p", f"no:{name}")]
        arguments = ["-x", "-q", *plugins, "--rootdir", str(root), *tests]
        status = pytest.main(arguments, plugins=[recorder])
        broken = None
        if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) or not recorder.ran:
            broken = f"pytest ended with {status!r} after {recorder.ran} tests"
        outcome = {"caught_by": recorder.failed, "broken": broken}
        (root / "outcome.json").write_text(json.dumps(outcome))
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Recorder:
    """A pytest plugin: how many tests ran, and which failed first."""

    def __init__(self) -> None:
        self.ran = 0
        self.failed: str | None = None

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.ran += report.when == "call" and not report.skipped
        if report.failed and self.failed is None:
            self.failed = report.nodeid.removeprefix("tests/")


if __name__ == "__main__":
    serve()
