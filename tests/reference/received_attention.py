"""Received attention and its gradients by plain loops over rows and keys, in Python floats (which are float64).

    P_j = sum_i w_i A_ij        u_i = sum_j A_ij g_j        g = dLoss/dP
    dQ_i = s w_i (sum_j A_ij g_j c_ij k_j - u_i sum_j A_ij c_ij k_j)
    dK_j = s (g_j sum_i A_ij w_i c_ij q_i - sum_i A_ij w_i u_i c_ij q_i)

c_ij is the slope of the soft-cap, 1 - tanh^2(score / cap), or 1 without.
"""

import math


def row(q, keys, sees, scaling, softcap):
    """One row of the map and the slopes of its soft-cap; zeros where a key is not seen."""
    scores = [scaling * sum(a * b for a, b in zip(q, k, strict=True)) for k in keys]
    slopes = [1.0] * len(keys)
    if softcap is not None:
        slopes = [1 - math.tanh(score / softcap) ** 2 for score in scores]
        scores = [softcap * math.tanh(score / softcap) for score in scores]
    seen = [score for score, visible in zip(scores, sees, strict=True) if visible]
    if not seen:
        return [0.0] * len(keys), slopes
    top = max(seen)
    powers = [math.exp(x - top) if visible else 0.0 for x, visible in zip(scores, sees, strict=True)]
    return [power / sum(powers) for power in powers], slopes


def one_head(q, k, w, g, scaling, mask, window, is_causal, softcap):
    """Lists `q [S][d]`, `k [S][d]`, `w [S]`, `g [S]` to P `[S]`, dQ `[S][d]` and dK `[S][d]`."""
    length, width = len(q), len(q[0])
    received = [0.0] * length
    d_query, d_key = [[0.0] * width for _ in q], [[0.0] * width for _ in k]
    for i in range(length):
        if w[i] == 0:
            continue
        sees = [
            mask[j] and (not is_causal or j <= i) and (window is None or j > i - window)
            for j in range(length)
        ]
        a, c = row(q[i], k, sees, scaling, softcap)
        u = sum(a[j] * g[j] for j in range(length))
        for j in range(length):
            received[j] += w[i] * a[j]
            for x in range(width):
                d_query[i][x] += scaling * w[i] * (a[j] * g[j] * c[j] * k[j][x] - u * a[j] * c[j] * k[j][x])
                d_key[j][x] += scaling * (g[j] * a[j] * w[i] * c[j] - a[j] * w[i] * u * c[j]) * q[i][x]
    return received, d_query, d_key


def received_attention(
    query, key, weights, slope, *, scaling, key_mask=None, window=None, is_causal=True, softcap=None
):
    """Nested lists `query [B][H][S][d]`, `key [B][G][S][d]`, `weights [B][S]`, `slope [B][H][S]` to P, dQ, dK."""
    received, d_query, d_key = [], [], []
    for b in range(len(query)):
        share = len(query[b]) // len(key[b])
        mask = [True] * len(weights[b]) if key_mask is None else key_mask[b]
        heads = [
            one_head(
                q, key[b][h // share], weights[b], slope[b][h], scaling, mask, window, is_causal, softcap
            )
            for h, q in enumerate(query[b])
        ]
        received.append([p for p, _, _ in heads])
        d_query.append([dq for _, dq, _ in heads])
        d_key.append([added(heads[g * share : (g + 1) * share]) for g in range(len(key[b]))])
    return received, d_query, d_key


def added(heads):
    """The gradients of one key head, from all query heads that read it."""
    rows = zip(*(dk for _, _, dk in heads), strict=True)
    return [[sum(parts) for parts in zip(*row, strict=True)] for row in rows]
