"""What one part of a tokenizer hands to the next, in cases so small that each expected value is worked out by hand."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentencepiece import sentencepiece_model_pb2
from tokenizer_models import REMBERT, USER_DEFINED, small_model

from minirembert import AutoTokenizer, RemBertTokenizer, RemBertTokenizerFast
from minirembert.tokenization import candidates
from minirembert.tokenization.added_tokens import AddedToken
from minirembert.tokenization.encoding import BatchEncoding
from minirembert.tokenization.fast_sentencepiece import read_sentencepiece

PAD, CLS, UNK, SEP, MASK = range(5)
SANE: dict[str, Any] = {"do_lower_case": False, "keep_accents": True, "unk_token": "[UNK]", "pad_token": "[PAD]"}
SPACE = "\u2581"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "sentencepiece.model"
    path.write_bytes(small_model())
    return path


@pytest.fixture
def slow(model) -> RemBertTokenizer:
    return RemBertTokenizer(model)


@pytest.fixture
def fast(model) -> RemBertTokenizerFast:
    return RemBertTokenizerFast(model, **SANE)


@pytest.fixture(params=["slow", "fast"])
def either(request) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def the(model) -> int:
    """The id of "the", which is one token, as are "people" and "united"."""
    return RemBertTokenizer(model).convert_tokens_to_ids("▁the")


# --- tokens and their flags ---


def test_a_token_that_becomes_special_is_normalised_no_more(slow, fast):
    """Unless it says itself that it is."""
    for tokenizer in (slow, fast):
        tokenizer.add_special_tokens(
            {"additional_special_tokens": [AddedToken("<A>"), AddedToken("<B>", normalized=True)]}
        )
        a, b = list(tokenizer.added_tokens_decoder.values())[-2:]
        assert (a.content, a.special, a.normalized) == ("<A>", True, False)
        assert (b.content, b.special, b.normalized) == ("<B>", True, True)


def test_added_tokens_get_the_ids_that_they_are_given(model):
    """In whatever order they are named: the library of the fast one gives out ids one after the other."""
    size = RemBertTokenizer(model).vocab_size
    decoder = {size + 1: AddedToken("<b>"), size: AddedToken("<a>")}
    for tokenizer in (
        RemBertTokenizer(model, added_tokens_decoder=decoder),
        RemBertTokenizerFast(model, added_tokens_decoder=decoder, **SANE),
    ):
        assert tokenizer.encode("<a><b>") == [CLS, size, size + 1, SEP]
        assert list(tokenizer.added_tokens_decoder)[-2:] == [size, size + 1]


def test_mere_texts_take_the_white_space_with_them(slow, model):
    """Those that the slow one is given as additional or under a name; U+0085 is white space that SentencePiece keeps."""
    text = "the\x85<x>\x85the"
    made = RemBertTokenizer(model, additional_special_tokens=["<x>"])
    assert made.tokenize(text) == ["▁the", "<x>", "▁the"]
    slow.add_special_tokens({"cls_token": "<x>"})
    assert slow.tokenize(text) == ["▁the", "<x>", "▁the"]
    apart = RemBertTokenizer(model, additional_special_tokens=[AddedToken("<x>")])
    assert apart.tokenize(text) == ["▁the", "\x85", "<x>", "▁", "\x85", "the"]
    slow.mask_token = "▁the"
    mask = slow.special_tokens_map_extended["mask_token"]
    assert mask == AddedToken("▁the", lstrip=True, rstrip=True, special=True)


def test_added_tokens_are_lowered_where_text_is(model):
    """Unless they say that they are not normalised."""
    for kind, settings in ((RemBertTokenizer, {}), (RemBertTokenizerFast, SANE)):
        tokenizer = kind(model, **{**settings, "do_lower_case": True})
        size = tokenizer.vocab_size
        tokenizer.add_tokens(["NEW", AddedToken("OLD", normalized=False)])
        assert list(tokenizer.get_added_vocab().items())[-2:] == [("new", size), ("OLD", size + 1)]
        assert tokenizer.encode("New") == tokenizer.encode("new") == [CLS, size, SEP]
        file = kind(model, **{**settings, "do_lower_case": True}, added_tokens_decoder={size: AddedToken("NEW")})
        assert file.encode("NEW") == [CLS, size, SEP]  # a file's tokens stay as they are
        found = kind is RemBertTokenizerFast  # the slow one lowers such a token's text, too, as 4.34 does
        assert (size + 1 in tokenizer.encode("OLD"), size + 1 in tokenizer.encode("old")) == (found, False)


def test_what_a_tokenizer_says_of_its_tokens_is_the_callers(either):
    either.add_special_tokens({"additional_special_tokens": ["<x>"]})
    for handed_out in (
        either.get_vocab, either.get_added_vocab, lambda: either.special_tokens_map_extended["additional_special_tokens"],
        lambda: either.special_tokens_map["additional_special_tokens"], lambda: either.additional_special_tokens,
        lambda: either.all_special_tokens_extended, lambda: either.added_tokens_decoder,
    ):  # fmt: skip
        before = handed_out()
        handed_out().clear()
        assert handed_out() == before and before


def test_what_a_reader_holds_is_not_written_to(either):
    """A call that runs meanwhile has the tables as they were when it began."""
    either.add_special_tokens({"additional_special_tokens": ["<x>"]})
    held = either._tables
    as_it_was = copy.deepcopy(held)
    either.add_special_tokens({"additional_special_tokens": ["<y>"], "mask_token": "<m>"}, False)
    either.add_tokens(["<z>"])
    assert held == as_it_was
    assert either.additional_special_tokens == ["<x>", "<y>"]


def test_of_two_special_tokens_with_one_text_the_first_is_told(model):
    first, last = AddedToken("<x>", lstrip=True, special=True), AddedToken("<x>", rstrip=True, special=True)
    tokenizer = RemBertTokenizer(model, bos_token=first, cls_token=last)
    assert [token for token in tokenizer.all_special_tokens_extended if token.content == "<x>"] == [first]
    assert tokenizer.special_tokens_map_extended["cls_token"] == last


def test_each_option_of_decoding_a_batch(either, the):
    """By itself, and the same as for one text."""
    either.add_tokens([AddedToken("<x>")])
    ids = [the, len(either) - 1, the, *either.convert_tokens_to_ids(["▁", "."])]
    for options, text in [
        ({}, "the <x> the."),
        ({"clean_up_tokenization_spaces": False}, "the <x> the ."),
        ({"clean_up_tokenization_spaces": True}, "the <x> the."),
        ({"spaces_between_special_tokens": False}, "the<x>the."),
        ({"skip_special_tokens": True}, "the <x> the."),
    ]:
        assert either.decode(ids, **options) == text
        assert either.batch_decode([ids, [the]], **options) == [text, "the"]
    either.clean_up_tokenization_spaces = False
    assert either.batch_decode([ids]) == ["the <x> the ."]
    unknown = {RemBertTokenizer: "the ⁇ ", RemBertTokenizerFast: "the[UNK]"}[type(either)]
    assert either.batch_decode([[the, UNK]]) == [unknown]
    assert either.batch_decode([[the, UNK]], skip_special_tokens=True) == ["the"]


# --- lists into arrays ---


def test_numbers_beside_half_precision_tensors(slow):
    """A plain number counts as PyTorch's default, float32; of two tensors' types the wider one is taken."""
    half, double = torch.tensor([0.5], dtype=torch.float16), torch.tensor([0.1], dtype=torch.float64)
    for labels, dtype, values in [
        ([half, [0.1]], torch.float32, [[0.5], [0.1]]),
        ([half, double], torch.float64, [[0.5], [0.1]]),
        ([half, half], torch.float16, [[0.5], [0.5]]),
    ]:
        rows = [{"input_ids": [7], "labels": label} for label in labels]
        found = slow.pad(rows, return_tensors="pt")["labels"]
        assert found.dtype == dtype
        assert torch.equal(found, torch.tensor(values, dtype=dtype))


def test_integers_up_to_the_largest_of_64_bits(slow):
    rows = [{"input_ids": [7], "labels": 0}, {"input_ids": [8], "labels": 2**64 - 1}]
    found = slow.pad(rows, return_tensors="np")["labels"]
    assert (found.dtype, found.tolist()) == (np.uint64, [0, 2**64 - 1])


def test_arrays_are_padded_with_the_padding_token(model, the):
    """Whatever its id, on either side, and the same as the lists."""
    for kind, settings in ((RemBertTokenizer, {}), (RemBertTokenizerFast, SANE)):
        for side in ("right", "left"):
            tokenizer = kind(model, **{**settings, "pad_token": "[MASK]"}, padding_side=side)
            text, gap = [CLS, the, the, SEP], [MASK]
            short = [CLS, the, SEP]
            ids = [text, short + gap if side == "right" else gap + short]
            mask = [[1] * 4, [1, 1, 1, 0] if side == "right" else [0, 1, 1, 1]]
            special = [[1, 0, 0, 1], [1, 0, 1, 1] if side == "right" else [1, 1, 0, 1]]
            for tensors in (None, "np"):
                asked = {"padding": True, "return_tensors": tensors, "return_special_tokens_mask": True}
                found = {n: np.asarray(v).tolist() for n, v in tokenizer(["the the", "the"], **asked).items()}
                assert found == {
                    "input_ids": ids, "token_type_ids": [[0] * 4] * 2, "attention_mask": mask, "special_tokens_mask": special
                }  # fmt: skip


# --- what a call returns ---


def test_arrays_stay_what_they_are():
    narrow = np.array([[1, 2]], dtype=np.int32)
    assert BatchEncoding({"labels": narrow}, tensor_type="np")["labels"] is narrow
    alone = BatchEncoding({"input_ids": [1, 2]}, tensor_type="np", prepend_batch_axis=True)
    assert alone["input_ids"].tolist() == [[1, 2]]


def test_rows_and_sides_are_those_that_are_asked_for(fast):
    """Three rows of two sides each; every answer is that of one row and one side alone."""
    encoding = fast([("people the", "united"), ("united", "the people united"), ("the", "people")], padding=True)
    rows = [
        ["[CLS]", "▁people", "▁the", "[SEP]", "▁united", "[SEP]", "[PAD]"],
        ["[CLS]", "▁united", "[SEP]", "▁the", "▁people", "▁united", "[SEP]"],
        ["[CLS]", "▁the", "[SEP]", "▁people", "[SEP]", "[PAD]", "[PAD]"],
    ]
    assert [encoding.tokens(row) for row in range(3)] == rows
    assert [encoding.tokens(row) for row in range(-3, 0)] == rows
    assert encoding.tokens() == rows[0]
    assert [encoding.sequence_ids(row) for row in (1, -1)] == [
        [None, 0, None, 1, 1, 1, None], [None, 0, None, 1, None, None, None]
    ]  # fmt: skip
    assert [encoding.word_ids(row) for row in (0, -2)] == [
        [None, 0, 1, None, 0, None, None], [None, 0, None, 0, 1, 2, None]
    ]  # fmt: skip
    assert [encoding.words(row) for row in range(3)] == [encoding.word_ids(row) for row in range(3)]
    assert encoding.token_type_ids == [[0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0, 0]]
    # A token, by its place in a row, which is the first where none is named; negative ones count from the row's end.
    assert [encoding.token_to_word(1, i) for i in range(7)] == [None, 0, None, 0, 1, 2, None]
    assert [encoding.token_to_word(1, i - 7) for i in range(7)] == [None, 0, None, 0, 1, 2, None]
    assert [encoding.token_to_word(i) for i in range(7)] == [None, 0, 1, None, 0, None, None]
    assert [encoding.token_to_sequence(1, i) for i in range(7)] == [None, 0, None, 1, 1, 1, None]
    assert [encoding.token_to_sequence(1, i) for i in (-2, -6)] == [1, 0]
    assert [encoding.token_to_chars(1, i) for i in range(7)] == [None, (0, 6), None, (0, 3), (3, 10), (10, 17), None]
    # Words and characters, by their side.
    assert [encoding.word_to_tokens(1, word, sequence_index=1) for word in range(3)] == [(3, 4), (4, 5), (5, 6)]
    assert (encoding.word_to_tokens(1, 0), encoding.word_to_tokens(1, 1), encoding.word_to_tokens(1)) == (
        (1, 2), None, (2, 3)
    )  # fmt: skip
    assert [encoding.word_to_chars(1, word, sequence_index=1) for word in range(3)] == [(0, 3), (3, 10), (10, 17)]
    assert (encoding.word_to_chars(1, 0), encoding.word_to_chars(0, 0)) == ((0, 6), (0, 6))
    text = "the people united"
    assert [encoding.char_to_token(1, at, sequence_index=1) for at in (0, 2, 4, 9, 11)] == [3, 3, 4, 4, 5]
    assert [encoding.char_to_word(1, at, sequence_index=1) for at in (0, 2, 4, 9, 11)] == [0, 0, 1, 1, 2]
    assert len(text) == 17 and encoding.char_to_token(1, 17, sequence_index=1) is None
    assert (encoding.char_to_token(1, 1), encoding.char_to_token(7), encoding.char_to_word(7)) == (1, 2, 1)
    assert (encoding.char_to_word(0), encoding.char_to_word(1, 0)) == (0, 0)
    assert fast("the", add_special_tokens=False).char_to_token(0) == 0  # the first of all is one, too


def test_the_list_of_encodings_is_the_encodings_own(fast):
    rows = list(fast(["the", "of"]).encodings)
    encoding = BatchEncoding({"input_ids": [[1], [2]]}, encodings=rows)
    rows.clear()
    assert len(encoding.encodings) == 2


# --- calls ---


def test_pad_keeps_a_mask_and_fills_to_a_multiple(slow):
    padded = slow.pad({"input_ids": [[7, 8, 9], [7]], "attention_mask": [[1, 0, 1], [0]]}, pad_to_multiple_of=4)
    assert padded == {
        "input_ids": [[7, 8, 9, PAD], [7, PAD, PAD, PAD]], "attention_mask": [[1, 0, 1, 0], [0, 0, 0, 0]]
    }  # fmt: skip


@pytest.mark.parametrize("kind", [RemBertTokenizer, RemBertTokenizerFast])
def test_only_what_is_too_long_for_the_model_is_told(model, kind, caplog):
    tokenizer = kind(model, model_max_length=5, **(SANE if kind is RemBertTokenizerFast else {}))
    tokenizer(["the people united", "the"])
    assert not caplog.records  # five tokens with [CLS] and [SEP]
    tokenizer(["the people united the", "the"])
    assert caplog.text.count("longer than the model's limit of 5 tokens") == 1


@pytest.mark.parametrize("kind", [RemBertTokenizer, RemBertTokenizerFast])
def test_a_call_takes_the_settings_of_its_tokenizer(model, the, kind):
    """The limit, either side and what is returned, each by itself."""
    usual = SANE if kind is RemBertTokenizerFast else {}
    (people,) = kind(model, **usual).convert_tokens_to_ids(["▁people"])

    def call(*texts: Any, asked: Any = None, **settings: Any) -> Any:
        return dict(kind(model, **usual, **settings)(*texts, **asked or {}))

    cut = call("people the the", asked={"truncation": True}, model_max_length=4)
    assert cut["input_ids"] == [CLS, people, the, SEP]
    cut = call("people the the", asked={"truncation": True}, model_max_length=4, truncation_side="left")
    assert cut["input_ids"] == [CLS, the, the, SEP]
    cut = call("the people", "the", asked={"truncation": "only_first", "max_length": 5}, truncation_side="left")
    assert cut["input_ids"] == [CLS, people, SEP, the, SEP]
    filled = call("the", asked={"padding": "max_length"}, model_max_length=4)
    assert filled["input_ids"] == [CLS, the, SEP, PAD]
    filled = call("the", asked={"padding": "max_length"}, model_max_length=4, padding_side="left")
    assert filled["input_ids"] == [PAD, CLS, the, SEP]
    assert kind(model, **usual, model_max_length=1).model_max_length == 1
    for name in ("token_type_ids", "attention_mask"):
        names = ["input_ids", name]
        tokenizer = kind(model, **usual, model_input_names=names)
        names.append("more")  # the caller's own list
        assert tokenizer.model_input_names == list(tokenizer("the")) == ["input_ids", name]


@pytest.mark.parametrize("name", ["padding_side", "truncation_side"])
def test_either_side_is_saved_by_itself(model, tmp_path, name):
    for kind, settings in ((RemBertTokenizer, {}), (RemBertTokenizerFast, SANE)):
        kind(model, **settings, **{name: "left"}).save_pretrained(tmp_path)
        again = kind.from_pretrained(tmp_path)
        sides = {"padding_side": again.padding_side, "truncation_side": again.truncation_side}
        assert sides == {"padding_side": "right", "truncation_side": "right"} | {name: "left"}


def test_switches_that_a_file_leaves_empty_are_off(model, tmp_path):
    RemBertTokenizer(model).save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    names = ("clean_up_tokenization_spaces", "do_lower_case", "keep_accents", "remove_space")
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | dict.fromkeys(names)), encoding="utf-8")
    tokenizer = RemBertTokenizer.from_pretrained(tmp_path)
    assert [getattr(tokenizer, name) for name in names] == [False] * 4


def test_special_tokens_of_an_old_folder_are_not_normalised(model, tmp_path):
    """Where added_tokens.json has no flags: those with a name are special, others take the white space around them."""
    RemBertTokenizer(model).save_pretrained(tmp_path)
    size = RemBertTokenizer(model).vocab_size
    (tmp_path / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"mask_token": "<m>"}), encoding="utf-8")
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<m>": size, "<x>": size + 1}), encoding="utf-8")
    added = RemBertTokenizer.from_pretrained(tmp_path).added_tokens_decoder
    assert added[size] == AddedToken("<m>", normalized=False, special=True)
    assert added[size + 1] == AddedToken("<x>", lstrip=True, rstrip=True)


def test_an_empty_second_text_is_a_second_text(either):
    assert either.tokenize("the", "", add_special_tokens=True) == ["[CLS]", "▁the", "[SEP]", "[SEP]"]
    assert either("the", "").input_ids == either.convert_tokens_to_ids(["[CLS]", "▁the", "[SEP]", "[SEP]"])


def test_words_where_one_side_is_a_text(slow):
    encoding = slow.encode_plus(["the", "people"], "the", is_split_into_words=True)
    assert encoding.word_ids() == [None, 0, 1, None, None, None]
    assert encoding.sequence_ids() == [None, 0, 0, None, 1, None]


def test_words_that_are_left_keep_their_numbers(model):
    for kind, settings in ((RemBertTokenizer, {}), (RemBertTokenizerFast, SANE)):
        for side, left in (("right", [0, 1]), ("left", [1, 2])):
            tokenizer = kind(model, **settings, truncation_side=side)
            asked = {"is_split_into_words": True, "truncation": True, "max_length": 4}
            assert tokenizer([["the", "people", "united"]], **asked).word_ids() == [None, *left, None]


def test_numbers_of_numpy_become_arrays_of_it(slow):
    found = slow.pad({"input_ids": [np.int64(7), np.int64(8)]})["input_ids"]
    assert (type(found), found.tolist()) == (np.ndarray, [7, 8])


# --- candidates for pieces ---


def test_candidates_in_their_order():
    """Weights are counts times lengths, the heaviest first, equal ones by their characters; what occurs once is none."""
    assert candidates.candidate_pieces(["b ab", "ab c"]) == [
        ("▁ab", 2 * 3), ("ab", 2 * 2), ("▁", 4 * 1), ("▁a", 2 * 2), ("b", 3 * 1), ("a", 2 * 1)
    ]  # fmt: skip


def test_letters_digits_and_signs_stand_apart():
    """Signs from each other, too; only the first of a word has the space in front."""
    for word, found in [
        ("a--", {"▁": 2, "▁a": 4, "a": 2, "-": 4}),
        ("--a", {"▁": 2, "▁-": 4, "-": 4, "a": 2}),
        ("a12", {"▁": 2, "▁a": 4, "a": 2, "1": 2, "12": 4, "2": 2}),
        ("कि", {"▁": 2, "▁क": 4, "▁कि": 6, "क": 2, "कि": 4, "ि": 2}),
    ]:
        assert dict(candidates.candidate_pieces([f"{word} {word}"]) or []) == found


def test_how_many_words_are_too_many(monkeypatch):
    monkeypatch.setattr(candidates, "MOST_WORDS", 3)
    assert candidates.candidate_pieces(["a b", "c a"]) is not None
    assert candidates.candidate_pieces(["a b", "c d"]) is None


# --- the fast one's pipeline and files ---


def test_special_tokens_are_those_that_have_the_name(model, the):
    """[SEP] ends a text because it is `sep_token`, whatever `eos_token` is."""
    for kind, settings in ((RemBertTokenizer, {}), (RemBertTokenizerFast, SANE)):
        tokenizer = kind(model, **settings, eos_token="[MASK]", bos_token="[UNK]")
        assert tokenizer.encode("the", "the") == [CLS, the, SEP, the, SEP]


def test_pieces_of_a_user_win_whatever_they_score(tmp_path):
    proto = sentencepiece_model_pb2.ModelProto.FromString(small_model((*REMBERT, ("ofthe", USER_DEFINED))))
    next(piece for piece in proto.pieces if piece.piece == "ofthe").score = -50
    (tmp_path / "x.model").write_bytes(proto.SerializeToString())
    for tokenizer in (RemBertTokenizer(tmp_path / "x.model"), RemBertTokenizerFast(tmp_path / "x.model", **SANE)):
        assert tokenizer.tokenize("ofthe") == ["▁", "ofthe"]


def changed(fast: RemBertTokenizerFast, path: Path, change: Any) -> Path:
    """The tokenizer.json of `fast` with a change."""
    content = json.loads(fast.backend_tokenizer.to_str())
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_what_a_file_says_of_its_tokens_counts(fast, tmp_path):
    file = changed(fast, tmp_path / "x.json", lambda content: None)
    tokenizer = RemBertTokenizerFast(
        tokenizer_file=file, added_tokens_decoder={MASK: AddedToken("[MASK]", lstrip=True)}
    )
    assert not tokenizer.added_tokens_decoder[MASK].lstrip


def test_a_default_stands_where_the_file_has_it(model, tmp_path):
    """As a token that was added, too: then [PAD] is not asked for."""
    made = RemBertTokenizerFast(model, **{**SANE, "pad_token": "<pad>"})
    file = changed(made, tmp_path / "x.json", lambda content: None)
    assert RemBertTokenizerFast(tokenizer_file=file).pad_token == "<pad>"
    file = changed(RemBertTokenizerFast(model, **SANE), tmp_path / "y.json", lambda content: None)
    assert RemBertTokenizerFast(tokenizer_file=file).pad_token == "[PAD]"


def test_cutting_and_padding_of_a_file_are_dropped(model, tmp_path, fast):
    fast.backend_tokenizer.enable_padding(length=9)
    fast.backend_tokenizer.enable_truncation(3)
    file = changed(fast, tmp_path / "x.json", lambda content: None)
    assert json.loads(file.read_text("utf-8"))["padding"] and json.loads(file.read_text("utf-8"))["truncation"]
    backend = RemBertTokenizerFast(tokenizer_file=file).backend_tokenizer
    assert backend.padding is None and backend.truncation is None
    # Nor does a call leave its own in the folder.
    fast(["the", "people of"], padding=True, truncation=True, max_length=3)
    fast.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "tokenizer.json").read_text("utf-8"))
    assert saved["padding"] is None and saved["truncation"] is None


def test_special_tokens_are_skipped_whatever_normalises(fast, tmp_path, the):
    """A file's pipeline that keeps the spaces of a text is decoded by the library alone."""

    def change(content: Any) -> None:
        content["normalizer"] = None

    for tokenizer in (fast, RemBertTokenizerFast(tokenizer_file=changed(fast, tmp_path / "x.json", change))):
        assert tokenizer.decode([CLS, the, MASK, SEP], skip_special_tokens=True) == "the"
        assert tokenizer.decode([the, SEP]) == "the[SEP]"


@pytest.mark.parametrize("template", ["single", "pair"])
def test_no_template_may_add_the_first_id_that_there_is_not(fast, tmp_path, template):
    size = fast.vocab_size

    def change(content: Any) -> None:
        processor = content["post_processor"]
        processor["special_tokens"]["x"] = {"id": "x", "ids": [size], "tokens": ["x"]}
        processor[template].append({"SpecialToken": {"id": "x", "type_id": 0}})

    with pytest.raises(ValueError, match=f"adds the id {size}, outside its vocabulary of {size} tokens"):
        RemBertTokenizerFast(tokenizer_file=changed(fast, tmp_path / "x.json", change), **SANE)


def test_what_a_sentencepiece_file_leaves_out():
    """Its fields have defaults, which protobuf fills in; a negative number takes ten bytes."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(small_model())
    for piece in proto.pieces:
        if piece.type == piece.NORMAL:
            piece.ClearField("type")
    proto.trainer_spec.ClearField("model_type")
    proto.normalizer_spec.ClearField("add_dummy_prefix")
    proto.normalizer_spec.ClearField("remove_extra_whitespaces")
    proto.normalizer_spec.ClearField("escape_whitespaces")
    proto.trainer_spec.pad_id = -1
    proto.trainer_spec.unk_surface = "a piece behind the negative number"
    file = read_sentencepiece(proto.SerializeToString())
    assert [tuple(piece) for piece in file.pieces] == [(p.piece, p.score, p.type) for p in proto.pieces]
    assert file.pieces[10].kind == 1  # normal
    assert (file.model_type, file.unk_id) == (1, 2)
    assert (file.add_dummy_prefix, file.remove_extra_whitespaces, file.escape_whitespaces) == (True, True, True)
    assert file.treat_whitespace_as_suffix is False
    proto.pieces[0].type = proto.pieces[0].UNKNOWN
    with pytest.raises(ValueError, match="it has 2 pieces for unknown characters, not one"):
        read_sentencepiece(proto.SerializeToString())


def test_the_file_that_a_slow_one_writes_does_as_it_does(model, tmp_path, the):
    RemBertTokenizer(model, do_lower_case=True).save_pretrained(tmp_path)
    for file in ({"tokenizer_file": tmp_path / "tokenizer.json"}, {"vocab_file": model, **SANE, "do_lower_case": True}):
        assert RemBertTokenizerFast(**file).encode("THE", "tHE") == [CLS, the, SEP, the, SEP]


@pytest.mark.parametrize("prefix", [True, False])
def test_older_versions_are_told_of_the_space_in_front(tmp_path, prefix):
    proto = sentencepiece_model_pb2.ModelProto.FromString(small_model())
    proto.normalizer_spec.add_dummy_prefix = prefix
    (tmp_path / "x.model").write_bytes(proto.SerializeToString())
    RemBertTokenizerFast(tmp_path / "x.model", **SANE).save_pretrained(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    for part in ("pre_tokenizer", "decoder"):
        assert content[part]["add_prefix_space"] is prefix
        assert content[part]["prepend_scheme"] == ("always" if prefix else "never")


def test_pairs_of_lists_of_words(either):
    found = either([["the"]], [["people", "the"]], is_split_into_words=True)
    one = [either.convert_tokens_to_ids("▁the")]
    assert found.input_ids == [[CLS, *one, SEP, *either.convert_tokens_to_ids(["▁people"]), *one, SEP]]
    assert found.word_ids() == [None, 0, None, 0, 1, None]
    assert either([[["the"], ["people", "the"]]], is_split_into_words=True).input_ids == found.input_ids


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ((1, 1), {"max_length": 2}, "max_length 2 is too short for the 3 special tokens alone"),
        ((4,), {"max_length": 5, "stride": 3}, "stride 3 must be less than the 3 tokens that max_length 5 leaves"),
        ((4, 4), {"max_length": 6, "stride": 3}, "stride 3 must be less than the 3 tokens that max_length 6 leaves"),
        # Five tokens of two texts that are equally long: two of the first.
        ((4, 4), {"max_length": 8, "stride": 2}, "leaves 2 of the 4 tokens of the first text"),
        # Five of a text of six and one of three: two of the shorter.
        ((6, 3), {"max_length": 8, "stride": 2}, "leaves 2 of the 3 tokens of the second text"),
        ((3, 6), {"max_length": 8, "stride": 2}, "leaves 2 of the 3 tokens of the first text"),
    ],
)
def test_what_the_library_leaves_of_a_pair_is_told(fast, counts, options, message):
    with pytest.raises(ValueError, match=message):
        fast(*("the " * count for count in counts), truncation=True, **options)


# --- files ---


def test_ids_in_a_file_are_sorted_as_numbers(slow, tmp_path):
    slow.add_tokens(["<z>", "<a>"])
    slow.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    size = slow.vocab_size
    assert list(config["added_tokens_decoder"]) == ["0", "1", "2", "3", "4", str(size), str(size + 1)]


def test_a_file_that_would_speak_for_another_tokenizer_goes(model, tmp_path):
    """Of ids with a gap the fast one can know nothing, so its file must not stay."""
    RemBertTokenizer(model).save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").is_file()
    gap = RemBertTokenizer(model, added_tokens_decoder={RemBertTokenizer(model).vocab_size + 3: AddedToken("<x>")})
    paths = gap.save_pretrained(tmp_path)
    assert not (tmp_path / "tokenizer.json").exists()
    assert all(Path(path).is_file() for path in paths)


def test_the_older_of_two_names_for_additional_tokens_wins(slow, tmp_path):
    slow.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    settings = json.loads(path.read_text("utf-8"))
    both = {"additional_special_tokens": ["<a>"], "extra_special_tokens": ["<b>"]}
    path.write_text(json.dumps(settings | both), encoding="utf-8")
    assert RemBertTokenizer.from_pretrained(tmp_path).additional_special_tokens == ["<a>"]


# --- the folder that asks for a tokenizer ---


def test_a_model_that_names_no_type_may_be_of_ours(model, tmp_path):
    (tmp_path / "sentencepiece.model").write_bytes(model.read_bytes())
    for content in ("{}", '{"model_type": "rembert"}'):
        (tmp_path / "config.json").write_text(content, encoding="utf-8")
        assert type(AutoTokenizer.from_pretrained(tmp_path)) is RemBertTokenizer


def test_changes_reach_either_tokenizer(model, tmp_path):
    RemBertTokenizer(model).save_pretrained(tmp_path)
    for use_fast, kind in ((True, RemBertTokenizerFast), (False, RemBertTokenizer)):
        tokenizer = AutoTokenizer.from_pretrained(tmp_path, use_fast=use_fast, model_max_length=5)
        assert (type(tokenizer), tokenizer.model_max_length) == (kind, 5)


@pytest.mark.parametrize("name", ["TokenizersBackend", "PreTrainedTokenizerFast"])
def test_a_class_for_any_model_needs_the_template(fast, tmp_path, name):
    fast.save_pretrained(tmp_path, legacy_format=False)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": name}), encoding="utf-8")
    assert AutoTokenizer.from_pretrained(tmp_path).encode("") == [CLS, SEP]

    def change(content: Any) -> None:
        content["post_processor"] = None

    changed(fast, tmp_path / "tokenizer.json", change)
    with pytest.raises(ValueError, match=r"puts nothing around a text, not \[CLS\] \[SEP\]"):
        AutoTokenizer.from_pretrained(tmp_path)
