"""What only a GPU can show: `pytest tests -m gpu` runs this file and, natively, every property of every kernel.

The interpreter runs one program after the other, in NumPy. Races, TF32, the wrap of 32-bit offsets and a kernel that waits
for nobody are out of its sight; here they are asked for. Without a GPU the whole file is skipped.
"""

from typing import Any

import numpy as np
import pytest
import torch
from impls import TRITON
from models import TASKS, make_batch, make_model
from strategies import attention_bias
from test_backends import on_triton

from kernels._launch import DEVICE, INTERPRETED

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(INTERPRETED, reason="there is no GPU, or TRITON_INTERPRET=1")]

REPEATS = 100
TOKENS, HIDDEN, INTERMEDIATE, HEADS = 8192, 1152, 4608, 18


def draw(*shape: int, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator(DEVICE).manual_seed(seed), device=DEVICE, dtype=dtype)


def attention_case(dtype: torch.dtype, batch: int = 16, length: int = 512, **settings: Any) -> Any:
    arrays = [draw(batch, length, HIDDEN, dtype=dtype, seed=seed) for seed in range(3)]
    return arrays, {"num_heads": HEADS, **settings}


def mask(kind: str, batch: int, length: int) -> torch.Tensor:
    bias = attention_bias(kind, batch, HEADS, length, length, np.random.default_rng(0))
    tensor = torch.from_numpy(np.ascontiguousarray(bias)).to(DEVICE)
    return tensor.float() if tensor.is_floating_point() else tensor


CASES = {
    "softmax": lambda t: ([draw(16, HEADS, 512, 512, dtype=t)], {}),
    "softmax of split rows": lambda t: ([draw(64, 250_300, dtype=t)], {}),
    "layer_norm": lambda t: (
        [draw(TOKENS, HIDDEN, dtype=t), draw(HIDDEN, dtype=t), draw(HIDDEN, dtype=t)],
        {"eps": 1e-12},
    ),
    "residual_layer_norm": lambda t: (
        [
            draw(TOKENS, HIDDEN, dtype=t),
            draw(TOKENS, HIDDEN, dtype=t, seed=1),
            draw(HIDDEN, dtype=t),
            draw(HIDDEN, dtype=t),
        ],
        {"eps": 1e-12},
    ),
    "bias_gelu": lambda t: ([draw(TOKENS, INTERMEDIATE, dtype=t), draw(INTERMEDIATE, dtype=t)], {}),
    "attention": attention_case,
    "attention, short": lambda t: attention_case(t, 64, 128),
    "attention, lengths and causal": lambda t: attention_case(
        t, key_lengths=np.arange(16) * 32 + 1, causal=True, drop_prob=0.1, seed=7
    ),
    "attention, boolean": lambda t: attention_case(t, bias=mask("boolean", 16, 512)),
    "attention, bias": lambda t: attention_case(t, 4, 300, bias=mask("relative", 4, 300)),
    "attention_packed": lambda t: (
        [draw(TOKENS, HIDDEN, dtype=t, seed=seed) for seed in range(3)],
        {"num_heads": HEADS, "cu_seqlens": np.array([0, 100, 612, 612, 1124, 4000, TOKENS])},
    ),
    "embedding": lambda t: (
        [draw(1000, 256, dtype=t)],
        {"ids": np.random.default_rng(0).integers(0, 50, (16, 512)), "padding_idx": 0},
    ),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_a_hundred_repeats_give_the_same_bits(name: str, dtype: torch.dtype) -> None:
    """No sum has two owners, so nothing depends on which program was faster."""
    arrays, settings = CASES[name](dtype)
    op = TRITON.ops[name.split(",")[0].split(" ")[0]]

    def run() -> list[torch.Tensor]:
        y, saved = op.forward(*arrays, **settings)
        gradients = op.backward(draw(*y.shape, dtype=dtype, seed=9), saved)
        return [y, *gradients]

    first = run()
    assert all(torch.isfinite(t).all() for t in first)
    for repeat in range(REPEATS):
        for i, (once, again) in enumerate(zip(first, run(), strict=True)):
            assert torch.equal(once, again), f"{name}, repeat {repeat}: result {i} differs"


@pytest.mark.parametrize("name", ["attention", "attention, short", "attention, bias"])
def test_float32_products_are_not_tf32_unless_asked_for(name: str) -> None:
    """TF32 keeps 10 bits: its error is a thousand times that of float32."""
    arrays, settings = CASES[name](torch.float32)
    dy = draw(*arrays[0].shape, dtype=torch.float32, seed=9)

    def run(dtype: torch.dtype) -> list[torch.Tensor]:
        y, saved = TRITON.ops["attention"].forward(*(a.to(dtype) for a in arrays), **settings)
        return [y, *TRITON.ops["attention"].backward(dy.to(dtype), saved)]

    exact = run(torch.float64)
    before = torch.get_float32_matmul_precision()
    errors = {}
    try:
        for precision in ("highest", "high"):
            torch.set_float32_matmul_precision(precision)
            got = run(torch.float32)
            errors[precision] = [float((a - e).norm() / e.norm()) for a, e in zip(got, exact, strict=True)]
    finally:
        torch.set_float32_matmul_precision(before)
    ten_bits, last_place = 2.0**-11, float(torch.finfo(torch.float32).eps)
    assert all(error < 100 * last_place for error in errors["highest"]), errors
    assert all(last_place * 100 < error < 10 * ten_bits for error in errors["high"]), errors


def test_offsets_beyond_two_to_the_thirty_one() -> None:
    """Row 8,580 of 250,300 columns starts beyond 2^31: a 32-bit offset would wrap and read another row."""
    rows, width = 8600, 250_300
    x = torch.zeros(rows, width, dtype=torch.float16, device=DEVICE)
    x[-1] = draw(width, dtype=torch.float16)
    y, saved = TRITON.ops["softmax"].forward(x)
    expected = torch.softmax(x[-1].double(), -1)
    error = (y[-1].double() - expected).abs().max() / expected.max()
    assert error < torch.finfo(torch.float16).eps
    assert (y[-2] == y[0]).all()
    dy = torch.zeros_like(x)
    dy[-1] = draw(width, dtype=torch.float16, seed=1)
    (dx,) = TRITON.ops["softmax"].backward(dy, saved)
    p, d = y[-1].double(), dy[-1].double()
    expected = p * (d - (p * d).sum())
    assert ((dx[-1].double() - expected).abs().max() / expected.abs().max()) < 4 * torch.finfo(torch.float16).eps
    assert not dx[:-1].any()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_the_model_learns_on_the_gpu(dtype: str) -> None:
    """Twenty steps on one batch: the loss falls, to within what the dtype can tell on the same path as NumPy's."""
    task = TASKS["masked lm"]
    model, batch = make_model(task, dtype="float64" if dtype == "float64" else "float32"), make_batch(task)
    twin = on_triton(model, dtype)
    losses: dict[str, list[float]] = {}
    for name, each in (("numpy", model), ("triton", twin)):
        optimizer = each.backend.adamw(each.parameters)
        losses[name] = []
        for _ in range(20):
            loss, gradients = each.loss_and_gradients(**batch)
            optimizer.step(gradients, 1e-3)
            losses[name].append(loss)
    assert losses["triton"][-1] < losses["triton"][0]
    limit = 20 * float(torch.finfo(getattr(torch, dtype)).eps)
    start = losses["numpy"][0]
    assert all(abs(a - b) < limit * start for a, b in zip(losses["numpy"], losses["triton"], strict=True)), losses
