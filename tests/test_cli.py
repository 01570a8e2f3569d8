"""The command line: exit codes that tell the truth, one sentence when something is wrong, and no waiting for help."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minirembert.cli import COMMANDS, main


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "minirembert", *arguments], capture_output=True, text=True)


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = "import sys, minirembert; print([m for m in ('numpy', 'torch', 'matplotlib') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


def test_the_model_needs_neither_torch_nor_triton_nor_kernels() -> None:
    program = """
import sys
for name in ("torch", "triton", "kernels", "transformers"):
    sys.modules[name] = None  # importing it fails
from minirembert import *
import minirembert.training.pretrain, minirembert.training.finetune, minirembert.inference, minirembert.tour, minirembert.cli
config = RemBertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
RemBertForMaskedLM(config).loss_and_gradients(input_ids=[[5, 6]], labels=[[-100, 7]])
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_help_lists_every_command() -> None:
    result = run("--help")
    assert result.returncode == 0
    for name in COMMANDS:
        assert name in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = run(name, "--help")
    assert result.returncode == 0
    assert any(option in result.stdout for option in ("--out", "--model", "TARGET", "ACTION"))


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["pretrain"], ["pretrain", "--out", "x", "--steps", "many"]])
def test_a_wrong_command_line_ends_with_2(arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain", "--out", "{dir}/out", "--corpus", "{dir}/none.txt"], "none.txt is not a file"),
        (["pretrain", "--out", "{dir}/out", "--steps", "0"], "steps must be at least 1, got 0"),
        (["pretrain", "--out", "{dir}/out", "--hidden-size", "50"], "hidden_size must be a multiple of"),
        (["tokenizer", "--out", "{dir}/out", "--corpus", "{dir}/empty.txt"], "empty.txt"),
        (
            ["tokenizer", "--out", "{dir}/out", "--corpus", "{dir}/x.txt", "--character-coverage", "2"],
            "character_coverage must be between 0.98 and 1, got 2.0",
        ),
        (["finetune", "--out", "{dir}/out", "--model", "{dir}", "--train", "{dir}/x.doc"], "must all be .conllu"),
        (["fill-mask", "--model", "{dir}/none", "a [MASK]"], "none"),
        (["embed", "--model", "{dir}/none"], "give either sentences or --file"),
        (["corpus", "--out", "{dir}/out", "--sentences", "0"], "0"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (tmp_path / "empty.txt").touch()
    code = main([argument.format(dir=tmp_path) for argument in arguments])
    error = capsys.readouterr().err
    assert code == 1
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_commands_that_would_overwrite_something_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sentencepiece.model").write_text("a model's tokenizer")
    (tmp_path / "x.txt").write_text("some text\n" * 50)
    for command in (["corpus"], ["tokenizer", "--corpus", str(tmp_path / "x.txt")]):
        assert main([*command, "--out", str(tmp_path / "out")]) == 1
        assert "not an empty folder" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sentencepiece.model"]


def test_an_interrupt_has_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, "corpus", COMMANDS["corpus"]._replace(run=interrupted))
    assert main(["corpus", "--out", "x"]) == 130
    assert capsys.readouterr().err == "minirembert corpus: interrupted\n"


def test_a_model_too_large_for_the_machine_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_much(arguments: object) -> None:
        raise MemoryError("Unable to allocate 954. GiB")

    monkeypatch.setitem(COMMANDS, "corpus", COMMANDS["corpus"]._replace(run=too_much))
    assert main(["corpus", "--out", "x"]) == 1
    assert capsys.readouterr().err == "minirembert corpus: not enough memory: Unable to allocate 954. GiB\n"


def test_from_text_to_vectors_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """corpus, tokenizer, pretrain, fill-mask, finetune and embed, each on what the one before it wrote."""
    corpus, model = tmp_path / "corpus", tmp_path / "model"
    texts = [str(corpus / "train" / f"{language}.txt") for language in ("en", "zh")]
    size = "--hidden-size 16 --num-hidden-layers 1 --num-attention-heads 2 --intermediate-size 16"
    size += " --input-embedding-size 8 --output-embedding-size 16 --sequence-length 24 --batch-size 4 --steps 5"
    tags = [str(corpus / "test" / f"{language}.conllu") for language in ("en", "zh")]
    for command in (
        ["corpus", "--out", str(corpus), "--sentences", "300"],
        ["tokenizer", "--corpus", *texts, "--vocab-size", "900", "--out", str(tmp_path / "tokenizer")],
        ["pretrain", "--corpus", *texts, "--tokenizer", str(tmp_path / "tokenizer"), "--out", str(model), *size.split()],
        ["fill-mask", "--model", str(model), "--top", "2", "The [MASK] sleeps."],
        ["finetune", "--model", str(model), "--train", str(corpus / "train" / "en.conllu"), "--evaluate", *tags,
         "--out", str(tmp_path / "tagger"), "--epochs", "1"],
        ["embed", "--model", str(model), "--file", texts[0], "--out", str(tmp_path / "vectors.npy")],
    ):  # fmt: skip
        assert main(command) == 0, capsys.readouterr().err
    assert main(["fill-mask", "--model", str(tmp_path / "tagger"), "The [MASK] sleeps."]) == 1
    assert "has no output head" in capsys.readouterr().err
    assert (model / "model.safetensors").stat().st_mode == (model / "config.json").stat().st_mode
    assert set(json.loads((tmp_path / "tagger" / "scores.json").read_text())) == {"en", "zh"}
    lines = Path(texts[0]).read_text(encoding="utf-8").splitlines()
    assert np.load(tmp_path / "vectors.npy").shape == (len(lines), 16)
    capsys.readouterr()
    assert main(["embed", "--model", str(model), "one", "two"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in printed] == ["one", "two"]
    assert len(printed[0]["vector"]) == 16
    _fill_with_nan(model / "model.safetensors")
    for command in (["fill-mask", "--model", str(model), "The [MASK]"], ["embed", "--model", str(model), "one"]):
        assert main(command) == 1
        output = capsys.readouterr()
        assert output.out == ""
        assert "not finite" in output.err
        assert len(output.err.splitlines()) == 1


def _fill_with_nan(file: Path) -> None:
    save_file({name: np.full_like(array, np.nan) for name, array in load_file(file).items()}, file)


@pytest.mark.parametrize("word", ["label", "text", "text_a", "text_b"])
def test_the_columns_of_a_labelled_file_are_named_in_help(capsys: pytest.CaptureFixture[str], word: str) -> None:
    with pytest.raises(SystemExit):
        main(["finetune", "--help"])
    assert word in re.findall(r"\w+", capsys.readouterr().out.split("--train FILE")[-1].split("--out")[0])


def test_help_and_import_are_quick(capsys: pytest.CaptureFixture[str]) -> None:
    """Printed, not asserted: what a machine under load does is not the code's fault."""
    for what, arguments in (("import", ["-c", "import minirembert"]), ("--help", ["-m", "minirembert", "--help"])):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        with capsys.disabled():
            print(f"\n{what}: {time.perf_counter() - start:.2f} s", end="")
