"""Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

A counter-based generator has no state: it turns (seed, counter) into four words of 32 random bits. Element i of an array
gets word i mod 4 of counter i div 4, so its number is a function of (seed, i) alone. The backward pass asks for the same
numbers again instead of storing them, and a GPU program that owns element i needs nobody else's (Triton's own Philox,
`tl.philox`, gives these bits).
"""

import math
import numbers
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from minirembert.ops.array import Array, row_blocks
from minirembert.scalars import as_integer

ROUND_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)  # the golden ratio and sqrt(3) - 1, as 32-bit fractions
LOW_32 = np.uint64(0xFFFFFFFF)
SHIFT_32 = np.uint64(32)


def philox(seed: int, counter: Integer[Array, "*shape"]) -> tuple[Array, Array, Array, Array]:
    """Four words of 32 random bits (in uint64 arrays) for each 32-bit `counter`, under a 64-bit `seed`."""
    c0 = counter.astype(np.uint64) & LOW_32
    c1, c2, c3 = (np.zeros_like(c0) for _ in range(3))
    key0, key1 = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
    for _ in range(10):
        product0, product1 = ROUND_MULTIPLIERS[0] * c0, ROUND_MULTIPLIERS[1] * c2
        c0 = (product1 >> SHIFT_32) ^ c1 ^ np.uint64(key0)
        c2 = (product0 >> SHIFT_32) ^ c3 ^ np.uint64(key1)
        c1, c3 = product1 & LOW_32, product0 & LOW_32
        key0, key1 = (key0 + KEY_INCREMENTS[0]) & 0xFFFFFFFF, (key1 + KEY_INCREMENTS[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniform(seed: int, count: int, start: int = 0) -> Float[Array, " N"]:
    """float32 in [0, 1) for the elements start, start + 1, ..., start + count - 1.

    31 bits each, times the float just below 2^-31, so that the largest does not round up to 1 (Triton's factor, too).
    """
    first, end = start // 4, -(-(start + count) // 4)
    words = np.empty((end - first, 4), np.uint32)
    for block in row_blocks(
        end - first, 64
    ):  # ten rounds of ten steps: the intermediate results should stay in the cache
        words[block] = np.stack(philox(seed, np.arange(first + block.start, first + block.stop)), axis=-1)
    bits = words.reshape(-1)[start - 4 * first :][:count]
    return (bits >> 1).astype(np.float32) * np.float32(4.6566127342e-10)


def keep_mask(shape: tuple[int, ...], drop_prob: float, seed: int, start: int = 0) -> Float[Array, "*shape"]:
    """What dropout multiplies by, float32: 0 with probability `drop_prob`, else 1 / (1 - drop_prob).

    `start` is the number of the first element, where `shape` is a part of something larger.
    """
    kept = uniform(seed, math.prod(shape), start) >= drop_prob
    return np.asarray(kept.reshape(shape) * np.float32(1 / (1 - drop_prob)))  # of shape () it is not an array


def check_drop_prob(drop_prob: Any) -> float:
    """The probability as Python's float: NumPy's would be compared in float64, and drop other elements.

    Raises TypeError for anything but a number, ValueError unless 0 <= drop_prob < 1.
    """
    if not isinstance(drop_prob, numbers.Real) or isinstance(drop_prob, bool):
        raise TypeError(f"a dropout probability must be a number, got {drop_prob!r}")
    probability = float(drop_prob)
    if not 0 <= probability < 1:
        raise ValueError(f"a dropout probability must lie in [0, 1), got {drop_prob}")
    return probability


def check_seed(seed: Any) -> int:
    """The seed as Python's int. Raises TypeError for anything but an integer, ValueError for more than 64 bits."""
    seed = as_integer("seed", seed)
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"seed is {seed}, but it must lie in [-2^63, 2^64)")
    return seed
