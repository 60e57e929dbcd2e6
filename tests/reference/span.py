"""Units, centers of mass and the terms of SRA as plain loops over Python floats, one sample at a time."""

import math

from reference import divergences


def units(ours, theirs, our_known, their_known):
    """Pieces with tokens on both sides, all of them known: lists of our tokens and of theirs, in the order of numbers.

    `ours` and `theirs` are the number of the piece of every token, -1 for none.
    """
    found = []
    for number in sorted({each for each in ours if each >= 0}):
        mine, other = ([i for i, each in enumerate(side) if each == number] for side in (ours, theirs))
        known = all(our_known[i] for i in mine) and all(their_known[j] for j in other)
        if other and known:
            found.append((mine, other))
    return found


def merged(pieces, most):
    """Neighbors joined so that `most` are left: cuts behind piece floor((i + 1) n / most) - 1, as in public code."""
    if len(pieces) <= most:
        return pieces
    cuts = [(i + 1) * len(pieces) // most for i in range(most)]
    joined = []
    for start, end in zip([0, *cuts[:-1]], cuts, strict=True):
        sides = zip(*pieces[start:end], strict=True)
        joined.append(tuple([token for piece in side for token in piece] for side in sides))
    return joined


def last_attention(received, kept):
    """From the attention of one query to every key, one list a head: shares of the tokens that are kept."""
    total = [sum(head[t] for head in received) if t in kept else 0.0 for t in range(len(received[0]))]
    return [each / sum(total) for each in total]


def center(states, weights, tokens):
    """Weighted mean of the states of some tokens, and their mass; zeros where they have none."""
    mass = sum(weights[t] for t in tokens)
    if mass == 0:
        return [0.0] * len(states[0]), 0.0
    return [sum(weights[t] * states[t][k] for t in tokens) / mass for k in range(len(states[0]))], mass


def dot(first, second):
    return sum(x * y for x, y in zip(first, second, strict=True))


def cosine(first, second):
    return dot(first, second) / math.sqrt(dot(first, first) * dot(second, second))


def relational(ours, theirs, weights, share="pairs"):
    """Weighted squared difference of cosines over pairs of different units; those without weight take no part."""
    units = [k for k, weight in enumerate(weights) if weight > 0]
    pairs = [(i, j) for i in units for j in units if i != j]
    if not pairs:
        return 0.0
    scale = sum(weights) ** 2 if share == "units" else sum(weights[i] * weights[j] for i, j in pairs)
    return sum(
        weights[i] * weights[j] / scale * (cosine(ours[i], ours[j]) - cosine(theirs[i], theirs[j])) ** 2
        for i, j in pairs
    )


def distance(ours, theirs, weights, matrix):
    """Weighted mean over spans of one minus the cosine, ours mapped by `matrix`."""
    total = 0.0
    for x, y, weight in zip(ours, theirs, weights, strict=True):
        total += weight / sum(weights) * (1 - cosine([dot(row, x) for row in matrix], y))
    return total


def softmax(scores, temperature):
    exponentials = [math.exp(each / temperature) for each in scores]
    return [each / sum(exponentials) for each in exponentials]


def head_divergence(ours, theirs, head, teacher_head, shared, temperature, name):
    """Sum over spans of a divergence between what both heads say of the shared tokens; `shared` pairs their ids."""
    total = 0.0
    for x, y in zip(ours, theirs, strict=True):
        q = softmax([dot(head[i], x) for i, _ in shared], temperature)
        p = softmax([dot(teacher_head[j], y) for _, j in shared], temperature)
        total += getattr(divergences, name)(p, q, q)
    return total
