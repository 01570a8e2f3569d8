"""Figures for files: drawn without a display, readable in grey."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minirembert.files import atomic_file


def save_loss_curve(
    metrics: Sequence[Mapping[str, Any]], unigram_loss: float, unigram_entropy: float, path: Path
) -> None:
    """`draw_loss_curve` as a file."""
    figure, axes = new_figure(6.4, 3.8)
    draw_loss_curve(axes, metrics, unigram_loss, unigram_entropy)
    save_figure(figure, path)


def draw_loss_curve(
    axes: Any, metrics: Sequence[Mapping[str, Any]], unigram_loss: float, unigram_entropy: float
) -> None:
    """Training and held-out loss against steps, with what a model without context scores as lines."""
    training = [(record["step"], record["loss"]) for record in metrics if record.get("loss") is not None]
    axes.plot(*zip(*training, strict=True), color="0.7", linewidth=1, label="training batches")
    held_out = [(record["step"], record["held_out_loss_all"]) for record in metrics if "held_out_loss_all" in record]
    if held_out:
        axes.plot(*zip(*held_out, strict=True), color="black", marker="o", markersize=3, label="held out")
    axes.axhline(unigram_loss, color="0.3", linestyle="--", linewidth=1, label="frequencies only, held out")
    axes.axhline(unigram_entropy, color="0.3", linestyle=":", linewidth=1, label="entropy of the held-out pieces")
    axes.set(xlabel="step", ylabel="loss (nats per masked piece)", ylim=(0, None))
    axes.legend(frameon=False)


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    """A figure of `width` x `height` inches and its axes, without pyplot: no display, no global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns)
    for one in figure.axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_figure(figure: Any, path: Path) -> None:
    """Writes the figure to `path` whole or not at all; the suffix (.png, .svg) says how."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=150)
