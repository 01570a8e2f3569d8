"""Settings in NumPy's own scalars, and results that keep the dtype of the data whatever lies beside them."""

from typing import Any

import numpy as np
import pytest
import torch
from checks import assert_within
from impls import NUMPY, TRITON

from kernels._launch import DEVICE
from kernels.optimizer import AdamW

LENGTHS = np.array([2, 3])


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), np.float32)


HEADS = [draw(i, 2, 3, 4) for i in range(3)]
TOKENS = [draw(i, 5, 4) for i in range(3)]
PLAIN = {"num_heads": 2, "causal": True, "drop_prob": 0.3, "seed": 2**40 + 3}
# What an op is called with: arrays, then settings in Python's own types.
CALLS: dict[str, tuple[str, list[np.ndarray], dict[str, Any]]] = {
    "attention": ("attention", HEADS, PLAIN | {"key_lengths": LENGTHS}),
    "attention, bias": ("attention", HEADS, PLAIN | {"bias": draw(5, 3, 3)}),
    "attention_packed": ("attention_packed", TOKENS, PLAIN | {"cu_seqlens": np.array([0, 2, 5])}),
    "attention_probabilities": ("attention_probabilities", HEADS[:2], PLAIN),
    "layer_norm": ("layer_norm", [draw(0, 3, 4), draw(1, 4), draw(2, 4)], {"eps": 0.3}),
    "residual_layer_norm": (
        "residual_layer_norm",
        [draw(0, 3, 4), draw(3, 3, 4), draw(1, 4), draw(2, 4)],
        {"eps": 0.3},
    ),
    "dropout": ("dropout", [draw(0, 3, 4)], {"drop_prob": 0.3, "seed": -7}),
    "dropout of a number": ("dropout", [draw(0)], {"drop_prob": 0.3, "seed": 7}),
    "embedding": ("embedding", [draw(0, 3, 4)], {"ids": np.array([0, 2]), "padding_idx": 2}),
    "cross_entropy": ("cross_entropy", [draw(0, 3, 4)], {"labels": np.array([1, -5, 0]), "ignore_index": -5}),
    "mse": ("mse", [draw(0, 3, 4)], {"target": draw(1, 3, 4)}),
    "mse of a number": ("mse", [draw(0)], {"target": draw(1)}),
    "mse of nothing": ("mse", [draw(0, 0, 4)], {"target": draw(1, 0, 4)}),
    "bce_with_logits": ("bce_with_logits", [draw(0, 3, 4)], {"target": draw(1, 3, 4)}),
    "bce_with_logits of a number": ("bce_with_logits", [draw(0)], {"target": draw(1)}),
    "bce_with_logits of nothing": ("bce_with_logits", [draw(0, 0)], {"target": draw(1, 0)}),
    "scale": ("scale", [draw(0, 3, 4)], {"factor": 0.3}),
    "scale of a number": ("scale", [draw(0)], {"factor": 0.3}),
    "scale of nothing": ("scale", [draw(0, 0, 4)], {"factor": 0.3}),
    "scale by an array": ("scale", [draw(0, 3, 4)], {"factor": draw(1, 3, 1)}),
    "select_feature": ("select_feature", [draw(0, 3, 4)], {"feature": 2}),
    "select_feature of a row": ("select_feature", [draw(0, 4)], {"feature": 2}),
    "reshape": ("reshape", [draw(0, 3, 4)], {"shape": (2, 6)}),
    "add": ("add", [draw(0, 3, 4), draw(1, 4)], {}),
    "gelu of a number": ("gelu", [draw(0)], {}),
    "bias_gelu": ("bias_gelu", [draw(0, 3, 4), draw(1, 4)], {}),
}
every_call = pytest.mark.parametrize("name", CALLS)


def scalars(value: Any) -> list[Any]:
    """The same value in the types that NumPy has for it."""
    if isinstance(value, bool):
        return [np.bool_(value)]
    if isinstance(value, int):
        return [np.int64(value), np.uint64(value)] if value >= 0 else [np.int64(value)]
    if isinstance(value, float):
        return [np.float64(value), np.float32(value)]
    return [tuple(np.int64(n) for n in value)] if isinstance(value, tuple) else []


def results(impl: Any, name: str, dy_dtype: str = "float32", **changes: Any) -> list[np.ndarray]:
    op, arrays, settings = CALLS[name]
    y, saved = impl.call(op, *arrays, **settings | changes)
    if impl.ops[op].backward is None:
        return [y]
    dy = np.asarray(np.random.default_rng(9).standard_normal(y.shape), dy_dtype)
    return [y, *impl.call_back(op, dy, saved)]


def assert_float32(found: list[np.ndarray]) -> None:
    for i, array in enumerate(found):
        assert isinstance(array, np.ndarray), f"result {i} is a {type(array).__name__}"
        assert array.dtype == np.float32, f"result {i} is {array.dtype}"


@every_call
def test_numpy_s_scalars_are_python_s(impl, name):
    """The same bits, in float32. A float32 may be another number, which is then what Python is told as well."""
    expected = results(impl, name)
    assert_float32(expected)
    for setting, value in CALLS[name][2].items():
        for scalar in scalars(value):
            found = results(impl, name, **{setting: scalar})
            assert_float32(found)
            same = expected if not isinstance(scalar, np.float32) else results(impl, name, **{setting: float(scalar)})
            for a, b in zip(found, same, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=f"{setting}={scalar!r}")


@pytest.mark.parametrize("name", ["mse", "mse of a number", "mse of nothing", "bce_with_logits", "cross_entropy"])
def test_a_wider_gradient_widens_nothing(impl, name):
    wide, narrow = (results(impl, name, dtype)[1] for dtype in ("float64", "float32"))
    assert_float32([wide])
    assert_within(wide, narrow, 4 * np.finfo(np.float32).eps * np.abs(narrow), f"{name}, dy in float64", 9)


WIDER = {
    "attention, bias": "bias", "scale by an array": "factor", "mse": "target", "mse of a number": "target",
    "bce_with_logits": "target",
}  # fmt: skip


@pytest.mark.parametrize("name", WIDER)
def test_wider_settings_widen_nothing(impl, name):
    expected = results(impl, name)
    setting = WIDER[name]
    found = results(impl, name, **{setting: CALLS[name][2][setting].astype("float64")})
    assert_float32(found)
    for a, b in zip(found, expected, strict=True):
        allowed = 4 * np.finfo(np.float32).eps * np.abs(b).max()
        assert_within(a, b, np.full_like(b, allowed), f"{name}, {setting} in float64", 9)


@pytest.mark.parametrize(
    ("op", "changes", "kind", "message"),
    [
        ("attention", {"num_heads": 2.0}, TypeError, "num_heads must be an integer, got 2.0"),
        ("attention", {"num_heads": np.bool_(True)}, TypeError, "num_heads must be an integer"),
        ("attention", {"causal": "no"}, TypeError, "causal must be True or False, got 'no'"),
        ("attention", {"causal": 1}, TypeError, "causal must be True or False, got 1"),
        ("attention", {"drop_prob": np.float64(1)}, ValueError, r"must lie in \[0, 1\), got 1.0"),
        ("attention", {"drop_prob": "half"}, TypeError, "probability must be a number, got 'half'"),
        ("dropout", {"seed": 2**64}, ValueError, r"seed is 18446744073709551616, but it must lie in \[-2\^63, 2\^64\)"),
        ("dropout", {"seed": 1.0}, TypeError, "seed must be an integer, got 1.0"),
        ("dropout", {"drop_prob": np.nan}, ValueError, r"must lie in \[0, 1\), got nan"),
        ("layer_norm", {"eps": "small"}, TypeError, "eps must be a number, got 'small'"),
        ("scale", {"factor": "two"}, TypeError, "factor must be a number, got 'two'"),
        ("select_feature", {"feature": 1.0}, TypeError, "feature must be an integer, got 1.0"),
        ("cross_entropy", {"ignore_index": -5.0}, TypeError, "ignore_index must be an integer, got -5.0"),
        ("embedding", {"padding_idx": 1.0}, TypeError, "padding_idx must be an integer, got 1.0"),
    ],
)
def test_settings_of_another_kind(op, changes, kind, message):
    """The kernels' sentence; NumPy's ops have the same, behind the check of types that only tests make."""
    with pytest.raises(kind, match=message):
        results(TRITON, op, **changes)


def test_any_seed_of_64_bits_may_come_from_numpy(impl):
    x = draw(0, 4, 5)
    for seed in (np.random.default_rng(0).integers(2**63), np.uint64(2**64 - 1), np.int64(-1), np.uint8(255)):
        y, _ = impl.call("dropout", x, drop_prob=0.5, seed=seed)
        expected, _ = NUMPY.call("dropout", x, drop_prob=0.5, seed=int(seed))
        np.testing.assert_array_equal(y, expected)


def test_blocks_may_be_numpy_s_integers():
    q = torch.from_numpy(draw(0, 1, 3, 4)).to(DEVICE)
    y, _ = TRITON.ops["attention"].forward(q, q, q, 2, block=(np.int64(16), np.int32(16)))
    assert torch.equal(y, TRITON.ops["attention"].forward(q, q, q, 2, block=(16, 16))[0])
    for op, more in (("softmax", []), ("gelu", []), ("layer_norm", [q[0, 0], q[0, 0], 0.5]), ("dropout", [0.5, 1])):
        y, _ = TRITON.ops[op].forward(q, *more, block=np.int64(16))
        assert torch.equal(y, TRITON.ops[op].forward(q, *more, block=16)[0])


def test_the_optimizer_s_settings_may_be_numpy_s():
    def after_two_steps(of: Any) -> np.ndarray:
        weight = torch.from_numpy(draw(0, 3, 4)).to(DEVICE)
        optimizer = AdamW({"weight": weight}, betas=(of(0.75), of(0.5)), eps=of(0.25), weight_decay=of(0.5))
        for seed in (1, 2):
            optimizer.step({"weight": torch.from_numpy(draw(seed, 3, 4)).to(DEVICE)}, of(0.125))
        optimizer.load(optimizer.weights(), optimizer.state(), np.int64(optimizer.step_count))
        assert type(optimizer.step_count) is int
        return weight.cpu().numpy()

    for of in (np.float64, np.float32, np.float16):
        np.testing.assert_array_equal(after_two_steps(of), after_two_steps(float))
    with pytest.raises(TypeError, match="eps must be a number, got 'small'"):
        AdamW({}, eps="small")
