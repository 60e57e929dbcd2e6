"""Head and divergence by plain loops over rows and tokens, in Python floats (which are float64)."""

import math


def logits(hidden, head, bias=None, scale=1.0, softcap=None, temperature=1.0):
    """`[N][V]` from lists `hidden [N][d]` and `head [V][d]`."""
    rows = []
    for state in hidden:
        row = []
        for token, weights in enumerate(head):
            score = sum(a * b for a, b in zip(state, weights, strict=True)) * scale
            score += 0.0 if bias is None else bias[token]
            if softcap is not None:
                score = math.tanh(score / softcap) * softcap
            row.append(score / temperature)
        rows.append(row)
    return rows


def softmax(row):
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def kl(p, q):
    """KL(P||Q) of two lists of probabilities; a token that P lacks adds nothing."""
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def mix(share, p, q):
    return [share * a + (1 - share) * b for a, b in zip(p, q, strict=True)]


def jensen_shannon(p, q):
    middle = mix(0.5, p, q)
    return (kl(p, middle) + kl(q, middle)) / 2


VALUES = {
    "forward_kl": kl,
    "reverse_kl": lambda p, q: kl(q, p),
    "jensen_shannon": jensen_shannon,
    "skew_kl": lambda p, q: kl(p, mix(0.1, p, q)),
    "skew_reverse_kl": lambda p, q: kl(q, mix(0.9, p, q)),
    "total_variation": lambda p, q: sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2,
    "renyi": lambda p, q: -2 * math.log(sum(math.sqrt(a * b) for a, b in zip(p, q, strict=True))),
}
"""Of teacher probabilities P and student probabilities Q, with the default settings of the catalog."""


def linear_divergence(student_logits, teacher_logits, divergence, weights=None):
    weights = weights or [1.0] * len(student_logits)
    return sum(
        weight * VALUES[divergence](softmax(teacher), softmax(student))
        for weight, student, teacher in zip(weights, student_logits, teacher_logits, strict=True)
    )


def coarse_kl(student_logits, teacher_logits, weights, classes=3):
    """KL between the masses of all tokens with one remainder: two vocabularies may be of any sizes."""
    total = 0.0
    for weight, student, teacher in zip(weights, student_logits, teacher_logits, strict=True):
        p, q = softmax(teacher), softmax(student)
        total += weight * kl(*([sum(side[c::classes]) for c in range(classes)] for side in (p, q)))
    return total


def cross_entropy_rows(student_logits, targets):
    return [-math.log(softmax(row)[target]) for row, target in zip(student_logits, targets, strict=True)]
