"""One comparison of a claim: a number for each seed, and where the interval of its mean must lie.

    Comparison("loss, wider output minus narrower", "loss", "H/4-4H", minus="H/4-H", claimed="below")

What comes of it is one of three outcomes. An interval wholly on the claimed side of the bound: "shown". Wholly inside the
band around 0: "equal within the band". Anything else: "not shown", with a note where the opposite shows.

An interval can be both, where a claimed side and a band are stated: certain, and too small to count. Then "shown" wins, with
the note "inside the band". The other side has no such privilege: an opposite inside the band is "equal within the band".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from minirembert.lab.statistics import Interval, t_interval
from minirembert.scalars import is_number

SHOWN = "shown"
EQUAL = "equal within the band"
NOT_SHOWN = "not shown"
OPPOSITE = "the opposite shows"
INSIDE = "inside the band"

# arm -> seed -> quantity -> what was measured: a number, or one for each layer
Runs = Mapping[str, Mapping[int, Mapping[str, Any]]]


class Finding(NamedTuple):
    """What a comparison came to. `values` has the number of each seed; no interval: fewer than two seeds."""

    what: str
    condition: str
    required: bool
    values: dict[int, float]
    interval: Interval | None
    outcome: str
    note: str
    holds: bool


@dataclass(frozen=True)
class Comparison:
    """`quantity` of `arm`, minus that of `minus` in the run of the same seed (None: minus nothing).

    claimed    "above" or "below" the bound, or "equal": inside the band
    bound      the stated margin
    band       differences up to this size count as none; None: the comparison knows no equality
    seeds      with fewer, nothing is shown
    required   of the claim; the others stand beside it and decide nothing
    """

    what: str
    quantity: str
    arm: str
    minus: str | None = None
    claimed: Literal["above", "below", "equal"] = "above"
    bound: float = 0.0
    band: float | None = None
    seeds: int = 3
    required: bool = True

    def __post_init__(self) -> None:
        if self.claimed not in ("above", "below", "equal"):
            raise ValueError(f"{self.what!r} claims above, below or equal, not {self.claimed!r}")
        if self.claimed == "equal" and self.band is None:
            raise ValueError(f"{self.what!r} claims equality, so it needs a band")

    @property
    def condition(self) -> str:
        """Where the interval must lie, in words."""
        return f"within ±{self.band:g}" if self.claimed == "equal" else f"{self.claimed} {self.bound:g}"

    def values(self, runs: Runs) -> dict[int, float]:
        """The number of each seed. Raises ValueError for a missing arm or quantity, unpaired seeds, and NaN."""
        ours = column_of(runs, self.arm, self.quantity)
        if self.minus is None:
            return ours
        theirs = column_of(runs, self.minus, self.quantity)
        if unpaired := sorted(set(ours) ^ set(theirs)):
            lacking = self.arm if unpaired[0] in theirs else self.minus
            raise ValueError(f"runs are paired by seed, but the arm {lacking!r} has no seed {unpaired[0]}")
        return {seed: value - theirs[seed] for seed, value in ours.items()}

    def judge(self, runs: Runs) -> Finding:
        """Raises ValueError as `values` does."""
        values = self.values(runs)
        interval = t_interval(values.values()) if len(values) > 1 else None
        outcome, note = NOT_SHOWN, ""
        inside = (
            interval is not None and self.band is not None and -self.band < interval.low and interval.high < self.band
        )
        if interval is None or len(values) < self.seeds:
            note = f"too few seeds: {len(values)} of {self.seeds}"
        elif self.claimed != "equal" and self._on_the(self.claimed, interval):
            outcome, note = SHOWN, INSIDE if inside else ""
        elif inside:
            outcome = EQUAL
        elif self.claimed == "equal":
            outside = self.band is not None and (interval.low > self.band or interval.high < -self.band)
            note = "outside the band" if outside else "the interval reaches out of the band"
        elif self._on_the("below" if self.claimed == "above" else "above", interval):
            note = OPPOSITE
        else:
            note = f"the interval contains {self.bound:g}"
        holds = outcome == (EQUAL if self.claimed == "equal" else SHOWN)
        return Finding(self.what, self.condition, self.required, values, interval, outcome, note, holds)

    def _on_the(self, side: str, interval: Interval) -> bool:
        return interval.low > self.bound if side == "above" else interval.high < self.bound


@dataclass(frozen=True)
class Everywhere:
    """Not a matter of chance: `quantity` is exactly `value` in every run of every arm."""

    what: str
    quantity: str
    value: float
    required: bool = True

    @property
    def condition(self) -> str:
        """What every run must have, in words."""
        return f"{self.value:g} everywhere"

    def judge(self, runs: Runs) -> Finding:
        """Shown if there are runs and all of them have the value. Raises ValueError as `column_of` does."""
        columns = {arm: column_of(runs, arm, self.quantity) for arm in runs}
        wrong = [arm for arm, column in columns.items() if any(value != self.value for value in column.values())]
        note = f"{len(columns) - len(wrong)} of {len(columns)}" + (f"; not in {', '.join(wrong)}" if wrong else "")
        holds = bool(columns) and not wrong
        return Finding(self.what, self.condition, self.required, {}, None, SHOWN if holds else NOT_SHOWN, note, holds)


def column_of(runs: Runs, arm: str, quantity: str) -> dict[int, float]:
    """Seed -> `quantity`. Raises ValueError for a missing arm or quantity, and for a value that is not finite."""
    if arm not in runs:
        raise ValueError(f"there are no runs of the arm {arm!r}")
    column = {}
    for seed, run in sorted(runs[arm].items()):
        if quantity not in run:
            raise ValueError(f"the run of {arm!r} with seed {seed} has no {quantity!r}")
        value = run[quantity]
        if not is_number(value):
            raise ValueError(f"{quantity!r} of {arm!r} with seed {seed} must be a finite number, got {value!r}")
        column[seed] = float(value)
    return column
