"""What kernels that work row by row are handed by mistake: refused in one sentence that names the op, the array and its value.

A kernel reads where its pointers lead, so what NumPy would notice on the way is memory of somebody else here. NaN is no
mistake: it comes out where it went in.

Not here: attention, which has `test_kernel_input.py`; the first argument of every launcher, which has `test_launch.py`.
"""

import re

import numpy as np
import pytest
import torch
from checks import FLOOR, assert_within
from impls import Impl

from kernels._launch import DEVICE
from kernels.optimizer import AdamW
from kernels.table import OPS
from minirembert.ops import OPS as NUMPY_OPS

pytestmark = pytest.mark.gpu if DEVICE.type == "cuda" else []


def numbers(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return (
        np.linspace(-1, 1, max(1, int(np.prod(shape))), dtype=np.float32)[: int(np.prod(shape))]
        .reshape(shape)
        .astype(dtype)
    )


def as_numpy(value: object) -> object:
    return value


def as_tensor(value: object) -> object:
    return torch.from_numpy(value.copy()).to(DEVICE) if isinstance(value, np.ndarray) else value


KINDS = pytest.mark.parametrize("kind", [as_numpy, as_tensor], ids=["numpy", "torch"])
ARGUMENTS = {  # of the forward half, in order; rows of 6
    "softmax": (numbers(4, 6),),
    "layer_norm": (numbers(4, 6), numbers(6), numbers(6), 1e-12),
    "residual_layer_norm": (numbers(4, 6), numbers(4, 6), numbers(6), numbers(6), 1e-12),
    "gelu": (numbers(4, 6),),
    "tanh": (numbers(4, 6),),
    "bias_gelu": (numbers(4, 6), numbers(6)),
    "dropout": (numbers(4, 6), 0.5, 1),
    "linear": (numbers(4, 6), numbers(5, 6), numbers(5)),
    "embedding": (numbers(9, 6), np.array([[1, 2], [3, 8]])),
    "select_rows": (numbers(2, 2, 6), np.array([3, 0])),
    "select_feature": (numbers(4, 6), 2),
    "add": (numbers(4, 6), numbers(6)),
    "scale": (numbers(4, 6), 0.5),
    "reshape": (numbers(4, 6), (6, 4)),
    "cross_entropy": (numbers(4, 6), np.array([0, 5, -100, 2])),
    "mse": (numbers(4, 6), numbers(4, 6)),
    "bce_with_logits": (numbers(4, 6), numbers(4, 6)),
}


def forward(op: str, kind, *changes: tuple[int, object], **settings: object):
    """The forward half, with these of its arguments changed."""
    arguments = list(ARGUMENTS[op])
    for place, value in changes:
        arguments[place] = value
    return OPS[op].forward(*map(kind, arguments), **settings)


# --- the arrays of the forward half ---------------------------------------------------------------------------------------

ARRAYS = [
    ("softmax", 0, numbers(3, 0), ValueError, "softmax: x has shape (3, 0), but a row needs at least one number"),
    ("softmax", 0, numbers(), ValueError, "softmax: x has shape (), but a row needs at least one number"),
    ("layer_norm", 0, numbers(3, 0), ValueError, "layer_norm: x has shape (3, 0), but rows must have 1 to 16384 numbers"),
    ("layer_norm", 0, numbers(1, 16385), ValueError, "x has shape (1, 16385), but rows must have 1 to 16384 numbers"),
    ("bias_gelu", 0, numbers(3, 0), ValueError, "bias_gelu: x has shape (3, 0), but a row needs at least one number"),
    ("layer_norm", 1, numbers(3), ValueError, "layer_norm: weight has shape (3,), expected (6,)"),
    ("layer_norm", 2, numbers(1, 6), ValueError, "layer_norm: bias has shape (1, 6), expected (6,)"),
    ("residual_layer_norm", 1, numbers(6), ValueError, "residual has shape (6,), expected (4, 6)"),
    ("residual_layer_norm", 3, numbers(5), ValueError, "residual_layer_norm: bias has shape (5,), expected (6,)"),
    ("bias_gelu", 1, numbers(1), ValueError, "bias_gelu: bias has shape (1,), expected (6,)"),
    ("linear", 1, numbers(5, 7), ValueError, "linear: weight has shape (5, 7), expected (5, 6)"),
    ("linear", 2, numbers(6), ValueError, "linear: bias has shape (6,), expected (5,)"),
    ("cross_entropy", 0, numbers(2, 2, 6), ValueError, "cross_entropy: logits has shape (2, 2, 6), expected (N, C)"),
    ("cross_entropy", 1, np.array([0, 5]), ValueError, "cross_entropy: labels has shape (2,), expected (4,)"),
    ("mse", 1, numbers(6), ValueError, "mse: predictions have shape (4, 6), targets (6,)"),
    ("bce_with_logits", 1, numbers(6, 4), ValueError, "bce_with_logits: predictions have shape (4, 6), targets (6, 4)"),
    ("layer_norm", 1, None, TypeError, "layer_norm: weight must be a NumPy array or a torch tensor, got NoneType"),
    ("layer_norm", 2, None, TypeError, "layer_norm: bias must be a NumPy array or a torch tensor, got NoneType"),
    ("residual_layer_norm", 1, None, TypeError, "residual must be a NumPy array or a torch tensor, got NoneType"),
    ("bias_gelu", 1, None, TypeError, "bias_gelu: bias must be a NumPy array or a torch tensor, got NoneType"),
    ("linear", 1, None, TypeError, "linear: weight must be a NumPy array or a torch tensor, got NoneType"),
    ("add", 1, 2.0, TypeError, "add: b must be a NumPy array or a torch tensor, got float"),
    ("mse", 1, 2.0, TypeError, "mse: target must be a NumPy array or a torch tensor, got float"),
    ("residual_layer_norm", 1, numbers(4, 6, dtype=np.float64), TypeError, "residual is torch.float64, expected torch.float32"),
    ("linear", 1, numbers(5, 6, dtype=np.float64), TypeError, "weight is torch.float64, expected torch.float32"),
    ("linear", 2, numbers(5, dtype=np.float16), TypeError, "bias is torch.float16, expected torch.float32"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "place", "value", "error", "message"), ARRAYS, ids=[f"{a[0]}: {a[4]}" for a in ARRAYS])
@KINDS
def test_an_array_that_does_not_fit_is_refused(op, place, value, error, message, kind):
    with pytest.raises(error, match=re.escape(message)):
        forward(op, kind, (place, value))


FLOATING = [
    ("layer_norm", 1, "weight"), ("layer_norm", 2, "bias"), ("residual_layer_norm", 1, "residual"),
    ("residual_layer_norm", 2, "weight"), ("bias_gelu", 1, "bias"), ("linear", 1, "weight"), ("linear", 2, "bias"),
    ("add", 1, "b"), ("mse", 1, "target"), ("bce_with_logits", 1, "target"),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["int64", "int32", "bool", "complex64", "complex128"])
@pytest.mark.parametrize(("op", "place", "name"), FLOATING)
@KINDS
def test_what_must_be_floating_point_is_nothing_else(op, place, name, dtype, kind):
    with pytest.raises(TypeError, match=rf"^{op} computes in .*, got torch.{dtype} for {name}$"):
        forward(op, kind, (place, ARGUMENTS[op][place].astype(dtype)))


INTEGERS = [("embedding", "ids"), ("select_rows", "rows"), ("cross_entropy", "labels")]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bool", "complex64"])
@pytest.mark.parametrize(("op", "name"), INTEGERS)
@KINDS
def test_what_must_be_integers_is_nothing_else(op, name, dtype, kind):
    """Truncated, 1.9 would be row 1."""
    with pytest.raises(TypeError, match=rf"^{op}: {name} must hold integers, got torch.{dtype}$"):
        forward(op, kind, (1, ARGUMENTS[op][1].astype(dtype)))


@pytest.mark.parametrize(("op", "name"), INTEGERS)
@KINDS
def test_integers_may_be_a_list(op, name, kind):
    expected, _ = forward(op, as_numpy)
    y, saved = forward(op, kind, (1, ARGUMENTS[op][1].tolist()))
    np.testing.assert_array_equal(np.asarray(torch.as_tensor(y).cpu()), expected)
    (gradient,) = OPS[op].backward(kind(np.ones(expected.shape, np.float32)), saved)
    assert tuple(gradient.shape) == ARGUMENTS[op][0].shape
    with pytest.raises(TypeError, match=f"{op}: {name} must hold integers, got torch.float64"):
        forward(op, kind, (1, ARGUMENTS[op][1].astype(float).tolist()))


# --- the gradient of the backward half, and what forward saved --------------------------------------------------------------

SHAPED = [op for op in ARGUMENTS if op not in ("dropout", "scale", "reshape", "select_feature")]  # these save no shape


@pytest.mark.parametrize("op", SHAPED)
@KINDS
def test_dy_must_have_the_shape_of_y(op, kind):
    y, saved = forward(op, kind)
    shape = tuple(y.shape)
    wrong = [(*shape, 1), (1, *shape), (2,)]
    for axis, n in enumerate(shape):
        wrong += [(*shape[:axis], other, *shape[axis + 1 :]) for other in (n - 1, n + 1)]
    if shape == ():  # a loss takes one number, however it is wrapped
        wrong = [(2,), (1, 3), (0,)]
    if op == "embedding":  # what it saved does not say how wide the table was
        wrong = [other for other in wrong if other[:-1] != shape[:-1]]
    for other in wrong:
        with pytest.raises(ValueError, match=rf"^{op}_backward: dy has shape {re.escape(str(other))}, expected "):
            OPS[op].backward(kind(numbers(*other)), saved)


@pytest.mark.parametrize("op", ARGUMENTS)
@KINDS
def test_what_another_op_saved_is_refused(op, kind):
    other = "softmax" if op != "softmax" else "gelu"
    y, mine = forward(op, kind)
    _, saved = forward(other, kind)
    message = (
        f"^{op}_backward: saved is a {type(saved).__name__}, expected the {type(mine).__name__} of the forward pass$"
    )
    with pytest.raises(TypeError, match=message):
        OPS[op].backward(y, saved)
    with pytest.raises(TypeError, match=f"^{op}_backward: saved is a NoneType"):
        OPS[op].backward(y, None)


# --- tiles ----------------------------------------------------------------------------------------------------------------

LEAST = {
    "softmax": 16,
    "layer_norm": 16,
    "residual_layer_norm": 16,
    "gelu": 16,
    "tanh": 16,
    "bias_gelu": 16,
    "dropout": 4,
}


@pytest.mark.parametrize("op", LEAST)
@KINDS
def test_a_block_is_a_power_of_two(op, kind):
    y, saved = forward(op, kind, block=LEAST[op])
    for block in (0, -8, 3, LEAST[op] // 2, 48, 16.0, True):
        message = f"block must be a power of two from {LEAST[op]} up, got {block}$"
        with pytest.raises(ValueError, match=f"^{op}: {message}"):
            forward(op, kind, block=block)
        with pytest.raises(ValueError, match=f"^{op}_backward: {message}"):
            OPS[op].backward(y, saved, block=block)


# --- no mistakes: nothing, NaN, two dtypes --------------------------------------------------------------------------------


@pytest.mark.parametrize("op", [*LEAST, "linear", "add", "scale"])
@KINDS
def test_no_rows_are_no_numbers(op, kind):
    changes = [(0, numbers(0, 6))] + [(1, numbers(0, 6))] * (op == "residual_layer_norm")
    y, saved = forward(op, kind, *changes)
    dx, *others = OPS[op].backward(y, saved)
    assert tuple(y.shape) == (0, 5 if op == "linear" else 6)
    assert tuple(dx.shape) == (0, 6)
    assert not any(bool((torch.as_tensor(other) != 0).any()) for other in others), "a gradient of nothing"


@pytest.mark.parametrize("hidden", [np.nan, -np.inf, 1.0])
@pytest.mark.parametrize("block", [None, 16])
@pytest.mark.parametrize("width", [1, 4, 5, 40])
@pytest.mark.filterwarnings("ignore:All-NaN slice")  # the interpreter's own maximum
def test_softmax_of_a_row_with_a_NaN_is_NaN(width, block, hidden):
    """`test_op_softmax.py` has this of every implementation, but for tiles of nothing but NaN."""
    x = np.stack([np.full(width, hidden), np.full(width, -np.inf)])
    x[0, width // 2] = np.nan
    y, _ = OPS["softmax"].forward(x, block=block)
    assert np.isnan(y[0]).all()
    np.testing.assert_array_equal(y[1], 1 / width)


@pytest.mark.parametrize(
    "op", ["layer_norm", "residual_layer_norm", "bias_gelu", "gelu", "tanh", "relu", "mish", "silu"]
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in logaddexp")  # NumPy, in mish
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_NaN_comes_out_where_it_went_in(impl: Impl, op):
    arguments = list(ARGUMENTS.get(op, ARGUMENTS["gelu"]))
    x = arguments[0].copy()
    x[1, 2] = np.nan
    arguments[0] = x
    arrays = [a for a in arguments if isinstance(a, np.ndarray)]
    settings = {"eps": 1e-12} if "norm" in op else {}
    y, saved = impl.call(op, *arrays, **settings)
    dx, *_ = impl.call_back(op, np.ones_like(x), saved)
    expected = np.zeros(x.shape, bool)
    expected[(1, slice(None)) if "norm" in op else (1, 2)] = True
    np.testing.assert_array_equal(np.isnan(y), expected)
    if op != "relu":  # whose slope is 0 or 1
        np.testing.assert_array_equal(np.isnan(dx), expected)


@pytest.mark.parametrize("op", ["layer_norm", "residual_layer_norm", "bias_gelu"])
def test_parameters_may_be_wider_than_the_data(op):
    """float32 beside bfloat16: each gradient is of the dtype of what it belongs to."""
    data = 2 if op == "residual_layer_norm" else 1
    arrays = [as_tensor(a) for a in ARGUMENTS[op] if isinstance(a, np.ndarray)]
    mixed = [a.bfloat16() if i < data else a for i, a in enumerate(arrays)]
    settings = {"eps": 1e-12} if "norm" in op else {}
    y, saved = OPS[op].forward(*mixed, **settings)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).to(y)
    gradients = OPS[op].backward(dy, saved)
    assert y.dtype == torch.bfloat16
    assert [g.dtype for g in gradients] == [a.dtype for a in mixed]
    exact, exact_saved = NUMPY_OPS[op].forward(*(a.double().cpu().numpy() for a in mixed), **settings)
    exact_gradients = NUMPY_OPS[op].backward(dy.double().cpu().numpy(), exact_saved)
    eps = float(torch.finfo(torch.bfloat16).eps)
    for got, expected in zip((y, *gradients), (exact, *exact_gradients), strict=True):
        allowed = FLOOR * eps * np.abs(expected).max()
        assert_within(got.double().cpu().numpy(), expected, allowed, op, 0)


# --- AdamW ----------------------------------------------------------------------------------------------------------------


def test_adamw_refuses_parameters_that_it_cannot_write_to():
    table = torch.zeros(4, 6, device=DEVICE)
    for name, bad in {"columns": table[:, :3], "rows": table[::2], "turned": table.T}.items():
        with pytest.raises(ValueError, match=rf"^AdamW: {name} is not contiguous \(shape "):
            AdamW({"fine": table, name: bad})
    with pytest.raises(ValueError, match=r"^AdamW: repeated is not contiguous"):
        AdamW({"repeated": torch.zeros(1, device=DEVICE).expand(5)})
    with pytest.raises(TypeError, match=r"AdamW computes in .*, got torch.int64 for counts"):
        AdamW({"counts": table.long()})
    with pytest.raises(TypeError, match="AdamW: w must be a torch tensor, got ndarray"):
        AdamW({"w": numbers(3)})


@pytest.mark.parametrize(
    ("gradients", "error", "message"),
    [
        ({"a": numbers(3, 2)}, ValueError, "AdamW: there is no gradient for b"),
        ({"a": numbers(3, 2), "b": numbers(3)}, ValueError, r"the gradient of b has shape \(3,\), expected \(5,\)"),
        ({"a": numbers(2, 3), "b": numbers(5)}, ValueError, r"the gradient of a has shape \(2, 3\), expected \(3, 2\)"),
        ({"a": numbers(3, 2), "b": numbers(5, dtype=np.int64)}, TypeError, "got torch.int64 for the gradient of b"),
        ({"a": numbers(3, 2), "b": None}, TypeError, "the gradient of b must be .*, got NoneType"),
        (
            {"a": numbers(3, 2), "b": numbers(5), "c": numbers(5)},
            ValueError,
            "AdamW: there is a gradient for c, which is not one of the parameters",
        ),
    ],
)
@KINDS
def test_adamw_refuses_gradients_that_do_not_fit_and_writes_nothing(gradients, error, message, kind):
    parameters = {"a": torch.ones(3, 2, device=DEVICE), "b": torch.ones(5, device=DEVICE)}
    optimizer = AdamW(parameters)
    with pytest.raises(error, match=message):
        optimizer.step({name: kind(gradient) for name, gradient in gradients.items()}, 0.1)
    assert optimizer.step_count == 0
    assert all(bool((p == 1).all()) for p in parameters.values())


LOADED = {"a": numbers(3, 2), "b": numbers(5)}


@pytest.mark.parametrize(
    ("weights", "state", "error", "message"),
    [
        ({"b": None}, {}, TypeError, "the saved array of b must be .*, got NoneType"),
        ({"b": numbers(1)}, {}, ValueError, r"the saved array of b has shape \(1,\), expected \(5,\)"),
        ({"a": numbers(2)}, {}, ValueError, r"the saved array of a has shape \(2,\), expected \(3, 2\)"),
        ({"a": numbers(3, 2, dtype=np.int64)}, {}, TypeError, "got torch.int64 for the saved array of a"),
        ({}, {"v.a": numbers(1, 2)}, ValueError, r"the saved array of v.a has shape \(1, 2\), expected \(3, 2\)"),
        ({}, {"m.b": numbers(1)}, ValueError, r"the saved array of m.b has shape \(1,\), expected \(5,\)"),
    ],
)
@KINDS
def test_adamw_loads_no_array_of_another_shape_and_writes_nothing(weights, state, error, message, kind):
    """Torch would repeat a small one."""
    parameters = {"a": torch.ones(3, 2, device=DEVICE), "b": torch.ones(5, device=DEVICE)}
    optimizer = AdamW(parameters)
    moments = {f"{kind}.{name}": array for kind in "mv" for name, array in LOADED.items()}
    with pytest.raises(error, match=message):
        optimizer.load(
            *({n: kind(a) for n, a in each.items()} for each in (LOADED | weights, moments | state)), step_count=3
        )
    with pytest.raises(ValueError, match="there is no saved array for b"):
        optimizer.load({"a": LOADED["a"]}, moments, step_count=3)
    with pytest.raises(ValueError, match="step_count"):
        optimizer.load(LOADED, moments, step_count=-1)
    assert optimizer.step_count == 0
    assert all(bool((p == 1).all()) for p in parameters.values())
    assert all(bool((array == 0).all()) for array in (*optimizer.m.values(), *optimizer.v.values()))


@pytest.mark.parametrize("ids", [[5], [-1], [0, 6], [[0, 4], [5, 1]]])
def test_ids_just_beyond_the_table(ids):
    """In our sentence, not in torch's or, on a GPU, in a dead process."""
    with pytest.raises(IndexError, match=r"^ids.* is (5|-1|6), but the table has rows 0 to 4$"):
        OPS["embedding"].forward(numbers(5, 6), np.array(ids))
