"""From arms to jobs, from records to numbers, from numbers to a result file and back."""

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import lab_records
import numpy as np
import pytest

from minirembert.lab.claims import CLAIMS, find
from minirembert.lab.claims.arms import ARMS, HEADS, TWINS, job, label
from minirembert.lab.claims.profiles import JUDGED, PROFILES, Profile
from minirembert.lab.claims.quantities import QUANTITIES
from minirembert.lab.claims.results import jobs_of, load, save
from minirembert.lab.conventions import Phase
from minirembert.lab.experiment import Experiment, Twins
from minirembert.lab.jobs import settings_of
from minirembert.lab.ledger import total
from minirembert.lab.rank_of_head import HeadExperiment
from minirembert.lab.world import World, build_corpus

MANY_TIED, MANY_DEEPER = "tied H, many words", "H/4-H, many words, deeper"


def experiment(arm: str, profile: Profile, seed: int = 0) -> Experiment:
    found = job(arm, profile, seed)
    assert isinstance(found, Experiment)
    return found


@lru_cache
def vocabulary(world: World) -> int:
    return len(build_corpus(replace(world, sentences=1, held_out=1), 0).pieces)


def parameters(arm: str, profile: Profile, phase: Phase) -> int:
    run = experiment(arm, profile)
    return total(run.variant.sizes(vocabulary(run.world)), phase)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_what_is_compared_at_equal_size_is_of_equal_size(profile: Profile) -> None:
    for arm, other, phase in ((MANY_DEEPER, MANY_TIED, "fine-tuning"), ("H/4-H", "H-H/4", "pre-training")):
        ratio = parameters(arm, profile, phase) / parameters(other, profile, phase)  # type: ignore[arg-type]
        assert 0.97 < ratio < 1.03, (arm, other)


def test_the_arms_of_a_lesson() -> None:
    lesson = PROFILES["lesson"]
    labels = {arm: label(arm, lesson) for arm in (*ARMS, TWINS, *HEADS)}
    assert labels["tied H"] == "tied 48" and labels["H/16-H"] == "3-48" and labels["H/4-4H"] == "12-192"
    assert labels[MANY_DEEPER] == "12-48, L 7" and labels[TWINS] == "tied 48 / 48-48"
    assert labels["gelu_ln 16H"] == "gelu_ln, O 256" and len(set(labels.values())) == len(labels)
    run = experiment("H/4-4H", lesson, seed=5)
    assert (run.variant.input_embedding_size, run.variant.output_embedding_size, run.seed) == (12, 192, 5)
    assert run.finetuning is not None and run.finetuning.dropped == (0, 1)
    twins, head = job(TWINS, lesson, 3), job("linear 4H", lesson, 2)
    assert isinstance(twins, Twins) and twins.tied == experiment("tied H", lesson, 3)
    assert isinstance(head, HeadExperiment) and (head.output_embedding_size, head.head, head.seed) == (64, "linear", 2)
    with pytest.raises(ValueError, match="there is no arm 'H/2-H': those of models are in ARMS"):
        job("H/2-H", lesson, 0)
    with pytest.raises(ValueError, match="profile lesson: H = 40 has no whole 1/16 and 1"):
        experiment("H/16-H", replace(lesson, variant=replace(lesson.variant, hidden_size=40)))


def test_claims_share_their_runs() -> None:
    lesson = PROFILES["lesson"]
    one_by_one = [run for claim in CLAIMS.values() for run in jobs_of([claim], lesson)]
    together = jobs_of(CLAIMS.values(), lesson)
    assert set(together) == set(one_by_one) and len(together) == len(set(together)) < len(one_by_one)


def test_smoke_has_too_few_seeds_for_any_verdict() -> None:
    needed = {c.seeds for claim in CLAIMS.values() for c in claim.comparisons if hasattr(c, "seeds")}
    assert PROFILES["smoke"].seeds < min(needed) and PROFILES["lesson"].seeds >= max(needed)


@pytest.mark.parametrize("seed", range(5))
def test_the_numbers_of_a_record(seed: int) -> None:
    record = lab_records.record(experiment("H/4-H", PROFILES["lesson"]), np.random.default_rng(seed))
    of = {
        name: quantity.of(record) for name, quantity in QUANTITIES.items() if name in ("loss", "accuracy", "retrieval")
    }
    measured = record["measured"]
    assert of == {
        "loss": measured["loss"],
        "accuracy": measured["accuracy"],
        "retrieval": measured["retrieval"]["with_mean"],
    }
    tasks, found = measured["tasks"], {name: QUANTITIES[name].of(record) for name in ("transfer", "in_language")}
    assert set(tasks["4"]["tags"]) == {"a", "b"}
    means = {
        (kept, language): np.mean([task[language] for task in tasks[kept].values()])
        for kept in ("3", "4")
        for language in "ab"
    }
    np.testing.assert_allclose([found["transfer"], found["in_language"]], [means["4", "b"], means["4", "a"]])
    gain = QUANTITIES["gain_of_dropping"].of(record)
    np.testing.assert_allclose(gain, means["3", "b"] - means["4", "b"])
    layers, chance = measured["retrieval"]["with_mean"], 1 / 900
    np.testing.assert_allclose(QUANTITIES["last_minus_middle"].of(record), layers[4] - layers[2])
    part = (layers[4] + chance) / (layers[4] + layers[2] + 2 * chance)
    np.testing.assert_allclose(QUANTITIES["part_of_last"].of(record), part)
    sides = measured["side_gradients"]
    np.testing.assert_allclose(
        QUANTITIES["gradient_ratio"].of(record), np.log2(np.mean(sides["output"]) / np.mean(sides["input"]))
    )
    np.testing.assert_allclose(QUANTITIES["gradient_input"].of(record), np.mean(sides["input"]))


def test_transfer_is_a_mean_over_all_other_languages() -> None:
    run = experiment("H-H", PROFILES["lesson"])
    run = replace(run, world=replace(run.world, languages=4))
    record = lab_records.record(run, np.random.default_rng(1))
    scores = [
        score for task in record["measured"]["tasks"]["4"].values() for name, score in task.items() if name != "a"
    ]
    assert len(scores) == 3 * len(JUDGED)
    np.testing.assert_allclose(QUANTITIES["transfer"].of(record), np.mean(scores))


@pytest.mark.parametrize("task", JUDGED)
def test_the_score_of_one_task_is_of_that_task_alone(task: str) -> None:
    run = experiment("H/4-H", PROFILES["lesson"])
    record = lab_records.record(replace(run, world=replace(run.world, languages=3)), np.random.default_rng(2))
    record["measured"]["tasks"]["4"] = {
        name: {"a": place + 0.5, "b": place + 0.1, "c": place + 0.2} for place, name in enumerate(JUDGED)
    }
    found = [QUANTITIES[f"{task}, {where}"].of(record) for where in ("learned", "other")]
    place = JUDGED.index(task)
    np.testing.assert_allclose(found, [place + 0.5, place + 0.15])


def test_a_record_without_what_is_asked_for() -> None:
    run = experiment("H-H", PROFILES["lesson"], seed=6)
    with pytest.raises(ValueError, match="a run with seed 6 was not fine-tuned with 3 blocks kept"):
        QUANTITIES["gain_of_dropping"].of(lab_records.record(run, np.random.default_rng(1)))
    alone = replace(run, world=replace(run.world, languages=1))
    with pytest.raises(ValueError, match="a run with seed 6 has no language to transfer to"):
        QUANTITIES["transfer"].of(lab_records.record(alone, np.random.default_rng(1)))


def test_a_model_that_aligned_nothing_has_lost_nothing() -> None:
    record = lab_records.record(experiment("H-H", PROFILES["lesson"]), np.random.default_rng(1))
    record["measured"]["retrieval"] = {"with_mean": [0.0] * 5, "pool": 500.0}
    assert QUANTITIES["part_of_last"].of(record) == 0.5 and QUANTITIES["last_minus_middle"].of(record) == 0


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_result_comes_back_as_it_was(name: str, profile: str, tmp_path: Path) -> None:
    """Which also makes every job of every profile, and takes every quantity that a claim names."""
    result = lab_records.result(find(name), profile, seeds=3)
    path = save(result, tmp_path)
    assert path == tmp_path / profile / f"claim_{name}.json"
    again = load(path.parent, find(name))
    assert again == result._replace(provenance=again.provenance)
    for arm, made in again.arms.items():
        assert not find(name).columns or made.settings == settings_of(job(arm, PROFILES[profile], 0))
    assert again.seeds == ([0, 1, 2] if find(name).columns else [0])


def tampered(tmp_path: Path, change: Any) -> Path:
    path = save(lab_records.result(find("3")), tmp_path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path.parent


def better(content: Any) -> None:
    """Numbers by which the claim would be shown."""
    for height, arm in enumerate(("H/4-4H", "H/4-H", "H/4-H/4")):
        for run in content["runs"][arm].values():
            run["loss"] = 1.0 + height


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(verdict="shown", note=""), "here is 'shown', but by the rule the numbers say 'not shown (0 of 2"),
        (better, "is 'not shown (0 of 2 comparisons hold)', but by the rule the numbers say 'shown'"),
        (lambda c: c["comparisons"][0].update(bound=9), "made under another rule than claim 3 has now"),
        (lambda c: c["comparisons"].pop(), "made under another rule than claim 3 has now"),
        (lambda c: c["runs"]["H/4-H"].pop("7"), "the arm 'H/4-H' has no seed 7"),
        (lambda c: c["runs"]["H/4-H"]["7"].update(loss=float("nan")), "with seed 7 must be a finite number, got nan"),
        (lambda c: c["runs"]["H/4-H"]["7"].pop("accuracy"), "'accuracy' of the arm 'H/4-H' is not there for every seed"),
        (lambda c: c["runs"]["H/4-H"]["7"].update(accuracy=[0.5]), "'accuracy' of the arm 'H/4-H' is not there for"),
        (lambda c: c["runs"]["H/4-H"]["7"].update(accuracy=float("inf")), "'accuracy' of the arm 'H/4-H' is not there"),
        (lambda c: c["provenance"].pop("commit"), "is no result of the lab: KeyError 'commit'"),
        (lambda c: c["arms"].pop("H/4-H"), "is no result of the lab: KeyError 'H/4-H'"),
        (lambda c: c.update(claim="4"), "this is no result of claim 3 in the format 1"),
        (lambda c: c.update(profile="smoke"), "the profile here is 'smoke', but the folder is that of 'lesson'"),
        (lambda c: c["arms"]["H/4-H"].update(label="9-9"), "labelled '9-9', but in profile lesson it is '12-48'"),
        (lambda c: c.update(seconds=float("nan")), "seconds must be a finite number of at least 0, got nan"),
        (lambda c: c.update(seconds=-1), "seconds must be a finite number of at least 0, got -1"),
        (lambda c: c.update(seconds="9"), "seconds must be a finite number of at least 0, got '9'"),
        (lambda c: c.pop("runs"), "is no result of the lab: KeyError 'runs'"),
        (lambda c: c.update(runs=[]), "is no result of the lab"),
    ],
)  # fmt: skip
def test_a_file_that_says_something_else_than_its_numbers_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    folder = tampered(tmp_path, change)
    with pytest.raises(ValueError) as error:
        load(folder, find("3"))
    assert str(error.value).startswith(str(folder / "claim_3.json"))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_curves_have_to_be_whole_and_of_every_seed(tmp_path: Path) -> None:
    for name, arm, change in (
        ("4", "H/4-H", lambda runs: runs["7"]["retrieval"].pop()),
        ("4", "H/4-H", lambda runs: runs["7"]["retrieval"].append("x")),
        ("4", "H/4-H", lambda runs: runs["7"].update(retrieval=0.5)),
        ("tasks", "own language", lambda runs: runs.pop("7")),  # an arm that the figure alone shows
    ):
        path = save(lab_records.result(find(name)), tmp_path)
        content = json.loads(path.read_text())
        change(content["runs"][arm])
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=f"claim {name}: .*'{arm}'"):
            load(path.parent, find(name))


def test_no_result(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"claim_2b[.]json does not exist: run it with `minirembert lab run 2b --profile smoke`"
    ):
        load(tmp_path / "smoke", find("2b"))
