"""The output side: H -> O -> activation -> LayerNorm -> V (paper, sections 3 and 4; the released model's head).

Decoupled: the V x O matrix that scores the vocabulary is its own, and may be far wider than the input rows (O = 1664
against E = 256). It is thrown away before fine-tuning, so its 418 million parameters cost nothing there.
"""

from typing import Any

from minirembert.config import RemBertConfig
from minirembert.model.forward_pass import ForwardPass, Parameters


def output_head_shapes(config: RemBertConfig) -> dict[str, tuple[int, ...]]:
    """The parameters of the output side, under their names in the whole model."""
    O, V = config.output_embedding_size, config.vocab_size  # noqa: E741
    return {
        "cls.predictions.dense.weight": (O, config.hidden_size),
        "cls.predictions.dense.bias": (O,),
        "cls.predictions.LayerNorm.weight": (O,),
        "cls.predictions.LayerNorm.bias": (O,),
        "cls.predictions.decoder.weight": (V, O),
        "cls.predictions.decoder.bias": (V,),
    }


def output_head(run: ForwardPass, p: Parameters, x: Any) -> Any:
    """(..., H) -> (..., V) logits."""
    head = p.at("cls.predictions")
    # 1. to the width of the output embedding, and the non-linearity without which O > H would add no rank
    y = run.linear_activation(x, head.at("dense"))
    # 2. LayerNorm
    y = run.layer_norm(y, head.at("LayerNorm"))
    # 3. score every piece of the vocabulary
    return run.linear(y, head.at("decoder"))
