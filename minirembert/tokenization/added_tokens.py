"""Tokens that are found literally in a text, before the model of pieces sees it, and how a text is cut at them.

    "x[MASK]y"  ->  ["x", "[MASK]", "y"]

Tokens are found from left to right, the longest where several begin at the same place. Three flags of a token change what
happens around it: `lstrip` and `rstrip` take the white space before and behind it away, and `single_word` leaves it alone
where something else than a space stands next to it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from minirembert.scalars import as_switch

NOTHING = "(?!)"  # a regular expression that matches nowhere


@dataclass(frozen=True)
class AddedToken:
    """A token with its flags; `str()` gives its text.

    `normalized` means that the text around is normalised before the token is looked for, which a fast tokenizer does; the
    slow one only asks it whether `do_lower_case` lowers the token's own text. None stands for "not `special`".
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool | None = None
    special: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.content, str):
            raise TypeError(f"a token must be a text, got {type(self.content).__name__} {self.content!r}")
        for name in ("single_word", "lstrip", "rstrip", "normalized", "special"):
            if name != "normalized" or self.normalized is not None:
                object.__setattr__(self, name, as_switch(f"{name} of the token {self.content!r}", getattr(self, name)))
        object.__setattr__(self, "_follows_special", self.normalized is None)
        if self.normalized is None:
            object.__setattr__(self, "normalized", not self.special)

    def __str__(self) -> str:
        return self.content

    @property
    def flags(self) -> dict[str, Any]:
        """All but the content, in the order of their names."""
        return {name: getattr(self, name) for name in ("lstrip", "normalized", "rstrip", "single_word", "special")}

    @classmethod
    def of(cls, value: Any, **flags: Any) -> "AddedToken":
        """From a text, which gets `flags`, or from anything that has its own: an AddedToken of this or another library, or
        the object that JSON files hold. Raises TypeError for anything else.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls(value, **flags)
        if isinstance(value, dict) and "content" in value:
            known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
            return cls(**known)
        if isinstance(getattr(value, "content", None), str):
            known = {name: getattr(value, name) for name in cls.__dataclass_fields__ if hasattr(value, name)}
            return cls(**known)
        raise TypeError(f"a token must be a text or an AddedToken, got {type(value).__name__} {value!r}")

    def with_flags(self, **flags: Any) -> "AddedToken":
        """The same token with other flags."""
        follows: bool = self._follows_special  # type: ignore[attr-defined]
        return replace(self, **{"normalized": None if follows else self.normalized, **flags})


class Splitter:
    """Cuts texts at `tokens`."""

    def __init__(self, tokens: Iterable[AddedToken]) -> None:
        self._tokens = {token.content: token for token in tokens}
        self._pattern = re.compile(f"({_longest(list(self._tokens)) if self._tokens else NOTHING})")
        self._flagged = any(t.lstrip or t.rstrip or t.single_word for t in self._tokens.values())

    def __call__(self, text: str) -> list[str]:
        """The stretches of the text, none empty. One that equals a token is this token."""
        parts = [part for part in self._pattern.split(text) if part]
        return self._obey_flags(parts) if self._flagged else parts

    def _obey_flags(self, parts: list[str]) -> list[str]:
        """Part by part from the left. A part that is not a single word melts into its neighbour, whatever that is."""
        for i, part in enumerate(parts):
            token = self._tokens.get(part)
            if token is None:
                continue
            left, right = parts[i - 1] if i > 0 else "", parts[i + 1] if i + 1 < len(parts) else ""
            if token.rstrip and right:
                parts[i + 1] = right.lstrip()
            if token.lstrip and left:
                parts[i - 1] = left.rstrip()
            if token.single_word and left and left[-1] != " ":
                parts[i - 1], parts[i] = parts[i - 1] + part, ""
            elif token.single_word and right and right[0] != " ":
                parts[i + 1], parts[i] = part + parts[i + 1], ""
        return [part for part in parts if part]


def literal_pattern(texts: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the texts as it stands, as its first group; the earlier one where two begin at the same place."""
    return re.compile(f"({'|'.join(map(re.escape, texts)) or NOTHING})")


def _longest(texts: list[str], depth: int = 6) -> str:
    """A regular expression for the longest of `texts` that stands at a place.

    Many are told apart by their first characters, so that thousands of added tokens are not tried one after the other at
    every place of a text. Beyond `depth` characters they are: regular expressions must not be nested without limit.
    """
    if depth == 0 or len(texts) < 4:
        return "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))
    rests: dict[str, list[str]] = {}
    for text in texts:
        rests.setdefault(text[:1], []).append(text[1:])
    ends = rests.pop("", None)
    branches = [f"{re.escape(first)}(?:{_longest(others, depth - 1)})" for first, others in rests.items()]
    return "|".join(branches + ([""] if ends else []))


def lower_between(text: str, kept: re.Pattern[str]) -> str:
    """`text` in lower case but for what `kept` matches.

    One character at a time: `str.lower` on a whole word would make a Greek sigma at its end a ς.
    """
    parts = kept.split(text)
    parts[::2] = ["".join(map(str.lower, part)) for part in parts[::2]]
    return "".join(parts)
