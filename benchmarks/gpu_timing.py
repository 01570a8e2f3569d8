"""Times on a GPU: many runs in one CUDA graph, over inputs that take turns, several contenders in turn.

A launch from Python costs 5 to 40 microseconds, as much as a small kernel runs. So the runs are captured in a CUDA graph and
the graph is replayed: what is left is what the GPU needs. Each side is also timed as it is called, without a graph.

cold     a graph that goes round several sets of inputs, together several times the L2 cache: every input comes from memory
warm     a graph that uses one set again and again: what fits the cache comes from there
called   the same rounds as in cold, issued from Python one by one: what somebody sees who uses no graphs

All of this happens on one stream that is not the default one. Autograd runs a backward pass on the stream of its forward
pass, and only what runs on the captured stream is captured; so forward passes must run there from the start.

Not here: what is run (`gpu_peers.py`), and whether it is right (`kernels_gpu.py`).
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

Run = Callable[[], tuple[Tensor, ...]]

RUNS = 16  # at least so many in a graph, so that the gap between two replays counts for little
L2_BYTES = 60 << 20  # of an H200, where torch does not say
TURNOVER = 4  # sets of inputs together are so many times the L2 cache


class Protocol(NamedTuple):
    rounds: int  # how often each side has its turn
    milliseconds: float  # how long a turn lasts


@contextmanager
def capturable() -> Iterator[None]:
    """Within, everything runs on a stream of its own."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield


def l2_bytes() -> int:
    return int(getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 0)) or L2_BYTES


def sets_needed(bytes_of_one: float, l2: int) -> int:
    """How many sets of inputs go round: three at least."""
    return max(3, -(-TURNOVER * l2 // max(1, int(bytes_of_one))))


class Timed:
    """Something to launch again and again; each launch makes `runs` runs."""

    def __init__(self, launch: Callable[[], Any], runs: int) -> None:
        self.launch, self.runs, self.repeats = launch, runs, 1

    def calibrate(self, milliseconds: float) -> None:
        """Warms up, and finds out how many launches fill a turn."""
        self.microseconds()
        self.repeats = max(1, round(1000 * milliseconds / (self.microseconds() * self.runs)))

    def microseconds(self) -> float:
        """Of one run."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        for _ in range(self.repeats):
            self.launch()
        end.record()
        end.synchronize()
        return 1000 * start.elapsed_time(end) / (self.repeats * self.runs)


class Replay(Timed):
    """A CUDA graph of many runs that take turns. The last is the first of `runs`, and `results` is where its results go."""

    def __init__(self, runs: Sequence[Run]) -> None:
        order = [*runs[1:], runs[0]]
        cycles = -(-RUNS // len(order))
        # Results stay alive for a whole cycle: into memory that was given back at once, the next run would write again
        # while it is still in the cache.
        kept: deque[tuple[Tensor, ...]] = deque(maxlen=len(order))
        graph = torch.cuda.CUDAGraph()
        # thread_local: what other threads do, torch.compile's say, is no part of it
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
            for _ in range(cycles):
                for run in order:
                    kept.append(run())
        self.graph, self.results = graph, kept[-1]
        super().__init__(graph.replay, cycles * len(order))

    def once(self) -> tuple[Tensor, ...]:
        """The results of one replay, which must write every element: they were NaN before."""
        with torch.no_grad():
            for result in self.results:
                result.detach().fill_(float("nan"))
        self.graph.replay()
        torch.cuda.synchronize()
        return self.results


def reason_not_to_capture(run: Run) -> str | None:
    """Why this cannot be captured, as far as torch notices. A capture that breaks off leaves torch's allocator in disorder."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    except RuntimeError as error:
        return first_line(error)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return None


def first_line(said: object) -> str:
    return (str(said).splitlines() or [""])[0]


def in_turn(sides: Mapping[str, Timed], protocol: Protocol) -> dict[str, list[float]]:
    """Microseconds of one run in every round; A B C A B C ..., so that a clock that drifts drifts for all."""
    for timed in sides.values():
        timed.calibrate(protocol.milliseconds)
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(protocol.rounds):
        for name, timed in sides.items():
            found[name].append(timed.microseconds())
    return found


def ceilings(protocol: Protocol) -> dict[str, Any]:
    """What this GPU can do at best: bytes per second of a copy (read and written), FLOP/s of 8192^3 matrix products."""
    x = torch.randn(1 << 28, device="cuda")
    y = torch.empty_like(x)
    timed: dict[str, Timed] = {"copy": Timed(lambda: y.copy_(x), 1)}
    n = 8192
    for dtype in (torch.bfloat16, torch.float32):
        a, b = (torch.randn(n, n, device="cuda", dtype=dtype) for _ in range(2))
        c = torch.empty_like(a)
        timed[str(dtype).removeprefix("torch.")] = Timed(lambda a=a, b=b, c=c: torch.mm(a, b, out=c), 1)  # type: ignore[misc]
    best = {name: min(times) for name, times in in_turn(timed, protocol).items()}
    copy = best.pop("copy")
    return {
        "copy_bytes_per_second": 2 * x.nbytes / copy * 1e6,
        "matmul_flop_per_second": {name: 2 * n**3 / time * 1e6 for name, time in best.items()},
    }
