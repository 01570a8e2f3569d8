"""What a model makes of sentences, word by word and layer by layer: what the probes look at."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from minirembert.corpus import Meaning, Token
from minirembert.lab.model import LabModel
from minirembert.lab.world import Corpus
from minirembert.model.forward_pass import ForwardPass
from minirembert.ops.array import Array
from minirembert.tape import Forward

BATCH = 128  # sentences


class Reading(NamedTuple):
    """N sentences of one language, T words in all; [CLS], [SEP] and padding are left out."""

    states: Float[Array, "layers T H"]  # the embedding's, then each block's
    ids: Integer[Array, " T"]
    sentence: Integer[Array, " T"]  # the number of the sentence that a word stands in, in ascending order
    tokens: list[Token]  # T
    sentences: int  # N


def read(model: LabModel, corpus: Corpus, meanings: Sequence[Meaning], language: str) -> Reading:
    """The model's states for `meanings`, said in `language`. Raises ValueError without meanings."""
    if not meanings:
        raise ValueError(f"there is no meaning to read in {language!r}")
    said = [corpus.realize(meaning, language) for meaning in meanings]
    lines = [corpus.pieces.encode(sentence) for sentence in said]
    states = []
    for start in range(0, len(lines), BATCH):
        ids, words = framed(corpus, lines[start : start + BATCH])
        run = ForwardPass(Forward(model.ops), model.config)
        output = model.encode(
            run, input_ids=ids, attention_mask=ids != corpus.pieces.pad_token_id, output_hidden_states=True
        )
        assert output.hidden_states is not None
        states.append(np.stack([model.backend.numpy(layer)[words] for layer in output.hidden_states]))
    return Reading(
        np.concatenate(states, axis=1),
        np.concatenate([np.array(line, np.int64) for line in lines]),
        np.repeat(np.arange(len(lines)), [len(line) for line in lines]),
        [token for sentence in said for token in sentence.tokens],
        len(lines),
    )


def framed(corpus: Corpus, lines: Sequence[Sequence[int]]) -> tuple[Integer[Array, "B S"], Bool[Array, "B S"]]:
    """[CLS] line [SEP], padded on the right; and where the words stand, in the lines' order."""
    pieces = corpus.pieces
    ids = np.full((len(lines), 2 + max(map(len, lines))), pieces.pad_token_id, np.int64)
    for row, line in zip(ids, lines, strict=True):
        row[: len(line) + 2] = [pieces.cls_token_id, *line, pieces.sep_token_id]
    lengths = np.array([len(line) for line in lines])
    places = np.arange(ids.shape[1])
    return ids, (places >= 1) & (places <= lengths[:, None])


def sentence_vectors(
    reading: Reading, left_out: Iterable[int] = ()
) -> tuple[Float[Array, "layers N H"], Integer[Array, " N"]]:
    """The mean of each sentence's word states (paper, A.9), in float64, and over how many words it was taken.

    Words whose ids are `left_out` do not count. Between two languages leave out what they share (`corpus.shared_ids`): a word
    that is the same in both would find the translation without any meaning. A sentence with no other word has the count 0,
    and zeros for a vector.
    """
    counted = ~np.isin(reading.ids, list(left_out))
    sentence = reading.sentence[counted]
    counts = np.bincount(sentence, minlength=reading.sentences)
    sums = np.zeros((len(reading.states), reading.sentences, reading.states.shape[2]))
    for total, states in zip(sums, reading.states, strict=True):
        np.add.at(total, sentence, states[counted].astype(np.float64))
    return sums / np.maximum(counts, 1)[:, None], counts
