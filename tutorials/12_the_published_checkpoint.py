"""
12. The published checkpoint
============================

The files of ``google/rembert`` hold the model of the paper but for one part, the output embedding. So the best known
RemBERT cannot fill a single mask. This chapter shows how one sees that from the size of a file, what a loader makes of
such a folder, how its numbers are checked against transformers, and how much is lost with the head.

Nothing is downloaded. We make a folder laid out like the published one, with a small model that we train ourselves. Who has
the real one can give it to this script, and it is checked as well:

``python tutorials/12_the_published_checkpoint.py FOLDER``

Read beside it: ``minirembert/checkpoint/folder.py``, and ``from_pretrained`` and ``_load`` in ``minirembert/model/base.py``.
Chapter 6 has the head, chapter 8 the training.
"""

import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

from minirembert import (
    RemBertConfig,
    RemBertForMaskedLM,
    RemBertForSequenceClassification,
    RemBertModel,
    RemBertTokenizer,
)
from minirembert.checkpoint import has_output_head, held, read_tensors, weight_files, write_weights
from minirembert.corpus import write_corpus
from minirembert.data.masked_lm import Language, MaskedLMData
from minirembert.data.text import read_lines
from minirembert.inference import fill_mask
from minirembert.lab.budget import OUTPUT_HEAD, parameter_budget
from minirembert.ops.softmax import softmax
from minirembert.training.optimizer import AdamW, clip_gradients, learning_rate_at
from minirembert.training.pretrain import HELD_OUT_SEED, PretrainSettings, held_out_losses, pretrain

scratch = tempfile.TemporaryDirectory()
work = Path(scratch.name)

# %%
# What the size of a file says
# ----------------------------
# On the hub, ``pytorch_model.bin`` has 2,303,882,157 bytes. The encoder with its pooler has 575,920,384 parameters of 4
# bytes (chapter 1). That leaves 200,621 bytes. 4,096 of them are ``position_ids``, the numbers 0 to 511, a buffer of old
# versions of transformers. The rest, 376 bytes for each of 522 tensors, is what names, a pickle and a zip file cost. The
# output head would be another 1,674,685,680 bytes. It is not there, and one need not open the file to know.

rembert = RemBertConfig()
printed_size = 2_303_882_157
encoder_shapes = RemBertModel.parameter_shapes(rembert)
parameters = sum(math.prod(shape) for shape in encoder_shapes.values())
left = printed_size - 4 * parameters
assert parameters == 575_920_384 and left == 200_621 and 8 * rembert.max_position_embeddings == 4_096
assert len(encoder_shapes) + 1 == 522 and round((left - 4_096) / 522) == 376
assert 4 * parameter_budget(rembert)[OUTPUT_HEAD] == 1_674_685_680 and round(printed_size / 1e9, 1) == 2.3
assert 4 * parameter_budget(rembert)["pooler"] > 20 * left  # so the pooler is there: it would not fit into the rest

# %%
# The model card says so as well: the weights exclude the output embedding. They were made from Google's own checkpoint by
# a program that skips every name with ``output_embedding`` or ``cls`` in it. Fine-tuning misses nothing, since it throws
# the head away (chapter 6). But the documentation's example for ``RemBertForMaskedLM`` loads these files, asks for the capital
# of France, and gets an answer. We shall see what kind of answer.
#
# The same folder, small
# ----------------------
# First we need a model that can fill masks: chapter 8's, with other sentences and half the steps, 1,000.

LANGUAGES = ("en", "es")
files = write_corpus(work / "corpus", 4_000, seed=12, languages=LANGUAGES)
texts = {split: tuple(str(files[split][name].text) for name in LANGUAGES) for split in files}
settings = PretrainSettings(
    out=str(work / "run"), corpus=texts["train"], held_out=texts["validation"], vocab_size=1_100,
    hidden_size=64, num_hidden_layers=1, num_attention_heads=4, intermediate_size=256, input_embedding_size=32,
    output_embedding_size=128, initializer_range=0.08, sequence_length=24, lines_per_sequence=1, batch_size=32,
    steps=1_000, learning_rate=4e-3, evaluate_every=500, checkpoint_every=500, threads=1,
)  # fmt: skip
result = pretrain(settings)
original, tokenizer, V = result.model, result.tokenizer, len(result.tokenizer)

# %%
# Then the folder. ``pytorch_model.bin`` is a zip file with a pickle in it, and a pickle is a program, which Python's own
# reader would run. PyTorch reads it with ``weights_only=True``: then it follows the few instructions that make tensors, and
# refuses the others. Who has the published folder needs torch to read it. This chapter does without torch, so the tensors
# go into ``model.safetensors``: a list of names, shapes and places, then the numbers, and no program. The encoder goes in,
# without the head, with a pooler (fresh, as pre-training has no use for one) and with ``position_ids``.
#
# The configuration gets the oddities of the published one. Probabilities are integers. There are two keys that nobody
# reads, ``embedding_size`` and ``embedding_dropout_prob``. Others are missing, ``architectures`` and
# ``classifier_dropout_prob``.

folder = work / "rembert"
tokenizer.save_pretrained(folder)
published = RemBertModel(original.config, seed=12)
for name, array in published.parameters.items():
    array[...] = original.parameters.get("rembert." + name, array)
positions = {"embeddings.position_ids": np.arange(original.config.max_position_embeddings)[None]}
write_weights(held(positions | published.parameters), folder)

written = original.config.to_dict() | {"attention_probs_dropout_prob": 0, "hidden_dropout_prob": 0}
written |= {"embedding_size": original.config.input_embedding_size, "embedding_dropout_prob": 0}
written = {name: v for name, v in written.items() if name not in ("architectures", "classifier_dropout_prob", "dtype")}
(folder / "config.json").write_text(json.dumps(written, indent=2), encoding="utf-8")

loaded = RemBertConfig.from_pretrained(folder)
assert loaded.classifier_dropout_prob == 0.1  # RemBERT's own, where the file says nothing
assert loaded.extra["embedding_size"] == 32  # a key that nobody reads is kept, and written again

# %%
# What a loader says
# ------------------
# A folder and a class need not fit. What the class has and the folder has not is *newly initialised*: random numbers, to
# be trained before use. What the folder has and the class has not is *not used*. There is a warning for each. The encoder
# alone loads without a word, and ``position_ids`` are dropped in silence, as nobody can miss them.

said = {}
for kind in (RemBertModel, RemBertForSequenceClassification, RemBertForMaskedLM):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kind.from_pretrained(folder)
    said[kind] = [str(warning.message).replace(str(folder), "FOLDER") for warning in caught]
    print(f"{kind.__name__}:", *said[kind] or ["nothing"], sep="\n    ")
assert [len(messages) for messages in said.values()] == [0, 1, 2]
assert "classifier" in said[RemBertForSequenceClassification][0]
made, left_out = said[RemBertForMaskedLM]
assert "cls.predictions.*, 6 tensors" in made and "newly initialised" in made
assert "pooler" in left_out and "not used" in left_out

# %%
# For the second class the warning is as it should be: a classifier *is* new, it is what fine-tuning is for. For the third the
# same words mean that the model is of no use until somebody trains a head. The words cannot know that.
#
# Is it the same model?
# ---------------------
# Two questions. Were the files read right? Then the loaded encoder gives the very bits of the one that we trained. And is
# the code right? Then transformers, which reads the same folder, comes to the same hidden states; but not to the same bits,
# since it adds in another order. How far may two right programs be apart? Ask in two precisions. Rounding shrinks with the
# precision, by eight or nine orders of magnitude from float32 to float64. A mistake stays as large as it was.
#
# The libraries run one after the other, each in a process of its own, and transformers only if it is installed: this chapter
# does without. For the published files each needs a little more memory than the file is large, 2.3 GB.

SENTENCES = ["The doctor drinks water.", "El médico bebe agua."]
PROGRAM = """
import sys
import numpy as np
inputs, out, folder, *dtypes = sys.argv[1:]
ids, mask, states = np.load(inputs)["input_ids"], np.load(inputs)["attention_mask"], {}
"""
LIBRARIES = {
    "minirembert": """
from minirembert import RemBertModel
for dtype in dtypes:
    states[dtype] = RemBertModel.from_pretrained(folder, dtype=dtype)(ids, mask).last_hidden_state
""",
    "transformers": """
import torch
from transformers import RemBertModel
for dtype in dtypes:
    model = RemBertModel.from_pretrained(folder).to(getattr(torch, dtype)).eval()
    with torch.no_grad():
        states[dtype] = model(torch.from_numpy(ids), torch.from_numpy(mask)).last_hidden_state.numpy()
""",
}


def check(folder: Path, dtypes: list[str]) -> None:
    """Compares a folder like google/rembert's with what this chapter says of it, and our outputs with transformers'."""
    shapes = RemBertModel.parameter_shapes(RemBertConfig.from_pretrained(folder))
    tensors = {name.removeprefix("rembert."): tensor for name, tensor in read_tensors(folder).items()}
    size = sum(path.stat().st_size for path in weight_files(folder))
    beside = size - sum(4 * math.prod(shape) for shape in shapes.values())
    print(f"{size:,} bytes of weights, {beside:,} of them beside the encoder's parameters; {len(tensors)} tensors")
    assert all(tensors[name].shape == shape for name, shape in shapes.items())
    assert not has_output_head(folder), "there is an output head: these are other files than the published ones"

    encoding = RemBertTokenizer.from_pretrained(folder)(SENTENCES, padding=True, return_tensors="np")
    np.savez(work / "inputs.npz", **encoding)
    states = {}
    for library, lines in LIBRARIES.items():
        if library == "transformers" and not all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
            print("transformers or torch is not installed: the comparison is skipped")
            return
        arguments = [str(work / "inputs.npz"), str(work / "states.npz"), str(folder), *dtypes]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_HUB_OFFLINE": "1"}
        call = [sys.executable, "-c", PROGRAM + lines + "np.savez(out, **states)", *arguments]
        done = subprocess.run(call, env=environment, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stderr
        states[library] = dict(np.load(work / "states.npz"))
    for dtype in dtypes:
        ours, theirs = states["minirembert"][dtype], states["transformers"][dtype]
        difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
        print(f"{dtype}: hidden states {ours.shape} differ by {difference:.1e} of the largest number")
        assert difference < {"float32": 1e-3, "float64": 1e-12}[dtype]


check(folder, ["float32", "float64"])
if len(sys.argv) == 2 and not sys.argv[1].startswith("-"):
    check(Path(sys.argv[1]), ["float32"])

encoding = tokenizer(SENTENCES, padding=True, return_tensors="np")
before = original(**encoding, output_hidden_states=True).hidden_states[-1]
assert 1e8 < np.finfo("float32").eps / np.finfo("float64").eps < 1e9
assert np.array_equal(RemBertModel.from_pretrained(folder)(**encoding).last_hidden_state, before)

# %%
# Masks filled with noise
# -----------------------
# Now the documentation's example. What does a fresh head say? Its LayerNorm gives vectors of length :math:`\sqrt O`, and the
# rows of its decoder are random with deviation r. So each logit is random with deviation :math:`\sigma = r \sqrt O`. For V
# such numbers the softmax has an entropy of about :math:`\ln V - \sigma^2 / 2`. The loss is about
# :math:`\ln V + \sigma^2 / 2`, worse than no opinion: the head prefers some pieces, and for no reason. For RemBERT
# :math:`\sigma` is 0.82, and these are 12.10 and 12.76, around ln V = 12.43. For ours it is 0.91, and they are 6.59 and
# 7.41, around 7.00.


def noise(config: RemBertConfig) -> tuple[float, float, float, float]:
    """Of a fresh head: the deviation of a logit, the entropy, ln V, the loss."""
    sigma, ln_v = config.initializer_range * math.sqrt(config.output_embedding_size), math.log(config.vocab_size)
    return sigma, ln_v - sigma**2 / 2, ln_v, ln_v + sigma**2 / 2


assert [round(value, 2) for value in noise(rembert)] == [0.82, 12.10, 12.43, 12.76]
assert [round(value, 2) for value in noise(original.config)] == [0.91, 6.59, 7.00, 7.41]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # we have read it
    first, second = (RemBertForMaskedLM.from_pretrained(folder, seed=seed) for seed in (1, 2))


def masked(split: str) -> MaskedLMData:
    lines = [read_lines(files[split][name].text) for name in LANGUAGES]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in lines]
    languages = [Language(*both) for both in zip(LANGUAGES, ids, strict=True)]
    return MaskedLMData(languages, tokenizer, settings.sequence_length, lines_per_sequence=1)


held_out = [(name, batch._asdict()) for name, batch in masked("validation").held_out_batches(32, HELD_OUT_SEED)]
truth = np.concatenate([batch["labels"][batch["labels"] != -100] for _, batch in held_out])


def answers(model: RemBertForMaskedLM) -> np.ndarray:
    """The probabilities of all pieces wherever one is to be guessed in the held-out text: (N, V)."""
    logits = [model(**batch).logits[batch["labels"] != -100] for _, batch in held_out]
    return softmax(np.concatenate(logits).astype(np.float64))[0]


guesses = {}
for name, model in (("original", original), ("seed 1", first), ("seed 2", second)):
    p = answers(model)
    entropy, loss = -(p * np.log(p)).sum(axis=1).mean(), -np.log(p[np.arange(len(truth)), truth]).mean()
    guesses[name] = p.argmax(axis=1)
    print(f"{name:8} entropy {entropy:.2f}, loss {loss:.2f}, right {np.mean(guesses[name] == truth):.1%}")
    if name != "original":
        _, predicted_entropy, _, predicted_loss = noise(original.config)
        assert abs(entropy - predicted_entropy) < 0.1 and abs(loss - predicted_loss) < 0.15
agreement = np.mean(guesses["seed 1"] == guesses["seed 2"])
print(f"the two fresh heads agree on {agreement:.1%} of {len(truth)} masks")
assert agreement < 0.02 and np.mean(guesses["seed 1"] == truth) < 0.02 and np.mean(guesses["original"] == truth) > 0.25

# %%
# The prediction holds. A fresh head is right on less than 2% of the masks, where the original is on more than 25%, and two
# seeds hardly ever agree. That is also a test for a model of which one does not know where its head is from: fill a mask
# twice, with two seeds. If the word changes, it came from the seed.

for name in LANGUAGES:
    for text in read_lines(files["test"][name].text)[:2]:
        words = text.split()
        question = " ".join([*words[: len(words) // 2], tokenizer.mask_token, *words[len(words) // 2 + 1 :]])
        best = [fill_mask(model, tokenizer, question, top=1)[0][0].token for model in (original, first, second)]
        print(f"{question:66} original {best[0]:10} seed 1 {best[1]:10} seed 2 {best[2]}")

# %%
# The encoder is all there
# ------------------------
# Is mask filling lost, then? The head was thrown away, but not the states that it read. So we train a new head on the
# loaded encoder, and nothing else: the optimizer gets the head's six arrays. The control is the same head, with the same
# batches, on an encoder that has learned nothing.

STEPS, EVERY = 400, 40
training = masked("train")
control = RemBertForMaskedLM(original.config, seed=99)
head = [name for name in first.parameters if name.startswith("cls.")]
for name in head:
    control.parameters[name][...] = first.parameters[name]


def train_head(model: RemBertForMaskedLM) -> list[float]:
    """Trains the head alone. Returns the held-out loss before the first step and after every 40."""
    optimizer = AdamW({name: model.parameters[name] for name in head})
    losses = [held_out_losses(model, held_out)["all"]]
    for step in range(STEPS):
        _, gradients = model.loss_and_gradients(**training.batch(32, seed=12, step=step)._asdict())
        gradients = {name: gradients[name] for name in head}
        clip_gradients(gradients, 1.0)
        optimizer.step(gradients, learning_rate_at(step, 4e-3, STEPS // 10, STEPS))
        if (step + 1) % EVERY == 0:
            losses.append(held_out_losses(model, held_out)["all"])
    return losses


with threadpool_limits(1, user_api="blas"):
    curves = {"loaded": train_head(first), "random": train_head(control)}
after = first(**encoding, output_hidden_states=True).hidden_states[-1]
assert np.array_equal(after, before)  # the encoder did not move
frequencies = result.unigram_loss_by_language
back = {name: (frequencies - losses[-1]) / (frequencies - result.held_out_loss) for name, losses in curves.items()}
for name, losses in curves.items():
    print(
        f"{name} encoder: {losses[0]:.2f} -> {losses[-1]:.2f}, {back[name]:.0%} of the way from frequencies to original"
    )
same = np.mean(answers(first).argmax(axis=1) == guesses["original"])
print(f"the new head's first guess is the old one's at {same:.0%} of the masks")

figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
for (name, losses), style in zip(curves.items(), ("k-", "k--"), strict=True):
    axes.plot(np.arange(0, STEPS + 1, EVERY), losses, style, label=f"a new head on the {name} encoder")
levels = (math.log(V), frequencies, result.held_out_loss)
for name, level in zip(("ln V, no opinion", "frequencies of the right language", "original"), levels, strict=True):
    axes.axhline(level, color="0.75", linewidth=1, zorder=0)
    axes.text(STEPS / 4, level - 0.05, name, color="0.4", va="top")
axes.set(xlabel="steps of the head alone", ylabel="held-out loss, nats", xlim=(0, STEPS), ylim=(3, None))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, loc=(0.3, 0.62))
plt.show()

# %%
# The original model is 1.8 nats better than the frequencies of the right language, 5.1. The new head gets more than nine
# tenths of that back, in less than half of the steps. On the random encoder it gets less than a quarter. So what was
# published is what the model knows; what was kept back is how to say it in pieces.
#
# What this does *not* show is that it is as easy at full size. Our head has 150,476 parameters and 1,100 pieces to choose
# from. RemBERT's has 419 million, and with a gradient and AdamW's two means that is 6.7 GB. A row of its decoder learns when
# to speak only from text that has its piece, and there are 250,300. The ways out are Google's own checkpoint, which has the
# output embedding; a head for those pieces that one needs; or, as nearly everybody does, no head, and fine-tuning.

assert abs(frequencies - 5.1) < 0.1 and abs(frequencies - result.held_out_loss - 1.8) < 0.2
assert back["loaded"] > 0.9 and back["random"] < 0.25 and STEPS / settings.steps < 0.5
assert sum(first.parameters[name].size for name in head) == 150_476 and V == 1_100
assert round(parameter_budget(rembert)[OUTPUT_HEAD] / 1e6) == 419
assert round(4 * 4 * parameter_budget(rembert)[OUTPUT_HEAD] / 1e9, 1) == 6.7  # four arrays of four bytes a number

scratch.cleanup()

# %%
# Exercises
# ---------
# 1. The encoder does not move while the head learns. Compute its states once for all batches and train the head on these
#    alone. How much faster is that, and is it the same head? *Hint: a* ``Tape``, *and* ``output_head`` *as in chapter 6.*
# 2. Train the head on English text alone. What happens to the Spanish loss, and to the rows of Spanish pieces?
#    *Hint:* ``held_out_losses`` *gives both languages. A row also learns when to be silent.*
# 3. Can the input embedding serve as the decoder? *Hint: set* ``output_embedding_size`` *to E, copy* ``word_embeddings``
#    *into the decoder, and train the other five arrays. Compare with a decoder that stays random.*
