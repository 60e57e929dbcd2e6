"""Feature dynamics by plain loops over layers, rows and tokens, in Python floats (which are float64)."""

import math

from reference.linear_divergence import kl, logits, softmax


def log_softmax(row):
    top = max(row)
    log_sum = top + math.log(sum(math.exp(value - top) for value in row))
    return [value - log_sum for value in row]


def cosine(x, y):
    dot = sum(a * b for a, b in zip(x, y, strict=True))
    return dot / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))


def minus(x, y):
    return [a - b for a, b in zip(x, y, strict=True)]


def trajectory(student, teacher, temperature=1.0):
    """`student[k][n]` and `teacher[k][n]` are rows of logits `[V]`; KL, summed over layers and rows."""
    total = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        for q, p in zip(ours, theirs, strict=True):
            q, p = ([value / temperature for value in each] for each in (q, p))
            total += kl(softmax(p), softmax(q))
    return total


def changes(student, teacher):
    """Cosine distance of how log-probabilities change from each layer to the next, summed over layers and rows."""
    total = 0.0
    for k in range(len(student) - 1):
        for n in range(len(student[k])):
            ours, theirs = (
                minus(log_softmax(each[k + 1][n]), log_softmax(each[k][n])) for each in (student, teacher)
            )
            total += 1 - cosine(ours, theirs)
    return total


def lens(states, head, **transform):
    """Logits of states `[K][N][D]` through a head `[V][D]`."""
    return [logits(rows, head, **transform) for rows in states]
