"""
2. From text to ids
===================

A model reads integers. This chapter goes from a sentence to the integers, in six languages, with a vocabulary that we
train ourselves. It ends with the question behind the whole project: why does a vocabulary for many
languages have to be so large?

Read beside it: ``minirembert/tokenization/tokenizer.py`` and ``training.py`` in the same folder. The real work is done
by the *sentencepiece* library, as in RemBERT itself. The text comes from ``minirembert/corpus/``, which makes up
sentences and says each of them in six languages. Nothing is downloaded.
"""

import math
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from minirembert import RemBertConfig, RemBertModel, RemBertTokenizer
from minirembert.corpus import LANGUAGES, realize, sample_meanings, write_corpus
from minirembert.tokenization.training import sentence_shares, train_tokenizer

assert LANGUAGES == ("en", "es", "id", "zh", "hi", "eo")  # English, Spanish, Indonesian, Chinese, Hindi, Esperanto
meaning = sample_meanings(1, seed=3)[0]
for language in LANGUAGES:
    print(language, realize(meaning, language).text)

# %%
# A vocabulary of our own
# -----------------------
# We write 2,000 sentences in each language into a temporary folder. Most of them are for training, and a few are held
# out. ``parallel=True`` makes line n say the same thing in every language, which will let us compare languages fairly.
#
# Then SentencePiece's *unigram* trainer learns V = 1600 pieces. It starts from many candidates, gives each a
# probability, and drops again and again those that the text misses least.

workspace = tempfile.TemporaryDirectory()
corpus = write_corpus(Path(workspace.name) / "corpus", 2000, seed=0, parallel=True)
files = [corpus["train"][language].text for language in LANGUAGES]


def train(vocab_size: int, texts: list[Path]) -> RemBertTokenizer:
    return train_tokenizer(texts, vocab_size, Path(workspace.name) / f"tokenizer-{vocab_size}-{len(texts)}")


tokenizer = train(1600, files)
V = tokenizer.vocab_size
assert V == len(tokenizer.get_vocab()) == 1600

sentence = "Anna eats bread, but Anna does not read."
print(tokenizer.tokenize(sentence))

# %%
# Some words are one piece, others are several. The sign ▁ stands for a space, and it belongs to the piece that follows.
# So no space is lost: join the pieces, turn ▁ back into a space, and the text is there again. A word that the training
# text never contained is simply cut into smaller pieces.

assert "".join(tokenizer.tokenize(sentence)).replace("▁", " ") == " " + sentence
assert tokenizer.tokenize("Anna") == ["▁Anna"]
unseen = "zebroid"
assert not any(unseen in file.read_text(encoding="utf-8") for file in files)
assert len(tokenizer.tokenize(unseen)) > 2 and tokenizer.unk_token_id not in tokenizer.encode(unseen)

# %%
# How a word is cut
# -----------------
# Every piece has a score, the logarithm of its probability. Of all the ways to cut a text into pieces, the tokenizer
# takes the one with the largest sum of scores. There are 2^(n-1) ways to cut n characters, but one need not try them.
# The best cut of the first ``end`` characters is a best cut of the first ``start``, followed by one piece. That is the
# Viterbi algorithm, and it is a few lines.

vocabulary, score = tokenizer.get_vocab(), tokenizer.sp_model.get_score


def best_cut(text: str) -> list[str]:
    best: list[tuple[float, list[str]]] = [(0.0, [])]  # best[end]: the sum of scores, and the pieces
    for end in range(1, len(text) + 1):
        last_pieces = [(start, text[start:end]) for start in range(end) if text[start:end] in vocabulary]
        best.append(
            max((best[start][0] + score(vocabulary[piece]), [*best[start][1], piece]) for start, piece in last_pieces)
        )
    return best[-1][1]


held_out = {
    language: corpus["validation"][language].text.read_text(encoding="utf-8").splitlines() for language in LANGUAGES
}
for text in held_out["en"] + held_out["es"] + held_out["hi"]:
    assert best_cut("▁" + text.replace(" ", "▁")) == tokenizer.tokenize(text)
print(best_cut("▁translates"), "of", 2 ** (len("▁translates") - 1), "ways")
assert 2 ** (len("▁translates") - 1) == 1024

# %%
# By hand and by the library, the cuts are the same for every held-out sentence in English, Spanish and Hindi. An
# eleven-character string such as ``▁translates`` could be cut in 1024 ways.
#
# The tokenizer has no idea of languages or of grammar. Its only idea is what is frequent.

# %%
# One text, many spellings
# ------------------------
# Unicode often has several ways to write what a reader takes for the same thing. Before it cuts, SentencePiece
# normalises by NFKC (and a little more). It also collapses white space and strips it at both ends. Accents are kept.

for written, meant in [
    ("Ａｎｎａ", "Anna"),  # full-width letters, from East Asian text
    ("Sofi\u0301a", "Sof\u00eda"),  # i and a combining accent: two characters become one
    ("ﬁsh", "fish"),  # a ligature
    ("，", ","),  # the Chinese comma
    ("①", "1"),
    ("  Anna\u00a0 eats\t", "Anna eats"),  # a no-break space, a tab
]:
    assert tokenizer.encode(written) == tokenizer.encode(meant)
    assert " ".join(unicodedata.normalize("NFKC", written).split()) == meant
assert tokenizer.encode("Sofia") != tokenizer.encode("Sofía")

# %%
# So a decoded text need not be the text that went in. The Chinese comma comes back as an ASCII comma. Apart from that,
# the English, Spanish, Indonesian and Esperanto sentences come back letter for letter.

for language in ("en", "es", "id", "eo"):
    for text in held_out[language]:
        assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text
assert tokenizer.convert_tokens_to_string(tokenizer.tokenize("安娜，")) == "安娜,"

# %%
# Special pieces
# --------------
# Five pieces are not text. [CLS] starts every input, [SEP] ends each side of it, [MASK] hides a word during
# pre-training, [PAD] fills short rows of a batch, and [UNK] stands for what no piece can spell. Here they have the ids
# 0 to 4. In google/rembert they have 0, 312, 2, 313 and 314. Never write such a number into a program; ask the
# tokenizer.

special_names = ("[PAD]", "[CLS]", "[UNK]", "[SEP]", "[MASK]")
assert [vocabulary[name] for name in special_names] == [0, 1, 2, 3, 4]
printed_ids = dict(zip(special_names, (0, 312, 2, 313, 314), strict=True))  # from google/rembert's tokenizer files
rembert = RemBertConfig()
assert [rembert.pad_token_id, rembert.bos_token_id, rembert.eos_token_id] == [
    printed_ids[name] for name in ("[PAD]", "[CLS]", "[SEP]")
]

# %%
# They are found in the raw text first, before SentencePiece sees what is left. Each stretch between them is a text of
# its own, with its own ▁ in front.

print(tokenizer.tokenize("Anna eats[MASK]bread."))
assert tokenizer.tokenize("[MASK]Anna") == ["[MASK]", "▁Anna"]

# %%
# An unknown character does not cost one [UNK] each: neighbours are fused into one. What they were is lost, and the
# decoder can only print a mark.

with_octopus = tokenizer.encode("Anna 🐙🐙🐙 eats")
assert with_octopus.count(tokenizer.unk_token_id) == 1
assert "🐙🐙🐙" in tokenizer.tokenize("Anna 🐙🐙🐙 eats")  # as a token it still has its text; as an id it has not
assert "🐙" not in tokenizer.decode(with_octopus) and "⁇" in tokenizer.decode(with_octopus)

# %%
# Pairs, batches, masks
# ---------------------
# Some tasks compare two texts. Then the input is ``[CLS] A [SEP] B [SEP]``, and the *token type* says which side a
# token is on: 0 up to the first [SEP], 1 after it. A batch is a rectangle of B rows and S columns. Short rows are
# filled up with [PAD], and the *attention mask* says which tokens are real (1) and which are filling (0). Chapter 4
# shows what the model does with that mask.

batch = tokenizer(
    ["Anna eats bread.", "Anna reads."], ["Anna eats.", "Anna."], padding=True, return_tensors="np"
)  # two lists: the first sides and the second sides
for name, array in batch.items():
    print(name, array.tolist(), sep="\n  ")

ids, types, mask = batch.input_ids, batch.token_type_ids, batch.attention_mask
assert ids.shape == types.shape == mask.shape
lengths = mask.sum(axis=1)
assert lengths[0] == ids.shape[1] > lengths[1]
assert (ids[mask == 0] == tokenizer.pad_token_id).all()
for row in range(2):
    first_end, second_end = np.flatnonzero(ids[row] == tokenizer.sep_token_id)
    assert ids[row, 0] == tokenizer.cls_token_id and second_end == lengths[row] - 1
    assert types[row].tolist() == [0] * (first_end + 1) + [1] * (second_end - first_end) + [0] * (mask[row] == 0).sum()

# %%
# An encoding goes into a model as it is. Out comes a vector of width H for each token.

config = RemBertConfig(
    vocab_size=V, hidden_size=48, num_hidden_layers=1, num_attention_heads=4, intermediate_size=96,
    input_embedding_size=16, output_embedding_size=64, pad_token_id=tokenizer.pad_token_id,
)  # fmt: skip
assert RemBertModel(config)(**batch).last_hidden_state.shape == (*ids.shape, 48)

# %%
# Why a shared vocabulary is large
# --------------------------------
# First, languages share little. Which of the 1600 pieces does each language use?

used = {
    language: set().union(*tokenizer(file.read_text(encoding="utf-8").splitlines(), add_special_tokens=False).input_ids)
    for language, file in zip(LANGUAGES, files, strict=True)
}
languages_of = Counter(piece for pieces in used.values() for piece in pieces)
only_one = sum(count == 1 for count in languages_of.values())
everywhere = sum(count == len(LANGUAGES) for count in languages_of.values())
print({language: len(pieces) for language, pieces in used.items()}, "in one:", only_one, "in all:", everywhere)
assert only_one / V > 0.7
assert 0 < everywhere < 20
assert max(len(pieces) for pieces in used.values()) < V / 2

# %%
# More than 70% of the pieces serve one language only. Fewer than 20 serve all six. No language uses even half of V, and
# each of them would be happy with the whole.
#
# Second, scripts differ. English is written with fewer than 60 characters, signs and capital letters included. The same
# sentences in Chinese need more than 500. Each of them wants to be a piece, or it becomes [UNK].

characters = {
    language: len(set(file.read_text(encoding="utf-8"))) for language, file in zip(LANGUAGES, files, strict=True)
}
assert characters["en"] < 60 and characters["zh"] > 500
try:
    train(400, files)
except ValueError as error:
    print(error)
else:
    raise AssertionError("400 pieces should not hold six languages")

# %%
# For English alone, 400 pieces are enough. But such a vocabulary cannot read the others. More than 40% of what it makes
# of Hindi and of Chinese is [UNK].

english = train(400, files[:1])


def unknown_share(by: RemBertTokenizer, language: str) -> float:
    ids = [i for row in by(held_out[language], add_special_tokens=False).input_ids for i in row]
    return ids.count(by.unk_token_id) / len(ids)


assert unknown_share(english, "hi") > 0.4 and unknown_share(english, "zh") > 0.4
assert all(unknown_share(tokenizer, language) < 0.02 for language in LANGUAGES)

# %%
# Third, what a language does not get in pieces it pays in length. *Fertility* is the number of pieces per word. (The
# corpus knows its words, in Chinese too. Punctuation signs count as words here.)


def fertility(by: RemBertTokenizer, language: str) -> float:
    pieces = sum(len(by.tokenize(text)) for text in held_out[language])
    return pieces / corpus["validation"][language].tokens


table = {}
for size, trained in [(800, train(800, files)), (1600, tokenizer), (3200, train(3200, files))]:
    row = table[size] = {language: fertility(trained, language) for language in LANGUAGES}
    print(size, "pieces:", {language: round(value, 2) for language, value in row.items()})

figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
for (size, row), marker, colour in zip(table.items(), "os^", ("0.7", "0.4", "black"), strict=True):
    axes.plot(LANGUAGES, list(row.values()), marker=marker, linestyle="none", color=colour, label=f"V = {size}")
axes.axhline(1, color="0.7", linewidth=1)
axes.set(ylabel="pieces per word", ylim=(0, None))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
plt.show()

for language in LANGUAGES:
    assert table[800][language] > table[1600][language] > table[3200][language]
assert max(table[1600], key=table[1600].__getitem__) == "hi" and min(table[1600], key=table[1600].__getitem__) == "zh"
assert table[1600]["hi"] > 1.5 * table[1600]["zh"]
assert table[3200]["zh"] < 1

# %%
# A larger vocabulary shortens every language. At V = 1600, Hindi needs the most pieces per word and Chinese the fewest,
# and the ratio is more than 1.5. Do not read this as a fact about Hindi. It is a fact about 2,000 sentences, six small
# lexicons and a trainer that was made for much more text. (Chinese even falls below 1 at V = 3200. Without spaces, a
# piece may hold several words.)
#
# The general point stands: a shared V is a budget, and each language wants more of it. A longer input costs more in
# every block, and it fills the 512 positions sooner.
#
# RemBERT's 250,300 pieces are 2,275 for each of its 110 languages. BERT has 30,522 for English alone, 13 times as many.

printed_languages, printed_bert_pieces = 110, 30_522
assert rembert.vocab_size == 250_300 and round(250_300 / printed_languages) == 2275
assert round(printed_bert_pieces / 2275) == 13
assert rembert.max_position_embeddings == 512

# %%
# One more choice hides in the training: how much text of each language the trainer sees. In proportion to what there
# is, a small language would hardly count. RemBERT, and ``train_tokenizer``, raise the numbers of sentences to the power
# 1/2 first. Then 1000 times as many sentences count only 32 times as much.

large, little = sentence_shares([1_000_000, 1_000], alpha=0.5, total=100_000)
assert round(large / little) == round(math.sqrt(1000)) == 32
workspace.cleanup()

# %%
# Exercises
# ---------
# 1. SentencePiece never cuts across a space, and Chinese has none. Which pieces of more than three characters does the
#    vocabulary hold that contain a Chinese character? Are they words? (Hint: look at ``get_vocab()``.)
# 2. Train with ``alpha=1`` and with ``alpha=0`` after cutting the Hindi file to its first 100 lines. What happens to
#    the fertility of Hindi, and to that of English? (Hint: write the shorter file into your own folder.)
# 3. ``[MASK]Anna`` and ``[MASK] Anna`` give the same ids. Why? And why is that good for a model that is to guess the
#    word before "Anna"? (Hint: step 2 in the docstring of ``tokenizer.py``.)
#
# Next: ``03_factorized_embedding.py``, where ids become vectors.
