"""The ledger as figures for a slide: told apart by lightness and hatching, so that grey paper shows them too."""

from typing import Any

from minirembert.figures import new_figure
from minirembert.lab.conventions import FINETUNING, HUGGING_FACE, PRETRAINING, Convention
from minirembert.lab.ledger import ATTENTION_OVER_S, flops, parameters
from minirembert.lab.paper import ROWS
from minirembert.lab.sizes import Sizes

# What is drawn: name, its components, its grey, its hatching.
GROUPS = (
    ("input embedding", ("input embedding", "positions, types, norm", "input projection"), "0.2", ""),
    ("attention", ("attention", ATTENTION_OVER_S, "cross-attention"), "0.85", ""),
    ("feed-forward", ("feed-forward", "norms"), "0.6", ""),
    ("pooler", ("pooler",), "0.4", ""),
    ("head, output embedding", ("head dense", "head norm", "output embedding", "output bias"), "white", "////"),
)
LABELLED = 0.06  # a segment shorter than this share of the axis has no room for its number


def ledger_figure(sizes: Sizes, convention: Convention = HUGGING_FACE, sequence_length: int = 512) -> Any:
    """Two charts: parameters in both phases, and forward FLOPs for a token of them, by component."""
    figure, (above, below) = new_figure(8, 4.2, rows=2)
    _bars(
        above,
        {phase: _groups(parameters(sizes, phase, convention), 1e6) for phase in (PRETRAINING, FINETUNING)},
        "parameters (millions)",
    )
    _bars(
        below,
        {phase: _groups(flops(sizes, phase, sequence_length), 1e6) for phase in (PRETRAINING, FINETUNING)},
        f"million FLOPs for a token, forward, S = {sequence_length}",
    )
    handles = [above.barh(0, 0, color=grey, hatch=hatch, edgecolor="black") for _, _, grey, hatch in GROUPS]
    figure.legend(
        handles, [name for name, *_ in GROUPS], frameon=False, fontsize="small", loc="outside upper center", ncols=5
    )
    return figure


def paper_figure() -> Any:
    """The models of the paper's tables 2 to 6: what fine-tuning keeps, what is discarded, and the average score."""
    figure, axes = new_figure(8, 4.2)
    rows = [row for row in ROWS if "average" in row.scores and set(row.tables) & set(range(2, 7))]
    for place, row in enumerate(rows):
        kept, learned = (row.parameters(phase) / 1e6 for phase in (FINETUNING, PRETRAINING))
        first = place == 0
        axes.barh(place, kept, color="0.6", edgecolor="black", label="kept for fine-tuning" if first else None)
        axes.barh(
            place, learned - kept, left=kept, color="white", edgecolor="black", hatch="////",
            label="discarded after pre-training" if first else None,
        )  # fmt: skip
        axes.text(kept / 2, place, str(row.millions(FINETUNING)), ha="center", va="center")
        axes.text(learned + 5, place, f"{row.millions(PRETRAINING)}, score {row.scores['average']}", va="center")
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.invert_yaxis()
    axes.set(
        xlabel="parameters (millions, as the paper cuts them); the score is the paper's average on XTREME",
        xlim=(0, 600),
    )
    figure.legend(frameon=False, fontsize="small", loc="outside upper center", ncols=2)
    return figure


def _groups(values: dict[str, Any], unit: float) -> list[float]:
    return [sum(values[component] for component in components) / unit for _, components, _, _ in GROUPS]


def _bars(axes: Any, bars: dict[str, list[float]], label: str) -> None:
    """One bar for each phase, its segments in the order of `GROUPS`, with their numbers where there is room."""
    end = 1.12 * max(max(map(sum, bars.values())), 1e-9)
    for place, values in enumerate(bars.values()):
        left = 0.0
        for (_, _, grey, hatch), value in zip(GROUPS, values, strict=True):
            axes.barh(place, value, 0.65, left=left, color=grey, hatch=hatch, edgecolor="black", linewidth=0.6)
            if value > LABELLED * end:
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5} if hatch else None
                ink = "white" if grey == "0.2" else "black"
                axes.text(left + value / 2, place, f"{value:,.0f}", ha="center", va="center", color=ink, bbox=box)
            left += value
        axes.text(left + end / 100, place, f"{left:,.0f}", va="center", weight="bold")
    axes.set_yticks(range(len(bars)), list(bars))
    axes.invert_yaxis()
    axes.set(xlabel=label, xlim=(0, end))
