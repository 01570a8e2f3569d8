"""Verdicts: the statistics behind them, what a comparison comes to, and that every rule can be met and missed."""

import math
import random
import statistics
from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirembert.lab.claims import CLAIMS, EQUAL, NOT_SHOWN, SHOWN, Comparison, find
from minirembert.lab.claims.claim import Claim, panel
from minirembert.lab.claims.comparison import INSIDE, OPPOSITE, Everywhere
from minirembert.lab.claims.counts import EveryCount, counted
from minirembert.lab.claims.margins import loss, transfer
from minirembert.lab.paper import ROWS
from minirembert.lab.statistics import t_interval, t_quantile

# Student's t at 0.975, as tables print it.
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 7: 2.365, 9: 2.262, 15: 2.131, 30: 2.042, 120: 1.980}


@pytest.mark.parametrize("degrees", TABLE)
def test_t_quantiles_are_those_of_printed_tables(degrees: int) -> None:
    assert round(t_quantile(0.975, degrees), 3) == TABLE[degrees]


@given(st.floats(0.001, 0.999), st.integers(1, 200))
def test_t_quantile_inverts_the_distribution(probability: float, degrees: int) -> None:
    """Against the incomplete beta function, which the closed form does not use."""
    t = mpmath.mpf(t_quantile(probability, degrees))
    tail = mpmath.betainc(mpmath.mpf(degrees) / 2, 0.5, 0, degrees / (degrees + t**2), regularized=True) / 2
    assert abs(float(1 - tail if t > 0 else tail) - probability) < 1e-12


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20))
def test_the_interval_of_a_mean(values: list[float]) -> None:
    found = t_interval(values)
    se = statistics.stdev(values) / math.sqrt(len(values))
    reach = t_quantile(0.975, len(values) - 1) * se
    assert found.n == len(values) and t_interval(values[::-1]) == found
    wanted = (statistics.fmean(values), statistics.stdev(values), se, found.mean - reach, found.mean + reach)
    # two ways to the same sums: rounding, and what cancels when the values (at most 100) nearly agree
    np.testing.assert_allclose(found[1:], wanted, rtol=1e-9, atol=1e-12)


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    """Of 2000 samples of 8, 95% within three standard errors (0.5% each)."""
    rng = np.random.default_rng(0)
    intervals = [t_interval(sample) for sample in rng.normal(3, 2, (2000, 8))]
    assert abs(np.mean([low <= 3 <= high for *_, low, high in intervals]) - 0.95) < 0.015


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: t_interval([1.0]), "an interval needs at least 2 values, got 1"),
        (lambda: t_interval([1.0, math.nan]), "an interval needs finite values, got nan"),
        (lambda: t_quantile(1.0, 3), "probability must lie between 0 and 1, got 1.0"),
        (lambda: t_quantile(0.9, 0), "degrees must be an integer of at least 1, got 0"),
        (lambda: t_quantile(0.9, 1.5), "degrees must be an integer of at least 1, got 1.5"),  # type: ignore[arg-type]
        (lambda: Comparison("x", "loss", "a", claimed="equal"), "'x' claims equality, so it needs a band"),
        (lambda: Comparison("x", "loss", "a", claimed="lower"), "'x' claims above, below or equal, not 'lower'"),
        (lambda: panel("los", "a"), "no quantity is called 'los'"),
    ],
)
def test_what_statistics_refuse(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message.replace('.', '[.]')}$"):
        call()


def runs_of(values: dict[str, list[float]], quantity: str = "loss") -> dict[str, Any]:
    return {arm: {seed: {quantity: value} for seed, value in enumerate(column)} for arm, column in values.items()}


SPREAD = [-1.0, 1.0] * 4  # eight values with mean 0
REACH = t_interval(SPREAD).high  # half the width of their interval


def around(centre: float, reach: float) -> list[float]:
    """Eight values whose interval goes from `centre` - `reach` to `centre` + `reach`."""
    return [centre + value * reach / REACH for value in SPREAD]


@pytest.mark.parametrize(
    ("claimed", "bound", "band", "centre", "reach", "outcome", "note"),
    [
        ("above", 0, None, 2, 1, SHOWN, ""),
        ("above", 0, None, 1, 1.01, NOT_SHOWN, "the interval contains 0"),
        ("above", 0, None, -2, 1, NOT_SHOWN, OPPOSITE),
        ("below", 0, None, -2, 1, SHOWN, ""),
        ("below", 0, None, 2, 1, NOT_SHOWN, OPPOSITE),
        ("below", 0.1, None, 0, 0.09, SHOWN, ""),  # costs less than 0.1
        ("below", 0.1, None, 0.05, 0.06, NOT_SHOWN, "the interval contains 0.1"),
        ("below", 0.1, None, 0.3, 0.1, NOT_SHOWN, OPPOSITE),
        ("above", 0, 0.5, 0.2, 0.1, SHOWN, INSIDE),  # small, but on its side: shown comes before equal
        ("below", 0, 0.5, -0.2, 0.1, SHOWN, INSIDE),
        ("above", 0, 0.5, 0.4, 0.2, SHOWN, ""),  # reaches out of the band
        ("above", 0, 0.5, 0.1, 0.2, EQUAL, ""),
        ("above", 0, 0.5, -0.2, 0.1, EQUAL, ""),  # on the other side, but too small to count
        ("above", 0, 0.5, 0, 0.51, NOT_SHOWN, "the interval contains 0"),
        ("above", 0, 0.5, -1, 0.6, NOT_SHOWN, OPPOSITE),
        ("equal", 0, 0.5, 0.2, 0.2, EQUAL, ""),
        ("equal", 0, 0.5, 0.4, 0.2, NOT_SHOWN, "the interval reaches out of the band"),
        ("equal", 0, 0.5, 0.8, 0.2, NOT_SHOWN, "outside the band"),
        ("equal", 0, 0.5, -0.8, 0.2, NOT_SHOWN, "outside the band"),
        ("equal", 0, 0.5, 0, 2, NOT_SHOWN, "the interval reaches out of the band"),
    ],
)
def test_each_outcome_of_a_comparison(
    claimed: Any, bound: float, band: float | None, centre: float, reach: float, outcome: str, note: str
) -> None:
    comparison = Comparison("x", "loss", "a", "b", claimed=claimed, bound=bound, band=band, seeds=8)
    theirs = [random.Random(1).gauss(0, 50) for _ in range(8)]  # seeds differ by far more than arms: pairing undoes it
    ours = [one + other for one, other in zip(theirs, around(centre, reach), strict=True)]
    finding = comparison.judge(runs_of({"a": ours, "b": theirs}))
    assert (finding.outcome, finding.note) == (outcome, note)
    assert finding.holds == (outcome == (EQUAL if claimed == "equal" else SHOWN))
    alone = replace(comparison, minus=None).judge(runs_of({"a": around(centre, reach)}))
    assert (alone.outcome, alone.note) == (outcome, note)


@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=3, max_size=10), st.floats(-1, 1))
def test_a_comparison_is_its_interval(pairs: list[tuple[float, float]], bound: float) -> None:
    runs = runs_of({"a": [one for one, _ in pairs], "b": [other for _, other in pairs]})
    interval = t_interval([one - other for one, other in pairs])
    for claimed, holds in (("above", interval.low > bound), ("below", interval.high < bound)):
        finding = Comparison("x", "loss", "a", "b", claimed=claimed, bound=bound).judge(runs)  # type: ignore[arg-type]
        assert finding.holds == holds and finding.interval == interval


def test_an_interval_that_ends_at_the_bound_shows_nothing() -> None:
    runs = runs_of({"a": [3.0, 3.0, 3.0]})
    for claimed in ("above", "below"):
        assert Comparison("x", "loss", "a", claimed=claimed, bound=3.0).judge(runs).outcome == NOT_SHOWN  # type: ignore[arg-type]
    for edge in (3.0, -3.0):
        on_the_edge = runs_of({"a": [edge] * 3})
        assert Comparison("x", "loss", "a", claimed="equal", band=3.0).judge(on_the_edge).outcome == NOT_SHOWN
    assert Comparison("x", "loss", "a", bound=2.999).judge(runs).outcome == SHOWN


@pytest.mark.parametrize("seeds", [1, 2, 7])
def test_too_few_seeds_show_nothing(seeds: int) -> None:
    comparison = Comparison("x", "loss", "a", "b", seeds=8, band=0.1)
    finding = comparison.judge(runs_of({"a": [9.0] * seeds, "b": [1.0] * seeds}))
    assert (finding.outcome, finding.note) == (NOT_SHOWN, f"too few seeds: {seeds} of 8")
    assert (finding.interval is None) == (seeds == 1)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({"a": {0: {"loss": 1.0}}}, "there are no runs of the arm 'b'"),
        ({"a": {0: {"loss": 1.0}}, "b": {}}, "paired by seed, but the arm 'b' has no seed 0"),
        (
            {"a": {0: {"loss": 1.0}, 2: {"loss": 1.0}}, "b": {n: {"loss": 1.0} for n in range(3)}},
            "paired by seed, but the arm 'a' has no seed 1",
        ),
        ({"a": {4: {"kl": 1.0}}, "b": {4: {"loss": 1.0}}}, "the run of 'a' with seed 4 has no 'loss'"),
        *(
            (
                {"a": {4: {"loss": 1.0}}, "b": {4: {"loss": bad}}},
                "'loss' of 'b' with seed 4 must be a finite number, got",
            )
            for bad in (math.nan, math.inf, None, True, "1", [1.0])
        ),
    ],
)
def test_runs_that_cannot_be_judged(runs: Any, message: str) -> None:
    claim = Claim("9", "t", "p", "q", "r", (Comparison("x", "loss", "a", "b"),), ())
    with pytest.raises(ValueError, match=r"^claim 9: ") as error:
        claim.judge(runs)
    assert message in str(error.value)


FINDINGS = {  # arm -> eight values whose comparison with 0 comes to this
    SHOWN: around(2, 1), INSIDE: around(0.2, 0.1), EQUAL: around(0, 0.1), "open": around(0, 2), OPPOSITE: around(-2, 1)
}  # fmt: skip


@pytest.mark.parametrize(
    ("required", "beside", "verdict", "note"),
    [
        ([SHOWN], [], SHOWN, ""),
        ([SHOWN, SHOWN], ["open", OPPOSITE], SHOWN, ""),
        ([INSIDE], [], SHOWN, INSIDE),
        ([SHOWN, INSIDE, INSIDE], [INSIDE], SHOWN, f"{INSIDE} in 2 of 3 comparisons"),
        ([EQUAL, INSIDE], [], EQUAL, ""),  # no difference is outside its band
        ([SHOWN, SHOWN], [INSIDE], SHOWN, ""),
        ([EQUAL, EQUAL], [], EQUAL, ""),
        ([SHOWN, EQUAL], [], NOT_SHOWN, "1 of 2 comparisons hold"),
        ([SHOWN, "open"], [SHOWN], NOT_SHOWN, "1 of 2 comparisons hold"),
        ([SHOWN, OPPOSITE], [], NOT_SHOWN, f"1 of 2 comparisons hold; {OPPOSITE} in 1"),
        ([OPPOSITE, OPPOSITE], [], NOT_SHOWN, f"0 of 2 comparisons hold; {OPPOSITE} in 2"),
        ([OPPOSITE], [SHOWN], NOT_SHOWN, OPPOSITE),
        (["open"], [], NOT_SHOWN, "the interval contains 0"),
    ],
)
def test_a_claim_needs_all_that_its_rule_requires(
    required: list[str], beside: list[str], verdict: str, note: str
) -> None:
    comparisons = tuple(
        Comparison(str(number), "loss", arm, band=0.5, required=number < len(required))
        for number, arm in enumerate([*required, *beside])
    )
    judgement = Claim("9", "t", "p", "q", "r", comparisons, ()).judge(runs_of(FINDINGS))
    assert (judgement.verdict, judgement.note) == (verdict, note)
    assert str(judgement) == (f"{verdict} ({note})" if note else verdict)


def test_a_claim_of_equality_and_a_side_is_shown_when_both_hold() -> None:
    equal = Comparison("e", "loss", EQUAL, claimed="equal", band=0.5)
    side = Comparison("s", "loss", SHOWN)
    assert Claim("9", "t", "p", "q", "r", (equal, side), ()).judge(runs_of(FINDINGS)).verdict == SHOWN
    assert Claim("9", "t", "p", "q", "r", (equal,), ()).judge(runs_of(FINDINGS)).verdict == EQUAL


def imagined(claim: Claim, broken: int | None = None, seeds: int = 8) -> dict[str, Any]:
    """Runs by which every required comparison of a claim holds, but the one numbered `broken` is the other way round."""
    rng = random.Random(0)
    centres: dict[tuple[str | None, str], float] = {}
    for number, comparison in enumerate(claim.comparisons):
        assert isinstance(comparison, Comparison)
        towards = {"above": 1, "below": -1, "equal": 0}[comparison.claimed]
        step = comparison.bound + ((-towards or 1) if number == broken else towards)
        arm, minus = (comparison.arm, comparison.quantity), (comparison.minus, comparison.quantity)
        if comparison.minus is None:
            centres[minus] = 0.0
        if arm in centres and minus not in centres:
            centres[minus] = centres[arm] - step
        elif arm not in centres:
            centres[arm] = centres.setdefault(minus, 5.0) + step
        else:
            assert not comparison.required
    runs: dict[str, Any] = {}
    for (name, quantity), centre in centres.items():
        for seed in range(seeds):
            runs.setdefault(name, {}).setdefault(seed, {})[quantity] = centre + rng.gauss(0, 1e-4)
    return runs


WITH_RUNS = [claim for claim in CLAIMS.values() if claim.columns]


@pytest.mark.parametrize("claim", WITH_RUNS, ids=lambda claim: claim.name)
def test_every_rule_can_be_met_and_missed(claim: Claim) -> None:
    equality = all(c.claimed == "equal" for c in claim.comparisons if isinstance(c, Comparison) and c.required)
    assert claim.judge(imagined(claim)).verdict == (EQUAL if equality else SHOWN)
    for number, comparison in enumerate(claim.comparisons):
        if comparison.required:
            assert claim.judge(imagined(claim, broken=number)).verdict == NOT_SHOWN
    assert claim.judge(imagined(claim, seeds=2)).note.startswith("too few seeds: 2 of ")


def test_what_each_rule_requires() -> None:
    """How many comparisons, and of what: a rule that was written down does not change by accident."""
    required = {claim.name: [c.quantity for c in claim.comparisons if c.required] for claim in CLAIMS.values()}
    assert required == {
        "0": ["unexplained"],
        "0b": ["kl", "kl", "rank_over_limit", "kl", "kl", "rank_over_limit"],
        "1": ["loss", "transfer"],
        "1b": ["cka_output_minus_input", "gradient_ratio"],
        "2": ["loss", "loss"],
        "2b": ["transfer"],
        "2c": ["transfer"],
        "3": ["loss", "loss"],
        "3b": ["transfer", "transfer"],
        "4": ["last_minus_middle"] * 3,
        "4b": ["gain_of_dropping", "gain_of_dropping"],
        "4c": ["part_of_last"],
        "tasks": ["in_language"] * 2 + ["transfer"] * 3,
    }


def test_what_is_about_transfer_asks_for_eight_seeds() -> None:
    across = {"transfer", "gain_of_dropping", "last_minus_middle", "part_of_last"}
    for claim in WITH_RUNS:
        for comparison in claim.comparisons:
            assert isinstance(comparison, Comparison)
            assert comparison.seeds == (8 if comparison.quantity in across else 3), (claim.name, comparison.what)


def test_the_rule_in_words_has_the_numbers_of_the_rule() -> None:
    for claim in WITH_RUNS:
        for comparison in claim.comparisons:
            assert isinstance(comparison, Comparison)
            for number in (comparison.band, abs(comparison.bound)):
                if comparison.required and number and number != 1:
                    assert f"{number:g}" in claim.rule, (claim.name, comparison.what)


def test_every_count_of_the_paper_is_met_or_explained() -> None:
    runs = counted()
    claim = find("0")
    met, printed = (sum(run[0][name] for run in runs.values()) for name in ("met", "printed"))
    assert met < printed
    assert str(claim.judge(runs)) == f"shown ({met} of {printed} figures met, the others explained)"
    arm = sorted(runs)[3]
    judgement = claim.judge({**runs, arm: {0: {"unexplained": 1}}})
    assert judgement.verdict == NOT_SHOWN and judgement.findings[0].note.endswith(f"; not in {arm}")
    assert Everywhere("x", "unexplained", 0).judge({}).outcome == NOT_SHOWN  # of nothing, nothing is shown


@pytest.mark.parametrize("name", ["3c", "claim 3", "", "all of them"])
def test_an_unknown_claim_is_answered_with_those_there_are(name: str) -> None:
    with pytest.raises(ValueError, match="there is no claim") as error:
        find(name)
    assert ", ".join(CLAIMS) in str(error.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [(" 3", "3"), ("TASKS", "tasks"), ("Claim 3B", "3b"), ("claim_tasks", "tasks"), ("claim-2c", "2c")],
)
def test_a_claim_that_is_nearly_named_is_suggested_and_not_taken(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean {meant}[?]$"):
        find(name)
    assert find(meant) is CLAIMS[meant]


def test_what_is_kept_of_each_arm() -> None:
    """All that a panel shows, and both arms of each comparison."""
    comparisons = (Comparison("x", "loss", "a", "b"), Comparison("y", "kl", "a"), EveryCount("z", "met", 1))
    panels = (panel("rank", "c", "a"), panel("loss", "b"))
    kept = Claim("9", "t", "p", "q", "r", comparisons, panels).columns
    assert kept == {"c": ["rank"], "a": ["rank", "loss", "kl"], "b": ["loss"]}
    alone = Claim("9", "t", "p", "q", "r", comparisons[:1], ()).columns
    assert alone == {"a": ["loss"], "b": ["loss"]}


def test_everywhere_is_in_every_run_of_every_arm() -> None:
    """One wrong run of one arm is enough; and the arms are named that have one."""
    runs = {"a": {0: {"x": 1}, 1: {"x": 2}}, "b": {0: {"x": 1}, 1: {"x": 1}}, "c": {0: {"x": 3}}}
    finding = Everywhere("x", "x", 1).judge(runs)
    assert (finding.outcome, finding.note, finding.holds) == (NOT_SHOWN, "1 of 3; not in a, c", False)
    assert Everywhere("x", "x", 1).judge({"b": runs["b"]}).note == "1 of 1"
    with pytest.raises(ValueError, match="'x' of 'd' with seed 0 must be a finite number"):
        Everywhere("x", "x", 1).judge({"d": {0: {"x": "1"}}})


def test_figures_are_counted_row_by_row() -> None:
    """Three figures printed of one row and three met; of another two and none, which a reason explains."""
    counts = {row.name: counted()[row.name][0] for row in ROWS}
    assert counts["mBERT"] == {"printed": 3, "met": 3, "unexplained": 0}
    assert counts["reinvested in H 1024"] == {"printed": 2, "met": 0, "unexplained": 0}
    assert counts["English, O 128"] == {"printed": 2, "met": 2, "unexplained": 0}
    assert sum(of["printed"] for of in counts.values()) == 47 and len(counts) == len(ROWS)


def test_a_row_without_a_reason_is_not_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row._replace(why="") for row in ROWS if row.name in ("reinvested in H 1024", "mBERT")]
    monkeypatch.setattr("minirembert.lab.claims.counts.ROWS", rows)
    assert [run[0]["unexplained"] for run in counted().values()] == [0, 2]
    judgement = find("0").judge(counted())
    assert (judgement.verdict, judgement.note) == (NOT_SHOWN, "1 of 2; not in reinvested in H 1024")


def test_what_losses_and_transfer_are_compared_by() -> None:
    """The bands and seeds that the rules name; a bound of its own, and there is no band."""
    assert loss("x", "a", "b") == Comparison("x", "loss", "a", "b", "above", 0.0, 0.05, 3)
    assert loss("x", "a", "b", claimed="below", bound=0.1) == Comparison("x", "loss", "a", "b", "below", 0.1, None, 3)
    assert transfer("x", "a", "b", claimed="equal", required=False) == Comparison(
        "x", "transfer", "a", "b", "equal", 0.0, 0.03, 8, False
    )


def test_runs_are_paired_by_seed_in_whatever_order_they_come() -> None:
    """Findings too, which a figure and a file show."""
    ours = {seed: {"loss": float(10 * seed)} for seed in (2, 0, 1)}
    theirs = {seed: {"loss": float(seed)} for seed in (1, 2, 0)}
    finding = Comparison("x", "loss", "a", "b").judge({"a": ours, "b": theirs})
    assert list(finding.values.items()) == [(0, 0.0), (1, 9.0), (2, 18.0)]
