"""Settings as dataclasses whose fields carry their own help, so that Python and the command line have one list."""

import argparse
import dataclasses
import math
import types
import typing
from typing import Any


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


def is_number(value: Any) -> bool:
    """Whether it is a finite number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def require_integers(settings: Any, least: int, *names: str) -> None:
    """Raises ValueError, naming the field, for one that is no integer of at least `least`."""
    for name in names:
        value = getattr(settings, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def require_positive(settings: Any, *names: str) -> None:
    """Raises ValueError, naming the field, for one that is no number above 0, or none that is finite."""
    for name in names:
        value = getattr(settings, name)
        if not is_number(value) or value <= 0:
            raise ValueError(f"{name} must be a number above 0 and finite, got {value!r}")
