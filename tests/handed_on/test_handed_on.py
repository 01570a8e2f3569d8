"""Every field of every settings class, and every option of every command, reaches the place where it counts."""

import argparse
import dataclasses
import functools
import importlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cases import Case, Changes, ChangesNothing, Refused, Settings

import minirembert
from minirembert.cli import COMMANDS

ROOMS = sorted(file.stem for file in Path(__file__).parent.glob("handed_on_*.py"))
MODULES = [importlib.import_module(room) for room in ROOMS]
SETTINGS: list[Settings] = [settings for module in MODULES for settings in module.SETTINGS]
# Options that stand for no field of a settings class: "command option" -> the test that shows what it does.
OPTIONS: dict[str, str] = {name: test for module in MODULES for name, test in module.OPTIONS.items()}


def _each_case() -> Iterator[Any]:
    for settings in SETTINGS:
        for field in settings.fields:
            cases = settings.cases.get(field, ())
            for number, case in enumerate(cases if type(cases) is tuple else (cases,)):
                name = f"{settings.kind.__name__}.{field}" + (f" ({number + 1})" if number else "")
                yield pytest.param(settings, field, case, id=name)


@functools.cache
def _cached(settings_at: int, changed: tuple[tuple[str, Any], ...]) -> Any:
    return SETTINGS[settings_at].run(dict(changed))


def _outcome(settings: Settings, changed: Mapping[str, Any]) -> Any:
    at = next(i for i, other in enumerate(SETTINGS) if other is settings)
    try:
        return _cached(at, tuple(sorted(changed.items())))
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return settings.run(changed)


@pytest.mark.parametrize(("settings", "field", "case"), _each_case())
def test_a_setting_reaches_its_place(settings: Settings, field: str, case: Case):
    changed = {**case.also, field: case.to}
    if isinstance(case, Refused):
        with pytest.raises((ValueError, TypeError, OSError), match=case.message):
            settings.run(changed)
        return
    before, after = _outcome(settings, case.also), _outcome(settings, changed)
    if isinstance(case, ChangesNothing):
        assert before == after, f"{field} is said to change nothing: {case.why}"
    else:
        assert isinstance(case, Changes)
        assert case.how(before, after), f"{field} = {case.to!r} did not change the outcome as it should"


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.kind.__name__)
def test_every_field_has_a_case(settings: Settings):
    assert not set(settings.fields) ^ settings.cases.keys()
    if dataclasses.is_dataclass(settings.kind):
        assert set(settings.fields) >= {field.name for field in dataclasses.fields(settings.kind) if field.init}


# Dataclasses that hold results or parts of something, and steer nothing.
NO_SETTINGS: dict[str, str] = {name: why for module in MODULES for name, why in module.NO_SETTINGS.items()}


def test_every_settings_class_is_tried():
    found = set()
    root = Path(minirembert.__file__).parent
    for file in sorted(root.rglob("*.py")):
        module = ".".join(["minirembert", *file.relative_to(root).with_suffix("").parts]).removesuffix(".__init__")
        if file.stem == "__main__":
            continue
        for name, value in inspect.getmembers(importlib.import_module(module), dataclasses.is_dataclass):
            if inspect.isclass(value) and value.__module__ == module:
                found.add(name)
    assert found == {settings.kind.__name__ for settings in SETTINGS} & found | NO_SETTINGS.keys()


def _options() -> Iterator[tuple[str, argparse.Action]]:
    """Each option and argument of each command, as "lab run --profile"."""

    def of(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for sub, subparser in action.choices.items():
                    yield from of(f"{name} {sub}", subparser)
            elif not isinstance(action, argparse._HelpAction):
                yield f"{name} {action.option_strings[0] if action.option_strings else action.dest}", action

    for name, command in COMMANDS.items():
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        yield from of(name, parser)


def test_every_option_is_tried():
    """Options made of a settings class are its fields; any other names the test that shows what it does."""
    of_settings = {
        f"{command} --{field.replace('_', '-')}"
        for command, settings in ((c, s) for module in MODULES for c, s in module.COMMANDS.items())
        for field in next(tried.fields for tried in SETTINGS if tried.kind is settings)
    }
    assert {name for name, _ in _options()} == of_settings | OPTIONS.keys()
    assert not of_settings & OPTIONS.keys()
    tests = Path(__file__).parents[1]
    for option, test in OPTIONS.items():
        file, function = test.split("::")
        assert f"def {function}(" in (tests / file).read_text("utf-8"), f"{option}: there is no {test}"
