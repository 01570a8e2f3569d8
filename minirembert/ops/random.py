"""Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

A counter-based generator has no state. The number at position i is a function of (seed, i), so the backward pass asks for
the same numbers again instead of storing them, and a GPU program that owns element i needs nobody else's. The bits are
those of `tl.rand`, Triton's own Philox, so that a kernel drops the same elements as the reference.
"""

import numpy as np
from jaxtyping import Float, Integer

from minirembert.ops.array import Array

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


def uniform(seed: int, counter: Integer[Array, "*shape"]) -> Float[Array, "*shape"]:
    """float32 in [0, 1), one for each counter: the first Philox word, folded to 31 bits, times 2^-31."""
    bits = philox(seed, counter)[0].astype(np.uint32).view(np.int32)
    folded = np.where(bits < 0, ~bits, bits)
    return folded.astype(np.float32) * np.float32(4.6566127342e-10)


def keep_mask(shape: tuple[int, ...], drop_prob: float, seed: int) -> Float[Array, "*shape"]:
    """What dropout multiplies by: 0 with probability `drop_prob`, else 1 / (1 - drop_prob). float32."""
    counter = np.arange(np.prod(shape, dtype=np.int64), dtype=np.int64).reshape(shape)
    return (uniform(seed, counter) >= drop_prob).astype(np.float32) / np.float32(1 - drop_prob)


def check_drop_prob(drop_prob: float) -> None:
    """Raises ValueError unless 0 <= drop_prob < 1."""
    if not 0 <= drop_prob < 1:
        raise ValueError(f"a dropout probability must lie in [0, 1), got {drop_prob}")
