"""
10. Layer norm and the padding bug
==================================

A row of softmax could lie in a tile that was too long for it, and no harm was done. Layer norm is different: RemBERT's
rows have 1152 numbers, its tiles 2048 lanes, and what the other 896 do enters the variance. This chapter makes the
classical mistake on purpose, predicts the damage, and asks which tests would have seen it: fewer than one might think.
Then it goes backwards, to sums over all rows, and to the question why they should come out with the same bits each time.

Read beside it: ``minirembert/ops/layernorm.py`` and its twin ``kernels/layernorm.py``. Chapter 5 has the formulas, chapter
9 the words: program, tile, mask, and traffic, which is counted here as it was there.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"  # even where there is a GPU: compiled kernels cannot be counted

import matplotlib.pyplot as plt
import numpy as np
import torch
import triton
import triton.language as tl

from kernels._column_sums import MOST_PARTS, parts_for
from kernels.layernorm import layer_norm, layer_norm_backward, residual_layer_norm
from kernels.traffic import traffic
from minirembert.ops import layernorm as reference

EPS = 1e-12
rng = np.random.default_rng(10)


def numbers(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


# %%
# From the NumPy function to a tile
# ---------------------------------
# The NumPy function has five steps: mean, centre, variance, scale, affine. Each line goes through the whole array. A GPU
# would carry it to memory and back between any two. In the kernel, one program takes a row, loads it once, does all five
# steps in registers and stores the row once.
#
# Prediction for N rows of H: load x, store y. Each program also loads weight and bias, and stores the mean and rstd that
# backward will want. So 2 N H numbers have to travel, and the statistics, 2 N, are next to nothing. The parameters are
# 2 H in every program, which is as much again if a program has a single row. But all programs ask for the same 9
# kilobytes, and a cache answers. The count has all that is asked for.

N, H = 12, 1152
BLOCK = triton.next_power_of_2(H)
assert BLOCK == 2048 and BLOCK - H == 896 and round(2 * H * 4 / 1e3) == 9
x, weight, bias, dy = numbers(N, H) + 3, numbers(H), numbers(H), numbers(N, H)

with traffic() as forward:
    y, saved = layer_norm(x, weight, bias, EPS, block=BLOCK)  # BLOCK numbers to a tile: one row to a program
exact, exact_saved = reference.layer_norm(*(array.astype(np.float64) for array in (x, weight, bias)), EPS)
assert np.allclose(y, exact, atol=1e-5)
assert forward["layer_norm_kernel"].programs == N
assert forward.loaded == 4 * (N * H + N * 2 * H)
assert forward.stored == 4 * (N * H + 2 * N)

# %%
# The lanes beyond the row
# ------------------------
# A tile's sides are powers of two, so 896 of its 2048 lanes have no number. The load gives them 0, by ``other=0``. That
# is right for the mean: a sum does not notice zeros, and the division is by H. Then comes step 2. It subtracts the mean
# from *every* lane. The idle ones, which were 0, are now -mean, all of them. Step 3 squares and adds:
#
# .. math:: \mathrm{var}_{wrong} = \mathrm{var} + \frac{BLOCK - H}{H} \, \mathrm{mean}^2
#
# The remedy is one word, to mask again after centring: ``tl.where(inside, x - mean, 0)``. For a row of mean 3 and variance
# 1 the damage is 896 / 1152 x 9 = 7: a variance of 8, and a row that is too small by the root of 8.
#
# Here is a layer norm with fifteen switches. Each turns it into a wrong one, and the first into this one.


@triton.jit
def flawed_kernel(
    x_ptr, weight_ptr, bias_ptr, dy_ptr, y_ptr, var_ptr, dx_ptr, dweight_ptr, dbias_ptr,
    width, EPS: tl.constexpr, FLAW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    # One program owns one row: its y, its dx, and what it has to add to dweight and dbias.
    lane = tl.arange(0, BLOCK)
    inside = lane < width
    at = tl.program_id(0) * width + lane
    x = tl.load(x_ptr + at, mask=inside, other=0)
    weight = tl.load(weight_ptr + lane, mask=inside, other=0)
    bias = tl.load(bias_ptr + lane, mask=inside, other=0)
    mean = tl.sum(x, axis=0) / (BLOCK if FLAW == "mean over the tile" else width)
    centred = x - mean if FLAW == "padding in the variance" else tl.where(inside, x - mean, 0)
    var = tl.sum(centred * centred, axis=0) / (BLOCK if FLAW == "variance over the tile" else width)
    if FLAW == "variance by H - 1":
        var = tl.sum(centred * centred, axis=0) / (width - 1)
    if FLAW == "variance in one pass":
        var = tl.maximum(tl.sum(x * x, axis=0) / width - mean * mean, 0)
    rstd = 1 / tl.sqrt(var + EPS)
    xhat = (x if FLAW == "not centred" else tl.where(inside, centred, 0)) * rstd
    y = (xhat + bias) * weight if FLAW == "bias scaled" else xhat * weight + bias
    tl.store(y_ptr + at, y, mask=inside)
    tl.store(var_ptr + tl.program_id(0), var)

    dy = tl.load(dy_ptr + at, mask=inside, other=0)
    dxhat = dy if FLAW == "dx without weight" else dy * weight
    along_mean = tl.sum(dxhat, axis=0) / (BLOCK if FLAW == "dx: mean over the tile" else width)
    along_xhat = tl.sum(dxhat * xhat, axis=0) / width
    dx = dxhat
    if FLAW != "dx through a fixed mean":
        dx -= along_mean
    if FLAW != "dx through a fixed variance":
        dx -= xhat * along_xhat
    tl.store(dx_ptr + at, dx if FLAW == "dx without rstd" else dx * rstd, mask=inside)
    dweight = dy * (x if FLAW == "dweight from x" else xhat)
    tl.store(dweight_ptr + at, dweight * weight if FLAW == "dweight with weight" else dweight, mask=inside)
    tl.store(dbias_ptr + at, dxhat if FLAW == "dbias with weight" else dy, mask=inside)


FLAWS = (
    "padding in the variance", "mean over the tile", "variance over the tile", "variance by H - 1",
    "variance in one pass", "not centred", "bias scaled", "dx without weight", "dx: mean over the tile",
    "dx through a fixed mean", "dx through a fixed variance", "dx without rstd", "dweight from x", "dweight with weight",
    "dbias with weight",
)  # fmt: skip
assert len(FLAWS) == 15


def run(flaw: str | None, x, weight, bias, dy) -> tuple:
    """The variances; and y, dx, dweight, dbias."""
    y, dx, dweight, dbias = (torch.empty(x.shape) for _ in range(4))
    var = torch.empty(len(x))
    inputs = (torch.from_numpy(array) for array in (x, weight, bias, dy))
    tile = {"EPS": EPS, "FLAW": flaw, "BLOCK": triton.next_power_of_2(x.shape[1])}
    flawed_kernel[(len(x),)](*inputs, y, var, dx, dweight, dbias, x.shape[1], **tile)
    return var.numpy(), [y.numpy(), dx.numpy(), dweight.numpy().sum(axis=0), dbias.numpy().sum(axis=0)]


# %%
# The prediction against the kernel, for rows of 1152 and of 1024, whose tile is full.


def excess(H: int, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """What the bug adds to the variance of two rows, and what the formula says."""
    inputs = (numbers(2, H) + np.float32(mean), numbers(H), numbers(H), numbers(2, H))
    wrong, right = run(FLAWS[0], *inputs)[0], run(None, *inputs)[0]
    return wrong - right, (triton.next_power_of_2(H) - H) / H * inputs[0].mean(axis=1) ** 2


assert 896 / 1152 * 3**2 == 7
means = np.linspace(0, 3, 7)
found = {H: [excess(H, mean) for mean in means] for H in (1024, 1152)}
for measured, predicted in found[1024] + found[1152]:
    assert np.allclose(measured, predicted, rtol=1e-5, atol=1e-6)
assert all((measured == 0).all() for measured, _ in found[1024])
assert np.abs(found[1152][-1][0] - 7).max() < 1  # the mean of a row of random numbers is not quite 3
assert found[1152][0][0].max() < 0.003  # and not quite 0

# %%
# At mean 0 the bug adds less than 0.003 to a variance of 1. That is where it hides. Activations around zero, a loose
# tolerance, or a width that fills its tile, and all is well until somebody's model has another width.

# %%
# Which tests see what
# --------------------
# Five test inputs, from comfortable to unkind, and fifteen wrong kernels. A kernel is caught if y, dx, dweight or dbias
# is further from the float64 answer than is allowed: four times the error that NumPy makes in float32, plus sixteen units
# in the last place of the largest number. One test is loose and allows, as many do, a hundredth of the largest number.


def caught(flaw: str | None, inputs: tuple, loose: bool) -> bool:
    def answer(dtype: type) -> tuple:
        x, weight, bias, dy = (array.astype(dtype) for array in inputs)
        y, saved = reference.layer_norm(x, weight, bias, EPS)
        return y, *reference.layer_norm_backward(dy, saved)

    for got, numpy, exact in zip(run(flaw, *inputs)[1], answer(np.float32), answer(np.float64), strict=True):
        allowed = 4 * np.abs(numpy - exact).max() + 16 * np.finfo(np.float32).eps * np.abs(exact).max()
        if np.abs(got - exact).max() > (0.01 * np.abs(exact).max() if loose else allowed):
            return True
    return False


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def random_inputs(H: int, mean: float) -> tuple:
    return numbers(8, H) + np.float32(mean), numbers(H), numbers(H), numbers(8, H)


tests = {
    "64 wide; weight and dy are 1, bias 0": ((numbers(8, 64), ones(64), 0 * ones(64), ones(8, 64)), False),
    "64 wide; all random": (random_inputs(64, 0), False),
    "1152 wide; all random; loose": (random_inputs(1152, 0), True),
    "1152 wide; all random": (random_inputs(1152, 0), False),
    "1152 wide; mean 1000": (random_inputs(1152, 1000), False),
}
table = np.array([[caught(flaw, *test) for flaw in FLAWS] for test in tests.values()])
for (name, test), line in zip(tests.items(), table, strict=True):
    missed = [flaw for flaw, seen in zip(FLAWS, line, strict=True) if not seen]
    print(f"{name:38} {line.sum():2} of {len(FLAWS)}; missed: {', '.join(missed) or 'none'}")
    assert not caught(None, *test), "the right kernel must pass"
assert table.sum(axis=1).tolist() == [4, 10, 10, 14, 15]

figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.8), layout="constrained")
fine = np.linspace(0, 3, 100)
left.plot(fine, 896 / 1152 * fine**2, "k-", linewidth=1, label="(BLOCK - H) / H mean^2")
for width, style in ((1152, "ko"), (1024, "kx")):
    left.plot(means, [measured.mean() for measured, _ in found[width]], style, label=f"kernel, H = {width}")
left.set(xlabel="mean of the rows (their variance is 1)", ylabel="added to the variance")
left.legend(frameon=False)
left.spines[["top", "right"]].set_visible(False)
right.imshow(table, cmap="Greys", vmin=0, vmax=1.5, aspect="auto")
right.set_xticks(range(len(FLAWS)), FLAWS, rotation=90, fontsize=7)
right.set_yticks(range(len(tests)), tests, fontsize=7)
right.set_title("dark: caught", fontsize=9)
plt.show()

# %%
# - With weight 1, bias 0 and dy 1, dx is 0 and most mistakes are multiplied by it: 4 of 15.
# - All random, but 64 wide: 10. What has to do with idle lanes cannot show, as there are none.
# - 1152 wide, but with a tolerance of a hundredth: 10 again, and not the same ones. The padding bug gets through.
# - 1152 wide with a computed tolerance: 14.
# - And with a mean of 1000: all 15. The last one is the variance in one pass, E[x^2] - mean^2, which chapter 5 took apart.
#   At mean 0 it is as good as the other.
#
# So: random weights and cotangents, odd widths, means far from zero, and tolerances from the error of a float32 program.
# ``tests/strategies.py`` and ``tests/checks.py`` of this project do that, and ``tests/mutants/`` holds them to it.

assert table[:, FLAWS.index("padding in the variance")].tolist() == [False, False, False, True, True]
assert table[:, FLAWS.index("variance in one pass")].tolist() == [False, False, False, False, True]
assert [flaw for flaw, seen in zip(FLAWS, table[1], strict=True) if "tile" in flaw and seen] == []

# %%
# Backward: a sum over all rows
# -----------------------------
# dx needs its own row only, so it can stay in the program that has the row: read dy and x, write dx, 3 N H. But dweight
# and dbias are sums over *all* rows, which are with all the programs. The short way is an atomic addition: every program
# adds its row to one place in memory, and the hardware sees to it that nothing is lost. What it does not see to is the
# order. Floating-point addition is not associative, and the order is that in which programs happen to finish.
#
# Here are 256 rows added up one after the other, in 100 orders. How many different sums does a column get?

addends = numbers(256, H)
sums = np.zeros((100, H), np.float32)
for i in range(100):
    for k in rng.permutation(256):
        sums[i] += addends[k]
different = np.array([len(np.unique(column)) for column in sums.T])
print(f"different sums of a column in 100 orders: {different.min()} to {different.max()}, mean {different.mean():.1f}")
assert different.min() > 5  # every single column
spread = (sums.max(axis=0) - sums.min(axis=0)).max()
assert 0 < spread < 256 * np.finfo(np.float32).eps * np.abs(addends).sum(axis=0).max()

# %%
# No column has fewer than six. All of them are right to within rounding, and that is the trouble: a test cannot tell,
# but two runs of the same training drift apart, and a bug that shows in one of them is gone in the next.
#
# (The interpreter cannot show it. Its programs run in order, and its atomics would give the same bits each time. Neither
# can it show that two programs get in each other's way. For that one needs a GPU, and many repeats.)
#
# The kernel does it in two stages. There are P programs, each takes every P-th tile of rows, adds up *in registers*,
# and stores its two sums in a row of its own. Then a second kernel adds the P rows, in a fixed order. P depends on the
# number of rows only, and not on the device. So the order is the same everywhere.
#
# Prediction: the first kernel loads 2 N H, two statistics a row and the weight in each program; it stores N H and 2 P H.
# The second loads those 2 P H and stores 2 H.

with traffic() as backward:
    dx, dweight, dbias = layer_norm_backward(dy, saved, block=BLOCK)
P = parts_for(N)
print(backward)
exact_gradients = reference.layer_norm_backward(dy.astype(np.float64), exact_saved)
for got, wanted in zip((dx, dweight, dbias), exact_gradients, strict=True):
    assert np.allclose(got, wanted, atol=1e-5)
first, second = backward["layer_norm_backward_kernel"], backward["column_sums_kernel"]
assert first.programs == P < N
assert first.loaded == 4 * (2 * N * H + 2 * N + P * H)
assert first.stored == 4 * (N * H + 2 * P * H)
assert (second.loaded, second.stored) == (4 * 2 * P * H, 4 * 2 * H)

# %%
# What does the second stage cost where it matters? For 8192 rows P is 256, the most it gets. Writing the partial sums in
# float32 and reading them again is 4.2 % on top of 3 N H in float32, and 8.3 % in bfloat16. (4.7 megabytes
# would fit a cache. Whether they stay in it is not for us to count.)

P = parts_for(8192)
assert P == MOST_PARTS == 256
partial_bytes = 2 * 2 * P * H * 4
assert round(partial_bytes / 1e6, 1) == 4.7
assert [round(100 * partial_bytes / (3 * 8192 * H * size), 1) for size in (4, 2)] == [4.2, 8.3]

# %%
# The residual comes along
# ------------------------
# In a post-LN model every layer norm follows a sum. As two operations that is x, residual -> sum and sum -> y, five times
# N H. In one kernel the sum is in registers when step 1 wants it. It is still stored, for backward. Four times N H: a
# fifth less.

residual = numbers(N, H)
with traffic() as fused:
    residual_layer_norm(x, residual, weight, bias, EPS, block=BLOCK)
assert fused.loaded == 4 * (2 * N * H + N * 2 * H)
assert fused.stored == 4 * (2 * N * H + 2 * N)
separate = 3 * 4 * N * H + forward.total
assert separate - fused.total == 4 * N * H

# %%
# As times: 8192 rows of 1152 in bfloat16 are 18.9 MB. At the 4.3 TB/s at which an H200 is said to copy, layer norm
# takes at least 8.8 microseconds, with a residual 17.6 in place of 21.9, and backward 13.2. These are computed, not
# measured, and a GPU that still has the rows in its cache can be faster.

COPY = 4.3e12  # bytes a second
tensor = 8192 * H * 2
assert round(tensor / 1e6, 1) == 18.9
assert [round(count * tensor / COPY * 1e6, 1) for count in (2, 4, 5, 3)] == [8.8, 17.6, 21.9, 13.2]

# %%
# Exercises
# ---------
# 1. Give the idle lanes ``other=1`` in ``flawed_kernel`` and mask after centring all the same. What is wrong now, by what
#    formula, and which of the five tests see it? *Hint: the mean.*
# 2. 1152 is 1024 + 128. A kernel could take a row in two tiles and leave no lane idle. What would it gain: bytes, lanes,
#    registers? *Hint: the count of this chapter will not change.*
# 3. Write the backward pass with ``tl.atomic_add``, one row to a program, and count it. When is it less than two stages?
#    *Hint: an atomic addition is counted as a load and a store.*
#
# Next: ``11_attention_as_kernels.py``, where the online softmax of chapter 9 comes to use.
