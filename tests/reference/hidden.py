"""Distances between hidden states as plain loops over Python floats; `s` are a student's vectors, `h` a teacher's."""

import math

from reference.layerwise import layer_norm, project


def dot(x, y):
    return sum(a * b for a, b in zip(x, y, strict=True))


def unit(x):
    length = math.sqrt(dot(x, x))
    return [a / length for a in x]


def gelu(x):
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def affine(layer, x):
    """`layer` is a matrix and a bias."""
    return [a + b for a, b in zip(project(layer[0], x), layer[1], strict=True)]


def projector(s, h, layers, normalize):
    """Mean square over width after one affine layer, or two with GELU between; summed over rows."""
    total = 0.0
    for x, y in zip(s, h, strict=True):
        if normalize:
            x, y = layer_norm(x), layer_norm(y)
        for number, layer in enumerate(layers):
            x = affine(layer, x if number == 0 else [gelu(a) for a in x])
        total += sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) / len(y)
    return total


def patient(x, y, matrix=None):
    """Squared distance of two unit vectors."""
    ours = unit(x if matrix is None else project(matrix, x))
    return sum((a - b) ** 2 for a, b in zip(ours, unit(y), strict=True))


def mean(rows):
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def correlation(rows, norm):
    """The N x N matrix of one sequence."""
    whole = math.sqrt(sum(dot(x, x) for x in rows))
    rows = [unit(x) if norm == "token" else [a / whole for a in x] for x in rows]
    return [[dot(x, y) for y in rows] for x in rows]


def self_correlation(s, h, norm, similarity, diagonal):
    """Distance of the self-correlations of one sequence; zero where it has no pair."""
    ours, theirs = correlation(s, norm), correlation(h, norm)
    places = [(t, u) for t in range(len(s)) for u in range(len(s)) if diagonal or t != u]
    first, second = ([matrix[t][u] for t, u in places] for matrix in (ours, theirs))
    if not places:
        return 0.0
    if similarity == "mse":
        return sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) / len(places)
    return 1 - dot(first, second) / math.sqrt(dot(first, first) * dot(second, second))


def gram(rows):
    return [[dot(x, y) for y in rows] for x in rows]


def doubly_centered(matrix):
    n = len(matrix)
    means, whole = [sum(row) / n for row in matrix], sum(map(sum, matrix)) / n**2
    return [[matrix[i][j] - means[i] - means[j] + whole for j in range(n)] for i in range(n)]


def inner(first, second):
    return sum(dot(a, b) for a, b in zip(first, second, strict=True))


def hsic(first, second):
    """n^2 times the biased estimate, from two Gram matrices."""
    return inner(doubly_centered(first), doubly_centered(second))


def unbiased_hsic(first, second):
    """n (n - 3) times the unbiased estimate, as Song et al. 2012 print it."""
    n = len(first)
    k, m = ([[0.0 if i == j else g[i][j] for j in range(n)] for i in range(n)] for g in (first, second))
    product = [[sum(k[i][u] * m[u][j] for u in range(n)) for j in range(n)] for i in range(n)]
    trace = sum(product[i][i] for i in range(n))
    sums = sum(map(sum, k)) * sum(map(sum, m))
    return trace + sums / ((n - 1) * (n - 2)) - 2 / (n - 2) * sum(map(sum, product))


def cka(s, h, estimator):
    product = unbiased_hsic if estimator == "unbiased" else hsic
    ours, theirs = gram(s), gram(h)
    return product(ours, theirs) / math.sqrt(product(ours, ours) * product(theirs, theirs))


def smooth_l1(x, y):
    """Mean over width."""
    return sum(
        0.5 * (a - b) ** 2 if abs(a - b) < 1 else abs(a - b) - 0.5 for a, b in zip(x, y, strict=True)
    ) / len(y)


def inverse(matrix):
    """By Gauss and Jordan, with pivots."""
    n = len(matrix)
    rows = [[*row, *(float(i == j) for j in range(n))] for i, row in enumerate(matrix)]
    for column in range(n):
        pivot = max(range(column, n), key=lambda i: abs(rows[i][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [x / rows[column][column] for x in rows[column]]
        for i in range(n):
            if i != column:
                rows[i] = [x - rows[i][column] * y for x, y in zip(rows[i], rows[column], strict=True)]
    return [row[n:] for row in rows]


def inverse_root(matrix, steps=60):
    """A^(-1/2) of a positive definite matrix, by the iteration of Denman and Beavers."""
    n = len(matrix)
    root, other = matrix, [[float(i == j) for j in range(n)] for i in range(n)]
    for _ in range(steps):
        turned, turned_other = inverse(root), inverse(other)
        root = [
            [(a + b) / 2 for a, b in zip(x, y, strict=True)] for x, y in zip(root, turned_other, strict=True)
        ]
        other = [[(a + b) / 2 for a, b in zip(x, y, strict=True)] for x, y in zip(other, turned, strict=True)]
    return other


def whitened(h, eps=1e-3):
    """Rows about their mean, times (Sigma + eps I)^(-1/2)."""
    middle, width = mean(h), len(h[0])
    rows = [[a - b for a, b in zip(x, middle, strict=True)] for x in h]
    sigma = [[sum(x[i] * x[j] for x in rows) / len(rows) for j in range(width)] for i in range(width)]
    shifted = [[sigma[i][j] + eps * (i == j) for j in range(width)] for i in range(width)]
    root = inverse_root(shifted)
    return [project(root, x) for x in rows]
