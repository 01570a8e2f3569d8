"""The command `minirembert ledger`: what it prints and writes, and its sentence when something is wrong."""

import json
from pathlib import Path

import pytest

from minirembert import RemBertConfig
from minirembert.cli import main
from minirembert.lab.budget import pretraining_parameters
from minirembert.lab.conventions import FINETUNING, PHASES, PRETRAINING
from minirembert.lab.ledger import flops, parameters, total
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
