"""
4. Attention
============

So far every token was on its own. In attention they meet: each token asks a question, and takes a weighted average of
what the others offer. This chapter writes one head by hand, asks why the scores are divided by the square root of d,
looks at masks and at order, and ends with a head that has learned where to look.

Read beside it: ``minirembert/ops/attention.py``. Its docstring has all the formulas, in the letters used here.
``minirembert/model/attention.py`` puts the projections around it.
"""

import math

import matplotlib.pyplot as plt
import numpy as np

from minirembert import RemBertConfig, RemBertForMaskedLM, RemBertModel
from minirembert.ops.attention import attention, attention_backward, attention_probabilities
from minirembert.ops.softmax import softmax, softmax_backward
from minirembert.training.optimizer import AdamW, clip_gradients

rng = np.random.default_rng(4)

# %%
# One head by hand
# ----------------
# There are S queries, T keys and T values, each a row of d numbers. A query and a key that point the same way have a
# large dot product, their *score*. Softmax turns a row of scores into weights that sum to 1. The result is the
# average of the values with these weights. That is three lines.

S, T, d = 5, 7, 8
q, k, v = rng.standard_normal((S, d)), rng.standard_normal((T, d)), rng.standard_normal((T, d))

scores = q @ k.T / math.sqrt(d)
P = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
y = P @ v

op_y, saved = attention(q[None], k[None], v[None], num_heads=1)  # the op wants a batch axis: B = 1
assert np.allclose(op_y[0], y)
assert np.allclose(attention_probabilities(q[None], k[None], num_heads=1)[0][0, 0], P)
assert np.allclose(P.sum(axis=-1), 1)

# %%
# Several heads
# -------------
# One average per token is little. So H is cut into h slices of width d = H / h. Each slice is a head with weights of
# its own, and the results stand side by side. RemBERT has 18 heads of width 64. Heads do not cost extra: the slices
# together have H numbers, however many they are.

h = 3
H = h * d
q3, k3, v3 = rng.standard_normal((1, S, H)), rng.standard_normal((1, T, H)), rng.standard_normal((1, T, H))
head_by_head = []
for head in range(h):
    part = slice(head * d, (head + 1) * d)
    head_by_head.append(attention(q3[..., part], k3[..., part], v3[..., part], num_heads=1)[0])
assert np.allclose(np.concatenate(head_by_head, axis=-1), attention(q3, k3, v3, num_heads=h)[0])
rembert = RemBertConfig()
assert (rembert.num_attention_heads, rembert.hidden_size // rembert.num_attention_heads) == (18, 64)

# %%
# Why divide by the square root of d
# ----------------------------------
# Let the entries of q and k be independent, with mean 0 and variance 1. Then a score is a sum of d products, each of
# variance 1. Its variance is d. With d = 64 the scores differ by 8 or so, and softmax turns such differences into a
# choice: one weight near 1, the rest near 0. Divided by the square root of d, scores have variance 1 for every d.
#
# Below are 64 keys and 500 queries for each d. The first panel measures the variance. The second asks how large the
# largest weight of a query is, on average. The third sends a random gradient back through the softmax, and asks how
# much of it arrives at a typical query's scores (the median of its length).

widths = (4, 16, 64, 256, 1024)
variance, largest, gradient = {}, {}, {}
for width in widths:
    raw = rng.standard_normal((500, width)) @ rng.standard_normal((64, width)).T
    dweights = rng.standard_normal(raw.shape)
    for name, factor in (("not divided", 1), ("divided", 1 / math.sqrt(width))):
        weights, softmax_saved = softmax(raw * factor)
        (draw,) = softmax_backward(dweights, softmax_saved)
        variance.setdefault(name, []).append((raw * factor).var())
        largest.setdefault(name, []).append(weights.max(axis=-1).mean())
        gradient.setdefault(name, []).append(np.median(np.linalg.norm(draw, axis=-1)))

figure, panels = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
titles = ("variance of the scores", "largest weight", "gradient that arrives")
for axes, values, title in zip(panels, (variance, largest, gradient), titles, strict=True):
    for (name, line), style in zip(values.items(), ("k--s", "k-o"), strict=True):
        axes.plot(widths, line, style, markersize=4, label=name)
    axes.set_xscale("log", base=2)
    axes.set(xlabel="d", title=title, xticks=widths, xticklabels=widths)
    axes.spines[["top", "right"]].set_visible(False)
panels[0].set_yscale("log")
panels[0].legend(frameon=False)
panels[1].set_ylim(0, 1)
panels[2].set_yscale("log")
plt.show()

assert np.allclose(variance["not divided"], widths, rtol=0.2)
assert np.allclose(variance["divided"], 1, rtol=0.2)
assert largest["not divided"][widths.index(64)] > 0.75 and largest["not divided"][-1] > 0.9
assert max(largest["divided"]) < 0.2
arrives = {width: gradient["not divided"][i] / gradient["divided"][i] for i, width in enumerate(widths)}
print("gradient not divided / divided:", {width: round(float(ratio), 4) for width, ratio in arrives.items()})
assert 0.5 < arrives[64] < 1 and arrives[256] < 0.2 and arrives[1024] < 0.01

# %%
# Undivided, the largest of 64 weights is above 0.75 at d = 64 and above 0.9 at d = 1024. Divided, it stays below 0.2.
#
# Sharp weights are not wrong in themselves. A trained head may want them. The trouble is to *start* with them. The
# gradient of a score contains the factor P. Where P is near 0 it vanishes. Where P is near 1, its other factor does. A
# head that has chosen before it has learned anything finds it hard to change its mind.
#
# How bad is it? That depends on d more than one is often told. At d = 1024 less than 1% of the gradient arrives, at 256
# less than 20%. At 64, which is RemBERT's width, still more than half of it does. There the division is a precaution.
#
# A fresh RemBERT is gentler still. Its weights have standard deviation 0.02, and from the second block on its tokens
# come from a LayerNorm, with variance 1. So its queries and keys have variance 1152 x 0.02^2 = 0.46, and not 1.

assert (rembert.hidden_size, rembert.initializer_range) == (1152, 0.02)
assert round(rembert.hidden_size * rembert.initializer_range**2, 2) == 0.46

# %%
# Masks
# -----
# A query must not look at padding. The model adds a *bias* to the scores: 0 where the query may look, and the smallest
# finite number where it may not. Its exponential is 0, exactly. So padding cannot change a real token. Without the
# mask it does.

config = RemBertConfig(
    vocab_size=31, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
    input_embedding_size=16, output_embedding_size=32, max_position_embeddings=12, initializer_range=0.12,
)  # fmt: skip
model = RemBertModel(config, dtype="float64", seed=0)

ids = rng.integers(5, 31, (1, 8))
padded = np.concatenate([ids, np.zeros((1, 4), ids.dtype)], axis=1)
mask = (np.arange(12) < 8)[None].astype(np.int64)
alone = model(ids).last_hidden_state
with_mask = model(padded, mask, output_attentions=True)
without_mask = model(padded)
assert np.allclose(with_mask.last_hidden_state[:, :8], alone, atol=1e-12)
assert (with_mask.attentions[0][..., 8:] == 0).all()
assert np.abs(without_mask.last_hidden_state[:, :8] - alone).max() > 0.1

# %%
# And a query that may look *nowhere*? It happens, in a row that is all padding. With minus infinity for a bias, softmax
# would compute 0 / 0, and one such row would fill the model with NaN. The finite bias swallows the scores instead: they
# are far below its last digit, so all sums are the same number. The weights come out as 1 / T, for padding too. The
# vector is useless, but it is a number, and no real token ever sees it. Hugging Face's model does the same.

with np.errstate(invalid="ignore"):
    row = scores[0] - np.inf
    assert np.isnan(np.exp(row - row.max())).all()
nowhere = np.full((1, 1, 1, T), np.finfo(np.float64).min)
uniform, _ = attention_probabilities(q[None], k[None], num_heads=1, bias=nowhere)
assert np.allclose(uniform, 1 / T, atol=1e-15)
assert (scores + nowhere == nowhere).all()
all_padding = model(padded, np.zeros((1, 12)), output_attentions=True)
assert np.allclose(all_padding.attentions[0], 1 / 12)

# %%
# Attention does not know order
# -----------------------------
# Nothing in the formulas says which key comes first. Shuffle the tokens and the results are shuffled in the same way,
# no more. This is called *permutation equivariance*. It holds for the whole encoder if all tokens get the same
# position: "dog bites man" and "man bites dog" would be one bag of vectors. The position rows of chapter 3 break it.

order = rng.permutation(8)
x = rng.standard_normal((1, 8, H))
assert np.allclose(attention(x[:, order], x[:, order], x[:, order], h)[0], attention(x, x, x, h)[0][:, order])

nowhere_special = np.zeros((1, 8), np.int64)
plain = model(ids, position_ids=nowhere_special).last_hidden_state
shuffled = model(ids[:, order], position_ids=nowhere_special).last_hidden_state
assert np.allclose(shuffled, plain[:, order], atol=1e-12)
assert not np.allclose(model(ids[:, order]).last_hidden_state, alone[:, order], atol=0.1)

# %%
# What is kept for the backward pass
# ----------------------------------
# The gradient needs P. For one sequence of 512 tokens, RemBERT's 18 heads have 18.9 megabytes of it in each block, and
# 604 in all 32, in float32. The op keeps none of that. It keeps one number for each query, the logarithm of the sum of
# the exponentials, ``lse``. That is 512 times less. From it P comes back by P = exp(scores - lse), without a second
# softmax. Time is paid for memory: the scores are computed twice.

probabilities_bytes, lse_bytes = 18 * 512 * 512 * 4, 18 * 512 * 4
assert round(probabilities_bytes / 1e6, 1) == 18.9 and round(32 * probabilities_bytes / 1e6) == 604
assert probabilities_bytes == 512 * lse_bytes
assert saved.lse.shape == (1, 1, S)  # (B, h, S)
assert np.allclose(np.exp(scores - saved.lse[0, 0][:, None]), P)

# %%
# With P at hand, the gradient is five lines. Each is a product rule, but for the third. There softmax says: a weight
# gains only by what it does *better than the average*. That average is delta, and it needs no S x T work, as it equals
# dy . y.

dy = rng.standard_normal((S, d))
dv = P.T @ dy
dP = dy @ v.T
dscores = P * (dP - (dy * y).sum(axis=-1, keepdims=True))
dq = dscores @ k / math.sqrt(d)
dk = dscores.T @ q / math.sqrt(d)
assert np.allclose((dy * y).sum(axis=-1), (P * dP).sum(axis=-1))
for mine, theirs in zip((dq, dk, dv), attention_backward(dy[None], saved), strict=True):
    assert np.allclose(mine, theirs[0])

# %%
# Where a trained head looks
# --------------------------
# A fresh model looks everywhere alike. To see a pattern we need a task that only attention can solve. Take six random
# letters and say them twice. Hide four places in one half. Each hidden letter stands in the other half, six places
# away. A token by itself cannot know it.
#
# We train one block with two heads for 300 steps. (H = 32 is small, and at RemBERT's ``initializer_range`` a fresh block
# would hardly change its input. We took 0.12, so that a projection from H to H is as strong as RemBERT's: H times the
# square of the range is 0.46 again.)

assert round(config.hidden_size * config.initializer_range**2, 2) == 0.46


def say_twice(batch: int, hide: int) -> tuple[np.ndarray, np.ndarray]:
    half = rng.integers(5, 31, (batch, 6))  # the pieces 5 to 30 play the letters a to z; 4 is [MASK]
    ids = np.concatenate([half, half], axis=1)
    places = rng.permuted(np.tile(np.arange(6), (batch, 1)), axis=1)[:, :hide] + 6 * rng.integers(0, 2, (batch, 1))
    labels = np.full_like(ids, -100)
    np.put_along_axis(labels, places, np.take_along_axis(ids, places, axis=1), axis=1)
    np.put_along_axis(ids, places, 4, axis=1)
    return ids, labels


test_ids, test_labels = say_twice(200, hide=1)
row = np.arange(200)
place = (test_labels >= 0).argmax(axis=1)


def look_at_twin(model: RemBertForMaskedLM) -> np.ndarray:
    """For each head, the weight of a hidden letter's twin in the eyes of the hidden letter: mean over the test."""
    weights = model(test_ids, output_attentions=True).attentions[0]  # (B, h, S, S)
    return weights[row, :, place, (place + 6) % 12].mean(axis=0)


fresh, trained = RemBertForMaskedLM(config, seed=0), RemBertForMaskedLM(config, seed=0)
optimizer = AdamW(trained.parameters)
for step in range(300):
    train_ids, train_labels = say_twice(32, hide=4)
    loss, gradients = trained.loss_and_gradients(input_ids=train_ids, labels=train_labels)
    clip_gradients(gradients, 1.0)
    optimizer.step(gradients, learning_rate=5e-3 * min(1, (step + 1) / 20))

guesses = trained(test_ids).logits[row, place].argmax(axis=-1)
correct = (guesses == test_labels[row, place]).mean()
print(f"weight of the twin: fresh {look_at_twin(fresh)}, trained {look_at_twin(trained)}; {correct:.1%} correct")
assert np.abs(look_at_twin(fresh) - 1 / 12).max() < 0.02
assert look_at_twin(trained).min() > 0.8
assert correct > 0.95

# %%
# A fresh head gives the twin 1/12 of its weight, to within 0.02: no more than any other of the 12 places. After
# training each head gives it more than 0.8, and more than 95% of the hidden letters are named correctly.

letters = ["?" if i == 4 else chr(ord("a") + i - 5) for i in test_ids[0]]
figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
pictures = [("fresh, head 1", fresh, 0), ("trained, head 1", trained, 0), ("trained, head 2", trained, 1)]
for axes, (title, which, head) in zip(panels, pictures, strict=True):
    weights = which(test_ids[:1], output_attentions=True).attentions[0][0, head]
    image = axes.imshow(weights, cmap="Greys", vmin=0, vmax=1)
    axes.set_xticks(range(12), letters)
    axes.set_yticks(range(12), letters)
    axes.set(title=title, xlabel="key")
panels[0].set_ylabel("query")
figure.colorbar(image, ax=panels, shrink=0.75, label="weight")
plt.show()

# %%
# Look at the row of the hidden letter, marked with a question mark: its weight lies on its twin, six places away. The
# other rows were never asked anything, and what they do is not to be explained. This is a toy. That weights can be
# *read* here, because the task has one right place to look, does not mean that they can be read in a large model.

# %%
# Exercises
# ---------
# 1. Train the same model without positions (``position_ids`` of 0 in every call). How good can it get, and what does
#    the row of the hidden letter look like? (Hint: which letters occur only once in what the model sees?)
# 2. Add 1000 to all scores of ``scores[0]`` and compute P as in the first cell, in float32. What happens, and which
#    numbered step of ``ops/attention.py`` prevents it? (Hint: step 2.)
# 3. Write a mask with which token t sees only the tokens up to t, and check with ``output_attentions`` that it works.
#    (Hint: ``attention_mask`` may have the shape (B, S, S); ``np.tril``.)
#
# Next: ``05_layer_norm_and_feed_forward.py``, the other half of a block.
