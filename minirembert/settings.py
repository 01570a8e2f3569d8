"""Settings as dataclasses whose fields carry their own help, so that Python and the command line have one list."""

import argparse
import dataclasses
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minirembert.scalars import is_integer, is_number, is_switch, plain


def option(help: str, default: Any = dataclasses.MISSING, metavar: str | None = None) -> Any:
    """A dataclass field with a sentence for `--help`, and a name for its value there (default: by its type)."""
    return dataclasses.field(default=default, metadata={"help": help, "metavar": metavar})


def add_options(parser: argparse.ArgumentParser, settings: type) -> None:
    """One `--option` for every field of a settings dataclass. A tuple takes several values; no default: required."""
    hints = typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        hint = hints[field.name]
        many = typing.get_origin(hint) is tuple
        required = field.default is dataclasses.MISSING
        help = field.metadata["help"]
        if not required and field.default not in (None, ()):
            help += f" (default: {field.default})"
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            type=_scalar(hint),
            nargs="+" if many else None,
            required=required,
            default=None if required else field.default,
            metavar=field.metadata["metavar"] or _metavar(field.name, _scalar(hint)),
            help=help,
        )


def from_arguments(settings: type, arguments: argparse.Namespace) -> Any:
    """The settings object that `add_options` asked for."""
    values = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(settings)}
    return settings(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _scalar(hint: Any) -> Any:
    """int of `int`, `int | None` and `tuple[int, ...]`."""
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint


def _metavar(name: str, scalar: Any) -> str:
    if scalar is not str:
        return "N" if scalar is int else "X"
    return "DIR" if name in ("out", "model", "tokenizer") else "FILE"


def make_plain(settings: Any) -> None:
    """Makes the fields of a frozen dataclass plain, so that settings can be compared, hashed and written as JSON.

    NumPy's scalars become Python's own; a list becomes a tuple, and a path a string, where the field is one.
    """
    for name, (kind, many, _) in _kinds(type(settings)).items():
        value = getattr(settings, name)
        value = plain(tuple(value) if many and isinstance(value, list) else value)
        if kind is str:
            value = tuple(map(_spelled, value)) if isinstance(value, tuple) else _spelled(value)
        object.__setattr__(settings, name, value)


def check_types(settings: Any) -> None:
    """Raises ValueError, naming the field, for a value that is not of the field's type: int, float, bool, str, a tuple of one
    of them, each with or without None. A float may be an integer, and infinite.
    """
    for name, (kind, many, optional) in _kinds(type(settings)).items():
        value = getattr(settings, name)
        if kind not in KINDS or (value is None and optional):
            continue
        what, fits = KINDS[kind]
        if not (isinstance(value, tuple) and all(map(fits, value)) if many else fits(value)):
            described = f"a tuple, each of its values {what}" if many else what
            raise ValueError(f"{name} must be {described}{' or None' if optional else ''}, got {value!r}")


def _kinds(settings: type) -> dict[str, tuple[Any, bool, bool]]:
    """Field -> (int, False, True) for `int | None`: the scalar's type, whether it is a tuple of them, whether None may be."""
    hints = typing.get_type_hints(settings)
    kinds = {}
    for field in dataclasses.fields(settings):
        hint = hints[field.name]
        optional = isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)
        kinds[field.name] = _scalar(hint), typing.get_origin(hint) is tuple, optional
    return kinds


def _spelled(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _is_real(value: Any) -> bool:
    return is_integer(value) or isinstance(value, float)


KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    int: ("an integer", is_integer),
    float: ("a number", _is_real),
    bool: ("true or false", is_switch),
    str: ("a string", lambda value: isinstance(value, str)),
}


def require_integers(settings: Any, least: int, *names: str) -> None:
    """Raises ValueError, naming the field, for one that is not an integer of at least `least`."""
    for name in names:
        value = getattr(settings, name)
        if not is_integer(value) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def require_positive(settings: Any, *names: str) -> None:
    """Raises ValueError, naming the field, for one that is not a finite number above 0."""
    for name in names:
        value = getattr(settings, name)
        if not is_number(value) or value <= 0:
            raise ValueError(f"{name} must be a number above 0 and finite, got {value!r}")
