"""Divergences between two lists of probabilities, from the formulas, in plain loops over Python floats.

`p` is the teacher, `q` the student; `still` is the student where the formula lets no gradient through, so
that finite differences can hold it while `q` moves.
"""

import math


def forward_kl(p, q, still):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def reverse_kl(p, q, still):
    return forward_kl(q, p, still)


def jensen_shannon(p, q, still, beta=0.5, normalize=False):
    if beta == 0:
        return forward_kl(p, q, still)
    if beta == 1:
        return reverse_kl(p, q, still)
    middle = [beta * a + (1 - beta) * b for a, b in zip(p, q, strict=True)]
    value = beta * forward_kl(p, middle, still) + (1 - beta) * forward_kl(q, middle, still)
    return value / beta / (1 - beta) if normalize else value


def skew_kl(p, q, still, alpha=0.1):
    return forward_kl(p, [alpha * a + (1 - alpha) * b for a, b in zip(p, q, strict=True)], still)


def skew_reverse_kl(p, q, still, alpha=0.1, detach_mixture=False):
    inner = still if detach_mixture else q
    return forward_kl(q, [(1 - alpha) * a + alpha * b for a, b in zip(p, inner, strict=True)], still)


def adaptive_kl(p, q, still, mu=0.5, head="paper"):
    likely_first = sorted(range(len(p)), key=lambda token: -p[token])
    in_head, reached = set(), 0.0
    for token in likely_first:
        if head == "paper":
            if reached < mu:
                in_head.add(token)
        elif token == likely_first[0] or reached + p[token] <= mu:
            in_head.add(token)
        reached += p[token]
    gap = [abs(a - b) for a, b in zip(p, still, strict=True)]
    head_gap = sum(gap[token] for token in in_head)
    tail_gap = sum(gap[token] for token in likely_first if token not in in_head)
    both = max(head_gap + tail_gap, 1e-8)
    return head_gap / both * forward_kl(p, q, still) + tail_gap / both * reverse_kl(p, q, still)


def total_variation(p, q, still):
    return sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2


def focal(p, q, still, gamma=2.0, weighting="tvd"):
    if weighting == "tvd":
        return total_variation(p, still, still) ** gamma * forward_kl(p, q, still)
    total = 0.0
    for a, b, c in zip(p, q, still, strict=True):
        part = (a * math.log(a / b) if a > 0 else 0.0) - a + b
        total += abs(a - c) ** gamma * part
    return total


def renyi(p, q, still, alpha=0.5):
    return math.log(sum(a**alpha * b ** (1 - alpha) for a, b in zip(p, q, strict=True))) / (alpha - 1)


def softmax(logits):
    top = max(logits)
    powers = [math.exp(each - top) for each in logits]
    return [each / sum(powers) for each in powers]


def gradient(function, teacher_logits, student_logits, temperature=1.0, step=1e-6, **settings):
    """Central differences of the divergence with respect to the student's logits."""
    p = softmax([each / temperature for each in teacher_logits])
    still = softmax([each / temperature for each in student_logits])
    found = []
    for token in range(len(student_logits)):
        ends = []
        for sign in (1, -1):
            moved = list(student_logits)
            moved[token] += sign * step
            ends.append(function(p, softmax([each / temperature for each in moved]), still, **settings))
        found.append((ends[0] - ends[1]) / (2 * step))
    return found
