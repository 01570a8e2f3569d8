"""One run of the lab: pre-train a variant in a world, then measure everything about it that any claim asks for.

    records([Experiment(Variant(tied=True), World(), Training(), Finetuning(), seed=0)], Path("lab-runs"))

A run is a pure function of these settings: the corpus, the weights, the batches, the masks and the tasks' examples are drawn
from `seed`, so runs of one seed that differ in one setting are a pair. What it returns is data for a JSON file; which claims
are made of it is somebody else's business (`claims/`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from minirembert.data.masked_lm import Language, MaskedLMData
from minirembert.lab.conventions import PHASES
from minirembert.lab.jobs import Context, Job, Result
from minirembert.lab.ledger import total
from minirembert.lab.model import INPUT_EMBEDDING, OUTPUT_EMBEDDING, LabModel
from minirembert.lab.probes import linear_cka, measure, side_gradients
from minirembert.lab.tasks import TASKS, fine_tune, score
from minirembert.lab.tasks.baselines import BASELINES, baseline
from minirembert.lab.variant import POSITIONS, Variant
from minirembert.lab.world import Corpus, World, build_corpus
from minirembert.lab.world.world import SPECIALS
from minirembert.ops.losses import IGNORE_INDEX
from minirembert.scalars import is_integer
from minirembert.settings import check_types, make_plain, option, require_integers, require_positive
from minirembert.training.optimizer import clip_gradients, learning_rate_at

CLIP = 1.0  # of the gradient's norm (paper, Table 14)
CURVE_POINTS = 10
EARLY_STEPS = 200  # in which the two sides of an embedding are compared
EARLY_EVERY = 20


@dataclass(frozen=True)
class Training:
    """How long and how fast a variant is pre-trained. The optimizer's other settings are the paper's (Table 14)."""

    steps: int = option("of pre-training", 2000)
    batch_size: int = option("sentences in a batch", 64)
    learning_rate: float = option("at its peak", 2e-3)
    warmup: int = option("steps until the peak, half of all at most; 100 are too few for seven blocks", 400)
    twice_every: int = option("every so many steps the batch is of `Corpus.told_twice`; never: more than `steps`", 2)
    backend: str = option("numpy, or triton (on a GPU)", "numpy")
    dtype: str = option("of weights and activations", "float32")

    def __post_init__(self) -> None:
        make_plain(self)
        require_integers(self, 1, "steps", "batch_size", "twice_every")
        require_integers(self, 0, "warmup")
        require_positive(self, "learning_rate")
        check_types(self)


@dataclass(frozen=True)
class Finetuning:
    """How the tasks are learned, each by itself, from the pre-trained encoder without its last `dropped` blocks."""

    tasks: tuple[str, ...] = option("names of tasks", tuple(TASKS))
    dropped: tuple[int, ...] = option("how many of the last blocks are left out: every number is one fine-tuning", (0,))
    steps: int = option("of fine-tuning on an easy task; a hard one takes `Task.times` as many", 500)
    batch_size: int = option("examples in a batch", 32)
    learning_rate: float = option("at its peak", 1.5e-3)
    examples: int = option("to learn from, in the first language", 8000)
    scored: int = option("examples to be scored on, in each language", 500)

    def __post_init__(self) -> None:
        for name in ("tasks", "dropped"):
            if not isinstance(getattr(self, name), tuple) or not getattr(self, name):
                raise ValueError(f"{name} must be a tuple with at least one entry, got {getattr(self, name)!r}")
        make_plain(self)
        require_integers(self, 1, "steps", "batch_size", "examples", "scored")
        require_positive(self, "learning_rate")
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown:
            raise ValueError(f"there is no task {unknown[0]!r}; the tasks are {', '.join(TASKS)}")
        if any(not is_integer(dropped) or dropped < 0 for dropped in self.dropped):
            raise ValueError(f"dropped must hold numbers of blocks, 0 or more, got {self.dropped!r}")
        check_types(self)

    def steps_of(self, task: str) -> int:
        """How many steps a task is learned in."""
        return self.steps * TASKS[task].times


@dataclass(frozen=True)
class Experiment:
    """A pre-training run and its measurements; `finetuning` None leaves the tasks out."""

    variant: Variant
    world: World
    training: Training
    finetuning: Finetuning | None = None
    seed: int = 0

    kind: ClassVar[str] = "pretraining"

    def __post_init__(self) -> None:
        make_plain(self)
        require_integers(self, 0, "seed")
        if self.finetuning is not None and max(self.finetuning.dropped) > self.variant.num_hidden_layers:
            raise ValueError(
                f"there are {self.variant.num_hidden_layers} blocks, so {max(self.finetuning.dropped)} cannot be dropped"
            )

    @property
    def pretraining(self) -> "Experiment":
        """The same without the tasks: a job of its own, so that a model is trained once however many things it is tuned on."""
        return replace(self, finetuning=None)

    @property
    def steps(self) -> int:
        """Steps that the run reports: of pre-training, or with tasks those of all fine-tunings together."""
        tasks = self.finetuning
        return self.training.steps if tasks is None else len(tasks.dropped) * sum(map(tasks.steps_of, tasks.tasks))

    @property
    def needs(self) -> Mapping[str, Job]:
        """The pre-training of the same model, where there are tasks to fine-tune it on."""
        return {} if self.finetuning is None else {"pretraining": self.pretraining}

    def run(self, context: Context) -> Result:
        """What was measured: of the pre-trained model, and, with `finetuning`, of the tasks. `arrays` are the weights."""
        corpus = cached_corpus(self.world, self.seed)
        if self.finetuning is not None:
            before = context.result("pretraining")
            model = pretrained(self, corpus, before)
            return Result({**before, "tasks": tasks(model, corpus, self.finetuning, context.report)})
        sizes = self.variant.sizes(len(corpus.pieces))
        model = LabModel(sizes, seed=self.seed, backend=self.training.backend, dtype=self.training.dtype)
        measured: dict[str, Any] = {
            "vocab_size": len(corpus.pieces),
            "parameters": {phase: total(sizes, phase) for phase in PHASES},
        }
        measured |= pretrain(model, corpus, self.training, context.report)
        measured |= held_out(model, corpus)
        measured |= measure(on_host(model), corpus)
        return Result(measured, {name: model.backend.numpy(array) for name, array in model.parameters.items()})


@dataclass(frozen=True)
class Twins:
    """A tied and an untied model of one seed: which side of the untied one the tied matrix resembles."""

    tied: Experiment
    untied: Experiment

    kind: ClassVar[str] = "twins"

    def __post_init__(self) -> None:
        if not self.tied.variant.tied or self.untied.variant.tied or self.tied.seed != self.untied.seed:
            raise ValueError("twins are a tied and an untied model of one seed, in this order")

    @property
    def seed(self) -> int:
        """The seed of both models."""
        return self.tied.seed

    @property
    def steps(self) -> int:
        """0: nothing is trained here."""
        return 0

    @property
    def needs(self) -> Mapping[str, Job]:
        """The pre-training of both models."""
        return {"tied": self.tied.pretraining, "untied": self.untied.pretraining}

    def run(self, context: Context) -> Result:
        """CKA (Kornblith et al. 2019) of the tied matrix with both of the other's, and by chance: rows in another order.

        The rows are those of words: [MASK] and its like have gradients of their own kind.
        """
        tied, untied = (context.result(name).arrays for name in ("tied", "untied"))
        matrix, reading, scoring = (
            array[len(SPECIALS) :]
            for array in (tied[INPUT_EMBEDDING], untied[INPUT_EMBEDDING], untied[OUTPUT_EMBEDDING])
        )
        mixed = np.random.default_rng(self.seed).permutation(len(matrix))
        return Result(
            {
                "cka": {
                    "input": linear_cka(matrix, reading),
                    "output": linear_cka(matrix, scoring),
                    "chance": linear_cka(matrix, scoring[mixed]),
                }
            }
        )


@dataclass(frozen=True)
class Baseline(Experiment):
    """What the task scores of an experiment are to be compared with: one of `tasks.baselines.BASELINES`, in their place.

    Raises ValueError without `finetuning`.
    """

    name: str = "words"

    kind: ClassVar[str] = "baseline"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name not in BASELINES:
            raise ValueError(f"a baseline is one of {', '.join(BASELINES)}, got {self.name!r}")
        if self.finetuning is None:
            raise ValueError(f"the baseline {self.name!r} is of tasks, so it needs finetuning")

    @property
    def pretraining(self) -> Experiment:
        """The pre-training as an `Experiment`: `replace` would make a `Baseline` of it."""
        return Experiment(self.variant, self.world, self.training, None, self.seed)

    def run(self, context: Context) -> Result:
        """`tasks`, as an experiment has them, with all blocks kept."""
        settings = self.finetuning
        assert settings is not None
        corpus = cached_corpus(self.world, self.seed)
        model = pretrained(self, corpus, context.result("pretraining"))
        scores = {}
        for name in settings.tasks:
            scores[name] = baseline(
                self.name,
                corpus,
                model,
                TASKS[name],
                examples=settings.examples,
                scored=settings.scored,
                seed=self.seed,
                steps=settings.steps,
                batch_size=settings.batch_size,
                learning_rate=settings.learning_rate,
            )
            context.report(settings.steps_of(name))
        return Result({"tasks": {str(self.variant.num_hidden_layers): scores}})


def pretrained(experiment: Experiment, corpus: Corpus, result: Result) -> LabModel:
    """The model whose weights an experiment's pre-training left behind. Raises ValueError where they are not all there."""
    training = experiment.training
    sizes = experiment.variant.sizes(len(corpus.pieces))
    model = LabModel(sizes, seed=experiment.seed, backend=training.backend, dtype=training.dtype)
    shapes = {name: tuple(array.shape) for name, array in model.parameters.items()}
    if {name: array.shape for name, array in result.arrays.items()} != shapes:
        raise ValueError(f"the weights of the pre-trained model with seed {experiment.seed} are not all there")
    for name, array in result.arrays.items():
        model.parameters[name] = model.backend.array(array)
    return model


@lru_cache(maxsize=2)
def cached_corpus(world: World, seed: int) -> Corpus:
    """`build_corpus`, kept for the next run: a process goes through the variants of a seed one after the other."""
    return build_corpus(world, seed)


def pretrain(model: LabModel, corpus: Corpus, training: Training, report: Callable[[int], None]) -> dict[str, Any]:
    """Trains `model` in place; what is seen on the way: the loss on validation sentences, the two sides' gradients."""
    once, twice = (
        MaskedLMData(lines, corpus.pieces, POSITIONS, lines_per_sequence=1)
        for lines in (corpus.train_lines, corpus.told_twice)
    )
    optimizer = model.backend.adamw(model.parameters)
    points = {training.steps * (n + 1) // CURVE_POINTS for n in range(CURVE_POINTS)}
    curve: dict[str, list[float]] = {"step": [], "held_out_loss": []}
    sides: dict[str, list[float]] = {"step": [], "input": [], "output": []}
    validation = [corpus.encode(corpus.validation[:200], name) for name in corpus.world.language_names]
    for step in range(training.steps):
        data = once if (step + 1) % training.twice_every else twice
        batch = data.batch(training.batch_size, model.seed, step)._asdict()
        if step < EARLY_STEPS and step % EARLY_EVERY == 0:
            reading, scoring = side_gradients(model, batch)
            for name, value in (("step", step), ("input", reading), ("output", scoring)):
                sides[name].append(value)
        _, gradients = model.loss_and_gradients(**batch)
        clip_gradients(gradients, CLIP, model.backend.norm)
        rate = learning_rate_at(step, training.learning_rate, min(training.warmup, training.steps // 2), training.steps)
        optimizer.step(gradients, rate)
        report(1)
        if step + 1 in points:
            curve["step"].append(step + 1)
            curve["held_out_loss"].append(_scores(model, corpus, validation)["loss"])
    return {"curve": curve, "side_gradients": sides}


def held_out(model: LabModel, corpus: Corpus) -> dict[str, Any]:
    """Masked words of the test sentences of all languages: nats each, and the share that is guessed right."""
    return _scores(model, corpus, [corpus.encode(corpus.test, name) for name in corpus.world.language_names])


def tasks(
    model: LabModel, corpus: Corpus, finetuning: Finetuning, report: Callable[[int], None]
) -> dict[str, dict[str, dict[str, float]]]:
    """Scores by the number of blocks kept, task and language: each task learned in the first language, scored in all."""
    names = corpus.world.language_names
    layers = model.sizes.num_hidden_layers
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for name in finetuning.tasks:
        task = TASKS[name]
        to_learn = task.examples(corpus, names[0], "train", finetuning.examples, model.seed)
        to_score = {name: task.examples(corpus, name, "test", finetuning.scored, model.seed) for name in names}
        for dropped in finetuning.dropped:
            tuned = fine_tune(
                model,
                task,
                to_learn,
                steps=finetuning.steps,
                batch_size=finetuning.batch_size,
                learning_rate=finetuning.learning_rate,
                seed=model.seed,
                kept_layers=layers - dropped,
            )
            found = {language: score(tuned, task, examples)["score"] for language, examples in to_score.items()}
            scores.setdefault(str(layers - dropped), {})[name] = found
            report(finetuning.steps_of(task.name))
    return scores


def on_host(model: LabModel) -> LabModel:
    """The same weights on NumPy, for the probes."""
    if model.backend.name == "numpy":
        return model
    host = LabModel(model.sizes, seed=model.seed)
    for name, array in host.parameters.items():
        array[...] = model.backend.numpy(model.parameters[name])
    return host


def _scores(model: LabModel, corpus: Corpus, lines: list[list[list[int]]]) -> dict[str, float]:
    data = MaskedLMData(
        [Language(name, own) for name, own in zip(corpus.world.language_names, lines, strict=True)],
        corpus.pieces,
        POSITIONS,
        lines_per_sequence=1,
    )
    loss, right, count = 0.0, 0, 0
    for _, batch in data.held_out_batches(250, corpus.seed):
        chosen = batch.labels != IGNORE_INDEX
        output = model(**batch._asdict())
        logits, labels = model.backend.numpy(output.logits)[chosen], batch.labels[chosen]
        loss += float(output.loss) * len(labels)
        right += int((logits.argmax(-1) == labels).sum())
        count += len(labels)
    return {"loss": loss / count, "accuracy": right / count}
