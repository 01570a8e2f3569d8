"""What all models have in common: their parameters, running forward, running backward, loading and saving."""

import copy
import math
import re
import warnings
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from minirembert.backend import Backend, load_backend
from minirembert.checkpoint import MAX_SHARD_SIZE, held, load_tensors, read_tensors, write_weights
from minirembert.config import RemBertConfig
from minirembert.files import as_folder
from minirembert.model.arguments import DECODER, ENCODER, FLAGS, by_name
from minirembert.model.arrays import flag
from minirembert.model.cache import moved
from minirembert.model.encoder import encoder, encoder_shapes, pooler, pooler_shapes
from minirembert.model.forward_pass import ForwardPass, Parameters
from minirembert.model.inputs import Inputs, check_inputs
from minirembert.model.outputs import BaseModelOutput
from minirembert.ops.array import Array
from minirembert.tape import Forward, Tape

BASE_PREFIX = "rembert."
LAYER = re.compile(r"(?<=encoder\.layer\.)\d+(?=\.)")


class RemBertPreTrainedModel:
    """A set of named arrays and the forward pass that uses them. The subclasses say which head stands on the encoder.

    `model.parameters` maps state names to arrays; writing into these arrays changes the model.
    """

    base_prefix: ClassVar[str] = BASE_PREFIX
    # What a caller may pass, in the order of 4.34's signature, and how many axes input_ids have
    arguments: ClassVar[tuple[str, ...]] = (*ENCODER, "labels", *FLAGS)
    ids_axes: ClassVar[int] = 2
    has_pooler: bool = False
    pooler_is_optional: ClassVar[bool] = False

    parameters: dict[str, Array]

    def __init__(
        self,
        config: RemBertConfig,
        *,
        dtype: str = "float32",
        seed: int = 0,
        backend: str = "numpy",
        device: str | None = None,
    ) -> None:
        """A freshly initialised model: N(0, initializer_range) weights, zero biases, identity LayerNorms.

        `backend`, `dtype` and `device` as in `from_pretrained`. The same seed gives the same weights on every backend.
        """
        self._prepare(config, load_backend(backend, dtype, device))
        rng = np.random.default_rng(seed)
        shapes = self._shapes().items()
        self.parameters = {name: self.backend.array(self._fresh(name, shape, rng)) for name, shape in shapes}

    def _prepare(self, config: RemBertConfig, backend: Backend) -> None:
        if not isinstance(config, RemBertConfig):
            what = f"{type(config).__name__} {str(config)[:60]!r}"
            raise TypeError(f"{type(self).__name__}: config must be a RemBertConfig, got {what}")
        if config.add_cross_attention and not config.is_decoder:
            raise ValueError("add_cross_attention is for a decoder: set is_decoder = True in the configuration as well")
        self.config = config
        self.backend = backend
        self.ops = backend.ops

    @property
    def dtype(self) -> Any:
        """The type of weights and activations, in the backend's words: a NumPy dtype, or torch's."""
        return self.backend.dtype

    # --- parameters -----------------------------------------------------------------------------------------------

    @classmethod
    def head_shapes(cls, config: RemBertConfig) -> dict[str, tuple[int, ...]]:
        """The parameters on top of the encoder."""
        return {}

    @classmethod
    def parameter_shapes(cls, config: RemBertConfig) -> dict[str, tuple[int, ...]]:
        """Every parameter's name and shape, in the order of the forward pass."""
        base = encoder_shapes(config) | (pooler_shapes(config) if cls.has_pooler else {})
        return {cls.base_prefix + name: shape for name, shape in base.items()} | cls.head_shapes(config)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """`parameter_shapes` of this model, which may do without its class's pooler."""
        left_out = () if self.has_pooler else [self.base_prefix + name for name in pooler_shapes(self.config)]
        return {name: shape for name, shape in self.parameter_shapes(self.config).items() if name not in left_out}

    def num_parameters(self) -> int:
        """How many numbers all parameters have together."""
        return sum(math.prod(array.shape) for array in self.parameters.values())

    def _fresh(self, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        dtype = self.backend.host_dtype
        if name.endswith("bias"):
            return np.zeros(shape, dtype)
        if name.endswith("LayerNorm.weight"):
            return np.ones(shape, dtype)
        weight = rng.standard_normal(shape, np.float32).astype(dtype, copy=False)
        weight *= self.config.initializer_range
        if name.endswith("word_embeddings.weight") and self.config.pad_token_id is not None:
            weight[self.config.pad_token_id] = 0
        return weight

    def resize_token_embeddings(self, new_num_tokens: int, seed: int = 0) -> None:
        """Makes room for `new_num_tokens` ids, at the input and, where there is one, in the output head.

        Rows that stay keep their values. New ones are as in a fresh model, N(0, initializer_range) and a bias of 0, drawn
        from `seed`. `config.vocab_size` follows. Raises ValueError for a size without room for `config.pad_token_id`.
        """
        config = RemBertConfig(**{**self.config.to_dict(), "vocab_size": new_num_tokens})  # refuses what no table has
        rng = np.random.default_rng(seed)
        for name, shape in self.parameter_shapes(config).items():
            if shape != tuple(self.parameters[name].shape):
                old = self.backend.numpy(self.parameters[name])[:new_num_tokens]
                new = self._fresh(name, shape, rng)
                new[: len(old)] = old
                self.parameters[name] = self.backend.array(new)
        self.config.vocab_size = new_num_tokens

    # --- running --------------------------------------------------------------------------------------------------

    def __call__(self, *inputs: Any, training: bool = False, dropout_seed: int | None = None, **named: Any) -> Any:
        """Runs the model. See the class for its inputs and outputs; shapes are (batch, sequence).

        Inputs come by name, in the order of `arguments`, or all together in a list or a dictionary as first argument
        (`model/arguments.py` says how a list of inputs is told from ids in lists). Everything may be a NumPy array, nested
        lists, or a torch tensor on the processor.

        Nothing is dropped unless `dropout_seed` is given; `training=True` draws a seed that nobody can draw again. With
        `return_dict=False`, here or in the configuration, the result is a tuple without the fields that are None.
        """
        arguments = self._by_name(inputs, named)
        return_dict = flag(arguments.pop("return_dict", None), "return_dict")
        if flag(training, "training") and dropout_seed is None:
            dropout_seed = int(np.random.default_rng().integers(2**63))
        output = self.run_forward(self._run(Forward(self.ops), dropout_seed), **arguments)
        return output if (self.config.return_dict if return_dict is None else return_dict) else output.as_plain_tuple()

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Another name for calling the model, PyTorch's."""
        return self(*inputs, **named)

    call = forward  # TensorFlow's

    def loss_and_gradients(
        self, *inputs: Any, dropout_seed: int | None = None, **named: Any
    ) -> tuple[float, dict[str, Array]]:
        """The loss of a batch with labels, and its gradient for every parameter, by state name.

        Inputs come as in a call. Without `dropout_seed` nothing is dropped. Raises ValueError for a batch without labels.
        """
        tape = Tape(self.ops)
        loss = self._loss_of(self._run(tape, dropout_seed), inputs, named)
        d_loss = self.backend.input(np.ones((), self.backend.host_dtype))
        return float(loss), tape.gradients(loss, d_loss, of=self.parameters)

    def loss(self, *inputs: Any, **named: Any) -> float:
        """The loss of a batch with labels, without dropout and without gradients."""
        return float(self._loss_of(self._run(Forward(self.ops)), inputs, named))

    def _loss_of(self, run: ForwardPass, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        batch = self._by_name(inputs, named)
        batch.pop("return_dict", None)
        output = self.run_forward(run, for_loss_only=True, **batch)
        if output.get("loss") is None:
            raise ValueError(f"{type(self).__name__} computes a loss from labels; got only {', '.join(batch)}")
        return output.loss

    def _by_name(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        return by_name(type(self).__name__, self.arguments, self.ids_axes, inputs, named)

    def run_forward(self, run: ForwardPass, for_loss_only: bool = False, **inputs: Any) -> Any:
        """One forward pass. With `for_loss_only` a model may leave out what the loss does not need: logits, a cache."""
        raise NotImplementedError

    def _run(self, ops: Forward, dropout_seed: int | None = None) -> ForwardPass:
        return ForwardPass(ops, self.config, dropout_seed)

    def encode(self, run: ForwardPass, **inputs: Any) -> BaseModelOutput:
        """The encoder's output, and the pooler's if this model has one."""
        checked = self._moved(check_inputs(self.config, self.backend.host_dtype, **inputs))
        p = Parameters(self.parameters, self.base_prefix)
        output = encoder(run, p, checked)
        if self.has_pooler:
            output.pooler_output = pooler(run, p, output.last_hidden_state)
        return output

    def _moved(self, inputs: Inputs) -> Inputs:
        """What every layer reads goes to the device once.

        Ids and lengths stay here: ops check them on the host, without waiting for a device, and they are small.
        """

        def there(move: Any, values: Any) -> Any:
            return None if values is None else move(values)

        array, input = self.backend.array, self.backend.input
        return inputs._replace(
            mask=inputs.mask._replace(bias=there(input, inputs.mask.bias)),
            encoder_mask=inputs.encoder_mask._replace(bias=there(input, inputs.encoder_mask.bias)),
            inputs_embeds=there(array, inputs.inputs_embeds),
            encoder_hidden_states=there(array, inputs.encoder_hidden_states),
            head_mask=there(array, inputs.head_mask),
            past=moved(inputs.past, array),
        )

    # --- files ----------------------------------------------------------------------------------------------------

    def save_pretrained(
        self, folder: str | Path, *, safe_serialization: bool = True, max_shard_size: str | int = MAX_SHARD_SIZE
    ) -> None:
        """Writes config.json and model.safetensors into `folder`; each replaces its predecessor whole, or not at all.

        `safe_serialization=False` writes PyTorch's pytorch_model.bin instead, which needs torch. Weights of more than
        `max_shard_size` ("500MB", "2GiB", a number of bytes) become several files with an index. Older weights in `folder`
        that would be read in the place of these are removed.

        Raises OSError where it cannot write. Raises, before anything is written, ImportError without torch where it is
        needed, and ValueError for a size that cannot be read, for a configuration that JSON cannot hold (see
        `RemBertConfig.to_json_string`) and for an array that the format cannot hold.
        """
        folder, dtype = as_folder(folder), str(self.backend.host_dtype)
        config = copy.copy(self.config)
        config.extra = {**config.extra, "architectures": [type(self).__name__], "dtype": dtype}
        if "torch_dtype" in config.extra:  # the older name of the same; the two must not disagree
            config.extra["torch_dtype"] = dtype
        text = config.to_json_string()
        plan = held({name: self.backend.numpy(array) for name, array in self.parameters.items()})
        format = "safetensors" if safe_serialization else "pytorch"
        write_weights(plan, folder, format, max_shard_size, text)
        self.config.extra = config.extra

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        dtype: str = "float32",
        config: RemBertConfig | None = None,
        seed: int = 0,
        backend: str = "numpy",
        device: str | None = None,
        ignore_mismatched_sizes: bool = False,
        **changes: Any,
    ) -> Self:
        """The model saved in `folder`, by this project or by transformers, in `dtype`. The weights may be safetensors,
        PyTorch's pickles (needs torch; nothing in them is run), whole or in shards, or tf_model.h5 (needs h5py).

        `backend="numpy"` computes in float32 or float64. `backend="triton"` runs the kernels of `kernels/` on `device`
        (default: the GPU; without one, slowly, under Triton's interpreter), in float16 and bfloat16 as well; outputs and
        gradients are then torch tensors.

        `changes` go into the configuration (`num_labels=17`) read from the folder; TypeError for one that is not a field
        of `RemBertConfig`, or beside a `config` given whole. A head that the folder does not have is freshly
        initialised from `seed`, with a warning that names it; so is cross-attention. What the folder has and this model
        does not is left out, with a warning too. `RemBertModel` also takes `add_pooling_layer=False`.

        Raises FileNotFoundError for a missing file, ValueError for a damaged one, for a part of the encoder that is
        missing and for a tensor of the wrong shape (which, expected, found); with `ignore_mismatched_sizes` the latter is
        freshly initialised, with a warning.
        """
        add_pooling_layer = changes.pop("add_pooling_layer", True) if cls.pooler_is_optional else cls.has_pooler
        cls._check_changes(config, changes)
        model = cls.__new__(cls)
        model.has_pooler = add_pooling_layer
        chosen = load_backend(backend, dtype, device)
        folder = as_folder(folder)
        model._prepare(RemBertConfig.from_pretrained(folder, **changes) if config is None else config, chosen)
        model._load(folder, np.random.default_rng(seed), ignore_mismatched_sizes)
        return model

    @classmethod
    def _check_changes(cls, config: RemBertConfig | None, changes: dict[str, Any]) -> None:
        """The configuration keeps what it does not know, so that a misspelt argument would go there without a word."""
        own = ["dtype", "config", "seed", "backend", "device", "ignore_mismatched_sizes"]
        known = [field.name for field in fields(RemBertConfig)] + ["num_labels", "label2id"]
        unknown = [name for name in changes if name not in known]
        if unknown:
            raise TypeError(
                f"{cls.__name__}.from_pretrained takes no argument {unknown[0]}; it takes {', '.join(own)} "
                f"and the fields of RemBertConfig{_suggestion(unknown[0], own + known)}"
            )
        if config is not None and changes:
            raise TypeError(f"{cls.__name__}.from_pretrained: give either config or {', '.join(changes)}, not both")

    def _load(self, folder: Path, rng: np.random.Generator, ignore_mismatched_sizes: bool) -> None:
        tensors = read_tensors(folder)
        layers = {match[0] for match in map(LAYER.search, tensors) if match}
        if self.config.num_hidden_layers > len(
            layers
        ):  # asked first: a number may promise more names than memory holds
            raise ValueError(
                f"{folder} lacks layers: the configuration has {self.config.num_hidden_layers:,}, the weights {len(layers):,}"
            )
        shapes, dtype = self._shapes(), self.backend.host_dtype
        found, unused, mismatched = load_tensors(tensors, shapes, dtype, BASE_PREFIX, ignore_mismatched_sizes)
        missing = [name for name in shapes if name not in found and name not in mismatched]
        heads = {*self.head_shapes(self.config), *(self.base_prefix + name for name in pooler_shapes(self.config))}
        lost = [name for name in missing if name not in heads and ".crossattention." not in name]
        if lost:
            raise ValueError(f"{folder} lacks {len(lost)} of the encoder's tensors, the first of them {lost[0]}")
        if missing:
            self._warn(f"{folder} lacks {_parts(missing)}: newly initialised, train before use")
        if mismatched:
            other = [f"{name} {shape} instead of {shapes[name]}" for name, shape in mismatched.items()]
            self._warn(f"{folder} has {_listed(other, most=3)}: newly initialised, train before use")
        if unused:
            self._warn(f"{folder} also has {_parts(unused)}: not used by {type(self).__name__}")
        # popped, so that a tensor that went elsewhere does not stay in memory as well
        self.parameters = {
            name: self.backend.array(found.pop(name) if name in found else self._fresh(name, shape, rng))
            for name, shape in shapes.items()
        }

    @staticmethod
    def _warn(message: str) -> None:
        warnings.warn(message, stacklevel=4)  # the caller of from_pretrained, above _load


def _suggestion(name: str, known: list[str]) -> str:
    return "".join(f"; did you mean {near}?" for near in get_close_matches(name, known, n=1))


# The parts around an encoder: where their tensors' names begin, and how many there are.
PARTS = (
    ("the output head", "cls.predictions", 6), ("the pooler", "pooler.dense", 2), ("the classifier", "classifier", 2),
    ("the question answering head", "qa_outputs", 2),
)  # fmt: skip


def _parts(names: list[str]) -> str:
    """`names` for a reader: a part that is among them whole under its own name, the rest one by one."""
    whole, rest = [], names
    for title, start, count in PARTS:
        belongs = [name for name in rest if name.removeprefix(BASE_PREFIX).startswith(f"{start}.")]
        if len(belongs) == count:
            whole.append(f"{title} ({start}.*, {count} tensors)")
            rest = [name for name in rest if name not in belongs]
    return ", ".join([*whole, *([_listed(rest)] if rest else [])])


def _listed(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class RemBertModel(RemBertPreTrainedModel):
    """The encoder with its pooler: ids (B, S) -> last_hidden_state (B, S, H), pooler_output (B, H).

    With `config.is_decoder` it is a decoder: no token sees those after it, and with `use_cache` (by default
    `config.use_cache`) the output has `past_key_values`, with which the next call needs only the new tokens; its
    `attention_mask`, if any, then covers the past as well. With `config.add_cross_attention`, too, each block also looks at
    `encoder_hidden_states` (B, T, H), where `encoder_attention_mask` allows it; from then on their keys and values are in the
    cache, and the states need not be given again.

    `head_mask` (h,) or (L, h) multiplies the attention probabilities of each head.
    """

    base_prefix = ""
    has_pooler = True
    pooler_is_optional = True
    arguments = (*ENCODER, *DECODER, "past_key_values", "use_cache", *FLAGS)

    def __init__(self, config: RemBertConfig, add_pooling_layer: bool = True, **settings: Any) -> None:
        """`settings`: as for every model. Without its pooler a model has no `pooler_output`."""
        self.has_pooler = add_pooling_layer
        super().__init__(config, **settings)

    def run_forward(self, run: ForwardPass, for_loss_only: bool = False, **inputs: Any) -> BaseModelOutput:
        """The encoder's output as it is. There is no loss, so `for_loss_only` changes nothing."""
        return self.encode(run, **inputs)
