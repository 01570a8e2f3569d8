"""
13. The embedding budget
========================

Chapter 1 counted one model. This one asks in general: what does it cost to read a vocabulary, and what does it cost to
score one? A price has three parts, parameters, work and memory, and they do not go together. A matrix may double the first
and leave the second as it was. Who compares models "of equal size" should say which size.

Nothing is trained. Read beside it: ``minirembert/lab/sizes.py`` (a model as data), ``ledger.py`` (what it costs) and
``conventions.py`` (what is counted). On the command line the same is ``minirembert ledger``; ``minirembert ledger --page
page.html`` makes a page with sliders.
"""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

from minirembert.lab.claims.profiles import PROFILES
from minirembert.lab.conventions import FINETUNING, FOOTNOTE_11, HUGGING_FACE, PAPER, PHASES, PRETRAINING, Phase
from minirembert.lab.ledger import flops, masked_positions, memory, parameters, total
from minirembert.lab.model import LabModel
from minirembert.lab.paper import ROWS, Row
from minirembert.lab.sizes import Sizes
from minirembert.lab.world import build_corpus

S = 512
MASKED = masked_positions(S)
assert MASKED == 77

# %%
# A model as data
# ---------------
# ``Sizes`` holds the numbers that decide what a model costs. ``tied`` is the switch of this project: with it one matrix
# reads the vocabulary *and* scores it. ``parameters`` lists the components, ``total`` adds them. Here is the baseline of
# the paper's experiments, and its untied twin of the same widths.

coupled = Sizes(120_000, 768, 768, 12, tied=True, square_projection=False)
untied = replace(coupled, tied=False, output_embedding_size=768)

for phase in PHASES:
    print(f"{phase:26}{'coupled':>14}{'untied':>14}")
    for component, count in parameters(untied, phase).items():
        if count:
            print(f"  {component:24}{parameters(coupled, phase)[component]:14,}{count:14,}")

# %%
# Does the ledger tell the truth about a coupled model? RemBERT's classes have none, so we ask the lab's: build both,
# count the arrays.

small = Sizes(500, 16, 48, 3, num_attention_heads=3, tied=True)
for sizes in (small, replace(small, tied=False, output_embedding_size=96), replace(small, head="linear")):
    assert LabModel(sizes).num_parameters() == total(sizes, PRETRAINING)

# %%
# What doubles when one unties
# ----------------------------
# Untying adds one matrix, V x H = 92,160,000 parameters, and only in pre-training. At fine-tuning the two models have the
# same arrays.
#
# And the work? It does not change at all. The coupled model scores with a matrix of the same shape; that the matrix is
# also used for reading saves no product. So tying saves memory and no time. In AdamW's hands a parameter takes 16 bytes:
# weight, gradient and two moments, in float32. For this matrix that is 1.5 GB.

added = total(untied, PRETRAINING) - total(coupled, PRETRAINING)
assert added == 120_000 * 768 == 92_160_000
assert total(untied, FINETUNING) == total(coupled, FINETUNING)
for phase in PHASES:
    assert flops(untied, phase, S, MASKED if phase == PRETRAINING else None) == flops(
        coupled, phase, S, MASKED if phase == PRETRAINING else None
    )


def bytes_kept(sizes: Sizes, phase: Phase, scored: int = MASKED, **settings: str) -> int:
    """By weights, gradients and AdamW; the logits are another matter."""
    kept = memory(sizes, phase, 1, S, scored, **settings)
    return sum(kept.values()) - kept["logits"]


more = bytes_kept(untied, PRETRAINING) - bytes_kept(coupled, PRETRAINING)
assert more == 16 * added and round(more / 1e9, 1) == 1.5

# %%
# When is half of a model its embedding?
# --------------------------------------
# A block has 12 H^2 parameters in its matrices: 4 in attention, 8 in the feed-forward part. L of them weigh as much as a
# V x H embedding if V H = 12 L H^2, or
#
#     V = 12 L H.
#
# That is all one needs to remember. For a model of BERT Base's size it says 110,592 pieces, and the exact count, with
# biases and positions, 112,033. A vocabulary for a hundred languages has 120,000 or 250,000. At RemBERT's H and L it
# would take 444,453. Large models outgrow the problem, because their blocks grow with H squared.


def share(V: int, H: int, L: int) -> float:
    """Of the embedding in a coupled model, at fine-tuning."""
    sizes = Sizes(V, H, H, L, tied=True, square_projection=False)
    return parameters(sizes, FINETUNING)["input embedding"] / total(sizes, FINETUNING)


exact_half = {(768, 12): 112_033, (1152, 32): 444_453}
for (H, L), V in exact_half.items():
    assert share(V - 1, H, L) < 0.5 <= share(V, H, L) and abs(12 * L * H / V - 1) < 0.02
assert 12 * 12 * 768 == 110_592

published = [row for row in ROWS if row.tables == (1,)]
figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
vocabularies = np.geomspace(5_000, 1_000_000, 60).astype(int).tolist()
for (H, L), style in zip(((768, 12), (1024, 24), (1152, 32)), ("k-", "k--", "k:"), strict=True):
    axes.semilogx(vocabularies, [100 * share(V, H, L) for V in vocabularies], style, label=f"H {H}, L {L}")
for row in published:
    sizes = row.sizes
    at = 100 * share(sizes.vocab_size, sizes.hidden_size, sizes.num_hidden_layers)
    axes.plot(sizes.vocab_size, at, "ko", markersize=5)
    below = sizes.hidden_size == 1024
    axes.annotate(
        row.name, (sizes.vocab_size, at), xytext=(7, -10) if below else (-6, 4), textcoords="offset points",
        ha="left" if below else "right",
    )  # fmt: skip
axes.axhline(50, color="0.75", linewidth=1)
axes.set(xlabel="V, pieces", ylabel="embedding, % of a coupled model", ylim=(0, 100))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
plt.show()

# %%
# What one unit of width costs
# ----------------------------
# One more unit of E costs V + H parameters, at both times, and 516 more for positions, types and norm. One more unit of O
# costs V + H in pre-training only, and 3 more for norm and bias. A block of the baseline costs 7.1 million, as much as 58
# units of E.
#
# So narrowing E from 768 to 128 saves 77 million, and that buys 11 blocks. This is the exchange of the paper's Table 6:
# 12 blocks become 23, at 177 and 178 million.

unit_of_E = total(Sizes(120_000, 129, 768, 12), FINETUNING) - total(Sizes(120_000, 128, 768, 12), FINETUNING)
outputs = [total(Sizes(120_000, 128, 768, 12, output_embedding_size=width), PRETRAINING) for width in (128, 129)]
positions_and_norm = 512 + 2 + 2  # of the tables of positions and types, and of the LayerNorm, which are E wide too
assert unit_of_E == 120_000 + 768 + positions_and_norm
assert outputs[1] - outputs[0] == 120_000 + 768 + 3
block = total(replace(untied, num_hidden_layers=13), FINETUNING) - total(untied, FINETUNING)
assert round(block / 1e6, 1) == 7.1 and round(block / unit_of_E) == 58

rows = {row.name: row for row in ROWS}
names = ("coupled baseline", "E 128, O 768", "E 128, O 3072", "11 more layers, dropped", "reinvested in L 23")
baseline, narrow, widest, layers, reinvested = (rows[name] for name in names)
saved = baseline.parameters(FINETUNING) - narrow.parameters(FINETUNING)
assert round(saved / 1e6) == 77 and round(saved / block) == 11 == 23 - 12
assert (baseline.printed.finetuning, reinvested.printed.finetuning) == (177, 178)

# %%
# The second price: work
# ----------------------
# Five models of tables 2 to 6, each with both prices: parameters, and FLOPs for a token, forward, at S = 512. In
# pre-training the head runs for the 77 masked positions of a sequence.


def gigaflops(row: Row, phase: Phase, scored: int = MASKED) -> float:
    return sum(flops(row.sizes, phase, S, scored if phase == PRETRAINING else None).values()) / 1e9


table = {name: {phase: (row.millions(phase), gigaflops(row, phase)) for phase in PHASES} for name, row in rows.items()}
print(f"{'':24}{'pre-training':>20}{'fine-tuning':>20}")
for name in names:
    print(f"{name:24}" + "".join(f"{table[name][phase][0]:9}M {table[name][phase][1]:6.3f} GF" for phase in PHASES))

# %%
# * *The narrow input saves no work.* 177 million parameters become 100 million, and the work at fine-tuning stays the
#   same to the third digit, 0.189. A look-up multiplies nothing, however wide its rows.
# * *The wide output costs little work, if only the masked positions are scored.* O = 3072 has 2.4 times the parameters of
#   O = 768 and 1.4 times its work. Were all positions scored, it would be 2.5 times.
# * *Layers cost work at every token.* Eleven more layers, dropped after pre-training, have as many parameters as O = 768,
#   193 and 192 million, and 1.7 times the work. So Table 5 is no fair race, and the output embedding won it all the same.
# * *Reinvesting is not free.* 23 layers instead of 12, at equal parameters, take 1.9 times the work at fine-tuning. Part
#   of Table 6's gain may be bought with that.
#
# The third point makes one claim of the paper stronger, the fourth makes another weaker. The paper counts parameters.

work = {name: {phase: table[name][phase][1] for phase in PHASES} for name in names}
assert {round(work[name][FINETUNING], 3) for name in names[:4]} == {0.189}
assert (baseline.millions(FINETUNING), narrow.millions(FINETUNING)) == (177, 100)
assert round(widest.millions(PRETRAINING) / narrow.millions(PRETRAINING), 1) == 2.4
assert round(work["E 128, O 3072"][PRETRAINING] / work["E 128, O 768"][PRETRAINING], 1) == 1.4
assert round(gigaflops(widest, PRETRAINING, S) / gigaflops(narrow, PRETRAINING, S), 1) == 2.5
assert (layers.millions(PRETRAINING), narrow.millions(PRETRAINING)) == (193, 192)
assert round(work["11 more layers, dropped"][PRETRAINING] / work["E 128, O 768"][PRETRAINING], 1) == 1.7
assert round(work["reinvested in L 23"][FINETUNING] / work["coupled baseline"][FINETUNING], 1) == 1.9

figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
for axes, price, label in zip(panels, (0, 1), ("millions of parameters", "GFLOPs for a token, forward"), strict=True):
    for place, name in enumerate(names):
        learning, using = (table[name][phase][price] for phase in PHASES)
        # hatched: at pre-training; grey: at fine-tuning
        axes.barh(
            place - 0.2,
            learning,
            0.4,
            color="white",
            hatch="///",
            edgecolor="black",
            label=None if place else PHASES[0],
        )
        axes.barh(place + 0.2, using, 0.4, color="0.6", edgecolor="black", label=None if place else PHASES[1])
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
panels[0].set_yticks(range(len(names)), names)
panels[0].invert_yaxis()
panels[0].legend(frameon=False, loc="lower right")
plt.show()

# %%
# The third price: memory
# -----------------------
# RemBERT's 993 million parameters take 15.9 GB in AdamW's hands. What about the logits? A batch of 32 sequences of 512
# pieces, all scored, has 4.1 billion of them: 16.4 GB, more than all the rest together. (And their gradient needs as much
# again.) Scoring the masked positions only leaves 2.5 GB.
#
# Half precision helps the logits only. A parameter in bfloat16 takes 2 bytes, its gradient 2, the two moments 8, and the
# float32 copy of the weight, without which small steps are lost, 4. That is 16 again.

rembert = Sizes()
kept = bytes_kept(rembert, PRETRAINING)
logits = {scored: memory(rembert, PRETRAINING, 32, S, scored)["logits"] for scored in (S, MASKED)}
assert round(kept / 1e9, 1) == 15.9 and kept == 16 * total(rembert, PRETRAINING)
assert round(32 * S * rembert.vocab_size / 1e9, 1) == 4.1
assert round(logits[S] / 1e9, 1) == 16.4 and logits[S] > kept and round(logits[MASKED] / 1e9, 1) == 2.5
assert bytes_kept(rembert, PRETRAINING, dtype="bfloat16") == kept

# %%
# What a count counts
# -------------------
# One model, one phase, and still three answers. Is the pooler in? It is untrained in masked language modelling, and
# RemBERT's 995 million count it, Hugging Face's 993 do not. Is the projection before the output embedding a part of the
# head? Are 177.6 million 177 or 178? The paper cuts in tables 2 to 6 and rounds in Table 13.
#
# ``conventions.py`` makes each of these a value. Under the paper's own for its small models, RemBERT would have 991.

for convention in (HUGGING_FACE, PAPER, FOOTNOTE_11):
    counts = {
        name: total(sizes, PRETRAINING, convention) for name, sizes in (("RemBERT", rembert), ("coupled", coupled))
    }
    print(
        f"{convention.name:20}",
        *(f"{name} {count:11,} -> {convention.millions(count)}" for name, count in counts.items()),
    )
answers = [
    convention.millions(total(rembert, PRETRAINING, convention)) for convention in (HUGGING_FACE, PAPER, FOOTNOTE_11)
]
assert answers == [993, 991, 995]
assert (
    round(total(coupled, PRETRAINING, PAPER) / 1e6, 1) == 177.6
    and PAPER.millions(total(coupled, PRETRAINING, PAPER)) == 177
)

# %%
# A difference of a million is nothing beside 177. But the tables hold rows against each other that differ by one or two,
# and ``minirembert ledger --paper`` prints each under the convention of its table, with a sentence where none fits.
# Chapter 18 audits that.
#
# The lab's budget
# ----------------
# The experiments of the next chapters have H = 48 and four blocks, and each word of a language made for the purpose is a
# piece. The small world has 335 of them. There the coupled embedding is 12% of the model: less than English BERT's 21%,
# far less than mBERT's 52%. Saving on it saves little, and nothing can be said of reinvesting.
#
# So there is a wide world too, in which each concept has seven words. With the seed used here it has 2,291 pieces,
# and the embedding is 48%: not far from the 52% that the paper starts from, at about an 800th of its size.
# ``minirembert/lab/claims/profiles.py`` has both worlds.

lesson = PROFILES["lesson"]
assert lesson.wide_world.synonyms == 7
lab = {}
for world, percent in ((lesson.world, 12), (lesson.wide_world, 48)):
    pieces = len(build_corpus(replace(world, sentences=1, held_out=1), seed=0).pieces)
    sizes = replace(lesson.variant, tied=True).sizes(pieces)
    lab[pieces] = total(sizes, FINETUNING)
    embedding = parameters(sizes, FINETUNING)["input embedding"]
    print(f"{pieces:,} pieces: {embedding:,} of {lab[pieces]:,}")
    assert round(100 * embedding / lab[pieces]) == percent
assert list(lab) == [335, 2291]
assert [row.printed.share for row in published if row.name in ("mBERT", "BERT Base")] == [52, 21]
assert round(100 * share(120_000, 768, 12)) == 52
assert round(total(coupled, FINETUNING) / lab[2291], -2) == 800

# %%
# Exercises
# ---------
# 1. A model with V = 128,000, H = 4096 and L = 32: what share has its embedding when tied, and what share have the two
#    when untied? Would you tie it? (Hint: first by the rule, then with ``share``.)
# 2. Let the output head score every position. From which O on does the work of the head exceed that of all blocks of the
#    12-layer model? And with 77 of 512? (Hint: one unit of O costs 2 (V + H) FLOPs for each scored position.)
# 3. Reinvest at equal *work* instead of equal parameters: which L makes the narrow model as dear at fine-tuning as the
#    coupled baseline? What is left of Table 6? (Hint: look at the first point above before you compute.)
#
# Next: ``14_rank_and_the_output_head.py``, on what a wide output embedding can do at all.
