"""What a model costs, by component: parameters in pre-training and in fine-tuning, FLOPs for a token, memory.

    parameters(Sizes(), "pre-training")["output embedding"]     # 416,499,200

Everything follows from the shapes that `minirembert/model/` declares. A coupled model has the same arrays but for one: its
output embedding is its input embedding. An array of n numbers has n parameters. A matrix (out, in) takes 2 x out x in FLOPs,
a multiplication and an addition each, for every token that it is applied to; attention's own products take 4 S H for each
token and block: S scores and S weighted values of width d, in all heads together.

Not counted are look-ups, biases, norms, activations and softmax, which are small beside the matrices; nor, in memory, the
activations, which depend on how a program is written. A causal mask saves nothing here: most programs compute what it
hides. Cross-attention is taken to look at S states of the encoder.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from minirembert.lab.conventions import FINETUNING, HUGGING_FACE, PRETRAINING, Convention, Phase
from minirembert.lab.sizes import Sizes
from minirembert.model.encoder import block_shapes, pooler_shapes
from minirembert.model.factorized_embedding import factorized_embedding_shapes
from minirembert.model.output_head import output_head_shapes

ATTENTION_OVER_S = "attention over S"
COMPONENTS = (
    "input embedding", "positions, types, norm", "input projection",
    "attention", ATTENTION_OVER_S, "cross-attention", "feed-forward", "norms",
    "pooler", "head dense", "head norm", "output embedding", "output bias",
)  # fmt: skip
# What a state name contains -> the component. The first that fits counts.
_COMPONENT_OF = {
    "word_embeddings": "input embedding",
    "embeddings.": "positions, types, norm",
    "embedding_hidden_mapping_in": "input projection",
    "pooler": "pooler",
    "predictions.dense": "head dense",
    "predictions.LayerNorm": "head norm",
    "predictions.decoder.weight": "output embedding",
    "predictions.decoder.bias": "output bias",
    "LayerNorm": "norms",
    "crossattention": "cross-attention",
    "attention": "attention",
    "dense": "feed-forward",
}
_LOOKED_UP = ("input embedding", "positions, types, norm")  # a look-up multiplies nothing
_SCORES = ("head dense", "output embedding")  # what runs for the scored positions only

BACKWARD = 2  # times the forward FLOPs: each product has two gradients, its input's and its matrix's
MASKED_PERCENT = 15  # of the tokens, in pre-training
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class Array(NamedTuple):
    """An array of a model, or as many as there are blocks."""

    name: str  # its state name in RemBertModel or the head, with * for the number of the block
    shape: tuple[int, ...]
    copies: int

    @property
    def component(self) -> str:
        """The component that its numbers count under, one of the lines of the ledger."""
        return next(component for part, component in _COMPONENT_OF.items() if part in self.name)

    @property
    def size(self) -> int:
        """How many numbers all its copies have."""
        return self.copies * math.prod(self.shape)


def arrays(sizes: Sizes, phase: Phase) -> Iterator[Array]:
    """Every array that the model has in this phase, the pooler among them: a convention may leave it out."""
    config = sizes.to_config()
    single = factorized_embedding_shapes(config)
    blocks = {f"encoder.layer.*.{name}": shape for name, shape in block_shapes(config).items()}
    single |= pooler_shapes(config)
    if phase == PRETRAINING:
        single |= output_head_shapes(config)
    for name, shape in single.items():
        if not _is_missing(name, sizes):
            yield Array(name, shape, 1)
    for name, shape in blocks.items():
        yield Array(name, shape, layers(sizes, phase))


def layers(sizes: Sizes, phase: Phase) -> int:
    """The number of blocks in a phase: fine-tuning does without the dropped ones."""
    return sizes.num_hidden_layers - (sizes.dropped_layers if phase == FINETUNING else 0)


def parameters(sizes: Sizes, phase: Phase, convention: Convention = HUGGING_FACE) -> dict[str, int]:
    """Component -> parameters, in the order of the forward pass; 0 for what the model does not have."""
    counts = dict.fromkeys(COMPONENTS, 0)
    for array in arrays(sizes, phase):
        if convention.counts(array.component, phase):
            counts[array.component] += array.size
    return counts


def total(sizes: Sizes, phase: Phase, convention: Convention = HUGGING_FACE) -> int:
    """The parameters of all components that count in a phase under a convention."""
    return sum(parameters(sizes, phase, convention).values())


def flops(sizes: Sizes, phase: Phase, sequence_length: int = 512, scored: int | None = None) -> dict[str, float]:
    """Component -> FLOPs for a token, forward, on average over a sequence. Backward takes `BACKWARD` times as many.

    `sequence_length`: S, in tokens. `scored`: how many of them the output head runs for (None: all); see
    `masked_positions`. Pre-training has no pooler, fine-tuning no output head. Raises ValueError for what no sequence is.
    """
    S, scored = sequence_length, check_sequence(sizes, sequence_length, scored)
    sums = dict.fromkeys(COMPONENTS, 0)  # for a sequence
    for array in arrays(sizes, phase):
        times = {"pooler": 0 if phase == PRETRAINING else 1, **dict.fromkeys(_SCORES, scored)}.get(array.component, S)
        if len(array.shape) == 2 and array.component not in _LOOKED_UP:
            sums[array.component] += times * 2 * array.size
    if sizes.tied and phase == PRETRAINING:  # the matrix is counted as the input embedding, but it multiplies here
        sums["output embedding"] = scored * 2 * sizes.vocab_size * sizes.outputs
    attentions = 2 if sizes.cross_attention else 1
    sums[ATTENTION_OVER_S] = S * 4 * S * sizes.hidden_size * layers(sizes, phase) * attentions
    return {component: sum_ / S for component, sum_ in sums.items()}


def masked_positions(sequence_length: int) -> int:
    """How many tokens of a sequence are masked in pre-training: 15% of them, at least one."""
    return max(1, (MASKED_PERCENT * sequence_length + 50) // 100)


def memory(
    sizes: Sizes,
    phase: Phase,
    batch_size: int = 1,
    sequence_length: int = 512,
    scored: int | None = None,
    dtype: str = "float32",
) -> dict[str, int]:
    """What training with AdamW keeps -> bytes, the activations left out.

    Weights, gradients and logits have the given dtype, AdamW's two moments are float32, and beside weights in half
    precision there are float32 ones. The logits, (batch, scored, V), are counted once; their gradient needs as much again.
    Raises ValueError for what no batch is.
    """
    scored = check_sequence(sizes, sequence_length, scored)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if dtype not in BYTES:
        raise ValueError(f"dtype must be one of {', '.join(BYTES)}, got {dtype!r}")
    numbers, width = total(sizes, phase), BYTES[dtype]
    return {
        "weights": numbers * width,
        "gradients": numbers * width,
        "AdamW's moments": numbers * 2 * BYTES["float32"],
        "float32 weights": 0 if dtype == "float32" else numbers * BYTES["float32"],
        "logits": batch_size * scored * sizes.vocab_size * width if phase == PRETRAINING else 0,
    }


def check_sequence(sizes: Sizes, sequence_length: int, scored: int | None) -> int:
    """How many positions are scored. Raises ValueError for what no sequence of this model is."""
    if not 1 <= sequence_length <= sizes.max_position_embeddings:
        raise ValueError(
            f"sequence_length must be 1 to {sizes.max_position_embeddings} (max_position_embeddings), got {sequence_length}"
        )
    if scored is None:
        return sequence_length
    if not 0 <= scored <= sequence_length:
        raise ValueError(f"scored must be 0 to {sequence_length} (sequence_length), got {scored}")
    return scored


def _is_missing(name: str, sizes: Sizes) -> bool:
    """Whether RemBERT has this array and the model does not."""
    if name == "cls.predictions.decoder.weight":
        return sizes.tied
    if "predictions.LayerNorm" in name:
        return sizes.head != "gelu_ln"
    if "predictions.dense" in name:
        return sizes.head == "none"
    return "embedding_hidden_mapping_in" in name and not sizes.has_input_projection
