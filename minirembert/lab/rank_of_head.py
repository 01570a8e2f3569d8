"""What a wide output embedding can do for a narrow encoder: the rank of the logits, without language and without encoder.

    >>> HeadExperiment(head="linear", output_embedding_size=256).run(Context())
    {'kl': 0.769, 'rank': 17, 'effective_rank': 16.9}

384 contexts, each with a distribution over 256 words, drawn so that the logits have full rank. In place of an encoder each
context has a vector of its own in R^H with H = 16, and these vectors are learned together with the head, so nothing but the
head stands between a model and a perfect fit. What it cannot reach is the softmax bottleneck (Yang et al. 2018): h W^T has at
most rank H, whatever the width of a linear map in between, and a bias of the words adds 1. A non-linearity lifts that limit to
O (paper, section 4; its footnote 3 has the linear map, the released model GELU and LayerNorm).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from minirembert.lab.geometry import ranks_of_logits
from minirembert.lab.jobs import Context, Job, Result
from minirembert.lab.model import LabModel
from minirembert.lab.sizes import HEADS, Sizes
from minirembert.model.forward_pass import ForwardPass, Parameters
from minirembert.ops import OPS
from minirembert.ops.array import Array
from minirembert.settings import option
from minirembert.tape import Forward, Tape
from minirembert.training.optimizer import AdamW, learning_rate_at

CONTEXTS = "contexts"  # the name of the free vectors among the parameters


@dataclass(frozen=True)
class HeadExperiment:
    """One head of one width, fitted to one teacher. Raises ValueError, naming the setting, for what cannot be."""

    head: str = option("before the output embedding: " + ", ".join(HEADS), "gelu_ln")
    output_embedding_size: int = option("O, the width of the output embedding; with head none: H", 256)
    hidden_size: int = option("H, the width of the context vectors", 16)
    vocab_size: int = option("V, words", 256)
    contexts: int = option("distributions to be fitted", 384)
    spread: float = option("standard deviation of the teacher's logits: the larger, the surer it is", 2.0)
    steps: int = option("of Adam, each on all contexts", 1500)
    learning_rate: float = option("at its start; it falls to 0 in a straight line", 2e-2)
    seed: int = option("of the teacher and of the first weights", 0)

    kind: ClassVar[str] = "head"

    def __post_init__(self) -> None:
        for name in ("contexts", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("spread", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        self.sizes  # noqa: B018  # refuses sizes that no model can have

    @property
    def sizes(self) -> Sizes:
        """The sizes of a lab model without blocks, whose head is the one that is fitted."""
        return Sizes(
            vocab_size=self.vocab_size,
            input_embedding_size=1,
            hidden_size=self.hidden_size,
            num_hidden_layers=0,
            num_attention_heads=1,
            output_embedding_size=self.output_embedding_size,
            head=self.head,
        )

    @property
    def needs(self) -> Mapping[str, Job]:
        """Empty: the experiment uses the result of no other job."""
        return {}

    def teacher(self) -> Float[Array, "contexts V"]:
        """Probabilities, the softmax of independent normal numbers."""
        rng = np.random.default_rng(self.seed)
        return _softmax(self.spread * rng.standard_normal((self.contexts, self.vocab_size)))

    def run(self, context: Context) -> Result:
        """Fits, and returns the mean Kullback-Leibler divergence from teacher to head in nats (`kl`), the `rank` and the
        `effective_rank` of the logits (`ranks_of_logits`).
        """
        model, teacher = LabModel(self.sizes, seed=self.seed), self.teacher()
        parameters = {name: p for name, p in model.parameters.items() if name.startswith("cls.predictions.")}
        rng = np.random.default_rng([self.seed, 1])
        parameters[CONTEXTS] = rng.standard_normal((self.contexts, self.hidden_size), np.float32)
        optimizer = AdamW(parameters, weight_decay=0.0)
        target = teacher.astype(np.float32)
        for step in range(self.steps):
            tape = Tape(OPS)
            logits = _score(model, tape, parameters)
            d_logits = (_softmax(logits) - target) / np.float32(self.contexts)  # of the mean divergence
            gradients = tape.gradients(logits, d_logits, of=parameters)
            optimizer.step(gradients, learning_rate_at(step, self.learning_rate, 0, self.steps))
            context.report(1)
        # in float64, so that a rank is the head's and not that of rounding
        logits = _score(model, Forward(OPS), {name: p.astype(np.float64) for name, p in parameters.items()})
        divergence = (teacher * (np.log(teacher) - np.log(_softmax(logits)))).sum(axis=1)
        return Result({"kl": float(divergence.mean()), **ranks_of_logits(logits)})


def _score(model: LabModel, ops: Forward, parameters: dict[str, Array]) -> Any:
    return model.score(ForwardPass(ops, model.config), Parameters(parameters), parameters[CONTEXTS])


def _softmax(logits: Float[Array, "N V"]) -> Float[Array, "N V"]:
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)
