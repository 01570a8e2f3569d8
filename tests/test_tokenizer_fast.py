"""RemBertTokenizerFast by itself: how it is made, what it refuses, where characters went, and its files."""

import copy
import json
import pickle
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentencepiece import sentencepiece_model_pb2
from strings import SPECIALS, WORDS, generated_strings
from tokenizer_cases import MODELS, RENAMED
from tokenizer_models import REMBERT, UNUSED, USER_DEFINED, small_model

from minirembert.tokenization.added_tokens import AddedToken
from minirembert.tokenization.auto import AutoTokenizer
from minirembert.tokenization.fast import RemBertTokenizerFast
from minirembert.tokenization.fast_backend import tokenizer_json
from minirembert.tokenization.fast_sentencepiece import BYTE, read_sentencepiece
from minirembert.tokenization.tokenizer import RemBertTokenizer

SANE = {"do_lower_case": False, "keep_accents": True, "unk_token": "[UNK]", "pad_token": "[PAD]"}
TEXTS = generated_strings(400, seed=9)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "sentencepiece.model"
    path.write_bytes(small_model())
    return path


@pytest.fixture(scope="module")
def tokenizer(model) -> RemBertTokenizerFast:
    return RemBertTokenizerFast(model, **SANE)


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("saved")
    tokenizer.save_pretrained(path)
    return path


# --- how it is made ---


def test_the_defaults_lower_the_text_and_take_its_accents(model):
    """As transformers 4.34's class does, unlike its slow one. What it leaves of Korean is put together again here."""
    tokenizer = RemBertTokenizerFast(str(model), unk_token="[UNK]", pad_token="[PAD]")
    assert (tokenizer.do_lower_case, tokenizer.keep_accents, tokenizer.remove_space) == (True, False, True)
    sane = RemBertTokenizerFast(model, **SANE)
    for text, plain in [
        ("WÜRDE Ångström", "wurde angstrom"),
        ("[MASK] Señor", "[MASK] senor"),
        ("모든 인간은", "모든 인간은"),
    ]:
        assert tokenizer.tokenize(text) == sane.tokenize(plain)
    assert RemBertTokenizerFast(model, **{**SANE, "keep_accents": False}).tokenize("Señor") == sane.tokenize("Senor")


def test_defaults_outside_the_embeddings_are_refused(model, tmp_path):
    """Hugging Face's "<unk>" and "<pad>" would get the ids V and V + 1."""
    with pytest.raises(
        ValueError, match=r"unk_token '<unk>', the default, .*id 1052 or above.*pass unk_token='\[UNK\]'"
    ):
        RemBertTokenizerFast(model)
    with pytest.raises(ValueError, match=r"pad_token '<pad>', the default, .*pass pad_token='\[PAD\]'"):
        RemBertTokenizerFast(model, unk_token="[UNK]")
    with pytest.raises(ValueError, match="unk_token '<unk>'"):
        RemBertTokenizerFast.from_pretrained(model.parent)
    (tmp_path / "s.model").write_bytes(small_model(MODELS["renamed"]))
    fits = RemBertTokenizerFast(tmp_path / "s.model", cls_token="<cls>", sep_token="<sep>")
    assert (fits.pad_token_id, fits.unk_token_id) == (0, 1)


def test_tokens_that_are_asked_for_get_the_next_ids(model):
    tokenizer = RemBertTokenizerFast(model, **{**SANE, "pad_token": "<pad>", "mask_token": "<mask>"})
    assert (tokenizer.vocab_size, len(tokenizer)) == (1052, 1054)
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id) == (1052, 1053)
    batch = tokenizer(["people <mask>", ""], padding=True).input_ids
    assert batch[0][-2:] == [1053, tokenizer.sep_token_id]
    assert batch[1][-2:] == [1052, 1052]


@pytest.mark.parametrize("name", MODELS)
def test_special_ids_are_the_models_own(tmp_path, name):
    (tmp_path / "s.model").write_bytes(small_model(MODELS[name]))
    names = RENAMED if name == "renamed" else {}
    tokenizer = RemBertTokenizerFast(tmp_path / "s.model", **{**SANE, **names})
    slow = RemBertTokenizer(tmp_path / "s.model", **names)
    assert tokenizer.special_tokens_map == slow.special_tokens_map
    assert tokenizer.all_special_ids == slow.all_special_ids
    assert tokenizer.get_vocab() == slow.get_vocab()
    a, b = slow("people", "of"), tokenizer("people", "of")
    assert a.input_ids == b.input_ids == [slow.cls_token_id, *a.input_ids[1:-1], slow.sep_token_id]
    assert tokenizer("漢☃").input_ids.count(slow.sp_model.unk_id()) == 1
    assert (
        tokenizer.convert_tokens_to_ids("no piece") == slow.convert_tokens_to_ids("no piece") == slow.sp_model.unk_id()
    )
    assert tokenizer.build_inputs_with_special_tokens([7], [8]) == slow.build_inputs_with_special_tokens([7], [8])


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"needs a vocab_file \(sentencepiece.model\) or a tokenizer_file"):
        RemBertTokenizerFast()
    for arguments in ({"vocab_file": tmp_path / "none"}, {"tokenizer_file": tmp_path / "none"}):
        with pytest.raises(FileNotFoundError, match=r"_file .*none does not exist"):
            RemBertTokenizerFast(**arguments)
    with pytest.raises(FileNotFoundError, match=r"neither tokenizer.json nor sentencepiece.model is there"):
        RemBertTokenizerFast.from_pretrained(tmp_path)


# --- the SentencePiece file ---


def test_reading_the_model_as_protobuf_does():
    proto = sentencepiece_model_pb2.ModelProto.FromString(small_model((*REMBERT, ("x", USER_DEFINED), ("y", UNUSED))))
    proto.trainer_spec.treat_whitespace_as_suffix = True
    proto.normalizer_spec.remove_extra_whitespaces = False
    proto.trainer_spec.self_test_sample_size = 2**31 - 1  # an integer of five bytes
    file = read_sentencepiece(proto.SerializeToString())
    assert [tuple(piece) for piece in file.pieces] == [(p.piece, p.score, p.type) for p in proto.pieces]
    spec = proto.normalizer_spec
    assert file.charsmap == spec.precompiled_charsmap
    assert len(file.charsmap) > 100_000
    assert (file.add_dummy_prefix, file.remove_extra_whitespaces) == (
        spec.add_dummy_prefix,
        spec.remove_extra_whitespaces,
    )
    assert (file.model_type, file.treat_whitespace_as_suffix, file.unk_id) == (proto.trainer_spec.model_type, True, 2)


def test_files_that_are_no_model(tmp_path):
    good = small_model(parts=10)
    rng = np.random.default_rng(0)
    damaged = [b"", b"nonsense", b"\xff" * 20, good[:-500], b"\x0a\x02\x08\x01", json.dumps({}).encode()]
    damaged += [good[: rng.integers(len(good))] for _ in range(50)]
    for content in damaged:
        (tmp_path / "bad.model").write_bytes(content)
        try:
            RemBertTokenizerFast(tmp_path / "bad.model", **SANE)
        except ValueError as error:
            assert "bad.model" in str(error)
            assert "\n" not in str(error)
    for content in damaged[:5]:
        with pytest.raises(ValueError, match="the model is not a SentencePiece model"):
            read_sentencepiece(content)


@pytest.mark.parametrize("what", ["model_type", "byte_fallback", "suffix", "escape", "spaces"])
def test_models_that_the_library_cannot_follow(tmp_path, what):
    proto = sentencepiece_model_pb2.ModelProto.FromString(small_model(parts=10))
    if what == "model_type":
        proto.trainer_spec.model_type = 2
    elif what == "byte_fallback":
        proto.pieces.add(piece="<0x00>", type=BYTE)
    elif what == "suffix":
        proto.trainer_spec.treat_whitespace_as_suffix = True
    elif what == "escape":
        proto.normalizer_spec.escape_whitespaces = False
    else:
        proto.normalizer_spec.remove_extra_whitespaces = False
    (tmp_path / "s.model").write_bytes(proto.SerializeToString())
    with pytest.raises(ValueError, match=r"s.model cannot be used by a fast tokenizer: it .*; use RemBertTokenizer"):
        RemBertTokenizerFast(tmp_path / "s.model", **SANE)


@pytest.mark.parametrize("setting", ["add_dummy_prefix", "charsmap", "pieces with spaces"])
def test_other_settings_of_a_model(tmp_path, setting):
    proto = sentencepiece_model_pb2.ModelProto.FromString(small_model())
    if setting == "charsmap":
        proto.normalizer_spec.precompiled_charsmap = b""
        proto.normalizer_spec.name = "identity"
    elif setting == "pieces with spaces":
        proto.pieces.add(piece="of▁the", score=-1.0)
    else:
        setattr(proto.normalizer_spec, setting, False)
    (tmp_path / "s.model").write_bytes(proto.SerializeToString())
    slow, fast = RemBertTokenizer(tmp_path / "s.model"), RemBertTokenizerFast(tmp_path / "s.model", **SANE)
    for text in ["people of the", "  people   of ", "", "ﬁne", "e\u0301", "of the[MASK] the"]:
        assert fast.tokenize(text) == slow.tokenize(text), text


# --- where characters went ---


def test_every_span_reads_like_its_token(tokenizer):
    """Normalised, the text of a span contains the token's, and spans go on from left to right."""
    checked = 0
    for text in TEXTS:
        encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        last = 0
        for token, (start, end) in zip(encoding.tokens(), encoding["offset_mapping"], strict=True):
            assert 0 <= start <= end <= len(text)
            assert end >= last
            last = end
            while end < len(text) and (unicodedata.combining(text[end]) or text[end] in FOLLOWING):
                end += 1  # the library gives a composed character the span of its first part
            plain = unicodedata.normalize("NFKC", token.removeprefix("▁"))
            span = "".join(character for character in text[start:end] if character not in VANISHING)
            assert plain in unicodedata.normalize("NFKC", span) or set(span) & set("▁\x85"), (text, token, span)
            checked += bool(plain)
    assert checked > 1000


VANISHING = {"\ufdd0", *(c for c in map(chr, range(1, 0x80)) if unicodedata.category(c) == "Cc")}
FOLLOWING = {*VANISHING, *"ﾞﾟ", *map(chr, range(0x1161, 0x11C3))}  # marks, and the later parts of Korean syllables


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("the people", [("▁the", "the"), ("▁people", " people")]),
        ("  the   people  ", [("▁the", "the"), ("▁people", " people")]),
        ("[MASK] people", [("[MASK]", "[MASK]"), ("▁people", "people")]),
        ("the ﬂow", [("▁the", "the"), ("▁flow", " ﬂow")]),
        ("が", [("▁", "が"), ("が", "が")]),
        ("か\u3099", [("▁", "か"), ("が", "か")]),  # the library gives a composed character the span of its letter
    ],
)
def test_spans(tokenizer, text, spans):
    encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    got = [(token, text[a:b]) for token, (a, b) in zip(encoding.tokens(), encoding["offset_mapping"], strict=True)]
    assert got == spans
    assert encoding.is_fast
    whole = tokenizer(text, return_offsets_mapping=True)
    assert whole["offset_mapping"] == [(0, 0), *encoding["offset_mapping"], (0, 0)]
    for i, (start, end) in enumerate(encoding["offset_mapping"]):
        assert encoding.token_to_chars(i) == (start, end)


def test_words(tokenizer):
    encoding = tokenizer([["people", "xyz", " ", "the"]], is_split_into_words=True, return_offsets_mapping=True)
    n = len(tokenizer.tokenize("xyz"))
    assert encoding.word_ids() == [None, 0, *[1] * n, 3, None]
    assert encoding.word_to_tokens(0, 1) == (2, 2 + n)
    assert encoding.word_to_tokens(0, 2) is None
    assert encoding.word_to_chars(0, 1) == (0, 3)
    pair = tokenizer("people the", "the")
    assert pair.sequence_ids() == [None, 0, 0, None, 1, None]
    assert (pair.char_to_token(0), pair.char_to_token(0, sequence_index=1)) == (1, 4)
    assert (pair.char_to_word(8), pair.token_to_word(2), pair.token_to_sequence(4)) == (1, 1, 1)


# --- calls ---


def test_arrays_and_tensors(tokenizer):
    batch = ["people of", "the", ""]
    lists = tokenizer(batch, padding=True, return_offsets_mapping=True)
    arrays = tokenizer(batch, padding=True, return_offsets_mapping=True, return_tensors="np")
    torch = pytest.importorskip("torch", reason="the other kind of arrays")
    tensors = tokenizer(batch, padding=True, return_offsets_mapping=True, return_tensors="pt")
    for name, values in lists.items():
        assert (arrays[name].dtype, arrays[name].tolist()) == (np.int64, np.array(values).tolist())
        assert torch.equal(tensors[name], torch.from_numpy(arrays[name]))
    assert tokenizer("people", return_tensors="np").input_ids.shape == (1, 3)
    with pytest.raises(ValueError, match="pass padding=True"):
        tokenizer(batch, return_tensors="np")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a\ud800b", {}, r"the text is not valid Unicode: character 1 is '\\ud800'"),
        (["ok", "a\udfff"], {}, r"not valid Unicode: character 1 is '\\udfff'"),
        ([["ok", "\ud800"]], {"is_split_into_words": True}, "not valid Unicode: character 0"),
        ([["ok", 5]], {"is_split_into_words": True}, "a text is needed, got int 5"),
        (["ok", 5], {}, "a text is needed, got int 5"),
        (b"bytes", {}, "a text is needed, got bytes"),
        ("words", {"is_split_into_words": True}, "a list of words is needed, got str 'words'"),
        ([], {}, "the batch is empty"),
        ([["a", "b", "c"]], {}, "a list of 3 is neither"),
        ("people", {"truncation": True, "max_length": 1}, "max_length 1 is too short for the 2 special tokens alone"),
        ("people", {"truncation": True, "max_length": 5, "stride": 3}, "stride 3 must be less than the 3 tokens that"),
        ("people of", {"truncation": "only_second", "max_length": 3}, "truncation='only_second' needs a second text"),
        ("people", {"truncation": "nonsense", "max_length": 3}, "nonsense is not a valid TruncationStrategy"),
        ("people", {"return_tensors": "tf"}, "return_tensors='tf' is not built in"),
    ],
)  # fmt: skip
def test_calls_that_make_no_sense(tokenizer, text, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        tokenizer(text, **options)
    assert "\n" not in str(caught.value)
    assert tokenizer("people").input_ids == tokenizer.encode("people")  # and it still works


def test_an_empty_second_text_is_a_second_text(tokenizer):
    """transformers 4.34's fast tokenizer drops it, but not in a batch; its slow one keeps it."""
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    people = tokenizer.encode("people", add_special_tokens=False)
    assert tokenizer("people", "").input_ids == tokenizer(["people"], [""]).input_ids[0] == [cls, *people, sep, sep]


def test_a_call_leaves_nothing_behind(tokenizer):
    before = tokenizer("people of the", "people").input_ids
    tokenizer("people of the", truncation=True, max_length=3, padding="max_length", split_special_tokens=True)
    assert tokenizer("people of the", "people").input_ids == before
    other = copy.deepcopy(tokenizer)
    other.add_special_tokens({"mask_token": "<m>"})
    assert other.tokenize("<m>", split_special_tokens=True)[-1] == ">"
    assert other.tokenize("<m>") == ["<m>"]


def test_threads_do_not_mix_their_calls(tokenizer):
    expected = {n: tokenizer("people of the", truncation=True, max_length=n).input_ids for n in (3, 4)}
    wrong: list[Any] = []

    def work(n: int) -> None:
        for _ in range(200):
            ids = tokenizer("people of the", truncation=True, max_length=n).input_ids
            if ids != expected[n]:
                wrong.append(ids)

    threads = [threading.Thread(target=work, args=(n,)) for n in (3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_ids_and_tokens(tokenizer):
    ids = tokenizer("people [MASK] ☃").input_ids
    assert tokenizer.decode(ids) == "[CLS] people[MASK] [UNK][SEP]"
    assert tokenizer.decode(ids, skip_special_tokens=True) == "people "
    assert tokenizer.batch_decode(np.array([ids])) == [tokenizer.decode(ids)]
    dotted = tokenizer.encode("people .", add_special_tokens=False)
    assert tokenizer.decode(dotted) == "people."
    assert tokenizer.decode(dotted, clean_up_tokenization_spaces=False) == "people ."
    assert tokenizer.convert_ids_to_tokens(tokenizer.mask_token_id) == "[MASK]"
    assert tokenizer.convert_tokens_to_string(["▁people", "▁of", "[SEP]"]) == "people of[SEP]"
    assert tokenizer.vocab == tokenizer.get_vocab()
    for wrong in ([1052], [-1], 1052):
        with pytest.raises(IndexError, match=r"id (1052|-1) is not in the vocabulary"):
            tokenizer.decode(wrong)


# --- files ---


def test_saved_files(tokenizer, model, tmp_path):
    paths = [Path(path).name for path in tokenizer.save_pretrained(tmp_path)]
    settings = ["tokenizer_config.json", "special_tokens_map.json"]
    assert paths == [*settings, "added_tokens.json", "sentencepiece.model", "tokenizer.json"]
    assert (tmp_path / "sentencepiece.model").read_bytes() == model.read_bytes()
    assert tokenizer.save_pretrained(tmp_path / "fast", legacy_format=False)[2:] == (
        str(tmp_path / "fast" / "tokenizer.json"),
    )
    assert (tmp_path / "fast" / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()
    slow = [Path(path).name for path in tokenizer.save_pretrained(tmp_path / "slow", legacy_format=True)]
    assert slow == [*settings, "added_tokens.json", "sentencepiece.model"]
    content = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert content["truncation"] is content["padding"] is None
    assert (
        content["pre_tokenizer"]["add_prefix_space"] is True
    )  # for the version of `tokenizers` beside transformers 4.34


def test_save_vocabulary(tokenizer, folder, tmp_path, caplog):
    assert tokenizer.save_vocabulary(tmp_path, "my") == (str(tmp_path / "my-sentencepiece.model"),)
    assert tokenizer.save_vocabulary(tmp_path / "none") is None
    assert "none is not a folder" in caplog.text
    alone = RemBertTokenizerFast(tokenizer_file=folder / "tokenizer.json", **SANE)
    for save in (alone.save_vocabulary, lambda path: alone.save_pretrained(path, legacy_format=True)):
        with pytest.raises(ValueError, match=r"made from a tokenizer.json alone"):
            save(tmp_path)
    assert [Path(path).name for path in alone.save_pretrained(tmp_path / "alone")][2:] == ["tokenizer.json"]


def test_every_way_back_gives_the_same_ids(model, tmp_path):
    """Saved by the fast one or by the slow one, loaded from tokenizer.json or from sentencepiece.model."""
    fast = RemBertTokenizerFast(
        model, **SANE, model_max_length=77, padding_side="left", clean_up_tokenization_spaces=False
    )
    for tokenizer in (fast, RemBertTokenizer(model)):
        tokenizer.add_tokens(["new", AddedToken("<l>", lstrip=True)])
        tokenizer.add_special_tokens({"additional_special_tokens": ["<x>"], "mask_token": "<m>"})
        tokenizer.save_pretrained(tmp_path / type(tokenizer).__name__)
    texts = generated_strings(400, seed=2, specials=[*SPECIALS, "new", "<l>", "<x>", "<m>"])
    expected = fast(texts).input_ids
    for name in ("RemBertTokenizerFast", "RemBertTokenizer"):
        loaded = RemBertTokenizerFast.from_pretrained(tmp_path / name)
        assert loaded(texts).input_ids == expected
        (tmp_path / name / "tokenizer.json").unlink()
        loaded = RemBertTokenizerFast.from_pretrained(str(tmp_path / name))
        assert loaded(texts).input_ids == expected
        assert (loaded.get_added_vocab(), loaded.mask_token) == (fast.get_added_vocab(), "<m>")
    loaded = RemBertTokenizerFast.from_pretrained(tmp_path / "RemBertTokenizerFast")
    assert (loaded.model_max_length, loaded.padding_side, loaded.clean_up_tokenization_spaces) == (77, "left", False)
    assert (
        loaded.special_tokens_map.items()
        >= {**fast.special_tokens_map, "additional_special_tokens": ["<x>", "[MASK]"]}.items()
    )
    slow = RemBertTokenizer.from_pretrained(tmp_path / "RemBertTokenizerFast")
    assert slow("people new <m>").input_ids == fast("people new <m>").input_ids
    for other in (pickle.loads(pickle.dumps(fast)), copy.deepcopy(fast)):
        assert other(texts).input_ids == expected


def test_ids_with_a_gap_are_refused(model):
    with pytest.raises(ValueError, match=r"'new' cannot have the id 2000 in a fast .* gives it 1052; use RemBert"):
        RemBertTokenizerFast(model, **SANE, added_tokens_decoder={2000: AddedToken("new")})
    slow = RemBertTokenizer(model, added_tokens_decoder={2000: AddedToken("new")})
    assert tokenizer_json(slow) is None


def test_hostile_files(folder, tmp_path):
    """One sentence each, also where the library panics."""
    good = (folder / "tokenizer.json").read_text(encoding="utf-8")
    content = json.loads(good)

    def changed(**parts: Any) -> str:
        return json.dumps({**content, **parts})

    vocab = content["model"]["vocab"]
    unigram = content["model"]
    strange = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "none", "type_id": 0}}],
        "pair": [],
        "special_tokens": {},
    }
    cases = [
        "", "[]", "{}", "null", "5", "[" * 100_000, '{"model":' * 5000, good[: len(good) // 2], "\x00" * 50,
        changed(model=5), changed(model={**unigram, "vocab": []}), changed(model={**unigram, "vocab": vocab, "unk_id": 10**9}),
        changed(model={**unigram, "unk_id": None}), changed(model={**unigram, "unk_id": -1}),
        changed(model={**unigram, "vocab": [["a"]]}), changed(model={**unigram, "vocab": {"a": 1}}),
        changed(model={"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}),
        changed(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        changed(normalizer={"type": "Precompiled", "precompiled_charsmap": "/////w=="}),
        changed(normalizer={"type": "Replace", "pattern": {"Regex": "("}, "content": ""}),
        changed(normalizer={"type": "None such"}), changed(pre_tokenizer=[]), changed(post_processor=strange),
        changed(added_tokens=[{"id": "x", "content": 5}]), changed(version="9.0"),
    ]  # fmt: skip
    path = tmp_path / "tokenizer.json"
    for text in cases:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=r"tokenizer\.json") as caught:
            RemBertTokenizerFast(tokenizer_file=path, **SANE)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600
    with path.open("wb") as file:
        file.truncate(2**40)  # holds nothing, and takes no room
    with pytest.raises(ValueError, match=r"tokenizer.json is too large for a tokenizer: 1,099,511,627,776 bytes"):
        RemBertTokenizerFast(tokenizer_file=path, **SANE)


def test_a_template_with_ids_outside_the_vocabulary(folder, tmp_path):
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["post_processor"]["special_tokens"]["cls"]["ids"] = [5000]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer.json adds the id 5000, outside its vocabulary of 1052 tokens"):
        RemBertTokenizerFast(tokenizer_file=tmp_path / "tokenizer.json", **SANE)


# --- AutoTokenizer ---


def test_auto_tokenizer(folder, model, tmp_path):
    assert type(AutoTokenizer.from_pretrained(folder)) is RemBertTokenizerFast
    assert type(AutoTokenizer.from_pretrained(str(folder), use_fast=False)) is RemBertTokenizer
    assert (
        type(AutoTokenizer.from_pretrained(model.parent)) is RemBertTokenizer
    )  # no settings: Hugging Face's would not fit
    assert AutoTokenizer.from_pretrained(folder, model_max_length=5).model_max_length == 5
    RemBertTokenizerFast(model, **SANE).save_pretrained(tmp_path / "fast", legacy_format=False)
    assert type(AutoTokenizer.from_pretrained(tmp_path / "fast", use_fast=False)) is RemBertTokenizerFast
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    with pytest.raises(
        ValueError, match="holds a BertTokenizer; only RemBertTokenizer and RemBertTokenizerFast can be loaded"
    ):
        AutoTokenizer.from_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="holds a model of the type 'bert'"):
        AutoTokenizer.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError):
        AutoTokenizer.from_pretrained(tmp_path / "none")
    with pytest.raises(TypeError, match=r"AutoTokenizer.from_pretrained"):
        AutoTokenizer()


# --- others ---


def test_the_library_is_imported_when_it_is_needed():
    code = "import sys, minirembert.tokenization.fast; assert not {'tokenizers', 'sentencepiece'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_against_the_installed_transformers(folder):
    """Its class for any tokenizer.json takes ours as it is; its RemBertTokenizer makes a pipeline of its own of the vocabulary
    and agrees on plain text."""
    transformers = pytest.importorskip("transformers")
    ours = RemBertTokenizerFast.from_pretrained(folder)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]")
    for options in (
        {}, {"padding": True, "pad_to_multiple_of": 4},
        {"truncation": True, "max_length": 9, "stride": 2, "padding": "max_length"},
        {"truncation": True, "max_length": 9, "return_overflowing_tokens": True, "return_special_tokens_mask": True},
    ):  # fmt: skip
        options |= {"return_offsets_mapping": True, "return_token_type_ids": True}
        a, b = ours(TEXTS, TEXTS[::-1], **options), theirs(TEXTS, TEXTS[::-1], **options)
        assert dict(a) == dict(b)
        assert all(a.word_ids(i) == b.word_ids(i) for i in range(len(TEXTS)))
    theirs = transformers.RemBertTokenizer.from_pretrained(folder)
    plain = [word for text in WORDS.values() for word in text.split(" ") if word.isascii()]
    assert theirs(plain)["input_ids"] == ours(plain)["input_ids"]
    assert theirs(" ".join(plain), "people")["input_ids"] == ours(" ".join(plain), "people").input_ids
