"""RemBertTokenizer against SentencePiece itself, against the rules of transformers 4.34's slow tokenizer written out
here once more in the plainest way, and against the installed transformers where that one is right."""

import copy
import itertools
import logging
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_texts import TEXTS, write_files

from minirembert import RemBertTokenizer
from minirembert.tokenization.lengths import kept_lengths
from minirembert.tokenization.training import train_tokenizer

PAD, CLS, UNK, SEP, MASK = range(5)
SPECIALS = ["[PAD]", "[CLS]", "[UNK]", "[SEP]", "[MASK]"]
ODD = [
    *SPECIALS, "[", "]", "[MA", "[mask]", "［MASK］", "<unk>", "▁", "⁇", "▅", "\x00", "\x85", "\u200b", "\u200d", "\ufeff",
    "\ufffd", "\u2028", "\u3000", "\t", "\n", "  ", "👩‍👩‍👧", "❤️", "🇩🇪", "か\u3099", "ệ", "ﬁ", "㌀", "ＡＢ", "İ", "Σ", "ß",
    "\U0010ffff", "\ue000", "``", "''", " n't", " .",
]  # fmt: skip
WORDS = [word for text in TEXTS.values() for word in text.split()]

more = settings(max_examples=6 * settings.default.max_examples)
texts = st.lists(st.sampled_from(WORDS) | st.sampled_from(ODD) | st.just(" ") | st.text(max_size=4), max_size=8).map(
    "".join
)  # st.text draws from all of Unicode, but no surrogates
plain_texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(write_files(path / "texts"), 260, path / "saved")
    return path / "saved"


@pytest.fixture(scope="module")
def tokenizer(folder) -> RemBertTokenizer:
    return RemBertTokenizer.from_pretrained(folder)


# --- text to tokens ---


def split_on_specials(text: str, specials: list[str]) -> list[str]:
    """Leftmost, then longest: looks at every place in turn."""
    parts, start = [""], 0
    while start < len(text):
        found = max((s for s in specials if text.startswith(s, start)), key=len, default=None)
        if found is None:
            parts[-1] += text[start]
            start += 1
        else:
            parts += [found, ""]
            start += len(found)
    return parts


def expected_tokens(tokenizer: RemBertTokenizer, text: str) -> list[str]:
    parts = split_on_specials(text, SPECIALS)
    encode = tokenizer.sp_model.encode_as_pieces
    return [token for i, part in enumerate(parts) for token in ([part] if i % 2 else encode(part))]


@more
@given(texts)
def test_tokens_are_sentencepieces_between_literal_specials(tokenizer, text):
    tokens = tokenizer.tokenize(text)
    assert tokens == expected_tokens(tokenizer, text)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert ids == [tokenizer.sp_model.piece_to_id(token) for token in tokens]
    assert tokenizer.convert_tokens_to_ids(tokens) == ids
    assert tokenizer(text).input_ids == tokenizer.encode(text) == [CLS, *ids, SEP]
    if not any(special in text for special in SPECIALS):
        theirs = tokenizer.sp_model.encode_as_ids(text)
        assert ids == theirs or UNK in theirs


@more
@given(st.lists(texts, min_size=1, max_size=6))
def test_a_batch_is_its_texts_one_by_one(tokenizer, batch):
    encoding = tokenizer(batch)
    assert encoding == {name: [tokenizer(text)[name] for text in batch] for name in encoding}
    many = batch * (300 // len(batch) + 1)  # goes through SentencePiece's threads
    assert tokenizer(many).input_ids == encoding.input_ids * (len(many) // len(batch))


@pytest.mark.parametrize("text", ["", " ", "\t\n \u3000", "\u200b"])
def test_text_without_tokens(tokenizer, text):
    assert tokenizer.tokenize(text) == []
    assert tokenizer(text) == {"input_ids": [CLS, SEP], "token_type_ids": [0, 0], "attention_mask": [1, 1]}
    assert tokenizer(text, add_special_tokens=False).input_ids == []


def test_each_stretch_between_specials_gets_its_own_prefix(tokenizer):
    x, y = tokenizer.tokenize("people"), tokenizer.tokenize("war")
    assert x[0].startswith("▁")
    assert y[0].startswith("▁")
    assert tokenizer.tokenize("people[MASK]war") == [*x, "[MASK]", *y]
    assert tokenizer.tokenize(" people [MASK]\twar ") == [*x, "[MASK]", *y]  # nothing is left of the spaces
    assert tokenizer.tokenize("[MASK][MASK] ") == ["[MASK]", "[MASK]"]
    assert tokenizer.encode("[PAD][UNK][CLS]") == [CLS, PAD, UNK, CLS, SEP]
    assert "[MASK]" not in tokenizer.tokenize("[mask] [ MASK] [MASK")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("☃☃ ☃", ["▁", "☃☃", "▁", "☃"]),  # neighbours become one piece, not over a space
        ("\x00", ["▁", "\x00"]),
        ("\x85\ue000", ["▁", "\x85\ue000"]),
        ("👩‍👩‍👧", ["▁", "👩‍👩‍👧"]),  # joiners stay
        ("☃\u200b☃\ufffd☃", ["▁", "☃", "▁", "☃", "▁", "☃"]),  # these two are spaces
        ("☃\x07☃", ["▁", "☃☃"]),  # a control character is nothing
        ("％", ["▁", "%"]),  # NFKC
    ],
)
def test_unknown_characters(tokenizer, text, tokens):
    assert tokenizer.tokenize(text) == tokens
    prefix = tokenizer.convert_tokens_to_ids("▁")
    assert tokenizer(text, add_special_tokens=False).input_ids == [prefix if t == "▁" else UNK for t in tokens]


def test_an_unknown_stretch_that_spells_a_control_piece_is_that_piece(tmp_path):
    """SentencePiece gives it the unknown id. Hugging Face looks it up, and NFKC makes "[MASK]" of the wide letters."""
    (tmp_path / "ru.txt").write_text((TEXTS["ru"] + "\n") * 3, encoding="utf-8")
    tokenizer = train_tokenizer(tmp_path / "ru.txt", 32, tmp_path / "saved")
    text = "люди ［MASK］"
    assert tokenizer.tokenize(text)[-2:] == ["▁", "[MASK]"]
    assert tokenizer.encode(text)[-2] == tokenizer([text] * 300).input_ids[-1][-2] == MASK
    assert tokenizer.sp_model.encode(text)[-1] == UNK


def test_lower_case_goes_character_by_character_around_specials(folder, tokenizer):
    lower = RemBertTokenizer.from_pretrained(folder, do_lower_case=True)
    assert lower.tokenize("THE People[MASK]WÜRDE") == tokenizer.tokenize("the people[MASK]würde")
    assert lower.tokenize("ΑΣ") == ["▁", "ασ"]  # "ΑΣ".lower() is "ας"
    assert lower.encode(["THE WAR"]) == tokenizer.encode(["THE WAR"])  # ready tokens are not text


def test_text_must_be_valid_text(tokenizer):
    for call in (tokenizer.tokenize, tokenizer, lambda text: tokenizer([text])):
        with pytest.raises(ValueError, match=r"not valid Unicode: character 1 is '\\ud800'"):
            call("a\ud800b")
    for wrong in (None, 5, b"bytes", ["ok", 5], ["ok", None], [b"bytes"], {"a": 1}):
        with pytest.raises(ValueError, match="a text"):
            tokenizer(wrong)
    with pytest.raises(ValueError, match="a text is needed, got bytes"):
        tokenizer.tokenize(b"bytes")


# --- tokens to text ---


@more
@given(plain_texts)
def test_round_trip(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(np.array(ids), skip_special_tokens=True) == text
    assert tokenizer.convert_tokens_to_string(tokenizer.tokenize(text)) == text
    assert tokenizer.batch_decode([ids, ids[:1]]) == [text, ""]


@more
@given(texts)
def test_decoding_is_sentencepieces(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.convert_tokens_to_ids(tokenizer.convert_ids_to_tokens(ids)) == ids
    pieces = [tokenizer.sp_model.id_to_piece(i) for i in ids]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == tokenizer.sp_model.decode_pieces(pieces)
    shown = tokenizer.convert_ids_to_tokens(ids, skip_special_tokens=True)
    assert shown == [piece for piece in pieces if piece not in SPECIALS]


def test_specials_vanish_in_text_and_the_unknown_token_shows(tokenizer):
    people = tokenizer.encode("people", add_special_tokens=False)
    assert tokenizer.decode([CLS, *people, MASK, UNK, SEP, PAD]) == "people ⁇ "
    assert tokenizer.decode([CLS, *people, MASK, UNK, SEP, PAD], skip_special_tokens=True) == "people"
    assert tokenizer.convert_tokens_to_string(["▁", "th", "[MASK]", "☃", "▁", "a"]) == "th☃ a"
    assert tokenizer.decode([]) == ""
    assert tokenizer.decode(MASK) == "[MASK]"  # but decode([MASK]) is "": so it is in 4.34


def test_clean_up(folder):
    untidy = "it 's n't . ? ! , ' a 'm 've 're ; ."

    class Untidy(RemBertTokenizer):
        def convert_tokens_to_string(self, tokens):
            return untidy

    assert Untidy.from_pretrained(folder).decode([1]) == "it'sn't.?!,'a'm've're ;."
    assert Untidy.from_pretrained(folder).decode([1], clean_up_tokenization_spaces=False) == untidy
    raw = Untidy.from_pretrained(folder, clean_up_tokenization_spaces=False)
    assert raw.batch_decode([[1]]) == [untidy]
    assert raw.batch_decode([[1]], clean_up_tokenization_spaces=True) != [untidy]


def test_ids_and_tokens_one_at_a_time(tokenizer):
    assert tokenizer.convert_tokens_to_ids("[MASK]") == MASK
    assert tokenizer.convert_tokens_to_ids("") == tokenizer.convert_tokens_to_ids("no such piece") == UNK
    assert tokenizer.convert_ids_to_tokens(MASK) == tokenizer.convert_ids_to_tokens(np.int64(MASK)) == "[MASK]"
    assert tokenizer.convert_ids_to_tokens(np.array([0, 4])) == ["[PAD]", "[MASK]"]
    for wrong in (-1, 260, [4, 260]):
        with pytest.raises(IndexError, match=r"id (-1|260) is not in the vocabulary of 260 tokens"):
            tokenizer.convert_ids_to_tokens(wrong)
    with pytest.raises(IndexError, match="id 260"):
        tokenizer.decode([260])


def test_the_vocabulary(tokenizer):
    model = tokenizer.sp_model
    assert [model.id_to_piece(i) for i in range(5)] == SPECIALS
    assert [model.is_control(i) for i in range(5)] == [True, True, False, True, True]
    assert model.is_unknown(UNK)
    assert not any(model.is_control(i) or model.is_byte(i) for i in range(5, 260))
    assert len(tokenizer) == tokenizer.vocab_size == len(tokenizer.get_vocab()) == 260
    ids = [tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.unk_token_id, tokenizer.sep_token_id]
    assert [*ids, tokenizer.mask_token_id] == [0, 1, 2, 3, 4]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (CLS, SEP)
    assert tokenizer.all_special_tokens == ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"]
    assert tokenizer.all_special_ids == [CLS, SEP, UNK, PAD, MASK]


# --- inputs for the model ---


def test_special_tokens_around_sequences(tokenizer):
    a, b = [10, 11, 12], [20, 21]
    assert tokenizer.build_inputs_with_special_tokens(a) == [CLS, 10, 11, 12, SEP]
    assert tokenizer.build_inputs_with_special_tokens(a, b) == [CLS, 10, 11, 12, SEP, 20, 21, SEP]
    assert tokenizer.build_inputs_with_special_tokens([], []) == [CLS, SEP, SEP]
    assert tokenizer.get_special_tokens_mask(a) == [1, 0, 0, 0, 1]
    assert tokenizer.get_special_tokens_mask(a, b) == [1, 0, 0, 0, 1, 0, 0, 1]
    finished = [CLS, 10, MASK, PAD, UNK, SEP, CLS]
    assert tokenizer.get_special_tokens_mask(finished, already_has_special_tokens=True) == [1, 0, 0, 0, 0, 1, 1]
    with pytest.raises(ValueError, match="You should not supply a second sequence"):
        tokenizer.get_special_tokens_mask(a, b, already_has_special_tokens=True)
    assert tokenizer.create_token_type_ids_from_sequences(a) == [0] * 5
    assert tokenizer.create_token_type_ids_from_sequences(a, b) == [0, 0, 0, 0, 0, 1, 1, 1]
    assert (tokenizer.num_special_tokens_to_add(), tokenizer.num_special_tokens_to_add(pair=True)) == (2, 3)
    assert a == [10, 11, 12]


@more
@given(texts, texts)
def test_pairs(tokenizer, first, second):
    a, b = (tokenizer(text, add_special_tokens=False).input_ids for text in (first, second))
    encoding = tokenizer(first, second)
    assert encoding.input_ids == tokenizer.build_inputs_with_special_tokens(a, b)
    assert encoding.token_type_ids == tokenizer.create_token_type_ids_from_sequences(a, b)
    assert encoding.attention_mask == [1] * (len(a) + len(b) + 3)
    assert tokenizer.encode(first, second) == encoding.input_ids
    bare = tokenizer(first, second, add_special_tokens=False)
    assert (bare.input_ids, bare.token_type_ids) == (a + b, [0] * len(a + b))
    batch = {name: [values] * 2 for name, values in encoding.items()}
    assert tokenizer([first] * 2, [second] * 2) == tokenizer([(first, second)] * 2) == batch
    assert tokenizer((first, second)).input_ids == [tokenizer.encode(first), tokenizer.encode(second)]  # no pair


def test_ready_tokens_and_ids(tokenizer):
    assert tokenizer.encode(["▁", "[MASK]", "no piece"]) == [CLS, tokenizer.convert_tokens_to_ids("▁"), MASK, UNK, SEP]
    assert tokenizer.encode([7, np.int64(8)], [9]) == [CLS, 7, 8, SEP, 9, SEP]


def test_padding(tokenizer):
    short, long = tokenizer.encode("war"), tokenizer.encode("the people of the")
    gap = len(long) - len(short)
    assert gap > 0
    batch = ["war", "the people of the"]
    for padding in (True, "longest"):
        encoding = tokenizer(batch, padding=padding)
        assert encoding.input_ids == [short + [PAD] * gap, long]
        assert encoding.attention_mask == [[1] * len(short) + [0] * gap, [1] * len(long)]
        assert encoding.token_type_ids == [[0] * len(long)] * 2
    assert tokenizer(batch, padding="do_not_pad") == tokenizer(batch)
    assert tokenizer("war", padding=True).input_ids == short
    assert tokenizer("war", padding="max_length", max_length=9).input_ids == short + [PAD] * (9 - len(short))
    assert tokenizer.encode("war", padding="max_length", max_length=9) == short + [PAD] * (9 - len(short))
    assert tokenizer(batch, padding="max_length", max_length=3).input_ids == [short, long]  # pads, does not cut
    pair = tokenizer([("war", "war"), ("war", "the people of the")], padding=True)
    assert pair.token_type_ids[0] == [0] * len(short) + [1] * (len(short) - 1) + [0] * gap


def test_the_padding_id_is_looked_up(folder):
    tokenizer = RemBertTokenizer.from_pretrained(folder, pad_token="[MASK]")
    assert tokenizer("", padding="max_length", max_length=4).input_ids == [CLS, SEP, MASK, MASK]
    assert tokenizer("", padding="max_length", max_length=4).attention_mask == [1, 1, 0, 0]


@more
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5), st.booleans(), st.booleans())
def test_arrays_are_the_padded_lists(tokenizer, pairs, add_special_tokens, pair):
    batch = pairs if pair else [first for first, _ in pairs]
    lists = tokenizer(batch, padding=True, add_special_tokens=add_special_tokens)
    arrays = tokenizer(batch, padding=True, add_special_tokens=add_special_tokens, return_tensors="np")
    assert set(arrays) == {"input_ids", "token_type_ids", "attention_mask"}
    for name, array in arrays.items():
        assert (array.dtype, array.tolist()) == (np.int64, lists[name])


def test_one_text_as_arrays_is_a_batch_of_one(tokenizer):
    encoding = tokenizer("war", return_tensors="np")
    assert encoding.input_ids.tolist() == [tokenizer.encode("war")]
    with pytest.raises(ValueError, match=r"sequences of 2 to \d+ tokens do not make one array: pass padding=True"):
        tokenizer(["", "the war"], return_tensors="np")


def cut_as_transformers_does(first, second, excess, strategy):
    """truncate_sequences of transformers 4.34 on lists, without its messages."""
    if strategy == "only_first" or (strategy == "longest_first" and second is None):
        return (first[:-excess] if len(first) > excess > 0 else first), second
    if strategy == "longest_first":
        for _ in range(max(0, excess)):
            if len(first) > len(second):
                first = first[:-1]
            else:
                second = second[:-1]
    if strategy == "only_second" and second is not None and len(second) > excess > 0:
        second = second[:-excess]
    return first, second


STRATEGIES = ["longest_first", "only_first", "only_second", "do_not_truncate"]


@more
@given(
    st.lists(st.integers(5, 259), min_size=1, max_size=9),
    st.none() | st.lists(st.integers(5, 259), min_size=1, max_size=9),
    st.integers(1, 24),
    st.sampled_from(STRATEGIES),
    st.booleans(),
)
def test_truncation(tokenizer, first, second, max_length, strategy, add_special_tokens):
    special = (2 if second is None else 3) if add_special_tokens else 0
    excess = len(first) + len(second or []) + special - max_length
    a, b = cut_as_transformers_does(first, second, excess, strategy)
    expected = tokenizer.build_inputs_with_special_tokens(a, b) if add_special_tokens else a + (b or [])
    options = {"truncation": strategy, "max_length": max_length, "add_special_tokens": add_special_tokens}
    assert tokenizer.encode(first, second, **options) == expected


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_kept_lengths(strategy):
    for first, second, excess in itertools.product(range(6), [None, *range(6)], range(-1, 13)):
        a, b = cut_as_transformers_does([0] * first, None if second is None else [0] * second, excess, strategy)
        expected = (len(a), None if b is None else len(b))
        assert kept_lengths(first, second, excess, strategy) == expected, (first, second, excess)


def test_longest_first_takes_from_the_second_of_two_equal_sides(tokenizer):
    assert kept_lengths(8, 14, 8 + 14 + 3 - 12, "longest_first") == (5, 4)
    assert tokenizer.encode([8] * 8, [9] * 14, truncation=True, max_length=12) == [CLS, *[8] * 5, SEP, *[9] * 4, SEP]
    assert tokenizer.encode([8] * 8, [9] * 14, truncation=True, max_length=1) == [CLS, SEP, SEP]


def test_truncation_that_would_leave_nothing_logs_and_cuts_nothing(tokenizer, caplog):
    whole = tokenizer.encode("the war")
    assert tokenizer.encode("the war", truncation=True, max_length=2) == whole
    assert "not truncated" in caplog.text
    assert f"the first sequence has only {len(whole) - 2}" in caplog.text
    pair = tokenizer.encode("the war", "war")
    assert tokenizer.encode("the war", "war", truncation="only_second", max_length=3) == pair
    assert "the second sequence has only" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert tokenizer.encode("the war", truncation=True, max_length=3) == [*whole[:2], SEP]


def test_max_length_alone_cuts_and_warns_once(folder, caplog):
    tokenizer = RemBertTokenizer.from_pretrained(folder)
    for _ in range(2):
        assert len(tokenizer.encode("the people of the", max_length=4)) == 4
    assert caplog.text.count("say truncation=True") == 1
    whole = tokenizer.encode("the people of the")
    for options in ({"truncation": False}, {"padding": True}):
        assert tokenizer("the people of the", max_length=4, **options).input_ids == whole


def test_without_any_limit_nothing_is_cut_or_padded(folder, caplog):
    tokenizer = RemBertTokenizer.from_pretrained(folder)
    whole = tokenizer.encode("the people")
    assert tokenizer.encode("the people", truncation=True, padding="max_length") == whole
    assert "not padded" in caplog.text
    assert "not truncated" in caplog.text
    limited = RemBertTokenizer.from_pretrained(folder, model_max_length=4)
    assert limited.encode("the people of", truncation=True) == [*limited.encode("the people of")[:3], SEP]
    assert limited.encode("", padding="max_length") == [CLS, SEP, PAD, PAD]
    assert limited.encode("the people of the", max_length=5, truncation=True)[4] == SEP  # the call's own wins


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([],), {}, "the batch is empty"),
        (([],), {"is_split_into_words": True}, "a text or a list of words is needed, got list"),
        (([["war"], []],), {"is_split_into_words": True}, "a text or a list of words is needed, got list"),
        (([["war", 5]],), {"is_split_into_words": True}, "a text is needed, got int 5"),
        ((["a", "b"], "c"), {}, "text_pair must be a list as long as text: 2 expected, got str"),
        ((["a"], ["b", "c"]), {}, "text_pair must be a list as long as text: 1 expected, got 2"),
        (([["a", "b", "c"]],), {}, "a list of 3 is neither .*is_split_into_words=True"),
        (("a",), {"truncation": "nonsense"}, "nonsense is not a valid TruncationStrategy, please select one of"),
        (("a",), {"padding": "nonsense"}, "nonsense is not a valid PaddingStrategy, please select one of"),
        (("a",), {"max_length": 0}, "max_length must be at least 1, got 0"),
    ],
)
def test_calls_that_make_no_sense(tokenizer, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        tokenizer(*arguments, **options)
    if "is_split_into_words" not in options and isinstance(arguments[0], str):
        with pytest.raises(ValueError, match=message):
            tokenizer.encode(*arguments, **options)


@more
@given(st.lists(st.lists(texts, min_size=1, max_size=5), min_size=1, max_size=4), st.integers(3, 20))
def test_words(tokenizer, sentences, max_length):
    pieces = [[tokenizer(word, add_special_tokens=False).input_ids for word in words] for words in sentences]
    encoding = tokenizer(sentences, is_split_into_words=True)
    assert encoding.input_ids == [[CLS, *itertools.chain(*row), SEP] for row in pieces]
    for i, row in enumerate(pieces):
        assert encoding.word_ids(i) == [None, *(n for n, word in enumerate(row) for _ in word), None]
        assert tokenizer(sentences[i], is_split_into_words=True).word_ids() == encoding.word_ids(i)

    cut = tokenizer(
        sentences, is_split_into_words=True, truncation=True, padding=True, max_length=max_length, return_tensors="np"
    )
    for i in range(len(sentences)):
        words = encoding.word_ids(i)
        kept = words if len(words) <= max_length else [*words[: max_length - 1], None]
        assert cut.word_ids(i) == kept + [None] * (cut.input_ids.shape[1] - len(kept))
        first_of_word = {}
        for position, word in enumerate(cut.word_ids(i)):
            first_of_word.setdefault(word, position)
        for word, position in first_of_word.items():
            if word is not None:
                assert cut.input_ids[i, position] == pieces[i][word][0]


def test_words_of_pairs_and_of_nothing(tokenizer):
    encoding = tokenizer(["war", " ", "war"], ["war"], is_split_into_words=True)
    n = len(tokenizer.encode("war", add_special_tokens=False))
    assert encoding.word_ids() == [None, *[0] * n, *[2] * n, None, *[0] * n, None]
    batch = tokenizer([["war"]], [["war", "war"]], is_split_into_words=True)
    assert batch == tokenizer([(["war"], ["war", "war"])], is_split_into_words=True)
    assert batch.word_ids(0) == [None, *[0] * n, None, *[0] * n, *[1] * n, None]
    with pytest.raises(ValueError, match="is_split_into_words=True"):
        tokenizer("war").word_ids()
    with pytest.raises(IndexError, match="no row 1"):
        encoding.word_ids(1)


def test_an_encoding_is_a_dictionary_with_attributes(tokenizer):
    encoding = tokenizer("war", is_split_into_words=False)
    assert encoding["input_ids"] is encoding.input_ids
    assert dict(**encoding) == encoding
    for same in (copy.deepcopy(encoding), pickle.loads(pickle.dumps(tokenizer(["war"], is_split_into_words=True)))):
        assert same.input_ids == encoding.input_ids
    with pytest.raises(AttributeError, match="no 'labels', only input_ids, token_type_ids, attention_mask"):
        _ = encoding.labels


# --- others ---


def test_importing_minirembert_does_not_import_sentencepiece():
    code = "import sys, minirembert; assert 'sentencepiece' not in sys.modules; minirembert.RemBertTokenizer"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_against_the_installed_transformers(folder, tokenizer):
    """Version 5 has a fast tokenizer only. It agrees on text without what the specification lists: doubled quotes,
    space at the edges and before special tokens, control pieces in text, long compositions, ties between segmentations.
    """
    transformers = pytest.importorskip("transformers", reason="it is compared with")
    theirs = transformers.RemBertTokenizer.from_pretrained(folder)
    assert theirs.all_special_ids == tokenizer.all_special_ids
    rng = np.random.default_rng(0)
    known = [*WORDS, "☃", "snow☃man", "ﬁne", "％", "people[MASK]war", "[MASK]"]
    for _ in range(300):
        text = " ".join(rng.choice(known, rng.integers(1, 8)))
        text = text.replace(" [", "[")  # a space before a special token is one of the differences
        assert theirs(text)["input_ids"] == tokenizer(text).input_ids, text
