"""A step is the step: the first steps of pre-training and of fine-tuning, written out in plain NumPy, to the last bit.

The resume tests compare a torn run with a whole one, so what is wrong in both passes there. Here everything that a loop hands
on is computed again from the settings: which lines are read, first weights, each step's batch, its dropout, clipping, rate and
decay. Only the loss's gradient is asked of the model, which other tests hold to the truth.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirembert import RemBertForMaskedLM, RemBertForTokenClassification, RemBertModel, RemBertTokenizer
from minirembert.data.masked_lm import mask_tokens
from minirembert.ops.losses import IGNORE_INDEX
from minirembert.training.finetune import FinetuneSettings, finetune
from minirembert.training.pretrain import PretrainSettings, pretrain

BETA1, BETA2, EPS = 0.9, 0.999, 1e-6  # of AdamW, in the paper's Table 14
RED = ["the red cat sees a dog", "a blue dog sees the cat", "the cat likes a bird", "no bird eats the fish", "a fish"]
ROT = ["der rote kater sieht", "ein blauer hund", "kein vogel frisst den fisch"]


class Step:
    """AdamW with clipping, as its docstring has it: state and one step."""

    def __init__(self, weights: dict[str, Any], weight_decay: float, clip: float) -> None:
        self.weights = {name: array.copy() for name, array in weights.items()}
        self.m, self.v = ({name: np.zeros_like(array) for name, array in weights.items()} for _ in range(2))
        self.weight_decay, self.clip, self.count = weight_decay, clip, 0

    def __call__(self, gradients: dict[str, Any], rate: float) -> float:
        """Changes the weights, and returns the norm of the gradient before it was clipped."""
        self.count += 1
        norm = math.sqrt(sum(float(np.vdot(g, g)) for g in gradients.values()))
        for name, p in self.weights.items():
            g = gradients[name] * (self.clip / norm) if norm > self.clip else gradients[name]
            self.m[name] = self.m[name] * BETA1 + (1 - BETA1) * g
            self.v[name] = self.v[name] * BETA2 + (1 - BETA2) * (g * g)
            root = np.sqrt(self.v[name]) * (1 / math.sqrt(1 - BETA2**self.count)) + EPS
            update = self.m[name] / root * (rate / (1 - BETA1**self.count))
            if p.ndim > 1:  # matrices decay; biases and LayerNorms do not
                update = update + (rate * self.weight_decay) * p
            self.weights[name] = p - update
        return norm


def fresh(shapes: dict[str, tuple[int, ...]], deviation: float, seed: int, pad: int) -> dict[str, Any]:
    """First weights: drawn in the order of the forward pass, biases 0, LayerNorms the identity, the padding row 0."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes.items():
        if name.endswith("bias"):
            weights[name] = np.zeros(shape, np.float32)
        elif "LayerNorm" in name:
            weights[name] = np.ones(shape, np.float32)
        else:
            weights[name] = rng.standard_normal(shape, np.float32) * np.float32(deviation)
        if name.endswith("word_embeddings.weight"):
            weights[name][pad] = 0
    return weights


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def quietly(text: str) -> None:
    pass


# --- pre-training -----------------------------------------------------------------------------------------------------

SIZES = {
    "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
    "input_embedding_size": 4, "output_embedding_size": 10, "sequence_length": 12, "held_out_every": 7,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two languages of lines that are all different, with another number of lines each."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, lines, times in (("a", RED, 9), ("b", ROT, 4)):
        text = "\n".join(f"{line} {'fish ' * i}".strip() for i in range(times) for line in lines)
        (folder / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    return str(folder / "a.txt"), str(folder / "b.txt")


def pretraining_batch(
    lines: list[list[list[int]]], tokenizer: RemBertTokenizer, settings: PretrainSettings, step: int
) -> dict[str, Any]:
    """The batch of one step: language by share ** alpha, lines from a random one on, as many as fit or as are allowed."""
    rng = np.random.default_rng([settings.seed, step])
    weights = np.array([len(language) for language in lines], float) / sum(map(len, lines))
    weights = weights**settings.alpha
    rows = []
    for number in rng.choice(len(lines), settings.batch_size, p=weights / weights.sum()):
        language = lines[number]
        first = int(rng.integers(len(language)))
        most = settings.lines_per_sequence or len(language)
        chosen = [language[(first + i) % len(language)] for i in range(most)]
        tokens = [token for line in chosen for token in line][: settings.sequence_length - 2]
        rows.append([tokenizer.cls_token_id, *tokens, tokenizer.sep_token_id])
    width = max(map(len, rows))
    ids = np.array([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows])
    attention_mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    input_ids, labels = mask_tokens(ids, tokenizer, rng)
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seed": 5, "clip": 0.05, "weight_decay": 0.3, "warmup": 1},
        {"dropout": 0.25, "alpha": 0.0, "lines_per_sequence": 1, "initializer_range": 0.4, "learning_rate": 3e-2},
        {"dropout": 0.25, "seed": 3, "clip": 1e6, "warmup": 0, "held_out_every": 3, "batch_size": 3},
    ],
)
def test_the_steps_of_pretraining(tmp_path: Path, corpus: tuple[str, str], changes: dict[str, Any]) -> None:
    settings = PretrainSettings(
        out=str(tmp_path / "run"), corpus=corpus, **{**SIZES, "steps": 4, "warmup": 2, "batch_size": 5, **changes}
    )
    result = pretrain(settings, say=quietly)

    tokenizer = RemBertTokenizer.from_pretrained(tmp_path / "run" / "tokenizer")
    every = settings.held_out_every
    texts = [Path(file).read_text(encoding="utf-8").splitlines() for file in corpus]
    read = [[line for number, line in enumerate(text, start=1) if number % every] for text in texts]
    lines = [[tokenizer.encode(line, add_special_tokens=False) for line in text] for text in read]
    config = result.model.config
    shapes = RemBertForMaskedLM.parameter_shapes(config)
    model = RemBertForMaskedLM(config)
    step = Step(
        fresh(shapes, settings.initializer_range, settings.seed, tokenizer.pad_token_id),
        settings.weight_decay, settings.clip,
    )  # fmt: skip
    norms = []
    for number in range(settings.steps):
        model.parameters = {name: array.copy() for name, array in step.weights.items()}
        seed = settings.seed * 2**32 + number if settings.dropout else None
        batch = pretraining_batch(lines, tokenizer, settings, number)
        loss, gradients = model.loss_and_gradients(**batch, dropout_seed=seed)
        assert settings.warmup is not None
        if number < settings.warmup:
            rate = settings.learning_rate * (number + 1) / settings.warmup
        else:
            rate = settings.learning_rate * (settings.steps - number) / (settings.steps - settings.warmup)
        norms.append(step(gradients, rate))

    for name, array in step.weights.items():
        np.testing.assert_array_equal(result.model.parameters[name], array, err_msg=name)
    (last,) = (record for record in records(tmp_path / "run") if "loss" in record)
    assert (last["step"], last["loss"], last["learning_rate"]) == (settings.steps, loss, rate)
    assert last["gradient_norm"] == norms[-1]
    if settings.clip != 1:  # both sides of the limit are tried
        assert (min(norms) > settings.clip) == (settings.clip < 1)


def test_what_is_held_out_is_not_read(tmp_path: Path, corpus: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every N-th line of each file is held out, the rest is trained on; together they are the file, and no line is both."""
    seen: dict[str, list[str]] = {"train": [], "loss": []}

    def noted(where: str, method: Any) -> Any:
        def call(self: Any, *, input_ids: Any, labels: Any, **rest: Any) -> Any:
            whole = np.where(labels != IGNORE_INDEX, labels, input_ids)
            tokenizer = RemBertTokenizer.from_pretrained(tmp_path / "run" / "tokenizer")
            seen[where] += [tokenizer.decode(row, skip_special_tokens=True) for row in whole]
            return method(self, input_ids=input_ids, labels=labels, **rest)

        return call

    for where, name in (("train", "loss_and_gradients"), ("loss", "loss")):
        monkeypatch.setattr(RemBertForMaskedLM, name, noted(where, getattr(RemBertForMaskedLM, name)))
    settings = PretrainSettings(
        out=str(tmp_path / "run"), corpus=corpus, lines_per_sequence=1,
        **{**SIZES, "held_out_every": 3, "vocab_size": 45, "sequence_length": 48, "steps": 60, "batch_size": 8},
    )  # fmt: skip
    pretrain(settings, say=quietly)
    lines = [line for file in corpus for line in Path(file).read_text(encoding="utf-8").splitlines()]
    held_out = {
        line for file in corpus for line in Path(file).read_text(encoding="utf-8").splitlines()[2::3]
    }  # the 3rd, 6th, ...
    assert len(set(lines)) == len(lines), "or a line could stand on both sides"
    assert {*seen["loss"]} == held_out
    assert {*seen["train"]} == {*lines} - held_out


def test_held_out_files_are_another_text(tmp_path: Path, corpus: tuple[str, str]) -> None:
    """With files of their own, every line of the corpus is trained on: what is then held out changes no weight."""
    other = tmp_path / "a.txt"
    other.write_text("a dog\nthe fish\n", encoding="utf-8")
    runs = []
    for name, held_out in (("one", (corpus[0],)), ("two", (str(other),))):
        settings = PretrainSettings(
            out=str(tmp_path / name), corpus=corpus[:1], held_out=held_out, **{**SIZES, "vocab_size": 30}, steps=2
        )  # fmt: skip
        runs.append(pretrain(settings, say=quietly))
    for name, array in runs[0].model.parameters.items():
        np.testing.assert_array_equal(array, runs[1].model.parameters[name])
    assert runs[0].held_out_loss != runs[1].held_out_loss


def test_held_out_loss_by_hand(tmp_path: Path, corpus: tuple[str, str]) -> None:
    """Each masked token counts once, whatever the length of its sequence or batch; every language has a mean of its own."""
    settings = PretrainSettings(
        out=str(tmp_path / "run"), corpus=corpus, **{**SIZES, "held_out_every": 2}, steps=1, batch_size=2
    )
    result = pretrain(settings, say=quietly)
    losses: dict[str, list[float]] = {}
    tokens: dict[str, list[int]] = {}
    for number, file in enumerate(corpus):
        lines = Path(file).read_text(encoding="utf-8").splitlines()[1::2]
        encoded = [result.tokenizer.encode(line, add_special_tokens=False) for line in lines]
        rng = np.random.default_rng([1, number])  # the masks of held-out text are the same in every run
        room, blocks = settings.sequence_length - 2, [[]]  # type: ignore[var-annotated]
        for line in encoded:
            if blocks[-1] and len(blocks[-1]) + len(line) > room:
                blocks.append([])
            blocks[-1] += line
            if len(blocks[-1]) >= room:
                blocks[-1] = blocks[-1][:room]
                blocks.append([])
        blocks = [block for block in blocks if block]
        name = Path(file).stem
        losses[name], tokens[name] = [], []
        for first in range(0, len(blocks), settings.batch_size):
            rows = [
                [result.tokenizer.cls_token_id, *block, result.tokenizer.sep_token_id]
                for block in blocks[first : first + settings.batch_size]
            ]
            width = max(map(len, rows))
            ids = np.array([row + [result.tokenizer.pad_token_id] * (width - len(row)) for row in rows])
            mask = (np.arange(width) < np.array([[len(row)] for row in rows])).astype(np.int64)
            inputs, labels = mask_tokens(ids, result.tokenizer, rng)
            logits = result.model(inputs, attention_mask=mask).logits.astype(np.float64)
            chosen = labels != IGNORE_INDEX
            scores = logits[chosen] - logits[chosen].max(axis=-1, keepdims=True)
            log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
            losses[name] += (-log_p[np.arange(chosen.sum()), labels[chosen]]).tolist()
            tokens[name] += labels[chosen].tolist()
    close = {"rtol": 1e-5, "atol": 0}  # float32 logits of about 10, by way of a log-softmax
    for name in losses:
        np.testing.assert_allclose(result.held_out_loss_by_language[name], np.mean(losses[name]), **close)
    every = losses["a"] + losses["b"]
    np.testing.assert_allclose(result.held_out_loss, np.mean(every), **close)
    assert len(losses["a"]) != len(losses["b"]), "or a mean of means would pass"

    # Without a model: what the training text's frequencies score on the same tokens; each count plus one.
    counts = {}
    for file in corpus:
        lines = Path(file).read_text(encoding="utf-8").splitlines()[0::2]
        encoded = [token for line in lines for token in result.tokenizer.encode(line, add_special_tokens=False)]
        counts[Path(file).stem] = np.bincount(encoded, minlength=len(result.tokenizer))
    overall = counts["a"] + counts["b"] + 1
    expected = -np.log(overall / overall.sum())[tokens["a"] + tokens["b"]].mean()
    np.testing.assert_allclose(result.unigram_loss, expected, rtol=1e-12)  # a mean of a few dozen in float64
    own = [-np.log((counts[name] + 1) / (counts[name] + 1).sum())[tokens[name]] for name in ("a", "b")]
    np.testing.assert_allclose(result.unigram_loss_by_language, np.concatenate(own).mean(), rtol=1e-12)  # the same
    assert result.unigram_loss_by_language != result.unigram_loss


# --- fine-tuning ------------------------------------------------------------------------------------------------------

TAGGED = [
    (("the", "cat", "sees"), ("DET", "NOUN", "VERB")), (("a", "dog"), ("DET", "NOUN")), (("red", "fish"), ("ADJ", "NOUN")),
    (("no", "bird", "eats", "fish"), ("DET", "NOUN", "VERB", "NOUN")), (("dog",), ("NOUN",)),
]  # fmt: skip


def write_tagged(path: Path, sentences: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> str:
    blocks = (
        "".join(
            f"{i}\t{word}\t_\t{tag}" + "\t_" * 6 + "\n" for i, (word, tag) in enumerate(zip(*sentence, strict=True), 1)
        )
        for sentence in sentences
    )
    path.write_text("\n".join(blocks), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory, corpus: tuple[str, str]) -> Path:
    """A model whose LayerNorms have moved away from the identity, and which drops when it is trained."""
    folder = tmp_path_factory.mktemp("pretrained") / "model"
    sizes = {**SIZES, "dropout": 0.2, "learning_rate": 0.05}
    pretrain(PretrainSettings(out=str(folder), corpus=corpus, **sizes, steps=6, batch_size=4), say=quietly)
    return folder


@pytest.mark.filterwarnings("ignore:.*newly initialised")
@pytest.mark.filterwarnings("ignore:.*not used by")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seed": 4, "clip": 0.02, "weight_decay": 0.2, "warmup": 3, "batch_size": 3, "epochs": 3},
        {"clip": 1e6, "warmup": 0, "learning_rate": 2e-2, "max_length": 4},
    ],
)
def test_the_steps_of_fine_tuning(tmp_path: Path, pretrained: Path, changes: dict[str, Any]) -> None:
    train = write_tagged(tmp_path / "train.conllu", TAGGED)
    settings = FinetuneSettings(
        model=str(pretrained), train=train, out=str(tmp_path / "out"),
        **{"epochs": 2, "batch_size": 2, "warmup": 2, **changes},
    )  # fmt: skip
    result = finetune(settings, say=quietly)

    tokenizer = RemBertTokenizer.from_pretrained(pretrained)
    config = result.model.config
    names = ["ADJ", "DET", "NOUN", "VERB"]
    assert config.id2label == dict(enumerate(names)) and config.classifier_dropout_prob > 0
    # The encoder is the saved one. The head is drawn as in a whole fresh model of this seed, of which it is the last matrix.
    shapes = RemBertForTokenClassification.parameter_shapes(config)
    weights = fresh(shapes, config.initializer_range, settings.seed, tokenizer.pad_token_id)
    encoder = RemBertModel.from_pretrained(pretrained).parameters
    weights |= {f"rembert.{name}": array for name, array in encoder.items() if f"rembert.{name}" in weights}
    moved = "rembert.encoder.layer.0.output.LayerNorm.weight"
    assert (weights[moved] != 1).any()

    step = Step(weights, settings.weight_decay, settings.clip)
    model = RemBertForTokenClassification(config)
    per_epoch = math.ceil(len(TAGGED) / settings.batch_size)
    steps = per_epoch * settings.epochs
    longest = settings.max_length or config.max_position_embeddings
    orders, norms = [], []
    for number in range(steps):
        epoch, at = divmod(number, per_epoch)
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(TAGGED))
        orders.append(tuple(order))
        rows, labels = [], []
        for i in order[at * settings.batch_size : (at + 1) * settings.batch_size]:
            ids, tags = [], []
            for word, tag in zip(*TAGGED[i], strict=True):
                pieces = tokenizer.encode(word, add_special_tokens=False)
                ids += pieces
                tags += [names.index(tag)] + [IGNORE_INDEX] * (len(pieces) - 1)
            rows.append([tokenizer.cls_token_id, *ids[: longest - 2], tokenizer.sep_token_id])
            labels.append([IGNORE_INDEX, *tags[: longest - 2], IGNORE_INDEX])
        width = max(map(len, rows))
        model.parameters = {name: array.copy() for name, array in step.weights.items()}
        loss, gradients = model.loss_and_gradients(
            input_ids=np.array([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows]),
            attention_mask=np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
            labels=np.array([row + [IGNORE_INDEX] * (width - len(row)) for row in labels]),
            dropout_seed=settings.seed * 2**32 + number,
        )
        assert settings.warmup is not None
        if number < settings.warmup:
            rate = settings.learning_rate * (number + 1) / settings.warmup
        else:
            rate = settings.learning_rate * (steps - number) / (steps - settings.warmup)
        norms.append(step(gradients, rate))

    for name, array in step.weights.items():
        np.testing.assert_array_equal(result.model.parameters[name], array, err_msg=name)
    last = records(tmp_path / "out")[-1]
    assert (last["step"], last["loss"], last["learning_rate"]) == (steps, loss, rate)
    assert len(set(orders)) > 1, "another order in every epoch"
    if settings.clip != 1:  # both sides of the limit are tried
        assert (min(norms) > settings.clip) == (settings.clip < 1)


def test_baselines_read_the_training_file_and_are_scored_on_the_other(tmp_path: Path, pretrained: Path) -> None:
    """Train and test differ in what is most frequent, in a word's tag and in the words they have."""
    train = write_tagged(
        tmp_path / "train.conllu",
        [(("run", "run", "run"), ("VERB", "VERB", "NOUN")), (("cat", "the"), ("NOUN", "DET")), (("go",), ("VERB",))],
    )
    test = write_tagged(
        tmp_path / "xx.conllu", [(("run", "cat", "new"), ("NOUN", "NOUN", "NOUN")), (("the", "new"), ("DET", "VERB"))]
    )
    settings = FinetuneSettings(str(pretrained), train, str(tmp_path / "tags"), evaluate=(test,), epochs=1)
    (score,) = finetune(settings, say=quietly).scores
    assert (score.language, score.examples) == ("xx", 5)
    assert score.majority_baseline == 1 / 5  # VERB, the most frequent of the training file
    assert score.lookup_baseline == 3 / 5  # run is a VERB there; cat, the; the two new words count as VERB

    rows = {
        "train.tsv": "a cat\tx\na dog\tx\na bird\ty\n",
        "yy.tsv": "the cat\ty\nthe dog\ty\nthe bird\ty\na fish\tx\n",
    }
    for name, text in rows.items():
        (tmp_path / name).write_text("text\tlabel\n" + text, encoding="utf-8")
    settings = FinetuneSettings(
        str(pretrained), str(tmp_path / "train.tsv"), str(tmp_path / "labels"), evaluate=(str(tmp_path / "yy.tsv"),),
        epochs=1,
    )  # fmt: skip
    (score,) = finetune(settings, say=quietly).scores
    assert (score.examples, score.majority_baseline, score.lookup_baseline) == (4, 1 / 4, None)


@pytest.mark.filterwarnings("ignore:.*newly initialised")
def test_a_score_is_the_share_of_right_answers_of_the_saved_model(tmp_path: Path, pretrained: Path) -> None:
    """Computed again, one sentence at a time, from the saved weights and the file."""
    train = write_tagged(tmp_path / "train.conllu", TAGGED)
    sentences = [(("cat",), ("NEW",)), *TAGGED, (("bird", "sees", "no", "fish"), ("NOUN", "VERB", "DET", "NOUN"))]
    test = write_tagged(tmp_path / "xx.conllu", sentences)
    settings = FinetuneSettings(
        str(pretrained), train, str(tmp_path / "out"), evaluate=(test,), epochs=8, learning_rate=1e-2, batch_size=3
    )
    (score,) = finetune(settings, say=quietly).scores
    model = RemBertForTokenClassification.from_pretrained(tmp_path / "out")
    tokenizer = RemBertTokenizer.from_pretrained(tmp_path / "out")
    right = total = 0
    for words, tags in sentences:
        firsts, ids = [], []
        for word in words:
            firsts.append(1 + len(ids))
            ids += tokenizer.encode(word, add_special_tokens=False)
        logits = model([[tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]]).logits[0]
        for first, tag in zip(firsts, tags, strict=True):
            total += 1
            right += model.config.id2label[int(logits[first].argmax())] == tag
    assert score.examples == total
    assert score.accuracy == right / total and 0 < right < total
