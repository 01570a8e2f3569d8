"""Philox and what is made of it. Random numbers are testable: a generator has known answers and known statistics."""

import math

import numpy as np
import pytest

from minirembert.ops import random
from minirembert.ops.random import check_drop_prob, keep_mask, philox, uniform

# Random123's kat_vectors for philox4x32-10 (Salmon et al. 2011): counter, key, output
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
SIGMAS = 6  # a correct generator fails such a test once in 10^9 seeds; ours are fixed


def plain_philox(counter: list[int], key: list[int]) -> list[int]:
    """The paper's algorithm on Python integers, one counter at a time."""
    c, k = list(counter), list(key)
    for _ in range(10):
        (hi0, lo0), (hi1, lo1) = divmod(0xD2511F53 * c[0], 2**32), divmod(0xCD9E8D57 * c[2], 2**32)
        c = [hi1 ^ c[1] ^ k[0], lo1, hi0 ^ c[3] ^ k[1], lo0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN_ANSWERS)
def test_the_plain_version_gives_the_published_answers(counter, key, output):
    words = [[int(word, 16) for word in text.split()] for text in (counter, key, output)]
    assert plain_philox(words[0], words[1]) == words[2]


@pytest.mark.parametrize("seed", [0, 1, 0xFFFFFFFF, 1 << 32, 0x299F31D0A4093822, (7 << 16) + 3])
def test_ours_gives_the_plain_version_s_numbers(seed):
    counters = np.array([0, 1, 2, 1000, 2**31 - 1, 2**31, 2**32 - 1])
    ours = np.stack(philox(seed, counters), -1)
    plain = [plain_philox([int(c), 0, 0, 0], [seed % 2**32, seed >> 32]) for c in counters]
    assert ours.tolist() == plain


def test_the_first_published_answer_in_ours():
    words = philox(0, np.zeros(1, np.int64))
    assert " ".join(f"{int(word[0]):08x}" for word in words) == KNOWN_ANSWERS[0][2]


def test_uniform_stays_below_one_and_reaches_zero(monkeypatch):
    """At the ends of what Philox can give. 1.0 would never be dropped, at any probability."""
    words = np.array([[0], [1], [0x80000000], [0xFFFFFFFF]], np.uint64)
    monkeypatch.setattr(random, "philox", lambda seed, counter: tuple(words))
    draws = uniform(0, 4)
    assert draws.dtype == np.float32
    assert draws[:2].tolist() == [0, 0]
    assert abs(draws[2] - 0.5) < np.finfo(np.float32).eps
    assert 1 - np.finfo(np.float32).eps < draws[3] < 1


@pytest.mark.parametrize("seed", [0, 1, 12345678901])
def test_uniform_fills_its_bins_evenly(seed):
    """Chi-square over 256 bins: mean 255, standard deviation sqrt(2 * 255)."""
    n, bins = 1 << 18, 256
    counts = np.bincount((uniform(seed, n) * bins).astype(int), minlength=bins)
    chi_square = ((counts - n / bins) ** 2).sum() / (n / bins)
    assert abs(chi_square - (bins - 1)) < SIGMAS * math.sqrt(2 * (bins - 1))


def test_neighbours_and_seeds_are_uncorrelated():
    n = 1 << 18
    a, b = uniform(3, n + 1), uniform(4, n)
    for x, y in ((a[:-1], a[1:]), (a[:-1], b)):
        assert abs(np.corrcoef(x, y)[0, 1]) < SIGMAS / math.sqrt(n)


def test_an_element_s_number_does_not_depend_on_its_company():
    """What makes it usable on a GPU: the program that owns element i needs nothing but (seed, i)."""
    everything = uniform(9, 100_000)
    for start, count in ((0, 1), (1, 1), (2, 5), (3, 6), (4, 4), (17, 0), (997, 3), (70_001, 29_999)):
        assert (uniform(9, count, start) == everything[start : start + count]).all()


def test_an_element_s_number_is_its_word_of_its_counter():
    drawn = uniform(5, 40)
    for i, number in enumerate(drawn):
        word = plain_philox([i // 4, 0, 0, 0], [5, 0])[i % 4]
        assert number == np.float32(word >> 1) * np.float32(4.6566127342e-10)


def test_seeds_that_differ_in_the_upper_half_differ():
    assert (uniform(5, 100) != uniform(5 + (1 << 32), 100)).any()


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_the_mask_keeps_the_share_it_should(p):
    n = 1 << 16
    mask = keep_mask((n // 4, 4), p, 11)
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) <= {np.float32(0), np.float32(1 / (1 - p))}
    assert abs((mask > 0).mean() - (1 - p)) <= SIGMAS * math.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_an_impossible_probability_is_refused(p):
    with pytest.raises(ValueError, match=rf"\[0, 1\), got {p}"):
        check_drop_prob(p)
