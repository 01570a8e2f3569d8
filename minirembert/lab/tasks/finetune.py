"""Learning a task from a lab model, and scoring what came of it.

model = fine_tune(lab_model, TASKS["tags"], TASKS["tags"].examples(corpus, "a", "train", 8000))
score(model, TASKS["tags"], TASKS["tags"].examples(corpus, "b", "test", 500))     # {"score": 0.81}
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Integer

from minirembert.lab.model import LabModel
from minirembert.lab.tasks.task import Examples, Task
from minirembert.ops.array import Array
from minirembert.scalars import is_integer, is_number
from minirembert.training.optimizer import clip_gradients, learning_rate_at

SORTED_TOGETHER = 8  # batches
SCORED_TOGETHER = 250  # examples
CLIP = 1.0  # of the gradient's norm (paper, Table 14)


def fine_tune(
    lab_model: LabModel,
    task: Task,
    examples: Examples,
    *,
    steps: int = 500,
    batch_size: int = 32,
    learning_rate: float = 1.5e-3,
    seed: int = 0,
    kept_layers: int | None = None,
) -> Any:
    """A model of `task.model_class` that learned `examples`, on copies of the first `kept_layers` blocks (default: all).

    Everything is trained, with AdamW, for `steps` times `task.times` steps: a tenth of them up to `learning_rate`, then down
    to 0. The new head and the order of the examples depend on `seed` alone. It computes where `lab_model` does. Raises
    ValueError for negative steps, a batch size below 1, a learning rate that is not above 0, and for what
    `LabModel.task_model` refuses.
    """
    for what, value, least in (("steps", steps, 0), ("batch_size", batch_size, 1)):
        if not is_integer(value) or value < least:
            raise ValueError(f"{what} must be an integer of at least {least}, got {value!r}")
    if not is_number(learning_rate) or learning_rate <= 0:
        raise ValueError(f"learning_rate must be above 0 and finite, got {learning_rate!r}")
    steps, batch_size, learning_rate = int(steps), int(batch_size), float(learning_rate)
    model = lab_model.task_model(task.model_class, kept_layers, seed, num_labels=len(task.answers))
    optimizer = model.backend.adamw(model.parameters)
    steps *= task.times
    for step, rows in enumerate(islice(_batches(examples.lengths, batch_size, seed), steps)):
        _, gradients = model.loss_and_gradients(**examples.batch(rows))
        clip_gradients(gradients, CLIP, model.backend.norm)
        optimizer.step(gradients, learning_rate_at(step, learning_rate, steps // 10, steps))
    return model


def score(model: Any, task: Task, examples: Examples) -> dict[str, float]:
    """What a model of `task.model_class` is worth on examples: "score", and for questions "em" and "f1", in [0, 1]."""
    return task.score(outputs(model, examples), examples)


def outputs(model: Any, examples: Examples) -> list[Array]:
    """Logits on the host: (N, C) for classes, (N, S, C) for tags, (N, S) twice for spans."""
    parts = []
    for first in range(0, len(examples), SCORED_TOGETHER):
        some = slice(first, first + SCORED_TOGETHER)
        output = model(**{name: array[some] for name, array in examples.inputs.items()})
        logits = [output.logits] if "logits" in output else [output.start_logits, output.end_logits]
        parts.append([model.backend.numpy(array) for array in logits])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _batches(lengths: Integer[Array, " N"], size: int, seed: int) -> Iterator[Integer[Array, " B"]]:
    """Rows of batches without end, each row once in an epoch. A batch has examples of about one length: less padding."""
    rng = np.random.default_rng([seed, len(lengths)])
    while True:
        order = rng.permutation(len(lengths))
        batches = []
        for first in range(0, len(order), size * SORTED_TOGETHER):
            some = order[first : first + size * SORTED_TOGETHER]
            some = some[np.argsort(lengths[some], kind="stable")]
            batches += [some[start : start + size] for start in range(0, len(some), size)]
        for number in rng.permutation(len(batches)):
            yield batches[number]
