"""Pre-training: text files in, a masked language model out.

from minirembert.training.pretrain import PretrainSettings, pretrain
pretrain(PretrainSettings(out="model", corpus=("en.txt", "zh.txt"), steps=1000))
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from minirembert.config import RemBertConfig
from minirembert.data.masked_lm import Language, MaskedLMData, unigram_losses
from minirembert.data.text import language_names, read_lines
from minirembert.figures import save_loss_curve
from minirembert.model.tasks import RemBertForMaskedLM
from minirembert.ops.losses import IGNORE_INDEX
from minirembert.progress import busy
from minirembert.settings import check_types, make_plain, option
from minirembert.tokenization.auto import AutoTokenizer
from minirembert.tokenization.pretrained import PreTrainedTokenizer
from minirembert.tokenization.tokenizer import RemBertTokenizer
from minirembert.training.loop import BACKEND_HELP, DTYPE_HELP, Schedule, train, training_dtype
from minirembert.training.run_folder import RunFolder

GENERATED_SENTENCES = 10_000
HELD_OUT_SEED = 1  # of the masks on the held-out text: the same for every run, so that losses can be compared


Lines = dict[str, list[str]]  # by language


@dataclass(frozen=True)
class PretrainSettings:
    """Everything that decides the outcome. The sizes make a model that a laptop trains in minutes."""

    out: str = option("folder of the run and its result")
    corpus: tuple[str, ...] = option("text files in UTF-8, one language each; none: the generated corpus", ())
    held_out: tuple[str, ...] = option("text files to measure the loss on; none: lines taken from the corpus", ())
    held_out_every: int = option("without held-out files, each N-th line of the corpus is held out", 20)
    tokenizer: str | None = option("folder of a tokenizer; none: one is trained on the corpus", None)
    vocab_size: int = option("pieces of the tokenizer that is trained", 4000)
    character_coverage: float = option("share of the text whose characters get a piece", 0.9995)
    hidden_size: int = option("H, the width of the encoder", 128)
    num_hidden_layers: int = option("L, the number of blocks", 4)
    num_attention_heads: int = option("h, heads in each block", 4)
    intermediate_size: int = option("I, the width inside a feed-forward block", 512)
    input_embedding_size: int = option("E, the width of the input embedding", 64)
    output_embedding_size: int = option("O, the width of the output embedding", 256)
    dropout: float = option("share of hidden values and attention probabilities dropped", 0.0)
    sequence_length: int = option("tokens in a sequence, [CLS] and [SEP] included", 64)
    lines_per_sequence: int | None = option("lines in a sequence at most (default: as many as fit)", None)
    initializer_range: float = option("standard deviation of the fresh weights; RemBERT's 0.02 is for H = 1152", 0.05)
    batch_size: int = option("sequences in a batch", 32)
    steps: int = option("training steps", 1000)
    learning_rate: float = option("peak learning rate", 2e-3)
    warmup: int | None = option("steps until the peak (default: a tenth of all)", None)
    weight_decay: float = option("AdamW's decay of the matrices", 0.01)
    clip: float = option("largest norm of the gradient", 1.0)
    alpha: float = option("languages are drawn with their share to this power (paper: 0.5)", 0.5)
    seed: int = option("of the weights, batches and masks", 0)
    threads: int = option("threads of a matrix product; more than one pays for wide models, on an idle machine", 1)
    backend: str = option(BACKEND_HELP, "numpy", "NAME")
    dtype: str | None = option(DTYPE_HELP, None, "DTYPE")
    checkpoint_every: int = option("steps between checkpoints", 100)
    evaluate_every: int = option("steps between measurements of the held-out loss", 100)

    def __post_init__(self) -> None:
        make_plain(self)
        check_types(self)
        if self.sequence_length < 3:
            raise ValueError(f"sequence_length must be at least 3 ([CLS], a token, [SEP]), got {self.sequence_length}")
        for name, least in (("vocab_size", 1), ("batch_size", 1), ("held_out_every", 2), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        training_dtype(self.backend, self.dtype)  # complains
        if self.lines_per_sequence is not None and self.lines_per_sequence < 1:
            raise ValueError(f"lines_per_sequence must be at least 1, got {self.lines_per_sequence}")
        if not 0 <= self.alpha < math.inf:  # written so that nan, which compares false, is refused too
            raise ValueError(f"alpha must be at least 0 and finite, got {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")
        if not 0 < self.initializer_range < math.inf:
            raise ValueError(f"initializer_range must be above 0 and finite, got {self.initializer_range}")

    @property
    def schedule(self) -> Schedule:
        """What of these settings concerns the loop; warmup is a tenth of the steps unless it was given."""
        warmup = self.steps // 10 if self.warmup is None else self.warmup
        return Schedule(
            self.steps, self.learning_rate, warmup, self.weight_decay, self.clip,
            self.checkpoint_every, self.evaluate_every, threads=self.threads,
        )  # fmt: skip


@dataclass(frozen=True)
class PretrainResult:
    """What came out. Losses in nats per masked held-out token."""

    model: RemBertForMaskedLM
    tokenizer: PreTrainedTokenizer
    held_out_loss: float
    held_out_loss_by_language: dict[str, float]
    unigram_loss: float  # cross-entropy of the training frequencies on the same tokens
    unigram_loss_by_language: float  # the same, with the frequencies of the token's own language
    unigram_entropy: float  # entropy of these tokens themselves: below this, no model without context can come
    metrics: list[dict[str, Any]]  # every record of the run, as in metrics.jsonl


def pretrain(settings: PretrainSettings, say: Callable[[str], None] = print) -> PretrainResult:
    """Trains a tokenizer (unless one is given) and a model, and writes both to `settings.out`.

    Run again with the same settings, it goes on from the last checkpoint and ends with the same bits. Raises ValueError
    or OSError for input that cannot be used, FileExistsError for an output folder that holds something else, and
    `Interrupted` when asked to stop.
    """
    schedule = settings.schedule  # complains before any work is done, like the next two
    _config(settings, settings.vocab_size)
    if settings.tokenizer is None:
        from minirembert.tokenization.training import check_sizes

        check_sizes(settings.vocab_size, settings.character_coverage)
    lines = _read_corpus(settings) if settings.corpus else None
    with RunFolder(Path(settings.out), _identity(settings)) as folder:
        return _pretrain(settings, schedule, lines, folder, say)


def _pretrain(
    settings: PretrainSettings,
    schedule: Schedule,
    lines: tuple[Lines, Lines] | None,
    folder: RunFolder,
    say: Callable[[str], None],
) -> PretrainResult:
    if folder.latest_step() == schedule.steps:
        say(f"already finished: {folder.path} has all {schedule.steps:,} steps")
    if lines is None:
        settings = _with_generated_corpus(settings, folder.path / "corpus", say)
        lines = _read_corpus(settings)
    train_lines, held_out_lines = lines
    tokenizer = _tokenizer(settings, folder.path, say)
    config = _config(
        settings,
        len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
    )

    with busy("reading the text as pieces"):
        data, held_out_data = (
            MaskedLMData(
                _encode(lines, tokenizer),
                tokenizer,
                settings.sequence_length,
                settings.alpha,
                settings.lines_per_sequence,
            )
            for lines in (train_lines, held_out_lines)
        )
    held_out = [
        (language, batch._asdict())
        for language, batch in held_out_data.held_out_batches(settings.batch_size, HELD_OUT_SEED)
    ]
    labels = np.concatenate([batch["labels"].ravel() for _, batch in held_out])
    labels = labels[labels != IGNORE_INDEX]
    if not len(labels):
        raise ValueError("the held-out text has nothing to guess: all its pieces are special ones, like [UNK]")
    for language in held_out_data.languages:
        if not any((batch["labels"] != IGNORE_INDEX).any() for name, batch in held_out if name == language.name):
            say(f"{language.name}: the held-out text has nothing to guess, so it has no loss of its own")
    unigram_loss, unigram_entropy = unigram_losses(data.languages, labels, len(tokenizer))
    by_language = _unigram_loss_by_language(data.languages, held_out, len(tokenizer))

    dtype = training_dtype(settings.backend, settings.dtype)
    model = RemBertForMaskedLM(config, seed=settings.seed, backend=settings.backend, dtype=dtype)
    tokens = sum(len(line) for language in data.languages for line in language.lines)
    say(
        f"{len(data.languages)} languages, {tokens:,} tokens of {len(tokenizer):,} kinds; "
        f"{model.num_parameters():,} parameters, {sum(np.prod(s) for s in model.head_shapes(config).values()):,} "
        "of them in the output head"
    )

    def evaluate() -> dict[str, float]:
        return {f"held_out_loss_{name}": loss for name, loss in held_out_losses(model, held_out).items()}

    train(
        model,
        lambda step: data.batch(settings.batch_size, settings.seed, step)._asdict(),
        schedule,
        folder,
        evaluate=evaluate,
        dropout_seed=settings.seed if settings.dropout else None,
        title="pre-training",
    )

    with busy("measuring the held-out loss"):
        losses = held_out_losses(model, held_out)
    overall = losses.pop("all")
    model.save_pretrained(folder.path)
    tokenizer.model_max_length = config.max_position_embeddings  # so that truncation=True cuts to what the model takes
    tokenizer.save_pretrained(folder.path)
    save_loss_curve(folder.metrics(), unigram_loss, unigram_entropy, folder.path / "loss.png")
    say(
        f"held-out loss {overall:.3f} nats per masked token "
        f"({', '.join(f'{name} {loss:.3f}' for name, loss in losses.items())})"
    )
    say(
        f"without context, on the same {len(labels):,} tokens: training frequencies score {unigram_loss:.3f}, those of "
        f"the right language {by_language:.3f}; the tokens' own entropy is {unigram_entropy:.3f}"
    )
    say(f"model, tokenizer, metrics.jsonl and loss.png are in {folder.path}")
    return PretrainResult(
        model, tokenizer, overall, losses, unigram_loss, by_language, unigram_entropy, folder.metrics()
    )


def held_out_losses(model: RemBertForMaskedLM, batches: list[tuple[str, dict[str, Any]]]) -> dict[str, float]:
    """Mean loss per masked token: by language, and over "all" tokens. A batch with nothing to guess weighs nothing, and a
    language of such batches is left out.
    """
    total: dict[str, float] = {}
    count: dict[str, int] = {}
    for language, batch in batches:
        masked = int((batch["labels"] != IGNORE_INDEX).sum())
        if not masked:  # its loss is NaN, and NaN times 0 is NaN
            continue
        loss = model.loss(**batch) * masked
        for name in (language, "all"):
            total[name] = total.get(name, 0.0) + loss
            count[name] = count.get(name, 0) + masked
    return {name: total[name] / count[name] for name in total}


def _with_generated_corpus(settings: PretrainSettings, folder: Path, say: Callable[[str], None]) -> PretrainSettings:
    """The same settings with minirembert's own corpus, written to `folder`."""
    from minirembert.corpus import LANGUAGES, write_corpus

    say(f"no corpus given: {GENERATED_SENTENCES:,} generated sentences in each language go to {folder}")
    if not (folder / "corpus.json").is_file():  # written last
        with busy("writing the corpus"):
            write_corpus(folder, GENERATED_SENTENCES, seed=0)
    train, held_out = (
        tuple(str(file) for name in sorted(LANGUAGES) if (file := folder / split / f"{name}.txt").is_file())
        for split in ("train", "validation")
    )
    return replace(settings, corpus=train, held_out=held_out)


def _unigram_loss_by_language(
    train: Sequence[Language], held_out: list[tuple[str, dict[str, Any]]], vocab_size: int
) -> float:
    """What training frequencies score on the held-out labels, each language by its own."""
    total, count = 0.0, 0
    for language in train:
        labels = [batch["labels"][batch["labels"] != IGNORE_INDEX] for name, batch in held_out if name == language.name]
        of_language = np.concatenate([np.empty(0, np.int64), *labels])
        if len(of_language):
            total += unigram_losses([language], of_language, vocab_size)[0] * len(of_language)
            count += len(of_language)
    return total / max(1, count)


def _read_corpus(settings: PretrainSettings) -> tuple[Lines, Lines]:
    """Language -> lines, for training and held out."""
    lines = _read_files(settings.corpus)
    if settings.held_out:
        return lines, _read_files(settings.held_out)
    every = settings.held_out_every
    for name, of_language in lines.items():
        if len(of_language) < every:
            raise ValueError(
                f"{name} has {len(of_language)} lines, too few to hold out every {every}th; "
                "give more text, or held-out files"
            )
    # By line number: where the files are parallel, a held-out sentence is held out in every language.
    held_out = {name: of_language[every - 1 :: every] for name, of_language in lines.items()}
    kept = {name: [line for i, line in enumerate(ls) if i % every != every - 1] for name, ls in lines.items()}
    return kept, held_out


def _read_files(files: tuple[str, ...]) -> Lines:
    paths = [Path(file) for file in files]
    return {name: read_lines(path) for name, path in zip(language_names(paths), paths, strict=True)}


def _encode(lines: Lines, tokenizer: PreTrainedTokenizer) -> list[Language]:
    languages = []
    for name, of_language in lines.items():
        encoded = tokenizer(of_language, add_special_tokens=False, verbose=False)["input_ids"]
        encoded = [ids for ids in encoded if ids]
        if not encoded:
            raise ValueError(f"{name} has no text that the tokenizer can read")
        languages.append(Language(name, encoded))
    return languages


def _identity(settings: PretrainSettings) -> dict[str, Any]:
    """What makes two runs the same run: every setting that changes the result, and the content of the files."""
    identity = asdict(settings)
    for name in ("out", "checkpoint_every", "evaluate_every"):
        del identity[name]
    files = (*settings.corpus, *settings.held_out)
    identity["content"] = {Path(file).name: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files}
    identity["corpus"] = [Path(file).name for file in settings.corpus]
    identity["held_out"] = [Path(file).name for file in settings.held_out]
    return {"task": "pretrain", **json.loads(json.dumps(identity))}


def _tokenizer(settings: PretrainSettings, folder: Path, say: Callable[[str], None]) -> PreTrainedTokenizer:
    from minirembert.tokenization.training import train_tokenizer

    if settings.tokenizer is not None:
        return AutoTokenizer.from_pretrained(settings.tokenizer, use_fast=False)
    trained = folder / "tokenizer"
    if not (trained / "sentencepiece.model").is_file():
        say(f"training a tokenizer of {settings.vocab_size:,} pieces")
        files = [Path(file) for file in settings.corpus]
        with busy("training a tokenizer"):
            train_tokenizer(files, settings.vocab_size, trained, character_coverage=settings.character_coverage)
    return RemBertTokenizer.from_pretrained(trained)


def _config(settings: PretrainSettings, vocab_size: int, **special_ids: int) -> RemBertConfig:
    return RemBertConfig(
        vocab_size=vocab_size,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.num_hidden_layers,
        num_attention_heads=settings.num_attention_heads,
        intermediate_size=settings.intermediate_size,
        input_embedding_size=settings.input_embedding_size,
        output_embedding_size=settings.output_embedding_size,
        initializer_range=settings.initializer_range,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.dropout,
        max_position_embeddings=settings.sequence_length,
        **special_ids,
    )
