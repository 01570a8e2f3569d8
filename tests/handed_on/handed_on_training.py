"""What the settings of pre-training and of fine-tuning do, seen in runs of a few steps."""

import functools
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from cases import Changes, Settings

from minirembert import RemBertForTokenClassification, RemBertTokenizer
from minirembert.data.masked_lm import MaskedLMData
from minirembert.model.base import RemBertPreTrainedModel
from minirembert.training import loop
from minirembert.training.finetune import FinetuneSettings, finetune
from minirembert.training.pretrain import PretrainSettings, pretrain
from minirembert.training.run_folder import RunFolder

WORDS = ["the red cat sees a dog", "a blue dog sees the cat", "the cat likes a bird", "no bird eats the fish"]
OTHER = ["der rote kater sieht", "ein blauer hund", "kein vogel frisst den fisch"]
TAGGED = [
    (("the", "cat", "sees"), ("DET", "NOUN", "VERB")), (("a", "dog"), ("DET", "NOUN")), (("the", "fish"), ("DET", "NOUN")),
    (("no", "bird", "eats", "fish"), ("DET", "NOUN", "VERB", "NOUN")), (("dog",), ("NOUN",)),
]  # fmt: skip


@functools.cache
def files() -> Path:
    """A folder with texts, a tokenizer and pre-trained models, made once."""
    _keep.append(tempfile.TemporaryDirectory())
    folder = Path(_keep[-1].name)
    lines = [f"{line} {'fish ' * i}".strip() for i in range(10) for line in WORDS]
    texts = {"a": lines, "b": OTHER * 7, "c": ["a fish", "the dog"], "small": WORDS * 6}
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    for name, sentences in (("train", TAGGED), ("other", TAGGED[:2] * 2), ("test", TAGGED[1:4])):
        blocks = (
            "".join(f"{i}\t{w}\t_\t{t}" + "\t_" * 6 + "\n" for i, (w, t) in enumerate(zip(*s, strict=True), 1))
            for s in sentences
        )
        (folder / f"{name}.conllu").write_text("\n".join(blocks), encoding="utf-8")
    for name, changes in (("model", {}), ("another", {"seed": 1, "vocab_size": 40})):
        settings = PretrainSettings(
            **{
                **PRETRAINING,
                "corpus": (str(folder / "a.txt"), str(folder / "b.txt")),
                "out": str(folder / name),
                **changes,
            }
        )
        pretrain(settings, say=lambda text: None)
    return folder


_keep: list[Any] = []

PRETRAINING: dict[str, Any] = {
    "vocab_size": 48,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "input_embedding_size": 4,
    "output_embedding_size": 10,
    "sequence_length": 12,
    "held_out_every": 7,
    "batch_size": 6,
    "steps": 4,
    "warmup": 2,
}


@contextmanager
def watched() -> Iterator[SimpleNamespace]:
    """What a run does on the way: the steps' batches, dropout seeds and models, threads, checkpoints."""
    seen = SimpleNamespace(batches=[], seeds=[], threads=[], saved=[], backends=set(), first=None)
    step, save, limits = RemBertPreTrainedModel.loss_and_gradients, RunFolder.save, loop.threadpool_limits

    def noted_step(model: Any, *inputs: Any, dropout_seed: int | None = None, **named: Any) -> Any:
        if seen.first is None:
            seen.first = {name: model.backend.numpy(array).copy() for name, array in model.parameters.items()}
        seen.batches.append({name: np.array(value) for name, value in named.items()})
        seen.seeds.append(dropout_seed)
        seen.backends.add((model.backend.name, str(model.backend.dtype)))
        return step(model, *inputs, dropout_seed=dropout_seed, **named)

    def noted_save(folder: Any, optimizer: Any) -> None:
        seen.saved.append(optimizer.step_count)
        save(folder, optimizer)

    def noted_limits(threads: int | None, **rest: Any) -> Any:
        seen.threads.append(threads)
        return limits(threads, **rest)

    with (
        mock.patch.object(RemBertPreTrainedModel, "loss_and_gradients", noted_step),
        mock.patch.object(RunFolder, "save", noted_save),
        mock.patch.object(loop, "threadpool_limits", noted_limits),
    ):
        yield seen


def outcome(seen: SimpleNamespace, result: Any, folder: Path) -> SimpleNamespace:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if "loss" in record]
    seen.weights = {name: result.model.backend.numpy(array).copy() for name, array in result.model.parameters.items()}
    seen.config, seen.pieces, seen.steps = result.model.config.to_dict(), result.tokenizer.get_vocab(), steps
    seen.evaluated = [record["step"] for record in records if "held_out_loss_all" in record]
    seen.folder, seen.result = folder, result
    return seen


def same(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return before.keys() == after.keys() and all(np.array_equal(before[name], after[name]) for name in before)


class Same(SimpleNamespace):
    """An outcome that equals another where the weights do: what `ChangesNothing` asks."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and same(self.weights, other.weights)

    __hash__ = None  # type: ignore[assignment]


def run_pretraining(changed: Mapping[str, Any]) -> Same:
    folder = files()
    with tempfile.TemporaryDirectory() as name:
        given = {"corpus": (str(folder / "a.txt"), str(folder / "b.txt")), "out": "run", **PRETRAINING, **changed}
        for option in ("corpus", "held_out"):
            given[option] = tuple(str(folder / file) for file in given.get(option, ()))
        if given.get("tokenizer"):
            given["tokenizer"] = str(folder / given["tokenizer"])
        given["out"] = str(Path(name) / given["out"])
        with watched() as seen:
            result = pretrain(PretrainSettings(**given), say=lambda text: None)
        made = outcome(seen, result, Path(given["out"]))
        made.trained_tokenizer = (made.folder / "tokenizer").is_dir()
        return Same(**vars(made))


def run_finetuning(changed: Mapping[str, Any]) -> Same:
    folder = files()
    with tempfile.TemporaryDirectory() as name:
        given: dict[str, Any] = {
            "model": "model", "train": "train.conllu", "out": "run", "evaluate": ("test.conllu",), "epochs": 2, "batch_size": 2,
            "warmup": 2, **changed,
        }  # fmt: skip
        given["model"], given["train"] = str(folder / given["model"]), str(folder / given["train"])
        given["evaluate"] = tuple(str(folder / file) for file in given["evaluate"])
        given["out"] = str(Path(name) / given["out"])
        with watched() as seen:
            result = finetune(FinetuneSettings(**given), say=lambda text: None)
        return Same(**vars(outcome(seen, result, Path(given["out"]))))


def rates(run: Same) -> list[float]:
    """Of the recorded steps: the last of a short run."""
    return [record["learning_rate"] for record in run.steps]


def spread(run: Same, part: str) -> float:
    """The standard deviation of first weights, the padding row left out."""
    return float(np.std(run.first[f"rembert.{part}.weight"][1:]))


def lengths(run: Same) -> list[int]:
    return [int(row.sum()) for batch in run.batches for row in batch["attention_mask"]]


def languages(run: Same) -> set[str]:
    return {*run.result.held_out_loss_by_language}


def size(field: str, part: str, axis: int) -> Changes:
    """One of the model's sizes: it is in the configuration and is an axis of an array."""
    value = PRETRAINING[field] * 2

    def how(before: Same, after: Same) -> bool:
        return after.config[field] == value and after.weights[part].shape[axis] == 2 * before.weights[part].shape[axis]

    return Changes(value, how)


def decayed(before: Same, after: Same) -> bool:
    """The matrices end smaller."""
    return _matrices(after) < _matrices(before)


def _matrices(run: Same) -> float:
    return sum(float(np.vdot(w, w)) for w in run.weights.values() if w.ndim > 1)


def first_batches_equal(before: Same, after: Same) -> bool:
    return all(same(one, other) for one, other in zip(before.batches, after.batches, strict=False))


INNER = "rembert.encoder.layer.0"
PRETRAIN_CASES = {
    "out": Changes(
        "elsewhere", lambda a, b: b.folder.name == "elsewhere" and a.folder.name == "run" and same(a.weights, b.weights)
    ),
    "corpus": Changes(
        ("a.txt",), lambda a, b: languages(a) == {"a", "b"} and languages(b) == {"a"}, {"vocab_size": 30}
    ),
    "held_out": Changes(("c.txt",), lambda a, b: languages(b) == {"c"} and len(b.result.model.parameters) > 0),
    "held_out_every": Changes(
        2, lambda a, b: not first_batches_equal(a, b) and a.result.held_out_loss != b.result.held_out_loss
    ),
    "tokenizer": Changes(
        "another",
        lambda a, b: a.trained_tokenizer and not b.trained_tokenizer and b.pieces == _pieces_of("another") != a.pieces,
    ),
    "vocab_size": Changes(40, lambda a, b: len(a.pieces) == 48 and len(b.pieces) == 40 == b.config["vocab_size"]),
    "character_coverage": Changes(0.98, lambda a, b: "k" in a.pieces and "k" not in b.pieces, {"vocab_size": 40}),
    "hidden_size": size("hidden_size", f"{INNER}.attention.self.query.weight", 0),
    "num_hidden_layers": Changes(3, lambda a, b: _layers(a) == 1 and _layers(b) == 3 == b.config["num_hidden_layers"]),
    "num_attention_heads": Changes(
        4, lambda a, b: b.config["num_attention_heads"] == 4 and not same(a.weights, b.weights)
    ),
    "intermediate_size": size("intermediate_size", f"{INNER}.intermediate.dense.weight", 0),
    "input_embedding_size": size("input_embedding_size", "rembert.embeddings.word_embeddings.weight", 1),
    "output_embedding_size": size("output_embedding_size", "cls.predictions.decoder.weight", 1),
    "dropout": Changes(
        0.3,
        lambda a, b: (
            {*a.seeds} == {None}
            and None not in b.seeds
            and len({*b.seeds}) == 4
            and b.config["hidden_dropout_prob"] == b.config["attention_probs_dropout_prob"] == 0.3
            and not same(a.weights, b.weights)
        ),
    ),
    "sequence_length": Changes(
        9, lambda a, b: max(lengths(a)) == 12 and max(lengths(b)) == 9 == b.config["max_position_embeddings"]
    ),
    "lines_per_sequence": Changes(1, lambda a, b: min(lengths(b)) < min(lengths(a)) <= 12),
    "initializer_range": Changes(
        0.5,
        lambda a, b: math.isclose(
            spread(b, "embeddings.word_embeddings"), 10 * spread(a, "embeddings.word_embeddings"), rel_tol=1e-5
        ),
    ),
    "batch_size": Changes(3, lambda a, b: {len(batch["labels"]) for batch in b.batches} == {3}),
    "steps": Changes(6, lambda a, b: (len(a.batches), len(b.batches)) == (4, 6) and first_batches_equal(a, b)),
    "learning_rate": Changes(
        4e-3, lambda a, b: rates(b) == [2 * rate for rate in rates(a)] and not same(a.weights, b.weights)
    ),
    "warmup": (
        Changes(0, lambda a, b: rates(a) == [2e-3 / 2] and rates(b) == [2e-3 / 4]),
        Changes(None, lambda a, b: rates(b) == [2e-3 / 9], {"steps": 10}),  # a tenth of all: 9 steps fall
    ),
    "weight_decay": Changes(0.5, decayed, {"learning_rate": 0.1}),
    "clip": Changes(1e-3, lambda a, b: a.steps[-1]["gradient_norm"] > 1e-3 and not same(a.weights, b.weights)),
    "alpha": Changes(0.0, lambda a, b: not first_batches_equal(a, b)),
    "seed": Changes(
        7, lambda a, b: not first_batches_equal(a, b) and not same(a.first, b.first) and languages(a) == languages(b)
    ),
    "threads": Changes(2, lambda a, b: (a.threads, b.threads) == ([1], [2]) and same(a.first, b.first)),
    "backend": Changes(
        "triton",
        lambda a, b: {name for name, _ in a.backends} == {"numpy"} and {name for name, _ in b.backends} == {"triton"},
        {"steps": 1, "warmup": 0, "batch_size": 1},
    ),
    "dtype": Changes(
        "float64",
        lambda a, b: (
            a.weights[f"{INNER}.output.dense.bias"].dtype == np.float32
            and b.weights[f"{INNER}.output.dense.bias"].dtype == np.float64
        ),
    ),
    "checkpoint_every": Changes(2, lambda a, b: (a.saved, b.saved) == ([4], [2, 4]) and same(a.weights, b.weights)),
    "evaluate_every": Changes(
        2, lambda a, b: (a.evaluated, b.evaluated) == ([4], [2, 4]) and same(a.weights, b.weights)
    ),
}


def _pieces_of(folder: str) -> dict[str, int]:
    return RemBertTokenizer.from_pretrained(files() / folder).get_vocab()


def _layers(run: Same) -> int:
    return len({name.split(".")[3] for name in run.weights if name.startswith("rembert.encoder.layer.")})


def scores(run: Same) -> dict[str, int]:
    return {score.language: score.examples for score in run.result.scores}


FINETUNE_CASES = {
    "model": Changes("another", lambda a, b: not same(a.first, b.first)),
    "train": Changes(
        "other.conllu",
        lambda a, b: not first_batches_equal(a, b) and [*b.config["id2label"].values()] == ["DET", "NOUN", "VERB"],
    ),
    "out": Changes("elsewhere", lambda a, b: b.folder.name == "elsewhere" and same(a.weights, b.weights)),
    "evaluate": Changes(
        ("test.conllu", "train.conllu"),
        lambda a, b: scores(a) == {"test": 8} and scores(b) == {"test": 8, "train": 12} and same(a.weights, b.weights),
    ),
    "epochs": Changes(3, lambda a, b: (len(a.batches), len(b.batches)) == (6, 9) and first_batches_equal(a, b)),
    "batch_size": Changes(
        5, lambda a, b: len(b.batches) == 2 and {len(batch["labels"]) for batch in b.batches} == {5}, {"warmup": 1}
    ),
    "learning_rate": Changes(
        1e-3, lambda a, b: rates(b) == [2 * rate for rate in rates(a)] and not same(a.weights, b.weights)
    ),
    "warmup": (
        Changes(0, lambda a, b: rates(a) == [5e-4 / 4] and rates(b) == [5e-4 / 6]),
        Changes(None, lambda a, b: rates(b)[-1] == 5e-4 / 11, {"epochs": 4}),  # a tenth of 12 steps is one: 11 fall
    ),
    "weight_decay": Changes(0.5, decayed, {"learning_rate": 0.1}),
    "clip": Changes(1e-3, lambda a, b: a.steps[-1]["gradient_norm"] > 1e-3 and not same(a.weights, b.weights)),
    "max_length": Changes(4, lambda a, b: max(lengths(a)) > 4 and max(lengths(b)) == 4),
    "seed": Changes(
        7, lambda a, b: not first_batches_equal(a, b) and not same(a.first, b.first) and not {*a.seeds} & {*b.seeds}
    ),
    "threads": Changes(2, lambda a, b: (a.threads, b.threads) == ([1], [2]) and same(a.first, b.first)),
    "backend": Changes(
        "triton",
        lambda a, b: {name for name, _ in b.backends} == {"triton"},
        {"epochs": 1, "warmup": 0, "batch_size": 5},
    ),
    "dtype": Changes("float64", lambda a, b: {w.dtype for w in b.weights.values()} == {np.dtype("float64")}),
    "checkpoint_every": Changes(4, lambda a, b: (a.saved, b.saved) == ([6], [4, 6]) and same(a.weights, b.weights)),
}


def run_schedule(changed: Mapping[str, Any]) -> Any:
    """`Schedule` in the loop itself, over a model whose loss needs no data."""
    schedule = loop.Schedule(**{"steps": 6, "learning_rate": 0.1, "warmup": 2, **changed})
    with tempfile.TemporaryDirectory() as name, watched() as seen:
        model = RemBertForTokenClassification.from_pretrained(files() / "model")
        with RunFolder(Path(name) / "run", {}) as folder:
            batch = {
                "input_ids": np.array([[1, 7, 9]]),
                "attention_mask": np.ones((1, 3)),
                "labels": np.array([[0, 1, 1]]),
            }
            loop.train(model, lambda step: batch, schedule, folder, evaluate=lambda: {"held_out_loss_all": 0.0})
            seen.records = folder.metrics()
        weights = {name: array.copy() for name, array in model.parameters.items()}
    return Same(**vars(seen), weights=weights)


def recorded(run: Same, key: str) -> list[int]:
    return [record["step"] for record in run.records if key in record]


def last_rate(run: Same) -> float:
    return [record["learning_rate"] for record in run.records if "loss" in record][-1]


SCHEDULE_CASES = {
    "steps": Changes(5, lambda a, b: (len(a.batches), len(b.batches)) == (6, 5) and last_rate(b) == 0.1 / 3),
    "learning_rate": Changes(0.2, lambda a, b: last_rate(b) == 2 * last_rate(a)),
    "warmup": Changes(0, lambda a, b: (last_rate(a), last_rate(b)) == (0.1 / 4, 0.1 / 6)),
    "weight_decay": Changes(0.5, lambda a, b: _matrices(b) < _matrices(a)),
    "clip": Changes(1e-4, lambda a, b: not same(a.weights, b.weights)),
    "checkpoint_every": Changes(2, lambda a, b: (a.saved, b.saved) == ([6], [2, 4, 6]) and same(a.weights, b.weights)),
    "evaluate_every": Changes(
        4, lambda a, b: (recorded(a, "held_out_loss_all"), recorded(b, "held_out_loss_all")) == ([6], [4, 6])
    ),
    "record_every": Changes(4, lambda a, b: (recorded(a, "loss"), recorded(b, "loss")) == ([6], [4, 6])),
    "threads": Changes(1, lambda a, b: (a.threads, b.threads) == ([None], [1])),
}


def _fields(kind: type) -> tuple[str, ...]:
    return tuple(kind.__dataclass_fields__)  # type: ignore[attr-defined]


SETTINGS = [
    Settings(PretrainSettings, _fields(PretrainSettings), run_pretraining, PRETRAIN_CASES),
    Settings(FinetuneSettings, _fields(FinetuneSettings), run_finetuning, FINETUNE_CASES),
    Settings(loop.Schedule, _fields(loop.Schedule), run_schedule, SCHEDULE_CASES),
]
COMMANDS: dict[str, type] = {"pretrain": PretrainSettings, "finetune": FinetuneSettings}
OPTIONS: dict[str, str] = {}
NO_SETTINGS = {
    "PretrainResult": "what came out",
    "FinetuneResult": "what came out",
    "Score": "what came out",
    MaskedLMData.__name__: "the text of a run; its numbers are fields of PretrainSettings",
}
