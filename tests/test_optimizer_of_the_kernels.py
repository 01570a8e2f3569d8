"""AdamW of the kernels, step by step, beside its formula written out in float64: blocks, layouts, settings."""

import numpy as np
import pytest
import torch
from checks import FLOOR, assert_within
from strategies import lay_out

from kernels._launch import DEVICE
from kernels.backend import TritonBackend
from kernels.optimizer import BLOCK, AdamW

SETTINGS = {"betas": (0.8, 0.95), "eps": 0.03, "weight_decay": 0.4}
SHAPES = {"matrix": (37, 41), "vector": (BLOCK + 1,), "number": (), "one block": (8, BLOCK // 8)}
RATES = (0.01, 0.03, 0.02)


def draw(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), np.float32)


def by_hand(p: np.ndarray, gradients: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The weight and both moments after these steps. Only what has two axes or more decays."""
    (b1, b2), decay = SETTINGS["betas"], SETTINGS["weight_decay"] if p.ndim > 1 else 0.0
    p, m, v = p.astype("float64"), np.zeros(p.shape), np.zeros(p.shape)
    for step, (g, rate) in enumerate(zip(gradients, RATES, strict=True), 1):
        m = b1 * m + (1 - b1) * g.astype("float64")
        v = b2 * v + (1 - b2) * g.astype("float64") ** 2
        update = (m / (1 - b1**step)) / (np.sqrt(v / (1 - b2**step)) + SETTINGS["eps"])
        p = p - rate * update - rate * decay * p
    return p, m, v


@pytest.mark.parametrize("layout", ["plain", "permuted", "sliced", "repeated along the last axis"])
def test_three_steps(layout):
    """More numbers than a block and not a multiple of it; gradients in NumPy and in torch, in any layout."""
    start = {name: draw(i, shape) for i, (name, shape) in enumerate(SHAPES.items())}
    steps = [{name: draw(10 * step + i, SHAPES[name]) for i, name in enumerate(SHAPES)} for step in (1, 2, 3)]
    steps = [{name: lay_out(g, layout) for name, g in gradients.items()} for gradients in steps]
    backend = TritonBackend("float32")
    weights = {name: backend.array(a.copy()) for name, a in start.items()}
    optimizer = backend.adamw(weights, **SETTINGS)
    assert isinstance(optimizer, AdamW)
    for i, (gradients, rate) in enumerate(zip(steps, RATES, strict=True)):
        in_torch = {name: torch.from_numpy(np.array(g)).to(DEVICE) for name, g in gradients.items()}
        optimizer.step(in_torch if i == 1 else gradients, rate)
    assert optimizer.step_count == 3
    state = optimizer.state()
    for name in SHAPES:
        right = by_hand(start[name], [gradients[name] for gradients in steps])
        for what, found, expected in zip(
            ("weight", "m", "v"),
            (backend.numpy(weights[name]), state[f"m.{name}"], state[f"v.{name}"]),
            right,
            strict=True,
        ):
            allowed = 3 * FLOOR * np.finfo(np.float32).eps * np.maximum(np.abs(expected), 1)
            assert_within(found.astype("float64"), expected, allowed, f"{what} of {name}", 0)


def test_nothing_beyond_the_last_number_is_written():
    """The last block is not full; what lies behind it in memory is somebody else's."""
    memory = torch.full((2 * BLOCK,), 7.0, device=DEVICE)
    weight = memory[: BLOCK + 5]
    AdamW({"w": weight}, **SETTINGS).step({"w": torch.ones_like(weight)}, 0.1)
    assert bool((memory[BLOCK + 5 :] == 7).all()) and bool((weight != 7).all())
