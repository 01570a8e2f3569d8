"""The claims of the paper that the lab tests, and the rules by which it does.

    judgement = find("3").judge(runs)        # runs: arm -> seed -> quantity -> number

input_side.py, output_side.py, task_claims.py   the claims, as data
margins.py       what counts as a difference, and how many seeds a statement needs
comparison.py    one comparison: a paired number for each seed, an interval, an outcome
claim.py         a claim: several comparisons, a verdict
quantities.py    the numbers of one run that claims are made of
arms.py          what is compared: from an arm's name, a profile and a seed to a job; profiles.py: the sizes
counts.py        claim 0's numbers, which need no runs
results.py       runs a claim, writes its result file, reads one and checks it
"""

from difflib import get_close_matches

from . import input_side, output_side, task_claims
from .claim import Claim, Judgement
from .comparison import EQUAL, NOT_SHOWN, SHOWN, Comparison, Finding

CLAIMS = {claim.name: claim for claim in (*input_side.CLAIMS, *output_side.CLAIMS, *task_claims.CLAIMS)}


def find(name: str) -> Claim:
    """The claim of this name. Raises ValueError, with the names there are, for another."""
    if name in CLAIMS:
        return CLAIMS[name]
    close = get_close_matches(name.lower().removeprefix("claim").strip(" _-"), CLAIMS, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"there is no claim {name!r}: the claims are {', '.join(CLAIMS)}{hint}")


__all__ = ["CLAIMS", "EQUAL", "NOT_SHOWN", "SHOWN", "Claim", "Comparison", "Finding", "Judgement", "find"]
