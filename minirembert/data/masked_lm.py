"""Batches for masked language modelling (Devlin et al. 2019, section 3.1; languages sampled as in the paper's A.3).

A batch is a pure function of the seed and the step number. There is no position in the data to save or restore: a run
that was killed asks for the same batch again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Integer

from minirembert.ops.array import Array
from minirembert.ops.losses import IGNORE_INDEX

MASK_PROB = 0.15
SHARE_MASKED, SHARE_RANDOM = 0.8, 0.1  # of the chosen tokens; the rest stays as it is


class SpecialIds(Protocol):
    """What is needed of a tokenizer."""

    cls_token_id: int
    sep_token_id: int
    mask_token_id: int
    pad_token_id: int

    @property
    def all_special_ids(self) -> list[int]:
        """The ids that are never masked, nor put in the place of a masked one."""

    def __len__(self) -> int: ...


class Language(NamedTuple):
    """The text of one language."""

    name: str
    lines: list[list[int]]  # token ids, without special tokens


class Batch(NamedTuple):
    """Keyword arguments of `RemBertForMaskedLM`."""

    input_ids: Integer[Array, "B S"]
    attention_mask: Integer[Array, "B S"]
    labels: Integer[Array, "B S"]


def sampling_probabilities(sizes: Sequence[int], alpha: float) -> Array:
    """p_l^alpha / sum p^alpha, with p_l a language's share of the sentences: alpha = 1 is proportional, 0 is uniform."""
    shares = np.asarray(sizes, np.float64) / sum(sizes)
    smoothed = shares**alpha
    return smoothed / smoothed.sum()


@dataclass(frozen=True)
class MaskedLMData:
    """Draws batches of masked blocks from several languages."""

    languages: Sequence[Language]
    tokenizer: SpecialIds
    sequence_length: int
    alpha: float = 0.5
    lines_per_sequence: int | None = None  # at most; None: as many as fit

    def batch(self, size: int, seed: int, step: int) -> Batch:
        """`size` blocks for one training step: language by smoothed share, then a run of lines from a random start."""
        rng = np.random.default_rng([seed, step])
        probabilities = sampling_probabilities([len(language.lines) for language in self.languages], self.alpha)
        blocks = []
        for number in rng.choice(len(self.languages), size, p=probabilities):
            lines = self.languages[number].lines
            blocks.append(self._block(lines, int(rng.integers(len(lines))), wrap=True)[0])
        return self._mask(blocks, rng)

    def held_out_batches(self, size: int, seed: int) -> Iterator[tuple[str, Batch]]:
        """(language, batch) until every line has been in one block, with masks that depend on the seed alone."""
        for number, language in enumerate(self.languages):
            rng = np.random.default_rng([seed, number])
            blocks, start = [], 0
            while start < len(language.lines):
                block, start = self._block(language.lines, start, wrap=False)
                blocks.append(block)
            for first in range(0, len(blocks), size):
                yield language.name, self._mask(blocks[first : first + size], rng)

    def _block(self, lines: list[list[int]], start: int, wrap: bool) -> tuple[list[int], int]:
        """[CLS] and as many lines as fit, cut at the end, and [SEP]; and where the next block begins."""
        room = self.sequence_length - 2
        most = len(lines) if wrap else len(lines) - start
        if self.lines_per_sequence is not None:
            most = min(most, self.lines_per_sequence)
        tokens: list[int] = []
        used = 0
        while len(tokens) < room and used < most:
            line = lines[(start + used) % len(lines)]
            if tokens and not wrap and len(tokens) + len(line) > room:
                break  # when every line counts, a line is not cut if it can open the next block
            tokens += line
            used += 1
        return [self.tokenizer.cls_token_id, *tokens[:room], self.tokenizer.sep_token_id], start + used

    def _mask(self, blocks: list[list[int]], rng: np.random.Generator) -> Batch:
        length = max(map(len, blocks))
        ids = np.full((len(blocks), length), self.tokenizer.pad_token_id, np.int64)
        attention_mask = np.zeros_like(ids)
        for row, block in enumerate(blocks):
            ids[row, : len(block)] = block
            attention_mask[row, : len(block)] = 1
        input_ids, labels = mask_tokens(ids, self.tokenizer, rng)
        return Batch(input_ids, attention_mask, labels)


def mask_tokens(
    ids: Integer[Array, "B S"], tokenizer: SpecialIds, rng: np.random.Generator, mask_prob: float = MASK_PROB
) -> tuple[Integer[Array, "B S"], Integer[Array, "B S"]]:
    """Inputs and labels: a share `mask_prob` of the ordinary tokens is to be guessed, at least one where there is one.

    Of these, 80% are hidden behind [MASK], 10% behind a random piece, and 10% are left in sight. Labels are -100 elsewhere.
    """
    ordinary = ~np.isin(ids, tokenizer.all_special_ids)
    chosen = ordinary & (rng.random(ids.shape) < mask_prob)
    if not chosen.any() and ordinary.any():
        chosen.flat[rng.choice(np.flatnonzero(ordinary))] = True
    fate = rng.random(ids.shape)
    pieces = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)
    inputs = np.where(chosen & (fate < SHARE_MASKED), tokenizer.mask_token_id, ids)
    replaced = chosen & (fate >= SHARE_MASKED) & (fate < SHARE_MASKED + SHARE_RANDOM)
    inputs = np.where(replaced, rng.choice(pieces, ids.shape), inputs)
    return inputs, np.where(chosen, ids, IGNORE_INDEX)


def unigram_losses(train: Sequence[Language], labels: Array, vocab_size: int) -> tuple[float, float]:
    """What a model without context scores on `labels`, in nats per token.

    First the cross-entropy of the training frequencies (each count plus one), then the entropy of `labels` themselves,
    which no model that ignores the context can beat, whatever frequencies it believes in.
    """
    counts = np.ones(vocab_size)
    for language in train:
        counts += np.bincount(np.concatenate(language.lines).astype(np.int64), minlength=vocab_size)
    log_frequency = np.log(counts / counts.sum())
    _, occurrences = np.unique(labels, return_counts=True)
    share = occurrences / occurrences.sum()
    return float(-log_frequency[labels].mean()), float(-(share * np.log(share)).sum())
