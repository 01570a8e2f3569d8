"""Pairs that are cut: the slow and the fast tokenizer each as transformers 4.34's own, on every small pair.

The slow one takes one token at a time from the longer side. The fast one's library computes the lengths at once, and where
both sides are cut and an odd number of tokens is left, the sides share it the other way round in some pairs.
"""

import itertools
import logging
from typing import Any

import pytest
from tokenizer_models import small_model

from minirembert import RemBertTokenizer, RemBertTokenizerFast

LONGEST = 6
CLS, SEP = 1, 3
LENGTHS = list(itertools.product(range(LONGEST + 1), repeat=2))
SIDES = ("right", "left")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory) -> dict[tuple[str, str], Any]:
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "sentencepiece.model").write_bytes(small_model())
    RemBertTokenizer(folder / "sentencepiece.model").save_pretrained(folder)
    kinds = {"slow": RemBertTokenizer, "fast": RemBertTokenizerFast}
    return {
        (kind, side): made.from_pretrained(folder, truncation_side=side)
        for kind, made in kinds.items()
        for side in SIDES
    }


@pytest.fixture(scope="module")
def words(tokenizers) -> list[str]:
    """Different words of one token each, enough for two sides."""
    slow = tokenizers["slow", "right"]
    pieces = [piece[1:] for piece in slow.get_vocab() if piece.startswith("▁") and piece[1:].isalpha()]
    chosen = [word for word in pieces if len(slow.encode(word, add_special_tokens=False)) == 1][: 2 * LONGEST]
    assert len(chosen) == 2 * LONGEST
    return chosen


def one_at_a_time(first: int, second: int, room: int) -> tuple[int, int]:
    """The slow tokenizer's rule: the longer side loses a token, the second where they are equal."""
    while first + second > room:
        first, second = (first - 1, second) if first > second else (first, second - 1)
    return first, second


def at_once(first: int, second: int, room: int) -> tuple[int, int]:
    """The library's: only the longer side is cut if that is enough; else half for the shorter, the rest for the longer."""
    if first + second <= room:
        return first, second
    short = min(first, second, room // 2)
    return (room - short, short) if first > second else (short, room - short)


def kept(ids: list[int], count: int, side: str) -> list[int]:
    return ids[:count] if side == "right" else ids[len(ids) - count :]


RULES = {"slow": one_at_a_time, "fast": at_once}


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("side", SIDES)
def test_longest_first(tokenizers, words, kind, side):
    tokenizer = tokenizers[kind, side]
    ids = tokenizer.encode(" ".join(words), add_special_tokens=False)
    assert len(ids) == len(words)
    for (first, second), limit in itertools.product(LENGTHS, range(3, 2 * LONGEST + 4)):
        pair = " ".join(words[:first]), " ".join(words[LONGEST : LONGEST + second])
        n, m = RULES[kind](first, second, limit - 3)
        a, b = kept(ids[:first], n, side), kept(ids[LONGEST : LONGEST + second], m, side)
        found = tokenizer(*pair, truncation=True, max_length=limit)
        assert found["input_ids"] == [CLS, *a, SEP, *b, SEP], (first, second, limit)
        assert found["token_type_ids"] == [0] * (n + 2) + [1] * (m + 1)
        plain = tokenizer(*pair, truncation=True, max_length=limit, add_special_tokens=False)
        n, m = RULES[kind](first, second, limit)
        assert plain["input_ids"] == kept(ids[:first], n, side) + kept(ids[LONGEST : LONGEST + second], m, side)


def test_where_the_two_rules_differ(tokenizers, words):
    """Both sides are cut, an odd number is left, and the second side is not the shorter one."""
    for (first, second), room in itertools.product(LENGTHS, range(2 * LONGEST + 1)):
        slow, fast = one_at_a_time(first, second, room), at_once(first, second, room)
        differ = room % 2 == 1 and min(first, second) > room // 2 and first <= second
        assert (slow != fast) == differ
        assert not differ or (slow == fast[::-1] == (room // 2 + 1, room // 2))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("strategy", ["only_first", "only_second"])
def test_one_side_only(tokenizers, words, side, strategy):
    """The two agree as long as there is enough to cut. If not, the slow one cuts nothing, and the fast one says so."""
    slow, fast = tokenizers["slow", side], tokenizers["fast", side]
    logging.disable(logging.CRITICAL)
    try:
        for (first, second), limit in itertools.product(LENGTHS, range(4, 2 * LONGEST + 4)):
            pair = " ".join(words[:first]), " ".join(words[LONGEST : LONGEST + second])
            options = {"truncation": strategy, "max_length": limit}
            excess = first + second + 3 - limit
            if excess > 0 and (first, second)[strategy == "only_second"] <= excess:
                assert slow(*pair, **options)["input_ids"] == slow(*pair)["input_ids"]
                with pytest.raises(ValueError, match=f"cannot take {excess} tokens"):
                    fast(*pair, **options)
                continue
            found = slow(*pair, **options)
            assert dict(found) == dict(fast(*pair, **options))
            assert len(found["input_ids"]) == min(limit, first + second + 3)
        pair, options = (words[0], words[1]), {"truncation": strategy, "max_length": 3}  # room for special tokens alone
        assert slow(*pair, **options)["input_ids"] == slow(*pair)["input_ids"]
        assert fast(*pair, **options)["input_ids"] == [CLS, SEP, SEP]
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("side", SIDES)
def test_what_overflows_of_pairs(tokenizers, words, side):
    """One side is cut: the fast one's further rows hold, with `stride` neighbours, what the slow one says was cut."""
    slow, fast = tokenizers["slow", side], tokenizers["fast", side]
    for first, second, limit, stride in itertools.product(range(3, LONGEST + 1), range(1, 4), range(8, 13), (0, 1)):
        pair = " ".join(words[:first]), " ".join(words[LONGEST : LONGEST + second])
        options: dict[str, Any] = {"truncation": "only_first", "max_length": limit, "stride": stride}
        options["return_overflowing_tokens"] = True
        excess = first + second + 3 - limit
        if excess > 0 and first - excess <= stride:
            continue
        row, rows = slow(*pair, **options), fast(*pair, **options)
        assert rows["input_ids"][0] == row["input_ids"]
        assert row["num_truncated_tokens"] == excess
        further = [[i for i, s in zip(ids, rows.sequence_ids(n), strict=True) if s == 0]
                   for n, ids in enumerate(rows["input_ids"])][1:]  # fmt: skip
        whole = slow.encode(pair[0], add_special_tokens=False)
        seen = {i for ids in further for i in ids}
        assert seen == set(row["overflowing_tokens"]), (first, second, limit, stride)
        assert len(row["overflowing_tokens"]) == (excess + stride if excess > 0 else 0)
        assert set(row["input_ids"]) & set(whole) | seen == set(whole)
