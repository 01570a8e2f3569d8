"""What a call is given, and what becomes of it on the way: texts and pairs, their ids, and where each id came from."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minirembert.tokenization.lengths import keep

PADDED = {"input_ids", "token_type_ids", "attention_mask", "special_tokens_mask"}


class Tokens(NamedTuple):
    """One side of an input: its ids and, where the caller gave a list of words, the word each id came from."""

    ids: list[int]
    words: list[int] | None = None


class Origin(NamedTuple):
    """Where the tokens of one finished row came from. Stands in for a row's `tokenizers.Encoding` in a slow tokenizer's
    encoding, which knows no more than this.
    """

    sides: tuple[int, ...]  # how many tokens each side has
    words: tuple[list[int] | None, ...]
    special: bool  # whether special tokens stand around them
    left: int = 0  # how much padding there is
    right: int = 0

    @property
    def sequence_ids(self) -> list[int | None]:
        """The side that each token came from, 0 or 1; None at special tokens and padding."""
        return self._row([[i] * count for i, count in enumerate(self.sides)])

    @property
    def word_ids(self) -> list[int | None] | None:
        """The word that each token came from, likewise; None where no side was given in words."""
        if all(words is None for words in self.words):
            return None
        sides = zip(self.sides, self.words, strict=True)
        return self._row([[None] * count if words is None else words for count, words in sides])

    def padded(self, gap: int, side: str) -> "Origin":
        """The same with `gap` tokens of padding more."""
        return self._replace(left=self.left + gap) if side == "left" else self._replace(right=self.right + gap)

    def _row(self, sides: Sequence[Sequence[int | None]]) -> list[int | None]:
        edge: list[int | None] = [None] if self.special else []
        row = [None] * self.left + edge
        for side in sides:
            row += [*side, *edge]
        return row + [None] * self.right


def pairs_of_batch(text: Any, text_pair: Any, split: bool) -> list[tuple[Any, Any]]:
    """A batch as a list of (first, second or None)."""
    if not isinstance(text, list | tuple):
        raise ValueError(f"a batch is a list of texts or pairs, got {type(text).__name__} {text!r}")
    if len(text) == 0:
        raise ValueError("the batch is empty: at least one text is needed")
    if text_pair is not None:
        if not isinstance(text_pair, list | tuple) or len(text_pair) != len(text):
            given = f"{len(text_pair)}" if isinstance(text_pair, list | tuple) else type(text_pair).__name__
            raise ValueError(f"text_pair must be a list as long as text: {len(text)} expected, got {given}")
        return list(zip(text, text_pair, strict=True))
    pairs = []
    for item in text:
        words = split and isinstance(item, list | tuple) and not (item and isinstance(item[0], list | tuple))
        if words or not isinstance(item, list | tuple):
            pairs.append((item, None))
        elif len(item) == 2:
            pairs.append((item[0], item[1]))
        else:
            raise ValueError(
                f"a batch holds texts, or pairs of texts; a list of {len(item)} is neither "
                "(for a list of words pass is_split_into_words=True)"
            )
    return pairs


def kept(tokens: Tokens, count: int, side: str) -> Tokens:
    """The `count` tokens that are left when the others are cut off on `side`, with their words."""
    return Tokens(keep(tokens.ids, count, side), None if tokens.words is None else keep(tokens.words, count, side))


def plain_batch(encoded: Any) -> tuple[dict[str, Any], str | None]:
    """Encodings with what is to be padded as lists of integers and the rest as it was, and what kind of tensors they were."""
    if isinstance(encoded, list | tuple):
        if not encoded or not all(isinstance(row, Mapping) for row in encoded):
            raise ValueError("pad needs an encoding, or a list of encodings that is not empty")
        names = encoded[0].keys()
        if different := next((row.keys() for row in encoded if row.keys() != names), None):
            raise ValueError(f"pad needs encodings with the same lists, got {sorted(names)} and {sorted(different)}")
        encoded = {name: [row[name] for row in encoded] for name in names}
    if not isinstance(encoded, Mapping):
        raise ValueError(
            f"pad needs an encoding, or a list of encodings, got {type(encoded).__name__} {encoded!r}"[:200]
        )
    if "input_ids" not in encoded:
        raise ValueError(f"pad needs input_ids, got an encoding with {', '.join(map(str, encoded)) or 'nothing'}")
    ids = encoded["input_ids"]
    sample = ids[0] if isinstance(ids, list | tuple) and len(ids) else ids
    kind = None if not hasattr(sample, "ndim") else "np" if isinstance(sample, np.ndarray | np.generic) else "pt"
    data = {name: _integers(name, values) if name in PADDED else values for name, values in encoded.items()}
    return data, kind


def _integers(name: str, values: Any) -> Any:
    """One row of integers, or several, as Python's own. Raises ValueError for anything else. In a mask True is 1."""
    listed = plain(values)
    rows = listed if isinstance(listed, list) and listed and isinstance(listed[0], list) else [listed]
    if not all(isinstance(row, list) and all(isinstance(value, numbers.Integral) for value in row) for row in rows):
        raise ValueError(f"pad needs lists of integers, got {name} {listed!r}"[:200])
    whole = [list(map(int, row)) for row in rows]
    return whole if rows is listed else whole[0]


def plain(values: Any) -> Any:
    """Arrays, and lists of them, as Python's own lists and numbers; anything else as it is."""
    if hasattr(values, "tolist"):
        return values.tolist()
    return [plain(value) for value in values] if isinstance(values, list | tuple) else values
