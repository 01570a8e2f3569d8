"""How sequences are cut and padded: the rules alone, on lists of integers and their lengths; the settings they need."""

import logging
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from minirembert.scalars import as_switch

TRUNCATION_STRATEGIES = ("only_first", "only_second", "longest_first", "do_not_truncate")
PADDING_STRATEGIES = ("longest", "max_length", "do_not_pad")
SIDES = ("right", "left")
NO_LIMIT = int(1e30)  # what Hugging Face writes as model_max_length where there is no limit

logger = logging.getLogger(__name__)


class Side:
    """An attribute that is 'right' or 'left'."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        return self if owner is None else owner.__dict__[self._name]

    def __set__(self, owner: Any, value: Any) -> None:
        if not isinstance(value, str) or value not in SIDES:
            raise ValueError(f"{self._name} must be 'right' or 'left', got {value!r}")
        owner.__dict__[self._name] = value


class Limit:
    """An attribute that is a number of tokens, at least 1. None, like what is above NO_LIMIT, stands for NO_LIMIT."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        return self if owner is None else owner.__dict__[self._name]

    def __set__(self, owner: Any, value: Any) -> None:
        if value is not None and (not isinstance(value, numbers.Real) or isinstance(value, bool)):
            raise TypeError(f"{self._name} must be a number, got {value!r}")
        limit: Any = value
        if limit is not None and not limit >= 1:  # of NaN, too, this is true
            raise ValueError(f"{self._name} must be at least 1, got {value!r}")
        owner.__dict__[self._name] = NO_LIMIT if value is None else int(min(limit, NO_LIMIT))


class Switch:
    """An attribute that is True or False. None, which settings files have as null, is False."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        return self if owner is None else owner.__dict__[self._name]

    def __set__(self, owner: Any, value: Any) -> None:
        owner.__dict__[self._name] = value is not None and as_switch(self._name, value)


def kept_lengths(first: int, second: int | None, excess: int, strategy: str) -> tuple[int, int | None]:
    """How many tokens remain of each side of an input that is `excess` tokens too long.

    "longest_first" takes them one at a time from the longer side, from the second where they are equally long (the library
    of the fast tokenizer shares an odd number otherwise, see `fast_calls.py`):
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


def keep(tokens: list[Any], count: int, side: str) -> list[Any]:
    """The `count` tokens that are left when the others are cut off on `side`."""
    if count >= len(tokens):
        return tokens
    return tokens[len(tokens) - count :] if side == "left" else tokens[:count]


def overflow(tokens: list[Any], count: int, stride: int, side: str) -> list[Any]:
    """What `keep` cuts off, together with its `stride` neighbours that are kept."""
    cut = min(len(tokens), len(tokens) - count + stride)
    return tokens[:cut] if side == "left" else tokens[len(tokens) - cut :]


def padded_length(
    lengths: Sequence[int], padding: str, max_length: int | None, multiple: int | None = None
) -> int | None:
    """To how many tokens rows of these `lengths` are padded; None for not at all. Longer ones stay as they are."""
    if padding == "do_not_pad":
        return None
    length = max(lengths, default=0) if padding == "longest" else max_length
    if length is not None and multiple is not None:
        length = -(-length // multiple) * multiple
    return length


def pad(
    rows: Mapping[str, list[list[int]]], gaps: Sequence[int], fill: Mapping[str, int], side: str
) -> dict[str, list[list[int]]]:
    """Each row of each list in `rows` that has a value in `fill`, with gaps[i] such values more on `side`."""
    padded = dict(rows)
    for name in rows.keys() & fill.keys():
        ends = [[fill[name]] * gap for gap in gaps]
        pairs = zip(rows[name], ends, strict=True)
        padded[name] = [end + row for row, end in pairs] if side == "left" else [row + end for row, end in pairs]
    return padded
