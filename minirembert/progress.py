"""What a long command says while it works, wherever its output goes: one place for bars and lines of progress.

    with progress("pre-training", total=1000, unit="steps") as bar:
        bar.advance(1, "loss 3.2")
    with busy("training a tokenizer"):
        ...

On a terminal `progress` is a bar. Elsewhere it is a line at the start and one at each tenth of the way. However long a single
step takes, something is said at least every ten seconds: a thread looks at the clock. All of it goes to stderr.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

EVERY = 10.0  # seconds without a word, at most


class Progress:
    """Counts how many of `total` things are done, and tells from the time they took how long the rest will take."""

    def __init__(self, title: str, total: int, unit: str, done: int = 0) -> None:
        self.title, self.total, self.unit, self.done = title, total, unit, done
        self._first, self._began = done, time.monotonic()
        self._text = ""

    def advance(self, count: int = 1, text: str = "") -> None:
        """`count` more are done; `text` says what came of them."""
        before, self.done, self._text = self.done, self.done + count, text
        self._show(10 * self.done // self.total > 10 * before // self.total or self.done == self.total)

    def _show(self, is_tenth: bool) -> None:
        if is_tenth:
            _say(self.line())

    def line(self) -> str:
        """The state in one line: "lab: 37 of 1,000 steps, loss 3.2, 12 s, about 5 min left"."""
        seconds, made = time.monotonic() - self._began, self.done - self._first
        parts = [f"{self.title}: {self.done:,} of {self.total:,} {self.unit}", self._text, duration(seconds)]
        if made and self.done < self.total:
            parts.append(f"about {duration(seconds / made * (self.total - self.done))} left")
        return ", ".join(filter(None, parts))


class _Bar(Progress):
    """The same as a bar on a terminal."""

    def __init__(self, bar: Any, *settings: Any) -> None:
        super().__init__(*settings)
        self._bar = bar

    def _show(self, is_tenth: bool) -> None:
        self._bar.set_postfix_str(self._text, refresh=False)
        self._bar.update(self.done - self._bar.n)


@contextmanager
def progress(title: str, total: int, unit: str = "steps", done: int = 0, **options: Any) -> Iterator[Progress]:
    """Something that counts to `total`, of which `done` are there already. `options`: tqdm's, for a terminal."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(total=total, initial=done, desc=title, unit=unit.removesuffix("s"), **options)
        with bar, _speaking(lambda: bar.refresh() and None):
            yield _Bar(bar, title, total, unit, done)
    else:
        counted = Progress(title, total, unit, done)
        _say(f"{title}: {total - done:,} {unit}" + (f", {done:,} are there already" if done else ""))
        with _speaking(lambda: _say(counted.line())):
            yield counted


@contextmanager
def busy(title: str) -> Iterator[None]:
    """Something that cannot be counted: quiet while it is quick, then a line every ten seconds that it still goes on."""
    began = time.monotonic()
    with _speaking(lambda: _say(f"{title}: {duration(time.monotonic() - began)}")):
        yield


def duration(seconds: float) -> str:
    """Seconds in the unit that fits: "12 s", "5 min", "2.0 h"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


# --- the clock ----------------------------------------------------------------------------------------------------------

_lock = threading.RLock()
_speakers: list[Callable[[], None]] = []  # the last of them speaks for all
_last = 0.0  # when something was said


def _say(line: str) -> None:
    global _last
    with _lock:
        _last = time.monotonic()
        print(line, file=sys.stderr, flush=True)


@contextmanager
def _speaking(speak: Callable[[], None]) -> Iterator[None]:
    """Calls `speak` while the body runs, as soon as nothing has been said for EVERY seconds."""
    global _last
    over = threading.Event()
    with _lock:
        _speakers.append(speak)
        _last = time.monotonic()

    def watch() -> None:
        global _last
        while not over.wait(max(EVERY / 100, _last + EVERY - time.monotonic())):
            with _lock:
                if speak is _speakers[-1] and not over.is_set() and time.monotonic() >= _last + EVERY:
                    _last = time.monotonic()
                    speak()

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        with _lock:
            _speakers.remove(speak)
            over.set()
        thread.join()
