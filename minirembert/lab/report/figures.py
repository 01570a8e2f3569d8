"""A claim's figure: what each arm measured, seed by seed, and beside it the paired differences that decide."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from minirembert.figures import new_figure, save_figure
from minirembert.lab.claims.comparison import Comparison, Finding
from minirembert.lab.claims.quantities import QUANTITIES
from minirembert.lab.claims.results import ClaimResult
from minirembert.lab.conventions import PHASES
from minirembert.lab.paper import ROWS
from minirembert.lab.report.panels import FONT, draw_differences, draw_dots, draw_layers
from minirembert.lab.report.paper_figures import paper_figure

WIDTH, COLUMN_WIDTH, DIFFERENCES_WIDTH = 2.5, 0.7, 5.0  # inches, of a panel, and of a column where there are many
ROW, AXIS, TITLE = 0.75, 0.55, 1.2  # inches, high: a comparison, the axis below some of them, the figure's title
SHAPE = 9 / 16  # of a slide; a figure with many comparisons is higher


def write_figures(result: ClaimResult, folder: Path) -> list[Path]:
    """Writes claim_<name>.png and .svg to `folder`, and claim_<name>_paper.png and .svg where the paper has numbers to draw."""
    written = []
    for name, figure in (("", claim_figure(result)), ("_paper", paper_figure(result.claim.name))):
        if figure is not None:
            for suffix in (".png", ".svg"):
                written.append(folder / f"claim_{result.claim.name}{name}{suffix}")
                save_figure(figure, written[-1])
    return written


def claim_figure(result: ClaimResult) -> Any:
    """The figure, the verdict in its title."""
    figure = _experiment_figure(result) if result.claim.panels else _counts_figure()
    seeds = len(result.seeds)
    made = f"profile {result.profile}, {seeds} paired seed{'s' * (seeds > 1)}" if result.claim.panels else "no runs"
    verdict = textwrap.fill(f"{result.judgement}; {made}", int(13 * figure.get_figwidth()))
    title = f"Claim {result.claim.name}: {result.claim.title}\n{verdict}"
    figure.suptitle(title, fontsize="medium", x=0.01, ha="left")
    return figure


def _experiment_figure(result: ClaimResult) -> Any:
    panels = result.claim.panels
    groups = _by_label(result)
    rows = [len(pairs) for pairs in groups]
    widths = [max(WIDTH, COLUMN_WIDTH * len(panel)) for panel in panels] + [DIFFERENCES_WIDTH]
    width, height = sum(widths) + 0.5, ROW * sum(rows) + AXIS * len(rows) + TITLE
    figure, grid = new_figure(width, max(height, SHAPE * width), len(groups), len(widths))
    grid = np.array(grid).reshape(len(groups), len(widths))
    places = grid[0, 0].get_gridspec()
    places.set_width_ratios(widths)
    places.set_height_ratios(rows)
    figure.get_layout_engine().set(wspace=0.06)
    curves = [
        max(run[quantity])
        for panel in panels
        for arm, quantity in panel
        if QUANTITIES[quantity].by_layer
        for run in result.runs[arm].values()
    ]
    for number, panel in enumerate(panels):
        for unused in grid[:, number]:
            unused.remove()
        axes = figure.add_subplot(places[:, number])
        axes.spines[["top", "right"]].set_visible(False)
        if QUANTITIES[panel[0].quantity].by_layer:
            draw_layers(axes, panel, result.runs, result.labels, 1.05 * max(*curves, 1e-9))
        else:
            draw_dots(axes, panel, result.runs, result.labels)
    for axes, pairs in zip(grid[:, -1], groups, strict=True):
        draw_differences(axes, pairs)
    axes.set_xlabel(f"{axes.get_xlabel()}\n(dots: seeds; bar: 95% interval of the mean)", fontsize=FONT)
    return figure


def _by_label(result: ClaimResult) -> list[list[tuple[Comparison, Finding]]]:
    """The comparisons, those with one label together: they share an axis."""
    groups: dict[str, list[tuple[Comparison, Finding]]] = {}
    for comparison, finding in zip(result.claim.comparisons, result.judgement.findings, strict=True):
        assert isinstance(comparison, Comparison)
        groups.setdefault(QUANTITIES[comparison.quantity].label, []).append((comparison, finding))
    return list(groups.values())


def _counts_figure() -> Any:
    """Claim 0: our count of each of the paper's models beside the printed one, in percent of it."""
    figure, axes = new_figure(7.6, 6.2)
    for place, row in enumerate(ROWS):
        printed_of = dict(zip(PHASES, (row.printed.pretraining, row.printed.finetuning), strict=True))
        for (phase, printed), marker in zip(printed_of.items(), "os", strict=True):
            if printed is not None:
                ours = row.parameters(phase) / 1e6
                met = row.millions(phase) == printed
                axes.plot(
                    100 * (ours / printed - 1), place, marker, markersize=6, color="0.2",
                    markerfacecolor="0.6" if met else "white",
                )  # fmt: skip
    axes.set_yticks(range(len(ROWS)), [row.name for row in ROWS], fontsize=FONT)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8, zorder=0)
    axes.set_xlabel("our count beside the printed one (%); within 1% it is mostly the cutting to millions")
    handles = [
        axes.plot([], [], marker, color="0.2", markerfacecolor=fill, label=label)[0]
        for marker, fill, label in (
            ("o", "0.6", "pre-training, met"), ("s", "0.6", "fine-tuning, met"),
            ("o", "white", "pre-training, not met"), ("s", "white", "fine-tuning, not met"),
        )
    ]  # fmt: skip
    axes.legend(handles=handles, frameon=False, fontsize=FONT, loc="lower right")
    return figure
