"""Each option of the commands that use or make a model, changed alone: what they print and write is what Python gives."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minirembert.corpus
import minirembert.tour
from minirembert import RemBertConfig, RemBertForMaskedLM, RemBertModel, RemBertTokenizer
from minirembert.checkpoint import read_tensors, weight_files
from minirembert.cli import COMMANDS, main
from minirembert.inference import embed, fill_mask
from minirembert.tokenization.training import train_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*the pooler|.*the output head:UserWarning")

SENTENCES = ["the cat sleeps", "a dog sees the bird", "no bird sees a cat", "the dog sleeps"]
ONE, OTHER = "the [MASK] sees a [MASK]", "a [MASK] sleeps"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders with a tokenizer and a model that has learned nothing; only the numbers differ."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "en.txt").write_text("\n".join(SENTENCES * 20), encoding="utf-8")
    tokenizer = train_tokenizer([folder / "en.txt"], 28, folder / "one")
    shutil.copytree(folder / "one", folder / "other")
    config = RemBertConfig(
        vocab_size=len(tokenizer), hidden_size=6, num_hidden_layers=2, num_attention_heads=2, input_embedding_size=4,
        output_embedding_size=5, intermediate_size=7, max_position_embeddings=16, initializer_range=0.5,
    )  # fmt: skip
    for seed, name in enumerate(("one", "other")):
        RemBertForMaskedLM(config, seed=seed).save_pretrained(folder / name)
    return folder / "one", folder / "other"


def printed(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_each_option_of_fill_mask(models: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    def expected(folder: Path, top: int, *texts: str) -> str:
        model, tokenizer = RemBertForMaskedLM.from_pretrained(folder), RemBertTokenizer.from_pretrained(folder)
        masks = [guesses for text in texts for guesses in fill_mask(model, tokenizer, text, top)]
        return "".join(
            "".join(f"{g.probability:.3f}  {g.token:<16}  {g.text}\n" for g in guesses) + "\n" for guesses in masks
        )

    one, other = models
    asked = [
        (("--model", one, ONE), expected(one, 5, ONE)),
        (("--model", other, ONE), expected(other, 5, ONE)),
        (("--model", one, "--top", 2, ONE), expected(one, 2, ONE)),
        (("--model", one, OTHER), expected(one, 5, OTHER)),
        (("--model", one, ONE, OTHER), expected(one, 5, ONE, OTHER)),
    ]
    assert len({text for _, text in asked}) == len(asked)
    for arguments, text in asked:
        assert printed(capsys, "fill-mask", *arguments) == text, arguments
    assert expected(one, 2, ONE).count("\n") == 6


def test_each_option_of_embed(models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def expected(folder: Path, texts: list[str], layer: int = -1) -> np.ndarray:
        return embed(RemBertModel.from_pretrained(folder), RemBertTokenizer.from_pretrained(folder), texts, layer)

    def rows(text: str) -> tuple[list[str], np.ndarray]:
        found = [json.loads(line) for line in text.splitlines()]
        return [row["text"] for row in found], np.array([row["vector"] for row in found], np.float32)

    one, other = models
    some = SENTENCES[:2]
    (tmp_path / "some.txt").write_text("".join(f"{line}\n" for line in SENTENCES), encoding="utf-8")
    seen = []
    for arguments, texts, vectors in (
        (("--model", one, *some), some, expected(one, some)),
        (("--model", other, *some), some, expected(other, some)),
        (("--model", one, "--layer", "0", *some), some, expected(one, some, 0)),
        (("--model", one, "--layer", "1", *some), some, expected(one, some, 1)),
        (("--model", one, *SENTENCES[1:3]), SENTENCES[1:3], expected(one, SENTENCES[1:3])),
        (("--model", one, "--file", tmp_path / "some.txt"), SENTENCES, expected(one, SENTENCES)),
    ):
        said, found = rows(printed(capsys, "embed", *arguments))
        assert said == texts
        assert (found == vectors).all(), arguments
        seen.append(found.tobytes())
    assert len(set(seen)) == len(seen)
    text = printed(capsys, "embed", "--model", one, "--out", tmp_path / "v.npy", *some)
    assert text == f"2 vectors of width 6 are in {tmp_path / 'v.npy'}\n"
    assert (np.load(tmp_path / "v.npy") == expected(one, some)).all()
    assert main(["embed", "--model", str(one), "--file", str(tmp_path / "some.txt"), *some]) == 1  # either, not both


def test_each_option_of_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An x is a letter in a few hundred: 0.98 of the text can do without it."""
    (tmp_path / "a.txt").write_text("".join(f"{line}\n" for line in SENTENCES) * 50 + "x\n" * 10, encoding="utf-8")
    (tmp_path / "b.txt").write_text("qu ijk\n" * 100, encoding="utf-8")

    def pieces(out: str, *arguments: Any) -> set[str]:
        text = printed(capsys, "tokenizer", "--out", tmp_path / out, *arguments)
        tokenizer = RemBertTokenizer.from_pretrained(tmp_path / out)
        assert text == f"a tokenizer of {len(tokenizer):,} pieces is in {tmp_path / out}\n"
        return set(tokenizer.get_vocab())

    small = pieces("small", "--corpus", tmp_path / "a.txt", "--vocab-size", 26)
    large = pieces("large", "--corpus", tmp_path / "a.txt", "--vocab-size", 31)
    both = pieces("both", "--corpus", tmp_path / "a.txt", tmp_path / "b.txt", "--vocab-size", 36)
    covered = pieces("covered", "--corpus", tmp_path / "a.txt", "--vocab-size", 26, "--character-coverage", 0.98)
    assert (len(small), len(large), len(both), len(covered)) == (26, 31, 36, 26)
    assert "x" in small and "x" not in covered
    assert not {"q", "j"} & large and {"q", "j"} <= both


def test_each_option_of_convert(models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = models

    def converted(source: Path, *arguments: Any) -> tuple[set[str], set[str], dict[str, np.ndarray]]:
        target = tmp_path / str(len([*tmp_path.iterdir()]))
        printed(capsys, "convert", source, target, *arguments)
        tensors = read_tensors(target)
        kinds = {tensor.dtype for tensor in tensors.values()}
        return {path.suffix for path in weight_files(target)}, kinds, {n: t.read() for n, t in tensors.items()}

    def same(found: dict[str, np.ndarray], folder: Path) -> bool:
        tensors = read_tensors(folder)
        return found.keys() == tensors.keys() and all(np.array_equal(found[n], t.read()) for n, t in tensors.items())

    suffixes, kinds, numbers = converted(one, "--format", "safetensors")
    assert (suffixes, kinds) == ({".safetensors"}, {"F32"}) and same(numbers, one) and not same(numbers, other)
    assert same(converted(other, "--format", "safetensors")[2], other)
    suffixes, kinds, numbers = converted(one, "--format", "pytorch")
    assert (suffixes, kinds) == ({".bin"}, {"F32"}) and same(numbers, one)
    suffixes, kinds, numbers = converted(one, "--format", "safetensors", "--dtype", "float16")
    assert (suffixes, kinds) == ({".safetensors"}, {"F16"})
    assert len(weight_files(tmp_path / "0")) == 1
    converted(one, "--format", "safetensors", "--max-shard-size", "1KB")
    assert len(weight_files(tmp_path / "4")) > 1


def test_the_tour_goes_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    went = []
    monkeypatch.setattr(minirembert.tour, "tour", went.append)
    assert main(["tour", "--out", str(tmp_path / "here")]) == 0
    assert main(["tour"]) == 0
    assert went == [tmp_path / "here", Path("tour")]


def test_every_option_of_corpus_reaches_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[Any] = []
    monkeypatch.setattr(
        minirembert.corpus,
        "write_corpus",
        lambda out, count, *, seed, parallel: made.append((out, count, seed, parallel)),
    )
    for arguments in ([], ["--sentences", "30"], ["--seed", "7"], ["--parallel"]):
        assert main(["corpus", "--out", str(tmp_path), *arguments]) == 0
    out = tmp_path
    assert made == [(out, 10_000, 0, False), (out, 30, 0, False), (out, 10_000, 7, False), (out, 10_000, 0, True)]


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_where_an_error_arose(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(arguments: object) -> None:
        raise ValueError("something is wrong")

    monkeypatch.setitem(COMMANDS, "tour", COMMANDS["tour"]._replace(run=wrong))
    assert main(["tour"]) == 1
    assert capsys.readouterr().err == "minirembert tour: something is wrong\n"
    with pytest.raises(ValueError, match="something is wrong"):
        main(["--debug", "tour"] if place == "before" else ["tour", "--debug"])


@pytest.mark.parametrize("size", ["-5MB", "-1"])
def test_a_size_below_zero_is_said_to_be_none(
    size: str, models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["convert", str(models[0]), str(tmp_path / "new"), "--format", "pytorch", "--max-shard-size", size]
    assert main(command) == 1
    assert size in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
