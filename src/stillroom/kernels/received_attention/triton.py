"""One kernel a pass for GPUs: tiles of rows and keys on the chip, nothing of the map in memory.

Forward: log-sum-exp of every row (a program is some rows and walks over keys), then P (a program is some keys and
walks over rows). Backward likewise: u and dQ by rows, dK by keys, with the formulas of `streaming`. Every number
is written by one program, so results do not depend on the order of programs.
"""

from typing import Any

import torch
import triton as triton_compiler
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

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


def triton(query: Tensor, key: Tensor, weights: Tensor, key_mask: Tensor | None, rule: Rule) -> Tensor:
    """Received attention `[B,H,S]`, float32."""
    return _ReceivedAttention.apply(query, key, weights, key_mask, rule)


class _ReceivedAttention(torch.autograd.Function):
    """Keeps its inputs and the log-sum-exp of the rows."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, weights: Tensor, key_mask: Tensor | None, rule: Rule
    ) -> Tensor:
        rows = Rows.of(weights, key_mask, rule)
        batch, heads, length, _ = query.shape
        row_tiles, key_tiles = count_tiles(rows, length)
        lse = weights.new_empty(batch, heads, 0)
        received = weights.new_zeros(batch, heads, length)
        if row_tiles:
            lse = row_sums(query, key, key_mask, rows, rule)
            common = common_arguments(query, key, key_mask, rows, rule)
            constants = common_constants(query, key_mask, rule)
            _received[(key_tiles, batch * heads)](*common, lse, received, **constants)
        ctx.save_for_backward(query, key, weights, key_mask, lse)
        ctx.rule = rule
        return received

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        query, key, weights, key_mask, lse = ctx.saved_tensors
        rows = Rows.of(weights, key_mask, ctx.rule)
        row_tiles, key_tiles = count_tiles(rows, query.shape[2])
        d_query, d_key = torch.zeros_like(query), torch.zeros_like(key)
        if row_tiles:
            slope, u = slope.contiguous(), torch.empty_like(lse)
            common = common_arguments(query, key, key_mask, rows, ctx.rule)
            constants = common_constants(query, key_mask, ctx.rule)
            grid = row_tiles, query.shape[0] * query.shape[1]
            _query_gradient[grid](*common, lse, slope, u, d_query, *d_query.stride(), **constants)
            grid = key_tiles, key.shape[0] * key.shape[1]
            _key_gradient[grid](*common, lse, slope, u, d_key, *d_key.stride(), **constants)
        wants_query, wants_key = ctx.needs_input_grad[:2]
        return d_query if wants_query else None, d_key if wants_key else None, None, None, None


# Letters as in `_triton_attention`.


@triton_compiler.jit
def _received(
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
    received,
    CAUSAL: tl.constexpr,
    CAPPED: tl.constexpr,
    MASKED: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """P of every key, `received [B,H,S]`."""
    b, h = tl.program_id(1) // H, tl.program_id(1) % H
    j = tl.program_id(0) * KEYS + tl.arange(0, KEYS)
    k = load_keys(key, kb, kh, ks, kd, key_mask, b, h // (H // G), j, S, D, MASKED, WIDTH)
    total = tl.zeros([KEYS], tl.float32)
    for start in range(0, tl.load(counts + b), ROWS):
        if sees_any(positions, counts, b, start, tl.program_id(0) * KEYS, N, window, CAUSAL, ROWS, KEYS):
            m = start + tl.arange(0, ROWS)
            i, q = load_rows(query, qb, qh, qs, qd, positions, counts, b, h, m, N, D, WIDTH)
            x, _ = tile_logits(q, k, i, j, key_mask, b, S, scaling, softcap, window, CAUSAL, CAPPED, MASKED)
            lse = tl.load(lse_in + tl.program_id(1) * N + m, mask=i >= 0, other=0.0)
            w = tl.load(weights + b * N + m, mask=i >= 0, other=0.0)
            total += tl.sum(w[:, None] * tl.exp(x - lse[:, None]), 0)
    tl.store(received + tl.program_id(1) * S + j, total, mask=j < S)


@triton_compiler.jit
def _query_gradient(
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
    slope,
    u_out,
    d_query,
    db,
    dh,
    ds,
    dd,
    CAUSAL: tl.constexpr,
    CAPPED: tl.constexpr,
    MASKED: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """`u [B,H,N]`, then dQ of the same rows."""
    b, h = tl.program_id(1) // H, tl.program_id(1) % H
    m = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    i, q = load_rows(query, qb, qh, qs, qd, positions, counts, b, h, m, N, D, WIDTH)
    lse = tl.load(lse_in + tl.program_id(1) * N + m, mask=i >= 0, other=0.0)
    u = tl.zeros([ROWS], tl.float32)
    begin, end = seen_span(i, S, window, CAUSAL, KEYS)
    for start in range(begin, end, KEYS):
        j = start + tl.arange(0, KEYS)
        k = load_keys(key, kb, kh, ks, kd, key_mask, b, h // (H // G), j, S, D, MASKED, WIDTH)
        x, _ = tile_logits(q, k, i, j, key_mask, b, S, scaling, softcap, window, CAUSAL, CAPPED, MASKED)
        g = tl.load(slope + tl.program_id(1) * S + j, mask=j < S, other=0.0)
        u += tl.sum(tl.exp(x - lse[:, None]) * g[None, :], 1)
    tl.store(u_out + tl.program_id(1) * N + m, u, mask=i >= 0)
    total = tl.zeros([ROWS, WIDTH], tl.float32)
    for start in range(begin, end, KEYS):
        j = start + tl.arange(0, KEYS)
        k = load_keys(key, kb, kh, ks, kd, key_mask, b, h // (H // G), j, S, D, MASKED, WIDTH)
        x, slopes = tile_logits(q, k, i, j, key_mask, b, S, scaling, softcap, window, CAUSAL, CAPPED, MASKED)
        g = tl.load(slope + tl.program_id(1) * S + j, mask=j < S, other=0.0)
        d_scores = tl.exp(x - lse[:, None]) * (g[None, :] - u[:, None]) * slopes
        total += tl.dot(d_scores, k.to(tl.float32), input_precision=PRECISION)
    w = tl.load(weights + b * N + m, mask=i >= 0, other=0.0)
    e = tl.arange(0, WIDTH)
    at = d_query + b * db + h * dh + i.to(tl.int64)[:, None] * ds + e[None, :] * dd
    tl.store(at, total * (w * scaling)[:, None], mask=(i >= 0)[:, None] & (e < D)[None, :])


@triton_compiler.jit
def _key_gradient(
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
    slope,
    u_in,
    d_key,
    db,
    dh,
    ds,
    dd,
    CAUSAL: tl.constexpr,
    CAPPED: tl.constexpr,
    MASKED: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """dK of some keys, from all query heads that read them."""
    b, group = tl.program_id(1) // G, tl.program_id(1) % G
    j = tl.program_id(0) * KEYS + tl.arange(0, KEYS)
    k = load_keys(key, kb, kh, ks, kd, key_mask, b, group, j, S, D, MASKED, WIDTH)
    total = tl.zeros([KEYS, WIDTH], tl.float32)
    for h in range(group * (H // G), (group + 1) * (H // G)):
        g = tl.load(slope + (b * H + h) * S + j, mask=j < S, other=0.0)
        for start in range(0, tl.load(counts + b), ROWS):
            if sees_any(positions, counts, b, start, tl.program_id(0) * KEYS, N, window, CAUSAL, ROWS, KEYS):
                m = start + tl.arange(0, ROWS)
                i, q = load_rows(query, qb, qh, qs, qd, positions, counts, b, h, m, N, D, WIDTH)
                x, slopes = tile_logits(
                    q, k, i, j, key_mask, b, S, scaling, softcap, window, CAUSAL, CAPPED, MASKED
                )
                lse = tl.load(lse_in + (b * H + h) * N + m, mask=i >= 0, other=0.0)
                u = tl.load(u_in + (b * H + h) * N + m, mask=i >= 0, other=0.0)
                w = tl.load(weights + b * N + m, mask=i >= 0, other=0.0)
                d_scores = tl.exp(x - lse[:, None]) * (g[None, :] - u[:, None]) * slopes * w[:, None]
                total += tl.dot(tl.trans(d_scores), q.to(tl.float32), input_precision=PRECISION)
    e = tl.arange(0, WIDTH)
    at = d_key + b * db + group * dh + j.to(tl.int64)[:, None] * ds + e[None, :] * dd
    tl.store(at, total * scaling, mask=(j < S)[:, None] & (e < D)[None, :])
