"""Masked batches, and the reading of labelled files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirembert.data.labelled import Sentence, encode_sentences, read_conllu, read_sentences
from minirembert.data.masked_lm import Language, MaskedLMData, mask_tokens, sampling_probabilities, unigram_losses
from minirembert.data.text import language_names, read_lines
from minirembert.ops.losses import IGNORE_INDEX


class Ids:
    """A vocabulary without text: 0 [PAD], 1 [CLS], 2 [UNK], 3 [SEP], 4 [MASK], then ordinary pieces."""

    pad_token_id, cls_token_id, unk_token_id, sep_token_id, mask_token_id = range(5)
    all_special_ids = [0, 1, 2, 3, 4]  # noqa: RUF012

    def __len__(self) -> int:
        return 200


def languages(seed: int = 0, sizes: tuple[int, ...] = (100, 7)) -> list[Language]:
    rng = np.random.default_rng(seed)
    return [
        Language(f"l{i}", [rng.integers(5, 200, rng.integers(1, 30)).tolist() for _ in range(size)])
        for i, size in enumerate(sizes)
    ]


def test_fifteen_percent_are_chosen_and_eight_of_ten_of_them_hidden() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 200, (400, 500))
    inputs, labels = mask_tokens(ids, Ids(), rng)
    chosen = labels != IGNORE_INDEX
    n = chosen.sum()

    def within_five_sigma(count: int, total: int, share: float) -> bool:
        return abs(count - total * share) < 5 * np.sqrt(total * share * (1 - share))

    assert within_five_sigma(n, ids.size, 0.15)
    assert within_five_sigma((inputs[chosen] == 4).sum(), n, 0.8)
    replaced = chosen & (inputs != 4) & (inputs != ids)
    assert within_five_sigma(replaced.sum(), n, 0.1 * (1 - 1 / 195))  # one random piece in 195 is the true one
    np.testing.assert_array_equal(inputs[~chosen], ids[~chosen])
    np.testing.assert_array_equal(labels[chosen], ids[chosen])
    assert inputs[replaced].min() >= 5, "a random piece is never a special one"


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 5), columns=st.integers(1, 40))
def test_special_tokens_are_never_to_be_guessed_and_something_always_is(seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    ids = np.where(rng.random((rows, columns)) < 0.5, rng.integers(0, 5, (rows, columns)), 77)
    inputs, labels = mask_tokens(ids, Ids(), rng)
    assert (labels[ids < 5] == IGNORE_INDEX).all()
    np.testing.assert_array_equal(inputs[ids < 5], ids[ids < 5])
    assert (labels != IGNORE_INDEX).any() == (ids >= 5).any()


def test_a_batch_is_a_function_of_seed_and_step_alone() -> None:
    data = MaskedLMData(languages(), Ids(), sequence_length=20)
    first = data.batch(8, seed=3, step=5)
    data.batch(8, seed=3, step=6)
    for a, b in zip(first, data.batch(8, seed=3, step=5), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.input_ids != data.batch(8, seed=4, step=5).input_ids).any()


def test_a_block_is_framed_padded_and_made_of_consecutive_lines() -> None:
    (language,) = languages(sizes=(50,))
    data = MaskedLMData([language], Ids(), sequence_length=24)
    text = [token for _ in range(3) for line in language.lines for token in line]
    joined = " ".join(map(str, text))
    for step in range(30):
        batch = data.batch(4, seed=0, step=step)
        ids = np.where(batch.labels != IGNORE_INDEX, batch.labels, batch.input_ids)
        for row, mask in zip(ids, batch.attention_mask, strict=True):
            length = int(mask.sum())
            assert (mask[:length] == 1).all(), "padding is at the end"
            assert (row[length:] == 0).all()
            assert row[0] == 1 and row[length - 1] == 3
            assert " ".join(map(str, row[1 : length - 1])) in joined
            assert length == 24, "there is text enough to fill every block"


def test_held_out_blocks_contain_every_line_once() -> None:
    spoken = languages(seed=1)
    data = MaskedLMData(spoken, Ids(), sequence_length=32)
    seen: dict[str, list[int]] = {language.name: [] for language in spoken}
    for name, batch in data.held_out_batches(4, seed=0):
        ids = np.where(batch.labels != IGNORE_INDEX, batch.labels, batch.input_ids)
        seen[name] += [token for token in ids.ravel().tolist() if token >= 5]
    for language in spoken:
        assert seen[language.name] == [token for line in language.lines for token in line]


def test_one_line_in_a_sequence_if_so_asked() -> None:
    (language,) = languages(sizes=(50,))
    data = MaskedLMData([language], Ids(), sequence_length=32, lines_per_sequence=1)
    batch = data.batch(40, seed=0, step=0)
    ids = np.where(batch.labels != IGNORE_INDEX, batch.labels, batch.input_ids)
    for row in ids.tolist():
        assert row[1 : row.index(3)] in language.lines
    assert len(list(data.held_out_batches(1, seed=0))) == 50


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_smoothing_lifts_small_languages_and_keeps_their_order(alpha: float) -> None:
    sizes = [1000, 100, 10]
    p = sampling_probabilities(sizes, alpha)
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)  # rounding of a sum of three
    np.testing.assert_allclose(p[0] / p[2], 100**alpha, rtol=1e-12)  # of two powers and three divisions


def test_languages_are_drawn_with_the_smoothed_share() -> None:
    data = MaskedLMData(languages(sizes=(900, 100)), Ids(), sequence_length=16, alpha=0.5)
    second = {tuple(line) for line in data.languages[1].lines}
    draws, hits = 4000, 0
    for step in range(draws // 50):
        batch = data.batch(50, seed=0, step=step)
        ids = np.where(batch.labels != IGNORE_INDEX, batch.labels, batch.input_ids)
        starts = {line[:3] for line in second if len(line) >= 3}
        hits += sum(tuple(row[1:4]) in starts for row in ids)
    share_of_long_lines = np.mean([len(line) >= 3 for line in second])
    expected = draws * 0.25 * share_of_long_lines  # sqrt(.1) / (sqrt(.9) + sqrt(.1)) = 1/4
    assert abs(hits - expected) < 5 * np.sqrt(draws * 0.25)


def test_unigram_losses_by_hand() -> None:
    train = [Language("x", [[5, 5, 5, 6]])]
    cross_entropy, entropy = unigram_losses(train, np.array([5, 6]), vocab_size=8)
    counts = np.ones(8)
    counts[5], counts[6] = 4, 2
    expected = -np.log(counts / 12)[[5, 6]].mean()
    assert cross_entropy == expected
    np.testing.assert_allclose(entropy, np.log(2), rtol=1e-15)  # one rounding


# --- files -----------------------------------------------------------------------------------------------------------


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_are_stripped_and_empty_ones_dropped(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes("\ufeff first \r\n\r\n  \nform\ffeed\n".encode())
    assert read_lines(path) == ["first", "form\ffeed"]


def test_two_files_cannot_be_one_language(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two files are named en"):
        language_names([tmp_path / "a" / "en.txt", tmp_path / "b" / "en.txt"])


def test_tsv_and_jsonl_say_the_same(tmp_path: Path) -> None:
    tsv = write(tmp_path / "x.tsv", 'text_a\ttext_b\tlabel\nHe said "no\tyes"\t1\n')
    jsonl = write(tmp_path / "x.jsonl", '{"text_a": "He said \\"no", "text_b": "yes\\"", "label": 1}\n')
    assert read_sentences(tsv) == read_sentences(jsonl) == [('He said "no', 'yes"', "1")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.tsv", "text\tlabel\na\n", "line 2: 1 fields, but the first line names 2"),
        ("x.tsv", "sentence\tlabel\na\tb\n", "line 1: the first line must name the columns, .*found sentence, label$"),
        ("x.tsv", "a\tx\nb\ty\n", "line 1: the first line must name the columns, label and either text or text_a and"),
        ("x.tsv", "a\tx\n", "line 1: the first line must name the columns, .*found a, x$"),
        ("x.tsv", "\n\ntext\ttext_a\tlabel\n", "line 3: the first line must name .*found text, text_a, label$"),
        ("x.tsv", "字" * 500 + "\tx\n", r"line 1: .*found 字{97}\.\.\.$"),
        ("x.jsonl", "{}\n", "line 1: needs label and either text or text_a and text_b, found nothing"),
        ("x.tsv", "text\tlabel\n", "has no examples"),
        ("x.jsonl", '{"text": "a", "label": 1}\nnonsense\n', "line 2: not JSON"),
        ("x.jsonl", "[1]\n", "line 1: not a JSON object"),
        ("x.jsonl", '{"text_a": "a", "label": 1}\n', "line 1: needs label"),
        ("x.tsv", "text\tlabel\n\n \na\n", "line 4: 1 fields"),
        ("x.tsv", "text\tlabel\na\tb\n\na\t\n", "line 4: label is empty"),
        ("x.tsv", "text\tlabel\n\tb\n", "line 2: text is empty"),
        ("x.tsv", "text_a\ttext_b\tlabel\na\t\tb\n", "line 2: text_b is empty"),
        ("x.tsv", "\ntext\ttext\tlabel\na\tb\tc\n", "line 2: two columns are named 'text'"),
        ("X.TSV", "text\tlabel\na\n", "line 2: 1 fields, but the first line names 2"),
        ("x.jsonl", '\n{"text": "a", "label": 1}\n\n{"text": "a", "label": ""}\n', "line 4: label is empty"),
        ("x.jsonl", '{"text": null, "label": 1}\n', "line 1: text is empty"),
        ("x.jsonl", '{"text": ["a"], "label": 1}\n', "line 1: text must be a string or a number, got list"),
        ("x.jsonl", '{"text": "a", "label": 1}\n' + "[" * 100_000, "line 2: not JSON .*nested too deeply"),
        (
            "x.jsonl",
            '{"text": "a", "label": 1}\n\n{"text_a": "a", "text_b": "b", "label": 1}\n',
            "line 3: a pair, but line 1 has a sentence",
        ),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_sentences(write(tmp_path / name, text))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a", "label": NaN}', "label is NaN, which is no number"),
        ('{"text": NaN, "label": 1}', "text is NaN, which is no number"),
        ('{"text": "a", "label": Infinity}', "label is Infinity, which is no number"),
        ('{"text": "a", "label": -Infinity}', "label is -Infinity, which is no number"),
        ('{"text": "a", "label": 1e400}', "label is Infinity, which is no number"),
        ('{"text_a": "a", "text_b": NaN, "label": 1}', "text_b is NaN, which is no number"),
        ('{"text": "a", "label": 1, "label": 2}', "the key 'label' stands there twice"),
        ('{"text": "a", "label": 1, "label": 1}', "the key 'label' stands there twice"),
        ('{"text": "a", "label": 1, "\\u0074ext": "b"}', "the key 'text' stands there twice"),
        ('{"text": "a", "label": 1, "more": {"x": 1, "x": 2}}', "the key 'x' stands there twice"),
        ('{"text": true, "label": 1}', "text must be a string or a number, got true"),
        ('{"text": "a", "label": {"x": 1}}', "label must be a string or a number, got dict"),
        ('{"text": "a", "label": "\\ud800"}', r"label has \\ud800, half of a surrogate pair"),
        ('{"text": "a \\udc00 b", "label": "x"}', r"text has \\udc00, half of a surrogate pair"),
        ('{"text": "a", "label": ' + "1" * 5000 + "}", "not JSON"),
    ],
)
def test_a_value_that_is_no_label_and_no_text(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "x.jsonl", '{"text": "a", "label": 1}\n' + line + "\n")
    with pytest.raises(ValueError, match=f"x.jsonl, line 2: .*{message}"):
        read_sentences(path)


@pytest.mark.parametrize(
    ("written", "label"),
    [
        (("1", "1.0", "1e0", "10E-1", '"1"', "1.0000000000000000001"), "1"),
        (("0", "0.0", "-0.0", "-0", "0e5"), "0"),
        (("-3", "-3.0"), "-3"),
        (("0.5", "5e-1", "0.50"), "0.5"),
        (("1e22", "1" + "0" * 22), "1" + "0" * 22),
        (("true", '"True"'), "True"),
        (('"1.0"', '" 1.0 "'), "1.0"),
        (('"NaN"',), "NaN"),
        (('"\\ud83d\\ude00"', '"\U0001f600"'), "\U0001f600"),
    ],
)
def test_one_number_is_one_class(tmp_path: Path, written: tuple[str, ...], label: str) -> None:
    lines = [f'{{"text": "a", "label": {one}, "unread": NaN}}' for one in written]
    found = read_sentences(write(tmp_path / "x.jsonl", "\n".join(lines)))
    assert {sentence.label for sentence in found} == {label}


def test_in_a_table_everything_is_text(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", 'text\tlabel\nNaN\tInfinity\n"a"\t1\n1\t1.0\nnull\ttrue\n')
    assert [(one.text, one.label) for one in read_sentences(path)] == [
        ("NaN", "Infinity"), ('"a"', "1"), ("1", "1.0"), ("null", "true"),
    ]  # fmt: skip


def test_a_cell_may_be_longer_than_the_csv_module_allows(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", f"\ufefftext\tlabel\r\n{'a' * 200_000}\tyes\r\nb\rb\tno \r\n")
    long, short = read_sentences(path)
    assert (len(long.text), long.label) == (200_000, "yes")
    assert short == ("b\rb", None, "no")


def test_both_texts_of_a_pair_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """With their token types, and the label of each."""
    given = {}

    def tokenizer(first: list[str], second: list[str] | None, **options: object) -> dict[str, np.ndarray]:
        given["texts"] = (first, second)
        return {"input_ids": np.ones((2, 3), int), "attention_mask": np.ones((2, 3), int)}

    pairs = [Sentence("a", "b", "x"), Sentence("c", "d", "y")]
    batch = encode_sentences(pairs, tokenizer, {"x": 0, "y": 1}, 8)  # type: ignore[arg-type]
    assert given["texts"] == (["a", "c"], ["b", "d"]) and batch["labels"].tolist() == [0, 1]


def test_a_batch_of_sentences_and_pairs_is_refused() -> None:
    mixed = [Sentence("a", None, "x"), Sentence("a", "b", "x")]
    with pytest.raises(ValueError, match="either sentences or pairs, got 1 pairs among 2"):
        encode_sentences(mixed, None, {}, 8)


def test_conllu_skips_ranges_and_empty_nodes(tmp_path: Path) -> None:
    rows = ["# text = vámonos", "1-2\tvámonos" + "\t_" * 8, "1\tvamos\t_\tVERB" + "\t_" * 6,
            "2\tnos\t_\tPRON" + "\t_" * 6, "2.1\tghost\t_\tNOUN" + "\t_" * 6, ""]  # fmt: skip
    path = write(tmp_path / "x.conllu", "\n".join(rows))
    assert read_conllu(path) == [(("vamos", "nos"), ("VERB", "PRON"))]


def test_the_last_sentence_needs_no_empty_line_after_it(tmp_path: Path) -> None:
    row = "1\tno\t_\tINTJ" + "\t_" * 6
    assert read_conllu(write(tmp_path / "x.conllu", f"{row}\n\n{row}")) == [(("no",), ("INTJ",))] * 2


def test_conllu_may_begin_with_a_byte_order_mark_and_end_its_lines_with_a_carriage_return(tmp_path: Path) -> None:
    row = "1\tno\t_\tINTJ" + "\t_" * 6
    path = write(tmp_path / "x.CONLLU", f"\ufeff{row}\r\n\r\n# more\r\n{row}\r\n")
    assert read_conllu(path) == [(("no",), ("INTJ",))] * 2


def rows(*ids: str) -> str:
    return "".join(f"{id}\tform{id}\t_\tNOUN" + "\t_" * 6 + "\n" if id else "\n" for id in ids)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (("1", "2", "3"), 3),
        (("1-2", "1", "2", "3-4", "3", "4"), 4),
        (("0.1", "0.2", "1", "1.1", "1.2", "1.3", "2", "2.1"), 2),
        (("1", "1.1", "2-4", "2", "2.1", "3", "4"), 4),
        (tuple(map(str, range(1, 121))), 120),
    ],
)
def test_conllu_ids_that_are_right(tmp_path: Path, ids: tuple[str, ...], words: int) -> None:
    path = write(tmp_path / "x.conllu", rows(*ids, "") + "# next\n" + rows(*ids))
    forms = tuple(f"form{id}" for id in ids if id.isdigit())
    assert [sentence.words for sentence in read_conllu(path)] == [forms] * 2 and len(forms) == words


@pytest.mark.parametrize(
    ("ids", "line", "message"),
    [
        (("1", "2", "1"), 4, "numbered 1, 2, 3, so this one is 3, got 1; an empty line ends a sentence"),
        (("1", "1"), 3, "so this one is 2, got 1"),
        (("1", "3"), 3, "so this one is 2, got 3"),
        (("0", "1"), 2, "must be like 3, 3-4 or 3.1, got '0'"),
        (("2", "3"), 2, "so this one is 1, got 2"),
        (("1", "2", "", "2"), 5, "so this one is 1, got 2"),
        (("3", "2", "1"), 2, "so this one is 1, got 3"),
        (("01",), 2, "must be like 3, 3-4 or 3.1, got '01'"),
        (("-1",), 2, "must be like"),
        (("9" * 5000,), 2, "must be like"),
        (("1", "1-2", "2"), 3, "a range stands before its first word and goes up, got 1-2 before word 2"),
        (("2-3", "1", "2", "3"), 2, "got 2-3 before word 1"),
        (("1-1", "1"), 2, "got 1-1"),
        (("1", "2-1", "2"), 3, "got 2-1"),
        (("1-2", "1", "2-3", "2", "3"), 4, "got 2-3 before word 2"),
        (("1-3", "1", "2"), 2, "the range ends with 3, the sentence with 2"),
        (("1-3", "1", "2", "", "1"), 2, "the range ends with 3, the sentence with 2"),
        (("1.1", "1"), 2, r"an empty node after word 0 is numbered 0\.1, got 1\.1"),
        (("1", "1.2", "2"), 3, r"an empty node after word 1 is numbered 1\.1, got 1\.2"),
        (("1", "1.1", "1.1", "2"), 4, r"is numbered 1\.2, got 1\.1"),
        (("1", "2", "1.1"), 4, r"an empty node after word 2 is numbered 2\.1, got 1\.1"),
        (("1", "1.0", "2"), 3, "must be like"),
    ],
)  # fmt: skip
def test_conllu_ids_that_are_wrong(tmp_path: Path, ids: tuple[str, ...], line: int, message: str) -> None:
    with pytest.raises(ValueError, match=rf"x.conllu, line {line}: .*{message}"):
        read_conllu(write(tmp_path / "x.conllu", "# a comment\n" + rows(*ids)))


def test_conllu_sentences_without_a_tag_are_left_out(tmp_path: Path) -> None:
    tagged, untagged = ("1\tno\t_\t" + tag + "\t_" * 6 for tag in ("INTJ", "_"))
    path = write(tmp_path / "x.conllu", f"{untagged}\n\n{tagged}\n2{untagged[1:]}\n")
    assert read_conllu(path) == [(("no", "no"), ("INTJ", "_"))]
    with pytest.raises(ValueError, match=r"y.conllu has no tags: the fourth field \(UPOS\) of every word is _"):
        read_conllu(write(tmp_path / "y.conllu", untagged))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\tword", "line 4: CoNLL-U has 10 fields separated by tabs, found 2"),
        ("x\tword\t_\tNOUN" + "\t_" * 6, "line 4: the first field .* must be like 3, 3-4 or 3.1, got 'x'"),
        ("\u00b2\tword\t_\tNOUN" + "\t_" * 6, "line 4: the first field"),
        ("1-\tword\t_\tNOUN" + "\t_" * 6, "line 4: the first field"),
        ("1\t\t_\tNOUN" + "\t_" * 6, r"line 4: the second field \(FORM\) is empty"),
        ("1\tword\t_\t" + "\t_" * 6, r"line 4: the fourth field \(UPOS\) is empty"),
    ],
)
def test_a_damaged_conllu_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_conllu(write(tmp_path / "x.conllu", f"# a\n\n\n{line}\n"))
