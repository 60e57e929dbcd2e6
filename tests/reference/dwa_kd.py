"""Entropy weights and warped sequences of DWA-KD, for one sample, in plain loops over Python floats."""

import math

from reference import warping


def entropy(p):
    return -sum(x * math.log(x) for x in p if x > 0)


def rescaled(weights):
    """So that they sum to their number."""
    total = sum(weights)
    return [x * len(weights) / total for x in weights] if total > 0 else [1.0] * len(weights)


def student_weights(student, brought, behavior, gate=True):
    """From next-token distributions of the student and of the teacher in its space, position by position."""
    unsure, confident = [entropy(p) for p in student], [max(p) for p in brought]
    if not gate:
        return rescaled(unsure)
    if behavior == "code":
        return [x * g for x, g in zip(rescaled(unsure), confident, strict=True)]
    return rescaled([x * g for x, g in zip(unsure, confident, strict=True)])


def teacher_weights(teacher):
    return rescaled([1 - entropy(p) / math.log(len(p)) for p in teacher])


def warped(student, teacher, gamma, attention=None, base=5.0, slope=2.0, share=0.7, penalty=1.0):
    """Normalized soft-DTW of two lists of vectors; `attention` makes the band, None: no band."""
    cross = warping.cosine_cost(student, teacher)
    if attention is not None:
        for i, j in warping.outside_entropy_band(attention, base, slope, share):
            cross[i][j] += penalty
    own = (warping.cosine_cost(each, each) for each in (student, teacher))
    return warping.divergence(cross, *own, gamma)


def slipped_attention(scores, trained_rows, trained_columns, rows, columns):
    """Rows and columns that the public code slices, from scores `[S][T]` between all positions: one softmax over all
    columns in a row that predicts no trained token, over the trained ones in another; then each row rescaled to one."""
    found = []
    for i in range(rows):
        kept = [not trained_rows[i] or trained for trained in trained_columns]
        top = max(x for x, keep in zip(scores[i], kept, strict=True) if keep)
        weights = [math.exp(x - top) if keep else 0.0 for x, keep in zip(scores[i], kept, strict=True)]
        share = [x / sum(weights) for x in weights][:columns]
        found.append([(x + 1e-9) / (sum(share) + 1e-9) for x in share])
    return found
