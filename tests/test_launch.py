"""The way into and out of a kernel: arrays of every kind, by position or by name, and what is refused there."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from checks import PARITY_GRADIENTS, PARITY_OUTPUTS
from impls import lent_to_torch

from kernels import attention, layernorm, random, softmax
from kernels._launch import DEVICE, INTERPRETED, MOST_BLOCKS, blocks_of, input_precision, on_host
from kernels.backend import TritonBackend
from minirembert import ops


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def test_views_that_begin_at_the_same_place_are_kept_apart() -> None:
    """The interpreter tells arrays apart by where they begin; these begin together and end elsewhere."""
    x = draw(2, 7, 8)
    y, saved = attention.attention(x[:, :3], x, x, 2)
    expected, expected_saved = ops.attention.attention(x[:, :3], x, x, 2)
    np.testing.assert_allclose(y, expected, rtol=PARITY_OUTPUTS, atol=PARITY_OUTPUTS)
    dy = draw(2, 3, 8)
    for gradient, other in zip(
        attention.attention_backward(dy, saved), ops.attention.attention_backward(dy, expected_saved), strict=True
    ):
        np.testing.assert_allclose(gradient, other, rtol=PARITY_GRADIENTS, atol=PARITY_GRADIENTS)
    z = draw(5, 6)
    y, saved = layernorm.layer_norm(z, z[0], z[1], 1e-5)
    expected, expected_saved = ops.layernorm.layer_norm(z, z[0], z[1], 1e-5)
    np.testing.assert_allclose(y, expected, rtol=PARITY_OUTPUTS, atol=PARITY_OUTPUTS)
    dx, *_ = layernorm.layer_norm_backward(z, saved)
    np.testing.assert_allclose(
        dx, ops.layernorm.layer_norm_backward(z, expected_saved)[0], rtol=PARITY_GRADIENTS, atol=PARITY_GRADIENTS
    )


def test_a_gradient_that_begins_where_an_argument_begins() -> None:
    """What was saved lies in memory, too: here dy and x begin together and end elsewhere."""
    z, weight, bias = draw(60), draw(6) + 2, draw(6)
    views = z.reshape(5, 12)[:, :6], z[:35].reshape(5, 7)[:, :6]
    found = {}
    for name, (x, dy) in (("views", views), ("copies", tuple(view.copy() for view in views))):
        _, saved = layernorm.layer_norm(x, weight, bias, 1e-5)
        found[name] = layernorm.layer_norm_backward(dy, saved)
    for gradient, other in zip(found["views"], found["copies"], strict=True):
        np.testing.assert_array_equal(gradient, other)


def test_arguments_may_be_named() -> None:
    x = draw(3, 5)
    y, saved = softmax.softmax(x=x)
    np.testing.assert_array_equal(y, softmax.softmax(x)[0])
    (dx,) = softmax.softmax_backward(saved=saved, dy=x)
    np.testing.assert_array_equal(dx, softmax.softmax_backward(x, saved)[0])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((2, 3), int), "softmax computes in .*, got torch.int64 for x"),
        (np.ones((2, 3), complex), "softmax computes in .*, got torch.complex128 for x"),
        ([[1.0, 2.0]], "softmax: x must be a NumPy array or a torch tensor, got list"),
        (None, "softmax: x must be a NumPy array or a torch tensor, got NoneType"),
    ],
)
def test_what_is_no_array_of_floating_point_numbers(x: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        softmax.softmax(x)


def test_a_gradient_is_not_lost_without_a_word() -> None:
    x = lent_to_torch(draw(2, 3)).to(DEVICE).requires_grad_()
    with pytest.raises(RuntimeError, match=r"keeps no graph, so a gradient would be lost: use kernels\.functional"):
        softmax.softmax(x)
    with torch.no_grad():
        assert not softmax.softmax(x)[0].requires_grad


def test_what_came_as_numpy_is_still_on_the_host() -> None:
    ids = np.arange(3)
    np.testing.assert_array_equal(on_host(torch.from_numpy(ids)), ids)


@pytest.mark.skipif(not INTERPRETED, reason="there is a GPU")
def test_compiled_kernels_without_a_gpu_are_one_sentence() -> None:
    program = "import numpy as np; from kernels.softmax import softmax; softmax(np.ones((2, 3)))"
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last == "RuntimeError: TRITON_INTERPRET=0 asks for compiled kernels, but there is no GPU: unset it"


@pytest.mark.parametrize("device", ["foo", "CPU", "cpu:3", 0, "cuda:x"])
def test_a_device_that_does_not_exist(device: object) -> None:
    with pytest.raises(ValueError, match="device must be cpu, cuda or cuda:N, got"):
        TritonBackend("float32", device)


def test_as_many_blocks_as_a_grid_can_have() -> None:
    assert blocks_of("softmax", MOST_BLOCKS * 16, 16) == MOST_BLOCKS
    with pytest.raises(ValueError, match=f"are {MOST_BLOCKS + 1} blocks, but a grid has at most {MOST_BLOCKS}"):
        blocks_of("softmax", MOST_BLOCKS * 16 + 1, 16)


def test_products_are_exact_unless_torch_was_asked() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        for precision, expected in (("highest", "ieee"), ("high", "tf32"), ("medium", "tf32")):
            torch.set_float32_matmul_precision(precision)
            assert input_precision() == expected
    finally:
        torch.set_float32_matmul_precision(before)


def test_numbers_of_dropout() -> None:
    """A factor that float32 holds; 64 bits of a seed; the largest of 31 bits just below 1."""
    for drop_prob in (0.0, 0.1, 0.3, 0.75):
        assert random.dropout_factor(drop_prob) == float(np.float32(1 / (1 - drop_prob)))
    assert -1 & random.SEED_BITS == 2**64 - 1
    step = np.float32(random.UNIFORM_STEP.value)
    assert step == np.nextafter(np.float32(2**-31), np.float32(0))
    assert np.nextafter(np.float32(1), np.float32(0)) == np.float32(2**31 - 1) * step


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_backend_says_what_it_does(dtype: str) -> None:
    """Arrays in its dtype, inputs in theirs, NumPy's in float32 or better; the optimizer's settings handed on."""
    for name in (dtype, getattr(torch, dtype), f"torch.{dtype}"):
        backend = TritonBackend(name)
        assert backend.dtype == getattr(torch, dtype)
    wide = np.dtype("float64" if dtype == "float64" else "float32")
    assert backend.host_dtype == wide
    array = backend.array(np.arange(6.0).reshape(2, 3).T)
    assert array.dtype == backend.dtype and array.is_contiguous() and array.device.type == DEVICE.type
    assert backend.array(torch.ones(2, dtype=torch.float64)).dtype == backend.dtype
    assert backend.numpy(array).dtype == wide
    np.testing.assert_array_equal(backend.numpy(array), np.arange(6.0).reshape(2, 3).T)
    for kind in ("int64", "int32", "bool"):
        assert str(backend.input(np.ones((2, 3), kind)[:, ::2]).dtype) == f"torch.{kind}"
    settings = {"betas": (0.5, 0.25), "eps": 0.125, "weight_decay": 0.75}
    optimizer = backend.adamw({"w": array}, **settings)
    assert {name: getattr(optimizer, name) for name in settings} == settings
    assert optimizer.parameters["w"] is array


def test_what_came_in_numpy_comes_out_in_numpy_by_name_too() -> None:
    for y, saved in (softmax.softmax(x=draw(3, 5)), softmax.softmax(draw(3, 5))):
        assert isinstance(y, np.ndarray) and isinstance(saved.y, np.ndarray)
        assert isinstance(softmax.softmax_backward(saved=saved, dy=draw(3, 5))[0], np.ndarray)
    assert isinstance(softmax.softmax(x=torch.from_numpy(draw(3, 5)).to(DEVICE))[0], torch.Tensor)
