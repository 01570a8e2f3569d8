"""
14. Rank and the output head
============================

The paper makes the output embedding four times as wide as the encoder and finds that it helps. Its footnote 3 says that
the projection from H to O is linear. Both together are odd: a linear map cannot add a direction. Chapter 6 measured the
rank of random heads. Here is the argument, what a low rank forbids and what it does not, where the extra rank of a bent
head comes from, and what *trained* heads make of it.

Read beside it: ``minirembert/lab/model.py`` (three kinds of head) and ``minirembert/lab/rank_of_head.py`` (the experiment).
"""

import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np

from minirembert.lab.claims import SHOWN, find
from minirembert.lab.claims.results import COMMITTED, load
from minirembert.lab.geometry import numerical_rank
from minirembert.lab.jobs import Context
from minirembert.lab.model import OUTPUT_EMBEDDING, LabModel
from minirembert.lab.rank_of_head import HeadExperiment
from minirembert.lab.sizes import Sizes
from minirembert.ops import OPS
from minirembert.tape import Forward

rng = np.random.default_rng(14)
ops = Forward(OPS)

# %%
# Two matrices, one map
# ---------------------
# A linear head computes W2 (W1 h + b1) + b2 for a state h. Multiply out: (W2 W1) h + (W2 b1 + b2). That is one matrix of
# shape V x H and one bias. So a model with a linear head and O = 64 on states of width 16 is, number for number, a model
# *without* a head. Here it is done to one: the two matrices are multiplied into one, and the logits stay the same.

V, H, O = 200, 16, 64  # noqa: E741
DENSE = "cls.predictions.dense"
BIAS = "cls.predictions.decoder.bias"


def lab_model(head: str, width: int) -> LabModel:
    sizes = Sizes(
        V, 16, H, 2, num_attention_heads=2, output_embedding_size=width, head=head, max_position_embeddings=32
    )
    model = LabModel(sizes, dtype="float64", seed=14)
    for array in model.parameters.values():
        array += 0.3 * rng.standard_normal(array.shape)  # away from fresh weights: biases too
    return model


wide, folded = lab_model("linear", O), lab_model("none", H)
folded.parameters |= {name: wide.parameters[name] for name in folded.parameters.keys() - {OUTPUT_EMBEDDING, BIAS}}
W2, W1, b1 = (wide.parameters[name] for name in (OUTPUT_EMBEDDING, f"{DENSE}.weight", f"{DENSE}.bias"))
folded.parameters[OUTPUT_EMBEDDING] = W2 @ W1
folded.parameters[BIAS] = W2 @ b1 + wide.parameters[BIAS]

ids = rng.integers(3, V, (16, 24))
assert np.allclose(wide(ids).logits, folded(ids).logits, rtol=1e-9, atol=1e-9)
print(f"linear head: {wide.num_parameters():,} parameters; folded: {folded.num_parameters():,}; the same logits")

# %%
# The folded model has 10,688 parameters less, and nothing is lost. What the larger one can say is bounded by H: logits of
# any number of contexts, one below the other, are a matrix of rank at most H, and the bias adds one: 17. (It is 16 here.
# The states come out of a LayerNorm, which takes one direction away.)
#
# This is a statement about what *can be said*. Training may still go differently with two matrices than with one. But
# that is a matter of speed, not of room.

assert wide.num_parameters() - folded.num_parameters() == O * (H + 1) + V * (O - H) == 10_688
logits = wide(ids).logits.reshape(-1, V)
assert len(logits) == 384 and np.linalg.matrix_rank(logits) == H == 16

# %%
# What a low rank does not forbid
# -------------------------------
# Does a head of rank 17 have to get words wrong? No. Put any number of words on a circle, in a plane, and let each
# context point at its own: the largest logit is always the right word. Rank 2 is enough for 1,000 words. Make the plane
# longer, and the right word's probability comes as near to 1 as one likes.

words = 1_000
angles = 2 * np.pi * np.arange(words) / words
circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
for length in (1e3, 1e6):
    flat = length * circle @ circle.T
    probability = 1 / np.exp(flat - np.diag(flat)[:, None]).sum(axis=1)
    print(f"length {length:9,.0f}: probability of the right word at least {probability.min():.3f}")
assert np.linalg.matrix_rank(circle @ circle.T) == 2
assert np.array_equal(flat.argmax(axis=1), np.arange(words)) and probability.min() > 0.999

# %%
# So who always knows the answer needs no rank. Language is not like that. After "she drinks" there are several answers,
# in proportions that differ from context to context. *Proportions* need rank. If the logits z are to give the
# probabilities p, then z = log p, up to a constant in each row. So the rank of the logits is that of the
# log-probabilities, give or take one (Yang et al. 2018 call the limit the softmax bottleneck).
#
# How many directions have the log-probabilities? That depends on the language, and not only on their rank but on how much
# lies in each. Two made-up languages, both of full rank: in one all directions weigh alike, in the other each weighs 10%
# less than the one before. We keep the best 17 directions (no head of rank 17 can do better in squared error) and ask
# which share of the variance is left over.

left_over = {}
for name, decay in (("all alike", 1.0), ("10% less each", 0.9)):
    log_p = rng.standard_normal((384, 200)) @ np.diag(decay ** np.arange(200)) @ rng.standard_normal((200, 200))
    log_p -= log_p.mean(axis=1, keepdims=True)
    strength = np.linalg.svd(log_p, compute_uv=False) ** 2
    left_over[name] = strength[17:].sum() / strength.sum()
    print(f"{name:14} rank {np.linalg.matrix_rank(log_p)}, rank 17 leaves {left_over[name]:.0%} of the variance")
    assert np.linalg.matrix_rank(log_p) == 199  # a constant in each row is gone
assert left_over["all alike"] > 0.5 and left_over["10% less each"] < 0.03

# %%
# Full rank twice; more than half is out of reach in the one, less than 3% in the other. So "the rank is too low" is half
# an argument. The other half is how much is lost, and only measuring can tell.
#
# Where a bent head gets its rank
# -------------------------------
# GELU acts on each number by itself. Take something simpler first. If the bend were a square, every output would be a
# quadratic in the H numbers of the state. There are not so many of these: for H = 4, one constant, 4 numbers, 10
# products, 15 in all, (H + 1)(H + 2) / 2. The rank stops at 15 however wide O is. A cube stops at 35. GELU is no
# polynomial, and nothing stops it but O.

H, O, N = 4, 64, 400  # noqa: E741
states, score = rng.standard_normal((N, H)), rng.standard_normal((200, O))
dense, bias = rng.standard_normal((O, H)), rng.standard_normal(O)


def rank_with(bend: Callable[[np.ndarray], np.ndarray], scale: float = 1.0) -> int:
    """Of the logits, for pre-activations of this scale, as far as float32 could tell."""
    logits = bend(scale * (states @ dense.T + bias)) @ score.T
    return numerical_rank(np.linalg.svd(logits, compute_uv=False), logits.shape)


ranks = {"none": rank_with(lambda x: x), "square": rank_with(np.square), "cube": rank_with(lambda x: x**3)}
ranks["GELU"] = rank_with(ops.gelu)
print(ranks)
assert ranks == {"none": H + 1, "square": (H + 1) * (H + 2) // 2, "cube": 35, "GELU": O}
assert ranks["square"] == 1 + 4 + 10 == 15 and ranks["cube"] == math.comb(H + 3, 3)

# %%
# But near zero every smooth bend looks like a polynomial: GELU is x / 2 + 0.4 x^2 and then very little. So what the head
# can use depends on how large the numbers before GELU are. At a hundredth of the size, float32 finds 15 directions again,
# the quadratics.

x = np.linspace(-0.1, 0.1, 21)
assert np.abs(ops.gelu(x) - (x / 2 + x**2 / math.sqrt(2 * math.pi))).max() < 1e-5
assert round(1 / math.sqrt(2 * math.pi), 1) == 0.4
by_scale = {scale: rank_with(ops.gelu, scale) for scale in (1.0, 0.1, 0.01)}
print(by_scale)
assert by_scale[1.0] == O > by_scale[0.1] > by_scale[0.01] == 15

# %%
# How large are they? RemBERT's fresh weights have a deviation of 0.02, and the state comes out of a LayerNorm, so its numbers
# are of size 1. A sum of H terms then has 0.02 times the root of H: 0.68. With the same 0.02 a model of H = 48 would have
# 0.14, a head that is nearly straight and must first learn to use the bend. So the lab's models draw their weights larger, by
# the root of 1152 / H: before GELU they all begin with 0.68. Here is the same head at four sizes.

assert [round(0.02 * math.sqrt(width), 2) for width in (1152, 48)] == [0.68, 0.14]
fresh = LabModel(Sizes(V, 16, 48, 2, num_attention_heads=2, output_embedding_size=192, max_position_embeddings=32))
size = np.std(rng.standard_normal((1000, 48)) @ fresh.parameters[f"{DENSE}.weight"].T)
print(f"before GELU in a fresh model with H = 48: {size:.2f}")
assert 0.66 < size < 0.70

figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
for scale, style in ((2.0, "k-"), (0.68, "k--"), (0.14, "k-."), (0.01, "k:")):
    unit = scale * (states @ dense.T + bias) / np.std(states @ dense.T + bias)
    values = np.linalg.svd(ops.gelu(unit) @ score.T, compute_uv=False)[:O]
    axes.semilogy(np.arange(1, O + 1), values / values[0], style, label=f"size {scale}")
for at, name in ((H + 1, "linear"), (15, "quadratic")):
    axes.axvline(at, color="0.8", linewidth=1, zorder=0)
    axes.text(at + 0.5, 3.0, name, color="0.4", fontsize="small")
axes.set(xlabel="singular value number", ylabel="relative to the first", ylim=(1e-11, 20))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, title="before GELU")
plt.show()

# %%
# Trained heads
# -------------
# Now the experiment. 96 contexts, each with its own distribution over 64 words, all directions alike: the hard case. In
# place of an encoder each context has a free vector in R^8, which is learned together with the head. So nothing but the
# head stands in the way. What is left is the divergence from the right distribution, in nats. Three seeds, five widths,
# two heads, and the head of no width at all.

WIDTHS, SEEDS = (4, 8, 16, 32, 64), (0, 1, 2)
H = 8


def fit(head: str, width: int, seed: int) -> dict[str, float]:
    experiment = HeadExperiment(
        head=head, output_embedding_size=width, hidden_size=H, vocab_size=64, contexts=96, steps=500, seed=seed
    )
    return experiment.run(Context())


fitted = {
    (head, width): [fit(head, width, seed) for seed in SEEDS] for head in ("linear", "gelu_ln") for width in WIDTHS
}
without = [fit("none", H, seed) for seed in SEEDS]
kl = {key: np.array([run["kl"] for run in runs]) for key, runs in fitted.items()}
rank = {key: {int(run["rank"]) for run in runs} for key, runs in fitted.items()}

print(f"{'':10}" + "".join(f"{'O = ' + str(width):>16}" for width in WIDTHS))
for head in ("linear", "gelu_ln"):
    cells = (f"{np.median(kl[head, width]):.3f} / {max(rank[head, width])}" for width in WIDTHS)
    print(f"{head:10}" + "".join(f"{cell:>16}" for cell in cells))

figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
for head, marker, face, label in (("linear", "s", "white", "linear"), ("gelu_ln", "o", "black", "GELU + LayerNorm")):
    axes.plot(WIDTHS, [np.median(kl[head, width]) for width in WIDTHS], color="0.5", linewidth=1, zorder=0)
    for seed in SEEDS:
        axes.plot(
            WIDTHS, [kl[head, width][seed] for width in WIDTHS], marker, color="black", markerfacecolor=face,
            markersize=5, label=None if seed else label,
        )  # fmt: skip
axes.axvline(H, color="0.8", linewidth=1, zorder=0)
axes.text(H * 1.03, 0.02, "O = H", color="0.4")
axes.set_xscale("log", base=2)
axes.set_xticks(WIDTHS, WIDTHS)
axes.set(xlabel="O", ylabel="divergence (nats)", ylim=(0, None))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
plt.show()

# %%
# Each dot is a seed. They lie within 0.08 nats of each other, so three often look like one.
#
# * The linear head stops at O = H = 8. From there to 64 its loss moves by less than 0.03 nats, and its rank is 9. No head
#   at all does as well.
# * The bent head goes on. Its rank is O (at 64 it is 63: softmax does not see a constant in each row, so 64 words have 63
#   directions), and its loss falls at every step, to less than an eighth of the linear head's.
# * At O = H and below, the bent head is *worse*, by 0.06 nats or more. LayerNorm takes a direction away, and a bend is no
#   help where there is nothing to gain.
#
# The two heads have nearly the same number of parameters at each width (LayerNorm has 2 O). So it is not a matter of
# parameters.

assert all(rank["linear", width] == {min(width, H) + 1} for width in WIDTHS)
assert all(rank["gelu_ln", width] == {min(width, 63)} for width in WIDTHS)
beyond = np.stack([kl["linear", width] for width in WIDTHS[1:]])
assert np.abs(beyond - [run["kl"] for run in without]).max() < 0.03
assert (np.ptp(beyond, axis=0) < 0.03).all()
bent = np.stack([kl["gelu_ln", width] for width in WIDTHS])
assert (np.diff(bent, axis=0) < 0).all() and (bent[-1] < beyond[-1] / 8).all()
assert all((kl["gelu_ln", width] - kl["linear", width] > 0.06).all() for width in WIDTHS[:2])
spread = max(float(np.ptp(values)) for values in kl.values())
print(f"largest spread over the seeds: {spread:.3f} nats")
assert spread < 0.08

# %%
# The same at full size
# ---------------------
# ``minirembert lab run 0b --profile lesson`` does it with H = 16, 256 words and 384 contexts, eight seeds, and a rule that was
# written before: with a linear head O = 4 H and 16 H may change the divergence by less than 0.05 nats and add no rank; with
# the bent head the divergence has to fall at both steps, and the rank to pass H + 1. The result comes with the package. It
# was judged again when it was loaded.

claim = load(COMMITTED / "lesson", find("0b"))
print(claim.judgement.verdict)
change = {finding.what: finding.interval for finding in claim.judgement.findings}
for what, interval in change.items():
    print(f"{what:40} {interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}], {interval.n} seeds")

# %%
# It is shown. A linear head sixteen times as wide as H changes the divergence by less than 0.003 nats. The bent one takes off
# 0.51 nats from H to 4 H and 0.28 more from there to 16 H, where its logits have rank 255.

assert claim.judgement.verdict == SHOWN
assert all(abs(end) < 0.003 for width in ("4H", "16H") for end in change[f"linear, O = {width} minus H: KL"][-2:])
assert round(change["gelu_ln, O = 4H minus H: KL"].mean, 2) == -0.51
assert round(change["gelu_ln, O = 16H minus 4H: KL"].mean, 2) == -0.28
assert {run["rank"] for run in claim.runs["gelu_ln 16H"].values()} == {255}

# %%
# What follows for the paper
# --------------------------
# If the head is linear, as footnote 3 says, then O = 3072 over H = 768 adds no room, and the gain of its Table 4 has to
# come from somewhere else, such as a training that goes better with two matrices. If the head is the released one, it
# adds room, up to O directions. The paper does not say which of the two explains its table, because no table has both
# heads. The experiment above says what is *possible*. It does not say what a language model makes of it: its states are
# not free, and how much of a language lies beyond the first 769 directions nobody has measured here.
#
# Exercises
# ---------
# 1. Give the experiment a surer teacher, ``spread=4``, then an unsure one, ``spread=0.5``. Where does the bottleneck hurt
#    more, and why does the circle above not help? (Hint: how many words share most of the probability?)
# 2. Is it GELU or LayerNorm? The lab has no head with one of them alone. Chapter 6 has (``hidden_act="linear"``). What
#    would you expect of its trained loss, from its rank alone?
# 3. Fold the head of RemBERT's size: with ``Sizes(head="linear")``, how many parameters are beyond a plain V x H matrix,
#    and how many FLOPs does a masked position pay for them? (Hint: ``minirembert ledger``.)
#
# Next: ``15_coupled_against_decoupled.py``.
