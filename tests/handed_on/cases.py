"""What each setting does, as cases that a test runs: settings must reach the place where they count.

A single function is held to an oracle elsewhere; here the question is whether what one function hands to the next arrives.
For each dataclass of settings a `Settings` says how a small run is made and what its outcome is, and has a case for every
field:

    Changes(to, how)       the outcome with this one field changed, beside the outcome without: `how(before, after)` must hold
    ChangesNothing(to, why)   the outcome must be the same, to the last bit
    Refused(to, message)   no small run can show it; another value is refused with this message

A field without a case fails (`test_handed_on.py`), so a new setting needs one.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Changes(NamedTuple):
    """Another value of a field, and what must be different in the outcome as the field's docstring says."""

    to: Any
    how: Callable[[Any, Any], bool]
    also: Mapping[str, Any] = {}  # other fields, changed in both runs, without which this one would show nothing


class ChangesNothing(NamedTuple):
    """Another value of a field that must leave the outcome as it is."""

    to: Any
    why: str
    also: Mapping[str, Any] = {}


class Refused(NamedTuple):
    """Another value of a field, which raises an error with this message (a regular expression)."""

    to: Any
    message: str
    also: Mapping[str, Any] = {}


Case = Changes | ChangesNothing | Refused


class Settings(NamedTuple):
    """How the fields of one settings class are tried."""

    kind: type  # a dataclass, or anything with `fields`
    fields: tuple[str, ...]  # all that it has
    run: Callable[[Mapping[str, Any]], Any]  # from the changed fields to the outcome of a small run
    cases: Mapping[str, Case | tuple[Case, ...]]


def differ(before: Any, after: Any) -> bool:
    """The weakest thing to ask of two outcomes; prefer to say how they differ."""
    return bool(before != after)
