"""Wrong settings, ids, tokens, files and lengths: one sentence each, from the slow tokenizer and from the fast one."""

import copy
import itertools
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizer_models import small_model

from minirembert import AutoTokenizer, RemBertTokenizer, RemBertTokenizerFast
from minirembert.tokenization.fast_calls import require_room
from minirembert.tokenization.lengths import NO_LIMIT
from minirembert.tokenization.options import settle

SETTINGS = {"do_lower_case": False, "keep_accents": True, "unk_token": "[UNK]", "pad_token": "[PAD]"}
KINDS = [RemBertTokenizer, RemBertTokenizerFast]
PLACES_IN_SOURCE = ("src/", ".cc", "INTERNAL", "panic", "assertion", "Truncation error")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "sentencepiece.model"
    path.write_bytes(small_model())
    return path


@pytest.fixture(params=KINDS, ids=["slow", "fast"])
def tokenizer(request, model) -> Any:
    return request.param(model, **SETTINGS)


# --- settings ---


@pytest.mark.parametrize("name", ["padding_side", "truncation_side"])
def test_sides_that_are_none(tokenizer, model, name):
    for wrong in ("up", "", None, ["left"], 1):
        with pytest.raises(ValueError, match=f"{name} must be 'right' or 'left', got "):
            setattr(tokenizer, name, wrong)
        with pytest.raises(ValueError, match=f"{name} must be 'right' or 'left', got "):
            type(tokenizer)(model, **SETTINGS, **{name: wrong})
    assert getattr(tokenizer, name) == "right"
    setattr(tokenizer, name, "left")
    for other in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert getattr(other, name) == getattr(tokenizer, name) == "left"


def test_limits_that_are_none(tokenizer, model):
    for wrong, error in (
        ("x", TypeError),
        (True, TypeError),
        ([5], TypeError),
        (0, ValueError),
        (math.nan, ValueError),
    ):
        with pytest.raises(error, match="model_max_length must be "):
            tokenizer.model_max_length = wrong
        with pytest.raises(error, match="model_max_length must be "):
            type(tokenizer)(model, **SETTINGS, model_max_length=wrong)
    assert tokenizer.model_max_length == NO_LIMIT
    for given, kept in ((7, 7), (np.int64(3), 3), (5.0, 5), (math.inf, NO_LIMIT), (1e30, NO_LIMIT), (None, NO_LIMIT)):
        tokenizer.model_max_length = given
        assert (tokenizer.model_max_length, type(tokenizer.model_max_length)) == (kept, int)


# --- ids and tokens ---


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([1.5], "an id must be an integer, got float 1.5"),
        ([6, True], "an id must be an integer, got bool True"),
        ([6, None], "an id must be an integer, got NoneType None"),
        ([[5]], r"one list of ids is needed, got a list of lists, \[\[5\]\]; use batch_decode"),
        (np.array([[5, 6]]), r"one list of ids is needed, got a list of lists, \[\[5, 6\]\]; use batch_decode"),
        (np.array([5.0]), "an id must be an integer, got float 5.0"),
        (5.0, "an id, or a list of ids, is needed, got float 5.0"),
        ("abc", "an id, or a list of ids, is needed, got str 'abc'"),
        ({"input_ids": [5]}, "an id, or a list of ids, is needed, got dict "),
        (None, "an id, or a list of ids, is needed, got NoneType None"),
    ],
)
def test_ids_that_are_none(tokenizer, wrong, message):
    for function in (tokenizer.decode, tokenizer.convert_ids_to_tokens):
        with pytest.raises(TypeError, match=message):
            function(wrong)


def test_ids_of_every_kind(tokenizer):
    ids = tokenizer("people of").input_ids
    torch = pytest.importorskip("torch", reason="the other kind of arrays")
    for given in (
        tuple(ids),
        iter(ids),
        np.array(ids),
        list(np.array(ids)),
        torch.tensor(ids),
        list(torch.tensor(ids)),
    ):
        assert tokenizer.decode(given, skip_special_tokens=True) == "people of"
    for one in (ids[1], np.int32(ids[1]), np.array(ids[1]), torch.tensor(ids[1])):
        assert tokenizer.convert_ids_to_tokens(one) == "▁people"
    assert tokenizer.decode(np.array([])) == tokenizer.decode([]) == ""
    with pytest.raises(TypeError, match="a list of lists of ids is needed, got NoneType None"):
        tokenizer.batch_decode(None)


def test_tokens_that_are_none(tokenizer):
    for wrong, what in ((5, "int 5"), (None, "NoneType None"), (["▁the", 5], "int 5"), ([["▁the"]], "list ")):
        with pytest.raises(TypeError, match=f"a token, or a list of tokens, is needed, got {what}"):
            tokenizer.convert_tokens_to_ids(wrong)
    before = len(tokenizer)
    for wrong, what in ((["x"], "list "), ("x", "str 'x'"), (None, "NoneType None")):
        with pytest.raises(TypeError, match=rf"as in \{{'mask_token': '<mask>'\}}, got {what}"):
            tokenizer.add_special_tokens(wrong)
    assert len(tokenizer) == before


def test_lists_that_cannot_be_padded(tokenizer):
    for wrong in ("abc", 5, None, ["a"], [[5], "b"], [[5], [None]], [5, [6]], [1.5]):
        with pytest.raises(ValueError, match="pad needs lists of integers, got input_ids "):
            tokenizer.pad({"input_ids": wrong})
    with pytest.raises(ValueError, match="pad needs lists of integers, got attention_mask 'abc'"):
        tokenizer.pad({"input_ids": [[5], [6]], "attention_mask": "abc"})
    rows = {"input_ids": [[5], [6, 7]], "labels": ["a", None]}
    assert tokenizer.pad(rows).input_ids == [[5, tokenizer.pad_token_id], [6, 7]]
    assert tokenizer.pad(rows)["labels"] == rows["labels"]


# --- folders ---


def test_an_empty_name_is_no_folder(tokenizer, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="save_directory must be the name of a folder, got an empty one"):
        tokenizer.save_pretrained("")
    assert tokenizer.save_vocabulary("") is None
    assert "an empty name is not a folder" in caplog.text
    assert not list(tmp_path.iterdir())
    tokenizer.save_pretrained(".")
    assert (tmp_path / "sentencepiece.model").is_file()


def test_a_folder_that_has_a_fast_tokenizer_only(model, tmp_path):
    fast = RemBertTokenizerFast(model, **SETTINGS)
    fast.save_pretrained(tmp_path, legacy_format=False)
    message = "no sentencepiece.model, which RemBertTokenizer needs; RemBertTokenizerFast, or AutoTokenizer, reads "
    with pytest.raises(FileNotFoundError, match=message):
        RemBertTokenizer.from_pretrained(tmp_path)
    for kind in (RemBertTokenizerFast, AutoTokenizer):
        assert kind.from_pretrained(tmp_path)("people").input_ids == fast("people").input_ids


@pytest.mark.parametrize("name", ["sentencepiece.model", "tokenizer.json"])
def test_broken_files_are_named_once(model, tmp_path, name):
    RemBertTokenizer(model).save_pretrained(tmp_path)
    kind = RemBertTokenizer if name == "sentencepiece.model" else RemBertTokenizerFast
    good = (tmp_path / name).read_bytes()
    for content in (b"", b"nonsense", b"\xff" * 20, b"{}", good[:-500], good[: len(good) // 2]):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is not a ") as caught:
            kind.from_pretrained(tmp_path)
        message = str(caught.value)
        assert message.count(str(tmp_path)) == 1
        assert "\n" not in message
        assert not [part for part in PLACES_IN_SOURCE if part in message]


def test_a_broken_setting_names_the_folder(model, tmp_path):
    RemBertTokenizer(model).save_pretrained(tmp_path)
    for kind in KINDS:
        with pytest.raises(ValueError, match="padding_side must be 'right' or 'left', got 'up'") as caught:
            kind.from_pretrained(tmp_path, padding_side="up")
        assert str(caught.value).count(str(tmp_path)) == 1


# --- what the `tokenizers` library cannot cut ---

A = "the war of the people in the city and the old king of the land"
B = "people of the war and the city"


@pytest.mark.parametrize(
    ("first", "second", "options", "message"),
    [
        (A, A, {"max_length": 8, "stride": 2}, "stride 2 must be less than the tokens .*max_length 8 leaves 2 of the"),
        (
            A,
            B,
            {"max_length": 8, "stride": 4},
            "stride 4 must be less than the tokens .* leaves [234] of the .* the first",
        ),
        (
            A,
            B,
            {"truncation": "only_second", "max_length": 9},
            "cannot take .* max_length 9 asks, from a second text of",
        ),
        (
            A,
            "the",
            {"truncation": "only_first", "max_length": 8, "stride": 4},
            "stride 4 .* max_length 8 leaves 4 of the",
        ),
        (
            A,
            None,
            {"truncation": "only_second", "max_length": 8},
            "'only_second' needs a second text, and there is none",
        ),
    ],
)
def test_pairs_that_the_library_cannot_cut(model, capfd, first, second, options, message):
    """It panics over some of these, and says so on the error stream."""
    tokenizer = RemBertTokenizerFast(model, **SETTINGS)
    before = tokenizer(A, B).input_ids
    for texts in ((first, second), ([B, first], None if second is None else ["the", second])):
        with pytest.raises(ValueError, match=message) as caught:
            tokenizer(*texts, **{"truncation": True, **options})
        assert not [part for part in PLACES_IN_SOURCE if part in str(caught.value)]
    with pytest.raises(ValueError, match="not valid Unicode"):
        tokenizer("\ud800", "x", truncation=True, max_length=8, stride=2)
    assert capfd.readouterr().err == ""
    assert tokenizer(A, B).input_ids == before


def test_what_is_refused_is_what_the_library_cannot_cut(model, capfd):
    """Every length of two texts: the library gives an answer where `require_room` says nothing, and only there."""
    tokenizer = RemBertTokenizerFast(model, **SETTINGS)
    backend = tokenizer.backend_tokenizer
    refused = []
    for first, second, length, stride, strategy in itertools.product(
        range(5), (None, *range(5)), range(3, 10), range(4), ("longest_first", "only_first", "only_second")
    ):
        lengths, special = ([first], 2) if second is None else ([first, second], 3)
        if stride and stride >= length - special:
            continue  # refused before any text is looked at
        backend.enable_truncation(length, stride=stride, strategy=strategy)
        texts = ["the " * count for count in lengths]
        options = settle(tokenizer, {"truncation": strategy, "max_length": length, "stride": stride})
        refused.append(fails(require_room, lengths, special, options))
        assert refused[-1] == fails(backend.encode, *texts), (lengths, options)
        if stride and not refused[-1]:
            ids = tokenizer(*texts, truncation=strategy, max_length=length, stride=stride).input_ids
            assert len(ids) == min(length, sum(lengths) + special)
    assert 200 < sum(refused) < len(refused) - 200
    capfd.readouterr()  # what the panics printed


def fails(call: Any, *arguments: Any) -> bool:
    try:
        call(*arguments)
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            return True
        raise
    return False
