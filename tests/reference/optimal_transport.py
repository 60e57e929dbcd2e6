"""Sinkhorn's iteration as it was printed, with products in plain loops, and the best assignment of all."""

import math
from itertools import permutations


def plan(cost, rows, columns, epsilon, rounds):
    kernel = [[math.exp(-each / epsilon) for each in row] for row in cost]
    v = [1.0] * len(columns)
    for _ in range(rounds):
        u = [a / sum(k * y for k, y in zip(row, v, strict=True)) for a, row in zip(rows, kernel, strict=True)]
        v = [b / sum(row[j] * x for row, x in zip(kernel, u, strict=True)) for j, b in enumerate(columns)]
    return [[x * k * y for k, y in zip(row, v, strict=True)] for x, row in zip(u, kernel, strict=True)]


def best_assignment(cost):
    """Which column every row of a square table gets."""
    rows = range(len(cost))
    return list(min(permutations(rows), key=lambda columns: sum(cost[i][columns[i]] for i in rows)))


def sorted_distance(p, q):
    longest = max(len(p), len(q))
    first, second = (
        sorted(each, reverse=True) + [0.0] * (longest - len(each)) for each in (list(p), list(q))
    )
    return sum(abs(a - b) for a, b in zip(first, second, strict=True))
