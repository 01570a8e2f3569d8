"""NumPy's integers and truth values are taken by a tokenizer wherever Python's are, with the same result in Python's types."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_models import small_model

from minirembert import AutoTokenizer, RemBertTokenizer, RemBertTokenizerFast
from minirembert.tokenization.added_tokens import AddedToken
from minirembert.tokenization.encoding import BatchEncoding
from minirembert.tokenization.training import train_tokenizer

INTEGERS = (np.int64, np.int32, np.uint8)
COUNTS = {"max_length": [6, 12], "stride": [0, 1], "pad_to_multiple_of": [None, 3]}
FLAGS = ("add_special_tokens", "return_token_type_ids", "return_attention_mask", "return_special_tokens_mask", "return_length",
         "verbose", "split_special_tokens", "return_overflowing_tokens", "padding")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("scalars")
    (path / "sentencepiece.model").write_bytes(small_model())
    RemBertTokenizer(path / "sentencepiece.model").save_pretrained(path)
    return path


@pytest.fixture(params=[RemBertTokenizer, RemBertTokenizerFast])
def made(request, folder) -> Any:
    """A tokenizer of the test's own."""
    return request.param.from_pretrained(folder)


@pytest.fixture(scope="module", params=[RemBertTokenizer, RemBertTokenizerFast])
def tokenizer(request, folder) -> Any:
    return request.param.from_pretrained(folder)


def of_numpy(value: Any, integer: Any = np.int64) -> Any:
    """The same with NumPy's scalars."""
    if isinstance(value, bool):
        return np.bool_(value)
    return integer(value) if isinstance(value, int) else value


options = st.fixed_dictionaries(
    {},
    optional={name: st.sampled_from(values) for name, values in COUNTS.items()}
    | {name: st.booleans() for name in FLAGS},
)


@given(options, st.sampled_from(INTEGERS), st.sampled_from(["the people of the people", ["the", "the people"]]))
def test_options_of_a_call(tokenizer, options, integer, text):
    given = {**options, "truncation": True}
    given.setdefault("max_length", 12)
    if given.get("pad_to_multiple_of"):
        given["max_length"] = 12
    expected = tokenizer(text, **given)
    found = tokenizer(text, **{name: of_numpy(value, integer) for name, value in given.items()})
    assert json.dumps(dict(found)) == json.dumps(dict(expected))


@given(st.lists(st.integers(0, 255), max_size=8), st.sampled_from(INTEGERS), st.booleans(), st.booleans())
def test_ids(tokenizer, ids, integer, skip, spaces):
    theirs = [integer(i) for i in ids]
    flags = {
        "skip_special_tokens": skip,
        "spaces_between_special_tokens": spaces,
        "clean_up_tokenization_spaces": not skip,
    }
    other = {name: np.bool_(flag) for name, flag in flags.items()}
    assert (
        tokenizer.decode(theirs, **other)
        == tokenizer.decode(np.array(ids, integer), **other)
        == tokenizer.decode(ids, **flags)
    )
    assert tokenizer.batch_decode([theirs, theirs[:1]], **other) == tokenizer.batch_decode([ids, ids[:1]], **flags)
    assert tokenizer.convert_ids_to_tokens(theirs, np.bool_(skip)) == tokenizer.convert_ids_to_tokens(ids, skip)
    for one, index in zip(theirs, ids, strict=True):
        assert tokenizer.convert_ids_to_tokens(one) == tokenizer.convert_ids_to_tokens(index)
        assert tokenizer.decode(one) == tokenizer.decode(index)
    pair = (ids, ids[:2]), (theirs, np.array(ids[:2], integer))
    for name in ("build_inputs_with_special_tokens", "get_special_tokens_mask", "create_token_type_ids_from_sequences",
                 "prepare_for_model", "truncate_sequences"):  # fmt: skip
        expected, found = (getattr(tokenizer, name)(*sides) for sides in pair)
        assert json.dumps(found) == json.dumps(expected), name
    again = tokenizer.get_special_tokens_mask(theirs, already_has_special_tokens=np.True_)
    assert again == tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)
    padded = [tokenizer.pad({"input_ids": [row, row[:1]]}, padding=flag, max_length=n, pad_to_multiple_of=m)
              for row, flag, n, m in ((ids, True, 9, 3), (theirs, np.True_, integer(9), integer(3)))]  # fmt: skip
    assert json.dumps(padded[1]) == json.dumps(padded[0])


def test_lists_of_ids_in_a_call(folder):
    slow = RemBertTokenizer.from_pretrained(folder)
    assert slow.encode(list(np.array([5, 6]))) == slow.encode([5, 6])
    with pytest.raises(ValueError, match="a text, a list of tokens or a list of ids is needed"):
        slow.encode([True, False])
    cut = slow.truncate_sequences([5, 6, 7], None, np.int64(1), stride=np.int32(1))
    assert json.dumps(cut) == json.dumps(slow.truncate_sequences([5, 6, 7], None, 1, stride=1))


def test_settings(made, tmp_path):
    """What is set can be written into JSON."""
    kind = type(made)
    files = {"vocab_file": made.vocab_file}
    switches = {"do_lower_case": np.False_, "keep_accents": np.True_, "remove_space": np.True_,
                "clean_up_tokenization_spaces": np.False_, "split_special_tokens": np.True_}  # fmt: skip
    tokens = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    tokenizer = kind(**files, **tokens, **switches, model_max_length=np.int64(9))
    tokenizer.add_tokens([AddedToken("<a>", lstrip=np.True_, normalized=np.False_, single_word=np.bool_(0))], np.False_)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<b>"]}, replace_additional_special_tokens=np.False_)
    tokenizer.save_pretrained(tmp_path, legacy_format=None)
    again = kind.from_pretrained(tmp_path)
    for name, value in {**switches, "model_max_length": 9}.items():
        assert getattr(tokenizer, name) == getattr(again, name) == value
        assert (
            type(getattr(tokenizer, name))
            is type(getattr(again, name))
            is (int if name == "model_max_length" else bool)
        )
    assert again.added_tokens_decoder == tokenizer.added_tokens_decoder
    made.model_max_length = np.float32(7.5)
    assert (type(made.model_max_length), made.model_max_length) == (int, 7)
    made.split_special_tokens = np.True_
    assert made.split_special_tokens is True
    made.pad_token_id = np.int64(2)
    assert made.pad_token == "[UNK]"
    made.additional_special_tokens_ids = np.array([3, 4])
    assert made.additional_special_tokens == ["[SEP]", "[MASK]"]
    decoder = {np.int64(made.vocab_size): AddedToken("<c>"), str(made.vocab_size + 1): AddedToken("<d>")}
    assert kind(**files, **tokens, added_tokens_decoder=decoder).convert_tokens_to_ids(["<c>", "<d>"]) == [
        made.vocab_size, made.vocab_size + 1
    ]  # fmt: skip
    assert made.num_special_tokens_to_add(np.True_) == 3
    assert type(AutoTokenizer.from_pretrained(tmp_path, use_fast=np.False_)) is RemBertTokenizer


def test_places_in_an_encoding(folder):
    encoding = RemBertTokenizerFast.from_pretrained(folder)(["the people", "the"])
    assert encoding[np.int64(1)].ids == encoding[1].ids
    assert encoding.tokens(np.int64(1)) == encoding.tokens(1)
    for row, position in ((0, 1), (1, 1)):
        places = (np.int64(row), np.int32(position))
        assert encoding.token_to_chars(*places) == encoding.token_to_chars(row, position)
        assert encoding.char_to_token(*places) == encoding.char_to_token(row, position)
        assert encoding.word_to_tokens(np.int64(row), np.int64(0)) == encoding.word_to_tokens(row, 0)
    for axis in (False, True):
        arrays = BatchEncoding({"input_ids": [5, 6]}).convert_to_tensors("np", prepend_batch_axis=np.bool_(axis))
        assert arrays.input_ids.shape == ((1, 2) if axis else (2,))


def test_a_tokenizer_is_trained(tmp_path):
    (tmp_path / "en.txt").write_text("the people of the people\nnew people\n" * 30, encoding="utf-8")
    plain = train_tokenizer(tmp_path / "en.txt", 18, tmp_path / "plain", max_sentences=50)
    numbers = {"character_coverage": np.float64(0.9995), "alpha": np.float64(0.5), "seed": np.int64(0)}
    other = train_tokenizer(
        tmp_path / "en.txt", np.int64(18), tmp_path / "other", max_sentences=np.int64(50), **numbers
    )
    assert other.get_vocab() == plain.get_vocab()


@pytest.mark.parametrize("name", FLAGS[:-1])
def test_a_switch_that_is_neither_true_nor_false(tokenizer, name):
    for wrong in ("no", 1, np.int64(1), 0.0):
        with pytest.raises(TypeError, match=f"{name} must be True or False, got "):
            tokenizer("the", **{name: wrong})
    assert tokenizer("the", **{name: None}) == tokenizer("the")


def test_what_is_no_integer_and_no_switch(tokenizer):
    for call, message in [
        (
            lambda: tokenizer("the", truncation=True, max_length=np.float64(4)),
            "max_length must be an integer, got float64",
        ),
        (lambda: tokenizer("the", truncation=True, max_length=np.True_), "max_length must be an integer, got bool"),
        (lambda: tokenizer("the", stride=np.float32(1)), "stride must be an integer"),
        (
            lambda: tokenizer.decode([5], skip_special_tokens="no"),
            "skip_special_tokens must be True or False, got 'no'",
        ),
        (lambda: tokenizer.decode([np.float32(5)]), "an id must be an integer"),
        (lambda: tokenizer.decode([np.True_]), "an id must be an integer"),
        (
            lambda: tokenizer.convert_ids_to_tokens(5, skip_special_tokens=1),
            "skip_special_tokens must be True or False",
        ),
        (lambda: tokenizer.prepare_for_model([5.5]), "an id must be an integer, got float 5.5"),
        (lambda: tokenizer.build_inputs_with_special_tokens(5), "a list of ids is needed, got 5"),
        (lambda: tokenizer.add_tokens(["x"], special_tokens="yes"), "special_tokens must be True or False, got 'yes'"),
        (lambda: tokenizer.save_pretrained("nowhere", legacy_format="no"), "legacy_format must be True or False"),
        (lambda: AddedToken("x", lstrip="yes"), "lstrip of the token 'x' must be True or False, got 'yes'"),
        (lambda: setattr(tokenizer, "pad_token_id", 1.7), "pad_token_id must be an integer, got 1.7"),
        (lambda: setattr(tokenizer, "split_special_tokens", "no"), "split_special_tokens must be True or False"),
        (lambda: setattr(tokenizer, "model_max_length", np.True_), "model_max_length must be a number"),
    ]:
        with pytest.raises(TypeError, match=message):
            call()
    with pytest.raises(ValueError, match=r"an id must be an integer, got 1\.7"):
        RemBertTokenizer(tokenizer.vocab_file, added_tokens_decoder={1.7: AddedToken("<c>")})
    assert not Path("nowhere").exists()
