"""Small models and batches that the model tests share: odd sizes, every class, every kind of label."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minirembert import (
    RemBertConfig,
    RemBertForCausalLM,
    RemBertForMaskedLM,
    RemBertForMultipleChoice,
    RemBertForQuestionAnswering,
    RemBertForSequenceClassification,
    RemBertForTokenClassification,
    RemBertModel,
)
from minirembert.model.base import RemBertPreTrainedModel

# Sizes at which mistakes show: no two widths alike, head sizes 7, 5 and 1, H no multiple of 8, one layer and several.
SIZES = {
    "head size 7": dict(
        vocab_size=61, hidden_size=42, num_hidden_layers=3, num_attention_heads=6, input_embedding_size=10,
        output_embedding_size=26, intermediate_size=53, max_position_embeddings=33,
    ),
    "one head": dict(
        vocab_size=37, hidden_size=5, num_hidden_layers=2, num_attention_heads=1, input_embedding_size=9,
        output_embedding_size=3, intermediate_size=7, max_position_embeddings=19, type_vocab_size=3,
    ),
    "head size 1": dict(
        vocab_size=29, hidden_size=6, num_hidden_layers=1, num_attention_heads=6, input_embedding_size=4,
        output_embedding_size=15, intermediate_size=11, max_position_embeddings=18, pad_token_id=3,
    ),
}  # fmt: skip
SEQUENCE = 17

Labels = Callable[[np.random.Generator, dict[str, int], tuple[int, ...]], dict[str, Any]]


def masked_lm_labels(rng: np.random.Generator, size: dict[str, int], shape: tuple[int, ...]) -> dict[str, Any]:
    return {"labels": np.where(rng.random(shape) < 0.3, rng.integers(0, size["vocab_size"], shape), -100)}


def positions(rng: np.random.Generator, size: dict[str, int], shape: tuple[int, ...]) -> dict[str, Any]:
    """One inside, one past the end (ignored), one negative (counts as 0)."""
    B, S = shape
    inside = rng.integers(0, S, B)
    return {
        "start_positions": np.concatenate([inside[:-1], [S + 4]]),
        "end_positions": np.concatenate([[-1], inside[1:]]),
    }


class Task(NamedTuple):
    """A model class with one way of giving it labels."""

    model: type[RemBertPreTrainedModel]
    labels: Labels | None
    config: dict[str, Any]
    choices: tuple[int, ...] = ()  # an extra axis in the inputs


TASKS = {
    "encoder": Task(RemBertModel, None, {}),
    "masked lm": Task(RemBertForMaskedLM, masked_lm_labels, {}),
    "causal lm": Task(RemBertForCausalLM, masked_lm_labels, {"is_decoder": True, "use_cache": False}),
    "causal lm that sees the future": Task(RemBertForCausalLM, masked_lm_labels, {}),
    "single label": Task(
        RemBertForSequenceClassification,
        lambda rng, s, shape: {"labels": rng.integers(0, 3, shape[0])},
        {"num_labels": 3},
    ),
    "single label, one ignored": Task(
        RemBertForSequenceClassification,
        lambda rng, s, shape: {"labels": np.array([2] * (shape[0] - 1) + [-100])},
        {"num_labels": 3},
    ),
    "multi label": Task(
        RemBertForSequenceClassification,
        lambda rng, s, shape: {"labels": rng.integers(0, 2, (shape[0], 3)).astype(float)},
        {"num_labels": 3},
    ),
    "regression": Task(
        RemBertForSequenceClassification,
        lambda rng, s, shape: {"labels": rng.standard_normal(shape[0])},
        {"num_labels": 1},
    ),
    "regression on three": Task(
        RemBertForSequenceClassification,
        lambda rng, s, shape: {"labels": rng.standard_normal((shape[0], 3))},
        {"num_labels": 3, "problem_type": "regression"},
    ),
    "token classification": Task(
        RemBertForTokenClassification,
        lambda rng, s, shape: {"labels": np.where(rng.random(shape) < 0.5, rng.integers(0, 4, shape), -100)},
        {"num_labels": 4},
    ),
    "question answering": Task(RemBertForQuestionAnswering, positions, {}),
    "multiple choice": Task(
        RemBertForMultipleChoice, lambda rng, s, shape: {"labels": rng.integers(0, 3, shape[0])}, {}, choices=(3,)
    ),
}
WITH_LOSS = [name for name, task in TASKS.items() if task.labels]


def randomised(parameters: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """Every weight and bias N(0, 0.3), LayerNorm weights around 1: nothing zero, nothing symmetric, gradients everywhere."""
    for name, array in parameters.items():
        array[...] = 0.3 * rng.standard_normal(array.shape) + (1 if name.endswith("LayerNorm.weight") else 0)


def make_model(task: Task, size: str = "head size 7", dtype: str = "float64", seed: int = 0, **changes: Any) -> Any:
    config = RemBertConfig(**SIZES[size] | task.config | changes)
    model = task.model(config, dtype=dtype)
    randomised(model.parameters, np.random.default_rng(seed))
    return model


def make_batch(
    task: Task, size: str = "head size 7", seed: int = 0, batch: int = 3, with_labels: bool = True
) -> dict[str, Any]:
    """Ids with token types, a ragged mask with a row that sees nothing, and labels."""
    sizes = {"type_vocab_size": 2} | SIZES[size]
    rng = np.random.default_rng(seed)
    shape = (batch, *task.choices, SEQUENCE)
    mask = np.ones(shape, int)
    mask.reshape(-1, SEQUENCE)[0, 12:] = 0  # padding on the right
    mask.reshape(-1, SEQUENCE)[1, :5] = 0  # and on the left
    mask.reshape(-1, SEQUENCE)[2] = 0
    inputs = {
        "input_ids": rng.integers(0, sizes["vocab_size"], shape),
        "token_type_ids": rng.integers(0, sizes["type_vocab_size"], shape),
        "attention_mask": mask,
    }
    if task.labels and with_labels:
        inputs |= task.labels(rng, sizes, (batch, SEQUENCE))
    return inputs
