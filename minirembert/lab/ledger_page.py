"""The slider page: one HTML file that needs no server and fetches nothing.

The page does the arithmetic of `ledger.py` a second time, in JavaScript, as formulas. `tests/test_ledger_page.py` moves its
sliders in a browser and compares every number shown with Python's.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from minirembert.files import write_text_atomically
from minirembert.lab.conventions import HUGGING_FACE, Convention
from minirembert.lab.ledger import MASKED_PERCENT, check_sequence
from minirembert.lab.ledger_figure import GROUPS
from minirembert.lab.paper import MULTILINGUAL_PIECES, ROWS
from minirembert.lab.sizes import HEADS, Sizes

TEMPLATE = Path(__file__).with_name("ledger_page.html")


class Slider(NamedTuple):
    """`step`: of the values that the page knows; `slide`: of the slider, where that is coarser."""

    meaning: str
    field: str
    min: int
    max: int
    step: int
    slide: int


SLIDERS = {
    "V": Slider("vocabulary", "vocab_size", 100, 500_000, 1, 100),
    "E": Slider("input embedding", "input_embedding_size", 1, 4_096, 1, 1),
    "H": Slider("hidden size", "hidden_size", 64, 4_096, 64, 64),
    "L": Slider("layers", "num_hidden_layers", 1, 96, 1, 1),
    "O": Slider("output embedding", "output_embedding_size", 1, 4_096, 1, 1),
}
# The figure's groups, by the names that the page's styles have for them.
FILLS = ("input", "attention", "feed-forward", "pooler", "head")


def write_ledger_page(
    path: Path, sizes: Sizes | None = None, sequence_length: int | None = None, convention: Convention = HUGGING_FACE
) -> None:
    """Writes the page, its sliders standing at these sizes (None: RemBERT's; S: 512, or all positions if they are fewer).

    Raises ValueError for sizes that no slider reaches, and for a model that is not of the page's kind: one with I = 4 H,
    RemBERT's head, an input projection, no dropped layers, no cross-attention.
    """
    sizes = sizes or Sizes()
    length = min(512, sizes.max_position_embeddings) if sequence_length is None else sequence_length
    check_sequence(sizes, length, None)
    template = TEMPLATE.read_text(encoding="utf-8")
    data = json.dumps(given(sizes, length, convention)).replace("<", "\\u003c")
    write_text_atomically(path, template.replace("/*GIVEN*/null", data))


def given(sizes: Sizes, sequence_length: int, convention: Convention) -> dict[str, Any]:
    """What the page's script knows."""
    if reason := _why_not(sizes):
        raise ValueError(f"the page has sliders for another kind of model: {reason}")
    if not sizes.has_input_projection:
        raise ValueError("the page's models have an input projection, but square_projection is off and E = H")
    length = Slider("tokens in a sequence", "", 1, sizes.max_position_embeddings, 1, 1)
    return {
        "start": {**_positions(sizes), "S": sequence_length, "masked": False, "convention": convention.name},
        "sliders": {name: slider._asdict() for name, slider in {**SLIDERS, "S": length}.items()},
        "presets": {name: _positions(preset) for name, preset in _presets(sizes).items()},
        "groups": [
            {"name": name, "components": [c for c in components if c != "cross-attention"], "fill": fill}
            for (name, components, *_), fill in zip(GROUPS, FILLS, strict=True)
        ],
        "positions": sizes.max_position_embeddings,
        "types": sizes.type_vocab_size,
        "masked_percent": MASKED_PERCENT,
    }


def _positions(sizes: Sizes) -> dict[str, int | bool]:
    """Where the sliders stand for a model; d, the size of a head, has none."""
    places = {name: getattr(sizes, slider.field) for name, slider in SLIDERS.items()}
    return {**places, "tied": sizes.tied, "d": sizes.hidden_size // sizes.heads}


def _presets(start: Sizes) -> dict[str, Sizes]:
    """RemBERT and the paper's multilingual models: those that the page can show, and that have the page's positions."""
    models = {"RemBERT": Sizes()}
    models |= {
        f"{row.name} (table {', '.join(map(str, row.tables))})": row.sizes
        for row in ROWS
        if row.sizes.vocab_size == MULTILINGUAL_PIECES
    }
    page = (start.max_position_embeddings, start.type_vocab_size)
    return {
        name: sizes
        for name, sizes in models.items()
        if not _why_not(sizes) and (sizes.max_position_embeddings, sizes.type_vocab_size) == page
    }


def _why_not(sizes: Sizes) -> str | None:
    """Why the page cannot show this model, if it cannot."""
    for name, slider in SLIDERS.items():
        value = getattr(sizes, slider.field)
        if not slider.min <= value <= slider.max or (value - slider.min) % slider.step:
            steps = f" in steps of {slider.step}" if slider.step > 1 else ""
            return f"{name} ({slider.field}) goes from {slider.min:,} to {slider.max:,}{steps}, got {value:,}"
    if sizes.intermediate != 4 * sizes.hidden_size:
        return f"I (intermediate_size) is 4 H, got {sizes.intermediate:,}"
    if SLIDERS["H"].step % (sizes.hidden_size // sizes.heads):
        return f"the size of a head divides {SLIDERS['H'].step}, got {sizes.hidden_size // sizes.heads}"
    if sizes.head != HEADS[0]:
        return f"head is {HEADS[0]}, got {sizes.head}"
    if sizes.dropped_layers:
        return f"dropped_layers is 0, got {sizes.dropped_layers}"
    return "cross_attention is off" if sizes.cross_attention else None
