"""The paper's own numbers for a claim, drawn by us from its tables, and from its figures 1 and 2 as read off them.

What was read off a figure is good to about 0.2 points in figure 1 and 2 points in figure 2.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from minirembert.figures import new_figure
from minirembert.lab.paper import ROWS
from minirembert.lab.report.panels import LINES, MARKERS

# Figure 1: XNLI, by the number of blocks kept; figure 2: English to German retrieval (%), after blocks 1 to 12. E is 128.
KEPT = (8, 9, 10, 11, 12)
FIGURE_1 = {
    128: (68.1, 68.6, 68.2, 68.5, 68.3),
    768: (68.2, 69.0, 70.0, 70.5, 70.4),
    3072: (69.6, 70.2, 70.3, 70.6, 71.1),
}
FIGURE_2 = {
    128: (33, 36, 54, 61, 65, 72, 74, 74, 69, 64, 60, 44),
    768: (35, 38, 53, 58, 67, 72, 75, 76, 74, 71, 68, 50),
    3072: (32, 37, 47, 57, 70, 73, 77, 77, 78, 75, 76, 64),
}
TABLE_8 = {"O 128": 59.0, "O 768": 60.7, "O 3072": 62.3}  # words guessed right, %; E is 128


class _Table(NamedTuple):
    title: str
    points: Mapping[str, float]
    label: str = "average on XTREME"

    def draw(self) -> Any:
        figure, axes = new_figure(4.2, 1.3 + 0.35 * len(self.points))
        for place, value in enumerate(self.points.values()):
            axes.plot(value, place, "o", color="black")
            axes.text(value, place - 0.18, f"{value:.1f}", ha="center", va="bottom", fontsize="small")
        axes.set_yticks(range(len(self.points)), list(self.points), fontsize="small")
        axes.set(ylim=(len(self.points) - 0.5, -0.7), xlabel=self.label)
        axes.margins(x=0.15)
        figure.suptitle(self.title, fontsize="medium", x=0.01, ha="left")
        return figure


class _Curves(NamedTuple):
    title: str
    places: tuple[int, ...]
    curves: Mapping[int, tuple[float, ...]]
    across: str
    up: str

    def draw(self) -> Any:
        figure, axes = new_figure(4.2, 3.2)
        for number, (width, values) in enumerate(self.curves.items()):
            axes.plot(
                self.places, values, color="black", linewidth=1.4, linestyle=LINES[number], marker=MARKERS[number],
                markersize=5, label=f"O {width}",
            )  # fmt: skip
        axes.set(xlabel=self.across, ylabel=self.up, xticks=self.places)
        axes.legend(frameon=False, fontsize="small")
        figure.suptitle(self.title, fontsize="medium", x=0.01, ha="left")
        return figure


def paper_figure(claim: str) -> Any:
    """What the paper has on this claim, or None where it has nothing to draw."""
    return _FIGURES[claim]() if claim in _FIGURES else None


def _averages(title: str, names: Mapping[str, str]) -> Callable[[], Any]:
    scores = {row.name: row.scores.get("average") for row in ROWS}
    points = {label: scores[name] for label, name in names.items()}
    return _Table(title, {label: score for label, score in points.items() if score is not None}).draw


_WIDTHS = {"O 128": "E 128, O 128", "O 768": "E 128, O 768", "O 3072": "E 128, O 3072"}
_RETRIEVAL = _Curves(
    "The paper, figure 2 (read off): E 128", tuple(range(1, 13)), FIGURE_2, "block", "English-German retrieval (%)"
)
_FIGURES: dict[str, Callable[[], Any]] = {
    "1": _averages("The paper, table 2", {"tied 768": "coupled baseline", "768-768": "decoupled, same sizes"}),
    "2": _averages("The paper, tables 2 and 3: O 768", {"E 128": "E 128, O 768", "E 768": "decoupled, same sizes"}),
    "2b": _averages("The paper, table 3", {"128-768": "E 128, O 768", "768-128": "E 768, O 128"}),
    "2c": _averages(
        "The paper, table 6",
        {
            "tied 768, L 12": "coupled baseline",
            "128-768, H 1024": "reinvested in H 1024",
            "128-768, L 23": "reinvested in L 23",
        },
    ),
    "3": _Table("The paper, table 8: E 128", TABLE_8, "masked words guessed right (%)").draw,
    "3b": _averages("The paper, table 4: E 128", _WIDTHS),
    "4": _RETRIEVAL.draw,
    "4b": _Curves("The paper, figure 1 (read off): E 128", KEPT, FIGURE_1, "blocks kept of 12", "XNLI (%)").draw,
    "4c": _RETRIEVAL.draw,
}
