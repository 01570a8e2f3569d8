"""Small corpora, models and readings for the tests of the lab's probes."""

from dataclasses import replace
from functools import cache

import numpy as np
from hypothesis import strategies as st

from minirembert.lab.model import LabModel
from minirembert.lab.readings import Reading, read
from minirembert.lab.variant import Variant
from minirembert.lab.world import Corpus, World, build_corpus

LIMIT = 2**12 * np.finfo(float).eps  # of a few dozen sums and products of numbers near 1
SEEDS = st.integers(0, 2**32 - 1)
SMALL = World(sentences=60, held_out=24, breadth=0.0)
TINY = Variant(
    input_embedding_size=8, output_embedding_size=10, hidden_size=12, num_hidden_layers=2, num_attention_heads=2
)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@cache
def corpus(**changes) -> Corpus:
    return build_corpus(replace(SMALL, **changes), seed=1)


def model(it: Corpus, dtype: str = "float64", **changes) -> LabModel:
    """Far from fresh weights, whose small size would hide a wrong scale."""
    made = LabModel(replace(TINY, **changes).sizes(len(it.pieces)), seed=2, dtype=dtype)
    for n, array in enumerate(made.parameters.values()):
        array += 0.3 * normal(n, *array.shape)
    return made


@cache
def readings() -> dict[str, Reading]:
    it = corpus()
    return {name: read(model(it), it, it.test, name) for name in it.world.language_names}
