"""The arithmetic behind a verdict: paired differences, their mean, and the interval that holds it.

Runs of one seed share corpus, batches and first weights, so what differs between two arms is the difference within a seed.
The mean of n such differences has Student's t-interval with n - 1 degrees of freedom. Everything is float64, and sums are
`math.fsum`'s, which do not depend on order or machine: a verdict that is computed again comes out the same.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """`n` values: their mean, standard deviation (of n - 1) and standard error, and the t-interval of the mean."""

    n: int
    mean: float
    sd: float
    se: float
    low: float
    high: float


def t_interval(values: Iterable[float], confidence: float = CONFIDENCE) -> Interval:
    """Raises ValueError for fewer than two values, and for values that are not finite."""
    numbers = [float(value) for value in values]
    n = len(numbers)
    if n < 2:
        raise ValueError(f"an interval needs at least 2 values, got {n}")
    if bad := [number for number in numbers if not math.isfinite(number)]:
        raise ValueError(f"an interval needs finite values, got {bad[0]}")
    mean = math.fsum(numbers) / n
    sd = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / (n - 1))
    se = sd / math.sqrt(n)
    reach = t_quantile((1 + confidence) / 2, n - 1) * se
    return Interval(n, mean, sd, se, mean - reach, mean + reach)


def t_quantile(probability: float, degrees: int) -> float:
    """t with P(T <= t) = `probability` for Student's distribution with `degrees` >= 1 degrees of freedom.

    For whole degrees the distribution function is a finite sum over the angle whose tangent is t / sqrt(degrees) (Abramowitz
    and Stegun, 26.7.3 and 26.7.4). It grows with the angle, so bisection finds the one that is wanted. Raises ValueError
    unless 0 < probability < 1 and degrees is a positive integer.
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability must lie between 0 and 1, got {probability}")
    if degrees != int(degrees) or degrees < 1:
        raise ValueError(f"degrees must be an integer of at least 1, got {degrees}")
    if probability < 0.5:
        return -t_quantile(1 - probability, degrees)
    within = 2 * probability - 1  # P(|T| <= t)
    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:  # until no number lies between them
        if _within(middle, degrees) < within:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan(low)


def _within(angle: float, degrees: int) -> float:
    """P(|T| <= sqrt(degrees) tan(angle))."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    terms = [] if degrees == 1 else [term]
    for k in range(2 + odd, degrees - 1, 2):
        term *= (k - 1) / k * cosine**2
        terms.append(term)
    series = sine * math.fsum(terms)
    return 2 / math.pi * (angle + series) if odd else series
