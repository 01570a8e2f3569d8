"""AdamW (Loshchilov and Hutter 2019), gradient clipping and the learning-rate schedule.

    m <- b1 m + (1 - b1) g          v <- b2 v + (1 - b2) g^2
    p <- p - lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + decay p)

Decay acts on matrices only: biases and LayerNorms have no reason to be small. The defaults are the paper's Table 14.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from minirembert.backend import numpy_norm
from minirembert.ops.array import Array, row_blocks
from minirembert.scalars import as_integer, as_number, is_number


class AdamW:
    """Updates the arrays of `parameters` in place; `m`, `v` and `step_count` are all of its state.

    `weights`, `state` and `load` are what a checkpoint is made of; `kernels/optimizer.py` has the same methods.
    """

    def __init__(
        self,
        parameters: Mapping[str, Array],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        for name, parameter in parameters.items():
            _require_updatable(name, parameter)
        self.parameters = parameters
        # Python's own: a NumPy float64 would make float64 of what is computed in the parameters' dtype
        b1, b2 = betas
        self.betas = as_number("betas[0]", b1), as_number("betas[1]", b2)
        self.eps = as_number("eps", eps)
        self.weight_decay = as_number("weight_decay", weight_decay)
        self.step_count = 0
        self.m = {name: np.zeros_like(p) for name, p in parameters.items()}
        self.v = {name: np.zeros_like(p) for name, p in parameters.items()}

    def step(self, gradients: Mapping[str, Array], learning_rate: float) -> None:
        """One update. Raises ValueError, before anything is written, unless `gradients` has one of the right shape for each
        of `parameters` and no other.
        """
        learning_rate = as_number("learning_rate", learning_rate)
        _require_same("gradient", gradients, self.parameters)
        self.step_count += 1
        for name, parameter in self.parameters.items():
            decay = self.weight_decay if parameter.ndim > 1 else 0.0
            # Views along the first axis: a reshape of what is not contiguous would be a copy, and the update would be lost.
            p, g, m, v = (np.atleast_1d(array) for array in (parameter, gradients[name], self.m[name], self.v[name]))
            for block in row_blocks(len(p), p[:1].nbytes):
                self._update(p[block], g[block], m[block], v[block], learning_rate, decay)

    def _update(self, p: Array, g: Array, m: Array, v: Array, learning_rate: float, decay: float) -> None:
        b1, b2 = self.betas
        m *= b1
        m += (1 - b1) * g
        v *= b2
        v += (1 - b2) * (g * g)
        denominator = np.sqrt(v)
        denominator *= 1 / math.sqrt(1 - b2**self.step_count)
        denominator += self.eps
        update = m / denominator
        update *= learning_rate / (1 - b1**self.step_count)
        if decay:
            update += (learning_rate * decay) * p
        p -= update

    def weights(self) -> dict[str, Array]:
        """The parameters, as they are to be saved."""
        return dict(self.parameters)

    def state(self) -> dict[str, Array]:
        """m and v under one name for each array."""
        arrays = {f"m.{name}": array for name, array in self.m.items()}
        return arrays | {f"v.{name}": array for name, array in self.v.items()}

    def load(self, weights: Mapping[str, Array], state: Mapping[str, Array], step_count: int) -> None:
        """Puts back what `weights` and `state` gave after `step_count` steps.

        Raises ValueError, before anything is written, for an array that is missing or has another shape.
        """
        _require_same("saved array", weights, self.weights(), and_no_other=False)
        _require_same("saved array", state, self.state(), and_no_other=False)
        for target, source in ((self.weights(), weights), (self.state(), state)):
            for name, array in target.items():
                array[...] = source[name]
        self.step_count = as_integer("step_count", step_count, least=0)


def _require_updatable(name: str, parameter: Any) -> None:
    """Raises TypeError or ValueError for what no step can be written into."""
    if not isinstance(parameter, np.ndarray) or parameter.dtype.kind != "f":
        kind = parameter.dtype if isinstance(parameter, np.ndarray) else type(parameter).__name__
        raise TypeError(f"AdamW: {name} must be a NumPy array of floating-point numbers, got {kind}")
    if not parameter.flags.writeable:
        raise ValueError(f"AdamW: {name} cannot be written to (shape {parameter.shape}): pass a copy")
    first, end = np.lib.array_utils.byte_bounds(parameter)
    if end - first < parameter.nbytes:
        raise ValueError(
            f"AdamW: {name} overlaps itself (shape {parameter.shape}, strides {parameter.strides}): several numbers lie "
            "in one place, so pass a copy"
        )


def _require_same(what: str, arrays: Mapping[str, Any], like: Mapping[str, Array], and_no_other: bool = True) -> None:
    """Raises ValueError unless `arrays` has one of the same shape for each of `like`."""
    for name, array in like.items():
        if name not in arrays:
            raise ValueError(f"AdamW: there is no {what} for {name}")
        if np.shape(arrays[name]) != array.shape:
            raise ValueError(f"AdamW: the {what} of {name} has shape {np.shape(arrays[name])}, expected {array.shape}")
    other = next((name for name in arrays if name not in like), None)
    if and_no_other and other is not None:
        raise ValueError(f"AdamW: there is a {what} for {other}, which is none of the parameters")


def clip_gradients(
    gradients: Mapping[str, Any], max_norm: float, norm_of: Callable[[Iterable[Any]], float] = numpy_norm
) -> float:
    """Scales all gradients in place so that their joint Euclidean norm is at most `max_norm`; returns the norm before.

    `norm_of` is that of the backend whose arrays they are. Raises FloatingPointError where the norm is not finite: a step
    along it would destroy the model; ValueError for a limit that is not above 0, TypeError for a gradient that cannot be
    written to, both before anything is scaled.
    """
    if (not is_number(max_norm) and max_norm != math.inf) or max_norm <= 0:
        raise ValueError(f"max_norm must be above 0, got {max_norm!r}")
    for name, gradient in gradients.items():
        if isinstance(gradient, np.generic) or (isinstance(gradient, np.ndarray) and not gradient.flags.writeable):
            raise TypeError(
                f"the gradient of {name} cannot be scaled in place: it is a scalar or read-only, so pass a copy"
            )
    max_norm = float(max_norm)
    norm = norm_of(gradients.values())
    if not math.isfinite(norm):
        bad = next((name for name, g in gradients.items() if not math.isfinite(norm_of([g]))), "their sum")
        raise FloatingPointError(f"the gradient is not finite (first in {bad}): lower the learning rate")
    if norm > max_norm:
        for gradient in gradients.values():
            gradient *= max_norm / norm
    return norm


def learning_rate_at(step: int, peak: float, warmup: int, total: int) -> float:
    """The rate of step 0, 1, ... total - 1: a straight rise to `peak` over `warmup` steps, then a straight fall towards 0."""
    peak = as_number("peak", peak)
    step, warmup, total = (as_integer("a number of steps", value) for value in (step, warmup, total))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (total - step) / max(1, total - warmup)
