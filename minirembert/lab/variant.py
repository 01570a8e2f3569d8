"""A variant: the sizes of a lab model without its vocabulary, which the corpus decides."""

from dataclasses import asdict, dataclass

from minirembert.lab.sizes import Sizes
from minirembert.settings import make_plain, option

POSITIONS = 40  # [CLS], two sentences of at most 18 words, a second and third [SEP], and some room


@dataclass(frozen=True)
class Variant:
    """What one model of an experiment is like; `Sizes` says what each field means."""

    input_embedding_size: int = option("E, the width of the input embedding", 48)
    output_embedding_size: int = option("O, the width of the output embedding", 48)
    hidden_size: int = option("H, the width of the encoder", 48)
    num_hidden_layers: int = option("L, the number of blocks", 4)
    num_attention_heads: int = option("h, heads in each block", 3)
    tied: bool = option("one matrix reads the vocabulary and scores it", False)
    head: str = option("before the output embedding: gelu_ln, linear or none", "gelu_ln")

    def __post_init__(self) -> None:
        make_plain(self)

    def sizes(self, vocab_size: int) -> Sizes:
        """With a vocabulary. Raises ValueError for sizes that no model can have."""
        return Sizes(vocab_size=vocab_size, max_position_embeddings=POSITIONS, **asdict(self))
