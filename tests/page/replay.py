"""Runs the examples of examples.md where there is neither PyTorch nor TensorFlow: python replay.py OUT

The working directory must have google/rembert in it. After each block what its variables hold goes into OUT, a pickle of
{(class, number of the block): {name: value}}, with arrays, numbers and strings in place of our own objects. The blocks of a
TensorFlow class go on with the variables of the one before, as on the page.
"""

import doctest
import pickle
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import numpy as np

EXAMPLES = Path(__file__).with_name("examples.md")
REFUSED = ("torch", "triton", "tensorflow", "transformers", "jax", "flax")


class Refuse(MetaPathFinder):
    """As if none of these were installed."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        if name.split(".")[0] in REFUSED:
            raise ImportError(f"the examples run without {name}")


def blocks() -> dict[str, list[str]]:
    """The source of every block, by the class it belongs to."""
    _, *sections = re.split(r"^## (\w+)$", EXAMPLES.read_text(encoding="utf-8"), flags=re.MULTILINE)
    parser = doctest.DocTestParser()
    found = {}
    for name, section in zip(sections[::2], sections[1::2], strict=True):
        code = re.findall(r"^```\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
        found[name] = ["".join(example.source for example in parser.get_examples(block)) for block in code]
    return found


def plain(value: Any) -> Any:
    """`value` without classes of ours, so that a process that has not imported them can read it."""
    if isinstance(value, type):
        return repr(value)
    if hasattr(value, "parameters") and hasattr(value, "config"):
        return {"class": type(value).__name__, "config": value.config.to_dict(), "parameters": value.parameters}
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, Mapping) or hasattr(value, "items"):
        return {name: plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value if isinstance(value, np.ndarray | np.generic | bool | int | float | str | None) else repr(value)


def replay() -> dict[tuple[str, int], dict[str, Any]]:
    seen = {}
    for name, sources in blocks().items():
        variables: dict[str, Any] = {}
        for number, source in enumerate(sources, start=1):
            if not name.startswith("TF"):
                variables = {}
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                exec(compile(source, f"{name}, block {number}", "exec"), variables)
            values = {key: plain(value) for key, value in variables.items() if not key.startswith("__")}
            seen[name, number] = {**values, "warnings": [str(warning.message) for warning in caught]}
    return seen


if __name__ == "__main__":
    sys.meta_path.insert(0, Refuse())
    Path(sys.argv[1]).write_bytes(pickle.dumps(replay()))
    there = [name for name in REFUSED if name in sys.modules]
    assert not there, there
