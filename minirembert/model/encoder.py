"""The encoder: the factorized embedding, then L blocks of attention and feed-forward; and the pooler on top of it."""

from typing import Any

import numpy as np

from minirembert.config import RemBertConfig
from minirembert.model.attention import attention_block, attention_shapes
from minirembert.model.factorized_embedding import factorized_embedding, factorized_embedding_shapes
from minirembert.model.feed_forward import feed_forward, feed_forward_shapes
from minirembert.model.forward_pass import ForwardPass, Parameters
from minirembert.model.inputs import Inputs
from minirembert.model.outputs import BaseModelOutput


def block_shapes(config: RemBertConfig) -> dict[str, tuple[int, ...]]:
    return {**attention_shapes(config), **feed_forward_shapes(config)}


def encoder_shapes(config: RemBertConfig) -> dict[str, tuple[int, ...]]:
    shapes = factorized_embedding_shapes(config)
    for n in range(config.num_hidden_layers):
        shapes |= {f"encoder.layer.{n}.{name}": shape for name, shape in block_shapes(config).items()}
    return shapes


def encoder(run: ForwardPass, p: Parameters, inputs: Inputs) -> BaseModelOutput:
    """ids -> hidden states (B, S, H). `hidden_states` has L + 1 entries: the embedding's, then each block's."""
    config = run.config
    x = factorized_embedding(run, p, inputs.input_ids, inputs.token_type_ids, inputs.position_ids, inputs.inputs_embeds)
    hidden_states, attentions = [x], []
    for n in range(config.num_hidden_layers):
        layer = p.at(f"encoder.layer.{n}")
        x, probabilities = attention_block(
            run, layer, x, inputs.attention_bias, inputs.key_lengths, inputs.output_attentions
        )
        x = feed_forward(run, layer, x)
        if inputs.output_hidden_states:
            hidden_states.append(x)
        attentions.append(probabilities)
    return BaseModelOutput(
        last_hidden_state=x,
        hidden_states=tuple(hidden_states) if inputs.output_hidden_states else None,
        attentions=tuple(attentions) if inputs.output_attentions else None,
    )


def pooler_shapes(config: RemBertConfig) -> dict[str, tuple[int, ...]]:
    H = config.hidden_size
    return {"pooler.dense.weight": (H, H), "pooler.dense.bias": (H,)}


def pooler(run: ForwardPass, p: Parameters, x: Any) -> Any:
    """(B, S, H) -> (B, H): tanh of a linear map of each sequence's first token, [CLS]."""
    batch, length, _ = x.shape
    first = run.ops.select_rows(x, np.arange(0, batch * length, length))
    return run.ops.tanh(run.linear(first, p.at("pooler.dense")))
