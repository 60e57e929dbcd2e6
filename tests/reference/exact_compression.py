"""The exact compressions of squeezing heads (4.1) in rational numbers: plain loops over rows, no rounding anywhere.

any matrix    min_a | a X - y |^2 for every row, from its normal equations
any map       the same for a >= 0 that sums to one: of the minima over all faces of the simplex that lie on their
              face, the smallest
"""

from fractions import Fraction
from itertools import combinations


def exact(matrix):
    return [[Fraction(entry) for entry in line] for line in matrix]


def dot(left, right):
    return sum((a * b for a, b in zip(left, right, strict=True)), Fraction(0))


def mixed(shares, points):
    return [dot(shares, column) for column in zip(*points, strict=True)]


def solved(system, right):
    """A solution of a consistent system by elimination, zero where it is free; None where there is none."""
    rows = [[*line, value] for line, value in zip(system, right, strict=True)]
    size, pivots, at = len(system[0]), [], 0
    for column in range(size):
        pivot = next((r for r in range(at, len(rows)) if rows[r][column] != 0), None)
        if pivot is None:
            continue
        rows[at], rows[pivot] = rows[pivot], rows[at]
        rows[at] = [entry / rows[at][column] for entry in rows[at]]
        for r in range(len(rows)):
            if r != at and rows[r][column] != 0:
                factor = rows[r][column]
                rows[r] = [a - factor * b for a, b in zip(rows[r], rows[at], strict=True)]
        pivots.append(column)
        at += 1
    if any(line[-1] != 0 for line in rows[at:]):
        return None
    found = [Fraction(0)] * size
    for line, column in zip(rows, pivots, strict=False):
        found[column] = line[-1]
    return found


def squared_distance(points, shares, target):
    return sum(((a - b) ** 2 for a, b in zip(mixed(shares, points), target, strict=True)), Fraction(0))


def least_squares(points, target):
    """The squared distance of `target` to the span of `points`."""
    gram = [[dot(p, q) for q in points] for p in points]
    return squared_distance(points, solved(gram, [dot(p, target) for p in points]), target)


def nearest_in_hull(points, target):
    """Shares of the point of the hull of `points` next to `target`, and its squared distance."""
    best = None
    for count in range(1, len(points) + 1):
        for face in combinations(range(len(points)), count):
            shares = on_face([points[each] for each in face], target)
            if shares is None or min(shares) < 0:
                continue
            full = [Fraction(0)] * len(points)
            for each, share in zip(face, shares, strict=True):
                full[each] = share
            distance = squared_distance(points, full, target)
            if best is None or distance < best[1]:
                best = full, distance
    return best


def on_face(points, target):
    """Shares that sum to one and come nearest, of any sign: the gradient is the same along all of them."""
    gram = [[dot(p, q) for q in points] for p in points]
    system = [[*line, Fraction(1)] for line in gram]
    system.append([Fraction(1)] * len(points) + [Fraction(0)])
    found = solved(system, [dot(p, target) for p in points] + [Fraction(1)])
    return None if found is None else found[:-1]


def squared_errors(maps, written, is_causal=True):
    """Of maps `[k][S][S]` and X `[k][S][D]`: squared errors of the best matrix and of the best map, and |Y|^2."""
    maps, written = [exact(each) for each in maps], [exact(each) for each in written]
    whole = [[sum(entries) for entries in zip(*lines, strict=True)] for lines in zip(*written, strict=True)]
    matrix = hull = size = Fraction(0)
    for row in range(len(whole)):
        moved = [mixed(one[row], x) for one, x in zip(maps, written, strict=True)]
        target = [sum(entries) for entries in zip(*moved, strict=True)]
        seen = whole[: row + 1] if is_causal else whole
        matrix += least_squares(seen, target)
        hull += nearest_in_hull(seen, target)[1]
        size += dot(target, target)
    return float(matrix), float(hull), float(size)
