"""Soft and hard dynamic time warping in plain loops over Python floats, and from all paths one by one.

`cost` is a list of rows. A path goes from the first cell to the last by steps down, across or both.
"""

import math


def paths(height, width):
    """Every path as a list of cells; their number is a Delannoy number."""
    if height == 0 or width == 0:
        return []
    if height == width == 1:
        return [[(0, 0)]]
    shorter = paths(height - 1, width) + paths(height, width - 1) + paths(height - 1, width - 1)
    return [[*path, (height - 1, width - 1)] for path in shorter]


def by_paths(cost, gamma):
    """Value and alignment, from their definition."""
    found = paths(len(cost), len(cost[0]))
    weights = [math.exp(-sum(cost[i][j] for i, j in path) / gamma) for path in found]
    alignment = [[0.0] * len(cost[0]) for _ in cost]
    for path, weight in zip(found, weights, strict=True):
        for i, j in path:
            alignment[i][j] += weight / sum(weights)
    return -gamma * math.log(sum(weights)), alignment


def soft_dtw(cost, gamma):
    """Value and alignment, from the recursion and its derivative."""
    height, width = len(cost), len(cost[0])
    totals = [[math.inf] * (width + 1) for _ in range(height + 1)]
    totals[0][0] = 0.0
    for i in range(height):
        for j in range(width):
            totals[i + 1][j + 1] = cost[i][j] + _softmin(
                totals[i][j + 1], totals[i + 1][j], totals[i][j], gamma
            )
    alignment = [[0.0] * (width + 1) for _ in range(height + 1)]
    alignment[height - 1][width - 1] = 1.0
    for i in reversed(range(height)):
        for j in reversed(range(width)):
            for a, b in ((i + 1, j), (i, j + 1), (i + 1, j + 1)):
                if a < height and b < width:
                    before = totals[a + 1][b + 1] - cost[a][b]
                    alignment[i][j] += alignment[a][b] * math.exp((before - totals[i + 1][j + 1]) / gamma)
    return totals[height][width], [row[:width] for row in alignment[:height]]


def _softmin(a, b, c, gamma):
    least = min(a, b, c)
    return least - gamma * math.log(sum(math.exp((least - each) / gamma) for each in (a, b, c)))


def hard_dtw(cost):
    """Cost of the best path, and the path as a list of cells."""
    height, width = len(cost), len(cost[0])
    best = {}
    for i in range(height):
        for j in range(width):
            before = [best[at] for at in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if at in best]
            total, path = min(before, default=(0.0, []))
            best[i, j] = (total + cost[i][j], [*path, (i, j)])
    return best[height - 1, width - 1]


def divergence(cross, row_self, column_self, gamma):
    between, first, second = (soft_dtw(cost, gamma)[0] for cost in (cross, row_self, column_self))
    return between - (first + second) / 2


def cosine_cost(student, teacher):
    """Of two lists of vectors."""
    return [[1 - _dot(x, y) / math.sqrt(_dot(x, x) * _dot(y, y)) for y in teacher] for x in student]


def _dot(x, y):
    return sum(a * b for a, b in zip(x, y, strict=True))


def outside_entropy_band(attention, base, slope, share):
    """Cells outside, for one table of attention without padding; everything counted from 1 as in the paper."""
    height, width, found = len(attention), len(attention[0]), set()
    for i in range(1, height + 1):
        row = attention[i - 1]
        center = share * sum(j * a for j, a in enumerate(row, 1)) + (1 - share) * i * width / height
        reach = base - slope * sum(a * math.log(a) for a in row if a > 0)
        found |= {(i - 1, j - 1) for j in range(1, width + 1) if abs(j - center) > reach}
    return found
