"""Learning a vocabulary: `train_tokenizer` and the candidates it begins with."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizer_texts import TEXTS, write_files

from minirembert import RemBertTokenizer
from minirembert.tokenization import training
from minirembert.tokenization.candidates import candidate_pieces
from minirembert.tokenization.training import sentence_shares, train_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(write_files(path / "texts"), 260, path / "saved")
    return path / "saved"


def test_training_is_deterministic_and_silent(folder, tmp_path, capfd):
    files = write_files(tmp_path / "texts")
    again = train_tokenizer([str(file) for file in files], 260, str(tmp_path / "saved"))
    for name in ("sentencepiece.model", "tokenizer_config.json", "special_tokens_map.json"):
        assert (tmp_path / "saved" / name).read_bytes() == (folder / name).read_bytes()
    assert again.vocab_file == str(tmp_path / "saved" / "sentencepiece.model")
    assert capfd.readouterr() == ("", "")


def test_sentence_shares():
    assert sentence_shares([100, 100, 100], 0.5, 300) == [100, 100, 100]
    assert sentence_shares([10_000, 100], 0.5, 1100) == [1000, 100]
    assert sentence_shares([10_000, 100], 1, 10_100) == [10_000, 100]
    assert sentence_shares([10_000, 100], 0, 1000) == [500, 500]
    assert sentence_shares([10**9, 1], 1, 10) == [10, 1]


def test_a_small_language_is_not_drowned_and_the_seed_decides_the_sample(tmp_path):
    russian, chinese = TEXTS["ru"].split(), TEXTS["zh"].split()
    large, small = tmp_path / "large.txt", tmp_path / "small.txt"
    large.write_text("\n".join(f"{a} {b}{c}" for a in russian for b in russian for c in russian[:5]), encoding="utf-8")
    small.write_text("\n".join(f"{a}{b}" for a, b in itertools.pairwise(chinese[:9])), encoding="utf-8")

    def chinese_pieces(alpha):
        learned = train_tokenizer([large, small], 46, tmp_path / "saved", alpha=alpha, character_coverage=0.99)
        return sum(any("\u4e00" <= c <= "\u9fff" for c in piece) for piece in learned.get_vocab())

    assert 0 == chinese_pieces(1.0) < chinese_pieces(0.5) < chinese_pieces(0.0)
    models = []
    for seed in (0, 0, 1):
        train_tokenizer([large, small], 46, tmp_path / "saved", seed=seed, max_sentences=200)
        models.append((tmp_path / "saved" / "sentencepiece.model").read_bytes())
    assert models[0] == models[1] != models[2]


def test_the_sample(tmp_path, monkeypatch):
    """The candidates and the trainer read the same: as many sentences as were asked for, of each file others, in order."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("\n".join(f"{name}{i}" for i in range(100)), encoding="utf-8")
    read: list[list[str]] = []

    def trained(*, sentence_iterator: Iterator[str], **settings: Any) -> None:
        read.append(list(sentence_iterator))
        raise RuntimeError("enough")

    monkeypatch.setattr(training, "candidate_pieces", lambda sentences: read.append(list(sentences)))
    monkeypatch.setattr(training.sentencepiece.SentencePieceTrainer, "train", trained)

    def sample(**settings: Any) -> tuple[list[int], list[int]]:
        """The numbers of the lines that are read of either file."""
        read.clear()
        with pytest.raises(ValueError, match="could not learn"):
            train_tokenizer([tmp_path / "a.txt", tmp_path / "b.txt"], 20, tmp_path / "saved", **settings)
        candidates, lines = read
        assert candidates == lines
        first, second = ([int(line[1:]) for line in lines if line[0] == name] for name in "ab")
        assert lines == [*(f"a{i}" for i in first), *(f"b{i}" for i in second)]
        return first, second

    assert sample() == (list(range(100)), list(range(100)))
    drawn = [sample(max_sentences=20, seed=seed) for seed in (0, 7)]
    for lines in (*drawn[0], *drawn[1]):
        assert len(lines) == 10 and lines == sorted(set(lines))
    assert len({tuple(lines) for pair in drawn for lines in pair}) == 4


def test_long_sentences_are_read_to_their_end(tmp_path, monkeypatch):
    (tmp_path / "x.txt").write_text("a" * 1000 + "b" * 1000 + "c" * 5 + "\n" + "d" * 1000, encoding="utf-8")
    read: list[str] = []

    def heard(sentences: Iterator[str]) -> None:
        read.extend(sentences)
        raise ValueError("enough")

    monkeypatch.setattr(training, "candidate_pieces", heard)
    with pytest.raises(ValueError, match="enough"):
        train_tokenizer(tmp_path / "x.txt", 20, tmp_path / "saved")
    assert read == ["a" * 1000, "b" * 1000, "c" * 5, "d" * 1000]


def test_text_that_sentencepiece_would_drop_is_used(tmp_path):
    """It drops sentences of more than 4192 bytes, and those with ▅; windows' line ends and blank lines do no harm."""
    (tmp_path / "long.txt").write_bytes(("abcd " * 900 + "\r\n\r\n \r\nxy▅z [MASK]\r\n").encode())
    learned = train_tokenizer(tmp_path / "long.txt", 14, tmp_path / "saved", character_coverage=1)
    assert {"a", "b", "c", "d", "x", "y", "z"} <= set("".join(learned.get_vocab()))


def test_training_that_cannot_be_done(tmp_path):
    good = tmp_path / "good.txt"
    good.write_text(TEXTS["en"] + "\n", encoding="utf-8")
    bad = {
        "empty.txt": b"",
        "blank.txt": b" \n\t\n",
        "latin1.txt": b"fine\nf\xe4hre\n",
        "utf16.txt": "text".encode("utf-16"),
        "cut.txt": "würde\nwü".encode()[:-1],
        "invisible.txt": "\u200b\n".encode(),
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    saved = tmp_path / "saved"
    cases = [
        (["good.txt", "empty.txt"], 30, {}, r"empty.txt is empty: there is no sentence in it"),
        (["blank.txt"], 30, {}, r"blank.txt is empty: there is no sentence in it"),
        (["latin1.txt"], 30, {}, r"latin1.txt is not UTF-8 text: byte 6 is 0xe4"),
        (["utf16.txt"], 30, {}, r"utf16.txt is not UTF-8 text: byte 0 is 0xff"),
        (["cut.txt"], 30, {}, r"cut.txt is not UTF-8 text: byte 8 is 0xc3"),
        (["invisible.txt"], 30, {}, r"nothing is left of the text in .*invisible.txt once it is normalised"),
        (["good.txt"], 3000, {}, r"vocab_size 3000 is too large: the text in .*good.txt yields at most \d+ pieces"),
        (
            ["good.txt"],
            12,
            {},
            r"vocab_size 12 is too small: the characters in .*good.txt and the 5 special tokens need",
        ),
        (["good.txt"] * 5, 12, {}, r"good.txt, .*good.txt, .*good.txt and 2 more and"),
        (["good.txt"], 5, {}, r"vocab_size must be an integer above 5, the special tokens, got 5"),
        (["good.txt"], 30.0, {}, r"vocab_size must be an integer above 5"),
        ([], 30, {}, r"files must name at least one text file"),
        (["good.txt"], 30, {"alpha": 1.5}, r"alpha must be between 0 and 1, got 1.5"),
        (["good.txt"], 30, {"max_sentences": 0}, r"max_sentences must be at least 1, got 0"),
        (["good.txt"], 30, {"character_coverage": 0.5}, r"character_coverage must be between 0.98 and 1, got 0.5"),
    ]
    for names, size, options, message in cases:
        with pytest.raises(ValueError, match=message) as caught:
            train_tokenizer([tmp_path / name for name in names], size, saved, **options)
        assert "\n" not in str(caught.value)
    for missing in ("none.txt", "."):
        with pytest.raises(FileNotFoundError, match="is not there, or is not a file"):
            train_tokenizer([good, tmp_path / missing], 30, saved)
    assert not saved.exists()


@pytest.mark.parametrize("size_is", ["too large", "too small"])
def test_the_limits_in_the_messages_are_the_limits(tmp_path, size_is):
    good = tmp_path / "good.txt"
    good.write_text(TEXTS["en"] + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=size_is) as caught:
        train_tokenizer(good, 3000 if size_is == "too large" else 12, tmp_path / "saved")
    limit = int(
        str(caught.value).split("at most " if size_is == "too large" else "at least ")[1].split()[0].rstrip(";")
    )
    assert len(train_tokenizer(good, limit, tmp_path / "saved")) == limit
    with pytest.raises(ValueError, match=size_is):
        train_tokenizer(good, limit + (1 if size_is == "too large" else -1), tmp_path / "saved")
    assert len(RemBertTokenizer.from_pretrained(tmp_path / "saved")) == limit  # the failure left it alone


# --- candidates for pieces -------------------------------------------------------------------------------------------


def test_a_frequent_word_that_is_part_of_no_other_becomes_a_piece(tmp_path: Path) -> None:
    """SentencePiece alone would never consider it: its candidates come from strings found in two different words."""
    lines = [f"{subject} does नहीं {verb}." for subject in ("Ann", "Bob", "Eve") for verb in ("run", "sit", "eat")] * 9
    (tmp_path / "x.txt").write_text("\n".join(lines), encoding="utf-8")
    tokenizer = train_tokenizer(tmp_path / "x.txt", 34, tmp_path / "tokenizer")
    assert tokenizer.tokenize("Bob does नहीं eat.")[1:3] == ["\u2581does", "\u2581नहीं"]


def test_candidates_are_counted_inside_words_and_stop_at_punctuation() -> None:
    found = dict(candidate_pieces(["ab ab, 42x", "ｂ ab"]) or [])
    space = "\u2581"
    assert found == {
        space: 5, f"{space}a": 2 * 3, f"{space}ab": 3 * 3, "a": 3, "ab": 2 * 3, "b": 4,
    }  # fmt: skip
    assert all("," not in piece or piece == "," for piece in found)


def test_a_text_of_very_many_words_is_left_to_sentencepiece() -> None:
    assert candidate_pieces(f"word{i}" for i in range(100_001)) is None
