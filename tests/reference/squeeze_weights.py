"""Merge weights by the definition: whole maps, whole outputs, plain loops over rows, in Python floats (float64).

    E(w) = sum_i weights_i | (sum_a w_a A_a) (sum_n X_n) - sum_n A_n X_n |_i^2,   X_n = V_n W_n

Two heads by E's closed form alpha M + N, more by projected gradient, run long. No inner products of differences.
"""

from reference.received_attention import row


def times(left, right):
    return [
        [sum(a * b for a, b in zip(line, column, strict=True)) for column in zip(*right, strict=True)]
        for line in left
    ]


def combined(shares, matrices):
    """sum_a shares_a matrices_a."""
    return [
        [sum(s * x for s, x in zip(shares, entries, strict=True)) for entries in zip(*lines, strict=True)]
        for lines in zip(*matrices, strict=True)
    ]


def inner(left, right, weights):
    return sum(
        w * sum(a * b for a, b in zip(x, y, strict=True))
        for w, x, y in zip(weights, left, right, strict=True)
    )


def attention(q, k, weights, *, scaling, mask, window, is_causal, softcap):
    """The map `[S][S]`; rows without weight are zero."""
    length = len(q)
    rows = []
    for i in range(length):
        sees = [
            mask[j] and (not is_causal or j <= i) and (window is None or j > i - window)
            for j in range(length)
        ]
        rows.append(row(q[i], k, sees, scaling, softcap)[0] if weights[i] else [0.0] * length)
    return rows


def heads_of(query, key, value, out_proj, weights, *, group, **settings):
    """Maps `[k][S][S]` and what is written `[k][S][D]`, of one sample."""
    share = len(query) // len(key)
    maps = [attention(query[h], key[h // share], weights, **settings) for h in group]
    return maps, [times(value[h // share], out_proj[h]) for h in group]


def pair(first, second, x_first, x_second, target, weights, printed):
    """alpha before clamping, for maps A_1 and A_2 and what is to be reached by them together."""
    both = combined([1.0, 1.0], [x_first, x_second])
    m = times(combined([1.0, -1.0], [first, second]), both)
    if printed:
        n = combined([1.0, -1.0], [times(second, x_first), times(first, x_second)])
    else:
        n = combined([1.0, -1.0], [times(second, both), target])
    square = inner(m, m, weights)
    return 0.5 if square < 1e-12 else -inner(m, n, weights) / square


def one_by_one(maps, written, weights, printed=False, clamp=True):
    shares = [1.0]
    for b in range(1, len(maps)):
        so_far = combined(shares, maps[:b])
        outputs = [times(maps[n], written[n]) for n in range(b + 1)]
        target = combined([1.0] * (b + 1), outputs)
        x = combined([1.0] * b, written[:b])
        alpha = pair(so_far, maps[b], x, written[b], target, weights, printed)
        alpha = min(max(alpha, 0.0), 1.0) if clamp else alpha
        shares = [alpha * share for share in shares] + [1 - alpha]
    return shares


def onto_simplex(point):
    """The nearest point whose entries are at least 0 and sum to one."""
    total, shift = 0.0, 0.0
    for count, entry in enumerate(sorted(point, reverse=True), start=1):
        total += entry
        if entry - (total - 1) / count > 0:
            shift = (total - 1) / count
    return [max(entry - shift, 0.0) for entry in point]


def projected_gradient(maps, written, weights, steps=5000):
    """The minimum of E over the simplex."""
    k = len(maps)
    whole = combined([1.0] * k, written)
    reached = [times(a, whole) for a in maps]
    target = combined([1.0] * k, [times(a, x) for a, x in zip(maps, written, strict=True)])
    gram = [[inner(a, b, weights) for b in reached] for a in reached]
    linear = [inner(a, target, weights) for a in reached]
    step = 1 / (sum(gram[a][a] for a in range(k)) or 1.0)
    shares = [1 / k] * k
    for _ in range(steps):
        slope = [sum(gram[a][b] * shares[b] for b in range(k)) - linear[a] for a in range(k)]
        shares, before = onto_simplex([s - step * g for s, g in zip(shares, slope, strict=True)]), shares
        if shares == before:
            break
    return shares


def shares_of(maps, written, weights, method):
    if len(maps) == 1:
        return [1.0]
    if method == "constant":
        return [1 / len(maps)] * len(maps)
    if method == "optimal" and len(maps) > 2:
        return projected_gradient(maps, written, weights)
    return one_by_one(maps, written, weights, printed=method == "printed")


def squeeze_weights(query, key, value, out_proj, weights, *, groups, methods, mask, **settings):
    """Nested lists `query [B][H][S][d]`, `key`, `value`, `out_proj [H][e][D]`, `weights [B][S]`, `mask [B][S]`.

    For each method shares `[B][g][k]`.
    """
    longest = max(map(len, groups))
    found = {method: [[] for _ in query] for method in methods}
    for b in range(len(query)):
        for group in groups:
            sample = query[b], key[b], value[b], out_proj, weights[b]
            heads = heads_of(*sample, group=group, mask=mask[b], **settings)
            for method in methods:
                shares = shares_of(*heads, weights[b], method)
                found[method][b].append(shares + [0.0] * (longest - len(shares)))
    return found
