"""A claim: what the paper says, what is asked of the lab's runs, and the rule that decides, all written before any run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from minirembert.lab.claims.comparison import (
    EQUAL,
    INSIDE,
    NOT_SHOWN,
    OPPOSITE,
    SHOWN,
    Comparison,
    Everywhere,
    Finding,
    Runs,
)
from minirembert.lab.claims.quantities import QUANTITIES


class Column(NamedTuple):
    """One quantity of one arm, as a figure shows it."""

    arm: str
    quantity: str


class Judgement(NamedTuple):
    """The verdict on a claim, with what its comparisons came to."""

    verdict: str
    note: str
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        return f"{self.verdict} ({self.note})" if self.note else self.verdict


@dataclass(frozen=True)
class Claim:
    """`rule` is `comparisons` in words. `panels` are what the figure has beside them: dots, or curves over layers."""

    name: str
    title: str
    paper: str
    question: str
    rule: str
    comparisons: tuple[Comparison | Everywhere, ...]
    panels: tuple[tuple[Column, ...], ...]

    @property
    def columns(self) -> dict[str, list[str]]:
        """Arm -> the quantities that are kept of its runs, in the order of the panels."""
        wanted = [column for panel in self.panels for column in panel]
        for comparison in self.comparisons:
            if isinstance(comparison, Comparison):
                arms = [comparison.arm] + ([comparison.minus] if comparison.minus else [])
                wanted += [Column(arm, comparison.quantity) for arm in arms]
        columns: dict[str, list[str]] = {}
        for arm, quantity in dict.fromkeys(wanted):
            columns.setdefault(arm, []).append(quantity)
        return columns

    def judge(self, runs: Runs) -> Judgement:
        """Raises ValueError, naming the claim, for runs that cannot be judged."""
        try:
            findings = tuple(comparison.judge(runs) for comparison in self.comparisons)
        except ValueError as error:
            raise ValueError(f"claim {self.name}: {error}") from error
        required = [finding for finding in findings if finding.required]
        if all(finding.outcome == EQUAL for finding in required):
            return Judgement(EQUAL, "", findings)
        if all(finding.holds for finding in required):
            return Judgement(SHOWN, _how(required), findings)
        if all(finding.outcome == EQUAL or finding.note == INSIDE for finding in required):
            return Judgement(EQUAL, "", findings)
        return Judgement(NOT_SHOWN, _why_not(required), findings)


def _how(required: list[Finding]) -> str:
    """What is to be known of a claim that is shown: the only comparison's note, or how many effects are too small to count."""
    if len(required) == 1:
        return required[0].note
    inside = sum(finding.note == INSIDE for finding in required)
    return f"{INSIDE} in {inside} of {len(required)} comparisons" if inside else ""


def _why_not(required: list[Finding]) -> str:
    """In a few words: too few seeds before all else; then how much of the rule is met, and what is the other way round."""
    if few := [finding.note for finding in required if finding.note.startswith("too few seeds")]:
        return few[0]
    if len(required) == 1:
        return required[0].note
    note = f"{sum(finding.holds for finding in required)} of {len(required)} comparisons hold"
    opposite = sum(finding.note == OPPOSITE for finding in required)
    return f"{note}; {OPPOSITE} in {opposite}" if opposite else note


def panel(quantity: str, *arms: str) -> tuple[Column, ...]:
    """One quantity of several arms side by side. Raises ValueError for a quantity that nothing is known of."""
    if quantity not in QUANTITIES:
        raise ValueError(f"no quantity is called {quantity!r}")
    return tuple(Column(arm, quantity) for arm in arms)


def by_name(claims: tuple[Claim, ...]) -> Mapping[str, Claim]:
    """The claims by their `name`, in the same order."""
    return {claim.name: claim for claim in claims}
