"""Losses over two vocabularies, in plain loops over one text at a time.

`p` and `q` are probabilities of teacher and student, by token or by position and token; `ours` and `theirs` the byte
ends of their tokens, strictly increasing but for padding (-1), and `trained` whether a token is trained on. `shared`
are pairs of ids (student's, teacher's).
"""

import math

from reference import divergences
from reference.optimal_transport import sorted_distance


def context(ours, our_trained, theirs, their_trained):
    """Pairs of positions at the same byte, where both predict a trained token."""
    return [
        (i, j)
        for i in range(len(ours) - 1)
        for j in range(len(theirs) - 1)
        if ours[i] == theirs[j] >= 0 and our_trained[i + 1] and their_trained[j + 1]
    ]


def by_index(our_trained, their_trained):
    """Pairs of positions before the i-th trained tokens."""
    before = [[i - 1 for i, each in enumerate(side) if each] for side in (our_trained, their_trained)]
    return list(zip(*before, strict=False))


def spans(ours, our_trained, theirs, their_trained):
    """Minimal pieces of the response: lists of our tokens and of theirs."""
    found, mine, other, j = [], [], [], 0
    for i, end in enumerate(ours):
        if not our_trained[i]:
            continue
        mine.append(i)
        while j < len(theirs) and (not their_trained[j] or theirs[j] <= end):
            if their_trained[j]:
                other.append(j)
            j += 1
        if other and theirs[other[-1]] == end:
            found.append((mine, other))
            mine, other = [], []
    return found


def bucketed(p, q, shared):
    """Outcomes of both sides: shared tokens, then all others as one."""
    ours, theirs = [q[i] for i, _ in shared], [p[j] for _, j in shared]
    q_rest = sum(q[i] for i in range(len(q)) if i not in [i for i, _ in shared])
    p_rest = sum(p[j] for j in range(len(p)) if j not in [j for _, j in shared])
    return [*theirs, p_rest], [*ours, q_rest]


def renormalized(p, q, shared):
    ours, theirs = [q[i] for i, _ in shared], [p[j] for _, j in shared]
    return [each / sum(theirs) for each in theirs], [each / sum(ours) for each in ours]


def by_beginning(student_pieces, teacher_pieces, shared):
    """Classes of tokens ("student"|"teacher", id): shared ones together, the others with the longest token of the other
    side that they begin with. Pieces are bytes, None for control tokens."""
    classes = [{("student", i), ("teacher", j)} for i, j in shared]
    pieces = {"student": student_pieces, "teacher": teacher_pieces}
    for side, other in (("student", "teacher"), ("teacher", "student")):
        for index, piece in enumerate(pieces[side]):
            if not piece or any((side, index) in each for each in classes[: len(shared)]):
                continue
            starts = [
                (len(each), -number)
                for number, each in enumerate(pieces[other])
                if each and piece.startswith(each)
            ]
            if starts:
                classes.append({(side, index), (other, -max(starts)[1])})
    merged = []
    for each in classes:
        touching = [one for one in merged if one & each]
        merged = [one for one in merged if not one & each] + [set().union(each, *touching)]
    return merged


def over_classes(p, q, classes):
    """Outcomes of both sides: every class and, if both have such tokens, all that lie in none; else they are left out
    and both sides renormalized."""
    found = []
    for side, values in (("teacher", p), ("student", q)):
        members = [[index for kind, index in each if kind == side] for each in classes]
        others = set(range(len(values))) - {index for each in members for index in each}
        found.append(([sum(values[index] for index in each) for each in members], others, values))
    if all(others for _, others, _ in found):
        return [[*sums, sum(values[index] for index in others)] for sums, others, values in found]
    return [[each / sum(sums) for each in sums] for sums, _, _ in found]


def shared_divergence(p, q, shared, name, outcomes):
    theirs, ours = outcomes(p, q, shared)
    return getattr(divergences, name)(theirs, ours, ours)


def generalized_jensen_shannon(x, y, beta):
    """Of two measures, which need not sum to one."""
    if beta == 0:
        return sum(a * math.log(a / b) - a + b for a, b in zip(x, y, strict=True))
    if beta == 1:
        return generalized_jensen_shannon(y, x, 0)
    total = 0.0
    for a, b in zip(x, y, strict=True):
        m = beta * a + (1 - beta) * b
        total += beta * a * math.log(a / m) + (1 - beta) * b * math.log(b / m)
    return total


def gold_span(p, q, our_ids, their_ids, span, merge, shared, beta, weights):
    """One piece: `p[j]`, `q[i]` are the probabilities at a position, which predict the token behind it."""
    mine, other = span
    keep = 0 if merge == "observed" else -1
    b = math.prod(q[i - 1][our_ids[i]] for i in mine if i != mine[keep])
    a = math.prod(p[j - 1][their_ids[j]] for j in other if j != other[keep])
    y, x = [b * each for each in q[mine[keep] - 1]], [a * each for each in p[other[keep] - 1]]
    by_name = generalized_jensen_shannon([x[j] for _, j in shared], [y[i] for i, _ in shared], beta)
    left = [x[j] for j in range(len(x)) if j not in [j for _, j in shared]]
    right = [y[i] for i in range(len(y)) if i not in [i for i, _ in shared]]
    return weights[0] * by_name + weights[1] * sorted_distance(left, right)
