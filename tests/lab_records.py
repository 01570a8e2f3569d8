"""Random records such as the lab's runs leave behind, for tests of what is made of them."""

import json
from typing import Any

import numpy as np

from minirembert.lab.claims.arms import job, label
from minirembert.lab.claims.claim import Claim
from minirembert.lab.claims.counts import counted
from minirembert.lab.claims.profiles import PROFILES
from minirembert.lab.claims.results import ArmMade, ClaimResult, extract
from minirembert.lab.experiment import Experiment
from minirembert.lab.jobs import Job, settings_of
from minirembert.lab.rank_of_head import HeadExperiment

PROVENANCE = {
    "commit": "0000000",
    "versions": {"numpy": "2"},
    "seconds": 1.5,
    "date": "2026-01-01",
    "python": "3",
    "machine": "m",
}


def record(of: Job, rng: np.random.Generator) -> dict[str, Any]:
    """A record of a job: every number is random, of the kind and size that it could have."""
    if isinstance(of, Experiment):
        measured = pretraining(of, rng)
    elif isinstance(of, HeadExperiment):
        measured = {"kl": rng.uniform(0, 2), "rank": int(rng.integers(1, 256))}
    else:
        measured = {"cka": dict(zip(("input", "output", "chance"), rng.uniform(0, 1, 3).tolist(), strict=True))}
    content = {"kind": of.kind, "settings": settings_of(of), "measured": measured, "provenance": PROVENANCE}
    found: dict[str, Any] = json.loads(json.dumps(content))
    return found


def pretraining(of: Experiment, rng: np.random.Generator) -> dict[str, Any]:
    layers = of.variant.num_hidden_layers
    assert of.finetuning is not None
    return {
        "loss": rng.uniform(1, 4),
        "accuracy": rng.uniform(),
        "parameters": {"pre-training": int(rng.integers(1e4, 1e6)), "fine-tuning": int(rng.integers(1e4, 1e6))},
        "retrieval": {"with_mean": rng.uniform(0, 1, layers + 1).tolist(), "pool": 900.0},
        "side_gradients": {
            "step": list(range(0, 200, 20)),
            "input": rng.uniform(0.1, 1, 10).tolist(),
            "output": rng.uniform(0.1, 1, 10).tolist(),
        },
        "tasks": {
            str(layers - dropped): {
                task: {name: rng.uniform() for name in of.world.language_names} for task in of.finetuning.tasks
            }
            for dropped in of.finetuning.dropped
        },
    }


def records(claim: Claim, profile: str, seeds: int, seed: int = 0) -> dict[tuple[str, int], dict[str, Any]]:
    """By arm and seed, for all that a claim compares."""
    rng = np.random.default_rng(seed)
    return {
        (arm, number): record(job(arm, PROFILES[profile], number), rng)
        for arm in claim.columns
        for number in range(seeds)
    }


def result(claim: Claim, profile: str = "lesson", seeds: int = 8, seed: int = 0) -> ClaimResult:
    """What `run_claim` would make of random records."""
    runs = extract(claim, records(claim, profile, seeds, seed)) if claim.columns else counted()
    arms = {arm: ArmMade(arm, {}) for arm in runs}
    if claim.columns:
        of = PROFILES[profile]
        arms = {arm: ArmMade(label(arm, of), settings_of(job(arm, of, 0))) for arm in runs}
    made = {**PROVENANCE, "runs": [{"commit": "0000000", "versions": {"numpy": "2"}}]}
    return ClaimResult(claim, profile, arms, runs, claim.judge(runs), 90.0, made)
