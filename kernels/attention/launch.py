"""Attention's launchers: what is checked, which rung runs, how large its tiles are.

Traffic: q, k, v are read and y is written, 4 B S H numbers, for 4 S T d FLOPs a head. Every block of queries reads its
head's k and v again, which the L2 cache is there for.

Heads are slices of H and are read where they lie, so q, k and v may be slices of one packed product.

Not here: the kernels (`plain.py` and `general.py`), projections, a gradient for the bias, heads of more than 128 features.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from kernels._launch import (
    INTERPRETED,
    input_precision,
    integers,
    launcher,
    on_host,
    require,
    require_power_of_two,
    require_saved,
    statistics_dtype,
)
from kernels.attention.general import (
    Bias,
    Dropout,
    attention_general_head_kernel,
    attention_general_kernel,
    attention_general_keys_kernel,
    attention_general_queries_kernel,
    attention_probabilities_kernel,
)
from kernels.attention.plain import (
    attention_plain_head_kernel,
    attention_plain_kernel,
    attention_plain_keys_kernel,
    attention_plain_queries_kernel,
)
from kernels.attention.tiles import LONGEST, Mask, Rows, Shape, Statistics, Tile
from kernels.random import SEED_BITS, dropout_factor
from minirembert.ops.attention import AttentionPackedSaved, AttentionSaved, check_cu_seqlens, check_key_lengths
from minirembert.ops.random import check_drop_prob, check_seed
from minirembert.scalars import as_integer, as_switch

LARGEST_HEAD = 128


@launcher
def attention(
    q: Float[Tensor, "B S H"],
    k: Float[Tensor, "B T H"],
    v: Float[Tensor, "B T H"],
    num_heads: int,
    bias: Float[Tensor, "..."] | Bool[Tensor, "..."] | None = None,
    key_lengths: Integer[Tensor, " B"] | Sequence[int] | None = None,
    causal: bool = False,
    drop_prob: float = 0.0,
    seed: int = 0,
    *,
    block: tuple[int, int] | None = None,
) -> tuple[Float[Tensor, "B S H"], AttentionSaved]:
    """Each query's average of the values. `block`: queries and keys of a tile, powers of two from 16.

    `bias` must broadcast to (B, h, S, T). Lengths that are on a GPU already are waited for, to be checked. Raises
    ValueError if a shape does not match, T is 0, H is not a multiple of `num_heads`, H / `num_heads` is above 128, a length is
    outside [0, T], `drop_prob` outside [0, 1) or `seed` outside 64 bits; TypeError if a dtype is not the one of q.
    """
    _check("attention", q, k, v, num_heads, bias, causal, drop_prob, seed, block)
    key_lengths = _lengths("attention", key_lengths, k)
    problem = problem_of(q, k, num_heads, bias, key_lengths, None, causal, drop_prob, seed)
    y, lse, lse_rest = forward(q, k, v, problem, block)
    settings = int(num_heads), bool(causal), float(drop_prob), int(seed)
    return y, AttentionSaved(q, k, v, bias, key_lengths, y, lse, lse_rest, *settings)


@launcher
def attention_backward(
    dy: Float[Tensor, "B S H"], saved: AttentionSaved, *, block: tuple[int, int] | None = None
) -> tuple[Float[Tensor, "B S H"], Float[Tensor, "B T H"], Float[Tensor, "B T H"]]:
    """dq, dk, dv. Raises TypeError if `saved` is not what `attention` saved, ValueError if dy is not shaped like its y."""
    _check_backward("attention_backward", dy, saved, AttentionSaved, block)
    s = saved
    problem = problem_of(s.q, s.k, s.num_heads, s.bias, s.key_lengths, None, s.causal, s.drop_prob, s.seed)
    return backward(dy, saved, problem, block)


@launcher
def attention_packed(
    q: Float[Tensor, "N H"],
    k: Float[Tensor, "N H"],
    v: Float[Tensor, "N H"],
    num_heads: int,
    cu_seqlens: Integer[Tensor, " ends"] | Sequence[int],
    causal: bool = False,
    drop_prob: float = 0.0,
    seed: int = 0,
    *,
    block: tuple[int, int] | None = None,
) -> tuple[Float[Tensor, "N H"], AttentionPackedSaved]:
    """`attention` within each of several sequences that lie end to end: tokens cu_seqlens[b] to cu_seqlens[b + 1].

    Ends that are on a GPU already are waited for, forward and backward. Raises ValueError unless they start at 0, never
    fall and end at N; otherwise what `attention` raises.
    """
    _check("attention_packed", q, k, v, num_heads, None, causal, drop_prob, seed, block, packed=True)
    cu_seqlens = _ends("attention_packed", cu_seqlens, q)
    problem = problem_of(q, k, num_heads, None, None, cu_seqlens, causal, drop_prob, seed)
    y, lse, lse_rest = forward(q, k, v, problem, block)
    settings = int(num_heads), bool(causal), float(drop_prob), int(seed)
    return y, AttentionPackedSaved(q, k, v, cu_seqlens, y, lse, lse_rest, *settings)


@launcher
def attention_packed_backward(
    dy: Float[Tensor, "N H"], saved: AttentionPackedSaved, *, block: tuple[int, int] | None = None
) -> tuple[Float[Tensor, "N H"], Float[Tensor, "N H"], Float[Tensor, "N H"]]:
    """dq, dk, dv. Raises what `attention_backward` raises."""
    _check_backward("attention_packed_backward", dy, saved, AttentionPackedSaved, block)
    s = saved
    problem = problem_of(s.q, s.k, s.num_heads, None, None, s.cu_seqlens, s.causal, s.drop_prob, s.seed)
    return backward(dy, saved, problem, block)


@launcher
def attention_probabilities(
    q: Float[Tensor, "B S H"],
    k: Float[Tensor, "B T H"],
    num_heads: int,
    bias: Float[Tensor, "..."] | Bool[Tensor, "..."] | None = None,
    key_lengths: Integer[Tensor, " B"] | Sequence[int] | None = None,
    causal: bool = False,
    drop_prob: float = 0.0,
    seed: int = 0,
    *,
    block: tuple[int, int] | None = None,
) -> tuple[Float[Tensor, "B h S T"], None]:
    """The probabilities that `attention` uses, after dropout: for looking at. Raises what it raises; has no backward."""
    _check("attention_probabilities", q, k, k, num_heads, bias, causal, drop_prob, seed, block)
    key_lengths = _lengths("attention_probabilities", key_lengths, k)
    _, saved = attention(q, k, k, num_heads, bias, key_lengths, causal, block=block)
    problem = problem_of(q, k, num_heads, bias, key_lengths, None, causal, drop_prob, seed)
    return probabilities(q, k, problem, saved.lse, saved.lse_rest, block), None


# --- what is refused --------------------------------------------------------------------------------------------------


def _check(
    op: str, q: Tensor, k: Tensor, v: Tensor, num_heads: int, bias: Tensor | None, causal: bool, drop_prob: float,
    seed: int, block: tuple[int, int] | None, packed: bool = False,
) -> None:  # fmt: skip
    """Raises TypeError or ValueError for what the kernels have no tile for, or would read beside its memory.

    It asks for shapes and dtypes alone, and so waits for no GPU.
    """
    if q.ndim != (2 if packed else 3):
        raise ValueError(f"{op}: q has shape {tuple(q.shape)}, expected {'(N, H)' if packed else '(B, S, H)'}")
    T = k.shape[-2] if isinstance(k, Tensor) and k.ndim == q.ndim and not packed else q.shape[-2]
    for name, x in (("k", k), ("v", v)):
        require(op, name, x, (*q.shape[:-2], T, q.shape[-1]), q.dtype)
    if max(*q.shape[-2:], T) > LONGEST:
        raise ValueError(
            f"{op}: shapes {tuple(q.shape)} and {tuple(k.shape)}, but an axis has at most {LONGEST} numbers"
        )
    if T == 0 and not packed:
        raise ValueError(f"{op}: k has shape {tuple(k.shape)}, but attention needs at least 1 key")

    num_heads = as_integer(f"{op}: num_heads", num_heads)
    width = q.shape[-1]
    if num_heads < 1:
        raise ValueError(f"{op}: num_heads is {num_heads}, but there must be at least 1")
    if width % num_heads:
        raise ValueError(f"{op}: the width {width} is not a multiple of the number of heads {num_heads}")
    if not 1 <= width // num_heads <= LARGEST_HEAD:
        raise ValueError(
            f"{op}: a width of {width} in {num_heads} heads makes {width // num_heads} features a head, "
            f"but the kernels have tiles for 1 to {LARGEST_HEAD}"
        )

    if bias is not None:
        if not isinstance(bias, Tensor) or not (bias.is_floating_point() or bias.dtype == torch.bool):
            found = bias.dtype if isinstance(bias, Tensor) else type(bias).__name__
            raise TypeError(f"{op}: bias must be an array of floating-point numbers or booleans, got {found}")
        scores_shape = (q.shape[0], int(num_heads), q.shape[1], T)
        try:
            bias.expand(scores_shape)
        except RuntimeError:
            raise ValueError(
                f"{op}: bias has shape {tuple(bias.shape)}, which does not broadcast to (B, h, S, T) = {scores_shape}"
            ) from None

    as_switch(f"{op}: causal", causal)
    check_drop_prob(drop_prob)
    check_seed(seed)
    _check_block(op, block)


def _check_backward(op: str, dy: Tensor, saved: Any, kind: type, block: tuple[int, int] | None) -> None:
    require_saved(op, saved, kind)
    require(op, "dy", dy, saved.y.shape, saved.y.dtype)
    _check_block(op, block)


def _check_block(op: str, block: tuple[int, int] | None) -> None:
    if block is None:
        return
    if not isinstance(block, (tuple, list)) or len(block) != 2:
        raise ValueError(f"{op}: block must be a pair, queries and keys of a tile, got {block!r}")
    for side, value in enumerate(block):
        require_power_of_two(op, f"block[{side}]", value, 16)


def _lengths(op: str, key_lengths: Any, k: Tensor) -> Tensor | None:
    """The lengths as a tensor, once they have been checked."""
    if key_lengths is None:
        return None
    key_lengths = integers(op, "key_lengths", key_lengths, len(k))
    check_key_lengths(on_host(key_lengths), k.shape[1])
    return key_lengths


def _ends(op: str, cu_seqlens: Any, q: Tensor) -> Tensor:
    """The ends of packed sequences as a tensor, once they have been checked."""
    cu_seqlens = integers(op, "cu_seqlens", cu_seqlens)
    if cu_seqlens.ndim != 1:
        raise ValueError(f"{op}: cu_seqlens has shape {tuple(cu_seqlens.shape)}, expected one axis")
    check_cu_seqlens(on_host(cu_seqlens), len(q))
    return cu_seqlens


# --- which rung runs --------------------------------------------------------------------------------------------------


def is_plain(problem: "Problem") -> bool:
    """Whether the second rung can do it, `plain.py`; else the third does, `general.py`.

    It must be known without a look at the GPU, and be the same in forward and in backward. Lengths and packed sequences may
    be there, and a sequence may be empty.
    """
    return (
        problem.bias.ptr is None
        and problem.drop_prob == 0
        and not (problem.causal and problem.shape.S > problem.shape.T)  # the first queries would see nothing
    )


# --- how large a tile is ----------------------------------------------------------------------------------------------

# How many queries and keys make a tile, by how many warps, in how many stages of loading ahead. A tile is as large as the
# registers of its program allow: a larger one reads less, one that does not fit goes back and forth to memory.
# "one block": forward over at most this many keys; "head": backward where queries and keys are at most this many queries.
# Tensor cores take float16 and bfloat16; exact products of float32 and float64 hold all their factors in registers.
GENERAL_TILES = {
    ("half", 64): {
        "one block": (128, 128, 8, 1), "forward": (128, 64, 8, 3),
        "head": (128, 32, 8, 1), "queries": (128, 64, 8, 2), "keys": (64, 128, 8, 2),
    },
    ("half", 128): {
        "one block": (64, 64, 8, 1), "forward": (128, 64, 8, 2),
        "head": (64, 32, 8, 1), "queries": (64, 32, 8, 2), "keys": (32, 64, 8, 2),
    },
    ("single", 64): {
        "one block": (32, 32, 4, 1), "forward": (64, 32, 8, 2),
        "head": (32, 32, 8, 1), "queries": (32, 32, 4, 2), "keys": (32, 32, 4, 2),
    },
    ("single", 128): {
        **dict.fromkeys(("one block", "forward", "head", "queries"), (16, 16, 4, 2)), "keys": (16, 16, 8, 2),
    },
    ("double", 64): dict.fromkeys(("one block", "forward", "head", "queries", "keys"), (32, 32, 8, 1)),
    ("double", 128): dict.fromkeys(("one block", "forward", "head", "queries", "keys"), (16, 16, 4, 1)),
}  # fmt: skip
# The same where dropout wants registers too, and where a bias for every pair of query and key does.
TILES_WITH_DROPOUT = {
    ("half", 64): {"head": (64, 32, 8, 1), "queries": (64, 32, 8, 2), "keys": (32, 128, 8, 2)},
    ("half", 128): {"forward": (64, 64, 8, 2)},
}
TILES_WITH_BIAS = {
    ("half", 64): {
        "one block": (64, 128, 8, 1), "forward": (64, 64, 8, 3),
        "head": (64, 32, 8, 1), "queries": (128, 32, 8, 2), "keys": (16, 128, 8, 2),
    },
    ("half", 128): {"forward": (64, 64, 8, 2)},
}  # fmt: skip
# The second rung's tiles. Those of half precision and 64 features were the fastest of some two dozen on an H200.
PLAIN_TILES = GENERAL_TILES | {
    ("half", 64): {
        "one block": (64, 128, 4, 1), "forward": (64, 64, 4, 3),
        "head": (128, 128, 8, 2), "queries": (64, 64, 4, 3), "keys": (32, 128, 4, 3),
    },
    ("single", 64): GENERAL_TILES["single", 64] | {"keys": (32, 32, 8, 2)},
}  # fmt: skip
# The same where a program has edges to look after as well, or rows that lie apart, for which there is no register left; and
# on chips before Hopper, whose matrix instructions take both factors from registers.
PLAIN_TILES_WITH_EDGES = {
    ("half", 64): {"forward": (64, 64, 4, 2), "head": (128, 32, 8, 1), "keys": (32, 128, 8, 3)},
}


class Launch(NamedTuple):
    """How a kernel is launched over a problem."""

    tile: Tile
    options: dict[str, int]  # warps and stages
    query_blocks: int  # of the longest sequence
    key_blocks: int


def has_edges(problem: "Problem", queries: int, keys: int, arrays: Sequence[Rows]) -> bool:
    """Whether some tiles need more than their products: comparisons, or offsets of their own for every array."""
    mask, shape = problem.mask, problem.shape
    by_place = problem.causal or mask.key_lengths is not None or mask.cu_seqlens is not None
    by_size = shape.S % queries != 0 or shape.T % keys != 0
    return by_place or by_size or any(array.step is not None for array in arrays)


def choose_tile(kernel: str, problem: "Problem", block: tuple[int, int] | None, *arrays: Rows) -> Launch:
    """The tile of one of the kernels, no larger than the problem; `block` overrules its size. `arrays`: what it reads."""
    shape, mask = problem.shape, problem.mask
    features = max(16, triton.next_power_of_2(problem.features))
    kind = {2: "half", 4: "single", 8: "double"}[problem.dtype.itemsize], max(64, features)
    tiles = (PLAIN_TILES if is_plain(problem) else GENERAL_TILES)[kind]
    target = None if INTERPRETED else triton.runtime.driver.active.get_current_target()
    old = target is not None and target.backend == "cuda" and target.arch < 90
    if is_plain(problem) and (old or has_edges(problem, *tiles[kernel][:2], arrays)):
        tiles = tiles | PLAIN_TILES_WITH_EDGES.get(kind, {})
    if problem.drop_prob:
        tiles = tiles | TILES_WITH_DROPOUT.get(kind, {})
    if problem.bias.query is not None:
        tiles = tiles | TILES_WITH_BIAS.get(kind, {})
    queries, keys, warps, stages = tiles[kernel]
    queries = min(queries, max(16, triton.next_power_of_2(shape.S)))
    keys = min(keys, max(16, triton.next_power_of_2(shape.T)))
    if block is not None:
        queries, keys = block
    if target is not None and target.backend == "hip":
        # AMD's warps have 64 lanes, and what is loaded ahead waits in registers
        warps, stages = max(4, warps // 2), max(1, stages - 1)
    packed = mask.cu_seqlens is not None
    steps = (shape.heads * problem.features, *(array.step for array in arrays if array.step is not None))
    furthest = max(steps) * (max(queries, keys) - 1) + features  # of a tile's numbers, counted from its first
    constants = (
        queries,
        keys,
        features,
        not packed and shape.S % queries == 0 and shape.S > 0,
        not packed and shape.T % keys == 0 and mask.key_lengths is None,
        tl.float64 if problem.dtype == torch.float64 else tl.float32,
        torch.finfo(problem.statistics).min,
        tl.int32 if furthest < 2**31 else tl.int64,
        input_precision(),
        problem.dtype.itemsize > 2,
    )
    tile = Tile(*map(tl.constexpr, constants))
    options = {"num_warps": warps, "num_stages": stages}
    return Launch(tile, options, triton.cdiv(shape.S, queries), triton.cdiv(shape.T, keys))


# --- what launchers share ---------------------------------------------------------------------------------------------


class Problem(NamedTuple):
    """What is asked, as all kernels are told it."""

    shape: Shape
    mask: Mask
    bias: Bias
    dropout: Dropout
    seed: int
    # Once more for the launcher, in Python's own types.
    sequences: int
    features: int  # of a head
    causal: bool
    drop_prob: float
    dtype: torch.dtype
    statistics: torch.dtype


def problem_of(
    q: Tensor, k: Tensor, num_heads: int, bias: Tensor | None, key_lengths: Tensor | None, cu_seqlens: Tensor | None,
    causal: bool, drop_prob: float, seed: int,
) -> Problem:  # fmt: skip
    """What all kernels are told alike. Packed sequences whose ends are on a GPU alone are waited for."""
    num_heads, causal, drop_prob = int(num_heads), bool(causal), float(drop_prob)  # Triton does not take NumPy's
    firsts = None
    if cu_seqlens is None:
        (batch, S, _), T = q.shape, k.shape[1]
    else:
        lengths = np.diff(on_host(cu_seqlens)).astype(np.int64)
        batch, S = len(lengths), int(lengths.max())
        T = S
        if drop_prob:
            firsts = torch.from_numpy(num_heads * (np.cumsum(lengths**2) - lengths**2)).to(q.device)
    D = q.shape[-1] // num_heads
    fours = drop_prob > 0 and T % 4 == 0 and cu_seqlens is None
    return Problem(
        shape=Shape(S, T, num_heads, q.shape[0], tl.constexpr(D)),
        mask=Mask(
            None if key_lengths is None else key_lengths.contiguous(),
            None if cu_seqlens is None else cu_seqlens.contiguous(),
            tl.constexpr(causal),
        ),
        bias=_bias(bias, (batch, num_heads, S, T), statistics_dtype(q)),
        dropout=Dropout(firsts, *map(tl.constexpr, (drop_prob, dropout_factor(drop_prob), fours))),
        seed=int(seed) & SEED_BITS,
        sequences=batch,
        features=D,
        causal=causal,
        drop_prob=drop_prob,
        dtype=q.dtype,
        statistics=statistics_dtype(q),
    )


def _bias(bias: Tensor | None, shape: tuple[int, int, int, int], widest: torch.dtype) -> Bias:
    """The bias as a kernel is told it; one row for all queries is read once for all of them."""
    if bias is None:
        return Bias(None, None, None, None, None, tl.constexpr(False))
    added = bias.dtype != torch.bool
    if bias.dtype == torch.float64:
        bias = bias.to(widest)  # what does not fit becomes -inf
    bias = bias.expand(shape)
    batch, head, query, key = bias.stride()
    return Bias(bias, batch, head, None if query == 0 else query, key, tl.constexpr(added))


def forward(q: Tensor, k: Tensor, v: Tensor, problem: Problem, block: tuple[int, int] | None) -> Any:
    """y, lse, lse_rest."""
    heads = problem.shape.heads
    y = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    saved_shape = (len(q), heads, q.shape[1]) if q.ndim == 3 else (heads, len(q))
    lse, lse_rest = (torch.empty(saved_shape, dtype=problem.statistics, device=q.device) for _ in range(2))
    arrays = [_rows(x) for x in (q, k, v, y)]
    launch = choose_tile("one block", problem, block, *arrays)
    one_block = launch.key_blocks <= 1
    if not one_block:
        launch = choose_tile("forward", problem, block, *arrays)
    tile, options, blocks, _ = launch
    grid = (blocks * heads * problem.sequences,)
    statistics = Statistics(lse, lse_rest)
    _, mask, bias, dropout, seed, *_ = problem
    if is_plain(problem):
        attention_plain_kernel[grid](
            *arrays, statistics, problem.shape, mask, blocks, tile, ONE_BLOCK=one_block, **options
        )
    else:
        attention_general_kernel[grid](
            *arrays, statistics, bias, problem.shape, mask, dropout, seed, blocks, tile, ONE_BLOCK=one_block, **options
        )
    return y, lse, lse_rest


def backward(dy: Tensor, saved: Any, problem: Problem, block: tuple[int, int] | None) -> Any:
    """dq, dk, dv."""
    shape, mask, bias, dropout, seed, *_ = problem
    gradients = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (saved.q, saved.k, saved.v)]
    q, k, v, y, rows_dy = (_rows(x) for x in (saved.q, saved.k, saved.v, saved.y, dy))
    dq, dk, dv = map(_rows, gradients)
    statistics = Statistics(saved.lse, saved.lse_rest)
    pairs = shape.heads * problem.sequences
    plain = is_plain(problem)

    tile, options, *_ = choose_tile("head", problem, block, q, k, v, y, rows_dy)
    if max(shape.S, shape.T) <= tile.queries.value:
        inputs: tuple[Any, ...] = (q, k, v, y, rows_dy, statistics, dq, dk, dv)
        if plain:
            attention_plain_head_kernel[(pairs,)](*inputs, shape, mask, tile, **options)
        else:
            attention_general_head_kernel[(pairs,)](*inputs, bias, shape, mask, dropout, seed, tile, **options)
        return tuple(gradients)

    delta = torch.empty_like(saved.lse)
    for owners in ("queries", "keys"):
        tile, options, blocks, key_blocks = choose_tile(owners, problem, block, q, k, v, y, rows_dy)
        inputs = (q, k, v, y, rows_dy, statistics, delta, dq)
        if owners == "keys":
            inputs, blocks = (q, k, v, rows_dy, statistics, delta, dk, dv), key_blocks
        grid = (blocks * pairs,)
        if plain:
            kernel = attention_plain_queries_kernel if owners == "queries" else attention_plain_keys_kernel
            kernel[grid](*inputs, shape, mask, blocks, tile, **options)
        else:
            kernel = attention_general_queries_kernel if owners == "queries" else attention_general_keys_kernel
            kernel[grid](*inputs, bias, shape, mask, dropout, seed, blocks, tile, **options)
    return tuple(gradients)


def probabilities(
    q: Tensor, k: Tensor, problem: Problem, lse: Tensor, lse_rest: Tensor, block: tuple[int, int] | None
) -> Tensor:
    """(B, h, S, T), after dropout. The third rung does it, whatever is asked."""
    shape, mask, bias, dropout, seed, *_ = problem
    p = torch.empty((*lse.shape, shape.T), dtype=q.dtype, device=q.device)
    arrays = _rows(q), _rows(k)
    tile, options, blocks, _ = choose_tile("queries", problem, block, *arrays)
    attention_probabilities_kernel[(blocks * shape.heads * problem.sequences,)](
        *arrays, p, Statistics(lse, lse_rest), bias, shape, mask, dropout, seed, blocks, tile, **options
    )
    return p


def _rows(x: Tensor) -> Rows:
    """Where an array lies. The features of a row must be side by side, as the kernels read them; else it is copied."""
    x = x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()
    step = x.stride(-2)
    return Rows(x, x.stride(0), None if step == x.shape[-1] else step)
