"""Finds the polynomial p in erf(x) = tanh(x p(x^2)), whose coefficients stand in minirembert/ops/activations.py.

    python -m benchmarks.fit_erf [--degree 6]

p(x^2) should be atanh(erf(x)) / x. An error in p moves erf by (1 - erf(x)^2) x times as much, which is next to nothing
once erf is close to 1: with this weight, least squares are repeated, each time putting more weight where the error is
largest, until the largest error stops falling (Lawson 1961).
"""

import argparse

import mpmath
import numpy as np

from minirembert.ops.activations import ERF_LIMIT


def fit(degree: int, points: int, rounds: int) -> tuple[np.ndarray, float]:
    """(coefficients from the constant up, largest error of erf on [0, ERF_LIMIT])."""
    mpmath.mp.dps = 60
    x = np.linspace(1e-3, ERF_LIMIT, points)
    exact = [mpmath.mpf(float(value)) for value in x]
    target = np.array([float(mpmath.atanh(mpmath.erf(value)) / value) for value in exact])
    sensitivity = np.array([float(1 - mpmath.erf(value) ** 2) for value in exact]) * x
    basis = np.polynomial.chebyshev.chebvander(2 * (x / ERF_LIMIT) ** 2 - 1, degree)

    weight, best, smallest = sensitivity.copy(), np.zeros(degree + 1), np.inf
    for _ in range(rounds):
        coefficients = np.linalg.lstsq(basis * weight[:, None], target * weight, rcond=None)[0]
        error = np.abs(basis @ coefficients - target) * sensitivity
        if error.max() < smallest:
            best, smallest = coefficients, float(error.max())
        weight *= (error / error.max() + 1e-3) ** 0.15
        weight = np.maximum(weight / weight.max(), 1e-12)
    polynomial = np.polynomial.Chebyshev(best, domain=[0, ERF_LIMIT**2]).convert(kind=np.polynomial.Polynomial)
    return polynomial.coef, smallest


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--degree", type=int, default=6)
    parser.add_argument("--points", type=int, default=1500, help="where the error is looked at (default: 1500)")
    parser.add_argument("--rounds", type=int, default=400, help="of least squares (default: 400)")
    arguments = parser.parse_args()
    coefficients, error = fit(arguments.degree, arguments.points, arguments.rounds)
    print(f"largest error of erf: {error:.2e}")
    print(", ".join(f"{c:.9g}" for c in coefficients))
