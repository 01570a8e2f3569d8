"""The parts of a claim's figure, drawn in black and grey: arms side by side, curves over layers, paired differences."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from minirembert.lab.claims.claim import Column
from minirembert.lab.claims.comparison import Comparison, Finding, Runs
from minirembert.lab.claims.quantities import ONE_TASK, QUANTITIES

FONT = 9  # points
SPREAD = 0.16  # how far the dots of one column stand apart
MANY, SHORT = 4, 8  # with more columns than this, names with more letters stand obliquely
MARKERS, LINES = "os^Dv", ("-", "--", ":", "-.")


def draw_dots(axes: Any, panel: Sequence[Column], runs: Runs, labels: Mapping[str, str]) -> None:
    """A column for each arm or quantity, a dot for each seed, a bar at the median; a line joins the dots of one seed."""
    seeds = sorted({seed for column in panel for seed in runs[column.arm]})
    for number, seed in enumerate(seeds):
        offset = SPREAD * (2 * number / (len(seeds) - 1) - 1) if len(seeds) > 1 else 0.0
        points = [
            (place + offset, runs[arm][seed][quantity])
            for place, (arm, quantity) in enumerate(panel)
            if seed in runs[arm]
        ]
        axes.plot(*zip(*points, strict=True), color="0.75", linewidth=0.7, zorder=1)
        axes.plot(*zip(*points, strict=True), "o", color="0.35", markersize=3.5, zorder=2)
    for place, (arm, quantity) in enumerate(panel):
        middle = median(run[quantity] for run in runs[arm].values())
        axes.plot([place - 0.3, place + 0.3], [middle, middle], color="black", linewidth=2.2, zorder=3)
    one_quantity = len({column.quantity for column in panel}) == 1
    names = [labels[arm] if one_quantity else QUANTITIES[quantity].short for arm, quantity in panel]
    lines = [name.replace(", ", "\n") for name in names]
    if len(names) > MANY and max(len(line) for name in lines for line in name.split("\n")) > SHORT:
        axes.set_xticks(range(len(panel)), names, fontsize=FONT, rotation=40, ha="right", rotation_mode="anchor")
    else:
        axes.set_xticks(range(len(panel)), lines, fontsize=FONT)
    axes.set(xlim=(-0.6, len(panel) - 0.4))
    units = {QUANTITIES[quantity].label for _, quantity in panel}
    axes.set_ylabel(units.pop() if len(units) == 1 else ONE_TASK, fontsize=FONT)
    if axes.get_ylim()[1] > 1000:  # a count, whose size matters and not only how it differs
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_ylim(0, 1.15 * axes.get_ylim()[1])


def draw_layers(axes: Any, panel: Sequence[Column], runs: Runs, labels: Mapping[str, str], top: float) -> None:
    """Values over layers: a thin line for each seed, a thick one with markers at the median; the middle layer is marked."""
    for number, (arm, quantity) in enumerate(panel):
        curves = [run[quantity] for run in runs[arm].values()]
        layers = range(len(curves[0]))
        if len(panel) == 1:
            for curve in curves:
                axes.plot(layers, curve, color="0.7", linewidth=0.7)
        axes.plot(
            layers, [median(values) for values in zip(*curves, strict=True)], color="black", linewidth=1.6,
            linestyle=LINES[number % len(LINES)], marker=MARKERS[number % len(MARKERS)], markersize=5, label=labels[arm],
        )  # fmt: skip
        axes.axvline(len(layers) // 2, color="0.5", linestyle=":", linewidth=0.8, zorder=0)
        axes.set_xticks(layers)
    if len(panel) == 1:
        axes.set_title(labels[panel[0].arm], fontsize="medium")
    else:
        axes.legend(frameon=False, fontsize=FONT, title="medians", title_fontsize=FONT)
    axes.set(xlabel="layer (0: embedding)", ylim=(0, top))
    axes.set_ylabel(QUANTITIES[panel[0].quantity].label, fontsize=FONT)


def draw_differences(axes: Any, pairs: Sequence[tuple[Comparison, Finding]]) -> None:
    """A row for each comparison: dots for seeds, the interval of their mean, the bound (dashed), the band (grey), and what came
    of it. Rows that decide nothing have hollow dots.
    """
    for row, (comparison, finding) in enumerate(pairs):
        axes.plot([0, 0], [row - 0.24, row + 0.28], color="black", linewidth=0.8, zorder=1)
        if comparison.band is not None:
            axes.fill_betweenx((row - 0.24, row + 0.28), -comparison.band, comparison.band, color="0.9", zorder=0)
        if comparison.bound:
            axes.plot([comparison.bound] * 2, [row - 0.24, row + 0.28], "k--", linewidth=1)
        values = list(finding.values.values())
        fill = "0.5" if comparison.required else "white"
        axes.plot(values, [row - 0.08] * len(values), "o", color="0.35", markerfacecolor=fill, markersize=4, zorder=2)
        if finding.interval is not None:
            low, mean, high = finding.interval.low, finding.interval.mean, finding.interval.high
            axes.plot([low, high], [row + 0.14] * 2, color="black", linewidth=1.6, marker="|", markersize=8, zorder=3)
            axes.plot(mean, row + 0.14, "D", color="black", markersize=4.5, zorder=3)
        aside = "" if comparison.required else " (beside)"
        came = f"{finding.outcome} ({finding.note})" if finding.note else finding.outcome
        axes.text(
            0, row - 0.28, f"{comparison.what}{aside}\nclaimed {finding.condition}: {came}",
            transform=axes.get_yaxis_transform(), fontsize=FONT, va="bottom",
        )  # fmt: skip
    axes.set(yticks=[], ylim=(len(pairs) - 0.6, -0.75))
    axes.locator_params(axis="x", nbins=5)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(_name(pairs[0][0]), fontsize=FONT)


def _name(comparison: Comparison) -> str:
    label = QUANTITIES[comparison.quantity].label
    return label if comparison.minus is None else f"difference of: {label}"
