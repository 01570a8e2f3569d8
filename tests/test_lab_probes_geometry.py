"""Numbers of a matrix, each against its definition written out in loops, or a matrix for which it is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirembert.lab.geometry import (
    effective_rank,
    linear_cka,
    mean_cosine,
    numerical_rank,
    participation_ratio,
    ranks,
    ranks_of_logits,
    spearman,
)

LIMIT = 2**12 * np.finfo(float).eps  # of a few dozen sums and products of numbers of one size
SEEDS = st.integers(0, 2**32 - 1)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def rotation(seed: int, size: int) -> np.ndarray:
    return np.linalg.qr(normal(seed, size, size))[0]


@given(SEEDS, st.integers(2, 12), st.integers(1, 6))
def test_mean_cosine(seed, rows, width):
    x = normal(seed, rows, width) + 1
    x[0] = 0  # a row without a direction
    cosines = []
    for i in range(rows):
        for j in range(rows):
            if i != j:
                norms = math.sqrt(x[i] @ x[i]) * math.sqrt(x[j] @ x[j])
                cosines.append(x[i] @ x[j] / norms if norms else 0.0)
    assert mean_cosine(x) == pytest.approx(sum(cosines) / len(cosines), abs=LIMIT)


@given(SEEDS, st.integers(2, 12), st.integers(1, 6))
def test_participation_ratio(seed, rows, width):
    x = normal(seed, rows, width) * np.arange(1, width + 1) + 5
    e = np.linalg.eigvalsh(np.atleast_2d(np.cov(x, rowvar=False)))
    assert participation_ratio(x) == pytest.approx(e.sum() ** 2 / (e**2).sum(), rel=LIMIT)
    assert participation_ratio(np.concatenate([np.eye(width), -np.eye(width)])) == pytest.approx(width)
    assert participation_ratio(np.full((rows, width), 3.0)) == 0


@given(SEEDS, st.integers(3, 12), st.integers(1, 6), st.integers(1, 6))
def test_cka_against_gram_matrices(seed, rows, p, q):
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with linear kernels: another way to the same number."""
    x, y = normal(seed, rows, p), normal(seed + 1, rows, q) + 3
    centring = np.eye(rows) - 1 / rows

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.trace(a @ a.T @ centring @ b @ b.T @ centring))

    cka = linear_cka(x, y)
    assert cka == pytest.approx(hsic(x, y) / math.sqrt(hsic(x, x) * hsic(y, y)), rel=LIMIT)
    assert 0 <= cka <= 1 + LIMIT
    moved = 7 * (x @ rotation(seed + 2, p)) - 2
    assert linear_cka(moved, y) == pytest.approx(cka, rel=LIMIT, abs=LIMIT)
    assert linear_cka(moved, x) == pytest.approx(1, rel=LIMIT)
    order = np.random.default_rng(seed).permutation(rows)
    assert linear_cka(x[order], y[order]) == pytest.approx(cka, rel=LIMIT, abs=LIMIT)


def test_cka_by_hand():
    """Centred columns (-1, 0, 1) and (1, -2, 1) are orthogonal; with the first doubled, the kernels overlap in 4 of 5."""
    one, two = np.array([[-1.0, 0, 1]]).T, np.array([[1.0, -2, 1]]).T
    assert linear_cka(one, two) == pytest.approx(0, abs=LIMIT)
    # x'x = 2; y'y = diag(2, 6); y'x = (2, 0): 4 / (2 sqrt(40))
    assert linear_cka(one, np.hstack([one, two])) == pytest.approx(4 / (2 * math.sqrt(40)))
    with pytest.raises(ValueError, match="of the same things, got 3 rows and 2"):
        linear_cka(one, two[:2])
    with pytest.raises(ValueError, match="all rows of a matrix are equal"):
        linear_cka(one, np.ones((3, 2)))


@given(SEEDS, st.integers(1, 8), st.integers(9, 20), st.integers(9, 20))
def test_numerical_rank_of_a_product(seed, rank, rows, columns):
    """Known by construction; rounding to float32 adds nothing, and one more direction of a thousandth does."""
    product = rotation(seed, rows)[:, :rank] @ rotation(seed + 1, columns)[:rank]
    noisy = product.astype(np.float32).astype(np.float64)
    wider = product + 1e-3 * np.outer(rotation(seed, rows)[:, rank], rotation(seed + 1, columns)[rank])
    for matrix, expected in ((product, rank), (noisy, rank), (wider, rank + 1)):
        s = np.linalg.svd(matrix, compute_uv=False)
        assert numerical_rank(s, matrix.shape) == expected
    assert numerical_rank(np.zeros(3), (3, 3)) == 0
    eps = np.finfo(np.float32).eps  # of a matrix with 200 columns, singular values up to 200 eps may be rounding
    assert numerical_rank(np.array([2, 402 * eps, 398 * eps]), (3, 200)) == 2


@given(SEEDS, st.integers(1, 6))
def test_rank_of_logits_is_what_softmax_can_see(seed, rank):
    logits = normal(seed, 30, rank) @ normal(seed + 1, rank, 20)
    assert ranks_of_logits(logits)["rank"] == rank
    assert ranks_of_logits(logits + 9 * normal(seed + 2, 30, 1))["rank"] == rank  # a constant in each row
    assert ranks_of_logits(logits + normal(seed + 3, 20))["rank"] == rank + 1  # a bias of the words
    assert ranks_of_logits(normal(seed, 30, 20))["rank"] == 19


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=8))
def test_effective_rank(values):
    s = np.array(values)
    entropy = -sum(v / sum(values) * math.log(v / sum(values)) for v in values)
    assert effective_rank(s) == pytest.approx(math.exp(entropy))
    assert effective_rank(np.append(s, 0.0)) == effective_rank(s)
    assert effective_rank(np.full(5, 0.3)) == pytest.approx(5)
    assert effective_rank(np.zeros(5)) == 0


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=20))
def test_rank_correlation_with_ties(pairs):
    """A rank is 1 + how many are smaller + half of how many others are equal."""
    x, y = np.array(pairs, float).T
    for values in (x, y):
        by_hand = [1 + sum(v < u for v in values) + (sum(v == u for v in values) - 1) / 2 for u in values]
        assert ranks(values).tolist() == by_hand
    if len(set(x)) == 1 or len(set(y)) == 1:
        with pytest.raises(ValueError, match="not defined where all values are equal"):
            spearman(x, y)
    else:
        assert spearman(x, y) == pytest.approx(np.corrcoef(ranks(x), ranks(y))[0, 1], abs=LIMIT)
        assert spearman(x**3, np.exp(y)) == spearman(x, y)  # only the order counts


def test_rank_correlation_by_hand():
    # ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4: covariance 4.5, variances 4.5 and 5
    assert spearman(np.array([1.0, 5, 5, 9]), np.array([1.0, 3, 2, 4])) == pytest.approx(4.5 / math.sqrt(22.5))
    with pytest.raises(ValueError, match=r"two lists of one length, got shapes \(2,\) and \(3,\)"):
        spearman(np.arange(2.0), np.arange(3.0))
    with pytest.raises(ValueError, match="needs two rows, got 1"):
        mean_cosine(np.ones((1, 3)))
