"""Attention, received attention and their gradients by plain loops over rows and keys, in Python floats (float64).

    dA_ij = o_i . v_j + w_i g_j        dS_ij = A_ij c_ij (dA_ij - sum_k A_ik dA_ik)        o = dLoss/dO, g = dLoss/dP
    dQ_i = s sum_j dS_ij k_j           dK_j = s sum_i dS_ij q_i                            dV_j = sum_i A_ij o_i

c_ij is the slope of the soft-cap, as in `received_attention`.
"""

from reference.received_attention import added, row


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def add(into, factor, what):
    for x, each in enumerate(what):
        into[x] += factor * each


def zeros(like):
    return [[0.0] * len(each) for each in like]


def one_head(q, k, v, w, o, g, scaling, exists, window, is_causal, softcap):
    """Lists `q, k [S][d]`, `v, o [S][e]`, `w, g [S]` to O `[S][e]`, P `[S]`, dQ, dK and dV."""
    length = len(q)
    output, received = zeros(v), [0.0] * length
    d_query, d_key, d_value = zeros(q), zeros(k), zeros(v)
    for i in range(length):
        if not exists[i]:
            continue
        sees = [
            exists[j] and (not is_causal or j <= i) and (window is None or j > i - window)
            for j in range(length)
        ]
        a, c = row(q[i], k, sees, scaling, softcap)
        d_a = [dot(o[i], v[j]) + w[i] * g[j] for j in range(length)]
        mean = dot(a, d_a)
        for j in range(length):
            received[j] += w[i] * a[j]
            add(output[i], a[j], v[j])
            add(d_value[j], a[j], o[i])
            d_score = a[j] * c[j] * (d_a[j] - mean)
            add(d_query[i], scaling * d_score, k[j])
            add(d_key[j], scaling * d_score, q[i])
    return output, received, d_query, d_key, d_value


def attention_and_received(
    query, key, value, weights, o, g, *, scaling, exists, window=None, is_causal=True, softcap=None
):
    """Nested lists in the shapes of the door, `o [B][H][S][e]` and `g [B][H][S]`, to O, P, dQ, dK, dV."""
    results = [], [], [], [], []
    for b in range(len(query)):
        share = len(query[b]) // len(key[b])
        heads = []
        for h, q in enumerate(query[b]):
            kv, loss = (key[b][h // share], value[b][h // share]), (weights[b], o[b][h], g[b][h])
            heads.append(one_head(q, *kv, *loss, scaling, exists[b], window, is_causal, softcap))
        for result, part in zip(results[:3], list(zip(*heads, strict=True))[:3], strict=True):
            result.append(list(part))
        for result, part in ((results[3], 3), (results[4], 4)):
            groups = [heads[n * share : (n + 1) * share] for n in range(len(key[b]))]
            result.append([added([(None, None, each[part]) for each in group]) for group in groups])
    return results
