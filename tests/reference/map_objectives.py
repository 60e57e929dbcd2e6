"""Objectives over attention maps as plain loops over Python floats: groups of heads, relation heads, raw scores."""

import math


def neighbors(heads, groups):
    """Sizes as equal as possible, larger groups first: deal the heads out one by one, then cut in order."""
    sizes = [0] * groups
    for head in range(heads):
        sizes[head % groups] += 1
    order = iter(range(heads))
    return [[next(order) for _ in range(size)] for size in sizes]


def relation_heads(states, count):
    """`[G][S][d]` to `[count][S][width]`: all heads of a token side by side, cut again."""
    tokens = [[number for head in states for number in head[position]] for position in range(len(states[0]))]
    width = len(tokens[0]) // count
    return [[token[a * width : (a + 1) * width] for token in tokens] for a in range(count)]


def score(query, key, scaling, softcap):
    product = scaling * sum(x * y for x, y in zip(query, key, strict=True))
    return product if softcap is None else softcap * math.tanh(product / softcap)


def score_distance(student, teacher, weights, real, window=None):
    """`student` and `teacher` are (query `[B][H][S][d]`, key `[B][G][S][d]`, scaling, softcap).

    Sum over rows, with `weights [B][S]`, of the mean squared difference over the keys a row sees; mean over heads.
    """
    total = 0.0
    for b, marks in enumerate(real):
        heads = len(student[0][b])
        for h in range(heads):
            for i, weight in enumerate(weights[b]):
                seen = [j for j in range(i + 1) if marks[j] and (window is None or j > i - window)]
                if not weight or not seen:
                    continue
                scores = [
                    [
                        score(query[b][h][i], key[b][h // (heads // len(key[b]))][j], scaling, softcap)
                        for j in seen
                    ]
                    for query, key, scaling, softcap in (student, teacher)
                ]
                squares = [(x - y) ** 2 for x, y in zip(*scores, strict=True)]
                total += weight * sum(squares) / len(seen) / heads
    return total
