"""Multi-level optimal transport in plain loops over Python floats.

`z[b][i]` are the logits of one side at the i-th predicting position of sample b.
"""

import math

from reference.cdm import softmax
from reference.optimal_transport import plan


def standardized(z, temperature):
    """Logits in units of their standard deviation."""
    middle = sum(z) / len(z)
    deviation = math.sqrt(sum((each - middle) ** 2 for each in z) / (len(z) - 1))
    return softmax([each / (deviation + 1e-4) / temperature for each in z])


def ranked(z, k, temperature, order):
    """Probabilities of every sample at the tokens of most mass, `[b][i][r]`."""
    p = [[standardized(each, temperature) for each in sample] for sample in z]
    found = []
    for sample in p:
        counted = sample if order == "sample" else [each for other in p for each in other]
        mass = [sum(column) for column in zip(*counted, strict=True)]
        likeliest = sorted(range(len(mass)), key=lambda v: -mass[v])[:k]
        found.append([[each[v] for v in likeliest] for each in sample])
    return found


def token(p, q, weight, costs):
    """One pair of positions."""
    total = sum(abs(a - b) for a, b in zip(p, q, strict=True))
    if costs == "published":
        p, q = softmax(q), softmax(p)
    return total - weight * sum(a * math.log(b) for a, b in zip(p, q, strict=True))


def sequence(p, q, costs):
    """One sample, all positions of both sides."""
    if not p or not q:
        return 0.0
    if costs == "published":
        p, q = ([softmax([each / 2 for each in row]) for row in side] for side in (p, q))
    cost = [[sum(abs(a - b) for a, b in zip(x, y, strict=True)) for y in q] for x in p]
    moved = plan(cost, [1 / len(p)] * len(p), [1 / len(q)] * len(q), 0.1, 10)
    return sum(a * c for x, y in zip(moved, cost, strict=True) for a, c in zip(x, y, strict=True))
