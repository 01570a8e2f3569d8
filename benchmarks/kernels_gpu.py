"""Every kernel on a GPU, beside everything else that computes the same: torch eager, torch.compile, each backend of
scaled_dot_product_attention, Liger-Kernel where it is installed.

    python -m benchmarks.kernels_gpu [--kernels attention softmax] [--quick] [--out FILE.json]

Whatever is timed is first compared with float64, and what is wrong is not timed: neither a peer, which is then recorded as
refused, nor a kernel of ours, which makes the exit code 1. `gpu_peers.py` says what is run, `gpu_timing.py` how it is timed,
`gpu_table.py` makes a page of it. The file is written again after every operation, so that a run that is cut off leaves
what it has measured. Without a GPU nothing is measured and nothing is written.
"""

import argparse
import gc
import json
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
import triton
from torch import Tensor
from torch._functorch import config as autograd_config

from benchmarks import gpu_model
from benchmarks.gpu_peers import Cost, Inputs, Operation, Side, operations, prepared
from benchmarks.gpu_table import GOALS, OURS, best_sdpa, ratio, share, spread, verdict
from benchmarks.gpu_timing import (
    Protocol,
    Replay,
    Timed,
    capturable,
    ceilings,
    first_line,
    in_turn,
    l2_bytes,
    reason_not_to_capture,
    sets_needed,
)
from kernels._launch import INTERPRETED
from minirembert.provenance import provenance

NOTHING = "There is no GPU here on which kernels are compiled, so nothing was measured and nothing was written."
RESULTS = Path(__file__).parent / "results"
KERNELS = ("attention", "residual_layer_norm", "layer_norm", "softmax", "bias_gelu", "gelu", "model")
FULL, QUICK = Protocol(rounds=5, milliseconds=10), Protocol(rounds=5, milliseconds=3)
MINUTES = {"full": 8.0, "quick": 2.0}

# Largest honest relative error, ||found - right|| / ||right||: bfloat16 stays below a hundredth; float32 near a millionth,
# where TF32 would have 3e-4.
LIMITS = {torch.bfloat16: 2e-2, torch.float32: 1e-5}

Row = dict[str, Any]


# --- right or wrong -----------------------------------------------------------------------------------------------------


class Wrong(Exception):
    """A side computes something else."""


def truth(operation: Operation, inputs: Inputs) -> dict[str, tuple[Tensor, ...]]:
    """What each pass should give, as its eager peer computes it in float64."""
    eager = operation.sides["eager"]
    wide = Inputs(tuple(array.double() for array in inputs.arrays), inputs.dy.double())
    results = prepared(eager.function, wide, "forward + backward")()
    y, *gradients = (eager.leave(result.detach()) for result in results)
    return {"forward": (y,), "backward": tuple(gradients), "forward + backward": (y, *gradients)}


def error_of(side: Side, results: Sequence[Tensor], right: Sequence[Tensor], dtype: torch.dtype) -> float:
    """The largest relative error of a result. Raises Wrong where it is too large, or a shape or dtype is another."""
    worst = 0.0
    for number, (result, expected) in enumerate(zip(results, right, strict=True)):
        found = side.leave(result.detach())
        if found.shape != expected.shape or found.dtype != dtype:
            raise Wrong(
                f"result {number} is {tuple(found.shape)} {found.dtype}, expected {tuple(expected.shape)} {dtype}"
            )
        error = float(torch.linalg.vector_norm(found.double() - expected) / torch.linalg.vector_norm(expected))
        if not error <= LIMITS[dtype]:  # NaN is not
            raise Wrong(f"result {number} has a relative error of {error:.1e}, allowed {LIMITS[dtype]:.0e}")
        worst = max(worst, error)
    return worst


def entered(side: Side, inputs: Inputs) -> Inputs:
    return Inputs(tuple(side.enter(array) for array in inputs.arrays), side.enter(inputs.dy))


def examined(
    side: Side, direction: str, inputs: Inputs, right: Mapping[str, tuple[Tensor, ...]], dtype: torch.dtype
) -> float:
    """The relative error of a side's pass, of both ways to run it. Raises Wrong, or whatever the side raises."""
    given = entered(side, inputs)
    functions = [side.function] if side.captured is None else [side.function, side.captured]
    return max(
        error_of(side, prepared(function, given, direction)(), right[direction], dtype) for function in functions
    )


def reason(error: Exception, heard: Sequence[warnings.WarningMessage]) -> str:
    """One line. scaled_dot_product_attention gives its reasons as warnings."""
    said = dict.fromkeys(first_line(warning.message) for warning in heard)
    return "; ".join([f"{type(error).__name__}: {first_line(error)}", *said])[:600]


# --- one operation ------------------------------------------------------------------------------------------------------


def with_compiled(operation: Operation) -> dict[str, Side]:
    """Its sides, and torch.compile of the eager one."""
    torch.compiler.reset()
    eager = operation.sides["eager"]
    compiled = eager._replace(function=torch.compile(eager.function, dynamic=False, fullgraph=True))
    sides = dict(operation.sides)
    return {OURS: sides.pop(OURS), "eager": sides.pop("eager"), "torch.compile": compiled, **sides}


def measure(operation: Operation, rates: Row, protocol: Protocol) -> list[Row]:
    """A row for each pass; one that fails does not keep the others from being measured."""
    smallest = min(cost.bytes for cost in operation.costs.values())
    sets = [operation.inputs(seed) for seed in range(sets_needed(smallest, l2_bytes()))]
    right = truth(operation, sets[0])
    sides = with_compiled(operation)
    rows = []
    for direction, cost in operation.costs.items():
        row = row_for(operation.kernel, operation.case, direction, operation.dtype, cost, rates)
        row |= {"shapes": [list(array.shape) for array in sets[0].arrays], "sets": len(sets)}
        try:
            measure_pass(row, sides, sets, right, operation.dtype, protocol)
        except Exception as error:
            row["failed"] = str(error) if isinstance(error, Wrong) else traceback.format_exc()
        rows.append(row)
    return rows


def measure_pass(
    row: Row,
    sides: Mapping[str, Side],
    sets: Sequence[Inputs],
    right: Mapping[str, tuple[Tensor, ...]],
    dtype: torch.dtype,
    protocol: Protocol,
) -> None:
    """Adds to the row what each side needs, or why it was refused. Raises what our own side raises."""
    ready: dict[str, dict[str, Timed]] = {"cold": {}, "warm": {}, "called": {}}
    for name, side in sides.items():
        entry = row["sides"][name] = {}
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            try:
                entry["error"] = examined(side, row["direction"], sets[0], right, dtype)
                timed = set_up(entry, side, row["direction"], sets, right, dtype)
            except Exception as error:
                if name == OURS:
                    raise
                entry["refused"] = reason(error, heard)
                continue
        for mode, one in timed.items():
            ready[mode][name] = one
    for mode, contenders in ready.items():
        for name, times in in_turn(contenders, protocol).items():
            row["sides"][name][f"{mode}_us"] = times


def row_for(kernel: str, case: str, direction: str, dtype: torch.dtype, cost: Cost, rates: Row) -> Row:
    name = str(dtype).removeprefix("torch.")
    # what memory or the matrix units need at least, whichever takes longer
    seconds = max(cost.bytes / rates["copy_bytes_per_second"], cost.flops / rates["matmul_flop_per_second"][name])
    found = {"kernel": kernel, "case": case, "direction": direction, "dtype": name}
    return {**found, "bytes": cost.bytes, "flops": cost.flops, "floor_us": 1e6 * seconds, "sides": {}}


def set_up(
    entry: Row,
    side: Side,
    direction: str,
    sets: Sequence[Inputs],
    right: Mapping[str, tuple[Tensor, ...]],
    dtype: torch.dtype,
) -> dict[str, Timed]:
    """What will be timed, by mode. A graph is replayed and its results examined before it counts. Raises Wrong."""
    given = [entered(side, inputs) for inputs in sets]
    calls = [prepared(side.function, inputs, direction) for inputs in given]
    timed = {"called": Timed(lambda: [run() for run in calls], len(calls))}
    captured = side.captured
    runs = calls if captured is None else [prepared(captured, inputs, direction) for inputs in given]
    runs[0]()
    why_not = reason_not_to_capture(runs[0])
    if why_not is None:
        try:
            replays = {"cold": Replay(runs), "warm": Replay(runs[:1])}
        except Exception as error:
            why_not = reason(error, [])
        else:
            for replay in replays.values():
                error_of(side, replay.once(), right[direction], dtype)
            timed |= replays
    if why_not is not None:
        entry["not_captured"] = why_not
    elif captured is not None:
        entry["captured"] = "without looking at the lengths, for which a call waits"
    return timed


# --- the whole model ----------------------------------------------------------------------------------------------------


def measure_model(rates: Row, protocol: Protocol) -> Row:
    """A step of four layers of RemBERT in bfloat16."""
    case = gpu_model.rembert()
    batch = gpu_model.batch_of(case)
    cost = Cost(*gpu_model.cost(case, int((batch["labels"] != -100).sum())))
    row = row_for("model", str(case), "forward + backward", torch.bfloat16, cost, rates)
    row |= {"shapes": [[case.batch, case.length]], "sides": {OURS: {}, "transformers": {}}}
    try:
        measure_step(row, case, batch, protocol._replace(milliseconds=10 * protocol.milliseconds))
    except Exception as error:
        row["failed"] = str(error) if isinstance(error, Wrong) else traceback.format_exc()
    return row


def measure_step(row: Row, case: gpu_model.Case, batch: dict[str, Any], protocol: Protocol) -> None:
    """Adds to the row what a step takes. Raises Wrong if the two models disagree."""
    model = gpu_model.our_model(case, row["dtype"])
    step = gpu_model.our_step(model, batch)
    ours = step()
    timed = {OURS: Timed(step, 1)}
    try:
        their_step = gpu_model.their_step(case, model, batch)
        theirs = their_step()
    except Exception as error:
        row["sides"]["transformers"]["refused"] = reason(error, [])
    else:
        apart = row["sides"][OURS]["apart"] = gpu_model.differences(ours, theirs)
        if not all(apart[name] <= limit for name, limit in gpu_model.LIMITS.items()):
            raise Wrong(f"ours and transformers' are apart by {apart}")
        timed["transformers"] = Timed(their_step, 1)
    for name, times in in_turn(timed, protocol).items():
        row["sides"][name]["called_us"] = times


# --- what is said about it ----------------------------------------------------------------------------------------------


def lines_about(row: Row) -> list[str]:
    """For the terminal."""
    title = f"{row['kernel']} {row['direction']}, {row['case']}, {row['dtype']}"
    floor = f"floor {row['floor_us']:.1f} us ({row['bytes'] / 1e6:.1f} MB, {row['flops'] / 1e9:.1f} GFLOP)"
    if "failed" in row:
        return [f"{title}: {floor}", f"    FAILED: {row['failed'].strip().splitlines()[-1]}"]
    if "not_captured" in row["sides"][OURS]:
        floor += f"; no graph of ours: {row['sides'][OURS]['not_captured'][:80]}"
    us = {how: median(times) for how in ("cold", "warm", "called") if (times := row["sides"][OURS].get(f"{how}_us"))}
    reached = share(row) or row["floor_us"] / us["called"]
    listed = ", ".join(f"{how} {time_us:.1f} us" for how, time_us in us.items())
    found = [f"{title}: {floor}; ours {listed} = {reached:.0%} of the floor's speed"]
    best = best_sdpa(row)
    for name, entry in row["sides"].items():
        if name == OURS:
            continue
        against = ratio(row, name)
        if against is None:
            found.append(f"    {name:15} refused: {entry.get('refused', 'not timed')[:140]}")
            continue
        low, high = spread(row, name)
        notes = f"({low:.2f} to {high:.2f})"
        for how in ("warm", "called"):
            other = ratio(row, name, how)
            notes += "" if other is None else f", {how} {other:.2f}"
        notes += ", the best of sdpa" if name == best else ""
        notes += f", no graph: {entry['not_captured'][:80]}" if "not_captured" in entry else ""
        found.append(f"    {name:15} {against:5.2f} {notes}")
    return found


def origin() -> Row:
    try:
        return provenance("torch", "triton", "numpy", "transformers", "liger-kernel")
    except OSError:  # there is no git
        versions = {"torch": torch.__version__, "triton": triton.__version__}
        return {"date": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()), "commit": "", "versions": versions}


def device() -> Row:
    properties = torch.cuda.get_device_properties(0)
    query = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,clocks.max.mem", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        driver = "unknown"
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "l2_bytes": l2_bytes(),
        "cuda": torch.version.cuda or torch.version.hip,
        "driver_and_clocks": driver,
    }


def write(record: Row, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    partial.replace(out)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", nargs="+", choices=KERNELS, help="all, unless --quick leaves out the model")
    parser.add_argument("--quick", action="store_true", help="only what there are goals for, in about two minutes")
    parser.add_argument("--minutes", type=float, help="after so many, what is left is not measured")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--commit", help="where git cannot be asked")
    arguments = parser.parse_args(argv)
    if INTERPRETED or not torch.cuda.is_available():
        print(NOTHING)
        return 0

    extent = "quick" if arguments.quick else "full"
    protocol = QUICK if arguments.quick else FULL
    kernels = arguments.kernels or [kernel for kernel in KERNELS if kernel != "model" or not arguments.quick]
    out = arguments.out or RESULTS / ("kernels_gpu_quick.json" if arguments.quick else "kernels_gpu.json")
    record: Row = {
        "benchmark": "kernels_gpu",
        **origin(),
        "device": device(),
        "protocol": {"extent": extent, "kernels": kernels, **protocol._asdict()},
        "complete": False,
        "rows": [],
    }
    record["commit"] = arguments.commit or record["commit"]
    problems = run(record, protocol, arguments.minutes or MINUTES[extent], kernels, out)
    for goal in GOALS:
        print(f"goal: {verdict(goal, record['rows'])}")
    print(f"\nwrote {len(record['rows'])} rows to {out}")
    for problem in problems:
        print(f"NOT MEASURED: {problem}")
    return 1 if problems else 0


def run(record: Row, protocol: Protocol, minutes: float, kernels: Sequence[str], out: Path) -> list[str]:
    """Fills `record` and writes it. What could not be measured, one line each."""
    end = time.monotonic() + 60 * minutes
    torch.set_float32_matmul_precision("highest")  # float32 means float32, for everybody
    problems: list[str] = []
    record["problems"] = problems
    with (
        capturable(),
        # torch.compile would let a backward pass write over what the next run of it needs; and it reads this setting in the
        # thread that runs the pass, so that must be this one
        autograd_config.patch(donated_buffer=False),
        torch.autograd.set_multithreading_enabled(False),
    ):
        rates = record["ceilings"] = ceilings(protocol)
        flops = ", ".join(f"{rate / 1e12:.0f} in {name}" for name, rate in rates["matmul_flop_per_second"].items())
        print(f"{record['device']['name']}: copy {rates['copy_bytes_per_second'] / 1e12:.2f} TB/s; TFLOP/s {flops}")
        jobs: list[tuple[str, Callable[[], list[Row]]]] = []
        for operation in operations():
            if operation.kernel in kernels and (operation.in_quick_run or record["protocol"]["extent"] == "full"):
                jobs.append((operation.name, lambda operation=operation: measure(operation, rates, protocol)))  # type: ignore[misc]
        if "model" in kernels:
            jobs.append(("model", lambda: [measure_model(rates, protocol)]))
        for name, job in jobs:
            if time.monotonic() > end:
                problems.append(f"{name}: the {minutes:g} minutes were over")
                continue
            try:
                gc.collect()
                torch.cuda.empty_cache()
                rows = job()
            except Exception as error:
                traceback.print_exc()
                rows = []
                problems.append(f"{name}: {reason(error, [])}")
            for row in rows:
                print("\n".join(lines_about(row)), flush=True)
                if "failed" in row:
                    problems.append(f"{name}, {row['direction']}: {row['failed'].strip().splitlines()[-1]}")
            record["rows"] += rows
            write(record, out)
    record["complete"] = not problems
    write(record, out)
    return problems


if __name__ == "__main__":
    sys.exit(main())
