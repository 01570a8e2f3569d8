"""The lab's model: RemBERT's encoder, and an output side that may be coupled to the input or not, wide or narrow.

    model = LabModel(Sizes(vocab_size=335, input_embedding_size=48, hidden_size=48, ..., tied=True), seed=0)
    loss, gradients = model.loss_and_gradients(input_ids=..., attention_mask=..., labels=...)

The encoder is RemBERT's to the letter, so what is fine-tuned is one of its classes (`task_model`). The output side is one of
three, `Sizes.head`:

    gelu_ln   dense H -> O, GELU, LayerNorm, then the output embedding: the released model's
    linear    a linear map H -> O: the paper's footnote 3
    none      nothing: the hidden states are scored as they are

and its matrix is either its own, or (`tied`) the input embedding itself: the same array, used twice in a forward pass, so
that the tape adds up the gradients of both uses. Only the lab has coupled models: RemBERT's own classes never tie.

Two models of one seed have the same first weights wherever a name and its shape agree, whatever else differs between them:
each array is drawn from its own stream. That is what makes them a pair.
"""

import math
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from zlib import crc32

import numpy as np

from minirembert.config import RemBertConfig
from minirembert.lab.sizes import Sizes
from minirembert.model.base import RemBertPreTrainedModel
from minirembert.model.forward_pass import ForwardPass, Parameters
from minirembert.model.output_head import output_head
from minirembert.model.tasks import RemBertForMaskedLM
from minirembert.ops.array import Array

INPUT_EMBEDDING = "rembert.embeddings.word_embeddings.weight"
OUTPUT_EMBEDDING = "cls.predictions.decoder.weight"

# Fresh weights have a standard deviation of SPREAD / sqrt(H): RemBERT's 0.02 at its H of 1152. What a layer adds up over H
# inputs is then as large as there; with 0.02 itself, a model with H = 48 would begin with signals a fifth as large, and learn
# slowly.
SPREAD = 0.02 * math.sqrt(1152)

Model = TypeVar("Model", bound=RemBertPreTrainedModel)


class LabModel(RemBertForMaskedLM):
    """A masked language model of any `Sizes` that has an E x H projection and no cross-attention, without dropout.

    `model.parameters` has each array once; a tied model has no OUTPUT_EMBEDDING among them. Raises ValueError for other sizes.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        seed: int = 0,
        dtype: str = "float32",
        backend: str = "numpy",
        device: str | None = None,
    ) -> None:
        for name, needed in (("square_projection", True), ("cross_attention", False), ("dropped_layers", 0)):
            if getattr(sizes, name) != needed:
                raise ValueError(f"the lab pre-trains models with {name} = {needed}, got {getattr(sizes, name)}")
        self.sizes = sizes
        self.seed = seed
        super().__init__(_config(sizes), dtype=dtype, backend=backend, device=device)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes = super()._shapes()
        if self.sizes.head != "gelu_ln":
            shapes = {name: shape for name, shape in shapes.items() if not name.startswith("cls.predictions.LayerNorm")}
        if self.sizes.head == "none":
            shapes = {name: shape for name, shape in shapes.items() if not name.startswith("cls.predictions.dense")}
        if self.sizes.tied:
            del shapes[OUTPUT_EMBEDDING]
        return shapes

    def _fresh(self, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return super()._fresh(name, shape, _stream(self.seed, name))

    def score(self, run: ForwardPass, p: Parameters, x: Any) -> Any:
        """Hidden states (..., H) -> logits (..., V)."""
        if self.sizes.tied:
            p = Parameters({**p.state, OUTPUT_EMBEDDING: p[INPUT_EMBEDDING]}, p.prefix)
        if self.sizes.head == "gelu_ln":
            return output_head(run, p, x)
        head = p.at("cls.predictions")
        if self.sizes.head == "linear":
            x = run.linear(x, head.at("dense"))
        return run.linear(x, head.at("decoder"))

    def task_model(self, task: type[Model], kept_layers: int | None = None, seed: int = 0, **changes: Any) -> Model:
        """A model of RemBERT's class `task` on copies of the first `kept_layers` blocks (default: all), for fine-tuning.

        It computes where this one does, in float32 where this one has half precision. The output side is left behind. The
        head is fresh, drawn from `seed`; `changes` go into the configuration (`num_labels=3`). Raises ValueError unless
        0 <= kept_layers <= L.
        """
        kept = self.sizes.num_hidden_layers if kept_layers is None else kept_layers
        if not 0 <= kept <= self.sizes.num_hidden_layers:
            raise ValueError(f"kept_layers must lie between 0 and {self.sizes.num_hidden_layers}, got {kept}")
        settings = {
            name: value for name, value in self.config.to_dict().items() if name not in ("id2label", "label2id")
        }
        config = RemBertConfig(**{**settings, "num_hidden_layers": kept, **changes})
        model = task(config, dtype=str(self.backend.host_dtype), seed=seed, backend=self.backend.name)
        for name, shape in model._shapes().items():
            if name in self.parameters:
                array = self.backend.numpy(self.parameters[name]).copy()
            else:
                array = model._fresh(name, shape, _stream(seed, name))
            model.parameters[name] = model.backend.array(array)
        return model

    def save_pretrained(self, folder: str | Path, **settings: Any) -> None:
        """As RemBertForMaskedLM, which has no coupled model and one head: ValueError for what it could not read back."""
        if self.sizes.tied or self.sizes.head != "gelu_ln":
            raise ValueError(f"no class of RemBERT could read this model back: {self.sizes}")
        whole = RemBertForMaskedLM(self.config, dtype=str(self.backend.host_dtype))
        whole.parameters = {name: self.backend.numpy(array) for name, array in self.parameters.items()}
        whole.save_pretrained(folder, **settings)

    @classmethod
    def from_pretrained(cls, *inputs: Any, **named: Any) -> NoReturn:
        """Raises TypeError: a LabModel is built from `Sizes`, not read from a folder."""
        raise TypeError("LabModel is built from Sizes; what it saves is read by RemBertForMaskedLM.from_pretrained")

    def resize_token_embeddings(self, new_num_tokens: int, seed: int = 0) -> NoReturn:
        """Raises TypeError: the vocabulary is fixed by the `Sizes`."""
        raise TypeError("the vocabulary of a LabModel is fixed by its Sizes")


def _config(sizes: Sizes) -> RemBertConfig:
    config = sizes.to_config()
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    config.initializer_range = SPREAD / math.sqrt(sizes.hidden_size)
    config.pad_token_id, config.bos_token_id, config.eos_token_id = 0, 1, 2
    return config


def _stream(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, crc32(name.encode())])
