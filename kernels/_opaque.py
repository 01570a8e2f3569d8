"""The ops of `functional.py` as operators that torch's own machinery can trace around: `torch.compile` and `torch.func`.

A tracer can neither look into a launcher nor go round it. Here one operator of torch's registry stands for the forward half
of every op and one for every backward half, each with the shapes of what comes out of it, which is all that a tracer has to
know. So a model compiles in one graph (`fullgraph=True`) with our kernels in it as they are. Eager calls do not come here: a
registered operator costs more time to call.

Not here: second derivatives, batching rules for `vmap`, kernels fused with what stands around them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kernels._launch import statistics_dtype
from kernels.table import OPS
from minirembert.ops.activations import ActivationSaved, BiasGeluSaved
from minirembert.ops.attention import AttentionPackedSaved, AttentionSaved
from minirembert.ops.dropout import DropoutSaved
from minirembert.ops.layernorm import LayerNormSaved
from minirembert.ops.softmax import SoftmaxSaved

Settings = tuple[
    Tensor | None, Tensor | None, int, bool, float, int
]  # bias, lengths or ends, heads, causal, number, seed


def _named(op: str, settings: Settings) -> dict[str, Any]:
    """The settings that the op has, under the names of its launcher."""
    bias, lengths, num_heads, causal, number, seed = settings
    if op == "dropout":
        return {"drop_prob": number, "seed": seed}
    if op in ("layer_norm", "residual_layer_norm"):
        return {"eps": number}
    if op == "attention":
        masks = {"bias": bias, "key_lengths": lengths}
    elif op == "attention_packed":
        masks = {"cu_seqlens": lengths}
    else:
        return {}
    return {"num_heads": num_heads, **masks, "causal": causal, "drop_prob": number, "seed": seed}


def _saved(op: str, arrays: Sequence[Tensor], outputs: Sequence[Tensor], settings: Settings) -> Any:
    """What the op saved, put together again from its arguments and from what its operator gave."""
    bias, lengths, num_heads, causal, number, seed = settings
    if op == "softmax":
        return SoftmaxSaved(outputs[0])
    if op == "gelu":
        return ActivationSaved(arrays[0])
    if op == "bias_gelu":
        return BiasGeluSaved(*arrays)
    if op == "dropout":
        return DropoutSaved(number, seed)
    if op == "layer_norm":
        return LayerNormSaved(arrays[0], arrays[1], *outputs[1:])
    if op == "residual_layer_norm":
        return LayerNormSaved(outputs[1], arrays[2], *outputs[2:])
    (q, k, v), (y, lse, lse_rest) = arrays, outputs
    if op == "attention":
        return AttentionSaved(q, k, v, bias, lengths, y, lse, lse_rest, num_heads, causal, number, seed)
    return AttentionPackedSaved(q, k, v, lengths, y, lse, lse_rest, num_heads, causal, number, seed)


SETTINGS = "Tensor? bias, Tensor? lengths, SymInt num_heads, bool causal, float number, SymInt seed"


@torch.library.custom_op(
    "minirembert::forward", mutates_args=(), schema=f"(str op, Tensor[] arrays, {SETTINGS}) -> Tensor[]"
)
def forward(
    op: str, arrays: Sequence[Tensor], bias: Tensor | None, lengths: Tensor | None, num_heads: int, causal: bool,
    number: float, seed: int,
) -> list[Tensor]:  # fmt: skip
    """The output, then those of the saved arrays that are neither the output nor an argument."""
    with torch.no_grad():
        y, saved = OPS[op].forward(*arrays, **_named(op, (bias, lengths, num_heads, causal, number, seed)))
    if op == "layer_norm":
        return [y, saved.mean, saved.rstd]
    if op == "residual_layer_norm":
        return [y, saved.x, saved.mean, saved.rstd]
    return [y, saved.lse, saved.lse_rest] if op.startswith("attention") else [y]


@forward.register_fake
def _(
    op: str, arrays: Sequence[Tensor], bias: Tensor | None, lengths: Tensor | None, num_heads: int, causal: bool,
    number: float, seed: int,
) -> list[Tensor]:  # fmt: skip
    x = arrays[0]
    y, statistics = x.new_empty(x.shape), statistics_dtype(x)
    if op.endswith("layer_norm"):
        sums = [x.new_empty(x.shape)] if op == "residual_layer_norm" else []
        return [y, *sums, *(x.new_empty(x.shape[:-1], dtype=statistics) for _ in range(2))]
    if op.startswith("attention"):
        shape = (num_heads, x.shape[0]) if op == "attention_packed" else (x.shape[0], num_heads, x.shape[1])
        return [y, *(x.new_empty(shape, dtype=statistics) for _ in range(2))]
    return [y]


@torch.library.custom_op(
    "minirembert::backward",
    mutates_args=(),
    schema=f"(str op, Tensor dy, Tensor[] arrays, Tensor[] outputs, {SETTINGS}) -> Tensor[]",
)
def backward(
    op: str, dy: Tensor, arrays: Sequence[Tensor], outputs: Sequence[Tensor], bias: Tensor | None, lengths: Tensor | None,
    num_heads: int, causal: bool, number: float, seed: int,
) -> list[Tensor]:  # fmt: skip
    """One gradient for each of `arrays`."""
    half = OPS[op].backward
    assert half is not None
    with torch.no_grad():
        saved = _saved(op, arrays, outputs, (bias, lengths, num_heads, causal, number, seed))
        return list(half(dy, saved))


@backward.register_fake
def _(
    op: str, dy: Tensor, arrays: Sequence[Tensor], outputs: Sequence[Tensor], bias: Tensor | None, lengths: Tensor | None,
    num_heads: int, causal: bool, number: float, seed: int,
) -> list[Tensor]:  # fmt: skip
    return [x.new_empty(x.shape) for x in arrays]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Sequence[Tensor]) -> None:
    ctx.op, arrays, bias, lengths, *ctx.settings = inputs
    ctx.count = len(arrays)
    ctx.save_for_backward(bias, lengths, *arrays, *output)


def _gradients(ctx: Any, gradients: Sequence[Tensor]) -> tuple[Any, ...]:
    bias, lengths, *kept = ctx.saved_tensors
    arrays, outputs = kept[: ctx.count], kept[ctx.count :]
    found = backward(ctx.op, gradients[0], arrays, outputs, bias, lengths, *ctx.settings)
    return None, found, None, None, None, None, None, None


forward.register_autograd(_gradients, setup_context=_keep)


def _own(mask: Any) -> Tensor | None:
    """As a tensor; in memory of its own if it comes in NumPy, where torch does not notice that it is written to."""
    if mask is None or isinstance(mask, Tensor):
        return mask
    return torch.as_tensor(mask).clone()


def apply(op: str, arrays: Sequence[Tensor], settings: dict[str, Any]) -> Tensor:
    """The op's output, through the operator. `settings` as its launcher has them; arrays among them may be lists."""
    bias = _own(settings.get("bias"))
    lengths = _own(settings.get("cu_seqlens" if op == "attention_packed" else "key_lengths"))
    # The backward half takes them as they are saved, so they go to where the kernels run here.
    bias, lengths = (None if mask is None else mask.to(arrays[0].device) for mask in (bias, lengths))
    number = settings.get("eps", settings.get("drop_prob", 0.0))
    seed = settings.get("seed", 0)
    if seed >= 2**63:  # an operator's integers have a sign; a seed is its 64 bits
        seed -= 2**64
    outputs = forward(
        op, list(arrays), bias, lengths, settings.get("num_heads", 1), settings.get("causal", False), number, seed
    )
    return outputs[0]
