"""Differences between two variants, seed by seed, with a Student interval.

    d_i = x_i - y_i,   mean(d) +- t(0.975, n - 1) * s(d) / sqrt(n)

x is the variant and y the one it is compared with, both trained from seed i: what the seed does to both (weights,
order) cancels. The interval says where the mean over all seeds lies with 95 % confidence if the d_i are normal; from
three or five seeds that is a rough statement, so wins are counted beside it. p is that of the same t statistic,
two-sided: the chance of a mean at least so far from zero where there is no difference.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """Variant minus the one it is compared with. `low` and `high` bound the mean; from one pair alone they and `p` are
    None."""

    mean: float
    low: float | None
    high: float | None
    wins: int
    n: int
    p: float | None = None


def paired_difference(
    values: Mapping[int, float], against: Mapping[int, float], lower_is_better: bool = True
) -> Difference | None:
    """Over the seeds that both have; None where they share none. An equal pair is no win."""
    pairs = [values[seed] - against[seed] for seed in values if seed in against]
    if not pairs:
        return None
    n, mean = len(pairs), statistics.fmean(pairs)
    wins = sum(d < 0 if lower_is_better else d > 0 for d in pairs)
    if n == 1:
        return Difference(mean, None, None, wins, n)
    error = statistics.stdev(pairs) / math.sqrt(n)
    reach = student_quantile(n - 1) * error
    return Difference(mean, mean - reach, mean + reach, wins, n, _p(mean, error, n - 1))


def _p(mean: float, error: float, freedom: int) -> float:
    """Where all pairs differ by the same there is no spread to measure the mean with."""
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return max(0.0, 1.0 - _within(abs(mean) / error, freedom))


def student_quantile(freedom: int, level: float = 0.95) -> float:
    """t with P(|T| <= t) = `level` for a whole number of degrees of freedom, by bisection."""
    if freedom < 1:
        raise ValueError(f"expected at least one degree of freedom, got {freedom}")
    low, high = 0.0, 1.0
    while _within(high, freedom) < level:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < level else (low, middle)
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """P(|T| <= t), a finite sum in the angle atan(t / sqrt(freedom)) (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= math.cos(angle) ** 2 * k / (k + 1)
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total
