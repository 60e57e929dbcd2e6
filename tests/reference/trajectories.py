"""What MTA has beside SRA (`reference.span`) as plain loops over Python floats, one sample at a time."""

import math

from reference.span import cosine, dot


def deviation(vector):
    """Standard deviation of the features of a vector, as of a sample."""
    mean = sum(vector) / len(vector)
    return math.sqrt(sum((x - mean) ** 2 for x in vector) / (len(vector) - 1))


def centrality(states):
    """Of the vectors of one sample: what each receives from the others, one list of weights."""
    if len(states) < 2:
        return [1.0] * len(states)
    scaled = [[x / deviation(state) for x in state] for state in states]
    received = [0.0] * len(states)
    for s, asking in enumerate(scaled):
        scores = [dot(asking, each) / math.sqrt(len(each)) for each in scaled]
        masses = [math.exp(score) if t != s else 0.0 for t, score in enumerate(scores)]
        for t, mass in enumerate(masses):
            received[t] += mass / sum(masses) / len(states)
    return received


def distance(ours, theirs, weights, matrix, bias):
    """One minus the cosine of `matrix ours + bias` and theirs, averaged with the weights."""
    total = 0.0
    for own, other, weight in zip(ours, theirs, weights, strict=True):
        moved = [dot(row, own) + shift for row, shift in zip(matrix, bias, strict=True)]
        total += weight * (1 - cosine(moved, other))
    return total / sum(weights)


def confidence(state, head):
    """One minus the entropy of what is predicted, as a share of the largest there is; `head [V][D]`."""
    scores = [dot(row, state) for row in head]
    scale = sum(math.exp(score) for score in scores)
    chances = [math.exp(score) / scale for score in scores]
    return 1 + sum(p * math.log(p) for p in chances) / math.log(len(head))
