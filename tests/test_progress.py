"""Long work says that it goes on: a line at the start, one for each tenth, and one at least every so many seconds."""

import io
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from minirembert import progress as module
from minirembert.progress import busy, duration, progress


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.02)


def spoken(capsys: pytest.CaptureFixture[str], at_least: int) -> list[str]:
    """Waits until so many lines were said; the test's own time limit ends it otherwise."""
    text = ""
    while text.count("\n") < at_least:
        time.sleep(0.01)
        text += capsys.readouterr().err
    return text.splitlines()


def test_a_long_step_is_spoken_of(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("training", total=200) as bar:
        assert spoken(capsys, 3)[:2] == ["training: 200 steps", "training: 0 of 200 steps, 0 s"]
        bar.advance(1, "loss 3.2")
        assert spoken(capsys, 2)[0].startswith("training: 1 of 200 steps, loss 3.2, 0 s, about ")
    capsys.readouterr()
    time.sleep(0.1)
    assert not capsys.readouterr().err and not [t for t in threading.enumerate() if t.name == "progress"]


def test_what_cannot_be_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with busy("reading"):
        assert {*spoken(capsys, 3)} == {"reading: 0 s"}


def test_what_is_quick_says_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "EVERY", 3600.0)
    with busy("reading"):
        pass
    assert not capsys.readouterr().err


def test_only_the_innermost_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    with busy("outer"):
        with busy("inner"):
            assert {*spoken(capsys, 3)} == {"inner: 0 s"}
        assert {*spoken(capsys, 3)} == {"outer: 0 s"}


def test_a_line_for_each_tenth_and_for_the_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "EVERY", 3600.0)
    with progress("work", total=95, unit="files", done=7) as bar:
        for _ in range(95 - 7):
            bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "work: 88 files, 7 are there already"
    counts = [int(line.split()[1]) for line in lines[1:]]
    assert counts == [10, 19, 29, 38, 48, 57, 67, 76, 86, 95]
    with progress("nothing", total=3, done=3):
        pass
    assert capsys.readouterr().err == "nothing: 0 steps, 3 are there already\n"


def test_how_long_the_rest_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the rate of what was made here: what was there before took no time."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    counted = module.Progress("work", total=50, unit="files", done=10)
    now = 120.0
    counted.done = 15  # 5 in 20 seconds, so 35 more in 140
    assert counted.line() == "work: 15 of 50 files, 20 s, about 2 min left"
    counted.done = 50
    assert counted.line() == "work: 50 of 50 files, 20 s"


def test_the_clock_stops(capsys: pytest.CaptureFixture[str]) -> None:
    with busy("reading"):
        (thread,) = [t for t in threading.enumerate() if t.name == "progress"]
    thread.join(timeout=5)
    assert not thread.is_alive()
    capsys.readouterr()


def test_on_a_terminal_it_is_a_bar_that_does_not_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress("work", total=4) as bar:
        bar.advance(1, "loss 3.2")
        begun = len(terminal.getvalue())
        while len(terminal.getvalue()) < begun + 50:
            time.sleep(0.01)
    assert "work" in terminal.getvalue() and "loss 3.2" in terminal.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (12.4, "12 s"), (99, "99 s"), (100, "2 min"), (5900, "98 min"), (7200, "2.0 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (["lab", "run", "3", "--profile", "smoke"], "lab, smoke: "),
        (
            ["pretrain", "--steps", "1000000", "--vocab-size", "40", "--held-out-every", "2"],
            "pre-training: 1,000,000 steps",
        ),
    ],
)
def test_a_command_speaks_before_its_first_step_is_done(tmp_path: Path, arguments: list[str], first: str) -> None:
    """The real command, its output in a pipe: the first line comes while it works."""
    (tmp_path / "a.txt").write_text("the red cat sees a dog\nno bird eats the blue fish\nfour words make five\n" * 5)
    more = ["--corpus", "a.txt", "--out", "run"] if arguments[0] == "pretrain" else []
    command = [sys.executable, "-m", "minirembert", *arguments, *more]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    working = process.poll() is None
    process.kill()
    rest = process.communicate()[1]
    assert line.startswith(first), line + rest
    assert working


def test_the_lab_says_how_much_there_is_and_how_long_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from test_lab_experiment import TINY

    from minirembert.lab.runs import records

    records([TINY], tmp_path, 1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"lab: 1 runs, 6 steps, 1 at once; 0 runs are in {tmp_path} already; " + (
        "how long they take is said as soon as steps are done"
    )
    assert any(line.startswith("lab: 6 of 6 steps") for line in lines)
    from dataclasses import replace

    records([TINY, replace(TINY, seed=1), replace(TINY, seed=2)], tmp_path, 1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(
        f"lab: 2 runs, 12 steps, 1 at once; 1 runs are in {tmp_path} already, and at their rate "
    )
    records([TINY], tmp_path, 1)
    assert not capsys.readouterr().err
