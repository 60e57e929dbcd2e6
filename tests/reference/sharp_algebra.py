"""Overlaps, pooled maps and Lemma 1 in plain loops over Python floats."""

import math


def overlap(frames: list[list[list[float]]]) -> float:
    """Root mean square over pairs of ||W_i^T W_j||_F, of matrices given as lists of rows."""
    squares = []
    for i, first in enumerate(frames):
        for second in frames[:i]:
            total = 0.0
            for a in range(len(first[0])):
                for b in range(len(second[0])):
                    product = sum(first[row][a] * second[row][b] for row in range(len(first)))
                    total += product * product
            squares.append(total)
    return math.sqrt(sum(squares) / len(squares))


def received(attention: list[list[float]]) -> list[float]:
    """Mean over queries of one S x S map."""
    length = len(attention)
    return [sum(attention[query][key] for query in range(length)) / length for key in range(length)]


def uniform_map(length: int) -> list[list[float]]:
    """Every query attends evenly to itself and its past."""
    return [[1 / (query + 1) if key <= query else 0.0 for key in range(length)] for query in range(length)]


def cosine(first: list[float], second: list[float]) -> float:
    return dot(first, second) / math.sqrt(dot(first, first) * dot(second, second))


def dot(first: list[float], second: list[float]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


def lemma_sides(gradients: list[list[float]]) -> tuple[float, float]:
    """Progress of linear losses along their summed gradient, and what Eq 2 allows, per unit of learning rate."""
    summed = [sum(column) for column in zip(*gradients, strict=True)]
    allowed = 0.0
    for i, own in enumerate(gradients):
        share = 0.0
        for j, other in enumerate(gradients):
            if i != j:
                share += (1 - cosine(own, other)) / len(gradients)
        allowed += dot(own, own) * (1 - share)
    return dot(summed, summed), allowed
