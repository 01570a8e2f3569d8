"""Small SentencePiece models made by hand, the same on every machine: nothing is trained.

A model is pieces with scores and a map of characters. The map is SentencePiece's own (nmt_nfkc); the pieces are all characters
of `strings.WORDS` and the parts of its words, the more frequent and the longer the better the score. The first pieces are
given, so that a test can put special tokens where it likes or leave them out.

The file is a Protocol Buffers message, whose fields SentencePiece's sentencepiece_model.proto numbers. This module also runs
where minirembert is not installed: beside an old transformers, to write down what that does.
"""

import math
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

import sentencepiece
from strings import WORDS

SPACE = "\u2581"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = range(1, 6)

REMBERT = (("[PAD]", CONTROL), ("[CLS]", CONTROL), ("[UNK]", UNKNOWN), ("[SEP]", CONTROL), ("[MASK]", CONTROL))


def small_model(first: Sequence[tuple[str, int]] = REMBERT, parts: int = 700) -> bytes:
    """The bytes of a .model file: the `first` pieces with their kinds, then all characters, then the best word parts."""
    taken = {text for text, _ in first}
    pieces = [(text, 0.0, kind) for text, kind in first]
    pieces += [(text, score, NORMAL) for text, score in _word_parts(parts) if text not in taken]
    normalizer = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc").serialized_model_proto()
    trainer = _field(2, _field(3, 1) + b"".join(_trainer_names(first)))  # 1: unigram
    return (
        b"".join(_field(1, _field(1, t.encode()) + _float(2, s) + _field(3, k)) for t, s, k in pieces)
        + trainer
        + normalizer
    )


def _word_parts(count: int) -> list[tuple[str, float]]:
    text = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc").normalize(" ".join(WORDS.values()))
    counts: Counter[str] = Counter()
    for word in filter(None, text.split(SPACE)):
        marked = SPACE + word
        counts.update(marked[i:j] for i in range(len(marked)) for j in range(i + 1, min(len(marked), i + 8) + 1))
    characters = {part: n for part, n in counts.items() if len(part) == 1}
    longer = sorted(counts.keys() - characters.keys(), key=lambda p: (-counts[p] * len(p), p))[:count]
    chosen = {**characters, **{part: counts[part] for part in longer}}
    return [(part, _score(part, n)) for part, n in sorted(chosen.items())]


def _score(part: str, count: int) -> float:
    """Like a logarithm of a frequency, and different for each part, so that no two segmentations are equally good."""
    jitter = zlib.crc32(part.encode()) % 997 / 997
    return round(math.log(count) - 9 + jitter + (len(part) == 1) * -1.5, 4)


def _trainer_names(first: Iterable[tuple[str, int]]) -> Iterable[bytes]:
    """Where SentencePiece finds its special pieces. Without this it would look for <s>, </s> and <pad>."""
    pieces = list(first)
    yield _field(40, next(i for i, (_, kind) in enumerate(pieces) if kind == UNKNOWN))
    yield _field(45, next(text for text, kind in pieces if kind == UNKNOWN).encode())


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _float(number: int, value: float) -> bytes:
    return _varint(number << 3 | 5) + struct.pack("<f", value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
