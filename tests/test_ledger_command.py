"""The command `minirembert ledger`: what it prints and writes, and its sentence when something is wrong."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirembert import RemBertConfig
from minirembert.cli import main
from minirembert.lab.budget import pretraining_parameters
from minirembert.lab.conventions import FINETUNING, PAPER, PHASES, PRETRAINING
from minirembert.lab.ledger import COMPONENTS, flops, memory, parameters, total
from minirembert.lab.ledger_figure import ledger_figure, paper_figure
from minirembert.lab.ledger_page import write_ledger_page
from minirembert.lab.ledger_report import paper_report, paper_text, report, text
from minirembert.lab.paper import ROWS
from minirembert.lab.sizes import Sizes


def test_the_command_prints_what_it_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = {kind: tmp_path / f"ledger.{kind}" for kind in ("json", "svg", "html")}
    files = ["--json", str(out["json"]), "--figure", str(out["svg"]), "--page", str(out["html"])]
    for path in out.values():
        path.write_text("old")
    assert main(["ledger", "--vocab-size", "4000", "--hidden-size", "128", "--num-hidden-layers", "4", *files]) == 0
    printed = capsys.readouterr().out
    sizes = Sizes(vocab_size=4000, hidden_size=128, num_hidden_layers=4)
    made = json.loads(out["json"].read_text())
    for phase in PHASES:
        assert made["parameters"][phase] == {**parameters(sizes, phase), "total": total(sizes, phase)}
        assert f"{total(sizes, phase):,}" in printed
    assert made["flops_per_token_forward"]["77 scored"]["total"] == sum(flops(sizes, PRETRAINING, 512, 77).values())
    assert made["bytes"]["fine-tuning"]["total"] == 16 * total(sizes, FINETUNING)
    assert Sizes(**made["sizes"]) == sizes
    assert "<svg" in out["svg"].read_text() and out["html"].read_text().startswith("<!doctype html>")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ledger.html", "ledger.json", "ledger.svg"]


def test_the_command_reads_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = RemBertConfig(vocab_size=50, hidden_size=30, num_attention_heads=3, max_position_embeddings=40)
    config.save_pretrained(tmp_path)
    assert main(["ledger", "--model", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert f"{pretraining_parameters(config):,}" in printed and "S = 40" in printed


def test_the_command_prints_the_paper(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "--paper", "--json", str(tmp_path / "p.json"), "--figure", str(tmp_path / "p.png")]) == 0
    printed, rows = capsys.readouterr().out, json.loads((tmp_path / "p.json").read_text())
    assert [row["name"] for row in rows] == [row.name for row in ROWS]
    for row in ROWS:
        assert row.name in printed and row.why in printed
    assert "995 / 962" in printed
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-attention-heads", "7"], "hidden_size must be a multiple of num_attention_heads (7), got 1152"),
        (["--model", "{dir}", "--tied"], "--model takes all sizes from {dir}: it goes without --tied"),
        (["--model", "{dir}"], "config.json describes a model of the type 'bert', not 'rembert'"),
        (["--model", "{dir}/none"], "none is not a folder with a saved model"),
        (["--paper", "--tied"], "--paper has models of its own: it goes without sizes, --model and --page"),
        (["--sequence-length", "600"], "sequence_length must be 1 to 512 (max_position_embeddings), got 600"),
        (["--batch-size", "0"], "batch_size must be at least 1, got 0"),
        (["--figure", "{dir}/f.pdf"], "--figure writes .png or .svg, got {dir}/f.pdf"),
        (["--page", "{dir}/f"], "--page writes .html, got {dir}/f"),
        (["--json", "{dir}/none/x.json"], "could not write {dir}/none/x.json"),
        (["--page", "{dir}/p.html", "--intermediate-size", "100"], "another kind of model: I (intermediate_size) is 4 H"),
        (["--page", "{dir}/p.html", "--vocab-size", "7"], "V (vocab_size) goes from 100 to 500,000, got 7"),
        (
            ["--page", "{dir}/p.html", "--hidden-size", "30", "--num-attention-heads", "3"],
            "H (hidden_size) goes from 64 to 4,096 in steps of 64, got 30",
        ),
    ],
)  # fmt: skip
def test_one_sentence_when_something_is_wrong(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert main(["ledger", *(argument.format(dir=tmp_path) for argument in arguments)]) == 1
    error = capsys.readouterr().err
    assert message.format(dir=tmp_path) in error and error.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


# Sizes whose every number differs, so that none can stand in another's place.
GIVEN = {
    "vocab_size": 4000, "input_embedding_size": 24, "hidden_size": 128, "num_hidden_layers": 5, "num_attention_heads": 4,
    "intermediate_size": 512, "output_embedding_size": 56, "max_position_embeddings": 90, "type_vocab_size": 3,
}  # fmt: skip
SIZES = Sizes(**GIVEN)
OPTIONS = [word for name, value in GIVEN.items() for word in ("--" + name.replace("_", "-"), str(value))]


def test_every_option_reaches_what_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another convention, length, batch and dtype than the defaults: in the data, in the text, in the figure, on the page."""
    drawn = []
    monkeypatch.setattr("minirembert.figures.save_figure", lambda figure, path: drawn.append(figure))
    files = [
        "--json",
        str(tmp_path / "l.json"),
        "--page",
        str(tmp_path / "l.html"),
        "--figure",
        str(tmp_path / "l.svg"),
    ]
    how = ["--convention", "paper", "--sequence-length", "64", "--batch-size", "3", "--dtype", "bfloat16"]
    assert main(["ledger", *OPTIONS, *how, *files]) == 0
    printed = capsys.readouterr().out
    made = json.loads((tmp_path / "l.json").read_text())
    assert made["sizes"] == {**GIVEN, "dropped_layers": 0, "tied": False, "head": "gelu_ln", "square_projection": True,
                             "cross_attention": False}  # fmt: skip
    assert made["convention"]["name"] == "paper" and made["dtype"] == "bfloat16"
    assert (made["sequence_length"], made["batch_size"], made["backward_per_forward"]) == (64, 3, 2)
    counts = {phase: parameters(SIZES, phase, PAPER) for phase in PHASES}
    columns = {
        "every position scored": (PRETRAINING, None),
        "10 scored": (PRETRAINING, 10),
        FINETUNING: (FINETUNING, None),
    }
    work = {name: flops(SIZES, phase, 64, scored) for name, (phase, scored) in columns.items()}
    bytes_ = {name: memory(SIZES, phase, 3, 64, scored, "bfloat16") for name, (phase, scored) in columns.items()}
    for name, tables in (("parameters", counts), ("flops_per_token_forward", work), ("bytes", bytes_)):
        assert made[name] == {column: {**of, "total": sum(of.values())} for column, of in tables.items()}
    for phase in PHASES:
        assert f"{sum(counts[phase].values()):,}" in printed
    for column in columns:
        assert f"{sum(work[column].values()) / 1e6:,.1f}" in printed
        assert f"{sum(bytes_[column].values()) / 1e9:,.2f}" in printed
    assert str(SIZES) in printed and "as paper counts them" in printed and "bfloat16, 3 x 64 tokens" in printed
    (figure,) = drawn
    for axes, tables in zip(figure.axes, (counts, {phase: flops(SIZES, phase, 64) for phase in PHASES}), strict=True):
        np.testing.assert_allclose(ends(axes), [sum(tables[phase].values()) / 1e6 for phase in PHASES])
    page = (tmp_path / "l.html").read_text()
    start = json.JSONDecoder().raw_decode(page, page.index('{"start"'))[0]["start"]
    places = {"V": 4000, "E": 24, "H": 128, "L": 5, "O": 56}
    assert start == {**places, "tied": False, "d": 32, "S": 64, "masked": False, "convention": "paper"}


def ends(axes: Any) -> list[float]:
    """How far the bars reach, in rows."""
    reach: dict[float, float] = {}
    for bar in axes.patches:
        if bar.get_height() < 0.7:  # not the legend's, which have the usual height
            place = round(bar.get_y() + bar.get_height() / 2, 6)
            reach[place] = max(reach.get(place, 0.0), bar.get_x() + bar.get_width())
    return [reach[place] for place in sorted(reach)]


def test_the_sizes_in_a_line() -> None:
    line = "V 4,000, E 24, H 128, L 5, h 4, I 512, O 56, untied, head gelu_ln"
    assert str(SIZES) == line
    assert str(replace(SIZES, dropped_layers=2, tied=True, output_embedding_size=24, head="linear")) == (
        "V 4,000, E 24, H 128, L 5 (2 dropped), h 4, I 512, O 24, tied, head linear"
    )


def test_a_figure_s_segments_are_the_ledger_s_groups() -> None:
    """One after the other, each as long as what its components cost."""
    figure = ledger_figure(SIZES, PAPER, 64)
    parts = (COMPONENTS[:3], COMPONENTS[3:6], COMPONENTS[6:8], COMPONENTS[8:9], COMPONENTS[9:])
    for axes, of in zip(
        figure.axes, (lambda p: parameters(SIZES, p, PAPER), lambda p: flops(SIZES, p, 64)), strict=True
    ):
        bars = [bar for bar in axes.patches if bar.get_height() < 0.7]
        assert len(bars) == 2 * len(parts)
        for row, phase in enumerate(PHASES):
            lengths = [sum(of(phase)[name] for name in names) / 1e6 for names in parts]
            found = bars[row * len(parts) : (row + 1) * len(parts)]
            np.testing.assert_allclose([bar.get_width() for bar in found], lengths)
            np.testing.assert_allclose([bar.get_x() for bar in found], np.cumsum([0.0, *lengths[:-1]]))
        assert [label.get_text() for label in axes.get_yticklabels()] == list(PHASES)
    assert "S = 64" in figure.axes[1].get_xlabel()
    default = ledger_figure(Sizes())
    np.testing.assert_allclose(ends(default.axes[0]), [total(Sizes(), phase) / 1e6 for phase in PHASES])


def test_the_paper_s_figure_has_what_is_kept_and_what_is_discarded() -> None:
    """The rows with an average on XTREME of tables 2 to 6, in their order."""
    (axes,) = paper_figure().axes
    rows = [row for row in ROWS if "average" in row.scores and any(table in row.tables for table in (2, 3, 4, 5, 6))]
    assert [label.get_text() for label in axes.get_yticklabels()] == [row.name for row in rows] and len(rows) == 9
    texts = [text.get_text() for text in axes.texts]
    for place, row in enumerate(rows):
        kept, learned = (total(row.sizes, phase, PAPER) / 1e6 for phase in (FINETUNING, PRETRAINING))
        bars = axes.patches[2 * place : 2 * place + 2]
        np.testing.assert_allclose([bar.get_width() for bar in bars], [kept, learned - kept])
        np.testing.assert_allclose([bar.get_x() for bar in bars], [0, kept])
        assert texts[2 * place : 2 * place + 2] == [f"{int(kept)}", f"{int(learned)}, score {row.scores['average']}"]


def test_the_rows_of_the_paper_as_data_and_as_text() -> None:
    """Printed beside ours; an equals sign where they agree, and only there."""
    by_name = {row["name"]: row for row in paper_report()}
    wrong = by_name["reinvested in H 1024"]
    assert wrong["printed"] == {"pretraining": 260, "finetuning": 168, "embedding": None, "share": None}
    assert wrong["recounted"] == {"pretraining": 258, "finetuning": 166, "embedding": None, "share": None}
    assert wrong["parameters"] == {PRETRAINING: 258_872_832, FINETUNING: 166_712_832} and wrong["tables"] == [6]
    assert wrong["convention"]["name"] == "paper" and wrong["scores"]["average"] == 64.5
    every = paper_text().splitlines()
    (line,) = (line for line in every if "reinvested in H 1024 *  " in line)
    assert line.split()[-7:] == ["260", "/", "258", "168", "/", "166", "paper"]
    (line,) = (line for line in every if "E 128, O 3072 " in line and "English" not in line)
    assert "469 =" in line and "100 =" in line and "/" not in line
    assert "mBERT" in paper_text() and "178 =" in paper_text() and "52 =" in paper_text()


def test_a_row_of_a_table_is_left_out_where_it_is_zero_everywhere() -> None:
    printed = text(SIZES, report(SIZES, PAPER, 64))
    tables = [table.splitlines()[0] for table in printed.split("\n\n")]
    assert len(tables) == 7
    parameters_table, flops_table = printed.split("\n\n")[2], printed.split("\n\n")[4]
    names = [line.split("  ")[0] for line in parameters_table.splitlines()]
    assert "output embedding" in names and "head dense" not in names and "cross-attention" not in names
    assert "pooler" in [line.split("  ")[0] for line in flops_table.splitlines()]
    (line,) = (line for line in parameters_table.splitlines() if line.startswith("output embedding"))
    assert line.split()[-2:] == [f"{4000 * 56:,}", "-"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "{dir}", "--no-square-projection"], "it goes without --square-projection"),
        (["--model", "{dir}", "--num-hidden-layers", "0"], "it goes without --num-hidden-layers"),
        (["--paper", "--page", "{dir}/p.html"], "it goes without sizes, --model and --page"),
        (["--paper", "--model", "{dir}"], "it goes without sizes, --model and --page"),
        (["--paper", "--no-tied"], "it goes without sizes, --model and --page"),
    ],
)
def test_what_does_not_go_together(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A switch that is turned off is given too."""
    RemBertConfig().save_pretrained(tmp_path)
    assert main(["ledger", *(argument.format(dir=tmp_path) for argument in arguments)]) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "p.html").exists()


def page_s_data(sizes: Sizes | None = None, **how: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        write_ledger_page(Path(folder) / "page.html", sizes, **how)
        page = (Path(folder) / "page.html").read_text(encoding="utf-8")
    found: dict[str, Any] = json.JSONDecoder().raw_decode(page, page.index('{"start"'))[0]
    return found


def test_what_the_page_is_given() -> None:
    data = page_s_data(SIZES, sequence_length=33, convention=PAPER)
    assert (data["positions"], data["types"], data["masked_percent"]) == (90, 3, 15)
    assert data["start"]["S"] == 33 and data["start"]["d"] == 32 and data["start"]["convention"] == "paper"
    assert data["sliders"]["S"] == {
        "meaning": "tokens in a sequence",
        "field": "",
        "min": 1,
        "max": 90,
        "step": 1,
        "slide": 1,
    }
    assert data["presets"] == {}  # none of the paper's models has 90 positions
    assert page_s_data(SIZES)["start"]["S"] == 90  # all positions, where they are fewer than 512
    assert page_s_data(replace(SIZES, max_position_embeddings=700))["start"]["S"] == 512
    standard = page_s_data()
    assert standard["start"] == {
        "V": 250300, "E": 256, "H": 1152, "L": 32, "O": 1664, "tied": False, "d": 64, "S": 512, "masked": False,
        "convention": "huggingface",
    }  # fmt: skip
    names = list(standard["presets"])
    assert names[0] == "RemBERT" and all("English" not in name and "BERT Base" not in name for name in names)
    shown = {f"{row.name} (table {', '.join(map(str, row.tables))})" for row in ROWS if row.sizes.vocab_size == 120_000}
    assert set(names[1:]) == shown - {"11 more layers, dropped (table 5)"}
    assert standard["presets"]["E 128, O 3072 (table 4)"] == {
        "V": 120000, "E": 128, "H": 768, "L": 12, "O": 3072, "tied": False, "d": 64
    }  # fmt: skip
    assert [component for group in standard["groups"] for component in group["components"]] == [
        name for name in COMPONENTS if name != "cross-attention"
    ]


def test_nothing_in_the_page_s_data_ends_its_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minirembert.lab.ledger_page._positions", lambda sizes: {"V": "</script>"})
    write_ledger_page(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("</script>") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 500_001}, "V (vocab_size) goes from 100 to 500,000, got 500,001"),
        ({"num_hidden_layers": 0}, "L (num_hidden_layers) goes from 1 to 96, got 0"),
        ({"hidden_size": 96, "intermediate_size": 384}, "H (hidden_size) goes from 64 to 4,096 in steps of 64, got 96"),
        ({"head": "linear"}, "head is gelu_ln, got linear"),
        ({"dropped_layers": 1}, "dropped_layers is 0, got 1"),
        ({"cross_attention": True}, "cross_attention is off"),
        ({"num_attention_heads": 1}, "the size of a head divides 64, got 128"),
    ],
)
def test_models_that_the_page_does_not_have(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the page has sliders for another kind of model") as error:
        write_ledger_page(tmp_path / "page.html", replace(SIZES, **change))
    assert str(error.value).endswith(message) and not list(tmp_path.iterdir())


def test_the_page_reaches_the_ends_of_its_sliders() -> None:
    largest = Sizes(500_000, 4096, 4096, 96, output_embedding_size=4096)
    smallest = Sizes(100, 1, 64, 1, output_embedding_size=1)
    for sizes in (largest, smallest):
        assert page_s_data(sizes)["start"]["V"] == sizes.vocab_size
