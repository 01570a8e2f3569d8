"""Claim 0 has no runs: its numbers are counted from the sizes of the paper's models."""

from dataclasses import dataclass

from minirembert.lab.claims.comparison import Everywhere, Finding, Runs, column_of
from minirembert.lab.paper import ROWS


@dataclass(frozen=True)
class EveryCount(Everywhere):
    """`Everywhere`, with a note that says of how many figures it is true."""

    def judge(self, runs: Runs) -> Finding:
        """Raises ValueError for what is not a number."""
        finding = super().judge(runs)
        if not finding.holds:
            return finding
        met, printed = (sum(sum(column_of(runs, arm, name).values()) for arm in runs) for name in ("met", "printed"))
        return finding._replace(note=f"{met:.0f} of {printed:.0f} figures met, the others explained")


def counted() -> Runs:
    """For each row of the paper's tables: figures `printed`, figures `met`, and those that are neither met nor explained."""
    runs = {}
    for row in ROWS:
        pairs = [pair for pair in zip(row.printed, row.recount(), strict=True) if pair[0] is not None]
        met = sum(theirs == ours for theirs, ours in pairs)
        unexplained = 0 if row.why else len(pairs) - met
        runs[row.name] = {0: {"printed": len(pairs), "met": met, "unexplained": unexplained}}
    return runs
