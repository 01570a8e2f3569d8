"""What transformers 4.34 gave, call for call: the documented interface, of which version 5 has lost a part.

`record_4_34.py` says how the numbers were made; the calls are in `recorded_cases.py`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks import PARITY_OUTPUTS, assert_within, largest_in_row
from recorded_cases import CASES, SIZES, flattened, weight

import minirembert

RECORDED = np.load(Path(__file__).parent / "data" / "transformers_4_34.npz")
STRUCTURES = json.loads(str(RECORDED["structures"]))


def shape_of(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.strip("()").split(",") if n)


def shapes_in(structure: Any) -> list[tuple[int, ...]]:
    if structure is None:
        return []
    if isinstance(structure, str):
        return [shape_of(structure)]
    return [shape for part in structure for shape in shapes_in(part)]


def recorded_arrays() -> dict[str, list[np.ndarray]]:
    numbers, start, found = RECORDED["numbers"], 0, {}
    for call, structure in STRUCTURES.items():
        found[call] = []
        for shape in shapes_in(structure):
            count = int(np.prod(shape))
            found[call].append(numbers[start : start + count].reshape(shape))
            start += count
    assert start == len(numbers)
    return found


ARRAYS = recorded_arrays()


def made(name: str, backend: str = "numpy") -> Any:
    case = CASES[name]
    kind = getattr(minirembert, f"RemBert{case.model}")
    pooling = {} if case.pooling else {"add_pooling_layer": False}
    model = kind(minirembert.RemBertConfig(**SIZES, **case.config), dtype="float64", backend=backend, **pooling)
    for parameter, array in model.parameters.items():
        model.parameters[parameter] = model.backend.array(weight(parameter, tuple(array.shape)))
    return model


@pytest.mark.parametrize("backend", ["numpy", "triton"])
@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_transformers_4_34_gave(name, backend):
    """The same tuple: what it holds, in which order, where None stays, and every number."""
    model, past = made(name, backend), None
    for n, call in enumerate(CASES[name].calls):
        carried = {} if past is None else {"past_key_values": past}
        structure, arrays = flattened(on_host(model, model(**call, **carried, return_dict=False)))
        assert structure == STRUCTURES[f"{name} {n}"]
        for i, (actual, expected) in enumerate(zip(arrays, ARRAYS[f"{name} {n}"], strict=True)):
            allowed = (
                PARITY_OUTPUTS * largest_in_row(np.abs(expected)) if expected.ndim else PARITY_OUTPUTS * abs(expected)
            )
            assert_within(actual, expected, allowed, f"array {i} of call {n}", None)
        past = model(**call, **carried).past_key_values if CASES[name].carry else None


def on_host(model: Any, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(on_host(model, item) for item in value)
    return model.backend.numpy(value)
