"""
11. Attention as kernels
========================

Attention has a matrix in the middle that nobody asked for: S x T probabilities, for every head. It is made from q and k,
used once on v, and is much larger than any of them. This chapter takes the NumPy function apart until that matrix is
gone, first forward and then backward, and says at each step how many numbers travel. The counter has the last word.

Read beside it: ``minirembert/ops/attention.py``, and ``kernels/attention/first.py``, which has this chapter's kernels and
nothing else. The kernels that usually run, ``plain.py`` and ``general.py`` beside it, add to them what the later sections say.
Chapter 4 says what attention computes. Chapter 9 has the recurrence (m, l) and the words. Chapter 10 says why a sum wants
one owner.
"""

import math
import os

os.environ["TRITON_INTERPRET"] = "1"  # even where there is a GPU: compiled kernels cannot be counted

import matplotlib.pyplot as plt
import numpy as np

from kernels.attention import attention, attention_backward, attention_probabilities
from kernels.attention import first as first_rung
from kernels.traffic import Traffic, traffic
from minirembert.ops import attention as reference
from minirembert.ops.random import keep_mask

rng = np.random.default_rng(11)


def numbers(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


# %%
# The matrix in the middle
# ------------------------
# For 16 sequences of 512 tokens and 18 heads of 64, P has 75 million numbers: 151 MB in bfloat16. q, k, v and y together
# have 75 MB. Three kernels, one for each line of chapter 4, would write the scores, read and write them in the softmax, and
# read the probabilities: four trips of 151 MB, eight times what q, k, v and y need. And to keep P for the backward pass
# would take 4.8 GB in 32 blocks.

B, S, T, h, d = 16, 512, 512, 18, 64
matrix, arrays = B * h * S * T * 2, 4 * B * S * h * d * 2
assert B * h * S * T // 10**6 == 75
assert round(matrix / 1e6) == 151 and round(arrays / 1e6, 1) == 75.5
assert 4 * matrix / arrays == 8 and round(32 * matrix / 1e9, 1) == 4.8

# %%
# The online softmax, with an average
# -----------------------------------
# A query walks over the keys in blocks. Chapter 9 keeps the maximum m and the sum l. Here a third thing is kept, the sum of
# the values weighted by exp(score - m). When a block brings a larger maximum, all that was added before is too large, by
# the same factor for l and for the average. Both shrink by exp(m_old - m_new), and go on. In the end the one is divided by
# the other. No block of scores is needed twice, so none is kept.

S, T, d, BLOCK = 5, 64, 16, 16
q, k, v = (rng.standard_normal((length, d)) for length in (S, T, T))
m, total, y = np.full((S, 1), -np.inf), np.zeros((S, 1)), np.zeros((S, d))
for first in range(0, T, BLOCK):
    scores = q @ k[first : first + BLOCK].T / math.sqrt(d)
    new_m = np.maximum(m, scores.max(axis=1, keepdims=True))
    p = np.exp(scores - new_m)
    shrink = np.exp(m - new_m)
    total = total * shrink + p.sum(axis=1, keepdims=True)
    y = y * shrink + p @ v[first : first + BLOCK]
    m = new_m
exact, saved = reference.attention(q[None], k[None], v[None], num_heads=1)
assert np.allclose(y / total, exact[0])
assert np.allclose((m + np.log(total))[:, 0], saved.lse[0, 0])

# %%
# That is the kernel, line by line: a program owns a block of queries of one head, and these lines are its loop. Open
# ``attention_first_kernel`` in ``kernels/attention/first.py`` and compare: a block of queries is loaded, then the loop comes,
# then the division. Every argument says its shape. Its tiles must be whole, so S and T are multiples of a block.

one_head = [np.stack([a, a])[:1].astype(np.float32) for a in (rng.standard_normal((32, d)), k, v)]
by_kernel, _ = first_rung.attention(*one_head, num_heads=1, block=(16, BLOCK))
assert np.allclose(by_kernel, reference.attention(*one_head, num_heads=1)[0], atol=1e-5)

# %%
# The kernels that usually run differ in one thing. A chip computes exp(x) as :math:`2^{x \log_2 e}`. The multiplication can be
# had for free, if log2 e is part of the scale of the scores, which are multiplied by something anyway. m is then counted in
# bits, and only lse goes back to base e. It cannot be done where a mask is *added*: the lowest float32 times log2 e is
# infinite.

LOG2E = math.log2(math.e)
scores = q @ k.T / math.sqrt(d)
bits = q @ k.T * (LOG2E / math.sqrt(d))
assert np.allclose(np.exp2(bits - bits.max(axis=1, keepdims=True)), np.exp(scores - scores.max(axis=1, keepdims=True)))
with np.errstate(over="ignore"):
    assert np.finfo(np.float32).min * np.float32(LOG2E) == -np.inf

# %%
# Forward: prediction and count
# -----------------------------
# A program loads its queries once, and all keys and values. Let there be n blocks of queries. Then q is loaded once, k
# and v n times each. y is stored, and two statistics for each query and head. With S = T:
#
# .. math:: loaded = (1 + 2 n) \; B S H, \qquad stored = B S H + 2 \; B h S
#
# The S x T matrix is in neither. The shapes are small, as the interpreter is slow. But the tiles are small too: n is 4.

B, S, h, d, BLOCK = 1, 64, 2, 16, 16
H, n, NUMBER = h * d, S // BLOCK, 4  # float32: 4 bytes
q, k, v, dy = (numbers(B, S, H) for _ in range(4))
array, statistic = B * S * H * NUMBER, B * h * S * NUMBER
tile = B * h * BLOCK * d * NUMBER  # one block of one of the arrays, in all heads


def forward(q, k, v, block: int | tuple[int, int] = BLOCK, **settings) -> Traffic:
    """The traffic of attention, once its result has been found right."""
    with traffic() as count:
        y, _ = attention(q, k, v, h, **settings, block=block if isinstance(block, tuple) else (block, block))
    assert np.allclose(y, reference.attention(q, k, v, h, **settings)[0], atol=1e-5)
    return count


count = forward(q, k, v)
print(count)
assert count["attention_plain_kernel"].programs == B * h * n
with traffic() as by_first:  # the first rung asks for the same, but for lse_rest, which it does not save
    first_rung.attention(q, k, v, h, block=(BLOCK, BLOCK))
assert (by_first.loaded, by_first.stored) == (count.loaded, count.stored - statistic)
assert count.loaded == (1 + 2 * n) * array
assert count.stored == array + 2 * statistic

# %%
# k and v are asked for n times. They need not come from memory each time: the programs of one head are neighbours, and
# k and v of a head are small enough for a cache. Also n is in our hands. Larger blocks of queries mean fewer of them, until
# registers run out. And if all keys fit one tile, there is nothing to rescale, and the loop falls away: the kernel has
# a path without it (``ONE_BLOCK``).

assert (
    forward(q, k, v, block=(16, 64)).total == count.total
)  # one tile for the keys: k and v still once for each program
for queries in (16, 32, 64):
    assert forward(q, k, v, block=(queries, 16)).loaded == (1 + 2 * S // queries) * array

# %%
# Tiles that nobody may look at
# -----------------------------
# With a causal mask, a query sees no key after itself. Half of the S x T scores are hidden, and in tiles: of n x n, those
# above the diagonal. They need not be loaded. Those below it need no comparison, either. Only the n on the diagonal are
# compared element by element. That leaves n (n + 1) / 2 of them, 10 of 16 for n = 4. For 512 tokens in blocks of 128 it is
# the same, and so causal attention costs at least 0.625 of the whole, not a half.


def visited(count: Traffic) -> int:
    """Tiles of keys and values that each head looks at."""
    return (count.loaded - array) // (2 * tile)


causal = forward(q, k, v, causal=True)
assert visited(count) == n * n == 16
assert visited(causal) == n * (n + 1) // 2 == 10
assert causal.loaded == array + 10 * 2 * tile and 10 / 16 == 0.625
assert n == 512 // 128
for queries, keys in ((32, 16), (16, 32)):  # other shapes: as many key blocks as it takes to reach the last query
    predicted = sum(-(-(first + queries) // keys) for first in range(0, S, queries))
    loaded = forward(q, k, v, block=(queries, keys), causal=True).loaded
    assert loaded == array + predicted * 2 * B * h * keys * d * NUMBER

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
sizes = np.array([16, 32, 64])
fine = np.linspace(16, 64, 100)
left.plot(fine, 2 + 2 * S / fine, "k-", linewidth=1, label="2 + 2 n")
for style, settings in (("ko", {}), ("kx", {"causal": True})):
    counts = [forward(q, k, v, block=(int(size), 16), **settings).total - 2 * statistic for size in sizes]
    left.plot(sizes, np.array(counts) / array, style, label="counted" + (", causal" if settings else ""))
left.set(xlabel="queries of a tile", ylabel="arrays of B S H that travel", xticks=sizes, ylim=(0, 11))
left.legend(frameon=False)
left.spines[["top", "right"]].set_visible(False)
place = np.arange(8)
right.imshow(1.0 * (place[:, None] >= place) + (place[:, None] == place), cmap="Greys", vmin=0, vmax=3)
right.set(title="causal: skipped, whole, compared", xlabel="block of keys", ylabel="block of queries")
plt.show()

# %%
# Padding is another reason not to look. With ``key_lengths`` the kernel stops after the last real key, and reads none behind
# it: of 37 keys in blocks of 16 it visits 3 blocks, not 4, and of the third it loads 5 keys. And a sequence without any real
# key? It is defined to attend to all keys alike, as in Hugging Face, so it reads all 64. Each program also loads the length
# of its sequence, 8 bytes.

for length, read in ((64, 64), (37, 37), (16, 16), (0, 64)):
    padded = forward(q, k, v, key_lengths=np.array([length]))
    assert padded.loaded == array + n * read * 2 * tile // BLOCK + 8 * padded["attention_plain_kernel"].programs

# %%
# Dropout without a mask in memory
# --------------------------------
# Dropout zeroes probabilities, and there is no matrix to zero them in. A mask in memory would be as large as P. So every
# probability has a number, :math:`((b h + head) S + s) T + t`, and a counter-based generator makes of (seed, number) the
# decision (``ops/random.py``). Whoever has the tile can draw it, again in the backward pass, whatever the size of the tile.
# Both implementations drop the same ones, and no byte more travels.

dropping = {"drop_prob": 0.25, "seed": 5}
ours, _ = attention_probabilities(q, k, h, **dropping, block=(16, 32))
theirs, _ = reference.attention_probabilities(q, k, h, **dropping)
dropped = keep_mask((B, h, S, S), **dropping) == 0
assert ((ours == 0) == dropped).all() and ((theirs == 0) == dropped).all()
assert abs(dropped.mean() - 0.25) < 0.01
assert forward(q, k, v, **dropping).total == count.total

# %%
# What is saved: lse, and what rounding took from it
# --------------------------------------------------
# Backward makes P again, as exp(scores - lse). That is one number for a row in place of T. In a row that sees nothing, all
# scores are the lowest float32, and lse = m + log T comes out as m: next to such a number log T is lost. exp(scores - lse)
# would then be 1 for each of T keys. So what the rounding took is saved too, ``lse_rest``, and P is exp((scores - lse) -
# lse_rest). For ordinary rows it is the last digits of lse, next to nothing.

lowest = np.finfo(np.float32).min
_, ordinary = attention(q, k, v, h, block=(BLOCK, BLOCK))
_, blind = attention(q, k, v, h, key_lengths=np.array([0]), block=(BLOCK, BLOCK))
assert (blind.lse == lowest).all() and np.allclose(blind.lse_rest, math.log(S))
assert lowest + np.float32(math.log(S)) == lowest
assert np.allclose(np.exp((lowest - blind.lse) - blind.lse_rest), 1 / S)
assert np.abs(ordinary.lse_rest).max() < 1e-6

# %%
# Backward: every sum has one owner
# ---------------------------------
# The five lines of chapter 4, with P and dP made tile by tile:
#
# .. math:: dV = P^T dy, \quad dP = dy V^T, \quad dS = P (dP - \delta), \quad dQ = dS \, K, \quad dK = dS^T Q
#
# dQ is a sum over keys, dK and dV are sums over queries. A program that owns keys has all of its dK and dV, but only a part
# of everybody's dQ. It would have to add that to memory, with atomics: in another order each time (chapter 10), and n
# times. So there are two kernels. One owns keys and makes dK and dV. The other owns queries and makes dQ. The price is that
# scores and dP are computed in both: seven products in place of five. Both need delta = dy . y. In ``first.py`` a small kernel
# before them makes it. Where speed counts, the owners of queries do: they have dy anyway, and leave delta for the others.
#
# Prediction, in arrays of B S H and statistics of B h S: the owners of queries load q, dy and y, 2 statistics, and n times k
# and v; they store dq and delta. The owners of keys load k and v, and n times q, dy and 3 statistics.


def backward(block: int, **settings) -> Traffic:
    _, saved = attention(q, k, v, h, **settings, block=(block, block))
    with traffic() as count:
        gradients = attention_backward(dy, saved, block=(block, block))
    exact = reference.attention_backward(dy, reference.attention(q, k, v, h, **settings)[1])
    assert all(np.allclose(*pair, atol=1e-5) for pair in zip(gradients, exact, strict=True))
    return count


count = backward(BLOCK)
print(count)
dq, dkdv = (count[f"attention_plain_{owners}_kernel"] for owners in ("queries", "keys"))
assert (dq.loaded, dq.stored) == (3 * array + 2 * statistic + n * 2 * array, array + statistic)
assert (dkdv.loaded, dkdv.stored) == (2 * array + n * (2 * array + 3 * statistic), 2 * array)

_, saved_first = first_rung.attention(q, k, v, h, block=(BLOCK, BLOCK))
with traffic() as by_first:
    gradients = first_rung.attention_backward(dy, saved_first, block=(BLOCK, BLOCK))
exact = reference.attention_backward(dy, reference.attention(q, k, v, h)[1])
assert all(np.allclose(*pair, atol=1e-5) for pair in zip(gradients, exact, strict=True))
assert by_first["attention_first_delta_kernel"].loaded == 2 * array  # the price of a kernel for delta
assert by_first.loaded - count.loaded == array - n * statistic

backward(BLOCK, **dropping)  # right as well: the mask is drawn again
causal = backward(BLOCK, causal=True)
dq, dkdv = causal["attention_plain_queries_kernel"], causal["attention_plain_keys_kernel"]
assert dq.loaded == 3 * array + 2 * statistic + 10 * 2 * tile
assert dkdv.loaded == 2 * array + 10 * (2 * tile + 3 * statistic // n)

# %%
# Where a whole head is one tile, nothing is shared, and one program does it all with five products: q, k, v, y, dy and two
# statistics come in, three gradients go out, each once.

one_tile = backward(64)
assert list(one_tile) == ["attention_plain_head_kernel"]
assert (one_tile.loaded, one_tile.stored) == (5 * array + 2 * statistic, 3 * array)
assert count.loaded > 4 * one_tile.loaded

# %%
# Bytes or arithmetic?
# --------------------
# Forward computes 4 S T d floating-point operations a head, and needs 4 S d numbers of 2 bytes if each travels once. For
# S = T that is S / 2 operations a byte. An H200 is said to multiply at 790 TFLOP/s and to copy at 4.3 TB/s, 184 operations a
# byte. So below S = 367 attention waits for memory, above it for the multiplication. At 512 the two floors are 24.5 and 17.6
# microseconds for our 16 sequences, and the exponentials have a floor too. All this is computed, and nothing measured.
#
# What does not show here: whether a cache answers the n requests for k and v, and what the rescaling costs between two
# products. The interpreter has no cache and no clock.

FLOPS, COPY = 790e12, 4.3e12
assert round(FLOPS / COPY) == 184 and round(2 * FLOPS / COPY) == 367
assert round(4 * 512 * 512 * 64 * 16 * 18 / FLOPS * 1e6, 1) == 24.5
assert round(arrays / COPY * 1e6, 1) == 17.6

# %%
# Exercises
# ---------
# 1. Predict the traffic of cross-attention, S = 16 queries and T = 64 keys, forward and backward, and count it.
#    *Hint: the two kinds of blocks are no longer equally many.*
# 2. With T > S and ``causal=True`` the queries are the last S positions. Draw the tiles that are visited for S = 32, T = 64,
#    and check their number. *Hint:* ``keys_seen`` *in* ``kernels/attention/plain.py``.
# 3. Suppose the owners of keys did add their parts of dQ to memory, in float32. How many bytes would that be for n blocks,
#    and at which n does it cost more than loading k and v again? *Hint: an addition is a load and a store.*
