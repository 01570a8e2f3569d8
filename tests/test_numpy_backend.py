"""NumPy's backend by itself: a norm, arrays in its dtype, an optimizer with the settings that it was given."""

import math

import numpy as np
import pytest

from minirembert.backend import load_backend


def test_the_norm_is_that_of_all_entries_together() -> None:
    backend = load_backend("numpy", "float64")
    assert backend.norm([np.array([[2.0, 3.0]]), np.array(6.0)]) == 7.0
    assert backend.norm(iter([np.array([3.0]), np.array([4.0])])) == 5.0  # an iterator is walked once
    assert backend.norm([]) == 0.0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_come_in_the_backend_s_dtype(dtype: str) -> None:
    backend = load_backend("numpy", dtype)
    assert backend.dtype == backend.host_dtype == dtype
    for values in ([1, 2], np.array([1, 2]), np.array([1.5], np.float16), np.array([1.5]), np.array([1.5], np.float32)):
        array = backend.array(values)
        assert array.dtype == dtype
        assert (array == np.asarray(values)).all()
    ids = np.array([1, 2], np.int32)
    assert backend.input(ids).dtype == np.int32  # ids stay what they are


def test_the_optimizer_has_the_settings_given() -> None:
    """The first step of AdamW is rate * sign(gradient), whatever the gradient's size, after the decay."""
    for rate, decay, beta2 in ((0.5, 0.0, 0.9), (0.25, 0.5, 0.9), (0.25, 0.5, 0.0)):
        parameters = {"a.weight": np.array([[2.0]])}
        optimizer = load_backend("numpy", "float64").adamw(parameters, weight_decay=decay, betas=(0.0, beta2), eps=0.0)
        for gradient in (4.0, 3.0):
            optimizer.step({"a.weight": np.array([[gradient]])}, rate)
        p, second = 2.0, 0.0
        for step, gradient in enumerate((4.0, 3.0), start=1):
            second = beta2 * second + (1 - beta2) * gradient**2
            p -= rate * (gradient / math.sqrt(second / (1 - beta2**step)) + decay * p)
        np.testing.assert_allclose(parameters["a.weight"], p, rtol=8 * np.finfo(float).eps)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_dtype_reaches_triton_s_backend(dtype: str) -> None:
    assert str(load_backend("triton", dtype).dtype) == f"torch.{dtype}"
