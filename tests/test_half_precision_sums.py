"""Half precision says where it widens: inputs on which a sum in float16 or bfloat16 would be visibly wrong.

A bfloat16 sum of 2,000 ones is 256, a float16 norm beyond 65,504 is infinite. Each input is made of numbers that the short
type holds; the truth is float64. A result may be off by half of its own last place, since it is rounded once, and by what
float32 loses on the way, which is told by the size of the terms.
"""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checks import FLOOR, assert_within
from torch import Tensor

from kernels import _opaque
from kernels import functional as K
from kernels._column_sums import MOST_PARTS, column_sums, parts_for
from kernels._launch import DEVICE, INTERPRETED
from kernels.backend import TritonBackend
from kernels.optimizer import AdamW
from kernels.table import OPS
from minirembert.ops.losses import IGNORE_INDEX

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
EPS32 = float(torch.finfo(torch.float32).eps)
MANY = 3000  # terms: above 256 and 2,048, where bfloat16 and float16 no longer count by ones

in_half = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())


def positive(seed: int, *shape: int, dtype: torch.dtype, around: float = 1.0) -> Tensor:
    """Numbers of the short type, half as large as `around` or more: their sums do not cancel."""
    drawn = np.asarray(np.random.default_rng(seed).uniform(0.5, 1.5, shape) * around)
    return torch.from_numpy(drawn).to(DEVICE, dtype)


def eighths(seed: int, *shape: int, dtype: torch.dtype) -> Tensor:
    """Multiples of 1/8 between -2 and 2: a sum of two is exact in either type."""
    return torch.from_numpy(np.random.default_rng(seed).integers(-16, 17, shape) / 8).to(DEVICE, dtype)


def exact(*tensors: Tensor) -> list[Tensor]:
    return [tensor.detach().double().requires_grad_() for tensor in tensors]


def assert_rounded_once(
    found: Tensor, expected: Tensor, dtype: torch.dtype, what: str, size: Any = None, by_kernel: bool = False
) -> None:
    """`found` is `expected` in `dtype`. `size`: of the terms, where they cancel."""
    assert found.dtype == dtype, f"{what} is {found.dtype}"
    answer = expected.detach().cpu().numpy()
    kind = torch.finfo(dtype)
    last_place = kind.eps * 2 ** np.floor(np.log2(np.maximum(np.abs(answer), kind.tiny)))
    if by_kernel and INTERPRETED and dtype == torch.bfloat16:
        last_place *= 2  # Triton's interpreter cuts off what a GPU rounds
    on_the_way = np.abs(answer) if size is None else size.detach().cpu().numpy() if isinstance(size, Tensor) else size
    allowed = last_place / 2 + FLOOR * EPS32 * on_the_way
    assert_within(found.detach().cpu().double().numpy(), answer, allowed, what, 0)


# --- what torch computes ------------------------------------------------------------------------------------------------


@in_half
@pytest.mark.parametrize("inner, rows, out", [(MANY, 2, 4), (5, MANY // 2, 4), (5, 2, MANY)])
def test_linear(dtype, inner, rows, out):
    """Over the features forward, over the outputs and over the rows backward; the bias is added before the sum is rounded."""
    x, weight = positive(0, 2, rows, inner, dtype=dtype), positive(1, out, inner, dtype=dtype)
    bias = -(x[0, 0].double() @ weight.double().T).to(dtype)  # so that little is left
    y, saved = OPS["linear"].forward(x, weight, bias)
    x64, weight64, bias64 = exact(x, weight, bias)
    right = F.linear(x64, weight64, bias64)
    assert_rounded_once(y, right, dtype, "y", F.linear(x64, weight64) + bias64.abs())
    dy = positive(2, *y.shape, dtype=dtype)
    expected = torch.autograd.grad(right, (x64, weight64, bias64), dy.double())
    for name, found, answer in zip(
        ("dx", "dweight", "dbias"), OPS["linear"].backward(dy, saved), expected, strict=True
    ):
        assert_rounded_once(found, answer, dtype, name)
    _, without = OPS["linear"].forward(x, weight)
    assert OPS["linear"].backward(dy, without)[2] is None


@in_half
@pytest.mark.parametrize("padding", [None, 0, 2])
def test_the_embeddings_gradient(dtype, padding):
    """Rows 0 and 2 are read many times, row 1 never."""
    ids = torch.from_numpy(np.random.default_rng(0).choice([0, 2, 3], (2, MANY), p=[0.6, 0.3, 0.1])).to(DEVICE)
    dy = positive(1, 2, MANY, 6, dtype=dtype)
    expected = torch.zeros(5, 6, dtype=torch.float64)
    for row in range(5):
        expected[row] = dy.double().cpu()[ids.cpu() == row].sum(dim=0)
    table, saved = positive(2, 5, 6, dtype=dtype), None
    y, saved = OPS["embedding"].forward(table, ids, padding_idx=padding)
    assert torch.equal(y, table[ids])
    (found,) = OPS["embedding"].backward(dy, saved)
    picked, picked_saved = OPS["select_rows"].forward(table.reshape(1, 5, 6), ids.reshape(-1))
    (found_rows,) = OPS["select_rows"].backward(dy.reshape(-1, 6), picked_saved)
    assert torch.equal(picked, table[ids.reshape(-1)])
    assert_rounded_once(found_rows, expected[None], dtype, "the gradient of picked rows")
    if padding is not None:
        expected[padding] = 0
    assert_rounded_once(found, expected, dtype, "the gradient of the table")


@in_half
@pytest.mark.parametrize("shape", [(6,), (1, 6), (), (2, 1, 6)])
def test_a_sum_that_was_broadcast(dtype, shape):
    a, b = positive(0, *shape, dtype=dtype), positive(1, 2, MANY, 6, dtype=dtype)
    y, saved = OPS["add"].forward(a, b)
    a64, b64 = exact(a, b)
    dy = positive(2, *y.shape, dtype=dtype)
    found = OPS["add"].backward(dy, saved)
    for name, gradient, answer in zip(
        ("da", "db"), found, torch.autograd.grad(a64 + b64, (a64, b64), dy.double()), strict=True
    ):
        assert_rounded_once(gradient, answer, dtype, name)


@in_half
def test_scale_rounds_once(dtype):
    """A factor in float32 is not rounded before it multiplies."""
    x, factor = positive(0, 50, 6, dtype=dtype), positive(1, 6, dtype=torch.float32)
    y, saved = OPS["scale"].forward(x, factor)
    assert_rounded_once(y, x.double() * factor.double(), dtype, "y")
    assert_rounded_once(OPS["scale"].backward(x, saved)[0], x.double() * factor.double(), dtype, "dx")


@in_half
@pytest.mark.parametrize("ignored", [IGNORE_INDEX, -5, MANY])
def test_cross_entropy(dtype, ignored):
    """Exponentials and their sum in float32, forward and backward; the mean is one over the rows that have a label."""
    logits = (8 * positive(0, 5, MANY, dtype=dtype)).to(dtype)
    labels = torch.tensor([7, ignored, 0, MANY - 1, ignored], device=DEVICE)
    loss, saved = OPS["cross_entropy"].forward(logits, labels, ignore_index=ignored)
    (wide,) = exact(logits)
    labelled = labels != ignored
    right = (wide.logsumexp(-1) - wide.gather(1, labels.where(labelled, 0)[:, None])[:, 0])[labelled].sum() / 3
    assert_rounded_once(loss, right, torch.float32, "the loss", wide.logsumexp(-1).max())
    (dlogits,) = OPS["cross_entropy"].backward(256.0, saved)
    (expected,) = torch.autograd.grad(right, wide, torch.tensor(256.0, dtype=torch.float64, device=DEVICE))
    probabilities = torch.softmax(wide, -1) * 256
    assert_rounded_once(dlogits, expected, dtype, "dlogits", (probabilities + expected.abs()) * wide.abs().max())


@in_half
@pytest.mark.parametrize("op", ["mse", "bce_with_logits"])
def test_losses_of_pairs(dtype, op):
    """Targets in float32 so close to the predictions that half precision sees no difference."""
    x = positive(0, 7, 60, dtype=dtype)
    (wide,) = exact(x)
    close = wide if op == "mse" else wide.sigmoid()
    target = (close.detach() + 1e-3 * positive(1, 7, 60, dtype=torch.float64)).float()
    loss, saved = OPS[op].forward(x, target)
    oracle = F.mse_loss if op == "mse" else F.binary_cross_entropy_with_logits
    right = oracle(wide, target.double())
    terms = 2 * (wide - target).abs() * wide.abs() if op == "mse" else F.softplus(wide) + target * wide
    assert_rounded_once(loss, right, torch.float32, "the loss", terms.mean() + right)
    (dx,) = OPS[op].backward(4096.0, saved)
    (expected,) = torch.autograd.grad(right, wide, torch.tensor(4096.0, dtype=torch.float64, device=DEVICE))
    assert_rounded_once(dx, expected, dtype, "dx", (2 * 4096 / x.numel()) * (close.abs() + target.abs()))


@pytest.mark.parametrize(
    ("dtype", "value", "count"),
    [
        ("float16", 3e4, 4), ("float16", 0.01, 1), ("bfloat16", 1.0, 3), ("float32", 1e15, 2), ("float64", 1e30, 2),
        ("float64", 0.1, 3),
    ],
)  # fmt: skip
def test_the_norm(dtype, value, count):
    """One that float16 or float32 could not hold, or not as exactly."""
    backend = TritonBackend(dtype)
    arrays = [backend.array(np.full((5, 40), value)) for _ in range(count)]
    held = float(arrays[0][0, 0].double())
    expected = held * np.sqrt(200 * count)
    eps = float(np.finfo("float64" if dtype == "float64" else "float32").eps)
    assert abs(backend.norm(arrays) - expected) <= 200 * count * eps * expected  # in whatever order they are added


# --- what kernels compute -----------------------------------------------------------------------------------------------


def normalised(x: Tensor, eps: float) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + eps).sqrt()


@in_half
@pytest.mark.parametrize("op", ["layer_norm", "residual_layer_norm", "bias_gelu"])
def test_kernels_that_sum_over_rows(dtype, op):
    """The gradients of weights and biases, of more rows than half precision can count."""
    rows, width = MANY // 2, 70
    x, residual = (eighths(seed, rows, width, dtype=dtype) for seed in (0, 1))
    weight, bias = positive(2, width, dtype=dtype), positive(3, width, dtype=dtype)
    dy = positive(4, rows, width, dtype=dtype)
    arrays = {
        "layer_norm": (x, weight, bias), "residual_layer_norm": (x, residual, weight, bias), "bias_gelu": (x, bias),
    }[op]  # fmt: skip
    settings = {} if op == "bias_gelu" else {"eps": 1e-3}
    gradients = OPS[op].backward(dy, OPS[op].forward(*arrays, **settings)[1])
    if op == "bias_gelu":
        shifted = (x.double() + bias.double()).requires_grad_()
        (slopes,) = torch.autograd.grad(F.gelu(shifted), shifted, dy.double())
        assert_rounded_once(gradients[-1], slopes.sum(0), dtype, "dbias", slopes.abs().sum(0), by_kernel=True)
        return
    xhat = normalised((x + residual if op == "residual_layer_norm" else x).double(), 1e-3)
    assert_rounded_once(gradients[-2], (dy * xhat).sum(0), dtype, "dweight", (dy * xhat).abs().sum(0), by_kernel=True)
    assert_rounded_once(gradients[-1], dy.double().sum(0), dtype, "dbias", by_kernel=True)


@in_half
@pytest.mark.parametrize("block", [None, 512])
def test_layer_norm_of_rows_in_pieces(dtype, block):
    """The sum of a row is beyond what float16 holds, and its gradient nearly all along the mean."""
    x = (96 + eighths(0, 3, MANY, dtype=dtype) * 4).to(dtype)
    weight, bias = torch.ones(2, MANY, dtype=dtype, device=DEVICE)
    y, saved = OPS["layer_norm"].forward(x, weight, bias, 1e-3)
    dy = (64 + eighths(1, 3, MANY, dtype=dtype) * 4).to(dtype)
    found = OPS["layer_norm"].backward(dy, saved, block=block)
    x64, weight64, bias64 = exact(x, weight, bias)
    right = F.layer_norm(x64, (MANY,), weight64, bias64, 1e-3)
    assert_rounded_once(y, right, dtype, "y", torch.full_like(right, 96), by_kernel=True)
    dx, *_ = torch.autograd.grad(right, (x64, weight64, bias64), dy.double())
    assert_rounded_once(found[0], dx, dtype, "dx", torch.full_like(dx, 96 * 64), by_kernel=True)


@in_half
@pytest.mark.parametrize(("width", "block"), [(2148, 256), (MANY, None), (300, 16)])
def test_softmax_of_rows_in_pieces(dtype, width, block):
    """The row's sum, and the gain of its gradient, from what is left of each piece."""
    x = eighths(0, 3, width, dtype=dtype)
    y, saved = OPS["softmax"].forward(x, block=block)
    assert_rounded_once(y, torch.softmax(x.double(), -1), dtype, "y", by_kernel=True)
    dy = (64 + eighths(1, 3, width, dtype=dtype)).to(dtype)
    (dx,) = OPS["softmax"].backward(dy, saved, block=block)
    gain = (dy.double() * y.double()).sum(-1, keepdim=True)  # y as it was rounded: that is what backward is told
    assert_rounded_once(
        dx, y.double() * (dy.double() - gain), dtype, "dx", y.double() * (dy.double() + gain), by_kernel=True
    )


@pytest.mark.parametrize("dtype", [*DTYPES.values(), torch.float32], ids=str)
@pytest.mark.parametrize("sums", [1, 2])
def test_the_sums_of_many_programs(dtype, sums):
    parts = positive(0, 300, sums, 70, dtype=torch.float32, around=20.0)
    found = column_sums(parts, dtype)
    assert len(found) == sums
    for i, total in enumerate(found):
        assert_rounded_once(total, parts.double()[:, i].sum(0), dtype, f"sum {i}", by_kernel=True)


def test_how_many_programs_share_the_rows():
    """At least four tiles each, none without one, and never more than MOST_PARTS."""
    assert [parts_for(tiles) for tiles in (0, 1, 4, 5, 8, 9, 4 * MOST_PARTS, 4 * MOST_PARTS + 1, 10**6)] == [
        0, 1, 1, 2, 2, 3, MOST_PARTS, MOST_PARTS, MOST_PARTS,
    ]  # fmt: skip


# --- functions of torch ---------------------------------------------------------------------------------------------------


@in_half
def test_functions_compute_in_the_widest_dtype_of_the_data(dtype):
    """What lies beside it (a layer norm's weights) widens nothing; each gradient has the dtype of its array."""
    short, wide = (positive(seed, 1, 4, 6, dtype=dtype).requires_grad_() for seed in (0, 1)), torch.float32
    x, other = short
    long = positive(2, 1, 4, 6, dtype=wide).requires_grad_()
    weight, bias = (positive(seed, 6, dtype=wide).requires_grad_() for seed in (3, 4))
    cases = {
        "attention": (lambda *a: K.attention(*a, num_heads=2), (x, long, other)),
        "attention, queries": (lambda *a: K.attention(*a, num_heads=2), (long, x, other)),
        "attention_packed": (
            lambda q, k, v: K.attention_packed(q[0], k[0], v[0], 2, np.array([0, 1, 4])), (x, other, long)
        ),
        "residual_layer_norm": (lambda *a: K.residual_layer_norm(*a, weight, bias, 1e-5), (x, long)),
        "residual_layer_norm, residual": (lambda *a: K.residual_layer_norm(*a, weight, bias, 1e-5), (long, x)),
    }  # fmt: skip
    for name, (function, arrays) in cases.items():
        y = function(*arrays)
        assert y.dtype == wide, name
        assert torch.equal(y, function(*(array.to(wide) for array in arrays))), name
        gradients = torch.autograd.grad(y.sum(), arrays)
        assert [g.dtype for g in gradients] == [array.dtype for array in arrays], name
    assert K.residual_layer_norm(x, other, weight, bias, 1e-5).dtype == dtype
    assert K.layer_norm(x, weight, bias, 1e-5).dtype == dtype
    assert K.bias_gelu(x, bias).dtype == dtype


@in_half
def test_what_is_promised_to_a_compiler_is_what_comes(dtype):
    """Shapes and dtypes, of data in half precision beside weights in float32."""
    x, residual = (positive(seed, 2, 4, 6, dtype=dtype) for seed in (0, 1))
    weight, bias = (positive(seed, 6, dtype=torch.float32) for seed in (2, 3))
    cases: dict[str, tuple[Tensor, ...]] = {
        "layer_norm": (x, weight, bias), "residual_layer_norm": (x, residual, weight, bias), "bias_gelu": (x, bias),
        "attention": (x, x, residual), "softmax": (x,), "gelu": (x,), "dropout": (x,),
    }  # fmt: skip
    for op, arrays in cases.items():
        settings = (None, None, 2, False, 0.25, 3)
        found = _opaque.forward(op, arrays, *settings)
        gradients = _opaque.backward(op, x, arrays, found, *settings)
        promised = _opaque.forward(op, [a.to("meta") for a in arrays], *settings)
        promised_gradients = _opaque.backward(
            op, x.to("meta"), [a.to("meta") for a in arrays], [a.to("meta") for a in found], *settings
        )
        for what, real, promise in (("outputs", found, promised), ("gradients", gradients, promised_gradients)):
            described = [[(tuple(a.shape), a.dtype) for a in each] for each in (real, promise)]
            assert described[0] == described[1], f"{what} of {op}"


# --- the optimizer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*DTYPES.values(), torch.float32, torch.float64], ids=str)
def test_adamw_loads_its_masters_into_the_weights(dtype):
    """Into the rounded copy that the model uses, before any step is taken."""
    trained = {"w": positive(0, 3, 5, dtype=dtype), "b": positive(1, 5, dtype=dtype)}
    optimizer = AdamW(trained)
    optimizer.step({name: positive(2, *w.shape, dtype=dtype) for name, w in trained.items()}, 1e-2)
    saved = {name: array.copy() for name, array in optimizer.weights().items()}
    fresh = {name: torch.zeros_like(w) for name, w in trained.items()}
    again = AdamW(fresh)
    again.load(saved, optimizer.state(), optimizer.step_count)
    for name, weight in fresh.items():
        assert weight.dtype == dtype
        assert torch.equal(weight, torch.from_numpy(saved[name]).to(DEVICE, dtype))
        np.testing.assert_array_equal(again.weights()[name], saved[name])


@in_half
def test_adamw_keeps_small_squares(dtype):
    """Squares of gradients that float16 would call 0, and sums of both moments that bfloat16 would not change."""
    weights = {"w": positive(0, 4, 6, dtype=dtype)}
    p, m, v = weights["w"].double(), 0.0, 0.0
    optimizer = AdamW(weights, eps=1e-12, weight_decay=0.0)
    for step in range(1, 6):
        gradient = positive(step, 4, 6, dtype=dtype, around=1e-4)
        optimizer.step({"w": gradient}, 0.01)
        m, v = 0.9 * m + 0.1 * gradient.double(), 0.999 * v + 0.001 * gradient.double() ** 2
        p = p - 0.01 * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-12)
    # The kernel works out 1 - b2 in float32, where it has 1 / 0.001 last places fewer.
    masters, allowed = optimizer.weights()["w"].astype("float64"), 5 * FLOOR * EPS32 * (p.abs() + 0.01 / 0.001)
    assert_within(masters, p.cpu().numpy(), allowed.cpu().numpy(), "masters", 0)
    assert_rounded_once(weights["w"], torch.from_numpy(optimizer.weights()["w"]).double(), dtype, "w", by_kernel=True)
