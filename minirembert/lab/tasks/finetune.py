"""Fine-tuning a lab model on a task, and scoring the result."""

from typing import Any

import numpy as np

from minirembert.lab.model import LabModel
from minirembert.lab.tasks.task import Examples, Task
from minirembert.model.base import RemBertPreTrainedModel
from minirembert.ops.array import Array
from minirembert.training.optimizer import clip_gradients, learning_rate_at

BATCHES_SORTED = 8  # together, by length


def fine_tune(lab_model: LabModel, task: Task, examples: Examples, *, steps: int = 300, batch_size: int = 32,
    learning_rate: float = 1e-3, seed: int = 0, kept_layers: int | None = None) -> Any:
    model = lab_model.task_model(task.model_class, kept_layers, seed, num_labels=task.num_labels)
    optimizer = model.backend.adamw(model.parameters)
    for step, rows in zip(range(steps), batches(examples, batch_size, seed), strict=False):
        _, gradients = model.loss_and_gradients(**examples.batch(rows))
        clip_gradients(gradients, 1.0, model.backend.norm)
        optimizer.step(gradients, learning_rate_at(step, learning_rate, steps // 10, steps))
    return model


def batches(examples: Examples, size: int, seed: int):
    rng = np.random.default_rng([seed, 1])
    lengths = examples.lengths
    while True:
        order = rng.permutation(len(examples))
        groups = []
        for first in range(0, len(order), size * BATCHES_SORTED):
            chunk = order[first : first + size * BATCHES_SORTED]
            chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
            groups += [chunk[i : i + size] for i in range(0, len(chunk), size)]
        for i in rng.permutation(len(groups)):
            yield groups[i]


def outputs(model: RemBertPreTrainedModel, task: Task, examples: Examples) -> list[Array]:
    N = len(examples)
    order = np.argsort(examples.lengths, kind="stable")
    S = examples.inputs["input_ids"].shape[1]
    found: list[Array] = []
    for i in range(0, N, 100):
        rows = order[i : i + 100]
        batch = {k: v for k, v in examples.batch(rows).items() if k in examples.inputs}
        out = model(**batch)
        parts = [model.backend.numpy(p) for p in ([out.start_logits, out.end_logits] if "start_logits" in out.keys() else [out.logits])]
        if not found:
            found = [np.full((N, *( (S, *p.shape[2:]) if p.shape[1] == batch["input_ids"].shape[1] and p.ndim > 1 and task.model_class.__name__ != "RemBertForSequenceClassification" else p.shape[1:])), -np.inf, np.float32) for p in parts]
        for target, p in zip(found, parts):
            if task.model_class.__name__ == "RemBertForSequenceClassification":
                target[rows] = p
            else:
                target[rows, : p.shape[1]] = p
    return found


def score(model: RemBertPreTrainedModel, task: Task, examples: Examples) -> dict[str, float]:
    return task.score(outputs(model, task, examples), examples)
