"""For GPUs: tiles of both models' rows and keys on the chip, nothing of any map in memory.

Log-sum-exp of all rows of both models first, then values and dQ (a program is some rows and walks over keys), then dK
by query head (a program is some keys and walks over rows). Tiles and what they see are those of `_triton_attention`.
"""

from typing import Any

import torch
import triton as triton_compiler
import triton.language as tl
from torch import Tensor

from stillroom.kernels._attention_rule import Rule
from stillroom.kernels._triton_attention import (
    Rows,
    common_arguments,
    common_constants,
    count_tiles,
    load_keys,
    load_rows,
    row_sums,
    seen_span,
    sees_any,
    tile_logits,
)
from stillroom.kernels.squeezed_kl._kept_gradients import KeptGradients
from stillroom.kernels.squeezed_kl._teacher import MergedTeacher


def triton(
    query: Tensor,
    key: Tensor,
    teacher: MergedTeacher,
    weights: Tensor,
    key_mask: Tensor | None,
    rule: Rule,
    divergence: str,
) -> Tensor:
    """`[B,H]`, float32."""
    rows = Rows.of(weights, key_mask, rule)

    def compute(query: Tensor, key: Tensor, d_query: Tensor | None, d_key: Tensor | None) -> Tensor:
        batch, heads, length, _ = query.shape
        row_tiles, key_tiles = count_tiles(rows, length)
        if row_tiles == 0:
            return weights.new_zeros(batch, heads)
        existing = weights.new_full((batch,), length) if key_mask is None else key_mask.sum(1).to(weights)
        values, means = (weights.new_zeros(batch, heads, rows.positions.shape[1]) for _ in range(2))
        student = common_arguments(query, key, key_mask, rows, rule)
        lse = row_sums(query, key, key_mask, rows, rule)
        common = *student, lse, *_teacher_arguments(teacher, key_mask, rows), existing, values, means
        constants = common_constants(query, key_mask, rule) | _teacher_constants(teacher, divergence)
        # a gradient that nobody wants is written all the same, and dropped
        into = weights.new_empty(query.shape) if d_query is None else d_query
        _by_rows[(row_tiles, batch * heads)](*common, into, *into.stride(), **constants)
        if d_key is not None:
            _by_keys[(key_tiles, batch * heads)](*common, d_key, *d_key.stride(), **constants)
        return (values * rows.weights[:, None]).sum(2)

    return KeptGradients.apply(query, key, weights.dtype, compute)


def _teacher_arguments(teacher: MergedTeacher, key_mask: Tensor | None, rows: Rows) -> tuple:
    query, key, rule = teacher.query, teacher.key, teacher.rule
    slots = teacher.mix.shape[2]
    listed = [[*group, *[-1] * (slots - len(group))] for group in teacher.groups]
    groups = torch.tensor(listed, dtype=torch.int32, device=query.device)
    lse = row_sums(query, key, key_mask, rows, rule)
    sizes = query.shape[1], key.shape[1], query.shape[3], rule.scaling, rule.softcap or 1.0
    return query, *query.stride(), key, *key.stride(), *sizes, lse, teacher.mix.contiguous(), groups, slots


def _teacher_constants(teacher: MergedTeacher, divergence: str) -> dict[str, Any]:
    width = max(16, triton_compiler.next_power_of_2(teacher.query.shape[3]))
    return {"T_CAPPED": teacher.rule.softcap is not None, "T_WIDTH": width, "MSE": divergence == "mse"}


# Letters as in `_triton_attention`; what belongs to the teacher begins with t, K are the slots of a group.


@triton_compiler.jit
def _merged(
    tq,
    tqb,
    tqh,
    tqs,
    tqd,
    tk,
    tkb,
    tkh,
    tks,
    tkd,
    TH,
    TG,
    TD,
    t_scaling,
    t_softcap,
    t_lse,
    mix,
    groups,
    K,
    key_mask,
    positions,
    counts,
    b,
    h,
    m,
    i,
    j,
    H,
    S,
    N,
    window,
    CAUSAL: tl.constexpr,
    MASKED: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    T_CAPPED: tl.constexpr,
    T_WIDTH: tl.constexpr,
):
    """A tile of the merged map: rows number m, at i, and keys j."""
    total = tl.zeros([ROWS, KEYS], tl.float32)
    for slot in range(K):
        head = tl.load(groups + h * K + slot)
        if head >= 0:
            _, q = load_rows(tq, tqb, tqh, tqs, tqd, positions, counts, b, head, m, N, TD, T_WIDTH)
            k = load_keys(tk, tkb, tkh, tks, tkd, key_mask, b, head // (TH // TG), j, S, TD, MASKED, T_WIDTH)
            x, _ = tile_logits(
                q, k, i, j, key_mask, b, S, t_scaling, t_softcap, window, CAUSAL, T_CAPPED, MASKED
            )
            lse = tl.load(t_lse + (b * TH + head) * N + m, mask=i >= 0, other=0.0)
            total += tl.load(mix + (b * H + h) * K + slot) * tl.exp(x - lse[:, None])
    return total


@triton_compiler.jit
def _by_rows(
    query,
    qb,
    qh,
    qs,
    qd,
    key,
    kb,
    kh,
    ks,
    kd,
    key_mask,
    positions,
    counts,
    weights,
    H,
    G,
    S,
    N,
    D,
    scaling,
    softcap,
    window,
    lse_in,
    tq,
    tqb,
    tqh,
    tqs,
    tqd,
    tk,
    tkb,
    tkh,
    tks,
    tkd,
    TH,
    TG,
    TD,
    t_scaling,
    t_softcap,
    t_lse,
    mix,
    groups,
    K,
    existing,
    values,
    means,
    out,
    ob,
    oh,
    os,
    od,
    CAUSAL: tl.constexpr,
    CAPPED: tl.constexpr,
    MASKED: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    T_CAPPED: tl.constexpr,
    T_WIDTH: tl.constexpr,
    MSE: tl.constexpr,
):
    """Values and, for mse, sum_j A (A - M), both `[B,H,N]`; dQ of the same rows."""
    b, h = tl.program_id(1) // H, tl.program_id(1) % H
    m = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    i, q = load_rows(query, qb, qh, qs, qd, positions, counts, b, h, m, N, D, WIDTH)
    lse = tl.load(lse_in + tl.program_id(1) * N + m, mask=i >= 0, other=0.0)
    count = tl.load(existing + b)
    value = tl.zeros([ROWS], tl.float32)
    mean = tl.zeros([ROWS], tl.float32)
    begin, end = seen_span(i, S, window, CAUSAL, KEYS)
    if MSE:
        for start in range(begin, end, KEYS):
            j = start + tl.arange(0, KEYS)
            k = load_keys(key, kb, kh, ks, kd, key_mask, b, h // (H // G), j, S, D, MASKED, WIDTH)
            x, _ = tile_logits(q, k, i, j, key_mask, b, S, scaling, softcap, window, CAUSAL, CAPPED, MASKED)
            merged = _merged(
                tq,
                tqb,
                tqh,
                tqs,
                tqd,
                tk,
                tkb,
                tkh,
                tks,
                tkd,
                TH,
                TG,
                TD,
                t_scaling,
                t_softcap,
                t_lse,
                mix,
                groups,
                K,
                key_mask,
                positions,
                counts,
                b,
                h,
                m,
                i,
                j,
                H,
                S,
                N,
                window,
                CAUSAL,
                MASKED,
                ROWS,
                KEYS,
                T_CAPPED,
                T_WIDTH,
            )
            a = tl.exp(x - lse[:, None])
            value += tl.sum((a - merged) * (a - merged), 1) / count
            mean += tl.sum(a * (a - merged), 1)
    total = tl.zeros([ROWS, WIDTH], tl.float32)
    for start in range(begin, end, KEYS):
        j = start + tl.arange(0, KEYS)
        k = load_keys(key, kb, kh, ks, kd, key_mask, b, h // (H // G), j, S, D, MASKED, WIDTH)
        x, slopes = tile_logits(q, k, i, j, key_mask, b, S, scaling, softcap, window, CAUSAL, CAPPED, MASKED)
        merged = _merged(
            tq,
            tqb,
            tqh,
            tqs,
            tqd,
            tk,
            tkb,
            tkh,
            tks,
            tkd,
            TH,
            TG,
            TD,
            t_scaling,
            t_softcap,
            t_lse,
            mix,
            groups,
            K,
            key_mask,
            positions,
            counts,
            b,
            h,
            m,
            i,
            j,
            H,
            S,
            N,
            window,
            CAUSAL,
            MASKED,
            ROWS,
            KEYS,
            T_CAPPED,
            T_WIDTH,
        )
        a = tl.exp(x - lse[:, None])
        if MSE:
            d = 2 / count * a * (a - merged - mean[:, None])
        else:
            there = merged > 0
            log_a = tl.where(there, x - lse[:, None], 0.0)
            value += tl.sum(merged * (tl.log(tl.where(there, merged, 1.0)) - log_a), 1)
            d = a - merged
        total += tl.dot(d * slopes, k.to(tl.float32), input_precision=PRECISION)
    w = tl.load(weights + b * N + m, mask=i >= 0, other=0.0)
    tl.store(values + tl.program_id(1) * N + m, value, mask=i >= 0)
    tl.store(means + tl.program_id(1) * N + m, mean, mask=i >= 0)
    e = tl.arange(0, WIDTH)
    at = out + b * ob + h * oh + i.to(tl.int64)[:, None] * os + e[None, :] * od
    tl.store(at, total * (w * scaling)[:, None], mask=(i >= 0)[:, None] & (e < D)[None, :])


@triton_compiler.jit
def _by_keys(
    query,
    qb,
    qh,
    qs,
    qd,
    key,
    kb,
    kh,
    ks,
    kd,
    key_mask,
    positions,
    counts,
    weights,
    H,
    G,
    S,
    N,
    D,
    scaling,
    softcap,
    window,
    lse_in,
    tq,
    tqb,
    tqh,
    tqs,
    tqd,
    tk,
    tkb,
    tkh,
    tks,
    tkd,
    TH,
    TG,
    TD,
    t_scaling,
    t_softcap,
    t_lse,
    mix,
    groups,
    K,
    existing,
    values,
    means,
    out,
    ob,
    oh,
    os,
    od,
    CAUSAL: tl.constexpr,
    CAPPED: tl.constexpr,
    MASKED: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    T_CAPPED: tl.constexpr,
    T_WIDTH: tl.constexpr,
    MSE: tl.constexpr,
):
    """dK of some keys from one query head."""
    b, h = tl.program_id(1) // H, tl.program_id(1) % H
    j = tl.program_id(0) * KEYS + tl.arange(0, KEYS)
    k = load_keys(key, kb, kh, ks, kd, key_mask, b, h // (H // G), j, S, D, MASKED, WIDTH)
    count = tl.load(existing + b)
    total = tl.zeros([KEYS, WIDTH], tl.float32)
    for start in range(0, tl.load(counts + b), ROWS):
        if sees_any(positions, counts, b, start, tl.program_id(0) * KEYS, N, window, CAUSAL, ROWS, KEYS):
            m = start + tl.arange(0, ROWS)
            i, q = load_rows(query, qb, qh, qs, qd, positions, counts, b, h, m, N, D, WIDTH)
            x, slopes = tile_logits(
                q, k, i, j, key_mask, b, S, scaling, softcap, window, CAUSAL, CAPPED, MASKED
            )
            lse = tl.load(lse_in + tl.program_id(1) * N + m, mask=i >= 0, other=0.0)
            merged = _merged(
                tq,
                tqb,
                tqh,
                tqs,
                tqd,
                tk,
                tkb,
                tkh,
                tks,
                tkd,
                TH,
                TG,
                TD,
                t_scaling,
                t_softcap,
                t_lse,
                mix,
                groups,
                K,
                key_mask,
                positions,
                counts,
                b,
                h,
                m,
                i,
                j,
                H,
                S,
                N,
                window,
                CAUSAL,
                MASKED,
                ROWS,
                KEYS,
                T_CAPPED,
                T_WIDTH,
            )
            d = tl.exp(x - lse[:, None]) - merged
            if MSE:
                mean = tl.load(means + tl.program_id(1) * N + m, mask=i >= 0, other=0.0)
                d = 2 / count * tl.exp(x - lse[:, None]) * (d - mean[:, None])
            w = tl.load(weights + b * N + m, mask=i >= 0, other=0.0)
            total += tl.dot(tl.trans(d * slopes * w[:, None]), q.to(tl.float32), input_precision=PRECISION)
    e = tl.arange(0, WIDTH)
    at = out + b * ob + h * oh + j.to(tl.int64)[:, None] * os + e[None, :] * od
    tl.store(at, total * scaling, mask=(j < S)[:, None] & (e < D)[None, :])
