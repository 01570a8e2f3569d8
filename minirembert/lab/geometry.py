"""Numbers that describe a set of vectors, whatever they are vectors of. All in float64."""

import numpy as np
from jaxtyping import Float

from minirembert.ops.array import Array


def unit(x: Float[Array, "N H"]) -> Float[Array, "N H"]:
    """Rows of length 1; a row of zeros stays one."""
    x = x.astype(np.float64)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def centred(x: Float[Array, "N H"]) -> Float[Array, "N H"]:
    """Columns with a mean of 0."""
    x = x.astype(np.float64)
    return x - x.mean(axis=0)


def mean_cosine(x: Float[Array, "N H"]) -> float:
    """The mean cosine of all pairs of different rows: 0 for vectors in all directions alike, 1 for one direction.

    Rows of zeros have the cosine 0 with all others. Raises ValueError for fewer than two rows.
    """
    if len(x) < 2:
        raise ValueError(f"the mean cosine of pairs needs two rows, got {len(x)}")
    u = unit(x)
    total = u.sum(axis=0)
    # |sum u|^2 has every pair twice, and every row with itself
    return float((total @ total - (u * u).sum()) / (len(x) * (len(x) - 1)))


def participation_ratio(x: Float[Array, "N H"]) -> float:
    """(sum e)^2 / sum e^2 of the eigenvalues e of the rows' covariance: over how many directions their variance is spread.

    Between 1 and H; 0 where all rows are equal.
    """
    x = centred(x)
    covariance = x.T @ x  # its scale cancels
    squares = float((covariance * covariance).sum())  # the sum of the squared eigenvalues
    return float(np.trace(covariance)) ** 2 / squares if squares else 0.0


def linear_cka(x: Float[Array, "V p"], y: Float[Array, "V q"]) -> float:
    """How alike two sets of vectors for the same V things are (Kornblith et al. 2019, section 3): from 0 to 1.

        |Yc' Xc|^2 / (|Xc' Xc| |Yc' Yc|), Frobenius norms, columns centred

    Turning, mirroring, moving or scaling either set changes nothing. With few rows unrelated sets are alike, too: compare
    with `linear_cka(x, y[permutation])`. Raises ValueError for other numbers of rows, and where all rows are equal.
    """
    if len(x) != len(y):
        raise ValueError(f"CKA compares vectors of the same things, got {len(x)} rows and {len(y)}")
    x, y = centred(x), centred(y)
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    if norms == 0:
        raise ValueError("CKA is not defined where all rows of a matrix are equal")
    return float(np.linalg.norm(y.T @ x) ** 2 / norms)


def numerical_rank(singular_values: Float[Array, " K"], shape: tuple[int, ...]) -> int:
    """How many of a matrix's singular values, largest first, exceed the largest one x max(shape) x the eps of float32.

    Models compute in float32: what is smaller could not be told from its rounding.
    """
    return int((singular_values > singular_values[0] * max(shape) * np.finfo(np.float32).eps).sum())


def effective_rank(singular_values: Float[Array, " K"]) -> float:
    """exp of the entropy of the singular values' shares of their sum (Roy and Vetterli 2007); 0 for a matrix of zeros."""
    positive = singular_values[singular_values > 0]
    share = positive / positive.sum() if len(positive) else np.ones(0)
    return float(np.exp(-(share * np.log(share)).sum())) if len(share) else 0.0


def ranks_of_logits(logits: Float[Array, "N V"]) -> dict[str, float]:
    """The numerical and the effective rank of logits (N contexts, V words), each row without its mean.

    Softmax sees logits only up to a constant in each row. Nothing else is taken away: a bias of the words adds 1. The
    numerical rank is at most min(N, V - 1), and means the more, the further N and V exceed what is asked about.
    """
    singular_values = np.linalg.svd(centred(logits.T), compute_uv=False)
    rank = numerical_rank(singular_values, logits.shape)
    return {"rank": rank, "effective_rank": effective_rank(singular_values)}


def ranks(values: Float[Array, " N"]) -> Float[Array, " N"]:
    """1 for the smallest; equal values share the mean of their places."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[group]


def spearman(x: Float[Array, " N"], y: Float[Array, " N"]) -> float:
    """Spearman's rank correlation with ties: Pearson's of the `ranks`. Raises ValueError where all values are equal."""
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"a rank correlation needs two lists of one length, got shapes {x.shape} and {y.shape}")
    a, b = ranks(x), ranks(y)
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    if norm == 0:
        raise ValueError("a rank correlation is not defined where all values are equal")
    return float(a @ b / norm)
