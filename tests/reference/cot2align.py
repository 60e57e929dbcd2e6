"""The transport of one response, as plain loops over vectors."""

import math

from reference.optimal_transport import plan


def attention_cost(ours, theirs):
    rows = []
    for x in ours:
        scores = [sum(a * b for a, b in zip(x, y, strict=True)) / math.sqrt(len(x)) for y in theirs]
        weights = [math.exp(each - max(scores)) for each in scores]
        rows.append([1 - each / sum(weights) for each in weights])
    return rows


def planned(ours, theirs, matrix, bias, epsilon, rounds):
    carried = [
        [sum(w * a for w, a in zip(row, y, strict=True)) + b for row, b in zip(matrix, bias, strict=True)]
        for y in theirs
    ]
    cost = attention_cost(ours, carried)
    return cost, plan(cost, [1 / len(ours)] * len(ours), [1 / len(theirs)] * len(theirs), epsilon, rounds)


def transported(*setting):
    cost, found = planned(*setting)
    return sum(
        p * c for masses, costs in zip(found, cost, strict=True) for p, c in zip(masses, costs, strict=True)
    )


def smoothed(ours, theirs, matrix, bias, epsilon, rounds):
    """What the plan makes least: its cost less epsilon times its entropy."""
    setting = (ours, theirs, matrix, bias, epsilon, rounds)
    return transported(*setting) + epsilon * sum(
        p * math.log(p) for masses in planned(*setting)[1] for p in masses
    )
