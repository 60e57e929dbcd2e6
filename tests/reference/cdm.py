"""Contextual dynamic mapping in plain loops over Python floats, one sample at a time.

`z` are logits: `z_s[i]` of the student at its i-th predicting position, `z_t[j]` of the teacher.
"""

import math

from reference.mined import edit_distance, warping_path

ORDER = ("diagonal", "row", "column")


def softmax(z):
    weights = [math.exp(each - max(z)) for each in z]
    return [each / sum(weights) for each in weights]


def factors(z):
    """3, 4 or 5 for every position, by its entropy."""
    entropies = [-sum(p * math.log(p) for p in softmax(each)) for each in z]
    low, high = min(entropies), max(entropies)
    shares = [(each - low) / (high - low) if high > low else 0.0 for each in entropies]
    return [math.floor(3 + 3 / (1 + math.exp(2 - 4 * share))) for share in shares]


def costs(read_s, read_t, z_s, z_t):
    """Of the tokens read at predicting positions, bytes or (for end tokens) whatever equals itself alone."""
    ours, theirs = factors(z_s), factors(z_t)
    return [
        [edit_distance(a, b) * ours[i] * theirs[j] for j, b in enumerate(read_t)]
        for i, a in enumerate(read_s)
    ]


def groups(cells):
    """Positions of the student, and for each of them those of the teacher, without repetition."""
    rows, columns = {}, {}
    for i, j in cells:
        rows.setdefault(i, []).append(j)
        columns.setdefault(j, []).append(i)
    unique = []
    for j in sorted(columns):
        if columns[j] not in unique:
            unique.append(columns[j])
    return [(group, [rows[i] for i in group]) for group in unique]


def mean(vectors):
    return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def likeliest(z, k):
    return sorted(range(len(z)), key=lambda index: -z[index])[:k]


def matches(z_s, z_t, k, spelled_s, spelled_t, shared, threshold):
    """Pairs (student's id, teacher's id) at one place; `shared` are those of the same bytes."""
    ours, theirs = likeliest(z_s, k), likeliest(z_t, k)
    to_s, to_t = {t: s for s, t in shared}, dict(shared)
    lone_s = [s for s in ours if s not in to_t and spelled_s[s]]
    lone_t = [t for t in theirs if t not in to_s and spelled_t[t]]
    found = {(s, to_t[s]) for s in ours if s in to_t} | {(to_s[t], t) for t in theirs if t in to_s}

    def per_letter(s, t):
        a, b = spelled_s[s], spelled_t[t]
        return edit_distance(a, b) / (len(a) + len(b))

    for t in lone_t:
        nearest = min(lone_s, key=lambda s: per_letter(s, t), default=None)
        if nearest is not None and per_letter(nearest, t) < threshold:
            found.add((nearest, t))
    for s in lone_s:
        nearest = min(lone_t, key=lambda t: per_letter(s, t), default=None)
        if nearest is not None and per_letter(s, nearest) < threshold:
            found.add((s, nearest))
    return sorted(found)


def divergence(z_s, z_t, pairs, temperature):
    p = softmax([z_t[t] / temperature for _, t in pairs]) if pairs else []
    q = softmax([z_s[s] / temperature for s, _ in pairs]) if pairs else []
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def loss(read_s, read_t, z_s, z_t, k, spelled_s, spelled_t, shared, threshold, temperature):
    """Of one sample: every position of the student weighs one, divided among its groups."""
    if not z_s or not z_t:
        return 0.0
    found, total = groups(warping_path(costs(read_s, read_t, z_s, z_t), ORDER)), 0.0
    for group, met in found:
        ours = mean([z_s[i] for i in group])
        theirs = mean([mean([z_t[j] for j in columns]) for columns in met])
        weight = sum(1 / sum(i in other for other, _ in found) for i in group)
        pairs = matches(ours, theirs, k, spelled_s, spelled_t, shared, threshold)
        total += weight * divergence(ours, theirs, pairs, temperature)
    return total
