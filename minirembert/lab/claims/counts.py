"""Claim 0 has no runs: its numbers are counted from the sizes of the paper's models."""

from minirembert.lab.claims.comparison import Runs
from minirembert.lab.paper import ROWS


def counted() -> Runs:
    """For each row of the paper's tables: figures `printed`, figures `met`, and those that are neither met nor explained."""
    runs = {}
    for row in ROWS:
        pairs = [pair for pair in zip(row.printed, row.recount(), strict=True) if pair[0] is not None]
        met = sum(theirs == ours for theirs, ours in pairs)
        unexplained = 0 if row.why else len(pairs) - met
        runs[row.name] = {0: {"printed": len(pairs), "met": met, "unexplained": unexplained}}
    return runs
