"""Calls whose results were recorded from transformers 4.34, the last version with RemBERT's whole documented interface.

`record_4_34.py` runs them there and writes `data/transformers_4_34.npz`; `test_recorded.py` runs them here. Weights and inputs
are made from names and seeds, so only results are stored. This file needs NumPy alone: it is imported by both, under versions
of everything else that cannot live together.
"""

import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

SIZES = dict(
    vocab_size=23, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, input_embedding_size=5,
    output_embedding_size=7, intermediate_size=11, max_position_embeddings=20,
)  # fmt: skip
B, S, T, L, H, h = 2, 6, 5, 2, 12, 3


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Nothing zero, nothing symmetric; LayerNorm weights around 1."""
    rng = np.random.default_rng(zlib.crc32(name.removeprefix("rembert.").encode()))
    return 0.3 * rng.standard_normal(shape) + (1 if name.endswith("LayerNorm.weight") else 0)


def ids(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 23, shape or (B, S))


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def some(seed: int, *shape: int) -> np.ndarray:
    """A mask in which every row has a 1."""
    mask = (np.random.default_rng(seed).random(shape) < 0.6).astype(np.int64)
    mask[..., 0] = 1
    return mask


class Recorded(NamedTuple):
    """Calls of one model (its class name without RemBert), one after the other.

    `carry`: each call is given the cache that the one before it returned. `pooling`: `add_pooling_layer`.
    """

    model: str
    calls: list[dict[str, Any]]
    config: Mapping[str, Any] = MappingProxyType({})
    carry: bool = False
    pooling: bool = True


RIGHT = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
LEFT = RIGHT[:, ::-1].copy()
EVERYTHING = {"output_hidden_states": True, "output_attentions": True}
DECODER = {"is_decoder": True}
CROSS = {"is_decoder": True, "add_cross_attention": True}
STATES = {"encoder_hidden_states": normal(1, B, T, H)}

CASES = {
    "encoder": Recorded("Model", [{"input_ids": ids(0), "attention_mask": RIGHT, **EVERYTHING}]),
    "encoder, no pooler": Recorded("Model", [{"input_ids": ids(0)}], pooling=False),
    "encoder, a mask of fractions": Recorded(
        "Model", [{"input_ids": ids(0), "attention_mask": np.where(LEFT == 0, 0.5, 1.0)}]
    ),
    "encoder, a mask for every query": Recorded(
        "Model", [{"input_ids": ids(0), "attention_mask": some(2, B, S, S), **EVERYTHING}]
    ),
    "encoder, a row that sees nothing": Recorded("Model", [{"input_ids": ids(0), "attention_mask": RIGHT * [[0], [1]]}]),
    "encoder, a factor a head": Recorded(
        "Model", [{"input_ids": ids(0), "head_mask": np.array([1.0, 0.0, 0.5]), **EVERYTHING}]
    ),
    "encoder, a factor for each layer and head": Recorded(
        "Model", [{"input_ids": ids(0), "head_mask": np.array([[1.0, 0.0, 0.5], [0.0, 1.0, -2.0]]), **EVERYTHING}]
    ),
    "encoder, embeddings, types and positions": Recorded(
        "Model",
        [{"inputs_embeds": normal(3, B, S, 5), "token_type_ids": ids(4) % 2, "position_ids": ids(5) % 20}],
    ),
    "encoder, feed-forward in chunks": Recorded("Model", [{"input_ids": ids(0)}], {"chunk_size_feed_forward": 2}),
    "decoder": Recorded("Model", [{"input_ids": ids(0), "attention_mask": LEFT, **EVERYTHING}], DECODER),
    "decoder, no cache": Recorded("Model", [{"input_ids": ids(0), "use_cache": False}], DECODER),
    "decoder, a mask for every query": Recorded(
        "Model", [{"input_ids": ids(0), "attention_mask": some(2, B, S, S)}], DECODER
    ),
    "decoder, step by step": Recorded(
        "ForCausalLM",
        [
            {"input_ids": ids(0)},
            {"input_ids": ids(6, B, 3), "attention_mask": np.concatenate([LEFT, np.ones((B, 3), int)], 1)},
            {"input_ids": ids(7, B, 1), **EVERYTHING},
        ],
        DECODER,
        carry=True,
    ),
    "decoder, a mask for every query and the past": Recorded(
        "ForCausalLM",
        [{"input_ids": ids(0)}, {"input_ids": ids(6, B, 3), "attention_mask": some(8, B, 3, S + 3)}],
        DECODER,
        carry=True,
    ),
    "cross-attention": Recorded(
        "Model",
        [{"input_ids": ids(0), **STATES, "encoder_attention_mask": some(9, B, T), "attention_mask": RIGHT, **EVERYTHING}],
        CROSS,
    ),
    "cross-attention, a mask for every query": Recorded(
        "Model", [{"input_ids": ids(0), **STATES, "encoder_attention_mask": some(9, B, S, T)}], CROSS
    ),
    "cross-attention, a factor a head": Recorded(
        "Model", [{"input_ids": ids(0), **STATES, "head_mask": np.array([1.0, 0.0, 0.5])}], CROSS
    ),
    "cross-attention, step by step": Recorded(
        "ForCausalLM",
        [
            {"input_ids": ids(0), **STATES, "encoder_attention_mask": some(9, B, T)},
            {"input_ids": ids(6, B, 2), **STATES, "encoder_attention_mask": some(9, B, T)},
            {"input_ids": ids(7, B, 1), **STATES, "encoder_attention_mask": some(9, B, T), **EVERYTHING},
        ],
        CROSS,
        carry=True,
    ),
    "cross-attention that is not asked for": Recorded("Model", [{"input_ids": ids(0)}], CROSS),
    "masked lm": Recorded("ForMaskedLM", [{"input_ids": ids(0), "labels": ids(1), **EVERYTHING}, {"input_ids": ids(0)}]),
    "masked lm with cross-attention": Recorded(
        "ForMaskedLM", [{"input_ids": ids(0), "labels": ids(1), **STATES}], {**CROSS, "use_cache": False}
    ),
    "causal lm": Recorded(
        "ForCausalLM",
        [{"input_ids": ids(0), "labels": np.where(RIGHT, ids(0), -100), "attention_mask": RIGHT, **EVERYTHING}],
        DECODER,
    ),
    "causal lm that is no decoder": Recorded("ForCausalLM", [{"input_ids": ids(0), "labels": ids(0)}]),
    "single label": Recorded(
        "ForSequenceClassification", [{"input_ids": ids(0), "labels": np.array([2, 0]), **EVERYTHING}], {"num_labels": 3}
    ),
    "regression": Recorded("ForSequenceClassification", [{"input_ids": ids(0), "labels": normal(2, B)}], {"num_labels": 1}),
    "multi label": Recorded(
        "ForSequenceClassification",
        [{"input_ids": ids(0), "labels": np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])}],
        {"num_labels": 3, "problem_type": "multi_label_classification"},
    ),
    "a decoder that classifies": Recorded(
        "ForSequenceClassification", [{"input_ids": ids(0), "head_mask": np.array([1.0, 0.0, 0.5])}],
        {**DECODER, "use_cache": False},
    ),
    "multiple choice": Recorded(
        "ForMultipleChoice",
        [{"input_ids": ids(0, B, 3, S), "attention_mask": some(3, B, 3, S), "labels": np.array([2, 0]), **EVERYTHING}],
    ),
    "token classification": Recorded(
        "ForTokenClassification", [{"input_ids": ids(0), "labels": ids(1) % 4, **EVERYTHING}], {"num_labels": 4}
    ),
    "question answering": Recorded(
        "ForQuestionAnswering",
        [{"input_ids": ids(0), "start_positions": np.array([1, 9]), "end_positions": np.array([3, 4]), **EVERYTHING}],
    ),
}  # fmt: skip


def flattened(value: Any) -> tuple[Any, list[np.ndarray]]:
    """(the structure, the arrays) of a tuple of tuples of arrays and Nones; in the structure an array is its shape."""
    if value is None:
        return None, []
    if isinstance(value, tuple | list):
        parts = [flattened(item) for item in value]
        return [structure for structure, _ in parts], [array for _, arrays in parts for array in arrays]
    array = np.asarray(value)
    return str(array.shape), [array]
