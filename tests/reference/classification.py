"""F1, Matthews correlation and correlation of ranks, from other definitions than the package's."""

import math
from collections.abc import Sequence


def f1(predictions: Sequence[int], labels: Sequence[int]) -> float:
    """The harmonic mean of precision and recall."""
    hits = sum(1 for p, y in zip(predictions, labels, strict=True) if p == 1 and y == 1)
    if hits == 0:
        return 0.0
    precision, recall = hits / sum(p == 1 for p in predictions), hits / sum(y == 1 for y in labels)
    return 2 / (1 / precision + 1 / recall)


def correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson, from all pairs of points: sum (x_i - x_j)(y_i - y_j). Of two labels it is Matthews' coefficient."""
    together = own_x = own_y = 0.0
    for i in range(len(x)):
        for j in range(len(x)):
            together += (x[i] - x[j]) * (y[i] - y[j])
            own_x += (x[i] - x[j]) ** 2
            own_y += (y[i] - y[j]) ** 2
    return together / math.sqrt(own_x * own_y) if own_x * own_y else 0.0


def ranks(values: Sequence[float]) -> list[float]:
    """How many values are smaller, and half of those that are equal."""
    return [sum(v < value for v in values) + sum(v == value for v in values) / 2 for value in values]
