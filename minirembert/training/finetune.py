"""Fine-tuning: a pre-trained folder and labelled files in, a classifier or tagger and its scores by language out.

The output head of the pre-trained model is discarded: it scores vocabulary pieces, and a new task has its own, far
smaller head. That is where the paper's saving comes from: what is discarded costs nothing from here on.

    from minirembert.training.finetune import FinetuneSettings, finetune
    finetune(FinetuneSettings(model="model", train="en.conllu", evaluate=("de.conllu",), out="tagger"))
"""

import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minirembert.checkpoint import read_tensors, weight_files
from minirembert.config import RemBertConfig
from minirembert.data.labelled import (
    NO_TAG,
    Sentence,
    TaggedSentence,
    count_longer,
    encode_sentences,
    encode_tagged,
    label_names,
    read_conllu,
    read_sentences,
)
from minirembert.data.text import language_names
from minirembert.model.base import BASE_PREFIX, RemBertModel, RemBertPreTrainedModel
from minirembert.model.tasks import RemBertForSequenceClassification, RemBertForTokenClassification
from minirembert.ops.losses import IGNORE_INDEX
from minirembert.progress import busy
from minirembert.settings import check_types, make_plain, option
from minirembert.tokenization.auto import AutoTokenizer
from minirembert.tokenization.pretrained import PreTrainedTokenizer
from minirembert.training.loop import BACKEND_HELP, DTYPE_HELP, Schedule, train, training_dtype
from minirembert.training.run_folder import RunFolder

CLASSIFIER = "classifier."  # what the names of a fine-tuned head begin with


@dataclass(frozen=True)
class FinetuneSettings:
    """Everything that decides the outcome."""

    model: str = option("pre-trained folder, with its tokenizer")
    train: str = option(
        ".conllu file: tagging; .tsv or .jsonl file: classification, with the columns label and text "
        "(or text_a and text_b, for pairs), which the first line of a .tsv file names"
    )
    out: str = option("folder of the run and its result")
    evaluate: tuple[str, ...] = option("files of the same kind to score the model on, one language each", ())
    epochs: int = option("passes over the training file", 3)
    batch_size: int = option("examples in a batch", 32)
    learning_rate: float = option("peak learning rate", 5e-4)
    warmup: int | None = option("steps until the peak (default: a tenth of all)", None)
    weight_decay: float = option("AdamW's decay of the matrices", 0.01)
    clip: float = option("largest norm of the gradient", 1.0)
    max_length: int | None = option("longest example in tokens (default: the model's positions)", None)
    seed: int = option("of the new head, the order of the examples and the dropout", 0)
    threads: int = option("threads of a matrix product; more than one pays for wide models, on an idle machine", 1)
    backend: str = option(BACKEND_HELP, "numpy", "NAME")
    dtype: str | None = option(DTYPE_HELP, None, "DTYPE")
    checkpoint_every: int = option("steps between checkpoints", 100)

    def __post_init__(self) -> None:
        make_plain(self)
        check_types(self)
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        training_dtype(self.backend, self.dtype)  # complains
        if self.max_length is not None and self.max_length < 3:
            raise ValueError(f"max_length must be at least 3 ([CLS], a token, [SEP]), got {self.max_length}")
        kinds = {Path(file).suffix.lower() for file in (self.train, *self.evaluate)}
        if not (kinds == {".conllu"} or kinds <= {".tsv", ".jsonl"}):
            raise ValueError(
                f"the files must all be .conllu (tagging), or all .tsv or .jsonl (classification), "
                f"got {', '.join(sorted(kinds))}"
            )

    def schedule(self, examples: int) -> Schedule:
        """The loop's settings for this many training examples. Raises ValueError for an option that makes no sense."""
        steps = self.epochs * self.steps_per_epoch(examples)
        warmup = steps // 10 if self.warmup is None else self.warmup
        return Schedule(
            steps, self.learning_rate, warmup, self.weight_decay, self.clip, self.checkpoint_every, threads=self.threads
        )

    def steps_per_epoch(self, examples: int) -> int:
        """Batches of one pass over the examples; the last may be smaller."""
        return -(-examples // self.batch_size)


@dataclass(frozen=True)
class Score:
    """How well one file was labelled: accuracies in [0, 1] over every labelled example (a sentence, or a word)."""

    language: str
    examples: int
    accuracy: float
    majority_baseline: float  # always the training file's most frequent label
    lookup_baseline: float | None  # each word's most frequent tag in the training file, else the most frequent of all


@dataclass(frozen=True)
class FinetuneResult:
    """A fine-tuned model, and its scores by language."""

    model: RemBertPreTrainedModel
    tokenizer: PreTrainedTokenizer
    discarded_parameters: int
    scores: tuple[Score, ...]  # the training language's own score is there only if its file is among `evaluate`


def finetune(settings: FinetuneSettings, say: Callable[[str], None] = print) -> FinetuneResult:
    """Trains on one file, scores the others, writes model, tokenizer and scores.json to `settings.out`.

    Resumes like `pretrain`. Raises ValueError or OSError for input that cannot be used, FileExistsError for an output
    folder that holds something else, and `Interrupted` when asked to stop.
    """
    task = TAGGING if Path(settings.train).suffix.lower() == ".conllu" else CLASSIFICATION
    examples = task.read(Path(settings.train))
    names = language_names([Path(file) for file in settings.evaluate])
    evaluation = {name: task.read(Path(file)) for name, file in zip(names, settings.evaluate, strict=True)}
    if _is_pair(examples[0]) and settings.max_length is not None and settings.max_length < 5:
        raise ValueError(
            f"max_length must be at least 5 for pairs ([CLS], a token, [SEP], a token, [SEP]), got {settings.max_length}"
        )
    for file, of_language in zip(settings.evaluate, evaluation.values(), strict=True):
        _require_same_columns(settings, file, examples, of_language)
    id2label = label_names([label for example in examples for label in task.labels(example)])
    if len(id2label) < 2:
        raise ValueError(f"{settings.train} has only one label, {id2label.get(0)}: there is nothing to learn")
    for name, of_language in evaluation.items():
        labels = [label for example in of_language for label in task.labels(example)]
        _report_unseen_labels(name, labels, {*id2label.values()}, settings.train, say)
    schedule = settings.schedule(len(examples))  # complains before a folder is made

    with RunFolder(Path(settings.out), _identity(settings)) as folder:
        return _finetune(settings, task, schedule, examples, evaluation, id2label, folder, say)


def _require_same_columns(settings: FinetuneSettings, file: str, train: Sequence[Any], test: Sequence[Any]) -> None:
    """Sentences and pairs are two tasks. Within a file, the reader has seen to it that all examples are alike."""
    kinds = ["pairs (text_a, text_b)" if _is_pair(examples[0]) else "sentences (text)" for examples in (test, train)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"{file} has {kinds[0]} from its first example on, but {settings.train} has {kinds[1]}")


def _is_pair(example: Any) -> bool:
    return isinstance(example, Sentence) and example.pair is not None


def _report_unseen_labels(
    name: str, labels: Sequence[str], known: Container[str], train: str, say: Callable[[str], None]
) -> None:
    """They count as wrong, whatever the model says: a reader of the scores should know how many they are."""
    unseen = [label for label in labels if label not in known]
    if not unseen:
        return
    distinct = sorted({*unseen})
    shown = ", ".join(distinct[:6]) + (f" and {len(distinct) - 6} more" if len(distinct) > 6 else "")
    message = f"{name}: {len(unseen):,} of {len(labels):,} labels ({shown}) do not occur in {train}"
    if len(unseen) == len(labels):
        raise ValueError(f"{message}: there is nothing to score")
    say(message)


def _finetune(
    settings: FinetuneSettings,
    task: "_Task",
    schedule: Schedule,
    examples: Sequence[Any],
    evaluation: Mapping[str, Sequence[Any]],
    id2label: dict[int, str],
    folder: RunFolder,
    say: Callable[[str], None],
) -> FinetuneResult:
    if folder.latest_step() == schedule.steps:
        say(f"already finished: {folder.path} has all {schedule.steps:,} steps")
    tokenizer = AutoTokenizer.from_pretrained(settings.model, use_fast=False)
    config = RemBertConfig.from_pretrained(settings.model)
    config.id2label, config.problem_type = id2label, task.problem_type
    discarded = discarded_parameters(Path(settings.model))
    model = _with_fresh_head(task.model_class, settings, config)
    for line in _what_is_new(settings, model):
        say(line)

    max_length = min(settings.max_length or config.max_position_embeddings, config.max_position_embeddings)
    files = [examples, *evaluation.values()]
    total, longer = sum(map(len, files)), sum(count_longer(file, tokenizer, max_length) for file in files)
    if longer:
        say(f"{longer:,} of {total:,} examples are longer than {max_length} tokens and were cut")

    def encode(chunk: Sequence[Any]) -> dict[str, Any]:
        return task.encode(chunk, tokenizer, config.label2id, max_length)

    def batch_at(step: int) -> dict[str, Any]:
        epoch, number = divmod(step, settings.steps_per_epoch(len(examples)))
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(examples))
        chosen = order[number * settings.batch_size : (number + 1) * settings.batch_size]
        return encode([examples[i] for i in chosen])

    train(model, batch_at, schedule, folder, dropout_seed=settings.seed, title="fine-tuning")

    scores = []
    for name, of_language in evaluation.items():
        majority, lookup = task.baselines(examples, of_language)
        count = sum(len(task.labels(example)) for example in of_language)
        with busy(f"scoring {name}"):
            right = _right(model, of_language, encode, settings.batch_size)
        scores.append(Score(name, count, right / count, majority, lookup))
    model.save_pretrained(folder.path)
    tokenizer.save_pretrained(folder.path)
    folder.write_json("scores.json", {score.language: asdict(score) for score in scores})
    for line in score_table(scores):
        say(line)
    say(f"model, tokenizer, metrics.jsonl and scores.json are in {folder.path}")
    return FinetuneResult(model, tokenizer, discarded, tuple(scores))


def _with_fresh_head(
    model_class: type[RemBertPreTrainedModel], settings: FinetuneSettings, config: RemBertConfig
) -> RemBertPreTrainedModel:
    """The saved encoder under a new head, even where the folder has one: its labels are those of another file."""
    where: dict[str, Any] = {"backend": settings.backend, "dtype": training_dtype(settings.backend, settings.dtype)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is discarded and what is new is said by the caller, with sizes
        encoder = RemBertModel.from_pretrained(settings.model, config=config, seed=settings.seed, **where)
    model = model_class(config, seed=settings.seed, **where)
    for name, array in encoder.parameters.items():
        if BASE_PREFIX + name in model.parameters:
            model.parameters[BASE_PREFIX + name] = array
    return model


def _what_is_new(settings: FinetuneSettings, model: RemBertPreTrainedModel) -> list[str]:
    entries = read_tensors(Path(settings.model))
    lines = []
    for prefix, what in (("cls.predictions.", "the output head"), (CLASSIFIER, "the classifier of a fine-tuning")):
        count = sum(int(np.prod(entry.shape)) for name, entry in entries.items() if name.startswith(prefix))
        if count:
            lines.append(f"discarded {what}: {count:,} parameters")
    stored = {name.removeprefix(BASE_PREFIX) for name in entries}
    pooler = [name for name in model.parameters if "pooler." in name and name.removeprefix(BASE_PREFIX) not in stored]
    shapes = model.parameter_shapes(model.config)
    head = sum(math.prod(shapes[name]) for name in model.head_shapes(model.config))
    new = f"{head:,} of them a new head for {model.config.num_labels} labels"
    if pooler:
        new += f" and {sum(math.prod(shapes[name]) for name in pooler):,} a new pooler"
    return [*lines, f"{model.num_parameters():,} parameters are fine-tuned, {new}"]


def discarded_parameters(folder: Path) -> int:
    """How many parameters of a saved model belong to a head: that of pre-training, or of an earlier fine-tuning."""
    entries = read_tensors(folder)
    heads = ("cls.predictions.", CLASSIFIER)
    return sum(int(np.prod(entry.shape)) for name, entry in entries.items() if name.startswith(heads))


def score_table(scores: Sequence[Score]) -> list[str]:
    """One line a language."""
    if not scores:
        return []
    lines = ["language   examples  accuracy  most frequent label  word's own most frequent tag"]
    for score in scores:
        lookup = "" if score.lookup_baseline is None else f"{score.lookup_baseline:.3f}"
        lines.append(
            f"{score.language:<10} {score.examples:>8,}  {score.accuracy:>8.3f}  {score.majority_baseline:>19.3f}  "
            f"{lookup:>28}"
        )
    return lines


def _right(
    model: RemBertPreTrainedModel,
    examples: Sequence[Any],
    encode: Callable[[Sequence[Any]], dict[str, Any]],
    batch_size: int,
) -> int:
    """How many labels are predicted right. Labels unknown to the model, and words cut off, are not."""
    right = 0
    for start in range(0, len(examples), batch_size):
        batch = encode(examples[start : start + batch_size])
        labels = batch.pop("labels")
        predictions = model.backend.numpy(model(**batch).logits).argmax(axis=-1)
        right += int(((predictions == labels) & (labels != IGNORE_INDEX)).sum())
    return right


class _Task(NamedTuple):
    """What differs between the two kinds of fine-tuning."""

    model_class: type[RemBertPreTrainedModel]
    problem_type: str | None
    read: Callable[[Path], Sequence[Any]]
    labels: Callable[[Any], Sequence[str]]  # of one example
    encode: Callable[..., dict[str, Any]]
    baselines: Callable[[Sequence[Any], Sequence[Any]], tuple[float, float | None]]


def _sentence_baselines(train: Sequence[Sentence], test: Sequence[Sentence]) -> tuple[float, None]:
    ((most_frequent, _),) = Counter(example.label for example in train).most_common(1)
    return sum(example.label == most_frequent for example in test) / len(test), None


def _tagged_words(sentence: TaggedSentence) -> list[tuple[str, str]]:
    return [(word, tag) for word, tag in zip(sentence.words, sentence.tags, strict=True) if tag != NO_TAG]


def _tag_baselines(train: Sequence[TaggedSentence], test: Sequence[TaggedSentence]) -> tuple[float, float]:
    of_word: dict[str, Counter[str]] = {}
    overall: Counter[str] = Counter()
    for sentence in train:
        for word, tag in _tagged_words(sentence):
            overall[tag] += 1
            of_word.setdefault(word, Counter())[tag] += 1
    ((most_frequent, _),) = overall.most_common(1)
    lookup = {word: tags.most_common(1)[0][0] for word, tags in of_word.items()}
    pairs = [pair for sentence in test for pair in _tagged_words(sentence)]
    majority = sum(tag == most_frequent for _, tag in pairs) / len(pairs)
    return majority, sum(tag == lookup.get(word, most_frequent) for word, tag in pairs) / len(pairs)


CLASSIFICATION = _Task(
    RemBertForSequenceClassification,
    "single_label_classification",
    read_sentences,
    lambda example: (example.label,),
    encode_sentences,
    _sentence_baselines,
)
TAGGING = _Task(
    RemBertForTokenClassification,
    None,
    read_conllu,
    lambda example: [tag for _, tag in _tagged_words(example)],
    encode_tagged,
    _tag_baselines,
)


def _identity(settings: FinetuneSettings) -> Mapping[str, Any]:
    """What makes two runs the same run. Files count by their content: a path can be spelled in many ways.

    The files to evaluate do not belong to it: they change nothing about the training, and are scored anew each time.
    """
    identity = asdict(settings)
    for name in ("out", "checkpoint_every", "evaluate", "model", "train"):
        del identity[name]
    identity["train_content"] = _content(Path(settings.train)) if Path(settings.train).is_file() else None
    identity["model_content"] = " ".join(map(_content, weight_files(Path(settings.model))))
    return {"task": "finetune", **identity}


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
