"""Everything that is measured about one pre-trained model without training it further.

readings.py    states of the words of a sentence, by layer; vectors of sentences
retrieval.py   sentences and words that find their translations
zero_shot.py   linear classifiers, learned in one language and asked in the others
geometry.py    rank, effective rank, CKA, isotropy, rank correlation: numbers of a matrix
sides.py       what the two embeddings know, their gradients, the rank of the logits
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from minirembert.lab.geometry import linear_cka, mean_cosine, participation_ratio
from minirembert.lab.model import LabModel
from minirembert.lab.readings import Reading, read, sentence_vectors
from minirembert.lab.retrieval import retrieval, retrieval_by_layer, word_translation
from minirembert.lab.sides import embeddings, logit_rank, side_gradients
from minirembert.lab.world import Corpus
from minirembert.lab.zero_shot import zero_shot_by_layer

__all__ = [
    "embeddings", "isotropy_by_layer", "linear_cka", "logit_rank", "measure", "read", "retrieval", "retrieval_by_layer",
    "sentence_vectors", "side_gradients", "word_translation", "zero_shot_by_layer",
]  # fmt: skip


def measure(model: LabModel, corpus: Corpus) -> dict[str, Any]:
    """All probes of a pre-trained model, as data for a JSON file.

        retrieval     `retrieval_by_layer`; None in a world of one language
        zero_shot     `zero_shot_by_layer`
        isotropy      `isotropy_by_layer`
        embeddings    `sides.embeddings`
        logits        `sides.logit_rank`

    What is fitted (mean differences, classifiers) is fitted on the validation meanings; what is told is of the test
    meanings. The model has read neither in any language.
    """
    names = corpus.world.language_names
    fitted = {name: read(model, corpus, corpus.validation, name) for name in names}
    scored = {name: read(model, corpus, corpus.test, name) for name in names}
    return {
        "retrieval": retrieval_by_layer(fitted, scored, corpus) if len(names) > 1 else None,
        "zero_shot": zero_shot_by_layer(fitted[names[0]], scored, corpus),
        "isotropy": isotropy_by_layer(scored),
        "embeddings": embeddings(model, corpus, scored),
        "logits": logit_rank(model, corpus),
    }


def isotropy_by_layer(readings: Mapping[str, Reading]) -> dict[str, list[float]]:
    """`mean_cosine` and `participation_ratio` of the word states, L + 1 numbers each: within a language, then their mean."""
    found = {}
    for measure_of in (mean_cosine, participation_ratio):
        values = [[measure_of(layer) for layer in reading.states] for reading in readings.values()]
        found[measure_of.__name__] = np.mean(values, axis=0).tolist()
    return found
