"""RemBertTokenizer on thousands of strings, against SentencePiece's own library between the special tokens."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from strings import SPECIALS, generated_strings, long_text
from tokenizer_models import small_model

from minirembert import RemBertTokenizer
from minirembert.tokenization.added_tokens import AddedToken, Splitter

COUNT = 2500


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "sentencepiece.model"
    path.write_bytes(small_model())
    return path


@pytest.fixture(scope="module")
def processor(model) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(model))


def stretches(text: str, tokens: list[str]) -> list[str]:
    """Leftmost, then longest: looks at every place in turn. Tokens stand at the odd places."""
    found, start, end = [], 0, 0
    while end < len(text):
        token = max((t for t in tokens if text.startswith(t, end)), key=len, default=None)
        if token is None:
            end += 1
        else:
            found += [text[start:end], token]
            start = end = end + len(token)
    return [*found, text[start:]]


def expected(processor, text: str, tokens: list[str], ids: dict[str, int]) -> tuple[list[str], list[int]]:
    pieces = []
    for i, stretch in enumerate(stretches(text, tokens)):
        pieces += [stretch] if i % 2 else processor.encode_as_pieces(stretch)
    return pieces, [ids.get(piece, processor.piece_to_id(piece)) for piece in pieces]


def test_every_string_is_sentencepieces_between_special_tokens(model, processor):
    tokenizer = RemBertTokenizer(model)
    texts = generated_strings(COUNT)
    assert len(set(texts)) == COUNT >= 2000
    for text in texts:
        pieces, ids = expected(processor, text, list(SPECIALS), {})
        assert tokenizer.tokenize(text) == pieces, ascii(text)
        assert tokenizer(text, add_special_tokens=False).input_ids == ids, ascii(text)
    together = tokenizer(texts).input_ids  # through SentencePiece's threads
    assert together == [[1, *expected(processor, text, list(SPECIALS), {})[1], 3] for text in texts]


def test_every_string_with_tokens_that_the_model_does_not_have(model, processor):
    """Tokens that begin, end or contain each other, or a special token, or words of the texts."""
    extra = [
        "<x>",
        "<x",
        "x>",
        "[MASK]]",
        "K]",
        "the",
        "the people",
        "人",
        "👩‍",
        "\u200d",
        "ệ",
        "aa",
        "aaa",
        "[",
        "``",
        "\x00",
    ]
    tokenizer = RemBertTokenizer(model, additional_special_tokens=[AddedToken(token) for token in extra])
    ids = tokenizer.get_added_vocab()
    assert sorted(i for i in ids.values() if i >= len(processor)) == list(range(len(processor), len(tokenizer)))
    for text in generated_strings(COUNT, seed=1, specials=[*SPECIALS, *extra]):
        pieces, expected_ids = expected(processor, text, [*SPECIALS, *extra], ids)
        assert tokenizer.tokenize(text) == pieces, ascii(text)
        assert tokenizer.encode(text) == [1, *expected_ids, 3], ascii(text)


def test_thousands_of_added_tokens(model):
    """Many that begin alike, so that the longest has to be found among them."""
    rng = random.Random(0)
    extra = sorted({"".join(rng.choices("abеé[]<>.* MASK人", k=rng.randint(1, 9))) for _ in range(4000)} - {" "})
    assert len(extra) > 3000
    tokenizer = RemBertTokenizer(model)
    tokenizer.add_tokens([AddedToken(token) for token in extra])
    known = set(extra) | set(SPECIALS)
    cut = Splitter([AddedToken(token) for token in known])
    assert tokenizer.get_added_vocab().keys() == known
    for _ in range(300):
        text = "".join(rng.choices([*rng.sample(extra, 20), *"abеé[]<>.* MASK人", "[MASK]", " the "], k=12))
        assert cut(text) == [part for part in stretches(text, [t for t in known if t in text]) if part], text


def test_every_string_in_lower_case(model, processor):
    tokenizer = RemBertTokenizer(model, do_lower_case=True)
    for text in generated_strings(COUNT, seed=2):
        parts = stretches(text, list(SPECIALS))
        lower = "".join(part if i % 2 else "".join(c.lower() for c in part) for i, part in enumerate(parts))
        assert tokenizer.tokenize(text) == expected(processor, lower, list(SPECIALS), {})[0], ascii(text)


def test_every_string_comes_back_as_sentencepiece_decodes_it(model, processor):
    tokenizer = RemBertTokenizer(model)
    for text in generated_strings(COUNT, seed=3):
        ids = tokenizer.encode(text)
        shown = processor.decode_pieces([processor.id_to_piece(i) for i in ids])
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == shown
        rest = [i for i in ids if i not in tokenizer.all_special_ids]
        assert tokenizer.decode(ids, skip_special_tokens=True) == tokenizer.decode(rest)


def test_a_megabyte(model, processor):
    text = long_text(1_000_000, specials=SPECIALS)
    pieces, ids = expected(processor, text, list(SPECIALS), {})
    tokenizer = RemBertTokenizer(model, model_max_length=512)
    assert tokenizer.tokenize(text) == pieces
    row = tokenizer(text, return_tensors="np").input_ids
    assert np.array_equal(row, [[1, *ids, 3]])
    assert tokenizer(text, truncation=True).input_ids == [1, *ids[:510], 3]
    assert text[:300] not in tokenizer.decode(ids)  # special tokens vanish
    blank = " " * 1_000_000
    assert tokenizer.tokenize(blank) == []
    assert tokenizer.tokenize(blank + "the" + blank) == ["▁the"]
    assert tokenizer.tokenize("[MASK]" * 100_000) == ["[MASK]"] * 100_000


def test_the_generator_reaches_what_it_should():
    texts = generated_strings(COUNT)
    assert texts == generated_strings(COUNT) != generated_strings(COUNT, seed=1)
    together = "".join(texts)
    for low, high in pairwise(
        [0, 0x80, 0x250, 0x370, 0x400, 0x530, 0x900, 0xE00, 0xE80, 0x1100, 0x3040, 0x4E00, 0xAC00]
    ):
        assert any(low <= ord(c) < high for c in together), hex(low)
    assert any(ord(c) > 0xFFFF for c in together)
    assert sum(any(special in text for special in SPECIALS) for text in texts) > COUNT / 10
