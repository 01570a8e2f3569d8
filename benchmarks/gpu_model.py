"""A whole step: RemBertForMaskedLM forward and backward, with our kernels and by transformers, from the same weights.

Only called, without CUDA graphs: the step reads its loss. Ours scores the labelled positions alone, transformers all of
them; that is part of the difference, as it is for somebody who trains.

Not here: the optimizer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from kernels._launch import DEVICE
from minirembert import RemBertConfig, RemBertForMaskedLM

LABELLED = 0.15
LIMITS = {"loss": 0.01, "gradients": 0.1}  # relative, between two programs in bfloat16

Step = Callable[[], tuple[float, dict[str, torch.Tensor]]]  # the loss, and gradients by name


class Case(NamedTuple):
    config: RemBertConfig
    batch: int
    length: int

    def __str__(self) -> str:
        return f"{self.config.num_hidden_layers} layers, {self.batch} x {self.length}"


def rembert(layers: int = 4) -> Case:
    return Case(RemBertConfig(num_hidden_layers=layers), 16, 512)


def batch_of(case: Case) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    ids = rng.integers(5, case.config.vocab_size, (case.batch, case.length))
    return {"input_ids": ids, "labels": np.where(rng.random(ids.shape) < LABELLED, ids, -100)}


def our_model(case: Case, dtype: str) -> RemBertForMaskedLM:
    return RemBertForMaskedLM(case.config, dtype=dtype, backend="triton")


def our_step(model: RemBertForMaskedLM, batch: dict[str, np.ndarray]) -> Step:
    return lambda: model.loss_and_gradients(**batch)


def their_step(case: Case, model: RemBertForMaskedLM, batch: dict[str, np.ndarray]) -> Step:
    """By transformers, from the same weights. Raises ImportError without it."""
    import transformers

    sizes = {name: getattr(case.config, name) for name in SIZES}
    with torch.device(DEVICE):
        theirs = transformers.RemBertForMaskedLM(transformers.RemBertConfig(**sizes)).to(model.dtype).eval()
    _, unexpected = theirs.load_state_dict(model.parameters, strict=False)
    if unexpected:
        raise ValueError(f"transformers does not know {', '.join(unexpected)}")
    tensors = {name: torch.from_numpy(array).to(DEVICE) for name, array in batch.items()}

    def step() -> tuple[float, dict[str, torch.Tensor]]:
        theirs.zero_grad(set_to_none=True)
        loss = theirs(**tensors).loss
        loss.backward()
        return float(loss.detach()), {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}

    return step


SIZES = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "input_embedding_size",
    "output_embedding_size", "intermediate_size", "max_position_embeddings", "type_vocab_size", "hidden_act",
    "layer_norm_eps", "pad_token_id",
)  # fmt: skip


def differences(ours: Any, theirs: Any) -> dict[str, float]:
    """Relative: of the losses, and of all gradients taken together."""
    (our_loss, our_gradients), (their_loss, their_gradients) = ours, theirs
    if missing := set(our_gradients) - set(their_gradients):
        raise ValueError(f"transformers has no gradient for {', '.join(sorted(missing))}")
    apart = total = 0.0
    for name, gradient in our_gradients.items():
        other = their_gradients[name].float()
        apart += float((gradient.float() - other).square().sum())
        total += float(other.square().sum())
    return {"loss": abs(our_loss - their_loss) / abs(their_loss), "gradients": (apart / total) ** 0.5}


def cost(case: Case, labelled: int) -> tuple[float, float]:
    """(bytes, FLOPs) of a step: every parameter read twice and its gradient written once; three times the forward products."""
    c = case.config
    tokens = case.batch * case.length
    layer = 4 * c.hidden_size**2 + 2 * c.hidden_size * c.intermediate_size
    layer += 2 * case.length * c.hidden_size  # scores, and the average of the values
    products = tokens * (c.num_hidden_layers * layer + c.input_embedding_size * c.hidden_size)
    products += labelled * c.output_embedding_size * (c.hidden_size + c.vocab_size)
    parameters = sum(int(np.prod(shape)) for shape in RemBertForMaskedLM.parameter_shapes(c).values())
    return 3.0 * 2 * parameters, 3 * 2.0 * products
