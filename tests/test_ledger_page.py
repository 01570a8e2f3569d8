"""The slider page in a real browser: every number that it shows is Python's."""

import json
import math
import random
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, WHY_NOT, Page, browser
from checks import PARITY_OUTPUTS

from minirembert.lab.conventions import CONVENTIONS, PHASES, PRETRAINING
from minirembert.lab.ledger import flops, masked_positions, parameters
from minirembert.lab.ledger_figure import GROUPS
from minirembert.lab.ledger_page import SLIDERS, write_ledger_page
from minirembert.lab.sizes import Sizes

POSITIONS = 40
WIDTHS = (360, 1000)  # of a telephone and of a laptop, in pixels

# Moves a control as a hand would, and says that it has.
MOVE = """
(controls => {
  for (const [id, value, event] of controls) {
    const control = document.getElementById(id);
    if (typeof value === "boolean") control.checked = value; else control.value = value;
    control.dispatchEvent(new Event(event));
  }
})(%s)
"""
SHOWN = """
({
  numbers: Object.fromEntries([...document.querySelectorAll("[data-key]")].map(e => [e.dataset.key, e.textContent])),
  segments: ["parameters", "flops"].map(id => [...document.querySelectorAll(`#${id} rect.segment`)].map(
    rect => [rect.textContent, Number(rect.getAttribute("width"))])),
  texts: ["summary", "scored", "derived"].map(id => document.getElementById(id).textContent),
  controls: Object.fromEntries([...document.querySelectorAll("input[type=number]")].map(e => [e.id, [e.value, e.disabled]])),
})
"""
OVERLAPS = """
(() => {
  const found = [];
  for (const id of ["parameters", "flops"]) {
    const boxes = [...document.querySelectorAll(`#${id} text`)].map(e => [e.textContent, e.getBoundingClientRect()]);
    boxes.forEach(([one, a], n) => boxes.slice(n + 1).forEach(([other, b]) => {
      if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom) found.push([one, other]);
    }));
    const chart = document.getElementById(id).getBoundingClientRect();
    for (const [one, a] of boxes) if (a.left < chart.left || a.right > innerWidth) found.push([one, "the edge"]);
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip(WHY_NOT)
    folder = tmp_path_factory.mktemp("browser")
    write_ledger_page(folder / "ledger.html")
    with browser(folder / "profile") as page:
        page.open(folder / "ledger.html")
        yield page


def in_millions(n: float) -> str:
    return f"{Decimal(repr(n / 1e6)).quantize(Decimal('0.1'), ROUND_HALF_UP):,}"


def expected(sizes: Sizes, convention: str, S: int, scored: int | None) -> dict[str, Any]:
    """What the page has to show, said by Python."""
    work = {phase: flops(sizes, phase, S, scored) for phase in PHASES}
    counts = {phase: parameters(sizes, phase, CONVENTIONS[convention]) for phase in PHASES}
    columns = {("parameters", phase): counts[phase] for phase in PHASES} | {
        ("flops", phase): work[phase] for phase in PHASES
    }
    rows = [name for name in counts[PRETRAINING] if any(values[name] for values in columns.values())]
    numbers, segments = {}, []
    for (what, phase), values in columns.items():
        written = in_millions if what == "flops" else lambda n: f"{n:,}"
        for name in rows:
            numbers[f"ledger/{what}/{phase}/{name}"] = written(values[name]) if values[name] else "\u2013"
        total = sum(values.values())
        numbers[f"ledger/{what}/{phase}/total"] = written(total)
        numbers[f"{what}/{phase}/total"] = in_millions(total) + " M"
    for bars in (counts, work):
        groups = [(name, sum(bars[p][part] for part in parts)) for p in PHASES for name, parts, *_ in GROUPS]
        segments.append([(f"{name}: {in_millions(value)} million", value) for name, value in groups if value])
    return {"numbers": numbers, "segments": segments}


def compare(page: Page, sizes: Sizes, convention: str, S: int, masked: bool) -> None:
    right = expected(sizes, convention, S, masked_positions(S) if masked else None)
    shown = page.evaluate(SHOWN)
    labels = {key: text for key, text in shown["numbers"].items() if key not in right["numbers"]}
    assert {key: shown["numbers"].get(key) for key in right["numbers"]} == right["numbers"]
    # The bars: each group that costs something, as long as it costs.
    for drawn, exact in zip(shown["segments"], right["segments"], strict=True):
        assert [text for text, _ in drawn] == [text for text, _ in exact]
        scale = sum(width for _, width in drawn) / sum(value for _, value in exact)
        for (_, width), (_, value) in zip(drawn, exact, strict=True):
            assert math.isclose(width, scale * value, rel_tol=PARITY_OUTPUTS, abs_tol=PARITY_OUTPUTS)
    texts = {title for chart in right["segments"] for title, _ in chart}
    for key, text in labels.items():
        assert f"{key.split('/')[-1]}: {text} million" in texts, key
    # The sentences
    learned, kept = (in_millions(sum(parameters(sizes, phase, CONVENTIONS[convention]).values())) for phase in PHASES)
    summary, scored, derived = shown["texts"]
    assert summary == f"{learned} million parameters in pre-training, {kept} million in fine-tuning."
    assert scored == f"{masked_positions(S)} of {S}"
    assert f"= {sizes.heads} heads, I = 4 H = {sizes.intermediate:,}, 512 positions, 2 token types." in derived
    fields = {name: getattr(sizes, slider.field) for name, slider in SLIDERS.items()} | {"S": S}
    assert shown["controls"] == {
        f"{name}-number": [str(value), name == "O" and sizes.tied] for name, value in fields.items()
    }
    assert page.errors == []


def made(places: dict[str, int], tied: bool, convention: str) -> Sizes:
    values = {slider.field: places[name] for name, slider in SLIDERS.items() if not (tied and name == "O")}
    return Sizes(**values, tied=tied, square_projection=convention != "paper")


def test_it_opens_with_rembert_and_fetches_nothing(page: Page) -> None:
    compare(page, Sizes(), "huggingface", 512, masked=False)
    assert page.evaluate("document.getElementById('preset').value") == "RemBERT"
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0
    labelled = page.evaluate(SHOWN)["numbers"]
    assert labelled["parameters/pre-training/head, output embedding"] == "418.7"


@pytest.mark.parametrize("width", WIDTHS)
def test_every_number_is_python_s_wherever_the_sliders_stand(page: Page, width: int) -> None:
    draw = random.Random(width)
    page.resize(width, 1200)
    for n in range(POSITIONS // len(WIDTHS)):
        places = {
            name: (slider.min, slider.max)[n] if n < 2 else _place(draw, slider) for name, slider in SLIDERS.items()
        }
        S, tied, masked = draw.randint(1, 512), draw.random() < 0.3, draw.random() < 0.5
        if draw.random() < 0.2:
            places["E"] = places["H"]  # where the conventions disagree about the projection
        convention = draw.choice(list(CONVENTIONS))
        controls = [["tied", tied, "change"], ["masked", masked, "change"], ["convention", convention, "change"]]
        for name, value in {**places, "S": S}.items():
            # A slider knows its steps only; a number field everything.
            on_slider = name != "V" and draw.random() < 0.5
            controls.append([name, value, "input"] if on_slider else [f"{name}-number", value, "change"])
        page.evaluate(MOVE % json.dumps(controls))
        compare(page, made(places, tied, convention), convention, S, masked)
        assert page.evaluate(OVERLAPS) == []


def _place(draw: random.Random, slider: Any) -> int:
    """Small sizes as likely as large ones."""
    span = (slider.max - slider.min) // slider.step
    return slider.min + slider.step * round(span * draw.random() ** 3)


def test_presets_are_the_paper_s_models(page: Page) -> None:
    presets = page.evaluate("Object.keys(GIVEN.presets)")
    assert len(presets) == 10
    page.evaluate(
        MOVE % json.dumps([["convention", "paper", "change"], ["masked", False, "change"], ["S", 512, "input"]])
    )
    for name, totals in {
        "coupled baseline (table 2, 6, 12)": ("177,610,752", "177,610,752"),
        "E 128, O 3072 (table 4)": ("469,219,584", "100,579,584"),
    }.items():
        page.evaluate(MOVE % json.dumps([["preset", name, "change"]]))
        numbers = page.evaluate(SHOWN)["numbers"]
        assert tuple(numbers[f"ledger/parameters/{phase}/total"] for phase in PHASES) == totals


def test_it_can_be_used_without_a_mouse(page: Page) -> None:
    page.evaluate(MOVE % json.dumps([["preset", "RemBERT", "change"], ["convention", "huggingface", "change"]]))
    page.evaluate("document.getElementById('V').focus()")
    page.press("ArrowRight", 39)
    compare(page, Sizes(vocab_size=250_400), "huggingface", 512, masked=False)
    page.press("Tab", 9)  # to the number beside it, and on to the next slider
    page.press("Tab", 9)
    page.press("ArrowLeft", 37)
    compare(page, Sizes(vocab_size=250_400, input_embedding_size=255), "huggingface", 512, masked=False)
    page.evaluate("document.getElementById('tied').focus()")
    page.press(" ", 32)
    compare(page, Sizes(vocab_size=250_400, input_embedding_size=255, tied=True), "huggingface", 512, masked=False)
    # Every control has a name for those who do not see it.
    unnamed = "[...document.querySelectorAll('input, select')].filter(e => !e.labels.length && !e.ariaLabel).length"
    assert page.evaluate(unnamed) == 0


def test_what_is_typed_is_kept_within_the_slider(page: Page) -> None:
    page.evaluate(MOVE % json.dumps([["preset", "RemBERT", "change"], ["convention", "huggingface", "change"]]))
    for typed, taken in ((1000, 1024), (10**9, 4096), (-5, 64), ("", 64), (1170, 1152)):
        page.evaluate(MOVE % json.dumps([["H-number", typed, "change"]]))
        compare(page, Sizes(hidden_size=taken), "huggingface", 512, masked=False)


def test_it_opens_with_the_sizes_it_was_made_for(page: Page, tmp_path: Path) -> None:
    sizes = Sizes(4000, 32, 128, 4, 8, max_position_embeddings=512, tied=True)
    write_ledger_page(tmp_path / "small.html", sizes, 64, CONVENTIONS["paper"])
    page.open(tmp_path / "small.html")
    compare(page, sizes, "paper", 64, masked=False)


def test_the_file_stands_alone(tmp_path: Path) -> None:
    write_ledger_page(tmp_path / "ledger.html")
    text = (tmp_path / "ledger.html").read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    for wanted in ("http", "src=", "import ", "fetch(", "@import", "<link"):
        assert wanted not in text
