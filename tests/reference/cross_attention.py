"""Cross-model attention and what is compared after it, for one sample, in plain loops over Python floats.

A side is a dictionary of lists of vectors, one for every position that predicts a trained token: `before` and `after`
(embeddings of the token read and of the one predicted) and `hidden`. An affine layer is a matrix and a bias; a head is
a matrix with one row for each token.
"""

import math

from reference import divergences
from reference.hidden import affine, dot
from reference.layerwise import project


def softmax(scores):
    top = max(scores)
    weights = [math.exp(x - top) for x in scores]
    return [x / sum(weights) for x in weights]


def std(vectors):
    """Of all entries, with n - 1 below."""
    entries = [x for vector in vectors for x in vector]
    mean = sum(entries) / len(entries)
    return math.sqrt(sum((x - mean) ** 2 for x in entries) / (len(entries) - 1))


def scales(side):
    """Of keys, target embeddings and hidden states."""
    keys = [x + y for x, y in zip(side["before"], side["after"], strict=True)]
    return std(keys), std(side["after"]), std(side["hidden"])


def scores(student, teacher, query, key_scale):
    """One row for each position of the student, before the softmax."""
    width = 2 * len(teacher["before"][0])
    queries = [affine(query, x + y) for x, y in zip(student["before"], student["after"], strict=True)]
    keys = [x + y for x, y in zip(teacher["before"], teacher["after"], strict=True)]
    return [[dot(q, k) / key_scale / math.sqrt(width) for k in keys] for q in queries]


def mix(weights, vectors):
    return [sum(w * x for w, x in zip(weights, column, strict=True)) for column in zip(*vectors, strict=True)]


def meet(student, teacher, layers, found):
    """Attention, the teacher in the student's space, and the student in the teacher's. `layers`: query, to_student and
    to_teacher; `found`: the three scales."""
    query, to_student, to_teacher = layers
    key_scale, after_scale, hidden_scale = found
    table = scores(student, teacher, query, key_scale)
    brought = [
        affine(to_student, [a / hidden_scale + b / after_scale for a, b in zip(h, e, strict=True)])
        for h, e in zip(teacher["hidden"], teacher["after"], strict=True)
    ]
    taken = [affine(to_teacher, h) for h in student["hidden"]]
    attention = [softmax(row) for row in table]
    in_student = [mix(row, brought) for row in attention]
    in_teacher = [mix(softmax(list(column)), taken) for column in zip(*table, strict=True)]
    return attention, in_student, in_teacher


def distribution(head, state, temperature=1.0):
    return softmax([x / temperature for x in project(head, state)])


def likeliest(p):
    return max(range(len(p)), key=lambda token: p[token])


def divergence(name, teacher, student, temperature):
    """Of two pairs of a head and a state, at one position."""
    p, q = (distribution(*pair, temperature) for pair in (teacher, student))
    return getattr(divergences, name)(p, q, q)


def is_correct(head, state, target):
    return float(likeliest(distribution(head, state)) == target)


def projector(head, states, targets):
    return -sum(math.log(distribution(head, h)[y]) for h, y in zip(states, targets, strict=True))
