"""
3. The factorized embedding
===========================

The ids of chapter 2 become vectors here. RemBERT does it in two steps: a table with V narrow rows of width E, then one
projection that widens them to H. This chapter shows what that saves, what it gives up, and which rows learn.

Read beside it: ``minirembert/ops/embedding.py``, then ``minirembert/model/factorized_embedding.py``. The second file
has three numbered steps, and they are all of the input side.
"""

import matplotlib.pyplot as plt
import numpy as np

from minirembert import RemBertConfig, RemBertForMaskedLM
from minirembert.lab.budget import parameter_budget
from minirembert.ops.embedding import embedding, embedding_backward

rng = np.random.default_rng(3)
config = RemBertConfig(
    vocab_size=300, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256,
    input_embedding_size=16, output_embedding_size=96, max_position_embeddings=32,
)  # fmt: skip
V, E, H = config.vocab_size, config.input_embedding_size, config.hidden_size
assert (V, E, H) == (300, 16, 64)

# %%
# A look-up is a matrix product
# -----------------------------
# Write each id as a *one-hot* row: V numbers, all 0 but for a 1 at the id. Then the look-up is an ordinary linear map
# without a bias. The product picks the same rows, to the last bit. But it multiplies V x E numbers for each token, and
# nearly all of them by zero. Copying a row moves E numbers. At RemBERT's size that is 64,076,800 against 256.

table = rng.standard_normal((V, E)).astype(np.float32)
ids = np.array([[7, 42, 7], [299, 0, 0]])  # B = 2, S = 3
one_hot = np.eye(V, dtype=np.float32)[ids]  # (B, S, V)

rows, saved = embedding(table, ids)
assert rows.shape == (2, 3, E)
assert np.array_equal(rows, one_hot @ table)
assert RemBertConfig().vocab_size * RemBertConfig().input_embedding_size == 64_076_800
assert RemBertConfig().input_embedding_size == 256

# %%
# An id outside the table is an error. NumPy alone would read id -1 from the end of the table and say nothing.

try:
    embedding(table, np.array([[-1]]))
except IndexError as error:
    print(error)
else:
    raise AssertionError("a negative id must not pass")

# %%
# The gradient of a look-up
# -------------------------
# The gradient of a linear map y = x W is dW = x^T dy. With one-hot rows this says: add each token's dy to the row that
# was read. Here id 7 was read twice and gets two gradients, added. Id 42 and id 299 get one each. All other rows get
# exactly zero, because they had no part in the result.

dy = rng.standard_normal(rows.shape).astype(np.float32)
(dtable,) = embedding_backward(dy, saved)
assert np.allclose(dtable, one_hot.reshape(-1, V).T @ dy.reshape(-1, E), atol=1e-6)
assert np.allclose(dtable[7], dy[0, 0] + dy[0, 2])
assert np.array_equal(dtable[299], dy[1, 0])
assert np.flatnonzero(dtable.any(axis=1)).tolist() == [0, 7, 42, 299]

# %%
# Row 0 got one too. That is the row of [PAD], and it should learn nothing: what fills up a batch is not language. So
# the op knows a ``padding_idx``. Its row is read like any other, and its gradient is set to zero.

_, saved = embedding(table, ids, padding_idx=0)
(dtable,) = embedding_backward(dy, saved)
assert np.flatnonzero(dtable.any(axis=1)).tolist() == [7, 42, 299]

# %%
# Three tables, a LayerNorm, a projection
# ---------------------------------------
# A token's vector is a sum of three rows: what it is, which side of a pair it is on, where it stands. The sum is
# normalised at width E. Only then is it widened to H. Here is the whole input side by hand, and the model beside it.
# We use float64, so that what should be equal is equal to many digits.

model = RemBertForMaskedLM(config, dtype="float64", seed=0)
p = model.parameters
word = p["rembert.embeddings.word_embeddings.weight"]
types = p["rembert.embeddings.token_type_embeddings.weight"]
position = p["rembert.embeddings.position_embeddings.weight"]
widen = p["rembert.encoder.embedding_hidden_mapping_in.weight"]  # stored (out, in) = (H, E)

B, S = 8, 16
frequency = 1 / np.arange(1, V - 4)  # Zipf's law over the pieces 5 to 299
input_ids = rng.choice(np.arange(5, V), size=(B, S), p=frequency / frequency.sum())
input_ids[0, 10:] = config.pad_token_id
attention_mask = (input_ids != config.pad_token_id).astype(np.int64)

e = word[input_ids] + types[0] + position[:S]
e = (e - e.mean(axis=-1, keepdims=True)) / e.std(axis=-1, keepdims=True)  # a fresh LayerNorm has weight 1 and bias 0
by_hand = e @ widen.T

hidden_states = model(input_ids, attention_mask, output_hidden_states=True).hidden_states
assert len(hidden_states) == config.num_hidden_layers + 1 == 3
assert hidden_states[0].shape == (B, S, H)
assert np.allclose(by_hand, hidden_states[0], atol=1e-6)  # not closer: we left out eps

# %%
# So ``hidden_states[0]`` is the *projected* embedding, of width H. The vectors of width E are never returned. If you
# pass ``inputs_embeds`` in place of ids, they take the place of the word rows, and their width is E.
#
# Where the LayerNorm stands matters. Before the projection every token has the same length: the squares of its E
# numbers add up to E = 16. So a piece cannot make itself heard by a long row. After the projection the lengths differ.

assert np.allclose((e * e).sum(axis=-1), E)
after = np.linalg.norm(hidden_states[0], axis=-1)
assert after.max() > 1.2 * after.min()
same = model(inputs_embeds=word[input_ids], attention_mask=attention_mask, output_hidden_states=True).hidden_states
assert np.array_equal(same[0], hidden_states[0])

# %%
# What the factorisation gives up
# -------------------------------
# A full V x H table can hold any V points in H dimensions. The factorised one is a product of a V x E and an E x H
# matrix, so its rank is at most E. All V rows lie in one E-dimensional subspace. Let us look at the rank.

projected_table = word @ widen.T
full_table = rng.standard_normal((V, H))
assert projected_table.shape == full_table.shape == (V, H)
assert np.linalg.matrix_rank(full_table) == H == 64
assert np.linalg.matrix_rank(projected_table) == E == 16

# %%
# In the model, positions and types are added before the projection. They lie in the same subspace. The tokens that
# enter the first block have rank 15, and not even 16: a fresh LayerNorm centres every row, and that costs one
# direction.
#
# One block later the rank is 63. Each head of the attention maps the small subspace in its own way, and the bend in the
# feed-forward half leaves it altogether. So the encoder is not confined to E dimensions. Only its input is. (The one
# direction missing from 64 is again a LayerNorm, this time at width H.)

ranks = [int(np.linalg.matrix_rank(x.reshape(-1, H))) for x in hidden_states]
print("rank of the hidden states:", ranks)
assert ranks == [E - 1, H - 1, H - 1] == [15, 63, 63]

# %%
# Is a low rank a loss? That depends on the table one would have liked to have. The best approximation of rank E keeps
# the E largest singular values. A table of pure noise loses more than half of its squared length. A table in which the
# words share 16 traits, plus a little that is each word's own, loses less than 1%.


def lost_share(wanted: np.ndarray, rank: int) -> float:
    energy = np.linalg.svd(wanted, compute_uv=False) ** 2
    return float(energy[rank:].sum() / energy.sum())


traits = rng.standard_normal((V, 16)) @ rng.standard_normal((16, H)) / 4
with_traits = traits + 0.1 * rng.standard_normal((V, H))
print(f"lost at rank {E}: noise {lost_share(full_table, E):.1%}, shared traits {lost_share(with_traits, E):.1%}")
assert lost_share(full_table, E) > 0.5
assert lost_share(with_traits, E) < 0.01

# %%
# Words do share traits, so a small E is plausible. Our made-up table cannot prove it. The paper reports a price. Against
# its coupled baseline with E = O = 768, the model with E = 128 lost 2.1 points on average, from 62.3 to 60.2, while 77
# of 177 million parameters went away in fine-tuning. That is a trade, not a gift.

printed_average, printed_finetuning = {768: 62.3, 128: 60.2}, {768: 177, 128: 100}
assert round(printed_average[768] - printed_average[128], 1) == 2.1
assert printed_finetuning[768] - printed_finetuning[128] == 77

# %%
# The projection itself is cheap. At RemBERT's size it has 294,912 weights, and each token is multiplied by each of them
# once. That is 0.5% of the parameters on the input side, and less than 2% of the work of a single block.

rembert = RemBertConfig()
projection = rembert.input_embedding_size * rembert.hidden_size
block = 4 * rembert.hidden_size**2 + 2 * rembert.hidden_size * rembert.intermediate_size
assert projection == 294_912
assert round(100 * projection / parameter_budget(rembert)["input embedding"], 1) == 0.5
assert projection / block < 0.02

# %%
# Which rows learn
# ----------------
# Now the gradient of a whole step. We hide every fourth token, and ask the model for it. Look at the two V-row
# matrices: the input table, and the decoder that scores the vocabulary.

hidden = (np.arange(S) % 4 == 1) & (attention_mask == 1)
labels = np.where(hidden, input_ids, -100)
masked_ids = np.where(hidden, 4, input_ids)  # 4 plays the part of [MASK]
_, gradients = model.loss_and_gradients(input_ids=masked_ids, attention_mask=attention_mask, labels=labels)
input_rows = np.linalg.norm(gradients["rembert.embeddings.word_embeddings.weight"], axis=1)
output_rows = np.linalg.norm(gradients["cls.predictions.decoder.weight"], axis=1)

figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 4.6), sharex=True, layout="constrained")
read, target = np.isin(np.arange(V), masked_ids), np.isin(np.arange(V), labels)
for axes, norms, seen, name in (
    (top, input_rows, read, "input table: rows that were read, and zero elsewhere"),
    (bottom, output_rows, target, "decoder: rows that were asked for (black), and all the others (grey)"),
):
    positive = norms > 0
    axes.semilogy(np.flatnonzero(positive & ~seen), norms[positive & ~seen], "o", color="0.7", markersize=3)
    axes.semilogy(np.flatnonzero(positive & seen), norms[positive & seen], "ko", markersize=3)
    axes.set_title(name, loc="left", fontsize="medium")
    axes.set(ylabel="length of gradient", ylim=(2e-4, 3))
    axes.spines[["top", "right"]].set_visible(False)
bottom.set_xlabel("piece, frequent ones first")
plt.show()

print(f"input rows with a gradient: {(input_rows > 0).sum()} of {V}; decoder rows: {(output_rows > 0).sum()} of {V}")
assert set(np.flatnonzero(input_rows)) == set(masked_ids.ravel()) - {config.pad_token_id}
assert (input_rows > 0).mean() < 0.25
assert (output_rows > 0).all()
assert output_rows[target].min() > output_rows[~target].max()
assert input_rows.argmax() == 4

# %%
# Fewer than a quarter of the input rows got a gradient: those that the batch has read, less [PAD]. In the decoder all
# rows got one. The softmax compares every piece with every other, so each step pushes the right piece up and all the
# others down. (The pieces that were asked for get the largest push, in this batch without exception. On the input side
# the lone dot high up on the left is [MASK], which was read at every place that was asked for.)
#
# These are two different lives. A coupled model makes one matrix live both. RemBERT gives each life a matrix, and
# chapter 6 follows the second one.

# %%
# Last, the row of [PAD]. It starts at zero, receives no gradient, and so it stays zero whatever the learning rate. Its
# token is not zero in the model, though: position and type are added, and LayerNorm blows up whatever is there. What
# keeps padding out of the result is the attention mask, and that is the next chapter.

assert not word[config.pad_token_id].any()
for name, parameter in p.items():
    parameter -= 1.0 * gradients[name]  # a step of plain gradient descent, in place
assert not word[config.pad_token_id].any()
assert word[5].any() and np.linalg.norm(hidden_states[0][0, 15]) > 0.1

# %%
# Exercises
# ---------
# 1. Where else could the LayerNorm stand? Write the input side by hand with LayerNorm *after* the projection, and
#    repeat the two measurements: lengths and rank. (Hint: the rank of rows that are centred after a linear map from E
#    dimensions. Then add biases.)
# 2. In ``embedding_backward`` the ids are sorted first. Replace the two numbered steps by ``np.add.at`` in a copy of
#    your own and time both for 4096 ids and V = 10,000. What else does sorting buy? (Hint: the docstring.)
# 3. Give ``position_ids`` of 0 for all tokens. What is the rank of ``hidden_states[0]`` now, and what would it be if
#    the batch held only 5 different pieces? (Hint: count the different rows first.)
#
# Next: ``04_attention.py``, where tokens meet.
