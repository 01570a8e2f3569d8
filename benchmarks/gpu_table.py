"""What the times of `kernels_gpu.py` say: ratios, shares of the floor, goals met or not; as a section of docs/kernels.md.

    python -m benchmarks.gpu_table [--results FILE.json] [--page docs/kernels.md]

writes the tables between two marker lines of the page, or at its end if it has none.

Not here: anything that needs a GPU, or torch.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results" / "kernels_gpu.json"
PAGE = Path(__file__).parents[1] / "docs" / "kernels.md"
START, END = "<!-- measured: start (python -m benchmarks.gpu_table) -->", "<!-- measured: end -->"

OURS = "triton"
BEST_SDPA = "best sdpa"
COPY = "copy"

Record = dict[str, Any]


# --- one row --------------------------------------------------------------------------------------------------------------


def time(row: Record, side: str, how: str) -> float | None:
    """Microseconds, the median of the rounds."""
    times = row["sides"].get(side, {}).get(f"{how}_us")
    return median(times) if times else None


def fair(row: Record, side: str) -> str:
    """How the two sides can be compared: in graphs, or, where one of them could not be captured, as they are called."""
    return "cold" if time(row, OURS, "cold") and time(row, side, "cold") else "called"


def ratio(row: Record, side: str, how: str | None = None) -> float | None:
    """The side's time over ours: above 1 we are faster."""
    how = how or fair(row, side)
    ours, theirs = time(row, OURS, how), time(row, side, how)
    return theirs / ours if ours and theirs else None


def spread(row: Record, side: str) -> tuple[float, float]:
    """The smallest and the largest ratio of a round."""
    key = f"{fair(row, side)}_us"
    rounds = [b / a for a, b in zip(row["sides"][OURS][key], row["sides"][side][key], strict=True)]
    return min(rounds), max(rounds)


def share(row: Record, how: str = "cold") -> float | None:
    """Of the speed that the floor allows; of a copy's bandwidth, where the floor is memory."""
    ours = time(row, OURS, how)
    return row["floor_us"] / ours if ours else None


def best_sdpa(row: Record) -> str | None:
    """The fastest backend of scaled_dot_product_attention."""
    ratios = {side: ratio(row, side) for side in row["sides"] if side.startswith("sdpa ")}
    timed = {side: found for side, found in ratios.items() if found is not None}
    return min(timed, key=lambda side: timed[side]) if timed else None


# --- goals ----------------------------------------------------------------------------------------------------------------


class Goal(NamedTuple):
    kernel: str
    case: str
    direction: str
    against: str
    at_least: float

    def measured(self, rows: list[Record]) -> float | None:
        """What was reached, in bfloat16; None where it was not measured."""
        for row in rows:
            found = (row["kernel"], row["case"], row["direction"], row["dtype"])
            if found == (self.kernel, self.case, self.direction, "bfloat16") and "failed" not in row:
                if self.against == COPY:
                    return share(row)
                side = best_sdpa(row) if self.against == BEST_SDPA else self.against
                return None if side is None else ratio(row, side)
        return None


GOALS = [
    Goal("attention", "16 x 512", "forward", BEST_SDPA, 1.10),
    Goal("attention", "16 x 512", "backward", BEST_SDPA, 1.0),
    Goal("attention", "16 x 512, ragged", "forward", BEST_SDPA, 1.8),
    Goal("attention", "16 x 512, ragged", "backward", BEST_SDPA, 1.8),
    Goal("residual_layer_norm", "8192 x 1152", "forward", "torch.compile", 1.0),
    Goal("residual_layer_norm", "8192 x 1152", "forward", "eager", 1.3),
    Goal("layer_norm", "8192 x 1152", "forward + backward", "eager", 1.3),
    Goal("softmax", "16 x 18 x 512 x 512", "forward", COPY, 0.93),
    Goal("softmax", "16 x 18 x 512 x 512", "backward", COPY, 0.93),
    Goal("bias_gelu", "8192 x 4608", "forward", COPY, 0.93),
    Goal("bias_gelu", "8192 x 4608", "backward", COPY, 0.93),
]


def judged(goal: Goal, rows: list[Record]) -> tuple[str, str]:
    """What was measured, and whether that is enough."""
    measured = goal.measured(rows)
    if measured is None:
        return "", "not measured"
    return f"{measured:.2f}", "met" if measured >= goal.at_least else "not met"


def verdict(goal: Goal, rows: list[Record]) -> str:
    """The same in a line."""
    return f"{', '.join(goal[:3])}: {goal.at_least:.2f} of {goal.against}: {' '.join(judged(goal, rows)).strip()}"


# --- Markdown -------------------------------------------------------------------------------------------------------------


def markdown(record: Record) -> str:
    """The goals and then everything that was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items() if version != "absent")
    copy, products = record["ceilings"]["copy_bytes_per_second"], record["ceilings"]["matmul_flop_per_second"]
    head = (
        f"{record['device']['name']}, {record['date'][:10]}, commit {record['commit'] or 'unknown'}; {versions}. "
        f"A copy moves {copy / 1e12:.2f} TB/s; an 8192^3 matrix product runs at {products['bfloat16'] / 1e12:.0f} TFLOP/s "
        f"in bfloat16, {products['float32'] / 1e12:.0f} in float32. A ratio is the other's time over ours: above 1 we are "
        "faster. Medians; inputs come from memory; * marks calls without CUDA graphs, on both sides. In a graph our ragged "
        "kernels have looked at the lengths; called, they wait for the GPU to do so. The goals were set for an H200."
    )
    goals = [["kernel", "case", "pass", "against", "goal", "measured", ""]]
    for goal in GOALS:
        goals.append([*goal[:4], f"{goal.at_least:.2f}", *judged(goal, record["rows"])])

    names = ("eager", "torch.compile", BEST_SDPA, "liger")
    rows = [["kernel", "case", "pass", "dtype", "floor us", "ours us", "of the floor", "warm us", *names, "others"]]
    for row in record["rows"]:
        place = [row["kernel"], row["case"], row["direction"], row["dtype"], f"{row['floor_us']:.1f}"]
        if "failed" in row:
            rows.append([*place, "failed", *[""] * (3 + len(names))])
            continue
        best = best_sdpa(row)
        shown = {OURS, "eager", "torch.compile", "liger"}
        others = [side for side in row["sides"] if side not in shown and not side.startswith("sdpa ")]
        cold, called, reached = time(row, OURS, "cold"), time(row, OURS, "called"), share(row)
        times = [_number(cold, 1) if cold else f"{_number(called, 1)}*", "" if reached is None else f"{reached:.0%}"]
        ratios = [_ratio(row, side) for side in ("eager", "torch.compile", best, "liger")]
        if best is not None:
            ratios[2] += f" ({best.removeprefix('sdpa ')})"
        listed = ", ".join(f"{side} {_ratio(row, side)}" for side in others if _ratio(row, side))
        rows.append([*place, *times, _number(time(row, OURS, "warm"), 1), *ratios, listed])
    return "\n\n".join([head, _table(goals), _table(rows)])


def _ratio(row: Record, side: str | None) -> str:
    found = None if side is None else ratio(row, side)
    return _number(found) + ("*" if found is not None and fair(row, str(side)) == "called" else "")


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _table(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def regenerate(results: Path, page: Path) -> None:
    """Writes what `results` says between the marker lines of `page`."""
    section = f"{START}\n\n{markdown(json.loads(results.read_text()))}\n\n{END}"
    text = page.read_text() if page.exists() else "# The kernels\n"
    if START in text:
        before, rest = text.split(START, 1)
        text = before + section + rest.split(END, 1)[1]
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    page.write_text(text)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args(argv)
    if not arguments.results.exists():
        print(f"There is no {arguments.results}: nothing has been measured, and nothing was written.", file=sys.stderr)
        return 1
    regenerate(arguments.results, arguments.page)
    print(f"wrote the tables of {arguments.results} to {arguments.page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
