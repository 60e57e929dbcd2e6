"""Layerwise alignment as plain loops over Python floats."""

import math


def layer_norm(vector, eps=1e-5):
    mean = sum(vector) / len(vector)
    variance = sum((x - mean) ** 2 for x in vector) / len(vector)
    return [(x - mean) / math.sqrt(variance + eps) for x in vector]


def project(matrix, vector):
    """`matrix [D][d]` times `vector [d]`."""
    return [sum(weight * x for weight, x in zip(row, vector, strict=True)) for row in matrix]


def partner(layer, student_layers, teacher_layers):
    """The first teacher layer that is at least as deep, relatively."""
    return next(k for k in range(teacher_layers + 1) if k * student_layers >= layer * teacher_layers)


def layerwise(student, teacher, predicts, pairs, matrices=None, normalize=True):
    """`student[l][b][t]` and `teacher[l][b][t]` are vectors, `predicts[b][t]` says which count; summed over tokens."""
    total = 0.0
    for number, (layer, other) in enumerate(pairs):
        for row, marks in enumerate(predicts):
            for at, counts in enumerate(marks):
                if not counts:
                    continue
                ours, theirs = student[layer][row][at], teacher[other][row][at]
                if normalize:
                    ours, theirs = layer_norm(ours), layer_norm(theirs)
                if matrices is not None:
                    ours = project(matrices[number], ours)
                distance = sum((x - y) ** 2 for x, y in zip(ours, theirs, strict=True))
                total += distance / len(theirs) / len(pairs)
    return total
