"""From a claim and a profile to a result file, and back.

    result = run_claim(find("3"), PROFILES["smoke"], Path("lab-runs"))
    save(result, Path("lab-results"))                         # lab-results/smoke/claim_3.json
    result = load(Path("lab-results/smoke"), find("3"))

A result file holds the rule, the numbers of every run that the claim looks at, what came of each comparison, the verdict, and
where it all came from. What is believed of a file are its numbers: `load` judges them again.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from minirembert.files import no_file, read_json, write_text_atomically
from minirembert.lab.claims.arms import job, label
from minirembert.lab.claims.claim import Claim, Judgement
from minirembert.lab.claims.comparison import Finding, Runs
from minirembert.lab.claims.counts import counted
from minirembert.lab.claims.profiles import Profile
from minirembert.lab.claims.quantities import QUANTITIES, Record
from minirembert.lab.jobs import Job
from minirembert.lab.runs import records
from minirembert.provenance import provenance

FORMAT = 1
COMMITTED = Path(__file__).parent.parent / "results"


class ClaimResult(NamedTuple):
    """`labels`: arm -> the same in numbers. `runs`: arm -> seed -> quantity -> value. `seconds`: what its runs took, one after
    the other. `provenance`: of the judgement, and under "runs" of every commit and version that made one.
    """

    claim: Claim
    profile: str
    labels: dict[str, str]
    runs: Runs
    judgement: Judgement
    seconds: float
    provenance: dict[str, Any]

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for by_seed in self.runs.values() for seed in by_seed})


def jobs_of(claims: Iterable[Claim], profile: Profile) -> list[Job]:
    """Every run that these claims ask for, once."""
    places = ((arm, seed) for claim in claims for arm in claim.columns for seed in range(profile.seeds))
    return list(dict.fromkeys(job(arm, profile, seed) for arm, seed in places))


def run_claim(claim: Claim, profile: Profile, cache: Path, processes: int | None = None) -> ClaimResult:
    """Judges a claim in a profile; runs that `cache` has are not run again."""
    if not claim.columns:
        runs = counted()
        names = {arm: arm for arm in runs}
        return ClaimResult(claim, profile.name, names, runs, claim.judge(runs), 0.0, _provenance([]))
    places = [(arm, seed) for arm in claim.columns for seed in range(profile.seeds)]
    found = records([job(arm, profile, seed) for arm, seed in places], cache, processes, f"claim {claim.name}")
    table = extract(claim, dict(zip(places, found, strict=True)))
    labels = {arm: label(arm, profile) for arm in claim.columns}
    seconds = math.fsum(record["provenance"]["seconds"] for record in found)
    return ClaimResult(claim, profile.name, labels, table, claim.judge(table), seconds, _provenance(found))


def extract(claim: Claim, records: dict[tuple[str, int], Record]) -> dict[str, dict[int, dict[str, Any]]]:
    """The quantities that a claim looks at, of records by (arm, seed)."""
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    for (arm, seed), record in records.items():
        runs.setdefault(arm, {})[seed] = {name: QUANTITIES[name].of(record) for name in claim.columns[arm]}
    return runs


def save(result: ClaimResult, folder: Path) -> Path:
    """Writes `folder`/<profile>/claim_<name>.json and returns its path."""
    claim, judgement = result.claim, result.judgement
    content = {
        "format": FORMAT,
        "claim": claim.name,
        "title": claim.title,
        "rule": claim.rule,
        "comparisons": [asdict(comparison) for comparison in claim.comparisons],
        "profile": result.profile,
        "seeds": result.seeds,
        "verdict": judgement.verdict,
        "note": judgement.note,
        "findings": [_finding(finding) for finding in judgement.findings],
        "arms": result.labels,
        "runs": result.runs,
        "seconds": round(result.seconds, 1),
        "provenance": result.provenance,
    }
    path = folder / result.profile / f"claim_{claim.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def load(folder: Path, claim: Claim) -> ClaimResult:
    """The result of a claim from `folder`, judged again.

    Raises FileNotFoundError where there is none; ValueError, naming the file, for one that is damaged, was made under
    another rule, or says something else than its own numbers do.
    """
    path = folder / f"claim_{claim.name}.json"
    if not path.exists():
        raise FileNotFoundError(f"{no_file(path)}: run it with `minirembert lab run {claim.name}`")
    content = read_json(path)
    try:
        if content["format"] != FORMAT or content["claim"] != claim.name:
            raise ValueError(f"{path} is no result of claim {claim.name} in the format {FORMAT}")
        if content["comparisons"] != [asdict(comparison) for comparison in claim.comparisons]:
            raise ValueError(f"{path} was made under another rule than claim {claim.name} has now: run the claim again")
        runs = {arm: {int(seed): run for seed, run in of.items()} for arm, of in content["runs"].items()}
        judgement = claim.judge(runs)
        _check_panels(claim, runs)
        if (judgement.verdict, judgement.note) != (content["verdict"], content["note"]):
            raise ValueError(
                f"{path} says {content['verdict']!r} ({content['note']!r}), but by the rule its numbers say "
                f"{judgement.verdict!r} ({judgement.note!r})"
            )
        return ClaimResult(
            claim, str(content["profile"]), dict(content["arms"]), runs, judgement, float(content["seconds"]),
            dict(content["provenance"]),
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no result of the lab: {type(error).__name__} {error}") from error


def _check_panels(claim: Claim, runs: Runs) -> None:
    """That everything is there that a figure shows."""
    for arm, quantities in claim.columns.items():
        for seed, run in runs[arm].items():
            if missing := [name for name in quantities if name not in run]:
                raise ValueError(f"claim {claim.name}: the run of {arm!r} with seed {seed} has no {missing[0]!r}")


def _finding(finding: Finding) -> dict[str, Any]:
    interval = finding.interval._asdict() if finding.interval else None
    return {**finding._asdict(), "interval": interval}


def _provenance(records: Iterable[Record]) -> dict[str, Any]:
    made_by = {(of["commit"], *sorted(of["versions"].items())) for of in (record["provenance"] for record in records)}
    runs = [{"commit": commit, "versions": dict(versions)} for commit, *versions in sorted(made_by)]
    return {**provenance("minirembert", "numpy"), "runs": runs}
