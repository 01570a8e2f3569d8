"""
9. Softmax, from naive to online
================================

The chapters so far asked what an operation computes. This one and the next two ask how often it goes to memory. A GPU
multiplies faster than it fetches: while one number comes from memory, it could have computed with it many times. An
operation with little arithmetic takes as long as its numbers take to travel. So we count numbers that travel. We start
from the NumPy softmax, cut its row into tiles, and say what each version loads and stores before we run it. Then we
look at what it really did, to the byte.

Read beside it: ``minirembert/ops/softmax.py`` and its twin ``kernels/softmax.py``, whose steps have the same numbers.

The kernels are written in Triton and need ``torch`` and ``triton`` (``pip install -e '.[kernels]'``, on Linux), but no
GPU: Triton's interpreter runs them in NumPy, one program after the other. It is slow, and it sees every load and store.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"  # even where there is a GPU: compiled kernels cannot be counted

import matplotlib.pyplot as plt
import numpy as np
import torch
import triton
import triton.language as tl

from kernels.softmax import SPLIT, softmax, softmax_backward
from kernels.traffic import traffic
from minirembert.ops import softmax as reference

rng = np.random.default_rng(9)

# %%
# Naive
# -----
# Softmax is :math:`y_i = e^{x_i} / \sum_j e^{x_j}`. Written as it stands, it fails for scores that are not even large:
# float32 ends near 3.4e38, which is e to the power of 88.7. A score of 89 is infinite, and infinity by infinity is NaN.

limit = np.log(np.finfo(np.float32).max)
assert round(float(limit), 1) == 88.7
scores = np.array([1.0, 89.0, 3.0], np.float32)
with np.errstate(over="ignore", invalid="ignore"):
    naive = np.exp(scores) / np.exp(scores).sum()
assert np.isnan(naive[1])
assert np.allclose(reference.softmax(scores)[0], [0, 1, 0])

# %%
# Safe: three steps, three reads
# ------------------------------
# Subtracting the same m from all scores changes nothing, since the factor :math:`e^{-m}` stands above and below the bar.
# With the row's maximum for m, no exponent is above 0. These are the three steps of the NumPy function: maximum, sum of
# exponentials, division. Each needs the one before it for the *whole* row.
#
# Now to a kernel. A *program* of it runs on its own and owns a part of the output, here a row. It works on *tiles*,
# BLOCK numbers at a time, that it loads into registers. BLOCK is a power of two; where the row ends within a tile, a
# *mask* keeps the remaining lanes from being loaded. If a row is longer than a tile, the program comes by three times.

BLOCK = 64


@triton.jit
def safe_kernel(x_ptr, y_ptr, width, BLOCK: tl.constexpr):
    # One program owns one row, and reads it three times.
    x_ptr += tl.program_id(0) * width
    y_ptr += tl.program_id(0) * width
    lane = tl.arange(0, BLOCK)
    # 1. row maximum
    m = tl.full([BLOCK], -float("inf"), tl.float32)
    for first in range(0, width, BLOCK):
        m = tl.maximum(m, tl.load(x_ptr + first + lane, mask=first + lane < width, other=-float("inf")))
    m = tl.max(m, axis=0)
    # 2. sum of the exponentials of the differences
    total = tl.zeros([BLOCK], tl.float32)
    for first in range(0, width, BLOCK):
        total += tl.exp(tl.load(x_ptr + first + lane, mask=first + lane < width, other=-float("inf")) - m)
    total = tl.sum(total, axis=0)
    # 3. divide by the row sum
    for first in range(0, width, BLOCK):
        x = tl.load(x_ptr + first + lane, mask=first + lane < width, other=0)
        tl.store(y_ptr + first + lane, tl.exp(x - m) / total, mask=first + lane < width)


# %%
# Prediction for rows of C float32 numbers: 3 C loaded, C stored. In the last tile of a row of 300, 20 of the 64 lanes
# are idle. Idle lanes cost nothing here, because the mask stops them before they ask memory for anything.

rows, C = 4, 300
x = (3 * rng.standard_normal((rows, C))).astype(np.float32)
exact, _ = reference.softmax(x.astype(np.float64))


def run(kernel, x: np.ndarray) -> np.ndarray:
    y = torch.empty(x.shape)
    kernel[(len(x),)](torch.from_numpy(x), y, x.shape[1], BLOCK=BLOCK)
    return y.numpy()


with traffic() as safe:
    y = run(safe_kernel, x)
print(safe)
assert np.allclose(y, exact, atol=1e-6)
assert 5 * BLOCK - C == 20
assert (safe.loaded, safe.stored) == (3 * x.nbytes, x.nbytes)

# %%
# Online: the maximum and the sum in one read
# -------------------------------------------
# Can step 2 start before step 1 is done? Take what has been seen of the row so far, with its maximum m and its sum
# l = sum of exp(x - m). Now comes a piece with m' and l'. The maximum of both is M = max(m, m'). And each old term was
# too large by a factor of exp(M - m), the same for all of them. So it can be taken from the sum afterwards:
#
# .. math:: (m, l) + (m', l') = (M, \; l \, e^{m - M} + l' \, e^{m' - M})
#
# That is all of the *online softmax* (Milakov and Gimelshein 2018). No exponent is above 0, the neutral element is
# (-inf, 0), and the order of the pieces does not matter but for rounding. So pieces may be single numbers, tiles, or what
# other programs found. Only -inf and -inf must not meet: their difference is NaN, hence the 0 in place of an M of -inf.


def merge(one: tuple, other: tuple) -> tuple:
    m = np.maximum(one[0], other[0])
    finite_m = np.where(m == -np.inf, 0, m)
    return m, one[1] * np.exp(one[0] - finite_m) + other[1] * np.exp(other[0] - finite_m)


def piece(x: np.ndarray) -> tuple:
    return x.max(), np.exp(x - x.max()).sum()


NOTHING = (-np.inf, 0.0)
row = x[0].astype(np.float64)
steps = [NOTHING]
for number in row:
    steps.append(merge(steps[-1], (number, 1.0)))
backwards = NOTHING
for first in range(C - C % 7, -1, -7):
    backwards = merge(piece(row[first : first + 7]), backwards)
assert np.allclose(steps[-1], piece(row), rtol=1e-13) and np.allclose(backwards, piece(row), rtol=1e-13)
assert merge(NOTHING, NOTHING) == NOTHING

# %%
# In a kernel, each lane of the tile keeps an (m, l) of its own, and at the end the lanes are merged. A program then comes
# by twice: 2 C loaded, C stored.


@triton.jit
def online_kernel(x_ptr, y_ptr, width, BLOCK: tl.constexpr):
    # One program owns one row, and reads it twice.
    x_ptr += tl.program_id(0) * width
    y_ptr += tl.program_id(0) * width
    lane = tl.arange(0, BLOCK)
    lane_m = tl.full([BLOCK], -float("inf"), tl.float32)
    lane_total = tl.zeros([BLOCK], tl.float32)
    # 1. and 2. maximum and sum so far
    for first in range(0, width, BLOCK):
        x = tl.load(x_ptr + first + lane, mask=first + lane < width, other=-float("inf"))
        new_m = tl.maximum(lane_m, x)
        finite_m = tl.where(new_m == -float("inf"), 0, new_m)
        lane_total = lane_total * tl.exp(lane_m - finite_m) + tl.exp(x - finite_m)
        lane_m = new_m
    m = tl.max(lane_m, axis=0)
    total = tl.sum(lane_total * tl.exp(lane_m - m), axis=0)
    # 3. divide by the row sum
    for first in range(0, width, BLOCK):
        x = tl.load(x_ptr + first + lane, mask=first + lane < width, other=0)
        tl.store(y_ptr + first + lane, tl.exp(x - m) / total, mask=first + lane < width)


with traffic() as online:
    y = run(online_kernel, x)
assert np.allclose(y, exact, atol=1e-6)
assert (online.loaded, online.stored) == (2 * x.nbytes, x.nbytes)

# %%
# One tile: one read
# ------------------
# If the tile is as long as the row, nothing has to be fetched again: it is still in registers. That is ``softmax_kernel``
# of the package, and it needs no recurrence, only the three steps of the NumPy function. C loaded, C stored, and no
# kernel can do with less. Backward reads dy and y and writes dx. A half-precision row travels in half the bytes.

with traffic() as one_tile:
    y, saved = softmax(x)
assert np.allclose(y, exact, atol=1e-6)
assert (one_tile.loaded, one_tile.stored) == (x.nbytes, x.nbytes)

dy = rng.standard_normal(x.shape).astype(np.float32)
with traffic() as backward:
    (dx,) = softmax_backward(dy, saved)
assert np.allclose(dx, reference.softmax_backward(dy, reference.SoftmaxSaved(exact))[0], atol=1e-6)
assert (backward.loaded, backward.stored) == (2 * x.nbytes, x.nbytes)

with traffic() as half:
    softmax(torch.from_numpy(x).bfloat16())
assert 2 * half.total == one_tile.total

seen = np.arange(C + 1)
m, total = np.array(steps).T
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9.6, 3), layout="constrained")
left.plot(seen[1:], m[1:], "k-")
left.set(xlabel="numbers seen", title="maximum so far, m")
middle.semilogy(seen[1:], total[1:], "k-", label="l")
middle.semilogy(seen[1:], total[1:] * np.exp(m[1:] - m[-1]), "k--", label="l exp(m - last m)")
middle.set(xlabel="numbers seen", title="sum so far", ylim=(1e-3, 20))
middle.legend(frameon=False)
names, counts = ("safe", "online", "one tile"), (safe, online, one_tile)
loaded, stored = ([getattr(count, way) / x.nbytes for count in counts] for way in ("loaded", "stored"))
right.bar(names, loaded, color="0.6", label="loaded")
right.bar(names, stored, bottom=loaded, color="0.2", label="stored")
right.set(title="numbers for each of the C", ylim=(0, 5))
right.legend(frameon=False)
for axes in (left, middle, right):
    axes.spines[["top", "right"]].set_visible(False)
left.set_xscale("log")
middle.set_xscale("log")
plt.show()

# %%
# In the middle, l falls only where m rises. From there on it is counted in another unit. In the unit of the final m, the
# dashed line, it never falls.

falls = np.diff(total[1:]) < 0
assert falls.any() and (np.diff(m[1:])[falls] > 0).all()
assert (np.diff(total[1:] * np.exp(m[1:] - m[-1])) > -1e-12).all()

# %%
# The vocabulary: a row in splits
# -------------------------------
# A row of 250,300 pieces does not fit into the registers of a program, and in ``online_kernel`` one program would walk
# through it alone. So the package cuts it into splits of 8192 numbers, 31 of them, and gives each to a program. Programs
# cannot wait for each other. Therefore there are two kernels: the first finds each split's (m, l), the second merges all
# of the row's for itself (31 numbers twice, that is nothing) and divides.
#
# Prediction, with n splits: the first loads C and stores 2 n; the second loads C + 2 n in each of n programs, and stores
# C. That is 3 C + 2 n + 2 n n. Backward, with one statistic in place of two: 5 C + n + n n.

V = 250_300
n = triton.cdiv(V, SPLIT)
assert (SPLIT, n) == (8192, 31)
logits = (4 * rng.standard_normal((1, V))).astype(np.float32)
with traffic() as split_forward:
    y, saved = softmax(logits)
with traffic() as split_backward:
    (dx,) = softmax_backward(rng.standard_normal((1, V)).astype(np.float32), saved)
print(split_forward, split_backward, sep="\n")
assert np.allclose(y, reference.softmax(logits.astype(np.float64))[0], rtol=1e-5, atol=0)
assert split_forward.total == 4 * (3 * V + 2 * n + 2 * n * n)
assert split_backward.total == 4 * (5 * V + n + n * n)
assert 0.002 < (2 * n + 2 * n * n) / (3 * V) < 0.003  # the statistics: less than 0.3 % of the rest
assert split_forward["split_softmax_kernel"].programs == n

# %%
# Is n n not wasteful? Merging in a third kernel would make it n, at the price of a launch, which takes longer than
# loading the few kilobytes.
#
# The size of a split changes the traffic a little and the answer not at all, but for rounding.

small = logits[:, :1000]
answers = [softmax(small, block=block)[0] for block in (16, 128, 1024)]
assert all(np.allclose(answer, answers[0], rtol=1e-5, atol=0) for answer in answers)

# %%
# Rows with nothing in them
# -------------------------
# What if a mask has made every score -inf? Then m is -inf, and the first difference NaN. The package defines such a row as
# uniform, as the NumPy function does, and that is also what a finite mask gives. The kernels ask for it wherever an m may
# be -inf: in the row, in a split (a split may be empty when its row is not), in the merged row.

nowhere = np.full((1, 100), -np.inf, np.float32)
finite = np.full((1, 100), np.finfo(np.float32).min)
first_half = np.where(np.arange(100) < 50, 0, -np.inf).astype(np.float32)[None]
for block in (None, 16):
    assert np.allclose(softmax(nowhere, block=block)[0], 1 / 100)
    assert np.array_equal(softmax(nowhere, block=block)[0], softmax(finite, block=block)[0])
    assert np.allclose(softmax(first_half, block=block)[0], np.where(np.arange(100) < 50, 1 / 50, 0))

# %%
# What the bytes are good for
# ---------------------------
# Bytes divided by bandwidth is a time that no kernel can go below, if its data come from memory. An H200 copies at about
# 4.3 TB/s (a published figure; nothing is measured in this chapter). The scores of one RemBERT block, 16 sequences of 512
# with 18 heads, are 151 MB in bfloat16. Forward moves them twice, in no less than 70 microseconds, and backward three
# times, in 105. The logits of 1024 tokens over the vocabulary are a gigabyte in float32: 0.48 milliseconds if every
# number were read once and written once, 0.72 with our two reads. The time of a kernel is to be held against *its* floor:
# a share of the floor says how good the kernel is, and the floors say which kernel to write.

COPY = 4.3e12  # bytes a second
attention_bytes = 16 * 18 * 512 * 512 * 2
assert round(attention_bytes / 1e6) == 151
assert (round(2 * attention_bytes / COPY * 1e6), round(3 * attention_bytes / COPY * 1e6)) == (70, 105)
logits_bytes = 1024 * V * 4
assert round(logits_bytes / 1e9, 1) == 1.0
assert (round(2 * logits_bytes / COPY * 1e3, 2), round(3 * logits_bytes / COPY * 1e3, 2)) == (0.48, 0.72)

# %%
# The best way to save these bytes is not to have a softmax kernel at all. Chapter 11 carries the pair (m, l) through
# attention, so that its scores never see the memory.
#
# What does not show here: whether a kernel reaches its floor. The count knows nothing of caches, launches, or how many
# lanes a load serves at once. For that one needs the chip, and ``benchmarks/``.

# %%
# Exercises
# ---------
# 1. Write the naive softmax as a kernel, with two reads. What does it save against ``online_kernel``, in bytes and in
#    arithmetic? *Hint: predict first; for the bytes the answer is short.*
# 2. ``online_kernel`` takes one exponential for each number and one for each rescaling. Let all lanes share one m, as
#    ``kernels/attention/plain.py`` does. How many exponentials are saved, and what must be reduced in every step?
# 3. ``log_softmax`` needs no exponential in step 3: y = x - m - log l. Write the pair of kernels from ``kernels/softmax.py``
#    and predict the traffic of its backward. *Hint: what must be saved, y or (m, l)?*
#
# Next: ``10_layer_norm_and_the_padding_bug.py``, where idle lanes do harm after all.
