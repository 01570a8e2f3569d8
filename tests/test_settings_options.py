"""A settings dataclass as options of a command: each with its type, its default and its place in the object."""

import argparse
from dataclasses import dataclass

import pytest

from minirembert.settings import add_options, from_arguments, option, require_integers, require_positive


@dataclass(frozen=True)
class Sized:
    out: str = option("folder")
    corpus: tuple[str, ...] = option("files", ())
    blocks: tuple[int, ...] = option("numbers", (1, 2))
    steps: int = option("how many", 7)
    most: int | None = option("at most", None)
    rate: float = option("how fast", 0.5)


def read(*words: str) -> Sized:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser, Sized)
    settings: Sized = from_arguments(Sized, parser.parse_args(words))
    return settings


def test_without_options_it_is_the_default() -> None:
    assert read("--out", "x") == Sized("x")


def test_every_option_has_the_type_of_its_field() -> None:
    words = "--out x --corpus a b --blocks 3 4 5 --steps 9 --most 2 --rate 1e-3"
    assert read(*words.split()) == Sized("x", ("a", "b"), (3, 4, 5), 9, 2, 1e-3)
    assert type(read(*words.split()).most) is int


@pytest.mark.parametrize(
    "words", ["", "--out x --steps a", "--out x --steps 1.5", "--out x --steps 1 2", "--out x --nothing 1"]
)
def test_what_is_no_option(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((SystemExit, argparse.ArgumentError)):
        read(*words.split())


def test_limits() -> None:
    require_integers(Sized("x", steps=3), 3, "steps")
    require_positive(Sized("x", rate=1e-9), "steps", "rate")
    with pytest.raises(ValueError, match="steps must be an integer of at least 3, got 2"):
        require_integers(Sized("x", steps=2), 3, "steps")
    for value in (0.0, -1.0, float("inf"), float("nan"), True):
        with pytest.raises(ValueError, match=f"rate must be a number above 0 and finite, got {value}"):
            require_positive(Sized("x", rate=value), "rate")
