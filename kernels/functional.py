"""The kernels as differentiable functions of torch tensors, for somebody's PyTorch model.

    import torch
    from kernels import functional as K

    class FeedForward(torch.nn.Module):
        def __init__(self, width: int, inner: int) -> None:
            super().__init__()
            self.up, self.down = torch.nn.Linear(width, inner, bias=False), torch.nn.Linear(inner, width)
            self.up_bias = torch.nn.Parameter(torch.zeros(inner))
            self.norm = torch.nn.LayerNorm(width)  # holds weight, bias and eps, under the names a checkpoint has

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.down(K.bias_gelu(self.up(x), self.up_bias))
            return K.residual_layer_norm(y, x, self.norm.weight, self.norm.bias, self.norm.eps)

The tensors must lie where the kernels run (`kernels._launch.DEVICE`): on the GPU, or without one on the CPU, where Triton's
interpreter runs them slowly. Results are contiguous, in the dtype of the data (the widest, where several tensors are
data); weights and biases of layer norm and GELU may have another one. `torch.autocast` casts nothing here and need not:
whatever comes in, sums and exponentials are taken in float32. Nothing is drawn behind your back: dropout is a function of
its seed, so pass a new one in every step; `torch.utils.checkpoint` then recomputes the same bits. There are no second
derivatives: a backward pass with `create_graph=True` raises RuntimeError.

`torch.compile` takes each call as one operator of its graph (`_opaque.py`), so a model compiles with `fullgraph=True`, its
lengths and seeds changing from step to step. `torch.utils.checkpoint` works with and without `use_reentrant`; what it computes
again it computes of the arguments as they are then. Transforms of `torch.func` raise NotImplementedError.

The gradients are those of the forward pass that was run. Masks and lengths in NumPy are copied for that (on a GPU their way
there is the copy). A tensor that is written to before the backward pass makes it raise RuntimeError, as everywhere in torch;
torch does not notice writing through a NumPy array that shares the memory of a tensor, and neither do we.

Not here: gradients for masks, `torch.func` transforms, kernels fused with what stands around them.
"""

import functools
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.autograd.function import FunctionCtx

from kernels import _opaque
from kernels._launch import own
from kernels.table import OPS
from minirembert.ops import Op


class _Node(torch.autograd.Function):
    """Any op of the table as a node of torch's graph."""

    @staticmethod
    def forward(ctx: FunctionCtx, op: Op, settings: dict[str, Any], *arrays: Tensor) -> Tensor:
        y, saved = op.forward(*arrays, **settings)
        ctx.op, ctx.type = op, type(saved)
        # Tensors in torch's keeping (it notices when one is written to, and holds no cycle through y), the rest in ours.
        ctx.save_for_backward(*(field if isinstance(field, Tensor) else None for field in saved))
        ctx.others = tuple(None if isinstance(field, Tensor) else field for field in saved)
        return y

    @staticmethod
    def backward(ctx: FunctionCtx, dy: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # once_differentiable would let it pass where dy is constant, and count it as zero
            raise RuntimeError(
                f"{ctx.op.forward.__name__} has no second derivative, so it cannot be differentiated with create_graph=True"
            )
        fields = (
            other if tensor is None else tensor for tensor, other in zip(ctx.saved_tensors, ctx.others, strict=True)
        )
        return None, None, *ctx.op.backward(dy, ctx.type(*fields))


def _apply(name: str, *arrays: Tensor, **settings: Any) -> Tensor:
    for array in arrays:
        if not isinstance(array, Tensor):
            raise TypeError(
                f"{name} differentiates torch tensors, got {type(array).__name__}; "
                f"kernels.table.OPS[{name!r}].forward takes NumPy arrays"
            )
    for setting, value in settings.items():
        if isinstance(value, Tensor) and value.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{name} has no gradient for {setting}: detach it first")
    if torch._C._are_functorch_transforms_active():  # a tangent would be lost, or the sentence be about staticmethods
        raise NotImplementedError(
            f"{name} is no function that torch.func can transform (grad, vmap, jvp, ...): use torch.autograd, and a batch axis"
        )
    if torch.compiler.is_compiling():
        return _opaque.apply(name, arrays, settings)
    # A mask in NumPy may be refilled before the backward pass, and torch would not notice: it gets memory of its own.
    settings = {setting: own(value) if isinstance(value, np.ndarray) else value for setting, value in settings.items()}
    return _Node.apply(OPS[name], settings, *arrays)


def _widest(*arrays: Tensor) -> list[Tensor]:
    """The arrays in the dtype that torch would add them in; gradients go back through the casts."""
    if not all(isinstance(array, Tensor) for array in arrays):
        return list(arrays)  # for _apply to refuse
    dtype = functools.reduce(torch.promote_types, (array.dtype for array in arrays))
    return [array.to(dtype) for array in arrays]


def softmax(x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
    """Probabilities along the last axis; a row of nothing but -inf becomes uniform."""
    return _apply("softmax", x)


def layer_norm(
    x: Float[Tensor, "*batch H"], weight: Float[Tensor, " H"], bias: Float[Tensor, " H"], eps: float
) -> Float[Tensor, "*batch H"]:
    """Rows of zero mean and unit variance, scaled by `weight` and shifted by `bias`."""
    return _apply("layer_norm", x, weight, bias, eps=eps)


def residual_layer_norm(
    x: Float[Tensor, "*batch H"],
    residual: Float[Tensor, "*batch H"],
    weight: Float[Tensor, " H"],
    bias: Float[Tensor, " H"],
    eps: float,
) -> Float[Tensor, "*batch H"]:
    """`layer_norm(x + residual)`."""
    return _apply("residual_layer_norm", *_widest(x, residual), weight, bias, eps=eps)


def attention(
    q: Float[Tensor, "B S H"],
    k: Float[Tensor, "B T H"],
    v: Float[Tensor, "B T H"],
    num_heads: int,
    bias: Float[Tensor | np.ndarray, "..."] | Bool[Tensor | np.ndarray, "..."] | None = None,
    key_lengths: Integer[Tensor | np.ndarray, " B"] | None = None,
    causal: bool = False,
    drop_prob: float = 0.0,
    seed: int = 0,
) -> Float[Tensor, "B S H"]:
    """Scaled dot-product attention over `num_heads` slices of H; no transposes: projections go in, and come out, as they are.

    `bias` is added to the scores or, if boolean, says where to look (True); it must broadcast to (B, h, S, T).
    `key_lengths`: how many keys each sequence has, the rest being padding. `causal`: no key after the query, whose S
    positions are the last ones of T. A query that may look nowhere averages all values. Raises ValueError if H is no
    multiple of `num_heads`, a length is outside [0, T], `drop_prob` outside [0, 1), or `bias` requires a gradient.
    """
    masks = {"bias": bias, "key_lengths": key_lengths, "causal": causal}
    return _apply("attention", *_widest(q, k, v), num_heads=num_heads, **masks, drop_prob=drop_prob, seed=seed)


def attention_packed(
    q: Float[Tensor, "N H"],
    k: Float[Tensor, "N H"],
    v: Float[Tensor, "N H"],
    num_heads: int,
    cu_seqlens: Integer[Tensor | np.ndarray, " ends"],
    causal: bool = False,
    drop_prob: float = 0.0,
    seed: int = 0,
) -> Float[Tensor, "N H"]:
    """`attention` within each of several sequences that lie end to end: tokens cu_seqlens[b] to cu_seqlens[b + 1].

    Raises ValueError unless `cu_seqlens` starts at 0, never falls and ends at N.
    """
    settings = {"num_heads": num_heads, "cu_seqlens": cu_seqlens, "causal": causal}
    return _apply("attention_packed", *_widest(q, k, v), **settings, drop_prob=drop_prob, seed=seed)


def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x Phi(x), with the exact normal distribution."""
    return _apply("gelu", x)


def bias_gelu(x: Float[Tensor, "*batch I"], bias: Float[Tensor, " I"]) -> Float[Tensor, "*batch I"]:
    """gelu(x + bias): what follows a matrix product, in one pass over memory."""
    return _apply("bias_gelu", x, bias)


def dropout(x: Float[Tensor, "*shape"], drop_prob: float, seed: int) -> Float[Tensor, "*shape"]:
    """x with a share `drop_prob` of its elements zeroed and the rest scaled up: element i is decided by (seed, i).

    Raises ValueError unless 0 <= drop_prob < 1.
    """
    return _apply("dropout", x, drop_prob=drop_prob, seed=seed)
