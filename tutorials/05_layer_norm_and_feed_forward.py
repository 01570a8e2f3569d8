"""
5. LayerNorm and the feed-forward block
=======================================

A block has two halves. The first one, attention, moves information between the tokens. The second one, the
feed-forward half, works on every token by itself: widen the vector, bend it, bring it back, add what was there before,
normalise. This chapter takes the two operations that do the bending and the normalising, GELU and LayerNorm, and looks
at them closely. Both are one line of mathematics, and both have a numerical trap.

Read beside it: ``minirembert/ops/layernorm.py``, ``minirembert/ops/activations.py`` and then
``minirembert/model/feed_forward.py``, which is short.
"""

import math
from statistics import NormalDist

import matplotlib.pyplot as plt
import numpy as np

from minirembert import RemBertConfig
from minirembert.lab.budget import count
from minirembert.model.encoder import block_shapes
from minirembert.model.feed_forward import feed_forward, feed_forward_shapes
from minirembert.model.forward_pass import ForwardPass, Parameters
from minirembert.ops import OPS
from minirembert.ops.activations import ERF_COEFFICIENTS, erf, gelu, gelu_backward, gelu_new
from minirembert.ops.layernorm import layer_norm, layer_norm_backward, residual_layer_norm, residual_layer_norm_backward
from minirembert.tape import Forward

EPS = RemBertConfig().layer_norm_eps
assert EPS == 1e-12
rng = np.random.default_rng(5)

# %%
# LayerNorm by hand
# -----------------
# Every token's vector of H numbers is centred and divided by its own standard deviation. Then each feature gets a
# learned scale and a learned shift. No other token and no other sentence takes part. Here are B = 2 sentences of S = 3
# tokens with H = 8 features.

B, S, H = 2, 3, 8
x = 3 + 2 * rng.standard_normal((B, S, H))
weight, bias = rng.standard_normal(H), rng.standard_normal(H)

mean = x.sum(axis=-1, keepdims=True) / H
variance = ((x - mean) ** 2).sum(axis=-1, keepdims=True) / H  # divided by H, not by H - 1
xhat = (x - mean) / np.sqrt(variance + EPS)

y, saved = layer_norm(x, weight, bias, EPS)
assert np.allclose(y, weight * xhat + bias)
assert np.allclose(saved.mean, mean[..., 0]) and np.allclose(saved.rstd, 1 / np.sqrt(variance[..., 0] + EPS))
print("row means of xhat:", xhat.mean(axis=-1).ravel().round(12), " variances:", xhat.var(axis=-1).ravel().round(9))

# %%
# What LayerNorm does not see
# ---------------------------
# Add a number to the whole row, or multiply the row by a positive number: the result is the same. Two of the H degrees
# of freedom of a row are thrown away. (Almost: eps inside the root breaks the second invariance, and one sees it only
# where the variance is as small as eps.)

for shift, factor in ((100.0, 1.0), (0.0, 1000.0), (-7.0, 0.01)):
    assert np.allclose(layer_norm(factor * x + shift, weight, bias, EPS)[0], y)
assert np.allclose(layer_norm(1e-9 * x, weight, bias, 0.0)[0], y)
assert not np.allclose(layer_norm(1e-9 * x, weight, bias, EPS)[0], y, atol=0.1)

# %%
# Why the variance takes two passes
# ---------------------------------
# On paper the variance is also :math:`E[x^2] - E[x]^2`, which needs only one pass over the row. In float32, with 24
# bits, that is a trap. A row of mean 4096 and variance 1 has squares near 2^24, where neighbouring float32 numbers lie
# 1 or 2 apart: the variance is as large as the rounding, and the subtraction leaves noise. It can even be negative,
# and then the root is NaN.
#
# The two-pass form subtracts the mean first, while the numbers are still small. If the mean itself is off by some d,
# the variance is off by d^2 only: :math:`E[(x - m - d)^2] = E[(x - m)^2] + d^2`.

assert np.finfo(np.float32).nmant + 1 == 24  # one bit is not stored
assert np.spacing(np.float32(4096**2 - 1)) == 1 and np.spacing(np.float32(4096**2)) == 2

means = 10.0 ** np.arange(0, 5.1, 0.5)
one_pass_error, two_pass_error = [], []
for m in means:
    row = (m + np.random.default_rng(0).standard_normal((200, 1152))).astype(np.float32)
    truth = row.astype(np.float64).var(axis=-1)
    one_pass = (row * row).mean(axis=-1) - row.mean(axis=-1) ** 2
    _, row_saved = layer_norm(row, np.ones(1152, np.float32), np.zeros(1152, np.float32), EPS)
    two_pass = 1 / row_saved.rstd.astype(np.float64) ** 2
    assert one_pass.dtype == row_saved.rstd.dtype == np.float32
    one_pass_error.append(np.abs(one_pass / truth - 1).max())
    two_pass_error.append(np.abs(two_pass / truth - 1).max())

assert one_pass_error[0] < 1e-5  # harmless while the mean is as small as the deviation
assert one_pass_error[-3] > 1  # at mean 10,000 all is lost
assert one_pass.min() < 0  # at mean 100,000 there are negative variances
assert max(two_pass_error) < 1e-3  # two passes: fine even there

figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
axes.loglog(means, one_pass_error, "k--s", markersize=4, label="one pass: mean of squares minus squared mean")
axes.loglog(means, two_pass_error, "k-o", markersize=4, label="two passes: ops.layer_norm")
axes.axhline(1, color="0.7", linewidth=1)
axes.set(xlabel="mean of the row (its variance is 1)", ylabel="relative error of the variance")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
plt.show()

# %%
# The gradient
# ------------
# A change of x that LayerNorm does not see cannot change the loss. So the gradient has no component in those two
# directions: none along the vector of ones (a shift) and none along xhat (a stretch around the mean). The backward pass
# is this projection, times 1/deviation:
#
# .. math:: dx = \mathrm{rstd} \; P \, (dy \cdot weight), \qquad P = I - \tfrac1H 1 1^T - \tfrac1H \hat x \hat x^T

dy = rng.standard_normal((B, S, H))
dx, dweight, dbias = layer_norm_backward(dy, saved)

size = np.linalg.norm(dx, axis=-1)
assert np.abs(dx.sum(axis=-1)).max() < 1e-10 * size.max()
assert np.abs((dx * xhat).sum(axis=-1)).max() < 1e-10 * size.max()

row_xhat, row_rstd = xhat[0, 0], saved.rstd[0, 0]
P = np.eye(H) - np.ones((H, H)) / H - np.outer(row_xhat, row_xhat) / H
assert np.allclose(P @ P, P)  # a projection
assert round(np.trace(P)) == np.linalg.matrix_rank(P, tol=1e-6) == H - 2  # two directions are lost, but for eps
assert np.allclose(dx[0, 0], row_rstd * P @ (dy[0, 0] * weight))
assert np.allclose(dweight, (dy * xhat).sum(axis=(0, 1))) and np.allclose(dbias, dy.sum(axis=(0, 1)))

# %%
# Constant rows
# -------------
# RemBERT's eps is 1e-12. Many other models use 1e-5. The difference shows on a row whose entries are all equal. Its
# variance is 0, and the exact answer is ``bias``. But a float32 mean may be off in its last places, and then centring
# leaves not 0 but that error, the same in every entry. Divided by its own size it becomes 1 or -1. Two correct
# programs that add up in another order differ by about 1 here. No test may hold them to a tight bound, and no program
# is to blame.

constant = np.full((1, 1152), 0.7, np.float32)
ones, zeros = np.ones(1152, np.float32), np.zeros(1152, np.float32)

sequential_mean = np.cumsum(constant, axis=-1)[:, -1:] / np.float32(1152)  # one number after the other
centred = constant - sequential_mean
with_eps = {eps: (centred / np.sqrt((centred**2).mean() + np.float32(eps)))[0, 0] for eps in (1e-12, 1e-5)}
ours, constant_saved = layer_norm(constant, ones, zeros, EPS)
print(f"the sequential mean of 1152 times 0.7 is off by {abs(centred[0, 0]):.1e}")
print(
    f"normalised with eps 1e-12: {with_eps[1e-12]:.3f}, with 1e-5: {with_eps[1e-5]:.5f}; layer_norm: {ours[0, 0]:.3f}"
)
assert 0 < abs(centred[0, 0]) < 1e-4 and abs(with_eps[1e-12]) > 0.9 and abs(with_eps[1e-5]) < 0.02

row_of_zeros = np.zeros((1, 1152), np.float32)
assert (layer_norm(row_of_zeros, ones, zeros, EPS)[0] == 0).all()  # safe: nothing to round
assert constant_saved.rstd <= 1.000001e6  # 1 / sqrt(1e-12): the most that eps lets through

# %%
# Where it stands: after the sum
# ------------------------------
# RemBERT is a *post-LN* Transformer, like BERT: each half of a block ends with ``LayerNorm(input + result)``. Sum and
# LayerNorm are one op, because a GPU would rather do them in one trip through memory. A sum hands the same gradient to
# both its terms. The block's input and the half's result therefore get the same dx, and both through the LayerNorm: in
# a post-LN model there is no path from the loss to the bottom that avoids it. (Most models since 2020 normalise before
# instead, and leave the sum alone.)

result = rng.standard_normal((B, S, H))
z, z_saved = residual_layer_norm(result, x, weight, bias, EPS)
assert np.allclose(z, layer_norm(result + x, weight, bias, EPS)[0])
d_result, d_input, _, _ = residual_layer_norm_backward(dy, z_saved)
assert np.array_equal(d_result, d_input) and d_result is not d_input

# %%
# GELU
# ----
# Between the two matrices stands GELU: x times the probability that a standard normal variable is below x. Python's
# standard library knows that probability, so we can check ours. For large x GELU is x, for very negative x it is 0, and
# between them it is a smooth bend with a dip: its smallest value is -0.170, at x = -0.752. Its slope is 1/2 at 0 and
# overshoots 1: it is largest, 1.129, at the root of 2.

grid = np.linspace(-5, 5, 2001)
value, gelu_saved = gelu(grid)
(slope,) = gelu_backward(np.ones_like(grid), gelu_saved)
assert np.allclose(value, [x * NormalDist().cdf(x) for x in grid], atol=1e-15)
assert round(value.min(), 3) == -0.17 and abs(grid[value.argmin()] - -0.752) < 0.005
assert slope[1000] == 0.5 and round(slope.max(), 3) == 1.129 and abs(grid[slope.argmax()] - math.sqrt(2)) < 0.005

# %%
# NumPy has no erf, so who computes the probability? In float64 the C library, one number at a time, which is exact and
# slow. In float32 the package uses
#
# .. math:: \mathrm{erf}(x) \approx \tanh(x \, p(x^2))
#
# The hyperbolic tangent already has the right shape: odd, with tails that flatten at -1 and 1. The polynomial p only
# corrects the pace. BERT's first code stopped at degree 1 ("the tanh approximation", our ``gelu_new``), and its GELU is
# off by at most 5e-4. With degree 6, that is seven coefficients, erf is off by less than 1.5e-7: the last place of
# float32.

assert len(ERF_COEFFICIENTS) == 7
fine = np.linspace(-6, 6, 20001).astype(np.float32)  # the same numbers for both: float32, and exact in float64
exact = fine.astype(np.float64)
erf_error = np.abs(erf(fine) - erf(exact))
degree_6 = np.abs(gelu(fine)[0] - gelu(exact)[0])
degree_1 = np.abs(gelu_new(exact)[0] - gelu(exact)[0])
print(f"erf: {erf_error.max():.1e}   GELU, degree 6, float32: {degree_6.max():.1e}   degree 1: {degree_1.max():.1e}")
assert erf_error.max() < 1.5e-7 and 4e-4 < degree_1.max() < 5e-4
assert degree_1.max() > 500 * degree_6.max()

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.plot(grid, np.maximum(grid, 0), color="0.75", linewidth=3, label="ReLU")
left.plot(grid, value, "k-", label="GELU")
left.plot(grid, slope, "k--", label="slope of GELU")
left.set(xlabel="x", xlim=(-4, 3), ylim=(-0.5, 3))
left.legend(frameon=False)
right.semilogy(fine, np.maximum(degree_1, 1e-10), "k--", linewidth=1, label="degree 1 (gelu_new)")
envelope = degree_6[:20000].reshape(200, 100).max(axis=1)  # the largest in each of 200 pieces; rounding jumps about
right.semilogy(exact[50:20000:100], np.maximum(envelope, 1e-10), "k-", label="degree 6, in float32 (gelu)")
right.set(xlabel="x", ylabel="error of GELU", ylim=(1e-10, 1e-2))
right.legend(frameon=False, loc="upper right")
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The feed-forward half
# ---------------------
# Now the block's second half is easy to read: H -> I, GELU, I -> H, sum, LayerNorm. In RemBERT I = 4608 is four times
# H = 1152, and these two matrices hold two thirds of a block's parameters.

rembert = RemBertConfig()
assert (rembert.hidden_size, rembert.intermediate_size) == (1152, 4 * 1152)
assert abs(count(feed_forward_shapes(rembert)) / count(block_shapes(rembert)) - 2 / 3) < 0.001

config = RemBertConfig(hidden_size=H, num_attention_heads=2, intermediate_size=4 * H)
state = {name: rng.standard_normal(shape) for name, shape in feed_forward_shapes(config).items()}
run = ForwardPass(Forward(OPS), config)
out = feed_forward(run, Parameters(state), x)

wide = gelu(x @ state["intermediate.dense.weight"].T + state["intermediate.dense.bias"])[0]
back = wide @ state["output.dense.weight"].T + state["output.dense.bias"]
by_hand, _ = layer_norm(x + back, state["output.LayerNorm.weight"], state["output.LayerNorm.bias"], EPS)
assert wide.shape == (B, S, 4 * H) and np.allclose(out, by_hand)

# %%
# Every token is on its own: reorder the tokens, and the results are reordered the same way. And the bend matters.
# Without it, two matrices are one matrix, and the wide layer in the middle would be wasted.

assert np.allclose(feed_forward(run, Parameters(state), x[:, [2, 0, 1]]), out[:, [2, 0, 1]])
one_matrix = state["output.dense.weight"] @ state["intermediate.dense.weight"]
assert one_matrix.shape == (H, H)

# %%
# Exercises
# ---------
# 1. With a large eps the gradient does have a component along xhat. How large is it? Derive it from the formula of the
#    backward pass, then check it with ``eps=1.0``. *Hint: the mean of xhat^2 is var / (var + eps), not 1.*
# 2. RMSNorm leaves the mean alone: y = weight x / sqrt(mean(x^2) + eps). Which invariance is lost, and what does P
#    become? Write the pair ``rms_norm``, ``rms_norm_backward``. *Hint: count the directions again.*
# 3. ``gelu_new`` is an error of 5e-4 in one place. How far are the outputs of a whole model apart, with
#    ``hidden_act="gelu"`` and with ``"gelu_new"`` and the same weights? Does it grow with the number of blocks?
#    *Hint: two models with the same seed; watch* ``output_hidden_states=True``.
#
# Next: ``06_output_head.py``, and ``minirembert/model/output_head.py`` beside it.
