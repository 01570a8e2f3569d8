"""Activations, elementwise: y = f(x), dx = dy f'(x).

GELU (Hendrycks and Gimpel 2016) is x times the probability that a standard normal variable is below x:

    gelu(x)  = x Phi(x)             Phi(x) = (1 + erf(x / sqrt 2)) / 2
    gelu'(x) = Phi(x) + x phi(x)    phi(x) = exp(-x^2 / 2) / sqrt(2 pi)

erf is not in NumPy. In float64 we ask the C library (`math.erf`, within one unit in the last place; slow, but float64 is
for checking). In float32 we use

    erf(x) = tanh(x p(x^2)),   p a polynomial of degree 6

whose absolute error is below 1.5e-7, about one unit in the last place of 1. This is the familiar "tanh approximation" of
GELU carried further: that one stops at degree 1 and is off by 5e-4. `benchmarks/fit_erf.py` finds the coefficients.

`bias_gelu` is gelu(x + b): the bias of the linear map before it, added on the way instead of in a trip of its own through
memory. Its backward pass adds the rows up, dbias = sum of dx over all rows.

Every activation walks through its rows in blocks that fit the cache: one evaluation takes some twenty passes.
Not here: gated units, parametric activations, second derivatives.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from minirembert.ops.array import Array, row_blocks

# erf(x) = tanh(x * (c0 + c1 x^2 + c2 x^4 + ...)) for |x| <= 3.9; beyond, erf is 1 to within 4e-8
ERF_COEFFICIENTS = (
    1.12837971, 1.02765482e-1, -1.84384840e-4, -6.25718331e-4, 8.97119981e-5, -5.98556836e-6, 1.58951222e-7,
)  # fmt: skip
ERF_LIMIT = 3.9

SQRT_HALF = math.sqrt(0.5)
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)


class ActivationSaved(NamedTuple):
    """What the backward half of every activation but `bias_gelu` needs."""

    x: Float[Array, "*shape"]


Activation = Callable[[Array], tuple[Array, ActivationSaved]]
ActivationBackward = Callable[[Array, ActivationSaved], tuple[Array]]


def erf(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The error function: to 1.5e-7 in float32, to the last place in float64."""
    if x.dtype == np.float64:
        return np.asarray(np.frompyfunc(math.erf, 1, 1)(x), np.float64)
    x = np.clip(x, -ERF_LIMIT, ERF_LIMIT)
    square = x * x
    y = np.full_like(x, ERF_COEFFICIENTS[-1])
    for coefficient in ERF_COEFFICIENTS[-2::-1]:  # Horner
        y *= square
        y += coefficient
    y *= x
    return np.tanh(y, out=y)


# Each activation is a value function and a slope function on one block; `_activation` makes the (forward, backward) pair.


def _gelu(x: Array) -> Array:
    y = erf(x * SQRT_HALF)
    y += 1
    y *= x
    y *= 0.5
    return y


def _gelu_slope(x: Array) -> Array:
    cdf = erf(x * SQRT_HALF)
    cdf += 1
    cdf *= 0.5
    density = x * x
    density *= -0.5
    np.exp(density, out=density)
    density *= INV_SQRT_2PI
    density *= x
    cdf += density
    return cdf


def _gelu_new(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)))


def _gelu_new_slope(x: Array) -> Array:
    t = np.tanh(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x * x)


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * x))  # no overflow on either side, unlike 1 / (1 + exp(-x))


def _sigmoid_slope(x: Array) -> Array:
    s = _sigmoid(x)
    return s * (1 - s)


def _silu(x: Array) -> Array:
    return x * _sigmoid(x)


def _silu_slope(x: Array) -> Array:
    s = _sigmoid(x)
    return s * (1 + x * (1 - s))


def _quick_gelu(x: Array) -> Array:
    return x * _sigmoid(1.702 * x)


def _quick_gelu_slope(x: Array) -> Array:
    s = _sigmoid(1.702 * x)
    return s * (1 + 1.702 * x * (1 - s))


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


def _relu_slope(x: Array) -> Array:
    return (x > 0).astype(x.dtype)


def _tanh_slope(x: Array) -> Array:
    t = np.tanh(x)
    return 1 - t * t


def _mish(x: Array) -> Array:
    return x * np.tanh(np.logaddexp(0, x))  # logaddexp(0, x) = log(1 + e^x) = softplus


def _mish_slope(x: Array) -> Array:
    t = np.tanh(np.logaddexp(0, x))
    return t + x * (1 - t * t) * _sigmoid(x)


def _activation(
    value: Callable[[Array], Array], slope: Callable[[Array], Array], doc: str
) -> tuple[Activation, ActivationBackward]:
    def forward(x: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], ActivationSaved]:
        y = np.empty_like(x, order="C")
        rows_x, rows_y = _as_rows(x), _as_rows(y)
        for block in row_blocks(len(rows_x), rows_x.itemsize * rows_x.shape[1]):
            rows_y[block] = value(rows_x[block])
        return y, ActivationSaved(x)

    def backward(dy: Float[Array, "*shape"], saved: ActivationSaved) -> tuple[Float[Array, "*shape"]]:
        dx = np.empty_like(dy, order="C")
        rows_x, rows_dy, rows_dx = _as_rows(saved.x), _as_rows(dy), _as_rows(dx)
        for block in row_blocks(len(rows_x), rows_x.itemsize * rows_x.shape[1]):
            np.multiply(slope(rows_x[block]), rows_dy[block], out=rows_dx[block])
        return (dx,)

    forward.__doc__ = f"{doc} Elementwise, any shape."
    backward.__doc__ = "dx = dy f'(x)."
    return forward, backward


def _as_rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1] if x.ndim > 1 else 1)


gelu, gelu_backward = _activation(_gelu, _gelu_slope, "x Phi(x), with the exact normal distribution.")
gelu_new, gelu_new_backward = _activation(_gelu_new, _gelu_new_slope, "GELU by its first tanh approximation.")
quick_gelu, quick_gelu_backward = _activation(_quick_gelu, _quick_gelu_slope, "x sigmoid(1.702 x).")
relu, relu_backward = _activation(_relu, _relu_slope, "max(x, 0).")
silu, silu_backward = _activation(_silu, _silu_slope, "x sigmoid(x), also known as swish.")
mish, mish_backward = _activation(_mish, _mish_slope, "x tanh(log(1 + e^x)).")
sigmoid, sigmoid_backward = _activation(_sigmoid, _sigmoid_slope, "1 / (1 + e^-x).")
tanh, tanh_backward = _activation(np.tanh, _tanh_slope, "Hyperbolic tangent.")


class BiasGeluSaved(NamedTuple):
    """What `bias_gelu_backward` needs: x before the bias, and the bias."""

    x: Float[Array, "*batch I"]
    bias: Float[Array, " I"]


def bias_gelu(x: Float[Array, "*batch I"], bias: Float[Array, " I"]) -> tuple[Float[Array, "*batch I"], BiasGeluSaved]:
    """gelu(x + bias)."""
    y = np.empty_like(x, order="C")
    rows_x, rows_y = (a.reshape(-1, x.shape[-1]) for a in (x, y))
    for block in row_blocks(len(rows_x), rows_x.itemsize * rows_x.shape[1]):
        # 1. the bias
        shifted = np.add(rows_x[block], bias, dtype=x.dtype)
        # 2. the activation
        rows_y[block] = _gelu(shifted)
    return y, BiasGeluSaved(x, bias)


def bias_gelu_backward(
    dy: Float[Array, "*batch I"], saved: BiasGeluSaved
) -> tuple[Float[Array, "*batch I"], Float[Array, " I"]]:
    """dx, dbias."""
    x, bias = saved
    dx = np.empty_like(dy, order="C")
    rows_x, rows_dy, rows_dx = (a.reshape(-1, x.shape[-1]) for a in (x, dy, dx))
    for block in row_blocks(len(rows_x), rows_x.itemsize * rows_x.shape[1]):
        # 1. the bias
        shifted = np.add(rows_x[block], bias, dtype=x.dtype)
        # 2. through the activation
        np.multiply(_gelu_slope(shifted), rows_dy[block], out=rows_dx[block])
    # 3. the bias took part in every row
    return dx, rows_dx.sum(axis=0)


def identity(x: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], None]:
    """x itself: the `linear` activation."""
    return x, None


def identity_backward(dy: Float[Array, "*shape"], saved: None) -> tuple[Float[Array, "*shape"]]:
    """dy, in an array of its own."""
    return (dy.copy(),)


# Hugging Face's name for `config.hidden_act` -> our op. Several of its names compute the same function.
HIDDEN_ACT = {
    "gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_new", "gelu_fast": "gelu_new", "gelu_accurate": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new", "quick_gelu": "quick_gelu", "relu": "relu", "silu": "silu", "swish": "silu",
    "mish": "mish", "sigmoid": "sigmoid", "tanh": "tanh", "linear": "identity",
}  # fmt: skip
