"""AdamW in one trip through memory: the twin of `minirembert/training/optimizer.py`, which has the formula.

A step reads the gradient, the weight and both moments and writes the last three back: 7 numbers for each parameter, where
one kernel for each of its ten operations would move three times as many. Weights in half precision are too coarse to
add a small step to (bfloat16 keeps 8 bits, and lr x update is often less than 1/256 of a weight), so the optimizer keeps
float32 master weights and writes the rounded copy that the model uses as it passes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

from kernels._launch import DEVICE, accumulator, require, to_tensor
from minirembert.scalars import as_integer, as_number

BLOCK = 1024


@triton.jit
def adamw_kernel(
    parameter_ptr, master_ptr, gradient_ptr, m_ptr, v_ptr, count, rate_1, rate_decay, root_2,
    B1: tl.constexpr, B2: tl.constexpr, EPS: tl.constexpr, HAS_MASTER: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """One program owns BLOCK consecutive parameters. HAS_MASTER: parameter_ptr is a rounded copy of master_ptr."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    g = tl.load(gradient_ptr + i, mask=inside, other=0).to(ACC)
    p = tl.load(master_ptr + i, mask=inside, other=0)
    # 1. moments
    m = B1 * tl.load(m_ptr + i, mask=inside, other=0) + (1 - B1) * g
    v = B2 * tl.load(v_ptr + i, mask=inside, other=0) + (1 - B2) * (g * g)
    # 2. the step: rate_1 = rate / (1 - b1^t), root_2 = sqrt(1 - b2^t), rate_decay = rate decay
    p = p - (m / (tl.sqrt(v) / root_2 + EPS) * rate_1 + p * rate_decay)
    tl.store(m_ptr + i, m, mask=inside)
    tl.store(v_ptr + i, v, mask=inside)
    tl.store(master_ptr + i, p, mask=inside)
    if HAS_MASTER:
        tl.store(parameter_ptr + i, p.to(parameter_ptr.dtype.element_ty), mask=inside)


class AdamW:
    """Updates the tensors of `parameters` in place; `masters`, `m`, `v` and `step_count` are all of its state.

    Raises TypeError for a parameter that is not a floating-point tensor, ValueError for one that is not contiguous: the kernel
    would write into whatever lies between its numbers.
    """

    def __init__(
        self,
        parameters: Mapping[str, torch.Tensor],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        for name, parameter in parameters.items():
            if not isinstance(parameter, torch.Tensor):
                raise TypeError(f"AdamW: {name} must be a torch tensor, got {type(parameter).__name__}")
            require("AdamW", name, parameter, parameter.shape)
            if not parameter.is_contiguous():
                raise ValueError(
                    f"AdamW: {name} is not contiguous (shape {tuple(parameter.shape)}, strides {parameter.stride()}): "
                    "pass .contiguous(), or the tensor it is a slice of"
                )
        b1, b2 = betas
        self.parameters = parameters
        self.betas = as_number("betas[0]", b1), as_number("betas[1]", b2)
        self.eps = as_number("eps", eps)
        self.weight_decay = as_number("weight_decay", weight_decay)
        self.step_count = 0
        self.masters = {name: p if p.dtype.itemsize >= 4 else p.float() for name, p in parameters.items()}
        self.m = {name: torch.zeros_like(p) for name, p in self.masters.items()}
        self.v = {name: torch.zeros_like(p) for name, p in self.masters.items()}

    def step(self, gradients: Mapping[str, torch.Tensor], learning_rate: float) -> None:
        """One update.

        Raises ValueError, before anything is written, unless `gradients` has one of the right shape for each of `parameters`
        and no other.
        """
        learning_rate = as_number("learning_rate", learning_rate)
        gradients = _fitting("gradient", gradients, self.parameters)
        other = next((name for name in gradients if name not in self.parameters), None)
        if other is not None:
            raise ValueError(f"AdamW: there is a gradient for {other}, which is not one of the parameters")
        self.step_count += 1
        b1, b2 = self.betas
        for name, parameter in self.parameters.items():
            master = self.masters[name]
            decay = self.weight_decay if parameter.ndim > 1 else 0.0
            adamw_kernel[(triton.cdiv(parameter.numel(), BLOCK),)](
                parameter, master, gradients[name].contiguous(), self.m[name], self.v[name], parameter.numel(),
                learning_rate / (1 - b1**self.step_count), learning_rate * decay, (1 - b2**self.step_count) ** 0.5,
                B1=b1, B2=b2, EPS=self.eps, HAS_MASTER=master is not parameter, BLOCK=BLOCK, ACC=accumulator(master),
            )  # fmt: skip

    def weights(self) -> dict[str, np.ndarray]:
        """The master weights, as they are to be saved."""
        return {name: master.cpu().numpy() for name, master in self.masters.items()}

    def state(self) -> dict[str, np.ndarray]:
        """m and v under one name for each array."""
        return {f"{kind}.{name}": array.cpu().numpy() for kind, name, array in self._moments()}

    def load(self, weights: Mapping[str, Any], state: Mapping[str, Any], step_count: int) -> None:
        """Puts back what `weights` and `state` gave after `step_count` steps.

        Raises ValueError, before anything is written, for an array that is missing or has another shape.
        """
        step_count = as_integer("step_count", step_count, least=0)
        moments = {f"{kind}.{name}": array for kind, name, array in self._moments()}
        weights, state = (
            _fitting("saved array", {name: _here(array) for name, array in arrays.items()}, like)
            for arrays, like in ((weights, self.masters), (state, moments))
        )
        for name, master in self.masters.items():
            master.copy_(weights[name])
            self.parameters[name].copy_(master)
        for name, array in moments.items():
            array.copy_(state[name])
        self.step_count = step_count

    def _moments(self) -> list[tuple[str, str, torch.Tensor]]:
        return [(kind, name, array) for kind in ("m", "v") for name, array in getattr(self, kind).items()]


def _here(array: Any) -> Any:
    """Saved tensors may lie anywhere."""
    return array.to(DEVICE) if isinstance(array, torch.Tensor) else array


def _fitting(what: str, arrays: Mapping[str, Any], like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`arrays` as tensors.

    Raises ValueError unless there is one of the same shape for each of `like` (`copy_` would repeat a small one, a kernel
    would read beyond it), TypeError for one that does not hold floating-point numbers.
    """
    tensors = {name: to_tensor(array) for name, array in arrays.items()}
    for name, array in like.items():
        if name not in tensors:
            raise ValueError(f"AdamW: there is no {what} for {name}")
        require("AdamW", f"the {what} of {name}", tensors[name], array.shape)
    return tensors
