"""
6. The output head
==================

The encoder ends with one vector of width H for each token. The output head turns it into V scores, one for each piece
of the vocabulary. It is the largest and the most expensive part of RemBERT, and it is the part that is thrown away.
The paper's second idea lives here: because this matrix is *decoupled* from the input embedding, it may have a width O
of its own, and a large O costs nothing at fine-tuning.

Read beside it: ``minirembert/model/output_head.py`` and, in ``minirembert/model/tasks.py``, the class
``RemBertForMaskedLM``. The counts come from ``minirembert/lab/budget.py``.
"""

import math
import tempfile
import warnings
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

from minirembert import RemBertConfig, RemBertForMaskedLM, RemBertForSequenceClassification, RemBertModel
from minirembert.lab.budget import finetuning_parameters, parameter_budget, pretraining_parameters
from minirembert.model.forward_pass import ForwardPass, Parameters
from minirembert.model.output_head import output_head, output_head_shapes
from minirembert.ops import OPS
from minirembert.tape import Forward, Tape

rng = np.random.default_rng(6)

# %%
# Four steps
# ----------
# H -> O, GELU, LayerNorm, O -> V with a bias. Here it is once with the package and once by hand, on N = 5 vectors.

N, H, O, V = 5, 16, 32, 256  # noqa: E741
small = RemBertConfig(
    vocab_size=V, hidden_size=H, num_hidden_layers=2, num_attention_heads=2, intermediate_size=4 * H,
    input_embedding_size=8, output_embedding_size=O, max_position_embeddings=32, bos_token_id=1, eos_token_id=2,
)  # fmt: skip


def random_head(config: RemBertConfig) -> dict[str, np.ndarray]:
    """Parameters of a head in float64, biases and LayerNorm too: nothing is left at a special value."""
    return {name: rng.standard_normal(shape) for name, shape in output_head_shapes(config).items()}


head = random_head(small)
h = rng.standard_normal((N, H))
ops = Forward(OPS)
logits = output_head(ForwardPass(ops, small), Parameters(head), h)

p = {name.removeprefix("cls.predictions."): array for name, array in head.items()}
y = ops.gelu(h @ p["dense.weight"].T + p["dense.bias"])
y = (y - y.mean(axis=-1, keepdims=True)) / y.std(axis=-1, keepdims=True)
y = y * p["LayerNorm.weight"] + p["LayerNorm.bias"]
assert logits.shape == (N, V) and np.allclose(logits, y @ p["decoder.weight"].T + p["decoder.bias"])

# %%
# Decoupled
# ---------
# In BERT and in mBERT the matrix that scores the pieces *is* the input embedding, transposed. RemBERT has two matrices,
# (V, E) for reading and (V, O) for writing, and they learn from different things. A step changes the input rows of
# those pieces only that stand in the batch; it changes the output rows of *all* pieces, since each one takes part in
# the softmax: up if it was the answer, down if not.

model = RemBertForMaskedLM(small, dtype="float64", seed=6)
ids = rng.integers(5, V, (4, 12))
labels = np.where(rng.random(ids.shape) < 0.15, ids, -100)
labels[:, 3] = ids[:, 3]  # at least one in each sentence: without any, a sentence teaches nothing
_, gradients = model.loss_and_gradients(input_ids=ids, labels=labels)

read = np.abs(gradients["rembert.embeddings.word_embeddings.weight"]).sum(axis=-1) > 0
written = np.abs(gradients["cls.predictions.decoder.weight"]).sum(axis=-1) > 0
assert set(np.flatnonzero(read)) == set(ids.ravel()) and written.all()
print(f"rows that learn from this batch: {read.sum()} of {V} in the input embedding, {written.sum()} in the output one")

# %%
# How much a wide head can say: rank
# ----------------------------------
# Put the logits of many contexts below each other: a matrix of contexts x V. Its rank bounds what the head can express,
# however well it is trained. Footnote 3 of the paper says that the projection from H to O is *linear*. Then the logits
# are a linear map of h plus a constant, so their rank is at most H + 1, whatever O is. A larger O adds parameters and
# not a single direction. The released model has GELU and LayerNorm between the two matrices, and there the rank can
# grow up to O. The paper does not compare the two.
#
# We measure random heads in float64 with H = 16, on 400 contexts. Three kinds: two matrices and nothing between them;
# with LayerNorm only (``hidden_act="linear"``); the released one.

contexts = rng.standard_normal((400, H))


def head_logits(kind: str, width: int) -> np.ndarray:
    act = "gelu" if kind == "GELU + LayerNorm" else "linear"
    config = replace(small, output_embedding_size=width, hidden_act=act)
    head = Parameters(random_head(config), "cls.predictions.")
    run = ForwardPass(ops, config)
    if kind == "linear":
        return run.linear(run.linear(contexts, head.at("dense")), head.at("decoder"))
    return output_head(run, Parameters(head.state), contexts)


kinds, widths = ("linear", "LayerNorm only", "GELU + LayerNorm"), (4, 16, 64, 256)
rank = {(kind, width): int(np.linalg.matrix_rank(head_logits(kind, width))) for kind in kinds for width in widths}
print(f"{'rank of the logits':20}" + "".join(f"{'O = ' + str(width):>10}" for width in widths))
for kind in kinds:
    print(f"{kind:20}" + "".join(f"{rank[kind, width]:10}" for width in widths))

for width in widths:
    assert rank["linear", width] == min(width, H) + 1
    assert rank["LayerNorm only", width] <= H + 2
    assert rank["GELU + LayerNorm", width] in (width - 1, width)

# %%
# Three things to see. The linear head stops at 17 = H + 1. LayerNorm alone divides each row by a number of its own.
# That is not linear, and still it adds only one direction, to 18 = H + 2: rows are stretched, but not turned. It is
# GELU that makes rank. And the released head reaches O, not O + 1: LayerNorm takes one direction away (its rows sum to
# zero), and the biases give one back.
#
# Rank is a bound and says nothing about how *much* the further directions carry. So look at the singular values too.

figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
for kind, style in zip(kinds, ("k--", "k:", "k-"), strict=True):
    values = np.linalg.svd(head_logits(kind, 64), compute_uv=False)[:80]
    axes.semilogy(np.arange(1, len(values) + 1), np.maximum(values / values[0], 1e-17), style, label=kind)
axes.axvline(H + 1, color="0.75", linewidth=1)
axes.text(H + 3, 1e-12, f"H + 1 = {H + 1}", color="0.4")
axes.set(
    xlabel="singular value number", ylabel="relative to the first", title="logits of a random head, H = 16, O = 64"
)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, loc="center", bbox_to_anchor=(0.52, 0.6))
plt.show()

# %%
# What it costs
# -------------
# Chapter 1 counted the multiplications of one token in a sequence of S = 512: the decoder alone is 43% of the work.
# But the loss asks for the scores of the masked tokens only, 15% of them. The other rows would be computed, stored and
# never looked at. Leave them out, and the decoder's share falls to 10%. That is a speed-up by 1.6 without a single
# approximation, if time goes with multiplications.

rembert = RemBertConfig()
S, H, I, L = 512, rembert.hidden_size, rembert.intermediate_size, rembert.num_hidden_layers  # noqa: E741
O, V = rembert.output_embedding_size, rembert.vocab_size  # noqa: E741
encoder_work = rembert.input_embedding_size * H + L * (4 * H * H + 2 * H * I + 2 * S * H)
dense_work, decoder_work = H * O, O * V

work = {share: encoder_work + share * (dense_work + decoder_work) for share in (1.0, 0.15)}
for share, total in work.items():
    print(f"{share:4.0%} of the rows: {total / 1e6:4.0f}M products a token, decoder {share * decoder_work / total:.0%}")
assert round(decoder_work / work[1.0], 2) == 0.43 and round(0.15 * decoder_work / work[0.15], 2) == 0.10
assert round(work[1.0] / work[0.15], 1) == 1.6

# %%
# Nothing is lost by it. The model below runs twice on the same batch. ``model.run_forward`` computes all rows;
# ``loss_and_gradients`` picks the labelled rows first (``for_loss_only``). Loss and every gradient agree.

tape = Tape(OPS)
output = model.run_forward(ForwardPass(tape, small), input_ids=ids, labels=labels)
assert output.logits.shape == (4, 12, small.vocab_size)
all_rows = tape.gradients(output.loss, np.ones(()), of=model.parameters)

loss, labelled_rows = model.loss_and_gradients(input_ids=ids, labels=labels)
assert np.isclose(loss, output.loss, rtol=1e-12)
for name, gradient in labelled_rows.items():
    assert np.allclose(gradient, all_rows[name], rtol=1e-9, atol=1e-12), name

# %%
# Thrown away
# -----------
# Scores for a vocabulary are the pre-training task. A classifier or a tagger has no use for them, so the head goes. Of
# RemBERT's 993 million parameters 576 million are left (that includes the pooler, 1 million, which pre-training does
# not have). The 419 million of the head cost nothing from here on. This is why O may be large.

budget = parameter_budget(rembert)
millions = {part: round(parameters / 1e6) for part, parameters in budget.items()}
assert millions == {"input embedding": 65, "blocks": 510, "pooler": 1, "output head": 419}
assert round(pretraining_parameters(rembert) / 1e6) == 993 and round(finetuning_parameters(rembert) / 1e6) == 576

with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.save_pretrained(folder)
    classifier = RemBertForSequenceClassification.from_pretrained(folder, num_labels=3)
for warning in caught:
    print(str(warning.message).replace(folder, "FOLDER"))
assert not any(name.startswith("cls.") for name in classifier.parameters)
assert sum("newly initialised" in str(w.message) for w in caught) == 1
assert sum("cls.predictions" in str(w.message) for w in caught) == 1

# %%
# No head, no filled masks
# ------------------------
# ``google/rembert`` on the hub is the model *after* this step: it has no head, as its model card says. Load it as a
# masked language model and the head is random. It fills masks all the same, with noise. Here is the experiment in
# small: one encoder without a head, two random heads. They agree about as often as two dice with V = 256 sides, and
# their loss is that of guessing, ln V. So read the warning before reading the predictions.

V = small.vocab_size
ids = rng.integers(5, V, (64, 24))
with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    RemBertModel(small, seed=6).save_pretrained(folder)
    first, second = (RemBertForMaskedLM.from_pretrained(folder, seed=seed) for seed in (1, 2))
assert "newly initialised" in str(caught[0].message)
assert np.array_equal(first(ids).logits.shape, (64, 24, V))
agreement = (first(ids).logits.argmax(axis=-1) == second(ids).logits.argmax(axis=-1)).mean()
guessing = first.loss(input_ids=ids, labels=ids)
print(f"the two heads agree on {agreement:.1%} of the tokens; loss {guessing:.3f}, ln V {math.log(V):.3f}")
assert agreement < 0.05 and abs(guessing - math.log(V)) < 0.1

# %%
# Exercises
# ---------
# 1. Draw the singular values for a *trained* head (the model of ``08_pretraining.py``), on contexts that it computes
#    itself. How many would you keep? *Hint:* ``matrix_rank`` *has a tolerance, and in float32 you must choose it.*
# 2. Would ReLU do as well as GELU? And tanh, with small weights and with large ones? *Hint: where is an activation
#    nearly linear?*
# 3. The paper's first experiment ties the two matrices (E = O). Then the word embedding's gradient is a sum of two.
#    Which of the two is larger at the start of training? *Hint: untied, compare the norms in* ``gradients`` *above;
#    how many rows contribute to each?*
#
# Next: ``07_backpropagation_with_the_tape.py``, and ``minirembert/tape.py`` beside it.
