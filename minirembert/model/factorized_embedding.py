"""The input side: ids -> width E -> LayerNorm -> width H (paper, section 2; ALBERT's factorisation).

A table of V rows is the largest matrix of a multilingual model, and it stays for fine-tuning. RemBERT keeps its rows
narrow (E = 256) and widens them with one shared E x H projection. Note where the LayerNorm stands: at width E, before
the projection; the projection itself has neither norm nor activation, and its output is hidden state number 0.
"""

from typing import Any

from minirembert.config import RemBertConfig
from minirembert.model.forward_pass import ForwardPass, Parameters


def factorized_embedding_shapes(config: RemBertConfig) -> dict[str, tuple[int, ...]]:
    """The parameters of the input side: three tables of width E, a LayerNorm, the projection to H."""
    E, H = config.input_embedding_size, config.hidden_size
    return {
        "embeddings.word_embeddings.weight": (config.vocab_size, E),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, E),
        "embeddings.token_type_embeddings.weight": (config.type_vocab_size, E),
        "embeddings.LayerNorm.weight": (E,),
        "embeddings.LayerNorm.bias": (E,),
        "encoder.embedding_hidden_mapping_in.weight": (H, E),
        "encoder.embedding_hidden_mapping_in.bias": (H,),
    }


def factorized_embedding(
    run: ForwardPass, p: Parameters, input_ids: Any, token_type_ids: Any, position_ids: Any, inputs_embeds: Any = None
) -> Any:
    """(B, S) ids -> (B, S, H) hidden states. `inputs_embeds` (B, S, E) takes the place of the word rows."""
    ops, config = run.ops, run.config
    # 1. three rows of width E for every token: what it is, which sentence it belongs to, where it stands
    e = inputs_embeds
    if e is None:
        e = ops.embedding(p["embeddings.word_embeddings.weight"], input_ids, padding_idx=config.pad_token_id)
    e = ops.add(e, ops.embedding(p["embeddings.token_type_embeddings.weight"], token_type_ids))
    e = ops.add(e, ops.embedding(p["embeddings.position_embeddings.weight"], position_ids))
    # 2. LayerNorm at width E
    e = run.layer_norm(e, p.at("embeddings.LayerNorm"))
    e = run.dropout(e, config.hidden_dropout_prob)
    # 3. widen to H
    return run.linear(e, p.at("encoder.embedding_hidden_mapping_in"))
