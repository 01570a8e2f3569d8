"""Fine-tuning: a pre-trained folder and labelled files in, a classifier or tagger and its scores by language out.

The output head of the pre-trained model is discarded: it scores vocabulary pieces, and a new task has its own, far
smaller head. That is where the paper's saving comes from: what is discarded costs nothing from here on.

    from minirembert.training.finetune import FinetuneSettings, finetune
    finetune(FinetuneSettings(model="model", train="en.conllu", evaluate=("de.conllu",), out="tagger"))
"""

import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minirembert.checkpoint import WEIGHTS_FILE, read_header
from minirembert.config import RemBertConfig
from minirembert.data.labelled import (
    Sentence,
    TaggedSentence,
    encode_sentences,
    encode_tagged,
    label_names,
    read_conllu,
    read_sentences,
)
from minirembert.data.text import language_names
from minirembert.model.base import RemBertPreTrainedModel
from minirembert.model.tasks import RemBertForSequenceClassification, RemBertForTokenClassification
from minirembert.ops.losses import IGNORE_INDEX
from minirembert.settings import option
from minirembert.tokenization.tokenizer import RemBertTokenizer
from minirembert.training.loop import Schedule, train
from minirembert.training.run_folder import RunFolder


@dataclass(frozen=True)
class FinetuneSettings:
    """Everything that decides the outcome."""

    model: str = option("pre-trained folder, with its tokenizer")
    train: str = option(".conllu file: tagging; .tsv or .jsonl file: classification")
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
    checkpoint_every: int = option("steps between checkpoints", 100)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        kinds = {Path(file).suffix for file in (self.train, *self.evaluate)}
        if not (kinds == {".conllu"} or kinds <= {".tsv", ".jsonl"}):
            raise ValueError(
                f"the files must all be .conllu (tagging), or all .tsv or .jsonl (classification), "
                f"got {', '.join(sorted(kinds))}"
            )


@dataclass(frozen=True)
class Score:
    """Of one file. Accuracies in [0, 1], over every labelled example (a sentence, or a word)."""

    language: str
    examples: int
    accuracy: float
    majority_baseline: float  # always the training file's most frequent label
    lookup_baseline: float | None  # each word's most frequent tag in the training file, else the most frequent of all


@dataclass(frozen=True)
class FinetuneResult:
    model: RemBertPreTrainedModel
    tokenizer: RemBertTokenizer
    discarded_parameters: int
    scores: tuple[Score, ...]  # the training language's own score is there only if its file is among `evaluate`


def finetune(settings: FinetuneSettings, say: Callable[[str], None] = print) -> FinetuneResult:
    """Trains on one file, scores the others, writes model, tokenizer and scores.json to `settings.out`.

    Resumes like `pretrain`. Raises ValueError or OSError for input that cannot be used, FileExistsError for an output
    folder that holds something else, and `Interrupted` when asked to stop.
    """
    task = TAGGING if Path(settings.train).suffix == ".conllu" else CLASSIFICATION
    examples = task.read(Path(settings.train))
    names = language_names([Path(file) for file in settings.evaluate])
    evaluation = {name: task.read(Path(file)) for name, file in zip(names, settings.evaluate, strict=True)}
    id2label = label_names([label for example in examples for label in task.labels(example)])
    if len(id2label) < 2:
        raise ValueError(f"{settings.train} has only one label, {id2label.get(0)}: there is nothing to learn")

    with RunFolder(Path(settings.out), _identity(settings)) as folder:
        return _finetune(settings, task, examples, evaluation, id2label, folder, say)


def _finetune(
    settings: FinetuneSettings,
    task: "_Task",
    examples: Sequence[Any],
    evaluation: Mapping[str, Sequence[Any]],
    id2label: dict[int, str],
    folder: RunFolder,
    say: Callable[[str], None],
) -> FinetuneResult:
    with folder.preparing():
        tokenizer = RemBertTokenizer.from_pretrained(settings.model)
        config = RemBertConfig.from_pretrained(settings.model)
        config.id2label, config.problem_type = id2label, task.problem_type
        discarded = discarded_parameters(Path(settings.model))
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # that the old head is unused and the new one is fresh is said below, with sizes
            model = task.model_class.from_pretrained(settings.model, config=config, seed=settings.seed)
    fresh = sum(model.parameters[name].size for name in model.head_shapes(config))
    say(
        f"discarded the output head: {discarded:,} parameters; {model.num_parameters():,} are fine-tuned, "
        f"{fresh:,} of them a new head for {len(id2label)} labels"
    )

    max_length = min(settings.max_length or config.max_position_embeddings, config.max_position_embeddings)

    def encode(chunk: Sequence[Any]) -> dict[str, Any]:
        return task.encode(chunk, tokenizer, config.label2id, max_length)

    steps_per_epoch = -(-len(examples) // settings.batch_size)
    steps = settings.epochs * steps_per_epoch
    warmup = steps // 10 if settings.warmup is None else settings.warmup

    def batch_at(step: int) -> dict[str, Any]:
        epoch, number = divmod(step, steps_per_epoch)
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(examples))
        chosen = order[number * settings.batch_size : (number + 1) * settings.batch_size]
        return encode([examples[i] for i in chosen])

    schedule = Schedule(
        steps,
        settings.learning_rate,
        warmup,
        settings.weight_decay,
        settings.clip,
        settings.checkpoint_every,
        threads=settings.threads,
    )
    train(model, batch_at, schedule, folder, dropout_seed=settings.seed, title="fine-tuning")

    scores = []
    for name, of_language in evaluation.items():
        majority, lookup = task.baselines(examples, of_language)
        count, accuracy = _accuracy(model, of_language, encode, settings.batch_size)
        scores.append(Score(name, count, accuracy, majority, lookup))
    model.save_pretrained(folder.path)
    tokenizer.save_pretrained(folder.path)
    folder.write_json("scores.json", {score.language: asdict(score) for score in scores})
    for line in score_table(scores):
        say(line)
    say(f"model, tokenizer, metrics.jsonl and scores.json are in {folder.path}")
    return FinetuneResult(model, tokenizer, discarded, tuple(scores))


def discarded_parameters(folder: Path) -> int:
    """How many parameters of a saved model belong to its output head."""
    entries = read_header(folder / WEIGHTS_FILE)
    return sum(int(np.prod(entry.shape)) for name, entry in entries.items() if name.startswith("cls.predictions."))


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


def _accuracy(
    model: RemBertPreTrainedModel,
    examples: Sequence[Any],
    encode: Callable[[Sequence[Any]], dict[str, Any]],
    batch_size: int,
) -> tuple[int, float]:
    """(number of labels, share predicted right). Labels unknown to the model, and words cut off, count as wrong."""
    right = 0
    for start in range(0, len(examples), batch_size):
        batch = encode(examples[start : start + batch_size])
        labels = batch.pop("labels")
        predictions = model(**batch).logits.argmax(axis=-1)
        right += int(((predictions == labels) & (labels != IGNORE_INDEX)).sum())
    total = sum(len(example.tags) if isinstance(example, TaggedSentence) else 1 for example in examples)
    return total, right / total


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


def _tag_baselines(train: Sequence[TaggedSentence], test: Sequence[TaggedSentence]) -> tuple[float, float]:
    of_word: dict[str, Counter[str]] = {}
    overall: Counter[str] = Counter()
    for sentence in train:
        overall.update(sentence.tags)
        for word, tag in zip(sentence.words, sentence.tags, strict=True):
            of_word.setdefault(word, Counter())[tag] += 1
    ((most_frequent, _),) = overall.most_common(1)
    lookup = {word: tags.most_common(1)[0][0] for word, tags in of_word.items()}
    pairs = [pair for sentence in test for pair in zip(sentence.words, sentence.tags, strict=True)]
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
    RemBertForTokenClassification, None, read_conllu, lambda example: example.tags, encode_tagged, _tag_baselines
)


def _identity(settings: FinetuneSettings) -> Mapping[str, Any]:
    identity = asdict(settings)
    for name in ("out", "checkpoint_every"):
        del identity[name]
    identity["evaluate"] = list(settings.evaluate)
    for name, path in (("train_content", Path(settings.train)), ("model_content", Path(settings.model) / WEIGHTS_FILE)):
        identity[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    return {"task": "finetune", **identity}
