"""What is timed against what: each kernel at RemBERT's sizes, the floor under its time, and everything else that computes it.

Every side is a differentiable function of the same torch tensors, so a pass is made in the same way for all of them:

forward              y = f(x...), where the inputs require gradients: what backward will need is kept
backward             the gradients, by torch.autograd.grad, from a forward pass made before
forward + backward   both

The floor counts each array that an op must read once, and each that it must write once, by the contract of
`minirembert/ops`: the sum x + residual is written for backward, and both its terms get a gradient of their own. Statistics
(one number a row) and parameters are left out; they come to a few per cent. FLOPs are those of matrix products alone.

Not here: torch.compile, which `kernels_gpu.py` applies to the eager function.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from kernels import functional as K
from kernels._launch import DEVICE
from kernels.attention import launch as attention_launchers

EPS = 1e-12
SDPA = {
    "sdpa flash": SDPBackend.FLASH_ATTENTION,
    "sdpa cudnn": SDPBackend.CUDNN_ATTENTION,
    "sdpa efficient": SDPBackend.EFFICIENT_ATTENTION,
    "sdpa math": SDPBackend.MATH,
}

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Sizes:
    batches: tuple[tuple[int, int], ...] = ((16, 512), (64, 128))
    heads: int = 18
    head: int = 64
    tokens: int = 8192
    hidden: int = 1152
    output_embedding: int = 1664
    intermediate: int = 4608
    probabilities: tuple[int, ...] = (16, 18, 512, 512)
    vocabulary: tuple[int, int] = (1024, 250300)


class Cost(NamedTuple):
    bytes: float
    flops: float = 0


class Inputs(NamedTuple):
    arrays: tuple[Tensor, ...]
    dy: Tensor


def _same(x: Tensor) -> Tensor:
    return x


class Side(NamedTuple):
    function: Function
    captured: Function | None = None  # the same, for a CUDA graph, where `function` would wait for the GPU
    enter: Callable[[Tensor], Tensor] = (
        _same  # what is done with inputs before, and with results before they are compared
    )
    leave: Callable[[Tensor], Tensor] = _same


@dataclass(frozen=True)
class Operation:
    """A kernel at one size and dtype. The first side is ours; the second is eager, which in float64 is the truth."""

    kernel: str
    case: str
    dtype: torch.dtype
    costs: dict[str, Cost]  # by pass
    sides: dict[str, Side]
    inputs: Callable[[int], Inputs]  # of a seed
    in_quick: bool  # there is a goal for it

    @property
    def name(self) -> str:
        return f"{self.kernel}, {self.case}, {str(self.dtype).removeprefix('torch.')}"

    @property
    def in_quick_run(self) -> bool:
        return self.in_quick and self.dtype == torch.bfloat16


def operations(sizes: Sizes = Sizes()) -> list[Operation]:
    """bfloat16 first: the goals are said in it."""
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        for number, (batch, length) in enumerate(sizes.batches):
            found.append(_attention(sizes, batch, length, dtype, in_quick=number == 0))
        for number, (batch, length) in enumerate(sizes.batches):
            found.append(_ragged_attention(sizes, batch, length, dtype, in_quick=number == 0))
        found.append(_residual_layer_norm((sizes.tokens, sizes.hidden), dtype))
        for width in (sizes.hidden, sizes.output_embedding):
            found.append(_layer_norm((sizes.tokens, width), dtype, in_quick=width == sizes.hidden))
        found.append(_softmax(sizes.probabilities, dtype, in_quick=True))
        found.append(_bias_gelu((sizes.tokens, sizes.intermediate), dtype))
        found.append(_gelu((sizes.tokens, sizes.output_embedding), dtype))
    found.append(_softmax(sizes.vocabulary, torch.float32, in_quick=False))
    return found


def prepared(function: Function, inputs: Inputs, direction: str) -> Callable[[], tuple[Tensor, ...]]:
    """One pass of `function`, ready to be run any number of times."""
    arrays, dy = tuple(array.detach().requires_grad_() for array in inputs.arrays), inputs.dy
    if direction == "forward":
        return lambda: (function(*arrays),)
    if direction == "backward":
        y = function(*arrays)
        return lambda: torch.autograd.grad(y, arrays, dy, retain_graph=True)

    def both() -> tuple[Tensor, ...]:
        y = function(*arrays)
        return y, *torch.autograd.grad(y, arrays, dy)

    return both


# --- attention ----------------------------------------------------------------------------------------------------------


def _attention(sizes: Sizes, batch: int, length: int, dtype: torch.dtype, in_quick: bool) -> Operation:
    heads, width = sizes.heads, sizes.heads * sizes.head
    numbers = batch * length * width
    product = 2 * batch * length**2 * width
    return Operation(
        kernel="attention",
        case=f"{batch} x {length}",
        dtype=dtype,
        costs=_attention_costs(numbers, product, dtype),
        sides={
            "triton": Side(lambda q, k, v: K.attention(q, k, v, heads)),
            "eager": Side(_eager_attention(heads, None)),
            **{name: Side(_sdpa(backend, heads, None)) for name, backend in SDPA.items()},
        },
        inputs=_random(dtype, [(batch, length, width)] * 3, (batch, length, width), mean=0),
        in_quick=in_quick,
    )


def _ragged_attention(sizes: Sizes, batch: int, length: int, dtype: torch.dtype, in_quick: bool) -> Operation:
    """Lengths spread evenly, half of `length` on average. Packed: our kernel and torch's; padded: the others."""
    heads, width = sizes.heads, sizes.heads * sizes.head
    lengths = np.random.default_rng(0).permutation((2 * np.arange(batch) + 1) * length // (2 * batch)).clip(min=1)
    cu_seqlens = np.concatenate([[0], lengths.cumsum()]).astype(np.int32)
    key_lengths = torch.from_numpy(lengths.astype(np.int32)).to(DEVICE)
    offsets, longest = torch.from_numpy(cu_seqlens).to(DEVICE), int(lengths.max())
    real = torch.arange(length, device=DEVICE) < key_lengths[:, None]
    at = real.flatten().nonzero()[:, 0]  # a mask would have to be counted each time

    def pack(x: Tensor) -> Tensor:
        return x.flatten(0, 1)[at]

    padded = _random(dtype, [(batch, length, width)] * 3, (batch, length, width), mean=0)

    def inputs(seed: int) -> Inputs:  # as in a model: no gradient comes back at padding
        arrays, dy = padded(seed)
        return Inputs(arrays, dy * real[..., None])

    @functools.cache
    def packed_problem() -> attention_launchers.Problem:
        q = torch.empty(len(at), width, dtype=dtype, device=DEVICE)
        return attention_launchers.problem_of(q, q, heads, None, None, offsets, False, 0.0, 0)

    @functools.cache
    def padded_problem() -> attention_launchers.Problem:
        q = torch.empty(batch, length, width, dtype=dtype, device=DEVICE)
        return attention_launchers.problem_of(q, q, heads, None, key_lengths, None, False, 0.0, 0)

    def varlen(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = (x.unflatten(-1, (heads, -1)) for x in (q, k, v))
        return varlen_attn(q, k, v, offsets, offsets, longest, longest).flatten(-2)

    def nested(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        def jagged(x: Tensor) -> Tensor:
            x = torch.nested.nested_tensor_from_jagged(x, offsets, min_seqlen=shortest, max_seqlen=longest)
            return x.unflatten(-1, (heads, -1)).transpose(1, 2)

        y = F.scaled_dot_product_attention(jagged(q), jagged(k), jagged(v))
        return y.transpose(1, 2).flatten(-2).values()

    shortest = int(lengths.min())
    mask = real[:, None, None, :]
    return Operation(
        kernel="attention",
        case=f"{batch} x {length}, ragged",
        dtype=dtype,
        costs=_attention_costs(len(at) * width, 2 * int((lengths.astype(np.int64) ** 2).sum()) * width, dtype),
        sides={
            "triton": Side(
                lambda q, k, v: K.attention_packed(q, k, v, heads, offsets),
                lambda q, k, v: _WithoutWaiting.apply(packed_problem(), q, k, v),
                enter=pack,
            ),
            "eager": Side(_eager_attention(heads, mask), leave=pack),
            "triton padded": Side(
                lambda q, k, v: K.attention(q, k, v, heads, key_lengths=key_lengths),
                lambda q, k, v: _WithoutWaiting.apply(padded_problem(), q, k, v),
                leave=pack,
            ),
            **{name: Side(_sdpa(backend, heads, mask), leave=pack) for name, backend in SDPA.items()},
            "torch varlen": Side(varlen, enter=pack),
            "torch nested": Side(nested, enter=pack),
        },
        inputs=inputs,
        in_quick=in_quick,
    )


class _WithoutWaiting(torch.autograd.Function):
    """Attention whose lengths have been looked at: the launchers look at them, and wait for the GPU, on every call."""

    @staticmethod
    def forward(ctx: Any, problem: dict[str, Any], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        y, lse, lse_rest = attention_launchers.forward(q, k, v, problem, None)
        ctx.problem = problem
        ctx.save_for_backward(q, k, v, y, lse, lse_rest)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, y, lse, lse_rest = ctx.saved_tensors
        saved = SimpleNamespace(q=q, k=k, v=v, y=y, lse=lse, lse_rest=lse_rest)
        return None, *attention_launchers.backward(dy, saved, ctx.problem, None)


def _eager_attention(heads: int, mask: Tensor | None) -> Function:
    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(-2)

    return attention


def _sdpa(backend: SDPBackend, heads: int, mask: Tensor | None) -> Function:
    """From (B, S, H) to (B, S, H), as a model uses it: heads are views, and a copy at the end is part of the time."""

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
        with sdpa_kernel(backend):
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return y.transpose(1, 2).flatten(-2)

    return attention


def _attention_costs(numbers: int, product: int, dtype: torch.dtype) -> dict[str, Cost]:
    """q, k, v, y and two products forward; q, k, v, y, dy, dq, dk, dv and five backward."""
    size = dtype.itemsize
    return {
        "forward": Cost(4 * numbers * size, 2 * product),
        "backward": Cost(8 * numbers * size, 5 * product),
    }


# --- rows ---------------------------------------------------------------------------------------------------------------


def _layer_norm(shape: tuple[int, int], dtype: torch.dtype, in_quick: bool) -> Operation:
    def liger(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        from liger_kernel.ops.layer_norm import LigerLayerNormFunction

        return LigerLayerNormFunction.apply(x, weight, bias, EPS)

    return Operation(
        kernel="layer_norm",
        case=_times(shape),
        dtype=dtype,
        costs=_with_both(_row_costs(shape, dtype, 2, 3)),
        sides={
            "triton": Side(lambda x, weight, bias: K.layer_norm(x, weight, bias, EPS)),
            "eager": Side(lambda x, weight, bias: F.layer_norm(x, weight.shape, weight, bias, EPS)),
            "liger": Side(liger),
        },
        inputs=_random(dtype, [shape, shape[1:], shape[1:]], shape),
        in_quick=in_quick,
    )


def _residual_layer_norm(shape: tuple[int, int], dtype: torch.dtype) -> Operation:
    return Operation(
        kernel="residual_layer_norm",
        case=_times(shape),
        dtype=dtype,
        costs=_with_both(_row_costs(shape, dtype, 4, 4)),
        sides={
            "triton": Side(lambda x, r, weight, bias: K.residual_layer_norm(x, r, weight, bias, EPS)),
            "eager": Side(lambda x, r, weight, bias: F.layer_norm(x + r, weight.shape, weight, bias, EPS)),
        },
        inputs=_random(dtype, [shape, shape, shape[1:], shape[1:]], shape),
        in_quick=True,
    )


def _softmax(shape: tuple[int, ...], dtype: torch.dtype, in_quick: bool) -> Operation:
    def liger(x: Tensor) -> Tensor:
        from liger_kernel.ops.softmax import LigerSoftmaxFunction

        return LigerSoftmaxFunction.apply(x)

    return Operation(
        kernel="softmax",
        case=_times(shape),
        dtype=dtype,
        costs=_row_costs(shape, dtype, 2, 3),
        sides={
            "triton": Side(K.softmax),
            "eager": Side(lambda x: torch.softmax(x, -1)),
            "liger": Side(liger),
        },
        inputs=_random(dtype, [shape], shape),
        in_quick=in_quick,
    )


def _bias_gelu(shape: tuple[int, int], dtype: torch.dtype) -> Operation:
    return Operation(
        kernel="bias_gelu",
        case=_times(shape),
        dtype=dtype,
        costs=_row_costs(shape, dtype, 2, 3),
        sides={"triton": Side(K.bias_gelu), "eager": Side(lambda x, bias: F.gelu(x + bias))},
        inputs=_random(dtype, [shape, shape[1:]], shape),
        in_quick=True,
    )


def _gelu(shape: tuple[int, int], dtype: torch.dtype) -> Operation:
    return Operation(
        kernel="gelu",
        case=_times(shape),
        dtype=dtype,
        costs=_row_costs(shape, dtype, 2, 3),
        sides={"triton": Side(K.gelu), "eager": Side(lambda x: F.gelu(x))},
        inputs=_random(dtype, [shape], shape),
        in_quick=False,
    )


def _row_costs(shape: tuple[int, ...], dtype: torch.dtype, forward: int, backward: int) -> dict[str, Cost]:
    """In arrays of this shape."""
    array = float(dtype.itemsize * math.prod(shape))
    return {"forward": Cost(forward * array), "backward": Cost(backward * array)}


def _with_both(costs: dict[str, Cost]) -> dict[str, Cost]:
    return {**costs, "forward + backward": Cost(sum(cost.bytes for cost in costs.values()))}


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)


def _random(
    dtype: torch.dtype, shapes: list[tuple[int, ...]], dy: tuple[int, ...], mean: float = 0.5
) -> Callable[[int], Inputs]:
    """Normal numbers: no zeros, which a GPU multiplies faster, and rows whose mean matters."""

    def inputs(seed: int) -> Inputs:
        generator = torch.Generator(DEVICE).manual_seed(seed)
        *arrays, last = (
            (torch.randn(shape, generator=generator, device=DEVICE) + mean).to(dtype) for shape in [*shapes, dy]
        )
        return Inputs(tuple(arrays), last)

    return inputs
