"""
1. Where the parameters go
==========================

RemBERT has 993 million parameters while it learns and 576 million when it is used. This chapter finds every one of
them. We train nothing and build no large array: parameter counts follow from shapes, and the shapes are in the code.

Open ``minirembert/config.py`` and ``minirembert/lab/budget.py`` beside this. The first gives every size a letter:

=====  ===============================================  ==========
H      hidden size, the width of the encoder            1152
E      input embedding size                             256
O      output embedding size                            1664
I      intermediate size of the feed-forward block      4608
V      vocabulary                                       250,300
L      layers (blocks)                                  32
h, d   attention heads, and the size H / h of each      18, 64
B, S   sequences in a batch, tokens in a sequence
=====  ===============================================  ==========

"The paper" is Chung et al., *Rethinking Embedding Coupling in Pre-trained Language Models*, ICLR 2021
(arXiv 2010.12821). Numbers that we quote from it are marked ``printed`` in the code.
"""

import math

import matplotlib.pyplot as plt

from minirembert import RemBertConfig, RemBertForMaskedLM, RemBertModel
from minirembert.lab.budget import (
    OUTPUT_HEAD,
    count,
    finetuning_parameters,
    parameter_budget,
    pretraining_parameters,
)
from minirembert.model.encoder import block_shapes, encoder_shapes, pooler_shapes
from minirembert.model.output_head import output_head_shapes

rembert = RemBertConfig()  # the defaults are google/rembert's
H, E, V, L = rembert.hidden_size, rembert.input_embedding_size, rembert.vocab_size, rembert.num_hidden_layers
assert (H, E, V, L) == (1152, 256, 250_300, 32)
assert (rembert.output_embedding_size, rembert.intermediate_size) == (1664, 4608)
assert (rembert.num_attention_heads, H // rembert.num_attention_heads) == (18, 64)

# %%
# The budget
# ----------
# Each file in ``minirembert/model/`` has a function that returns the names and shapes of its parameters. The budget
# multiplies and adds, nothing more. ``count`` is one line; read it now.

budget = parameter_budget(rembert)
for part, parameters in budget.items():
    print(f"{part:16} {parameters:13,}")

pretraining, finetuning = pretraining_parameters(rembert), finetuning_parameters(rembert)
print(f"{'pre-training':16} {pretraining:13,}")
print(f"{'fine-tuning':16} {finetuning:13,}")
assert pretraining == 993_263_548 and round(pretraining / 1e6) == 993
assert finetuning == 575_920_384 and round(finetuning / 1e6) == 576
assert budget["blocks"] == 32 * 15_940_224 == 510_087_168

# %%
# Half of the pre-training model is its 32 blocks. They hold 510,087,168 parameters, 15,940,224 each.
#
# Most of the rest is the output head, with 418,671,420. That is 42% of the model. The head maps a hidden state to a
# score for each of the 250,300 pieces of the vocabulary. Only masked language modelling needs these scores. So the head
# is discarded after pre-training, and a pooler of 1,328,256 comes in its place. What goes on to a task has 575,920,384
# parameters.
#
# There is no rounding here. Hugging Face's ``RemBertForMaskedLM`` has 993,263,548 parameters too, and its
# ``RemBertModel`` has 575,920,384. (The released checkpoint has no output head at all. If you load it for mask filling,
# the head is fresh and its answers are noise.)

assert budget[OUTPUT_HEAD] == 418_671_420
assert round(100 * budget[OUTPUT_HEAD] / pretraining) == 42
assert budget["blocks"] / pretraining > 0.5
assert budget["pooler"] == 1_328_256
assert pretraining - budget[OUTPUT_HEAD] + budget["pooler"] == finetuning

# %%
# Do the shapes tell the truth? A small model can be built and counted array by array.

small = RemBertConfig(
    vocab_size=500, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=192,
    input_embedding_size=16, output_embedding_size=96, max_position_embeddings=64,
)  # fmt: skip
assert RemBertForMaskedLM(small).num_parameters() == pretraining_parameters(small)
assert RemBertModel(small).num_parameters() == finetuning_parameters(small)

# %%
# What everybody did before
# -------------------------
# BERT uses one V x H matrix twice: to look up the rows of its input, and to score the vocabulary at its output. The two
# are *coupled* (or tied). With 30 thousand English pieces this matrix is a modest part of the model. With the
# vocabulary of a hundred languages it is half of it. The paper's Table 1 makes this point. We can recompute it.
#
# The shapes of a block and of the pooler serve, since BERT's are the same.


def of_width(hidden: int) -> RemBertConfig:
    return RemBertConfig(hidden_size=hidden, intermediate_size=4 * hidden, num_attention_heads=hidden // 64)


def coupled_model(vocabulary: int, hidden: int, layers: int, positions: int = 512, types: int = 2) -> tuple[int, int]:
    """Parameters of the one V x H matrix, and of the whole BERT-like model around it."""
    tables = (vocabulary + positions + types) * hidden + 2 * hidden  # three tables and a LayerNorm
    blocks, pooler = layers * count(block_shapes(of_width(hidden))), count(pooler_shapes(of_width(hidden)))
    return vocabulary * hidden, tables + blocks + pooler


table_1 = {  # name: (V, H, L, positions, types), then printed: millions of parameters, embedding share in %
    "mBERT": ((119_547, 768, 12), 178, 52),
    "XLM-R Base": ((250_002, 768, 12, 514, 1), 270, 71),
    "XLM-R Large": ((250_002, 1024, 24, 514, 1), 550, 47),
    "BERT Base": ((30_522, 768, 12), 110, 21),
    "BERT Large": ((30_522, 1024, 24), 335, 9),
}
recomputed = {}
for name, (sizes, printed_millions, printed_share) in table_1.items():
    embedding, total = coupled_model(*sizes)
    recomputed[name] = (total / 1e6, 100 * embedding / total)
    print(f"{name:12} {total / 1e6:6.1f}M, {recomputed[name][1]:4.1f}% embedding", end="   ")
    print(f"printed: {printed_millions}M, {printed_share}%")

# %%
# English BERT spends 21% or 9% on its embedding. The multilingual models spend about half or more: mBERT 52%.
#
# Three rows of the table agree with ours. (BERT Base is printed as 110 million; we count 109.5.) The two XLM-R rows do
# not. Their totals, 270 and 550 million, are quoted from the XLM-R paper. Counting gives 278 and 560, and so shares of
# 69% and 46% where the table prints 71% and 47%. The argument stands either way.

for name in ("mBERT", "BERT Base", "BERT Large"):
    _, printed_millions, printed_share = table_1[name]
    assert abs(recomputed[name][0] - printed_millions) < 0.55 and round(recomputed[name][1]) == printed_share
assert round(recomputed["BERT Base"][0], 1) == 109.5
assert [round(x) for x in recomputed["XLM-R Base"]] == [278, 69]
assert [round(x) for x in recomputed["XLM-R Large"]] == [560, 46]

# %%
# Two widths instead of one
# -------------------------
# RemBERT gives the two jobs two matrices. Then their widths need not agree with each other, nor with H:
#
# * the input rows have width E, and one E x H projection widens them. They stay for fine-tuning, so E is small;
# * the output rows have width O. They are thrown away, so O may be large.
#
# What does E = 256 save against E = H? The answer is 225,763,328 parameters, in pre-training and in fine-tuning alike.
# A block has 15.9 million, so that pays for 14 of the 32 blocks.

as_wide_as_hidden = RemBertConfig(input_embedding_size=H)
saved = finetuning_parameters(as_wide_as_hidden) - finetuning
print(f"E = 256 saves {saved:,} parameters, or {saved / count(block_shapes(rembert)):.1f} blocks")
assert saved == 225_763_328
assert round(count(block_shapes(rembert)) / 1e6, 1) == 15.9
assert math.floor(saved / count(block_shapes(rembert))) == 14

# %%
# Compare RemBERT with a coupled model of the same blocks, E = O = H, in a picture. The coupled model is the same size
# at both times. RemBERT is 24% larger while it learns and 28% smaller when it is used. (RemBERT's pooler is too thin
# to draw, and so would be the coupled model's pooler and the small layer that BERT has before its scores.)

blocks = budget["blocks"]
coupled_rest = (V + rembert.max_position_embeddings + rembert.type_vocab_size) * H + 2 * H
coupled_total = blocks + coupled_rest
assert round(100 * (pretraining / coupled_total - 1)) == 24
assert round(100 * (1 - finetuning / coupled_total)) == 28

bars = [
    ("coupled, both times", coupled_rest, blocks, 0),
    ("RemBERT, pre-training", budget["input embedding"], blocks, budget[OUTPUT_HEAD]),
    ("RemBERT, fine-tuning", budget["input embedding"], blocks, 0),
]
figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
styles = [("input side", "0.35", ""), ("blocks", "0.75", ""), ("output head", "white", "///")]
for row, (_, *parts) in enumerate(bars):
    left = 0.0
    for (label, colour, hatch), part in zip(styles, parts, strict=True):
        axes.barh(
            row, part / 1e6, 0.6, left=left, color=colour, hatch=hatch, edgecolor="black", label=None if row else label
        )
        if part:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5} if hatch else None
            ink = "white" if colour == "0.35" else "black"
            axes.text(left + part / 2e6, row, f"{part / 1e6:.0f}", ha="center", va="center", color=ink, bbox=box)
        left += part / 1e6
axes.set_yticks(range(3), [name for name, *_ in bars])
axes.invert_yaxis()
axes.set(xlabel="millions of parameters", xlim=(0, 1050))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
plt.show()

# %%
# The paper's small models
# ------------------------
# The experiments of the paper use 12 layers, H = 768 and V = 120,000, and vary E and O. Here are six of their rows.
# The printed counts leave out pooler, output bias and the H x O projection, and they are cut, not rounded. Under that
# convention all six come out to the digit.

twelve_layers = 12 * count(block_shapes(of_width(768)))
printed = [  # E, O (None: coupled, no matrix of its own), then printed millions: pre-training, fine-tuning
    (768, None, 177, 177), (768, 768, 269, 177), (768, 128, 192, 177), (128, 768, 192, 100), (128, 128, 115, 100),
    (128, 3072, 469, 100),
]  # fmt: skip
for input_width, output_width, printed_pretraining, printed_finetuning in printed:
    projection = 0 if input_width == 768 else input_width * 768
    kept = 120_000 * input_width + projection + twelve_layers
    discarded = 120_000 * (output_width or 0)
    assert (kept + discarded) // 1_000_000 == printed_pretraining
    assert kept // 1_000_000 == printed_finetuning

# %%
# The third and the fourth row are the heart of the paper. Both have 192 million parameters to learn with. The one with
# the wide *input* takes 177 million to the task, the one with the wide *output* takes 100. Their average scores, 60.1
# and 60.2, are a tie. So the narrow input costs nothing in *this* pair.
#
# Read on with care. Against the coupled baseline (62.3) the same narrow model lost 2.1 points. The counts in this
# chapter are exact, but they say what a choice costs and not what it is worth.

printed_average = {"coupled": 62.3, "wide input": 60.1, "wide output": 60.2}
assert round(printed_average["wide output"] - printed_average["wide input"], 1) == 0.1
assert round(printed_average["coupled"] - printed_average["wide output"], 1) == 2.1

# %%
# A number that does not fit
# --------------------------
# The paper says that RemBERT has 995 million parameters in pre-training, and that O = 1536. Both cannot be true.
# Counting encoder, pooler and head, O = 1536 gives 962 million, 33 million too few. One more unit of O costs about a
# quarter of a million. So we can search for the widths that round to 995.

totals = {
    width: sum(parameter_budget(RemBertConfig(output_embedding_size=width)).values()) for width in range(1024, 2049)
}
candidates = [width for width, total in totals.items() if round(total / 1e6) == 995]
print(f"O = 1536: {totals[1536]:,}   O = 1664: {totals[1664]:,}   995 million: {candidates}")
assert round(totals[1536] / 1e6) == 962 and 995 - 962 == 33
assert totals[1537] - totals[1536] == 251_455
assert candidates == [1664, 1665, 1666, 1667]
assert totals[1664] == 994_591_804
assert [width for width in candidates if width % 128 == 0] == [1664]

# %%
# Four widths qualify, and only 1664 is a multiple of 128. It gives 994,591,804. It is also what the configuration of
# the released checkpoint says. So the printed 1536 is most likely a slip, and a shape count found it.

# %%
# What a token costs
# ------------------
# Parameters fill memory; multiplications take time. A weight matrix of shape (out, in) costs out x in
# multiply-additions for each token. An embedding look-up multiplies nothing. Attention adds 2 S H in each block: S
# scores and S weighted values of width d, in all heads together. We take S = 512.

S = 512


def multiply_adds(shapes: dict[str, tuple[int, ...]]) -> int:
    """For one token. Matrices multiply, except the three tables, which are only looked into."""
    return sum(math.prod(s) for name, s in shapes.items() if len(s) == 2 and "_embeddings" not in name)


encoder_cost = multiply_adds(encoder_shapes(rembert)) + L * 2 * S * H
head_cost = multiply_adds(output_head_shapes(rembert))
decoder_cost = V * rembert.output_embedding_size
total_cost = encoder_cost + head_cost
print(f"encoder {encoder_cost / 1e6:.0f}M, head {head_cost / 1e6:.0f}M multiply-additions a token")
assert total_cost == 966_067_712
assert decoder_cost == 416_499_200 and decoder_cost < head_cost
assert round(100 * decoder_cost / total_cost, 1) == 43.1
assert round(2 * total_cost / 1e9, 2) == 1.93  # one multiplication and one addition: 2 floating-point operations

# %%
# One token costs 966,067,712 multiply-additions, or 1.93 billion floating-point operations. The last matrix alone, the
# V x O decoder, does 43.1% of that work.
#
# There is a way out. The loss only asks for masked tokens, about 15% of them: 77 of 512. If the head runs on those
# alone, its share of the work falls to 10%. ``RemBertForMaskedLM.forward`` in ``minirembert/model/tasks.py`` does
# this; look for ``for_loss_only``. It saves memory too. The scores of one sequence of 512 tokens are 513 megabytes in
# float32, those of 77 tokens 77 megabytes.

masked = round(0.15 * S)
head_on_masked = masked / S * head_cost
assert masked == 77
assert round(100 * head_on_masked / (encoder_cost + head_on_masked)) == 10
assert round(S * V * 4 / 1e6) == 513
assert round(masked * V * 4 / 1e6) == 77

# %%
# Exercises
# ---------
# 1. For which E does the factorised input, V E + E H, have *more* parameters than a plain V x H table? (Hint: set them
#    equal and solve for E. Compare the answer with H.)
# 2. You may spend what E = 256 saves on a larger H instead of more blocks, with d = 64 as before. How large can H
#    become? (Hint: loop over ``RemBertConfig(hidden_size=..., num_attention_heads=..., intermediate_size=...)`` and
#    stop where ``finetuning_parameters`` reaches that of ``as_wide_as_hidden``.)
# 3. At which S does attention's 2 S H cost as much as all the weight matrices of a block? (Hint: print
#    ``multiply_adds(block_shapes(rembert))``. Is 512 near it?)
#
# Next: ``02_from_text_to_ids.py``, where V comes from.
