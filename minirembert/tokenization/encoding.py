"""What a tokenizer returns, and the two rules a batch needs: how to cut sequences and how to pad them.

Nothing here knows about text: it works on lists of ids and their lengths.
"""

import logging
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

TRUNCATION_STRATEGIES = ("only_first", "only_second", "longest_first", "do_not_truncate")
PADDING_STRATEGIES = ("longest", "max_length", "do_not_pad")

logger = logging.getLogger(__name__)


class Tokens(NamedTuple):
    """One side of an input: its ids and, where the caller gave a list of words, the word each id came from."""

    ids: list[int]
    words: list[int] | None = None


class Row(NamedTuple):
    """One finished input, before padding."""

    ids: list[int]
    first: int  # how many of them have token type 0; those after have 1
    words: list[int | None] | None


class BatchEncoding(dict[str, Any]):
    """input_ids, token_type_ids and attention_mask, by key or by attribute, so that `model(**encoding)` works.

    Each is a list (of lists, where the call was given a batch), or an array where the call asked for one.
    """

    _words: Sequence[list[int | None] | None] = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this encoding has no {name!r}, only {', '.join(self)}") from None

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of one row the index of the word it came from; None for special tokens and padding.

        A word may have no token at all (one that is only white space), and cut-off words have none. In a pair, both
        sides count from 0. Raises ValueError unless the call was made with lists of words and
        `is_split_into_words=True`; IndexError for a row that is not there.
        """
        if not -len(self._words) <= batch_index < len(self._words):
            raise IndexError(f"word_ids: there is no row {batch_index} in an encoding of {len(self._words)}")
        words = self._words[batch_index]
        if words is None:
            raise ValueError("word_ids needs an encoding of lists of words, made with is_split_into_words=True")
        return words


def kept_lengths(first: int, second: int | None, excess: int, strategy: str) -> tuple[int, int | None]:
    """How many tokens remain of each side of an input that is `excess` tokens too long. Tokens go from the end.

    "longest_first" takes them one at a time from the longer side, from the second where they are equally long:
    8 and 14 tokens with 13 too many become 5 and 4. The other strategies cut one side only; where that would leave
    nothing of it, they log an error and cut nothing, as Hugging Face's does.
    """
    if excess <= 0 or strategy == "do_not_truncate":
        return first, second
    if strategy == "longest_first" and second is not None:
        for _ in range(min(excess, first + second)):
            if first > second:
                first -= 1
            else:
                second -= 1
        return first, second
    if strategy == "only_second":
        if second is not None and second > excess:
            return first, second - excess
        if second is not None:
            _log_too_short("second", second, excess)
        return first, second
    if first > excess:
        return first - excess, second
    _log_too_short("first", first, excess)
    return first, second


def _log_too_short(side: str, length: int, excess: int) -> None:
    logger.error(
        "not truncated: %d tokens are too many, but the %s sequence has only %d; raise max_length or use another "
        "truncation strategy",
        excess,
        side,
        length,
    )


def collate(rows: list[Row], pad_token_id: int, width: int | None, return_tensors: str | None) -> BatchEncoding:
    """The rows as one batch, those shorter than `width` padded on the right: pad id, token type 0, attention mask 0.

    `width` None pads nothing. Raises ValueError where an array is asked for and the rows differ in length.
    """
    gaps = [0 if width is None else max(0, width - len(row.ids)) for row in rows]
    padded = list(zip(rows, gaps, strict=True))
    if return_tensors == "np":
        encoding = BatchEncoding(_arrays(rows, {len(row.ids) + gap for row, gap in padded}, pad_token_id))
    else:
        encoding = BatchEncoding(
            input_ids=[row.ids + [pad_token_id] * gap for row, gap in padded],
            token_type_ids=[[0] * row.first + [1] * (len(row.ids) - row.first) + [0] * gap for row, gap in padded],
            attention_mask=[[1] * len(row.ids) + [0] * gap for row, gap in padded],
        )
    encoding._words = [None if row.words is None else row.words + [None] * gap for row, gap in padded]
    return encoding


def _arrays(rows: list[Row], widths: set[int], pad_token_id: int) -> dict[str, np.ndarray]:
    """The same in arrays. Lists of lists turned into arrays would take longer than finding the ids."""
    if len(widths) > 1:
        raise ValueError(
            f"sequences of {min(widths)} to {max(widths)} tokens do not make one array: pass padding=True, or a "
            "max_length with truncation=True and padding='max_length'"
        )
    positions = np.arange(*widths)
    lengths = np.array([len(row.ids) for row in rows])
    firsts = np.array([row.first for row in rows])
    is_token = positions < lengths[:, None]
    input_ids = np.full(is_token.shape, pad_token_id, np.int64)
    input_ids[is_token] = np.fromiter(chain.from_iterable(row.ids for row in rows), np.int64, lengths.sum())
    return {
        "input_ids": input_ids,
        "token_type_ids": (is_token & (positions >= firsts[:, None])).astype(np.int64),
        "attention_mask": is_token.astype(np.int64),
    }
