"""A model of the lab as data: the sizes that decide what it costs, for coupled and decoupled models alike.

    Sizes()                                           # RemBERT
    Sizes(vocab_size=120_000, input_embedding_size=768, hidden_size=768, num_hidden_layers=12, tied=True)
    Sizes.from_config(RemBertConfig(...))

The names are the configuration's. What is left out follows from the others: I = 4 H, heads of size 64, and in a tied model
O = E.
"""

from dataclasses import dataclass, fields

from minirembert.config import RemBertConfig
from minirembert.scalars import is_integer
from minirembert.settings import make_plain, option

HEADS = ("gelu_ln", "linear", "none")
HEAD_SIZE = 64  # of all models of the paper
OUTPUT_EMBEDDING_SIZE = 1664  # RemBERT's


@dataclass(frozen=True)
class Sizes:
    """The sizes of one model, in pre-training; `dropped_layers` says what fine-tuning does without.

    After construction no size is None. Raises ValueError, naming the field, for sizes that no model can have.
    """

    vocab_size: int = option("V, pieces of the vocabulary", 250_300)
    input_embedding_size: int = option("E, the width of the input embedding", 256)
    hidden_size: int = option("H, the width of the encoder", 1152)
    num_hidden_layers: int = option("L, the number of blocks", 32)
    num_attention_heads: int | None = option(f"h, heads in each block (default: H / {HEAD_SIZE})", None)
    intermediate_size: int | None = option("I, the width inside a feed-forward block (default: 4 H)", None)
    output_embedding_size: int | None = option(
        f"O, the width of the output embedding (default: {OUTPUT_EMBEDDING_SIZE}; in a tied model E)", None
    )
    max_position_embeddings: int = option("P, positions", 512)
    type_vocab_size: int = option("token types", 2)
    dropped_layers: int = option("the last blocks that are discarded after pre-training", 0)
    tied: bool = option("one matrix reads the vocabulary and scores it: a coupled model", False)
    head: str = option("before the output embedding: dense, GELU and LayerNorm; a linear map; or nothing", "gelu_ln")
    square_projection: bool = option("an E x H projection where E = H too, as RemBERT's classes have it", True)
    cross_attention: bool = option("a second attention in each block, over an encoder's states", False)

    def __post_init__(self) -> None:
        make_plain(self)
        for name in ("vocab_size", "input_embedding_size", "hidden_size", "max_position_embeddings", "type_vocab_size"):
            self._require_integer(name, 1)
        self._require_integer("num_hidden_layers", 0)
        self._require_integer("dropped_layers", 0)
        H = self.hidden_size
        if self.num_attention_heads is None and H % HEAD_SIZE:
            raise ValueError(
                f"hidden_size {H} is no multiple of {HEAD_SIZE}, so num_attention_heads has no default: give it too"
            )
        self._default("num_attention_heads", H // HEAD_SIZE)
        self._default("intermediate_size", 4 * H)
        self._default("output_embedding_size", self.input_embedding_size if self.tied else OUTPUT_EMBEDDING_SIZE)
        for name in ("num_attention_heads", "intermediate_size", "output_embedding_size"):
            self._require_integer(name, 1)
        for name in ("tied", "square_projection", "cross_attention"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if self.head not in HEADS:
            raise ValueError(f"head must be one of {', '.join(HEADS)}, got {self.head!r}")
        if H % self.heads:
            raise ValueError(f"hidden_size must be a multiple of num_attention_heads ({self.heads}), got {H}")
        if self.dropped_layers > self.num_hidden_layers:
            raise ValueError(
                f"there are {self.num_hidden_layers} layers, so dropped_layers cannot be {self.dropped_layers}"
            )
        if self.tied and self.outputs != self.input_embedding_size:
            raise ValueError(
                "a tied model has one matrix, so output_embedding_size must be input_embedding_size "
                f"({self.input_embedding_size}), got {self.outputs}"
            )
        if self.head == "none" and self.outputs != H:
            raise ValueError(
                f"without a head the hidden states are scored as they are, so output_embedding_size must be hidden_size "
                f"({H}), got {self.outputs}"
            )

    @property
    def heads(self) -> int:
        """h, attention heads in each block; an int, where the field's type allows None."""
        assert self.num_attention_heads is not None
        return self.num_attention_heads

    @property
    def intermediate(self) -> int:
        """I, the width inside a feed-forward block, likewise."""
        assert self.intermediate_size is not None
        return self.intermediate_size

    @property
    def outputs(self) -> int:
        """O, the width of the output embedding, likewise."""
        assert self.output_embedding_size is not None
        return self.output_embedding_size

    @property
    def has_input_projection(self) -> bool:
        """Whether there is an E x H projection: it may be left out only where E = H."""
        return self.square_projection or self.input_embedding_size != self.hidden_size

    @classmethod
    def from_config(cls, config: RemBertConfig) -> "Sizes":
        """The sizes of RemBERT's classes with this configuration."""
        names = {field.name for field in fields(cls)} & set(vars(config))
        return cls(**{name: getattr(config, name) for name in names}, cross_attention=config.add_cross_attention)

    def to_config(self) -> RemBertConfig:
        """A configuration with these sizes: of the same model, if it is one of RemBERT's; else of a relative."""
        shared = {field.name for field in fields(self)} & {field.name for field in fields(RemBertConfig)}
        values = {name: getattr(self, name) for name in shared}
        return RemBertConfig(**values, add_cross_attention=self.cross_attention)

    def __str__(self) -> str:
        dropped = f" ({self.dropped_layers} dropped)" if self.dropped_layers else ""
        return (
            f"V {self.vocab_size:,}, E {self.input_embedding_size:,}, H {self.hidden_size:,}, "
            f"L {self.num_hidden_layers:,}{dropped}, h {self.heads:,}, I {self.intermediate:,}, O {self.outputs:,}, "
            f"{'tied' if self.tied else 'untied'}, head {self.head}"
        )

    def _default(self, name: str, value: int) -> None:
        if getattr(self, name) is None:
            object.__setattr__(self, name, value)  # frozen from here on

    def _require_integer(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if not is_integer(value) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
