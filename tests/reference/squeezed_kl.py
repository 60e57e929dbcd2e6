"""Divergences of merged teacher maps and student maps with gradients, by plain loops in Python floats (float64).

    M_ij = sum_m mix_m A^m_ij                  A^m the teacher's heads of the group, A the student's
    kl_i  = sum_j M_ij log(M_ij / A_ij)        D_ij = A_ij - M_ij
    mse_i = sum_j (M_ij - A_ij)^2 / n          D_ij = 2 A_ij ((A_ij - M_ij) - sum_l A_il (A_il - M_il)) / n
    dQ_i  = g s w_i sum_j D_ij c_ij k_j        dK_j = g s sum_i D_ij c_ij w_i q_i

n is the number of keys that exist, g the slope of a head's value, s the student's scaling, c_ij the slope of its
soft-cap. A temperature divides logits after the soft-cap.
"""

import math


def row(q, keys, sees, scaling, softcap, temperature):
    """Log-probabilities of one row (None where a key is not seen) and dlogit/dscore of every key."""
    logits, slopes = [], []
    for k in keys:
        score = scaling * sum(a * b for a, b in zip(q, k, strict=True))
        bounded = score if softcap is None else softcap * math.tanh(score / softcap)
        logits.append(bounded / temperature)
        slopes.append((1.0 if softcap is None else 1 - (bounded / softcap) ** 2) / temperature)
    seen = [x for x, visible in zip(logits, sees, strict=True) if visible]
    if not seen:
        return [None] * len(keys), slopes
    lse = max(seen) + math.log(sum(math.exp(x - max(seen)) for x in seen))
    return [x - lse if visible else None for x, visible in zip(logits, sees, strict=True)], slopes


def exp(log_probability):
    return 0.0 if log_probability is None else math.exp(log_probability)


def compared(m, log_a, divergence, n):
    """Value of one row and D."""
    a = [exp(x) for x in log_a]
    if divergence == "kl":
        value = sum(p * (math.log(p) - x) for p, x in zip(m, log_a, strict=True) if p > 0)
        return value, [x - p for x, p in zip(a, m, strict=True)]
    gap = [x - p for x, p in zip(a, m, strict=True)]
    mean = sum(x * y for x, y in zip(a, gap, strict=True))
    return sum(y * y for y in gap) / n, [2 * x * (y - mean) / n for x, y in zip(a, gap, strict=True)]


def one_head(q, k, heads, mix, w, g, sees, n, student, teacher, temperature, divergence):
    """`q`, `k` and the teacher's `heads` [(query, key)], lists, to value, dQ `[S][d]` and dK `[S][d]`.

    `student` and `teacher` are (scaling, softcap); `sees [S][S]`."""
    d_query, d_key = [[0.0] * len(x) for x in q], [[0.0] * len(x) for x in k]
    value = 0.0
    for i, weight in enumerate(w):
        if weight == 0 or not any(sees[i]):
            continue
        log_a, slopes = row(q[i], k, sees[i], *student, temperature)
        maps = [row(tq[i], tk, sees[i], *teacher, temperature)[0] for tq, tk in heads]
        m = [
            sum(share * exp(x) for share, x in zip(mix, column, strict=False))
            for column in zip(*maps, strict=True)
        ]
        found, d = compared(m, log_a, divergence, n)
        value += weight * found
        for j, c in enumerate(slopes):
            for x in range(len(q[i])):
                d_query[i][x] += g * student[0] * weight * d[j] * c * k[j][x]
                d_key[j][x] += g * student[0] * weight * d[j] * c * q[i][x]
    return value, d_query, d_key


def squeezed_kl(
    student_query,
    student_key,
    teacher_query,
    teacher_key,
    mix,
    slope,
    *,
    groups,
    student_scaling,
    teacher_scaling,
    weights,
    temperature=1.0,
    key_mask=None,
    window=None,
    is_causal=True,
    student_softcap=None,
    teacher_softcap=None,
    divergence="kl",
):
    """Nested lists `[B][heads][S][width]`, `mix [B][H][k]`, `slope [B][H]`, `weights [B][S]` to value, dQ, dK."""
    values, d_query, d_key = [], [], []
    for b, queries in enumerate(student_query):
        length = len(weights[b])
        mask = [True] * length if key_mask is None else key_mask[b]
        sees = [
            [
                mask[j] and (not is_causal or j <= i) and (window is None or j > i - window)
                for j in range(length)
            ]
            for i in range(length)
        ]
        share = len(queries) // len(student_key[b])
        teacher_share = len(teacher_query[b]) // len(teacher_key[b])
        heads = [
            one_head(
                q,
                student_key[b][h // share],
                [(teacher_query[b][t], teacher_key[b][t // teacher_share]) for t in groups[h]],
                mix[b][h],
                weights[b],
                slope[b][h],
                sees,
                sum(mask),
                (student_scaling, student_softcap),
                (teacher_scaling, teacher_softcap),
                temperature,
                divergence,
            )
            for h, q in enumerate(queries)
        ]
        values.append([value for value, _, _ in heads])
        d_query.append([dq for _, dq, _ in heads])
        d_key.append([added([dk for _, _, dk in heads[g : g + share]]) for g in range(0, len(heads), share)])
    return values, d_query, d_key


def added(gradients):
    """The gradients of one key head, from all query heads that read it."""
    return [[sum(parts) for parts in zip(*rows, strict=True)] for rows in zip(*gradients, strict=True)]
