"""Student's interval for paired differences, and the first crossing of a curve, in plain loops and float64."""

import math


def student_mass(t: float, freedom: int, steps: int = 4000) -> float:
    """P(|T| <= t): twice Simpson's rule over the density from 0 to t."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    total = 0.0
    for i in range(steps + 1):
        x = t * i / steps
        factor = 1 if i in (0, steps) else 4 if i % 2 else 2
        total += factor * scale * (1 + x * x / freedom) ** (-(freedom + 1) / 2)
    return 2 * total * t / steps / 3


def paired_interval(xs: list[float], ys: list[float], quantile: float) -> tuple[float, float, float, int]:
    """Mean of x - y, the two ends of the interval, and how often x < y."""
    total, wins = 0.0, 0
    for x, y in zip(xs, ys, strict=True):
        total += x - y
        wins += x < y
    mean = total / len(xs)
    squares = 0.0
    for x, y in zip(xs, ys, strict=True):
        squares += (x - y - mean) ** 2
    error = math.sqrt(squares / (len(xs) - 1) / len(xs))
    return mean, mean - quantile * error, mean + quantile * error, wins


def first_crossing(
    places: list[float], values: list[float], target: float, steps: int = 10000
) -> float | None:
    """The first place, on a fine grid of each straight piece, where the value is at most the target."""
    if values[0] <= target:
        return places[0]
    for i in range(len(places) - 1):
        for step in range(steps + 1):
            share = step / steps
            if (1 - share) * values[i] + share * values[i + 1] <= target:
                return (1 - share) * places[i] + share * places[i + 1]
    return None
