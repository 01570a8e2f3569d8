"""Where the parameters go: counts by component, from the shapes that the model itself declares.

    parameter_budget(RemBertConfig())["output head"]     # 418,671,420

During pre-training a model has all of them; the output head is discarded before fine-tuning (paper, section 3).
These are RemBERT's four parts; `ledger.py` has them finer, for coupled models too, with FLOPs and memory.
"""

import math
from collections.abc import Mapping

from minirembert.config import RemBertConfig
from minirembert.model.encoder import block_shapes, pooler_shapes
from minirembert.model.factorized_embedding import factorized_embedding_shapes
from minirembert.model.output_head import output_head_shapes

OUTPUT_HEAD = "output head"


def parameter_budget(config: RemBertConfig) -> dict[str, int]:
    """Component -> parameters, in the order of the forward pass."""
    return {
        "input embedding": count(factorized_embedding_shapes(config)),
        "blocks": config.num_hidden_layers * count(block_shapes(config)),
        "pooler": count(pooler_shapes(config)),
        OUTPUT_HEAD: count(output_head_shapes(config)),
    }


def pretraining_parameters(config: RemBertConfig) -> int:
    """Encoder and output head: what masked language modelling trains (RemBertForMaskedLM, which has no pooler).

    The paper's 995 million count the pooler too: `sum(parameter_budget(config).values())`.
    """
    return sum(n for part, n in parameter_budget(config).items() if part != "pooler")


def finetuning_parameters(config: RemBertConfig) -> int:
    """Encoder and pooler: what is left for a task, without the task's own head (RemBertModel)."""
    return sum(n for part, n in parameter_budget(config).items() if part != OUTPUT_HEAD)


def count(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many numbers arrays of these shapes hold."""
    return sum(math.prod(shape) for shape in shapes.values())
