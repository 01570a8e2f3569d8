"""What each op should compute, said a second time: straightforward formulas in PyTorch, differentiated by PyTorch.

Run in float64 an oracle is the truth; run in the precision under test it is the baseline whose own error says how large an
error is honest (`checks.py`). It shares nothing with the implementation but Philox's random numbers, which have known
answers of their own (`test_op_random.py`).
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minirembert.ops.random import uniform


def keep(shape: tuple[int, ...], drop_prob: float, seed: int, first: int = 0) -> Tensor:
    """0 or 1 / (1 - p) for each element; element i draws number first + i. The factor is a float32 in every precision."""
    kept = uniform(seed, math.prod(shape), first).reshape(shape) >= drop_prob
    return torch.from_numpy(np.where(kept, np.float32(1 / (1 - drop_prob)), np.float32(0)))


def scores(
    q: Tensor,
    k: Tensor,
    num_heads: int,
    bias: Tensor | None = None,
    key_lengths: Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    """(B, h, S, T): how well each query matches each key; the lowest number added where it may not look."""
    q, k = split_heads(q, num_heads), split_heads(k, num_heads)
    s = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    S, T = s.shape[-2:]
    lowest = torch.finfo(s.dtype).min
    visible = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    if bias is not None and bias.dtype == torch.bool:
        visible, bias = visible & bias, None
    if key_lengths is not None:
        visible = visible & (torch.arange(T) < key_lengths[:, None, None, None])
    if causal:
        visible = visible & torch.ones(S, T, dtype=torch.bool).tril(T - S)
    return s + torch.where(visible, torch.zeros((), dtype=s.dtype) if bias is None else bias.clamp(min=lowest), lowest)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, S, h d) -> (B, h, S, d)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def attention_probabilities(
    q: Tensor, k: Tensor, num_heads: int, *, drop_prob: float, seed: int, first: int = 0, **masks: Any
) -> Tensor:
    p = torch.softmax(scores(q, k, num_heads, **masks), -1)
    return p * keep(tuple(p.shape), drop_prob, seed, first).to(p.dtype) if drop_prob else p


def attention(q: Tensor, k: Tensor, v: Tensor, num_heads: int, **settings: Any) -> Tensor:
    p = attention_probabilities(q, k, num_heads, **settings)
    return (p @ split_heads(v, num_heads)).transpose(1, 2).flatten(-2)


def attention_packed(
    q: Tensor, k: Tensor, v: Tensor, num_heads: int, cu_seqlens: Tensor, causal: bool, drop_prob: float, seed: int
) -> Tensor:
    """Each sequence by itself; its probabilities are numbered after those of the sequences before it."""
    parts = []
    for start, stop, first in packed_sequences(cu_seqlens, num_heads):
        one = (x[None, start:stop] for x in (q, k, v))
        parts.append(attention(*one, num_heads, causal=causal, drop_prob=drop_prob, seed=seed, first=first)[0])
    return torch.cat(parts)


def packed_sequences(cu_seqlens: Any, num_heads: int) -> list[tuple[int, int, int]]:
    """(start, stop, number of the first probability) of each sequence that is not empty."""
    ends = [int(end) for end in cu_seqlens]
    found, first = [], 0
    for start, stop in itertools.pairwise(ends):
        if stop > start:
            found.append((start, stop, first))
        first += num_heads * (stop - start) ** 2
    return found


def select_rows(x: Tensor, rows: Tensor) -> Tensor:
    return x.flatten(0, -2)[rows.long()]


def cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    return F.cross_entropy(logits, labels.long(), ignore_index=ignore_index)


ORACLES: dict[str, Callable[..., Tensor]] = {
    "embedding": lambda weight, ids, padding_idx: F.embedding(ids, weight, padding_idx=padding_idx),
    "linear": F.linear,
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "silu": F.silu,
    "mish": F.mish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "identity": lambda x: x * 1,
    "bias_gelu": lambda x, bias: F.gelu(x + bias),
    "softmax": lambda x: torch.softmax(x, -1),
    "layer_norm": lambda x, weight, bias, eps: F.layer_norm(x, weight.shape, weight, bias, eps),
    "residual_layer_norm": lambda x, r, weight, bias, eps: F.layer_norm(x + r, weight.shape, weight, bias, eps),
    "attention": attention,
    "attention_packed": attention_packed,
    "attention_probabilities": attention_probabilities,
    "dropout": lambda x, drop_prob, seed: x * keep(tuple(x.shape), drop_prob, seed).to(x.dtype),
    "add": torch.add,
    "scale": lambda x, factor: x * factor,
    "reshape": lambda x, shape: x.reshape(shape),
    "select_rows": select_rows,
    "select_feature": lambda x, feature: x[..., feature],
    "concatenate": lambda *parts: torch.cat(parts, 1),
    "cross_entropy": cross_entropy,
    "mse": F.mse_loss,
    "bce_with_logits": F.binary_cross_entropy_with_logits,
}


def answers(
    op: str,
    arrays: tuple[np.ndarray | None, ...],
    settings: dict[str, Any],
    dy: np.ndarray | None,
    dtype: torch.dtype | None = None,
) -> tuple[np.ndarray, ...]:
    """(y, *gradients) by the oracle; without gradients where `dy` is None. In the precision of the arrays or in `dtype`,
    which may be one that NumPy lacks: the answers are then float64 arrays."""

    def tensor(a: np.ndarray) -> Tensor:
        made = torch.from_numpy(np.array(a, order="C"))
        return made.to(dtype) if dtype and made.is_floating_point() else made

    def array(t: Tensor) -> np.ndarray:
        return (t.double() if dtype else t).detach().numpy()

    tensors = [None if a is None else tensor(a).requires_grad_() for a in arrays]
    given = {name: tensor(v) if isinstance(v, np.ndarray) else v for name, v in settings.items()}
    y = ORACLES[op](*tensors, **given)
    if dy is None:
        return (array(y),)
    y.backward(tensor(dy).to(y.dtype))
    return array(y), *(None if t is None else array(t.grad) for t in tensors)


# --- sizes ----------------------------------------------------------------------------------------------------------

# Where a formula subtracts numbers that nearly cancel, or adds up many, the size of the answer says nothing about the
# error that an honest program makes; the size of the terms does. SIZES has the formulas with their minus signs made plus
# signs, as functions of (arrays, y, dy, the last place of 1, settings) that give one array for y and one for each
# gradient, or None for the answer's own size.

Size = np.ndarray | None


def added(n: int) -> float:
    """How the rounding of a sum grows with its n terms. Each addition rounds a partial sum; for equal terms (an array with
    stride 0) all these roundings go the same way. Programs keep eight running sums or more, hence less than n / 16 eps."""
    return max(1, n / 64)


def _x_times_factor(x: np.ndarray, y: np.ndarray, dy: np.ndarray, ulp: float) -> tuple[Size, ...]:
    """y = x f, dx = dy (f + x f'), where f lies between 0 and 1 and a program may know f and f' to the last place of 1."""
    return np.abs(x), np.abs(dy) * (1 + np.abs(x))


def _factor(x: np.ndarray, y: np.ndarray, dy: np.ndarray, ulp: float) -> tuple[Size, ...]:
    """y between -1 and 1, dx = dy y', both known to the last place of 1."""
    return np.ones_like(x), np.abs(dy)


def _linear(
    x: np.ndarray, weight: np.ndarray, bias: Size, y: np.ndarray, dy: np.ndarray, ulp: float
) -> tuple[Size, ...]:
    """y = x W^T + b, dx = dy W."""
    x, weight, dy = np.abs(x), np.abs(weight), np.abs(dy)
    y_size = x @ weight.T + (0 if bias is None else np.abs(bias))
    return added(weight.shape[1]) * y_size, added(weight.shape[0]) * (dy @ weight), None, None


def _softmax(x: np.ndarray, y: np.ndarray, dy: np.ndarray, ulp: float) -> tuple[Size, ...]:
    """y = exp(x - m) / sum exp(x - m), dx = y (dy - sum dy y)."""
    y = y * added(y.shape[-1])
    return y, y * (np.abs(dy) + (np.abs(dy) * y).sum(-1, keepdims=True))


ILL_CONDITIONED = 0.01


def _layer_norm(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, y: np.ndarray, dy: np.ndarray, ulp: float, eps: float
) -> tuple[Size, ...]:
    """y = w xhat + b, xhat = (x - mean) rstd, dx = rstd (dxhat - mean(dxhat) - xhat mean(dxhat xhat)).

    In a row that hardly varies rstd is so large that the rounding of x - mean shows in the second digit of xhat. Nobody
    can be held to the exact dx there; such rows have a property of their own (`test_op_layernorm.py`).
    """
    mean = x.mean(-1, keepdims=True)
    rstd = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    terms = (np.abs(x).max(-1, keepdims=True) + np.abs(mean)) * rstd  # of xhat
    xhat, dxhat = np.abs(x - mean) * rstd, np.abs(dy * weight)
    along = (dxhat * xhat).mean(-1, keepdims=True)
    dx = rstd * (1 + terms) * (dxhat + dxhat.mean(-1, keepdims=True) + (1 + xhat) * along)
    ill = ulp * terms > ILL_CONDITIONED
    dweight = (np.abs(dy) * terms).reshape(-1, x.shape[-1]).sum(0)
    return np.abs(weight) * terms + np.abs(bias), np.where(ill, np.inf, dx), dweight, None


def _residual_layer_norm(
    x: np.ndarray, residual: np.ndarray, weight: np.ndarray, bias: np.ndarray, *rest: Any, **settings: Any
) -> tuple[Size, ...]:
    y, dx, dweight, dbias = _layer_norm(np.abs(x) + np.abs(residual), weight, bias, *rest, **settings)
    _, of_the_sum, *_ = _layer_norm(x + residual, weight, bias, *rest, **settings)
    return y, np.maximum(dx, of_the_sum), np.maximum(dx, of_the_sum), dweight, dbias


def _probabilities(
    q: np.ndarray, k: np.ndarray, num_heads: int, drop_prob: float, seed: int, first: int = 0, **masks: Any
) -> tuple[Tensor, Tensor]:
    """P (1 + the terms of the scores), as P = exp(score - lse) is known to the last place of the scores; and keep."""
    masks = {name: _tensor(mask) if isinstance(mask, np.ndarray) else mask for name, mask in masks.items()}
    p = torch.softmax(scores(_tensor(q), _tensor(k), num_heads, **masks), -1)
    terms = scores(_tensor(np.abs(q)), _tensor(np.abs(k)), num_heads).amax(-1, keepdim=True)
    size = p * (1 + added(q.shape[-1] // num_heads) * terms)
    return size, keep(tuple(p.shape), drop_prob, seed, first)


def _attention_probabilities(
    q: np.ndarray, k: np.ndarray, y: np.ndarray, dy: Size, ulp: float, **settings: Any
) -> tuple[Size, ...]:
    size, kept = _probabilities(q, k, **settings)
    return ((size * kept).numpy(),)


def _attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, y: np.ndarray, dy: np.ndarray, ulp: float, **settings: Any
) -> tuple[Size, ...]:
    """dscores = P (dP - delta), dP = keep dy V^T, delta = dy . y; dq = dscores K / sqrt d, dk = dscores^T Q / sqrt d."""
    p, kept = _probabilities(q, k, **settings)
    q, k, v, y, dy = (split_heads(_tensor(np.abs(a)), settings["num_heads"]) for a in (q, k, v, y, dy))
    dscores = p * (dy @ v.mT * kept + (dy * y).sum(-1, keepdim=True)) / math.sqrt(q.shape[-1])
    sizes = (p * kept) @ v, dscores @ k, dscores.mT @ q, (p * kept).mT @ dy
    return tuple(size.transpose(1, 2).flatten(-2).numpy() for size in sizes)


def _attention_packed(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, y: np.ndarray, dy: np.ndarray, ulp: float,
    num_heads: int, cu_seqlens: np.ndarray, **settings: Any,
) -> tuple[Size, ...]:  # fmt: skip
    sizes = [
        _attention(*(a[None, start:stop] for a in (q, k, v, y, dy)), ulp, num_heads=num_heads, first=first, **settings)
        for start, stop, first in packed_sequences(cu_seqlens, num_heads)
    ]
    return tuple(np.concatenate([size[0] for size in of_one]) for of_one in zip(*sizes, strict=True))


def _bias_gelu(x: np.ndarray, bias: np.ndarray, y: np.ndarray, dy: np.ndarray, ulp: float) -> tuple[Size, ...]:
    """y = s f(s), dx = dy (f + s f'), s = x + bias: what rounding takes from s, f' makes an error of dx (f'' below 1)."""
    y_size, dx_size = _x_times_factor(np.abs(x) + np.abs(bias), y, dy, ulp)
    return y_size, dx_size, dx_size.reshape(-1, x.shape[-1]).sum(0)


def _tensor(a: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(a))


def _cross_entropy(
    logits: np.ndarray, y: np.ndarray, dy: np.ndarray, ulp: float, labels: np.ndarray, ignore_index: int
) -> tuple[Size, ...]:
    """dlogits = dy (softmax - onehot) / count, softmax = exp(logit - lse) known to the last place of the logits."""
    labelled = labels != ignore_index
    size = torch.softmax(_tensor(logits), -1).numpy() * (1 + np.abs(logits).max(-1, keepdims=True))
    size[labelled, labels[labelled]] += 1
    return None, size * labelled[:, None] * np.abs(dy) / labelled.sum()


def _bce_with_logits(x: np.ndarray, y: np.ndarray, dy: np.ndarray, ulp: float, target: np.ndarray) -> tuple[Size, ...]:
    """dx = dy (sigmoid(x) - target) / count."""
    return None, np.full_like(x, np.abs(dy) / x.size)


SIZES: dict[str, Callable[..., tuple[Size, ...]]] = {
    "linear": _linear,
    **dict.fromkeys(("gelu", "gelu_new", "quick_gelu", "silu", "mish"), _x_times_factor),
    **dict.fromkeys(("sigmoid", "tanh"), _factor),
    "bias_gelu": _bias_gelu,
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "residual_layer_norm": _residual_layer_norm,
    "attention": _attention,
    "attention_packed": _attention_packed,
    "attention_probabilities": _attention_probabilities,
    "cross_entropy": _cross_entropy,
    "bce_with_logits": _bce_with_logits,
}
