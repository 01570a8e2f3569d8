"""The kernels in float16 and bfloat16: what goes in and out is short, what is added up is not.

Inputs are numbers that the short type holds. The truth is the oracle in float64; the baseline whose own error says how large
an error is honest is the oracle in the short type, which rounds after every operation and sums in whatever PyTorch does.
Statistics that a backward pass needs (mean, rstd, lse) are float32 all the same: they are few, and everything is built
on them.
"""

from typing import Any

import numpy as np
import pytest
import torch
from checks import FLOOR, MULTIPLE, assert_within, largest_in_row, parameter_names
from hypothesis import assume, given
from impls import TRITON, Impl, lent_to_torch
from oracles import SIZES, answers
from strategies import ACTIVATIONS, Case, cases

from kernels._launch import DEVICE

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
# Kinds whose products and sums float16 can hold: beyond 65504 there is nothing to compare.
VALUES = ("ordinary", "shifted", "small", "ties")
OPS = (
    "softmax",
    "layer_norm",
    "residual_layer_norm",
    "attention",
    "attention_packed",
    "bias_gelu",
    "dropout",
    *ACTIVATIONS,
)
STATISTICS = ("mean", "rstd", "lse", "lse_rest")


def in_half(dtype: torch.dtype) -> Impl:
    """The kernels, handed every floating-point array in this type."""

    def put(array: np.ndarray) -> torch.Tensor:
        tensor = lent_to_torch(array).to(DEVICE)
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    def numpy(tensor: torch.Tensor) -> np.ndarray:
        assert tensor.dtype == dtype, f"{tensor.dtype} came out of {dtype}"
        return tensor.detach().cpu().double().numpy()

    return Impl("triton", TRITON.ops, put, numpy, TRITON.shares_memory, TRITON.tiny_blocks, ("float32",))


def rounded(array: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    return torch.from_numpy(np.array(array)).to(dtype).double().numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPS)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_half_precision_loses_no_more_than_its_last_places(op: str, dtype: str) -> None:
    half = DTYPES[dtype]
    impl = in_half(half)
    eps, largest = float(torch.finfo(half).eps), float(torch.finfo(half).max)

    @given(case=cases(op, VALUES))
    def on_every_case(case: Case) -> None:
        arrays = tuple(None if a is None else rounded(a, half) for a in case.arrays)
        case = Case(op, arrays, case.settings, case.seed, case.values, case.layouts[:-1])
        settings = case.at("float64")[1]
        dy = rounded(case.cotangent(answers(op, arrays, settings, None)[0].shape, "float64"), half)
        exact = answers(op, arrays, settings, dy)
        sizes: Any = SIZES[op](*arrays, exact[0], dy, eps, **settings) if op in SIZES else [None] * len(exact)
        scales = [np.abs(e) if s is None else np.maximum(np.abs(e), s) for e, s in zip(exact, sizes, strict=False)]
        # A row that hardly varies has gradients of 1e6, which float16 does not have.
        assume(all(scale.max(initial=0) < largest for scale in scales))

        result = impl.run(case, "float32")
        for name in STATISTICS:
            statistic = getattr(result.saved, name, None)
            assert statistic is None or statistic.dtype == torch.float32, f"{name} of {case} is {statistic.dtype}"
        baseline = answers(op, arrays, case.at("float32")[1], dy, half)
        names = ("y", *(f"d{name}" for name in parameter_names(op)))
        for name, got, e, b, scale in zip(names, (result.y, *result.gradients), exact, baseline, scales, strict=False):
            error = np.where(np.isfinite(b), np.abs(b - e), 0)
            allowed = MULTIPLE * largest_in_row(error) + FLOOR * (eps * scale + float(torch.finfo(half).tiny))
            assert_within(got, e, allowed, f"{name} ({dtype}) of {case}", case.seed)

    on_every_case()
