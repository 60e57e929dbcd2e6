"""Dual-space distillation as plain loops over Python floats.

Heads are `(rows, scale, bias or None, softcap or None)` with `rows[v]` a vector; hidden states are vectors.
"""

import math

from reference import divergences
from reference.hidden import dot, inverse
from reference.layerwise import project


def context_pairs(ours, theirs):
    """`[(i, j)]` of one sample, from two lists of (byte end, predicts, is_response): the same bytes before them."""
    return [
        (i, j)
        for i, (end, predicts, _) in enumerate(ours)
        for j, (other, other_predicts, _) in enumerate(theirs)
        if predicts and other_predicts and end == other and end >= 0
    ]


def exact_pairs(ours, theirs):
    """Of these, those after which one token of the same bytes follows on both sides."""
    return [(i, j) for i, j in context_pairs(ours, theirs) if ours[i + 1][0] == theirs[j + 1][0]]


def logits(head, state):
    rows, scale, bias, softcap = head
    scores = [scale * dot(row, state) for row in rows]
    if bias is not None:
        scores = [a + b for a, b in zip(scores, bias, strict=True)]
    return scores if softcap is None else [softcap * math.tanh(a / softcap) for a in scores]


def softmax(head, state, temperature=1.0):
    return divergences.softmax([a / temperature for a in logits(head, state)])


def argmax(values):
    return max(range(len(values)), key=lambda v: values[v])


def logit_map(source, target, shared):
    """P^T as `[d][D]`, (B^T B)^-1 B^T A, over `shared`, pairs (source token, target token)."""
    a = [[source[1] * x for x in source[0][v]] for v, _ in shared]
    b = [[target[1] * x for x in target[0][w]] for _, w in shared]

    def products(first, second):
        return [
            [sum(x[i] * y[j] for x, y in zip(first, second, strict=True)) for j in range(len(second[0]))]
            for i in range(len(first[0]))
        ]

    columns = list(zip(*products(b, a), strict=True))
    inverted = inverse(products(b, b))
    return [list(row) for row in zip(*(project(inverted, column) for column in columns), strict=True)]


def student_space(pairs, head, to_student, labels, divergence, temperature, agreement):
    """Total of the divergence, and how many rows it has; `pairs` of states, `labels` ids of the student or None."""
    said = [project(to_student, theirs) for _, theirs in pairs]
    agrees = [argmax(logits(head, state)) == label for state, label in zip(said, labels, strict=True)]
    share = sum(agrees) / len(agrees)
    total, kept = 0.0, 0
    for (ours, _), state, same in zip(pairs, said, agrees, strict=True):
        masks = agreement is True or (agreement is not False and share <= agreement)
        if same or not masks:
            q = softmax(head, ours, temperature)
            total += getattr(divergences, divergence)(softmax(head, state, temperature), q, q)
            kept += 1
    return total, kept, share


def projector(pairs, head, to_student, labels):
    """Cross-entropy of the projected teacher on labels that the student has, and how many there are."""
    total, kept = 0.0, 0
    for (_, theirs), label in zip(pairs, labels, strict=True):
        if label is not None:
            total -= math.log(softmax(head, project(to_student, theirs))[label])
            kept += 1
    return total, kept


def teacher_space(pairs, head, to_teacher, divergence, temperature):
    total = 0.0
    for ours, theirs in pairs:
        q = softmax(head, project(to_teacher, ours), temperature)
        total += getattr(divergences, divergence)(softmax(head, theirs, temperature), q, q)
    return total
