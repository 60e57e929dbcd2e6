"""MinED in plain loops over Python floats: edit distances, the map they make, warping, and one row of the loss.

Tokens are bytes; None where no text is made of a token. `p` and `q` are probabilities of teacher and student.
"""

import math

STEPS = {"diagonal": (1, 1), "row": (1, 0), "column": (0, 1)}


def edit_distance(a, b):
    """From the shorter problems, one table cell at a time."""
    table = [[i + j if i * j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            replaced = table[i - 1][j - 1] + (a[i - 1] != b[j - 1])
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, replaced)
    return table[len(a)][len(b)]


def nearest_map(ours, theirs, roles):
    """The student's id and the distance for every id of the teacher that has one: `{teacher: (distance, student)}`."""
    found = {j: (0, i) for i, j in roles}
    for j, piece in enumerate(theirs):
        if piece is not None:
            distances = [
                (edit_distance(piece, other), i) for i, other in enumerate(ours) if other is not None
            ]
            found[j] = min(distances)
    return found


def one_each(mapping):
    """Of all that go to one token of the student, only the nearest, the first of equals."""
    kept = {}
    for j in sorted(mapping):
        distance, i = mapping[j]
        if i not in kept or distance < kept[i][0]:
            kept[i] = (distance, j)
    return {j: (distance, i) for i, (distance, j) in kept.items()}


def moved(p, mapping, size):
    """The teacher's distribution over the student's tokens."""
    found = [0.0] * size
    for j, (_, i) in mapping.items():
        found[i] += p[j]
    return [each / sum(found) for each in found]


def forward_kl(p, q):
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True) if a > 0)


def warping_path(cost, ties):
    """Cells of the cheapest path, walked back from the last one; `ties` orders equal steps."""
    if not cost or not cost[0]:
        return []
    best = {(-1, -1): 0.0}
    for i, row in enumerate(cost):
        for j, each in enumerate(row):
            before = [best.get(at, math.inf) for at in ((i - 1, j - 1), (i - 1, j), (i, j - 1))]
            best[i, j] = each + min(before)
    at = (len(cost) - 1, len(cost[0]) - 1)
    if best[at] == math.inf:
        return []
    path = [at]
    while at != (0, 0):
        options = [(at[0] - STEPS[step][0], at[1] - STEPS[step][1]) for step in ties]
        at = min(options, key=lambda each: best.get(each, math.inf))  # the first of equals
        path.append(at)
    return path[::-1]


def one_to_one(path):
    """Columns by row, for rows that meet one column alone."""
    met = {}
    for i, j in path:
        met.setdefault(i, []).append(j)
    return {i: columns[0] for i, columns in met.items() if len(columns) == 1}


def exact(ours, our_trained, theirs, their_trained):
    """Pairs of positions at the same byte whose next tokens, both trained, end at the same byte."""
    return [
        (i, j)
        for i in range(len(ours) - 1)
        for j in range(len(theirs) - 1)
        if ours[i] == theirs[j] >= 0
        and our_trained[i + 1]
        and their_trained[j + 1]
        and ours[i + 1] == theirs[j + 1] >= 0
    ]
