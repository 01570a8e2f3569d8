"""The options of a call, as properties that hold whatever the text; `test_tokenizer_recorded.py` has what 4.34 answered."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strings import generated_strings
from tokenizer_models import small_model

from minirembert import RemBertTokenizer
from minirembert.tokenization.encoding import BatchEncoding
from minirembert.tokenization.lengths import keep, overflow, padded_length
from minirembert.tokenization.rows import Origin

PAD, CLS, UNK, SEP, MASK = range(5)
TEXTS = generated_strings(400, seed=7)
SIDES = st.sampled_from(["right", "left"])
rows = st.lists(st.integers(5, 900), max_size=12)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "sentencepiece.model"
    path.write_bytes(small_model())
    return path


@pytest.fixture(scope="module")
def tokenizer(model) -> RemBertTokenizer:
    return RemBertTokenizer(model)


@pytest.fixture(scope="module")
def both_sides(model) -> dict[str, RemBertTokenizer]:
    return {side: RemBertTokenizer(model, padding_side=side, truncation_side=side) for side in ("right", "left")}


# --- padding ---


@given(
    st.lists(st.sampled_from(TEXTS), min_size=1, max_size=5), SIDES, st.integers(1, 9), st.sampled_from([None, 3, 8])
)
def test_padding_takes_nothing_away(both_sides, texts, side, max_length, multiple):
    plain = both_sides[side](texts, return_special_tokens_mask=True)
    for padding in (True, "longest", "max_length"):
        options = {"padding": padding, "pad_to_multiple_of": multiple, "return_special_tokens_mask": True}
        limit = {"max_length": max_length, "truncation": False} if padding == "max_length" else {}
        padded = both_sides[side](texts, **options, **limit)
        longest = max(map(len, plain.input_ids))
        width = max_length if padding == "max_length" else longest
        width = width if multiple is None else multiple * ((width + multiple - 1) // multiple)
        fill = {"input_ids": PAD, "token_type_ids": 0, "attention_mask": 0, "special_tokens_mask": 1}
        for name, value in fill.items():
            for before, after in zip(plain[name], padded[name], strict=True):
                gap = [value] * (width - len(before))
                assert after == (before + gap if side == "right" else gap + before)
        for i, before in enumerate(plain.input_ids):
            gap = [None] * (width - len(before))
            origins = plain.sequence_ids(i)
            assert padded.sequence_ids(i) == (origins + gap if side == "right" else gap + origins)
        if len({len(row) for row in padded.input_ids}) == 1:
            arrays = both_sides[side](texts, return_tensors="np", **options, **limit)
            assert {name: array.tolist() for name, array in arrays.items()} == dict(padded)


def test_padded_length():
    assert padded_length([3, 5], "do_not_pad", 9, 4) is None
    assert padded_length([3, 5], "longest", 9) == 5
    assert padded_length([3, 5], "longest", 9, 4) == 8
    assert padded_length([3, 5], "max_length", 4) == 4
    assert padded_length([3, 5], "max_length", 4, 3) == 6
    assert padded_length([], "longest", None) == 0


@given(st.lists(rows, min_size=1, max_size=4), SIDES)
def test_pad_does_what_a_call_with_padding_does(both_sides, ids, side):
    tokenizer = both_sides[side]
    call = tokenizer.batch_encode_plus([(row or [7], None) for row in ids], padding=True)
    one_by_one = [tokenizer.encode_plus(row or [7]) for row in ids]
    assert tokenizer.pad(one_by_one) == call
    joined = {name: [row[name] for row in one_by_one] for name in one_by_one[0]}
    assert tokenizer.pad(joined) == tokenizer.pad(BatchEncoding(joined)) == call
    arrays = [{name: np.array(values) for name, values in row.items()} for row in one_by_one]
    padded = tokenizer.pad(arrays)
    assert all(isinstance(array, np.ndarray) for array in padded.values())
    assert {name: array.tolist() for name, array in padded.items()} == call
    assert one_by_one == [tokenizer.encode_plus(row or [7]) for row in ids]  # the caller's own are as they were


def test_pad_leaves_labels_alone_and_says_what_it_needs(tokenizer):
    row = {"input_ids": [7, 8], "labels": [1, 2], "length": 2}
    assert tokenizer.pad(row, padding="max_length", max_length=4) == {
        "input_ids": [7, 8, PAD, PAD], "labels": [1, 2], "length": 2, "attention_mask": [1, 1, 0, 0]
    }  # fmt: skip
    assert tokenizer.pad({"input_ids": [7]}, max_length=4, return_attention_mask=False) == {"input_ids": [7]}
    assert tokenizer.pad({"input_ids": [[7], []]}).attention_mask == [[1], [0]]
    for wrong, message in [
        ([], "a list of encodings that is not empty"),
        (["text"], "needs an encoding, or a list of encodings"),
        ({"labels": [1]}, "pad needs input_ids, got an encoding with labels"),
        ({}, "pad needs input_ids, got an encoding with nothing"),
        ([{"input_ids": [1]}, {"input_ids": [1], "labels": [2]}], "encodings with the same lists"),
        ({"input_ids": [[1], [2]], "labels": [3]}, r"as many rows of each, got \{'input_ids': 2, 'labels': 1\}"),
    ]:
        with pytest.raises(ValueError, match=message):
            tokenizer.pad(wrong)


# --- truncation ---


@given(rows, st.none() | rows, st.integers(0, 14), st.integers(0, 5), SIDES)
def test_what_is_cut_overflows_with_its_neighbours(both_sides, first, second, remove, stride, side):
    tokenizer = both_sides[side]
    for strategy in ("only_first", "only_second", "longest_first"):
        kept, kept_second, cut = tokenizer.truncate_sequences(first, second, remove, strategy, stride)
        sides = [(first, kept)] if second is None else [(first, kept), (second, kept_second)]
        shortened = [(whole, part) for whole, part in sides if len(part) < len(whole)]
        for whole, part in sides:
            assert part == (whole[: len(part)] if side == "right" else whole[len(whole) - len(part) :])
        if strategy == "longest_first" and second is not None:
            assert cut == []
            assert sum(len(whole) - len(part) for whole, part in sides) == min(remove, len(first) + len(second))
            continue
        assert len(shortened) <= 1
        for whole, part in shortened:
            assert len(whole) - len(part) == remove
            ends = part[-stride:] if stride else []
            starts = part[:stride]
            assert cut == (ends + whole[len(part) :] if side == "right" else whole[:remove] + starts)
        if not shortened:
            assert cut == []


def test_overflowing_tokens_of_a_call(tokenizer):
    ids = list(range(10, 20))
    row = tokenizer.encode_plus(ids, max_length=6, truncation=True, stride=2, return_overflowing_tokens=True)
    assert (row.input_ids, row.overflowing_tokens, row.num_truncated_tokens) == (
        [CLS, 10, 11, 12, 13, SEP], [12, 13, 14, 15, 16, 17, 18, 19], 6
    )  # fmt: skip
    batch = tokenizer.batch_encode_plus(
        [(ids, [30]), ([40], [50, 51])], max_length=8, truncation="only_first", return_overflowing_tokens=True
    )
    assert batch.overflowing_tokens == [[14, 15, 16, 17, 18, 19], []]
    assert batch.num_truncated_tokens == [6, -2]
    with pytest.raises(
        ValueError, match="return_overflowing_tokens goes with truncation='only_first' or 'only_second'"
    ):
        tokenizer("a", "b", max_length=4, truncation=True, return_overflowing_tokens=True)
    assert tokenizer("a", return_overflowing_tokens=True).num_truncated_tokens == 0
    with pytest.raises(
        ValueError, match="overflowing_tokens: sequences of 0 to 6 tokens do not make one array: do not ask"
    ):
        tokenizer.batch_encode_plus(
            [(ids, [30]), ([40], [50, 51])], max_length=8, truncation="only_first", padding="max_length",
            return_overflowing_tokens=True, return_tensors="np",
        )  # fmt: skip


def test_keep_and_overflow():
    tokens = list("abcdef")
    assert keep(tokens, 2, "right") == ["a", "b"]
    assert keep(tokens, 2, "left") == ["e", "f"]
    assert keep(tokens, 0, "left") == keep(tokens, 0, "right") == []
    assert keep(tokens, 9, "left") == tokens
    assert overflow(tokens, 2, 1, "right") == list("bcdef")
    assert overflow(tokens, 2, 1, "left") == list("abcde")
    assert overflow(tokens, 2, 9, "left") == overflow(tokens, 2, 9, "right") == tokens
    assert overflow(tokens, 6, 0, "left") == overflow(tokens, 6, 0, "right") == []


# --- what is returned ---


def test_only_what_is_asked_for(model, tokenizer):
    names = {"input_ids", "token_type_ids", "attention_mask"}
    assert set(tokenizer("a")) == names
    assert set(tokenizer("a", return_token_type_ids=False, return_attention_mask=False)) == {"input_ids"}
    everything = {"return_special_tokens_mask": True, "return_length": True, "return_overflowing_tokens": True}
    assert set(tokenizer("a", **everything)) == names | {
        "special_tokens_mask", "length", "overflowing_tokens", "num_truncated_tokens"
    }  # fmt: skip
    few = RemBertTokenizer(model, model_input_names=["input_ids"])
    assert set(few("a")) == set(few(["a", "b"])) == {"input_ids"}
    assert set(few("a", return_attention_mask=True)) == {"input_ids", "attention_mask"}
    assert tokenizer("the", padding="max_length", max_length=9, return_length=True).length == 9
    assert tokenizer(["the"], padding="max_length", max_length=9, return_length=True).length == [3]  # before padding
    with pytest.raises(NotImplementedError, match="RemBertTokenizerFast"):
        tokenizer("the", return_offsets_mapping=True)
    with pytest.raises(
        TypeError, match="'return_offset_mapping' is no option of a tokenizer; there are add_special_tokens, "
    ):
        tokenizer("the", return_offset_mapping=True)


def test_labels_from_a_target(tokenizer):
    both = tokenizer("the people", text_target="people")
    assert both.labels == tokenizer("people").input_ids
    assert both.input_ids == tokenizer("the people").input_ids
    assert tokenizer(text_target="people") == tokenizer("people")
    assert tokenizer("a", text_target="b", text_pair_target="c").labels == tokenizer("b", "c").input_ids
    with pytest.raises(ValueError, match="a text is needed, in text or in text_target"):
        tokenizer()


def test_tensors(tokenizer):
    torch = pytest.importorskip("torch", reason="PyTorch is optional")
    lists = tokenizer(["the people", "the"], padding=True)
    tensors = tokenizer(["the people", "the"], padding=True, return_tensors="pt")
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == dict(lists)
    assert all(tensor.dtype == torch.int64 for tensor in tensors.values())
    assert tokenizer("the", return_tensors="pt").input_ids.shape == (1, 3)
    assert tokenizer.encode("the", return_tensors="pt").tolist() == [tokenizer.encode("the")]
    padded = tokenizer.pad([{"input_ids": torch.tensor([7, 8])}, {"input_ids": torch.tensor([9])}])
    assert isinstance(padded.input_ids, torch.Tensor)
    assert padded.input_ids.tolist() == [[7, 8], [9, PAD]]
    assert tokenizer.decode(torch.tensor(tokenizer.encode("the people"))) == "the people"
    for kind, maker in (("tf", "tf.constant"), ("jax", "jax.numpy.array")):
        with pytest.raises(ValueError, match=f"'{kind}' is not built in: take 'np' and give each array to {maker}"):
            tokenizer("the", return_tensors=kind)
    with pytest.raises(ValueError, match="return_tensors must be None, 'np' or 'pt', got 'list'"):
        tokenizer("the", return_tensors="list")


def test_tensors_without_pytorch(model):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from minirembert import RemBertTokenizer\n"
        f"tokenizer = RemBertTokenizer({str(model)!r})\n"
        "assert tokenizer('the', return_tensors='np').input_ids.shape == (1, 3)\n"
        "try: tokenizer('the', return_tensors='pt')\n"
        "except ImportError as error: assert 'needs PyTorch, which is not installed' in str(error)\n"
        "else: raise SystemExit('no error')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_where_tokens_came_from(tokenizer):
    pair = tokenizer("the people", "nations")
    ids = pair.sequence_ids()
    assert ids == [None, 0, 0, None, *[1] * (len(ids) - 5), None]
    assert tokenizer("the", add_special_tokens=False).sequence_ids() == [0]
    assert (pair.n_sequences, tokenizer("the").n_sequences, tokenizer("").n_sequences) == (2, 1, 1)
    cut = tokenizer([("the people", "nations")], truncation="only_first", max_length=len(ids) - 1)
    assert cut.sequence_ids(0) == [None, 0, None, *[1] * (len(ids) - 5), None]
    assert pair.encodings is None
    assert not pair.is_fast
    for method in (pair.tokens, lambda: pair[0], lambda: pair.token_to_chars(1), lambda: pair.char_to_token(0)):
        with pytest.raises(ValueError, match="needs an encoding of a fast tokenizer, RemBertTokenizerFast"):
            method()
    with pytest.raises(IndexError, match="sequence_ids: there is no row 1 in an encoding of 1"):
        pair.sequence_ids(1)
    batch = tokenizer(["the", "people", "nations"])
    assert batch[1:] == {name: values[1:] for name, values in batch.items()}
    assert BatchEncoding({"input_ids": [[1]]}, origins=[Origin((1,), (None,), True)]).n_sequences == 1
    assert BatchEncoding({"input_ids": [[1]]}).n_sequences is None


def test_limits_of_the_model(model, caplog):
    tokenizer = RemBertTokenizer(model, model_max_length=5)
    assert (tokenizer.max_len_single_sentence, tokenizer.max_len_sentences_pair) == (3, 2)
    for _ in range(2):
        assert len(tokenizer.encode("the people of the nations")) > 5
    assert caplog.text.count("longer than the model's limit of 5 tokens") == 1
    caplog.clear()
    quiet = RemBertTokenizer(model, model_max_length=5)
    quiet.encode("the people of the nations", verbose=False)
    quiet.encode("the people of the nations", max_length=7, verbose=False)
    assert not caplog.records


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"max_length": 4, "truncation": True, "padding": True, "pad_to_multiple_of": 3},
            ValueError,
            "of 3, got 4|= 3, got 4",
        ),
        ({"pad_to_multiple_of": 0}, ValueError, "pad_to_multiple_of must be at least 1, got 0"),
        ({"stride": -1}, ValueError, "stride must be at least 0, got -1"),
        ({"max_length": 2.5}, TypeError, "max_length must be an integer, got float 2.5"),
        ({"max_length": True}, TypeError, "max_length must be an integer, got bool True"),
    ],
)
def test_options_that_make_no_sense(tokenizer, options, error, message):
    for call in (tokenizer, tokenizer.encode, lambda text, **given: tokenizer.batch_encode_plus([text], **given)):
        with pytest.raises(error, match=message):
            call("the", **options)
    with pytest.raises(error, match=message):
        tokenizer.prepare_for_model([7], **options)


def test_special_tokens_in_a_text_may_be_text(model, tokenizer):
    as_text = tokenizer.sp_model.encode("the [MASK]", out_type=str)
    assert tokenizer.tokenize("the [MASK]", split_special_tokens=True) == as_text != tokenizer.tokenize("the [MASK]")
    split = RemBertTokenizer(model, split_special_tokens=True)
    assert split.tokenize("the [MASK]") == as_text
    assert split.encode("the [MASK]") == tokenizer.encode("the [MASK]", split_special_tokens=True)
    assert split.encode("the [MASK]", split_special_tokens=False) == tokenizer.encode("the [MASK]")
    assert split.tokenize("[MASK]", split_special_tokens=False) == ["[MASK]"]
    assert split.tokenize("[MASK]") == tokenizer.sp_model.encode("[MASK]", out_type=str) != ["[MASK]"]


def test_tokenize_with_a_pair_and_special_tokens(tokenizer):
    assert tokenizer.tokenize("the people", "of", add_special_tokens=True) == tokenizer.convert_ids_to_tokens(
        tokenizer.encode("the people", "of")
    )
    assert tokenizer.tokenize("the", "people") == ["▁the", "▁people"]
    assert tokenizer.tokenize("the", add_special_tokens=True) == ["[CLS]", "▁the", "[SEP]"]
