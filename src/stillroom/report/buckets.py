"""Thousands of points become a few hundred, the same ones every time, and spikes stay visible.

Points are cut by position into k buckets of near-equal size: bucket i holds points [i n / k, (i + 1) n / k).
The mean of a bucket is drawn as the line, its lowest and highest value as a band around it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]


@dataclass(frozen=True)
class Bucket:
    """Mean place and mean, lowest and highest value of neighboring points; nan where no value is finite."""

    x: float
    mean: float
    low: float
    high: float


def bucketed(points: Sequence[Point], limit: int = 80) -> list[Bucket]:
    """At most `limit` buckets for `points`, sorted by x. Values that are not finite are left out."""
    count = min(limit, len(points))
    edges = [i * len(points) // count for i in range(count + 1)] if count else []
    return [_bucket(points[start:end]) for start, end in pairwise(edges)]


def _bucket(points: Sequence[Point]) -> Bucket:
    x = math.fsum(x for x, _ in points) / len(points)
    values = [y for _, y in points if math.isfinite(y)]
    if not values:
        return Bucket(x, math.nan, math.nan, math.nan)
    return Bucket(x, math.fsum(values) / len(values), min(values), max(values))
