"""From a claim and a profile to a result file, and back.

    result = run_claim(find("3"), PROFILES["smoke"], Path("lab-runs"))
    save(result, Path("lab-results"))                         # lab-results/smoke/claim_3.json
    result = load(Path("lab-results/smoke"), find("3"))

A result file holds the rule, the settings of every arm, the numbers of every run that the claim looks at, what came of each
comparison, the verdict, and where it all came from. What is believed of a file are its numbers: `load` judges them again.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from minirembert.files import json_text, no_file, read_json, write_text_atomically
from minirembert.lab.claims.arms import job, label
from minirembert.lab.claims.claim import Claim, Judgement
from minirembert.lab.claims.comparison import Finding, Runs
from minirembert.lab.claims.counts import counted
from minirembert.lab.claims.profiles import PROFILES, Profile
from minirembert.lab.claims.quantities import QUANTITIES, Record
from minirembert.lab.jobs import Job, settings_of
from minirembert.lab.runs import records
from minirembert.provenance import provenance
from minirembert.scalars import is_number

FORMAT = 1
COMMITTED = Path(__file__).parent.parent / "results"


class ArmMade(NamedTuple):
    """An arm in numbers, like "12-192"; and the settings of its first run, from which the others differ in their seed alone."""

    label: str
    settings: dict[str, Any]


class ClaimResult(NamedTuple):
    """`runs`: arm -> seed -> quantity -> value. `seconds`: what its runs took, with those they need, one after the
    other. `provenance`: of the judgement, and under "runs" of every commit and version that made one.
    """

    claim: Claim
    profile: str
    arms: dict[str, ArmMade]
    runs: Runs
    judgement: Judgement
    seconds: float
    provenance: dict[str, Any]

    @property
    def labels(self) -> dict[str, str]:
        """The label of each arm, by the arm's name in the rule."""
        return {arm: made.label for arm, made in self.arms.items()}

    @property
    def seeds(self) -> list[int]:
        """The seeds of all runs, in ascending order."""
        return sorted({seed for by_seed in self.runs.values() for seed in by_seed})


def jobs_of(claims: Iterable[Claim], profile: Profile) -> list[Job]:
    """Every run that these claims ask for, once."""
    places = ((arm, seed) for claim in claims for arm in claim.columns for seed in range(profile.seeds))
    return list(dict.fromkeys(job(arm, profile, seed) for arm, seed in places))


def run_claim(claim: Claim, profile: Profile, cache: Path, processes: int | None = None) -> ClaimResult:
    """Judges a claim in a profile; runs that `cache` has are not run again."""
    if not claim.columns:
        runs = counted()
        rows = {arm: ArmMade(arm, {}) for arm in runs}
        return ClaimResult(claim, profile.name, rows, runs, claim.judge(runs), 0.0, _provenance([]))
    places = [(arm, seed) for arm in claim.columns for seed in range(profile.seeds)]
    jobs = {place: job(place[0], profile, place[1]) for place in places}
    every = dict.fromkeys(one for of in jobs.values() for one in (of, *of.needs.values()))
    found = dict(zip(every, records(list(every), cache, processes, f"claim {claim.name}"), strict=True))
    table = extract(claim, {place: found[of] for place, of in jobs.items()})
    arms = {arm: ArmMade(label(arm, profile), settings_of(job(arm, profile, 0))) for arm in claim.columns}
    seconds = math.fsum(record["provenance"]["seconds"] for record in found.values())
    return ClaimResult(claim, profile.name, arms, table, claim.judge(table), seconds, _provenance(found.values()))


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
        "arms": {arm: made._asdict() for arm, made in result.arms.items()},
        "runs": {arm: {str(seed): run for seed, run in of.items()} for arm, of in result.runs.items()},
        "seconds": round(result.seconds, 1),
        "provenance": result.provenance,
    }
    path = folder / result.profile / f"claim_{claim.name}.json"
    text = json_text(content, path.name, indent=1, readable=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, text)
    return path


def load(folder: Path, claim: Claim) -> ClaimResult:
    """The result of a claim from `folder`, judged again.

    Raises FileNotFoundError where there is none; ValueError, naming the file, for one that is damaged, was made under
    another rule or profile than it lies under, or says something else than its own numbers do.
    """
    path = folder / f"claim_{claim.name}.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{no_file(path)}: run it with `minirembert lab run {claim.name} --profile {folder.name}`"
        )
    content = read_json(path)
    try:
        return _judged_again(claim, content, folder.name)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no result of the lab: {type(error).__name__} {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _judged_again(claim: Claim, content: dict[str, Any], profile: str) -> ClaimResult:
    if content["format"] != FORMAT or content["claim"] != claim.name:
        raise ValueError(f"this is no result of claim {claim.name} in the format {FORMAT}")
    if content["profile"] != profile or profile not in PROFILES:
        raise ValueError(f"the profile here is {content['profile']!r}, but the folder is that of {profile!r}")
    if not is_number(content["seconds"]) or content["seconds"] < 0:
        raise ValueError(f"seconds must be a finite number of at least 0, got {content['seconds']!r}")
    if content["comparisons"] != [asdict(comparison) for comparison in claim.comparisons]:
        raise ValueError(f"made under another rule than claim {claim.name} has now; run the claim again")
    runs = {arm: {int(seed): run for seed, run in of.items()} for arm, of in content["runs"].items()}
    judgement = claim.judge(runs)
    _check_columns(claim, runs)
    if (judgement.verdict, judgement.note) != (content["verdict"], content["note"]):
        stored = Judgement(content["verdict"], content["note"], ())
        raise ValueError(f"the verdict here is {str(stored)!r}, but by the rule the numbers say {str(judgement)!r}")
    made = {name: content["provenance"][name] for name in ("date", "commit", "python", "machine", "versions", "runs")}
    arms = {arm: ArmMade(str(content["arms"][arm]["label"]), content["arms"][arm]["settings"]) for arm in runs}
    for arm, made_of in arms.items():
        wanted = label(arm, PROFILES[profile]) if claim.columns else arm
        if made_of.label != wanted:
            raise ValueError(
                f"the arm {arm!r} is labelled {made_of.label!r}, but in profile {profile} it is {wanted!r}"
            )
    return ClaimResult(claim, profile, arms, runs, judgement, float(content["seconds"]), made)


def _check_columns(claim: Claim, runs: Runs) -> None:
    """That everything is there, of every seed, that a figure shows."""
    seeds = {seed for of in runs.values() for seed in of}
    for arm, quantities in claim.columns.items():
        if missing := sorted(seeds - set(runs[arm])):
            raise ValueError(f"claim {claim.name}: the arm {arm!r} has no seed {missing[0]}")
        for name in quantities:
            values = [run.get(name) for run in runs[arm].values()]
            curves = values if QUANTITIES[name].by_layer else [[value] for value in values]
            whole = [curve for curve in curves if isinstance(curve, list) and curve and all(map(is_number, curve))]
            if len(whole) < len(curves) or len({len(curve) for curve in whole}) != 1:
                raise ValueError(f"claim {claim.name}: {name!r} of the arm {arm!r} is not there for every seed")


def _finding(finding: Finding) -> dict[str, Any]:
    interval = finding.interval._asdict() if finding.interval else None
    values = {str(seed): value for seed, value in finding.values.items()}
    return {**finding._asdict(), "values": values, "interval": interval}


def _provenance(records: Iterable[Record]) -> dict[str, Any]:
    made_by = {(of["commit"], *sorted(of["versions"].items())) for of in (record["provenance"] for record in records)}
    runs = [{"commit": commit, "versions": dict(versions)} for commit, *versions in sorted(made_by)]
    return {**provenance("minirembert", "numpy"), "runs": runs}
