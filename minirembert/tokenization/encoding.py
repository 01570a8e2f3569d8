"""What a tokenizer returns: a dictionary of the model's inputs that remembers where the tokens came from.

Nothing here knows about text: it works on lists of integers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from minirembert.scalars import as_switch, is_integer
from minirembert.tokenization.arrays import as_array, require_tensor_type


class BatchEncoding(dict[str, Any]):
    """input_ids and what else the call asked for, by key or by attribute, so that `model(**encoding)` works.

    Each value is a list (of lists, where the call was given a batch), or an array where the call asked for one.
    `encodings` has for each row what the `tokenizers` library knows about it. It is None from a slow tokenizer, which can
    say from which sequence and word a token came (`origins`), but nothing about characters. A slice of the encoding is a
    dictionary of slices, and a number one of the `encodings`.
    """

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        encodings: Sequence[Any] | None = None,
        tensor_type: str | None = None,
        *,
        origins: Sequence[Any] = (),
        prepend_batch_axis: bool = False,
    ) -> None:
        super().__init__(data or {})
        self._encodings = None if encodings is None else list(encodings)
        self._origins = list(origins)
        self.convert_to_tensors(tensor_type, prepend_batch_axis)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this encoding has no {name!r}, only {', '.join(self)}") from None

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, slice):
            return {name: values[item] for name, values in self.items()}
        if is_integer(item):
            return self._encoding(item, "a row by its number")
        return super().__getitem__(item)

    @property
    def encodings(self) -> list[Any] | None:
        """One `tokenizers.Encoding` for each row; None from a slow tokenizer."""
        return self._encodings

    @property
    def is_fast(self) -> bool:
        """Whether a fast tokenizer made this."""
        return self._encodings is not None

    @property
    def n_sequences(self) -> int | None:
        """1, or 2 for pairs; None where it is not known."""
        rows: Sequence[Any] = self._encodings or self._origins
        return 1 + max((i for i in rows[0].sequence_ids if i is not None), default=0) if rows else None

    # --- where tokens came from ---

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of one row the index of the word it came from; None for special tokens and padding.

        A word may have no token at all (one that is only white space), and cut-off words have none. In a pair, both
        sides count from 0. Raises IndexError for a row that is not there. From a slow tokenizer raises ValueError unless
        the call was made with lists of words and `is_split_into_words=True`.
        """
        words = self._row(batch_index, "word_ids").word_ids
        if words is None:
            raise ValueError("word_ids needs an encoding of lists of words, made with is_split_into_words=True")
        return list(words)

    def words(self, batch_index: int = 0) -> list[int | None]:
        """`word_ids` under its older name."""
        return self.word_ids(batch_index)

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of one row 0 or 1, the side of the pair it came from; None for special tokens and padding.

        Raises IndexError for a row that is not there.
        """
        return list(self._row(batch_index, "sequence_ids").sequence_ids)

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of one row as texts. Like all methods below, raises ValueError on a slow tokenizer's encoding."""
        return list(self._encoding(batch_index, "tokens").tokens)

    # Where the methods below take (row, position), the row may be left out: it is 0 then. Sequences are the sides of a pair.

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """The side of the pair that a token came from; None for a special token."""
        encoding, token = self._at("token_to_sequence", batch_or_token_index, token_index)
        return _optional(encoding.token_to_sequence(token))

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """The index of the word that a token came from; None for a special token."""
        encoding, token = self._at("token_to_word", batch_or_token_index, token_index)
        return _optional(encoding.token_to_word(token))

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> "Span | None":
        """Start and end of a token in the text it came from; None for a special token."""
        encoding, token = self._at("token_to_chars", batch_or_token_index, token_index)
        return _span(encoding.token_to_chars(token))

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> "Span | None":
        """The first token of a word and the one after its last; None for a word that has none."""
        encoding, word = self._at("word_to_tokens", batch_or_word_index, word_index)
        return _span(encoding.word_to_tokens(word, sequence_index))

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> "Span | None":
        """Start and end of a word in its text."""
        encoding, word = self._at("word_to_chars", batch_or_word_index, word_index)
        return _span(encoding.word_to_chars(word, sequence_index))

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The token in which a character of the text went; None where it went in none (white space)."""
        encoding, char = self._at("char_to_token", batch_or_char_index, char_index)
        return _optional(encoding.char_to_token(char, sequence_index))

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The index of the word that a character of the text belongs to; None for white space."""
        encoding, char = self._at("char_to_word", batch_or_char_index, char_index)
        return _optional(encoding.char_to_word(char, sequence_index))

    def _at(self, method: str, row: int, position: int | None) -> tuple[Any, int]:
        if position is None:
            row, position = 0, row
        encoding = self._encoding(row, method)
        length = len(encoding.ids)
        if method.startswith("token_") and not -length <= position < length:
            raise IndexError(f"{method}: there is no token {position} in a row of {length}")
        return encoding, position + length if method.startswith("token_") and position < 0 else position

    def _encoding(self, batch_index: int, what: str) -> Any:
        if self._encodings is None:
            raise ValueError(f"{what} needs an encoding of a fast tokenizer, RemBertTokenizerFast")
        return self._row(batch_index, what)

    def _row(self, batch_index: int, method: str) -> Any:
        rows: Sequence[Any] = self._origins if self._encodings is None else self._encodings
        if not -len(rows) <= batch_index < len(rows):
            raise IndexError(f"{method}: there is no row {batch_index} in an encoding of {len(rows)}")
        return rows[batch_index]

    # --- lists to arrays ---

    def convert_to_tensors(self, tensor_type: str | None = None, prepend_batch_axis: bool = False) -> "BatchEncoding":
        """Turns every list into an array, in place: "np" for NumPy, "pt" for PyTorch; None changes nothing.

        Integers become int64, floats and truth values arrays of such (see `arrays.py`), and arrays stay what they are.
        `prepend_batch_axis` makes a batch of one of a single row. Raises ValueError for another type, where rows differ in
        length, or for values that are not numbers; ImportError where PyTorch is not installed.
        """
        prepend_batch_axis = as_switch("prepend_batch_axis", prepend_batch_axis)
        require_tensor_type(tensor_type)
        if tensor_type is None:
            return self
        values = {name: [value] if prepend_batch_axis else value for name, value in self.items()}
        self.update({name: as_array(name, value, tensor_type) for name, value in values.items()})
        return self


class Span(NamedTuple):
    """Counted from 0; `end` is the one after the last."""

    start: int
    end: int


def _span(pair: tuple[int, int] | None) -> Span | None:
    return None if pair is None else Span(*pair)


def _optional(index: Any) -> int | None:
    return None if index is None else int(index)
