"""Philox4x32-10 in Triton, for use inside kernels: the same bits as `minirembert/ops/random.py`, which says what they are.

Element i of an array draws word i mod 4 of counter i div 4, so one counter serves four neighbours. A program that owns
whole fours (`keep_fours`) computes ten rounds once for every four elements; one that owns elements here and there
(`keep_each`) computes them for each element and uses a quarter of what comes out. Both give an element the same number.

A kernel declares the seed as `seed: tl.uint64`: left to itself, the launcher picks the type by the size of the value.
`dropout_factor` makes of a probability what is handed to a kernel beside it.

Not here: floats for anything but dropout; a kernel of its own (see `dropout.py` and `attention.py`).
"""

import numpy as np
import triton
import triton.language as tl

import kernels._launch  # noqa: F401 - decides, before a kernel is defined, whether it will be compiled or interpreted

UNIFORM_STEP = tl.constexpr(4.6566127342e-10)  # the float32 just below 2^-31: the largest of 31 bits stays below 1
SEED_BITS = 0xFFFFFFFFFFFFFFFF


@triton.jit
def uniform(bits):
    """float32 in [0, 1) from 32 random bits, the lowest of which is not used."""
    return (bits >> 1).to(tl.float32) * UNIFORM_STEP


@triton.jit
def keep_each(seed, element, drop_prob, factor):
    """What dropout multiplies these elements by: 0 with probability drop_prob, else factor. Any shape, any numbers."""
    word0, word1, word2, word3 = tl.randint4x(seed, (element >> 2).to(tl.uint32))
    place = element & 3
    bits = tl.where(place < 2, tl.where(place == 0, word0, word1), tl.where(place == 2, word2, word3))
    return tl.where(uniform(bits) >= drop_prob, factor, 0.0)


@triton.jit
def keep_fours(seed, counter, drop_prob, factor):
    """`keep_each` for elements 4 c to 4 c + 3 of each counter c: from counters [..., N] a tile [..., 4 N]."""
    word0, word1, word2, word3 = tl.randint4x(seed, counter.to(tl.uint32))
    bits = tl.interleave(tl.interleave(word0, word2), tl.interleave(word1, word3))
    return tl.where(uniform(bits) >= drop_prob, factor, 0.0)


def dropout_factor(drop_prob: float) -> float:
    """What the elements that stay are multiplied by: 1 / (1 - drop_prob), rounded to float32 in every precision."""
    return float(np.float32(1 / (1 - drop_prob)))
