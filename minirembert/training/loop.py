"""The training loop: batch, loss and gradients, clip, step; checkpoints, progress, and a clean stop when interrupted."""

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from threadpoolctl import threadpool_limits

from minirembert.backend import load_backend
from minirembert.model.base import RemBertPreTrainedModel
from minirembert.progress import progress
from minirembert.scalars import as_integer
from minirembert.settings import check_types, make_plain
from minirembert.training.optimizer import clip_gradients, learning_rate_at
from minirembert.training.run_folder import RunFolder

BACKEND_HELP = "who computes: numpy, or triton (on a GPU; without one slowly, under an interpreter)"
DTYPE_HELP = (
    "float32, float64, with triton also bfloat16, float16: of the weights while computing (default: bfloat16 on a GPU)"
)


def training_dtype(backend: str, dtype: str | None) -> str:
    """`dtype`, or the default of the backend. Raises ValueError for a pair that does not exist (see `load_backend`)."""
    chosen = dtype
    if chosen is None:
        chosen = "bfloat16" if load_backend(backend, "float32").device != "cpu" else "float32"
    load_backend(backend, chosen)
    return chosen


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train. The defaults of the optimizer are the paper's (Table 14)."""

    steps: int
    learning_rate: float
    warmup: int
    weight_decay: float = 0.01
    clip: float = 1.0
    checkpoint_every: int = 100
    evaluate_every: int = 100
    record_every: int = 10
    threads: int | None = None  # of a matrix product; for small ones, one is as fast, and steady on a busy machine

    def __post_init__(self) -> None:
        make_plain(self)
        check_types(self)
        for name in ("steps", "checkpoint_every", "evaluate_every", "record_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be above 0 and finite, got {self.learning_rate}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be at least 0 and finite, got {self.weight_decay}")
        if not 0 <= self.warmup < self.steps:
            raise ValueError(f"warmup must lie between 0 and steps - 1 = {self.steps - 1}, got {self.warmup}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads}")
        if not self.clip > 0:
            raise ValueError(f"clip must be above 0, got {self.clip}")


class Interrupted(KeyboardInterrupt):
    """Training stopped early because it was asked to; everything up to `step` is saved."""

    def __init__(self, step: int, total: int) -> None:
        super().__init__(f"stopped after step {step} of {total}; the same command goes on from there")


def train(
    model: RemBertPreTrainedModel,
    batch_at: Callable[[int], Mapping[str, Any]],
    schedule: Schedule,
    folder: RunFolder,
    *,
    evaluate: Callable[[], Mapping[str, float]] | None = None,
    dropout_seed: int | None = None,
    title: str = "training",
) -> None:
    """Trains `model` in place, from the folder's newest checkpoint to the last step.

    `batch_at(step)` must be a pure function: that is what makes a resumed run equal to an uninterrupted one, bit for bit.
    Raises Interrupted on SIGINT or SIGTERM, once the step in progress is done and saved.
    """
    optimizer = model.backend.adamw(model.parameters, weight_decay=schedule.weight_decay)
    if dropout_seed is not None:
        dropout_seed = as_integer("dropout_seed", dropout_seed)  # shifted below, which 64 bits would not hold
    first = folder.restore(optimizer)
    every = schedule.checkpoint_every
    folder.require_room({*range(every, schedule.steps, every), schedule.steps} - {*range(first + 1)})
    with (
        threadpool_limits(schedule.threads, user_api="blas"),
        _stop_requests() as stop_requested,
        progress(title, schedule.steps, done=first) as bar,
    ):
        tokens, since = 0, time.perf_counter()
        for step in range(first, schedule.steps):
            batch = batch_at(step)
            seed = None if dropout_seed is None else (dropout_seed << 32) + step
            loss, gradients = model.loss_and_gradients(**batch, dropout_seed=seed)
            norm = clip_gradients(gradients, schedule.clip, model.backend.norm)
            rate = learning_rate_at(step, schedule.learning_rate, schedule.warmup, schedule.steps)
            optimizer.step(gradients, rate)

            done = step + 1
            tokens += int(batch["attention_mask"].sum())
            speed = tokens / (time.perf_counter() - since)
            bar.advance(1, f"{_said(loss)}, {speed:,.0f} tokens/s")
            last = done == schedule.steps
            if done % schedule.record_every == 0 or last:
                folder.record(step=done, loss=loss, learning_rate=rate, gradient_norm=norm, tokens_per_second=speed)
            if evaluate and (done % schedule.evaluate_every == 0 or last):
                pause = time.perf_counter()
                folder.record(step=done, **evaluate())
                since += time.perf_counter() - pause
            if done % schedule.checkpoint_every == 0 or last or stop_requested():
                folder.save(optimizer)
            if stop_requested() and not last:
                raise Interrupted(done, schedule.steps)


def _said(loss: float) -> str:
    return "no label" if math.isnan(loss) else f"loss {loss:.3f}"


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Turns the first SIGINT or SIGTERM into a flag, so that no step is torn; a second one acts as usual."""
    received: list[int] = []
    previous: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, previous[number])
        print("\nfinishing this step and saving; once more to stop at once", file=sys.stderr)

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        try:
            previous[number] = signal.signal(number, note)
        except ValueError:  # not the main thread: signals are somebody else's
            break
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
