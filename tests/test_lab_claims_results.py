"""From arms to jobs, from records to numbers, from numbers to a result file and back."""

import json
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import lab_records
import numpy as np
import pytest

from minirembert.lab.claims import CLAIMS, find, results
from minirembert.lab.claims.arms import ARMS, HEADS, TWINS, job, label
from minirembert.lab.claims.claim import Claim
from minirembert.lab.claims.profiles import JUDGED, PROFILES, Profile
from minirembert.lab.claims.quantities import QUANTITIES
from minirembert.lab.claims.results import COMMITTED, jobs_of, load, run_claim, save
from minirembert.lab.conventions import Phase
from minirembert.lab.experiment import Baseline, Experiment, Finetuning, Training, Twins
from minirembert.lab.jobs import settings_of
from minirembert.lab.ledger import total
from minirembert.lab.rank_of_head import HeadExperiment
from minirembert.lab.tasks import TASKS
from minirembert.lab.tasks.baselines import BASELINES
from minirembert.lab.variant import Variant
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


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_the_results_that_come_with_the_package_are_of_the_rules_as_they_are(claim: Claim) -> None:
    """Written down before the code was changed last: the rule, what came of it, and the settings of every arm."""
    content = json.loads((COMMITTED / "lesson" / f"claim_{claim.name}.json").read_text("utf-8"))
    result = load(COMMITTED / "lesson", claim)
    assert content["rule"] == claim.rule and content["title"] == claim.title
    assert content["comparisons"] == json.loads(json.dumps([asdict(one) for one in claim.comparisons]))
    found = [finding._asdict() | {"interval": finding.interval and finding.interval._asdict()}
             for finding in result.judgement.findings]  # fmt: skip
    assert content["findings"] == json.loads(json.dumps(found))
    if claim.columns:
        assert {arm: made["settings"] for arm, made in content["arms"].items()} == {
            arm: settings_of(job(arm, PROFILES["lesson"], 0)) for arm in claim.columns
        }
        assert {arm: set(run["0"]) for arm, run in content["runs"].items()} == {
            arm: set(quantities) for arm, quantities in claim.columns.items()
        }


# A profile whose every number is its own.
ODD = replace(
    PROFILES["lesson"],
    name="odd",
    seeds=3,
    variant=Variant(hidden_size=32, num_hidden_layers=3, num_attention_heads=2, head="linear"),
    world=World(languages=3, breadth=0.0, sentences=50, held_out=20),
    wide_world=World(languages=3, breadth=0.0, sentences=50, held_out=20, synonyms=2),
    deeper_layers=5,
    training=Training(steps=7, batch_size=9, learning_rate=0.1, warmup=2, twice_every=3, backend="triton", dtype="float64"),
    finetuning=Finetuning(tasks=JUDGED, steps=4, batch_size=6, learning_rate=0.2, examples=30, scored=13),
    head=HeadExperiment(hidden_size=8, vocab_size=50, contexts=20, steps=11),
)  # fmt: skip
MADE = {  # arm -> E, O, tied, L, dropped, synonyms, silent
    "tied H": (32, 32, True, 3, (0,), 1, 0),
    "H-H": (32, 32, False, 3, (0,), 1, 0),
    "H/16-H": (2, 32, False, 3, (0,), 1, 0),
    "H/4-H": (8, 32, False, 3, (0, 1), 1, 0),
    "H-H/4": (32, 8, False, 3, (0,), 1, 0),
    "H/4-H/4": (8, 8, False, 3, (0, 1), 1, 0),
    "H/4-4H": (8, 128, False, 3, (0, 1), 1, 0),
    "H/4-4H, one language": (8, 128, False, 3, (0,), 1, 2),
    "tied H, many words": (32, 32, True, 3, (0,), 2, 0),
    "H/4-H, many words, deeper": (8, 32, False, 5, (0,), 2, 0),
}


def by_hand(arm: str, seed: int) -> Experiment:
    E, O, tied, L, dropped, synonyms, silent = MADE[arm]  # noqa: E741
    return Experiment(
        Variant(E, O, 32, L, 2, tied, "linear"),
        World(languages=3, breadth=0.0, sentences=50, held_out=20, synonyms=synonyms, silent=silent),
        ODD.training, replace(ODD.finetuning, dropped=dropped), seed,
    )  # fmt: skip


@pytest.mark.parametrize("seed", [0, 4])
def test_every_arm_by_hand(seed: int) -> None:
    assert MADE.keys() == ARMS.keys()
    for arm in MADE:
        assert job(arm, ODD, seed) == by_hand(arm, seed)
    assert job(TWINS, ODD, seed) == Twins(by_hand("tied H", seed), by_hand("H-H", seed))
    of = replace(by_hand("H/4-4H", seed), finetuning=ODD.finetuning)
    for name in BASELINES:
        assert job(name, ODD, seed) == Baseline(of.variant, of.world, of.training, of.finetuning, seed, name=name)
        assert label(name, ODD) == name
    for arm, (head, outputs) in {
        "linear H": ("linear", 8), "linear 4H": ("linear", 32), "linear 16H": ("linear", 128),
        "gelu_ln H": ("gelu_ln", 8), "gelu_ln 4H": ("gelu_ln", 32), "gelu_ln 16H": ("gelu_ln", 128),
    }.items():  # fmt: skip
        assert job(arm, ODD, seed) == HeadExperiment(head, outputs, 8, 50, 20, steps=11, seed=seed)
        assert label(arm, ODD) == f"{head}, O {outputs}"
    assert {arm: label(arm, ODD) for arm in MADE} == {
        "tied H": "tied 32", "H-H": "32-32", "H/16-H": "2-32", "H/4-H": "8-32", "H-H/4": "32-8", "H/4-H/4": "8-8",
        "H/4-4H": "8-128", "H/4-4H, one language": "8-128, one language", "tied H, many words": "tied 32, L 3",
        "H/4-H, many words, deeper": "8-32, L 5",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["0b", "1b", "2c", "4b", "tasks"])
def test_a_claim_is_judged_on_its_own_runs(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every seed of every arm, with what they need; the seconds of all of them; who made them, each pair once."""
    claim, asked, rng = find(name), [], np.random.default_rng(7)
    made: dict[Any, dict[str, Any]] = {}

    def records(jobs: Any, cache: Path, processes: Any, title: str) -> list[dict[str, Any]]:
        asked.append((list(jobs), cache, processes, title))
        for number, one in enumerate(jobs):
            needed = isinstance(one, Experiment) and one.finetuning is None
            measured = {} if needed else lab_records.record(one, rng)["measured"]
            of = {"commit": "bad"[number % 3], "versions": {"numpy": "2", "minirembert": str(one.seed)}}
            made[one] = {
                "settings": settings_of(one), "measured": measured, "provenance": {**of, "seconds": 2.0**-number}
            }  # fmt: skip
        return [made[one] for one in jobs]

    monkeypatch.setattr(results, "records", records)
    result = run_claim(claim, ODD, tmp_path, 3)
    ((jobs, cache, processes, title),) = asked
    assert (cache, processes, title) == (tmp_path, 3, f"claim {name}")
    wanted = {(arm, seed): job(arm, ODD, seed) for arm in claim.columns for seed in (0, 1, 2)}
    needs = {need for one in wanted.values() for need in one.needs.values()}
    assert set(jobs) == set(wanted.values()) | needs and len(jobs) == len(set(jobs))
    assert set(jobs_of([claim], ODD)) == set(wanted.values())
    assert result.runs == {
        arm: {
            seed: {quantity: QUANTITIES[quantity].of(made[wanted[arm, seed]]) for quantity in quantities}
            for seed in (0, 1, 2)
        }
        for arm, quantities in claim.columns.items()
    }
    assert result.judgement == claim.judge(result.runs) and result.profile == "odd" and result.seeds == [0, 1, 2]
    assert result.seconds == sum(2.0**-number for number in range(len(jobs)))
    assert result.arms == {arm: (label(arm, ODD), settings_of(job(arm, ODD, 0))) for arm in claim.columns}
    made_by = [record["provenance"] for record in made.values()]
    pairs = sorted({(of["commit"], of["versions"]["minirembert"]) for of in made_by})
    assert result.provenance["runs"] == [
        {"commit": commit, "versions": {"minirembert": version, "numpy": "2"}} for commit, version in pairs
    ]


def test_what_is_saved(tmp_path: Path) -> None:
    """The file, as JSON has it."""
    result = lab_records.result(find("2"), seeds=3)._replace(seconds=12.36)
    content = json.loads(save(result, tmp_path).read_text("utf-8"))
    assert (content["format"], content["claim"], content["profile"]) == (1, "2", "lesson")
    assert (content["seeds"], content["seconds"]) == ([0, 1, 2], 12.4)
    assert (content["verdict"], content["note"]) == (result.judgement.verdict, result.judgement.note)
    assert content["runs"] == json.loads(json.dumps(result.runs)) and content["provenance"] == result.provenance
    for stored, finding in zip(content["findings"], result.judgement.findings, strict=True):
        assert stored["values"] == {str(seed): value for seed, value in finding.values.items()}
        assert finding.interval is not None
        assert list(stored["interval"].values()) == list(finding.interval)
        assert (stored["outcome"], stored["holds"]) == (finding.outcome, finding.holds)


def test_every_quantity_by_hand() -> None:
    """Records whose every number is another."""
    sides = {"step": [0, 20, 40, 60], "input": [1.0, 2.0, 3.0, 4.0], "output": [2.0, 4.0, 6.0, 8.0]}
    world = {**asdict(World(languages=3)), "overlap": 0.5}
    kept = {
        "2": {"tags": {"a": 0.9, "b": 0.5, "c": 0.1}, "inference": {"a": 0.7, "b": 0.3, "c": 0.4}},
        "1": {"tags": {"a": 0.8, "b": 0.6, "c": 0.3}, "inference": {"a": 0.6, "b": 0.2, "c": 0.8}},
    }
    measured = {
        "loss": 2.5, "accuracy": 0.25, "parameters": {"pre-training": 900, "fine-tuning": 400}, "tasks": kept,
        "retrieval": {"with_mean": [0.1, 0.8, 0.3], "pool": 10.0}, "side_gradients": sides,
        "cka": {"input": 0.2, "output": 0.7, "chance": 0.1}, "kl": 0.6, "rank": 20, "printed": 4, "met": 3, "unexplained": 1,
    }  # fmt: skip
    settings = {"seed": 0, "variant": {"num_hidden_layers": 2}, "world": world, "hidden_size": 16}
    record = {"settings": settings, "measured": measured}
    expected = {
        "loss": 2.5, "accuracy": 0.25, "transfer": (0.5 + 0.1 + 0.3 + 0.4) / 4, "in_language": (0.9 + 0.7) / 2,
        "gain_of_dropping": (0.6 + 0.3 + 0.2 + 0.8 - 0.5 - 0.1 - 0.3 - 0.4) / 4,
        "tags, learned": 0.9, "tags, other": 0.3, "inference, learned": 0.7, "inference, other": 0.35,
        "retrieval": [0.1, 0.8, 0.3], "last_minus_middle": 0.3 - 0.8, "part_of_last": 0.4 / (0.4 + 0.9),
        "parameters_pretraining": 900, "parameters_finetuning": 400,
        "cka_input": 0.2, "cka_output": 0.7, "cka_chance": 0.1, "cka_output_minus_input": 0.5,
        "gradient_input": 2.5, "gradient_output": 5.0, "gradient_ratio": 1.0,
        "kl": 0.6, "rank": 20, "rank_over_limit": 3.0, "printed": 4, "met": 3, "unexplained": 1,
    }  # fmt: skip
    others = {f"{task}, {where}" for task in TASKS for where in ("learned", "other")} - expected.keys()
    assert expected.keys() | others == QUANTITIES.keys()
    for name, value in expected.items():
        found = QUANTITIES[name].of(record)
        np.testing.assert_allclose(found, value, rtol=16 * np.finfo(float).eps, err_msg=name)
        assert QUANTITIES[name].by_layer == isinstance(value, list)
