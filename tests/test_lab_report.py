"""The report: every run is in the figure, and the page has rule, verdict and numbers and fetches nothing."""

import html
import itertools
import re
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
