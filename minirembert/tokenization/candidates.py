"""Candidate pieces for the unigram trainer, counted from the words of a text.

SentencePiece begins with many candidate strings and then drops the least useful ones. It looks for candidates in the list
of *different* words and wants to see each in two of them, so a frequent word that is part of no other word is never a
candidate: in the generated corpus, with its few hundred words a language, "does" and "नहीं" would stay in pieces
however often they occur. Here a candidate is any string inside a word, weighed, as SentencePiece does it, by how often it
occurs times its length.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

import sentencepiece

SPACE = "\u2581"  # SentencePiece's sign for the space in front of a word
LONGEST_PIECE = 16  # characters; SentencePiece's own limit
MOST_WORDS = 100_000  # a text with more different words needs no help, and counting would take minutes


def candidate_pieces(sentences: Iterable[str]) -> list[tuple[str, int]] | None:
    """(string, weight), heaviest first; None for a text with enough words for SentencePiece's own way."""
    normalizer = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc")
    words: Counter[str] = Counter()
    for sentence in sentences:
        words.update(filter(None, normalizer.normalize(sentence).split(SPACE)))
        if len(words) > MOST_WORDS:
            return None
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for run in _runs(word):
            for start in range(len(run)):
                for end in range(start + 1, min(len(run), start + LONGEST_PIECE) + 1):
                    counts[run[start:end]] += count
    weights = ((piece, count * len(piece)) for piece, count in counts.items() if count > 1)
    return sorted(weights, key=lambda item: (-item[1], item[0]))


def _runs(word: str) -> Iterator[str]:
    """Stretches of letters, or of digits, the first behind the space sign; every other character by itself."""
    start = SPACE
    for kind, characters in groupby(word, _kind):
        text = "".join(characters)
        if kind is None:
            yield from (start + text[0], *text[1:])
        else:
            yield start + text
        start = ""


def _kind(character: str) -> str | None:
    category = unicodedata.category(character)[0]
    return {"L": "letter", "M": "letter", "N": "digit"}.get(category)
