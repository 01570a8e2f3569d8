"""The report: every run is in the figure, and the page has rule, verdict and numbers and fetches nothing."""

import html
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import lab_records
import pytest
from matplotlib.colors import to_rgb

from minirembert.figures import save_figure
from minirembert.lab.claims import CLAIMS, find
from minirembert.lab.claims.profiles import JUDGED
from minirembert.lab.conventions import PHASES
from minirembert.lab.paper import ROWS
from minirembert.lab.report import claim_figure, write_figures, write_page
from minirembert.lab.report.paper_figures import FIGURE_1, FIGURE_2, paper_figure

SHOWN = ("0", "2", "4", "4c")  # every kind of panel


def points(figure: Any, marker: str = "o") -> set[float]:
    """Where the figure has markers of a kind: all their coordinates."""
    lines = [line for axes in figure.axes for line in axes.get_lines() if line.get_marker() == marker]
    return {round(float(value), 9) for line in lines for data in line.get_data() for value in data}


@pytest.mark.parametrize("name", [name for name in CLAIMS if CLAIMS[name].panels])
def test_every_seed_is_in_the_figure(name: str) -> None:
    result = lab_records.result(find(name), seed=3)
    figure = claim_figure(result)
    drawn = points(figure)
    curves = [line.get_ydata() for axes in figure.axes for line in axes.get_lines()]
    for panel in result.claim.panels:
        for arm, quantity in panel:
            for run in result.runs[arm].values():
                value = run[quantity]
                if not isinstance(value, list):
                    assert round(float(value), 9) in drawn
                elif len(panel) == 1:
                    assert any(list(curve) == value for curve in curves)
    means = points(figure, "D")
    for finding in result.judgement.findings:
        assert finding.interval is not None
        assert {round(value, 9) for value in finding.values.values()} <= drawn
        assert round(finding.interval.mean, 9) in means
    title = " ".join(figure.get_suptitle().split())
    assert result.claim.title in title and result.judgement.verdict in title and "8 paired seeds" in title


def test_the_legend_of_claim_0_has_every_kind_of_marker() -> None:
    (axes,) = claim_figure(lab_records.result(find("0"))).axes
    drawn, named = (
        {(line.get_marker(), line.get_markerfacecolor()) for line in lines if line.get_marker() in "os"}
        for lines in (axes.get_lines(), axes.get_legend().get_lines())
    )
    assert drawn == named and len(named) == 4


@pytest.mark.parametrize("name", [name for name in CLAIMS if CLAIMS[name].panels])
def test_no_name_of_a_column_lies_on_another_and_text_can_be_read(name: str) -> None:
    figure = claim_figure(lab_records.result(find(name)))
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert axes.xaxis.label.get_size() >= 9 and all(text.get_size() >= 9 for text in axes.texts)
        ticks = [tick for tick in axes.get_xticklabels() if tick.get_text()]
        within = [
            tick
            for tick, at in zip(ticks, axes.get_xticks(), strict=True)
            if axes.get_xlim()[0] <= at <= axes.get_xlim()[1]
        ]
        if not within or within[0].get_rotation():
            continue  # names that stand obliquely, one beside the other
        boxes = [tick.get_window_extent() for tick in within]
        for left, right in itertools.pairwise(boxes):
            assert left.x1 <= right.x0, (name, within)


def test_the_columns_of_single_tasks_say_task_and_language() -> None:
    figure = claim_figure(lab_records.result(find("tasks")))
    axes = figure.axes[[axes.get_ylabel() for axes in figure.axes].index("score of one task")]
    names = [tick.get_text().replace("\n", " ") for tick in axes.get_xticklabels()]
    assert names == [f"{task}, {where}" for task in JUDGED for where in ("learned", "other")]


@pytest.mark.parametrize("name", SHOWN)
def test_figures_are_grey(name: str) -> None:
    figure = claim_figure(lab_records.result(find(name)))
    for axes in figure.axes:
        for line in axes.get_lines():
            for colour in (line.get_color(), line.get_markerfacecolor()):
                assert len(set(to_rgb(colour))) == 1


def test_one_seed_is_drawn_without_an_interval() -> None:
    figure = claim_figure(lab_records.result(find("1"), "smoke", seeds=1))
    assert "too few seeds: 1 of 3" in figure.get_suptitle() and "1 paired seed" in figure.get_suptitle()
    assert not points(figure, "D")


def test_the_papers_numbers_are_drawn(tmp_path: Path) -> None:
    assert [name for name in CLAIMS if paper_figure(name) is None] == ["0", "0b", "1b", "tasks"]
    assert {62.3, 62.7} <= points(paper_figure("1")) and {60.2, 60.1} <= points(paper_figure("2b"))
    assert {62.3, 64.5, 66.2} <= points(paper_figure("2c")) and {56.6, 60.2, 61.8} <= points(paper_figure("3b"))
    for name, curves in (("4", FIGURE_2), ("4b", FIGURE_1)):
        ((axes,),) = (paper_figure(name).axes,)
        assert [tuple(line.get_ydata()) for line in axes.get_lines()] == list(curves.values())
    save_figure(paper_figure("3"), tmp_path / "3.svg")  # a table's figure can be drawn


def test_figures_for_a_slide(tmp_path: Path) -> None:
    written = write_figures(lab_records.result(find("3")), tmp_path)
    assert [path.name for path in written] == [
        f"claim_3{of}{suffix}" for of in ("", "_paper") for suffix in (".png", ".svg")
    ]
    assert sorted(tmp_path.iterdir()) == sorted(written)
    for path in written:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
        else:
            assert ElementTree.parse(path).getroot().tag.endswith("svg")


class Links(HTMLParser):
    """What a page would fetch, and the tags it has."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "data", "action") and not (value or "").startswith("#"):
                self.fetched.append(f"{tag} {name}={value}")


def test_the_page_has_everything_and_fetches_nothing(tmp_path: Path) -> None:
    results = [lab_records.result(find(name)) for name in SHOWN]
    path = write_page(results, tmp_path)
    page = path.read_text()
    links = Links()
    links.feed(page)
    assert links.fetched == [] and not {"script", "link", "iframe", "img"} & set(links.tags)
    assert not re.search(r"url\(\s*[\"']?(?!#)|@import", page)
    assert links.tags.count("svg") == sum(1 + (paper_figure(name) is not None) for name in SHOWN)
    for result in results:
        claim = result.claim
        for text in (claim.title, claim.paper, claim.question, claim.rule, str(result.judgement)):
            assert html.escape(text) in page
        for finding in result.judgement.findings:
            if finding.interval is not None:
                assert f"{finding.interval.low:+.3f} to {finding.interval.high:+.3f}" in page
    loss = results[1].runs["H/4-H"][5]["loss"]
    assert f"<td>{loss:,.4g}</td>" in page


def lines_of(axes: Any, **of: Any) -> list[Any]:
    """The lines of a figure's part that have these properties."""
    return [
        line for line in axes.get_lines() if all(getattr(line, f"get_{name}")() == value for name, value in of.items())
    ]


def small(name: str) -> Any:
    """A result of three seeds, which stand in the file in another order; one of them is far from the others."""
    result = lab_records.result(find(name), seeds=3, seed=5)
    runs = {arm: {seed: dict(of[seed]) for seed in (2, 0, 1)} for arm, of in result.runs.items()}
    for number, of in enumerate(runs.values()):
        for seed, run in of.items():
            for quantity, value in run.items():
                if not isinstance(value, list):
                    run[quantity] = number + (0.1, 0.3, 5.0)[seed]
                else:
                    run[quantity] = [
                        0.01 * layer + (0.1, 0.2, 0.6)[seed] + 0.01 * number for layer in range(len(value))
                    ]
    return result._replace(runs=runs, judgement=result.claim.judge(runs))


def test_medians_are_drawn_and_seeds_joined() -> None:
    """Three seeds, 0.1, 0.3 and 5 above the arm's number: the bar is at 0.3."""
    axes = claim_figure(small("2")).axes
    panel = next(one for one in axes if one.get_ylabel().startswith("held-out loss"))
    bars = lines_of(panel, linewidth=2.2)
    found = small("2")
    arms = [column.arm for column in found.claim.panels[0]]
    medians = [found.runs[arm][1]["loss"] for arm in arms]
    assert [list(bar.get_ydata()) for bar in bars] == [[median, median] for median in medians]
    assert [round(sum(bar.get_xdata()) / 2, 9) for bar in bars] == [0, 1, 2]
    joined = lines_of(panel, linewidth=0.7)
    assert [list(line.get_ydata()) for line in joined] == [
        [found.runs[arm][n]["loss"] for arm in arms] for n in range(3)
    ]
    assert [label.get_text() for label in panel.get_xticklabels()] == [found.labels[arm] for arm in arms]


def test_curves_have_their_median_and_the_middle_layer_is_marked() -> None:
    """Five places of four blocks: the third is the middle. The axis has room for the highest curve of any arm."""
    found = small("4")
    highest = max(max(run["retrieval"]) for of in found.runs.values() for run in of.values())
    panels = [axes for axes in claim_figure(found).axes if axes.get_xlabel().startswith("layer")]
    assert len(panels) == 3
    for axes, ((arm, quantity),) in zip(panels, found.claim.panels, strict=True):
        (thick,) = lines_of(axes, linewidth=1.6)
        assert list(thick.get_ydata()) == found.runs[arm][1][quantity] and list(thick.get_xdata()) == list(range(5))
        (middle,) = lines_of(axes, linestyle=":")
        assert list(middle.get_xdata()) == [2, 2]
        assert axes.get_ylim() == (0, 1.05 * highest) and axes.get_title() == found.labels[arm]


def test_differences_have_interval_bound_band_and_what_decides_is_filled() -> None:
    found = small("2")
    rows = list(zip(found.claim.comparisons, found.judgement.findings, strict=True))
    groups = [rows[:2], rows[2:]]
    figure = claim_figure(found)
    axes = [one for one in figure.axes if one.get_xlabel().startswith("difference of: ")]
    assert len(axes) == 2
    for one, pairs in zip(axes, groups, strict=True):
        whiskers, dots = lines_of(one, marker="|"), lines_of(one, marker="o")
        means = lines_of(one, marker="D")
        for row, (comparison, finding) in enumerate(pairs):
            of = finding.interval
            assert of is not None and list(whiskers[row].get_xdata()) == [of.low, of.high]
            assert [float(x) for x in means[row].get_xdata()] == [of.mean]
            assert list(dots[row].get_xdata()) == list(finding.values.values())
            assert dots[row].get_markerfacecolor() == ("0.5" if comparison.required else "white")
        bounds = [float(line.get_xdata()[0]) for line in lines_of(one, linestyle="--")]
        assert bounds == [comparison.bound for comparison, _ in pairs if comparison.bound]
        bands = [band.get_paths()[0].get_extents() for band in one.collections]
        assert [(box.x0, box.x1) for box in bands] == [(-c.band, c.band) for c, _ in pairs if c.band is not None]
        said = [text.get_text() for text in one.texts]
        for text, (comparison, finding) in zip(said, pairs, strict=True):
            assert comparison.what in text and finding.outcome in text and f"claimed {finding.condition}" in text
            assert (" (beside)" in text) == (not comparison.required) and finding.note in text


def test_an_axis_that_is_no_difference_does_not_say_so() -> None:
    assert any(axes.get_xlabel().startswith("CKA, output minus input") for axes in claim_figure(small("1b")).axes)
    assert all("difference of" not in axes.get_xlabel() for axes in claim_figure(small("1b")).axes)


def test_claim_0_s_figure_has_each_printed_count() -> None:
    """Our count in percent of the printed one; filled where it is met; round in pre-training, square in fine-tuning."""
    (axes,) = claim_figure(lab_records.result(find("0"))).axes
    drawn = {
        (line.get_marker(), round(float(line.get_xdata()[0]), 6), int(line.get_ydata()[0])): line.get_markerfacecolor()
        for line in axes.get_lines()
        if len(line.get_xdata()) == 1
    }
    expected = {}
    for place, row in enumerate(ROWS):
        for marker, phase, printed, ours in zip("os", PHASES, row.printed[:2], row.recount()[:2], strict=True):
            if printed is not None:
                at = round(100 * (row.parameters(phase) / 1e6 / printed - 1), 6)
                expected[marker, at, place] = "0.6" if printed == ours else "white"
    assert drawn == expected


def test_the_title_has_the_verdict_with_its_note() -> None:
    for name in ("0", "3"):
        result = lab_records.result(find(name))
        title = " ".join(claim_figure(result).get_suptitle().split())
        assert str(result.judgement) in title and result.judgement.note


def test_ours_and_the_paper_s_figure_are_not_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = {}
    monkeypatch.setattr(
        "minirembert.lab.report.figures.save_figure", lambda figure, path: saved.update({path.name: figure})
    )
    write_figures(lab_records.result(find("4b")), tmp_path)
    titles = {name: figure.get_suptitle().split("\n")[0] for name, figure in saved.items()}
    for suffix in ("png", "svg"):
        assert titles[f"claim_4b.{suffix}"].startswith("Claim 4b: ")
        assert titles[f"claim_4b_paper.{suffix}"] == "The paper, figure 1 (read off): E 128"


class Tables(HTMLParser):
    """The rows of a page's tables, and the sections they stand in."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def test_the_page_s_tables_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Medians, seeds in their order, minutes, intervals; the numbers of the runs of each claim beside its own verdict."""
    monkeypatch.setattr("minirembert.lab.report.page._figure", lambda figure, description: "")
    found = [small("2")._replace(seconds=90.0), small("4")._replace(seconds=0.0), lab_records.result(find("0"))]
    tables = Tables()
    page = write_page(found, tmp_path).read_text()
    tables.feed(page)
    rows = tables.rows
    for result, minutes in zip(found, ("1.5", "-", "1.5"), strict=True):
        claim = result.claim
        assert [claim.name, claim.title, result.judgement.verdict, minutes] in rows
        assert f'<section id="claim-{claim.name}">' in page
        for finding in result.judgement.findings:
            aside = "" if finding.required else " (beside the rule)"
            came = f"{finding.outcome} ({finding.note})" if finding.note else finding.outcome
            if (of := finding.interval) is not None:
                numbers = [f"{of.mean:+.3f}", f"{of.low:+.3f} to {of.high:+.3f}", f"{of.sd:.3f}", "3"]
                assert [finding.what + aside, finding.condition, *numbers, came] in rows
    assert ["", "", "median", "seed 0", "seed 1", "seed 2"] in rows
    assert ["3-48", "loss", "0.3", "0.1", "0.3", "5"] in rows  # H/16-H, the first of its arms
    middle = "by layer: 0.200 0.210 0.220 0.230 0.240"
    curves = [" ".join(f"{of + 0.01 * n:.2f}" for n in range(5)) for of in (0.1, 0.2, 0.6)]
    assert ["12-12", "retrieval", middle, *curves] in rows
    assert ["mBERT", "3", "3", "0"] in rows and "<td>3-48</td>" in page
    assert "Profile lesson. Judged 2026-01-01 at commit 0000000. Run at commit 0000000 with numpy 2." in page


def test_text_in_the_page_is_no_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minirembert.lab.report.page._figure", lambda figure, description: "")
    result = lab_records.result(find("3"))
    strange = replace(result.claim, title="<b>E & O</b>")
    page = write_page([result._replace(claim=strange)], tmp_path).read_text()
    assert page.count("&lt;b&gt;E &amp; O&lt;/b&gt;") >= 2 and "<b>E & O" not in page


def test_the_paper_s_tables_and_curves_are_where_they_belong() -> None:
    tables = {
        "1": {"tied 768": 62.3, "768-768": 62.7},
        "2": {"E 128": 60.2, "E 768": 62.7},
        "2b": {"128-768": 60.2, "768-128": 60.1},
        "2c": {"tied 768, L 12": 62.3, "128-768, H 1024": 64.5, "128-768, L 23": 66.2},
        "3": {"O 128": 59.0, "O 768": 60.7, "O 3072": 62.3},
        "3b": {"O 128": 56.6, "O 768": 60.2, "O 3072": 61.8},
    }
    for name, points_of in tables.items():
        (axes,) = paper_figure(name).axes
        names = [label.get_text() for label in axes.get_yticklabels()]
        drawn = [float(line.get_xdata()[0]) for line in axes.get_lines()]
        assert dict(zip(names, drawn, strict=True)) == points_of
        assert [text.get_text() for text in axes.texts] == [f"{value:.1f}" for value in points_of.values()]
    for name, places in (("4", range(1, 13)), ("4b", range(8, 13)), ("4c", range(1, 13))):
        (axes,) = paper_figure(name).axes
        assert [list(line.get_xdata()) for line in axes.get_lines()] == [list(places)] * 3
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["O 128", "O 768", "O 3072"]
