"""Plain-loop twins of the formulas of the report, in float64."""

import math


def bucket_means(points: list[tuple[float, float]], limit: int) -> list[tuple[float, float, float, float]]:
    """Mean x, and mean, lowest and highest finite y of every bucket.

    Point j belongs to the last bucket i with i n // k <= j.
    """
    n, k = len(points), min(limit, len(points))
    groups: list[list[tuple[float, float]]] = [[] for _ in range(k)]
    for j, point in enumerate(points):
        home = 0
        for i in range(k):
            if i * n // k <= j:
                home = i
        groups[home].append(point)
    rows = []
    for group in groups:
        xs, count, total, low, high = 0.0, 0, 0.0, math.inf, -math.inf
        for x, y in group:
            xs += x
            if math.isfinite(y):
                count += 1
                total += y
                low = y if y < low else low
                high = y if y > high else high
        rows.append(
            (xs / len(group), total / count, low, high) if count else (xs / len(group), *[math.nan] * 3)
        )
    return rows


def share_of_gap(before: float, after: float, teacher: float) -> float:
    """How far `after` lies on the way from `before` to `teacher`, found by bisection, not by division."""
    low, high = -100.0, 100.0
    for _ in range(200):
        middle = (low + high) / 2
        if before + middle * (teacher - before) > after:
            low = middle
        else:
            high = middle
    return (low + high) / 2
