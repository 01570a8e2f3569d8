"""Sampling: which tokens are kept, how often each is drawn, and from whose random numbers."""

import numpy as np
import pytest
import torch
from checks import PARITY_OUTPUTS, assert_within
from test_against_transformers import hugging_face
from test_generation import prompts, speaker, text
from transformers.generation import logits_process as theirs_process

from minirembert.generation.scores import draw, only_top_k, only_top_p, penalise_repetition, tempered

ONCE_IN = 1e6  # so many runs would a test of frequencies fail, if each drew other numbers


@pytest.mark.parametrize("seed", range(5))
def test_what_is_kept_is_theirs(seed: int) -> None:
    """Also among ties: logits of one decimal. Of equally likely tokens at the edge, top-k keeps all, top-p the lower
    ids (transformers as many, but any)."""
    rng = np.random.default_rng(seed)
    scores = 3 * rng.standard_normal((7, 61))
    for values in (scores, scores.round(1), np.where(rng.random(scores.shape) < 0.2, -np.inf, scores), 0 * scores):
        there = torch.from_numpy(values.copy())
        for k in (1, 2, int(rng.integers(3, 61)), 61, 100):
            assert (only_top_k(values, k) == theirs_process.TopKLogitsWarper(k)(None, there).numpy()).all()
        for p in (*rng.random(4), 1e-9, 1 - 1e-9):
            ours, theirs = only_top_p(values, p), theirs_process.TopPLogitsWarper(p)(None, there).numpy()
            assert (np.sort(ours) == np.sort(theirs)).all()
            assert ((ours == values) | (ours == -np.inf)).all()
            least = np.where(ours > -np.inf, ours, np.inf).min(axis=1, keepdims=True)
            assert (ours == np.where(values == least, ours, theirs)).all()
            for row, edge in zip(ours, values == least, strict=True):
                kept = row[edge] > -np.inf
                assert kept[: kept.sum()].all()  # of those at the edge, the first
        assert only_top_k(values, 0) is values
        assert only_top_p(values, 1) is values
        seen = rng.integers(0, 61, (7, 9))
        penalised = theirs_process.RepetitionPenaltyLogitsProcessor(1.3)(torch.from_numpy(seen), there).numpy()
        assert (penalise_repetition(values, seen, np.zeros(7, int), 1.3) == penalised).all()
        assert (values == there.numpy()).all()  # nothing given is written to
    temperature = float(rng.uniform(0.1, 3))
    relative = scores / temperature - (scores / temperature).max(axis=1, keepdims=True)
    assert_within(tempered(scores, temperature), relative, PARITY_OUTPUTS * (1 + np.abs(relative)), "tempered", seed)


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    """Pairs of two new tokens, so that both the draws of one text and those of different texts must be independent.

    Bernstein's inequality bounds how far any of the frequencies may be off, but once in a million.
    """
    model, ids, count = speaker(size=1), prompts(batch=1), 4_000
    settings = {"temperature": 1.7, "top_k": 9, "top_p": 0.8}
    drawn = text(model, ids, do_sample=True, seed=5, max_new_tokens=2, num_return_sequences=count, **settings)[:, 5:]
    theirs = hugging_face(model)

    def probabilities(sequences: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            scores = theirs(torch.from_numpy(sequences)).logits[:, -1] / settings["temperature"]
        for warper in (theirs_process.TopKLogitsWarper(9), theirs_process.TopPLogitsWarper(0.8)):
            scores = warper(None, scores)
        return scores.softmax(-1).numpy()

    first = probabilities(ids)[0]
    followed = np.concatenate([np.repeat(ids, 61, axis=0), np.arange(61)[:, None]], axis=1)
    expected = first[:, None] * probabilities(followed)
    frequencies = np.bincount(drawn[:, 0] * 61 + drawn[:, 1], minlength=61 * 61).reshape(61, 61) / count
    assert not frequencies[expected == 0].any()
    surprise = np.log(2 * (expected > 0).sum() * ONCE_IN)
    allowed = np.sqrt(2 * expected * (1 - expected) * surprise / count) + surprise / (3 * count)
    assert_within(frequencies, expected, allowed, "frequencies of pairs", 5)


@pytest.mark.parametrize("point", [0.0, np.nextafter(1.0, 0.0)])
def test_what_is_ruled_out_is_not_drawn_at_the_ends_either(point: float) -> None:
    class AlwaysThere(np.random.Generator):
        def random(self) -> float:
            return point

    generators = [AlwaysThere(np.random.PCG64(0))] * 3
    scores = np.array([[-np.inf, 0.3, -np.inf], [-np.inf, -np.inf, 7.0], [-5.0, -np.inf, -np.inf]])
    assert draw(scores, generators).tolist() == [1, 2, 0]


def test_seeds() -> None:
    """The same seed, the same texts; another, others. What becomes of a text does not depend on the other prompts, nor on
    when their texts end."""
    model, ids = speaker(), prompts()
    settings = {"do_sample": True, "temperature": 3.0, "num_return_sequences": 2}
    texts = text(model, ids, seed=1, **settings)
    assert (text(model, ids, seed=1, **settings) == texts).all()
    assert len({tuple(row[5:]) for row in texts}) == 6
    assert (text(model, ids, seed=2**70, **settings)[:, 5:] != texts[:, 5:]).any(axis=1).all()
    others = ids.copy()
    others[:2] = prompts(1)[:2]
    assert (text(model, others, seed=1, **settings)[4:] == texts[4:]).all()
    eos = int(texts[0, 6])
    ended = text(model, ids, seed=1, eos_token_id=eos, **settings)
    for row, whole in zip(ended, texts, strict=True):
        stop = 5 + int(np.argmax(whole[5:] == eos)) + 1 if (whole[5:] == eos).any() else len(whole)
        assert (row[:stop] == whole[:stop]).all()
    state = np.random.get_state()[1].copy()
    assert (text(model, ids, **settings)[:, 5:] != text(model, ids, **settings)[:, 5:]).any(axis=1).all()
    assert (np.random.get_state()[1] == state).all()


def test_hardly_any_temperature_is_greedy() -> None:
    model, ids = speaker(), prompts()
    for temperature in (1e-3, 1e-320):
        assert (text(model, ids, do_sample=True, temperature=temperature) == text(model, ids)).all()
    assert (text(model, ids, do_sample=True, top_k=1) == text(model, ids)).all()
