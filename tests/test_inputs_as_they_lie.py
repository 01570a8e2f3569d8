"""Arrays as they lie in memory: every array that a launcher takes may be strided, repeated or a slice of a wider one.

Each result must be that of a contiguous copy, to the last bit; and no argument that could require a gradient is taken as if
it did not.
"""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from impls import lent_to_torch, overlap
from strategies import lay_out

from kernels import attention as A
from kernels import functional as K
from kernels._launch import DEVICE
from kernels.table import OPS
from minirembert.ops import OPS as NUMPY_OPS


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), np.float32)


def whole(seed: int, *shape: int) -> np.ndarray:
    """Small whole numbers: a library may add them in any order and comes to the same bits."""
    return np.asarray(np.random.default_rng(seed).integers(-4, 5, shape), np.float32)


HEADS = [draw(i, 2, 4, 6) for i in range(3)]
TOKENS = [draw(i, 6, 4) for i in range(3)]
DROPPED = {"drop_prob": 0.3, "seed": 3}
SMALL = {"num_heads": 2, "block": (16, 16)}
ROWS = draw(0, 3, 4, 6)
# What an op is called with: arrays by position, then settings. Every argument that may be an array is one somewhere.
CALLS: dict[str, tuple[str, list[np.ndarray], dict[str, Any]]] = {
    "embedding": ("embedding", [whole(0, 5, 6)], {"ids": np.array([[1, 4, 1], [0, 2, 2]])}),
    "linear": ("linear", [whole(0, 3, 4, 6), whole(1, 5, 6), whole(2, 5)], {}),
    "gelu": ("gelu", [ROWS], {}),
    "tanh": ("tanh", [ROWS], {}),
    "identity": ("identity", [ROWS], {}),
    "bias_gelu": ("bias_gelu", [ROWS, draw(1, 6)], {}),
    "softmax": ("softmax", [ROWS], {}),
    "softmax in pieces": ("softmax", [draw(0, 3, 20)], {"block": 16}),
    "layer_norm": ("layer_norm", [ROWS, draw(1, 6), draw(2, 6)], {"eps": 0.1}),
    "layer_norm in pieces": ("layer_norm", [draw(0, 3, 20), draw(1, 20), draw(2, 20)], {"eps": 0.1, "block": 16}),
    "residual_layer_norm": ("residual_layer_norm", [ROWS, draw(3, 3, 4, 6), draw(1, 6), draw(2, 6)], {"eps": 0.1}),
    "attention": ("attention", HEADS, {**SMALL, "key_lengths": np.array([2, 3]), "bias": draw(5, 2, 2, 4, 4)}),
    "attention, boolean bias": ("attention", HEADS, {**SMALL, "bias": draw(5, 2, 1, 4, 4) > 0, **DROPPED}),
    "attention_probabilities": (
        "attention_probabilities", HEADS[:2], {**SMALL, "key_lengths": np.array([2, 3]), "bias": draw(5, 2, 4, 4)}
    ),
    "attention_packed": ("attention_packed", TOKENS, {**SMALL, "cu_seqlens": np.array([0, 2, 2, 6]), **DROPPED}),
    "dropout": ("dropout", [ROWS], DROPPED),
    "add": ("add", [whole(0, 3, 4, 6), whole(1, 4, 6)], {}),
    "scale": ("scale", [ROWS], {"factor": draw(1, 4, 6)}),
    "reshape": ("reshape", [ROWS], {"shape": (4, 18)}),
    "select_rows": ("select_rows", [whole(0, 3, 4, 6)], {"rows": np.array([2, 7, 2, 0])}),
    "select_feature": ("select_feature", [ROWS], {"feature": 2}),
    "concatenate": ("concatenate", [ROWS, draw(1, 3, 2, 6)], {}),
    "cross_entropy": ("cross_entropy", [draw(0, 4, 6)], {"labels": np.array([1, -100, 5, 0])}),
    "mse": ("mse", [whole(0, 4, 6)], {"target": whole(1, 4, 6)}),
    "bce_with_logits": ("bce_with_logits", [draw(0, 4, 6)], {"target": draw(1, 4, 6)}),
}  # fmt: skip
LAYOUTS = (
    "permuted",
    "sliced",
    "backwards",
    "repeated along the first axis",
    "repeated along the last axis",
    "columns",
)
# Sums of these logits, which torch adds in the order in which they lie.
ADDED_AS_THEY_LIE, MOST_TERMS = ("cross_entropy", "bce_with_logits"), 24


def laid(array: np.ndarray, layout: str) -> np.ndarray:
    if layout != "columns":
        return lay_out(array, layout)
    wider = np.ones(
        (*array.shape[:-1], 3 * array.shape[-1]), array.dtype
    )  # the middle one of three arrays side by side
    columns = slice(array.shape[-1], 2 * array.shape[-1])
    wider[..., columns] = array
    return wider[..., columns]


def results(op: str, arrays: list[Any], settings: dict[str, Any], dy: Any = None) -> tuple[np.ndarray, ...]:
    """Output and gradients; of tensors, if the first array is one."""
    y, saved = OPS[op].forward(*arrays, **settings)
    backward = OPS[op].backward
    found = [y]
    if backward is not None:
        given = cotangent(tuple(y.shape)) if dy is None else dy
        tile = {"block": settings["block"]} if "block" in settings else {}
        found += backward(lent_to_torch(given).to(DEVICE) if isinstance(y, torch.Tensor) else given, saved, **tile)
    return tuple(a.cpu().numpy() if isinstance(a, torch.Tensor) else a for a in found if a is not None)


def cotangent(shape: tuple[int, ...]) -> np.ndarray:
    return whole(9, *shape)


def assert_same(op: str, found: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...], what: str) -> None:
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        name = f"{what}: result {i}"
        assert a.shape == b.shape and a.dtype == b.dtype, name
        if op in ADDED_AS_THEY_LIE:
            allowed = MOST_TERMS * np.finfo(np.float32).eps * max(1, np.abs(b).max())
            np.testing.assert_allclose(a, b, rtol=0, atol=allowed, err_msg=name)
        else:
            np.testing.assert_array_equal(a, b, err_msg=name)


def tensor(value: Any) -> Any:
    return lent_to_torch(value).to(DEVICE) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("name", CALLS)
def test_arrays_as_they_lie(name):
    """One array at a time, dy last. NumPy's are lent to torch as they lie; those of torch are tried in one layout."""
    op, arrays, settings = CALLS[name]
    places: list[Any] = [
        *range(len(arrays)),
        *(key for key, value in settings.items() if isinstance(value, np.ndarray)),
    ]
    shape = tuple(OPS[op].forward(*arrays, **settings)[0].shape)
    if name == "attention, boolean bias":  # the rest is as it is without
        places = ["bias"]
    for place in [*places, "dy"]:
        if place == "dy" and (OPS[op].backward is None or shape == ()):
            continue
        plain = cotangent(shape) if place == "dy" else arrays[place] if isinstance(place, int) else settings[place]
        expected: dict[bytes, tuple[np.ndarray, ...]] = {}
        for layout in LAYOUTS:
            if layout == "permuted" and plain.ndim < 2:
                continue
            if place == "cu_seqlens" and layout.startswith("repeated"):
                continue  # they rise
            lying = laid(plain, layout)
            copy = np.array(lying, order="C")

            def call(array: np.ndarray, put: Any, place: Any = place) -> tuple[np.ndarray, ...]:
                given = [put(array if i == place else a) for i, a in enumerate(arrays)]
                named = {key: put(array if key == place else value) for key, value in settings.items()}
                return results(op, given, named, array if place == "dy" else None)

            key = copy.tobytes()
            if key not in expected:
                expected[key] = call(copy, lambda a: a)
            assert_same(op, call(lying, lambda a: a), expected[key], f"{place}, {layout}, NumPy")
            if layout == "sliced":
                assert_same(op, call(lying, tensor), expected[key], f"{place}, {layout}, torch")


BLOCKS = {
    "gelu": ([draw(0, 5, 7)], {}, 16), "dropout": ([draw(0, 5, 7)], DROPPED, 16),
    "bias_gelu": ([draw(0, 5, 7), draw(1, 7)], {}, 16), "softmax": ([draw(0, 5, 7)], {}, 16),
    "layer_norm": ([draw(0, 5, 7), draw(1, 7), draw(2, 7)], {"eps": 0.1}, 16),
}  # fmt: skip


@pytest.mark.parametrize("op", BLOCKS)
def test_blocks_that_are_not_full(op):
    """35 numbers in blocks of 16, 5 rows two to a tile: the last block holds what is left, forward and backward."""
    arrays, settings, block = BLOCKS[op]
    dy = draw(9, 5, 7)
    found = results(op, arrays, {**settings, "block": block}, dy)
    y, saved = NUMPY_OPS[op].forward(*(a.astype("float64") for a in arrays), **settings)
    for i, (a, b) in enumerate(zip(found, (y, *NUMPY_OPS[op].backward(dy.astype("float64"), saved)), strict=True)):
        allowed = 64 * np.finfo(np.float32).eps * max(1, np.abs(b).max())
        assert np.abs(a - b).max() <= allowed, f"result {i}"


def test_gradients_are_those_of_the_same_activation():
    x = torch.linspace(-6, 6, 25, dtype=torch.float64, device=DEVICE)
    step = 1e-5
    for op in ("gelu", "gelu_new", "quick_gelu", "relu", "silu", "mish", "sigmoid", "tanh", "identity"):
        _, saved = OPS[op].forward(x + step)
        (slope,) = OPS[op].backward(torch.ones_like(x), saved)
        rise = (OPS[op].forward(x + 2 * step)[0] - OPS[op].forward(x)[0]) / (2 * step)
        assert float((slope - rise).abs().max()) < step, op


@pytest.mark.parametrize("T", [4, 5])
def test_dropout_of_attention_whatever_the_tile(T):
    """Rows of keys that are a multiple of 4 draw whole fours, others one by one: either way the bits are NumPy's."""
    q, k = draw(0, 2, 3, 8).astype("float64"), draw(1, 2, T, 8).astype("float64")
    settings = {"num_heads": 2, "drop_prob": 0.5, "seed": 11}
    found, _ = A.attention_probabilities(q, k, **settings)
    expected, _ = NUMPY_OPS["attention_probabilities"].forward(q, k, **settings)
    np.testing.assert_array_equal(found == 0, expected == 0)
    assert 0 < (found == 0).mean() < 1


@pytest.mark.parametrize(
    "layout", ["sliced", "backwards", "repeated along the first axis", "repeated along the last axis"]
)
@pytest.mark.parametrize("place", ["bias", "key_lengths", "cu_seqlens"])
def test_masks_of_functions_as_they_lie(place, layout):
    """They are copied, repeated axes and all; the copy says what the mask said."""
    plain = {"bias": draw(5, 2, 2, 4, 4), "key_lengths": np.array([2, 3]), "cu_seqlens": np.array([0, 2, 2, 6])}[place]
    if place == "cu_seqlens" and layout.startswith("repeated"):
        return
    lying = laid(plain, layout)
    if place == "cu_seqlens":
        arrays, function = [tensor(a).requires_grad_() for a in TOKENS], K.attention_packed
    else:
        arrays, function = [tensor(a).requires_grad_() for a in HEADS], K.attention
    found, expected = (function(*arrays, 2, **{place: mask}) for mask in (lying, np.array(lying, order="C")))
    assert torch.equal(found, expected)
    dy = tensor(cotangent(tuple(found.shape)))
    for one, other in zip(*(torch.autograd.grad(y, arrays, dy) for y in (found, expected)), strict=True):
        assert torch.equal(one, other)


# --- what is shared, what is mixed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CALLS)
def test_gradients_are_arrays_of_their_own(name):
    """Whoever writes into one changes neither dy nor the arguments nor another gradient; nor does y share with x."""
    op, arrays, settings = CALLS[name]
    given = [tensor(a.copy()) for a in arrays]
    y, saved = OPS[op].forward(*given, **{key: tensor(value) for key, value in settings.items()})
    if op not in ("identity", "reshape"):  # whose output is a view of x
        assert not any(overlap(y, a) for a in given), "y"
    if OPS[op].backward is None:
        return
    dy = tensor(cotangent(tuple(y.shape)))
    found = [g for g in OPS[op].backward(dy, saved) if g is not None]
    for i, gradient in enumerate(found):
        assert not any(overlap(gradient, other) for other in (*given, dy, y, *found[:i])), f"gradient {i}"


def half(kind: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.ones(shape, dtype=kind, device=DEVICE)


@pytest.mark.parametrize(("one", "other"), [(torch.float16, torch.bfloat16), (torch.bfloat16, torch.float16)])
def test_two_kinds_of_half_precision_are_not_mixed(one, other):
    """They have the same size, and other bits."""
    y, saved = OPS["linear"].forward(half(one, 2, 3), half(one, 4, 3))
    calls = {
        "linear: weight": lambda: OPS["linear"].forward(half(one, 2, 3), half(other, 4, 3)),
        "linear: bias": lambda: OPS["linear"].forward(half(one, 2, 3), half(one, 4, 3), half(other, 4)),
        "linear_backward: dy": lambda: OPS["linear"].backward(y.to(other), saved),
        "residual_layer_norm: residual": lambda: OPS["residual_layer_norm"].forward(
            half(one, 2, 3), half(other, 2, 3), half(one, 3), half(one, 3), 0.1
        ),
        "concatenate: part 1": lambda: OPS["concatenate"].forward(half(one, 1, 2, 3), half(other, 1, 2, 3)),
        "attention: k": lambda: A.attention(half(one, 1, 2, 4), half(other, 1, 2, 4), half(one, 1, 2, 4), 2),
        "attention: v": lambda: A.attention(half(one, 1, 2, 4), half(one, 1, 2, 4), half(other, 1, 2, 4), 2),
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=f"^{name} is {other}, expected {one}"):
            call()


# --- what could require a gradient -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CALLS)
def test_no_launcher_takes_an_array_that_requires_a_gradient(name):
    """By position or by keyword, of floating-point numbers; and dy."""
    op, arrays, settings = CALLS[name]
    names = [parameter.name for parameter in inspect.signature(OPS[op].forward).parameters.values()]
    message = "keeps no graph, so a gradient would be lost"
    floats = [key for key, value in settings.items() if isinstance(value, np.ndarray) and value.dtype.kind == "f"]
    for place in [*range(len(arrays)), *floats]:
        given = [tensor(a.copy()).requires_grad_(i == place) for i, a in enumerate(arrays)]
        named = {key: tensor(value) for key, value in settings.items()}
        if isinstance(place, str):
            named[place] = named[place].clone().requires_grad_()
        with pytest.raises(RuntimeError, match=f"^kernels' {op} {message}"):
            OPS[op].forward(*given, **named)
        if op != "concatenate" and isinstance(place, int):
            with pytest.raises(RuntimeError, match=f"^kernels' {op} {message}"):
                OPS[op].forward(**dict(zip(names, given, strict=False)), **named)
        with torch.no_grad():
            OPS[op].forward(*given, **named)
    if OPS[op].backward is None:
        return
    y, saved = OPS[op].forward(*map(tensor, arrays), **{key: tensor(value) for key, value in settings.items()})
    dy = tensor(cotangent(tuple(y.shape))).requires_grad_()
    with pytest.raises(RuntimeError, match=message):
        OPS[op].backward(dy, saved)


FUNCTIONS = sorted(
    name
    for name, member in vars(K).items()
    if inspect.isfunction(member) and member.__module__ == K.__name__ and name in OPS
)
GIVEN: dict[str, Any] = {
    "x": draw(0, 2, 3, 4), "residual": draw(1, 2, 3, 4), "weight": draw(2, 4), "eps": 0.1, "num_heads": 2, "causal": False,
    "drop_prob": 0.5, "seed": 3, "key_lengths": np.array([2, 3]), "cu_seqlens": np.array([0, 1, 3]),
}  # fmt: skip
# What a number would be as a tensor; of integers and booleans none can require a gradient.
NUMBERS = ("eps", "drop_prob")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_gets_its_gradient_or_is_refused(name):
    """Whatever of a function's arguments requires a gradient: it gets one, or the call says that there is none."""
    function = getattr(K, name)
    given = {}
    for parameter in inspect.signature(function).parameters:
        if parameter in ("q", "k", "v"):
            given[parameter] = draw(ord(parameter), *((3, 4) if name == "attention_packed" else (2, 3, 4)))
        elif parameter == "bias":
            given[parameter] = draw(7, 3, 3) if name == "attention" else draw(7, 4)
        else:
            given[parameter] = GIVEN[parameter]
    for parameter, value in given.items():
        if not (parameter in NUMBERS or (isinstance(value, np.ndarray) and value.dtype.kind == "f")):
            continue
        arguments = {other: tensor(a) for other, a in given.items()}
        asked = torch.as_tensor(value, device=DEVICE).clone().requires_grad_()
        arguments[parameter] = asked
        if parameter in NUMBERS or (name == "attention" and parameter == "bias"):
            with pytest.raises(ValueError, match=f"^{name} has no gradient for {parameter}: detach it first"):
                function(**arguments)
            continue
        y = function(**arguments)
        (gradient,) = torch.autograd.grad(y, asked, tensor(draw(9, *y.shape)))
        assert gradient.shape == asked.shape and bool((gradient != 0).any()), parameter


def test_every_function_is_tried():
    assert FUNCTIONS == [
        "attention", "attention_packed", "bias_gelu", "dropout", "gelu", "layer_norm", "residual_layer_norm", "softmax",
    ]  # fmt: skip
    assert {op for op, *_ in CALLS.values()} | {
        "gelu_new", "quick_gelu", "relu", "silu", "mish", "sigmoid"
    } == set(OPS), "an op whose arrays nobody lays out"  # fmt: skip
