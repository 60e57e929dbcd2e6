"""One kernel a pass for GPUs: tiles of rows and keys on the chip, nothing of the map in memory; the only Triton here.

Forward: log-sum-exp of every row (a program is some rows and walks over keys), then P (a program is some keys and
walks over rows). Backward likewise: u and dQ by rows, dK by keys, with the formulas of `streaming`. Every number
is written by one program, so results do not depend on the order of programs. Rows that count are listed by
position, so a sample of rows costs its share.
"""

from dataclasses import dataclass
from typing import Any

import torch
import triton as triton_compiler
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from stillroom.kernels._attention_rows import counted_rows
from stillroom.kernels._attention_rule import Rule

ROWS, KEYS = 64, 64
"""Size of a tile."""


def triton(query: Tensor, key: Tensor, weights: Tensor, key_mask: Tensor | None, rule: Rule) -> Tensor:
    """Received attention `[B,H,S]`, float32."""
    return _ReceivedAttention.apply(query, key, weights, key_mask, rule)


@dataclass(frozen=True)
class _Rows:
    """The rows that count, listed by sample; N is the length of the longest list."""

    positions: Tensor
    """`[B,N]` int32, ascending up to the sample's count."""
    counts: Tensor
    """`[B]` int32."""
    weights: Tensor
    """`[B,N]`."""

    @classmethod
    def of(cls, weights: Tensor, key_mask: Tensor | None, rule: Rule) -> "_Rows":
        counted = counted_rows(weights, key_mask, rule)
        counts = counted.sum(dim=1)
        longest = int(counts.max()) if len(counts) else 0
        positions = counted.int().argsort(dim=1, descending=True, stable=True)[:, :longest].contiguous()
        return cls(positions.int(), counts.int(), weights.gather(1, positions).contiguous())


class _ReceivedAttention(torch.autograd.Function):
    """Keeps its inputs and the log-sum-exp of the rows."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, weights: Tensor, key_mask: Tensor | None, rule: Rule
    ) -> Tensor:
        rows = _Rows.of(weights, key_mask, rule)
        batch, heads, length, _ = query.shape
        row_tiles, key_tiles = _tiles(rows, length)
        lse = weights.new_empty(batch, heads, rows.positions.shape[1])
        received = weights.new_zeros(batch, heads, length)
        if row_tiles:
            common = _arguments(query, key, key_mask, rows, rule)
            _row_sums[(row_tiles, batch * heads)](*common, lse, **_constants(query, key_mask, rule))
            _received[(key_tiles, batch * heads)](*common, lse, received, **_constants(query, key_mask, rule))
        ctx.save_for_backward(query, key, weights, key_mask, lse)
        ctx.rule = rule
        return received

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        query, key, weights, key_mask, lse = ctx.saved_tensors
        rows = _Rows.of(weights, key_mask, ctx.rule)
        row_tiles, key_tiles = _tiles(rows, query.shape[2])
        d_query, d_key = torch.zeros_like(query), torch.zeros_like(key)
        if row_tiles:
            slope, u = slope.contiguous(), torch.empty_like(lse)
            common = _arguments(query, key, key_mask, rows, ctx.rule)
            constants = _constants(query, key_mask, ctx.rule)
            grid = row_tiles, query.shape[0] * query.shape[1]
            _query_gradient[grid](*common, lse, slope, u, d_query, *d_query.stride(), **constants)
            grid = key_tiles, key.shape[0] * key.shape[1]
            _key_gradient[grid](*common, lse, slope, u, d_key, *d_key.stride(), **constants)
        wants_query, wants_key = ctx.needs_input_grad[:2]
        return d_query if wants_query else None, d_key if wants_key else None, None, None, None


def _tiles(rows: _Rows, length: int) -> tuple[int, int]:
    return triton_compiler.cdiv(rows.positions.shape[1], ROWS), triton_compiler.cdiv(length, KEYS)


def _arguments(query: Tensor, key: Tensor, key_mask: Tensor | None, rows: _Rows, rule: Rule) -> tuple:
    mask = rows.counts if key_mask is None else key_mask.to(torch.uint8).contiguous()  # not read where None
    sizes = query.shape[1], key.shape[1], query.shape[2], rows.positions.shape[1], query.shape[3]
    listed = rows.positions, rows.counts, rows.weights
    floats = rule.scaling, rule.softcap or 1.0, rule.window or query.shape[2] + 1
    return query, *query.stride(), key, *key.stride(), mask, *listed, *sizes, *floats


def _constants(query: Tensor, key_mask: Tensor | None, rule: Rule) -> dict[str, Any]:
    return {
        "CAUSAL": rule.is_causal,
        "CAPPED": rule.softcap is not None,
        "MASKED": key_mask is not None,
        "PRECISION": "ieee" if query.dtype == torch.float32 else "tf32",
        "ROWS": ROWS,
        "KEYS": KEYS,
        "WIDTH": max(16, triton_compiler.next_power_of_2(query.shape[3])),
    }


# Letters of the kernels: b sample, h query head, m its rows by number, i their positions, j keys, e width.


@triton_compiler.jit
def _logits(
    q,
    k,
    i,
    j,
    key_mask,
    b,
    S,
    scaling,
    softcap,
    window,
    CAUSAL: tl.constexpr,
    CAPPED: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Logits of a tile, minus infinity where unseen, and the slopes of the soft-cap."""
    scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scaling
    slopes = tl.full(scores.shape, 1.0, tl.float32)
    if CAPPED:
        tanh = 2 * tl.sigmoid(2 * scores / softcap) - 1
        slopes = 1 - tanh * tanh
        scores = softcap * tanh
    seen = (i >= 0)[:, None] & (j < S)[None, :]
    if CAUSAL:
        seen = seen & (j[None, :] <= i[:, None]) & (j[None, :] > i[:, None] - window)
    if MASKED:
        seen = seen & (tl.load(key_mask + b * S + j, mask=j < S, other=0) != 0)[None, :]
    return tl.where(seen, scores, float("-inf")), slopes


@triton_compiler.jit
def _rows_of(query, qb, qh, qs, qd, positions, counts, b, h, m, N, D, WIDTH: tl.constexpr):
    """Positions of the rows numbered m, -1 where there are no more, and their queries."""
    i = tl.load(positions + b * N + m, mask=m < tl.load(counts + b), other=-1)
    e = tl.arange(0, WIDTH)
    at = query + b * qb + h * qh + i.to(tl.int64)[:, None] * qs + e[None, :] * qd
    return i, tl.load(at, mask=(i >= 0)[:, None] & (e < D)[None, :], other=0.0)


@triton_compiler.jit
def _keys_of(key, kb, kh, ks, kd, key_mask, b, g, j, S, D, MASKED: tl.constexpr, WIDTH: tl.constexpr):
    """The keys at j; zero where there are none, whatever lies there."""
    e = tl.arange(0, WIDTH)
    exists = j < S
    if MASKED:
        exists = exists & (tl.load(key_mask + b * S + j, mask=j < S, other=0) != 0)
    at = key + b * kb + g * kh + j.to(tl.int64)[:, None] * ks + e[None, :] * kd
    return tl.load(at, mask=exists[:, None] & (e < D)[None, :], other=0.0)


@triton_compiler.jit
def _span(i, S, window, CAUSAL: tl.constexpr, KEYS: tl.constexpr):
    """From which tile of keys up to which key the rows at i see something."""
    if CAUSAL:
        first = tl.min(tl.where(i >= 0, i, S)) - window + 1
        return tl.maximum(first, 0) // KEYS * KEYS, tl.max(i) + 1
    return 0, S


@triton_compiler.jit
def _sees(
    positions,
    counts,
    b,
    start,
    first_key,
    N,
    window,
    CAUSAL: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
):
    """Whether any of the rows from number `start` on sees any key of the tile that begins at `first_key`."""
    if CAUSAL:
        first = tl.load(positions + b * N + start)
        last = tl.load(positions + b * N + tl.minimum(start + ROWS, tl.load(counts + b)) - 1)
        return (last >= first_key) & (first_key + KEYS - 1 > first - window)
    return True


@triton_compiler.jit
def _row_sums(
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
    lse_out,
    CAUSAL: tl.constexpr,
    CAPPED: tl.constexpr,
    MASKED: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Log-sum-exp of every row, `lse [B,H,N]`."""
    b, h = tl.program_id(1) // H, tl.program_id(1) % H
    m = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    i, q = _rows_of(query, qb, qh, qs, qd, positions, counts, b, h, m, N, D, WIDTH)
    top = tl.full([ROWS], -1e30, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    begin, end = _span(i, S, window, CAUSAL, KEYS)
    for start in range(begin, end, KEYS):
        j = start + tl.arange(0, KEYS)
        k = _keys_of(key, kb, kh, ks, kd, key_mask, b, h // (H // G), j, S, D, MASKED, WIDTH)
        x, _ = _logits(q, k, i, j, key_mask, b, S, scaling, softcap, window, CAUSAL, CAPPED, MASKED)
        higher = tl.maximum(top, tl.max(x, 1))
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(x - higher[:, None]), 1)
        top = higher
    tl.store(lse_out + tl.program_id(1) * N + m, top + tl.log(tl.where(i >= 0, total, 1.0)), mask=i >= 0)


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
    k = _keys_of(key, kb, kh, ks, kd, key_mask, b, h // (H // G), j, S, D, MASKED, WIDTH)
    total = tl.zeros([KEYS], tl.float32)
    for start in range(0, tl.load(counts + b), ROWS):
        if _sees(positions, counts, b, start, tl.program_id(0) * KEYS, N, window, CAUSAL, ROWS, KEYS):
            m = start + tl.arange(0, ROWS)
            i, q = _rows_of(query, qb, qh, qs, qd, positions, counts, b, h, m, N, D, WIDTH)
            x, _ = _logits(q, k, i, j, key_mask, b, S, scaling, softcap, window, CAUSAL, CAPPED, MASKED)
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
    i, q = _rows_of(query, qb, qh, qs, qd, positions, counts, b, h, m, N, D, WIDTH)
    lse = tl.load(lse_in + tl.program_id(1) * N + m, mask=i >= 0, other=0.0)
    u = tl.zeros([ROWS], tl.float32)
    begin, end = _span(i, S, window, CAUSAL, KEYS)
    for start in range(begin, end, KEYS):
        j = start + tl.arange(0, KEYS)
        k = _keys_of(key, kb, kh, ks, kd, key_mask, b, h // (H // G), j, S, D, MASKED, WIDTH)
        x, _ = _logits(q, k, i, j, key_mask, b, S, scaling, softcap, window, CAUSAL, CAPPED, MASKED)
        g = tl.load(slope + tl.program_id(1) * S + j, mask=j < S, other=0.0)
        u += tl.sum(tl.exp(x - lse[:, None]) * g[None, :], 1)
    tl.store(u_out + tl.program_id(1) * N + m, u, mask=i >= 0)
    total = tl.zeros([ROWS, WIDTH], tl.float32)
    for start in range(begin, end, KEYS):
        j = start + tl.arange(0, KEYS)
        k = _keys_of(key, kb, kh, ks, kd, key_mask, b, h // (H // G), j, S, D, MASKED, WIDTH)
        x, slopes = _logits(q, k, i, j, key_mask, b, S, scaling, softcap, window, CAUSAL, CAPPED, MASKED)
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
    k = _keys_of(key, kb, kh, ks, kd, key_mask, b, group, j, S, D, MASKED, WIDTH)
    total = tl.zeros([KEYS, WIDTH], tl.float32)
    for h in range(group * (H // G), (group + 1) * (H // G)):
        g = tl.load(slope + (b * H + h) * S + j, mask=j < S, other=0.0)
        for start in range(0, tl.load(counts + b), ROWS):
            if _sees(positions, counts, b, start, tl.program_id(0) * KEYS, N, window, CAUSAL, ROWS, KEYS):
                m = start + tl.arange(0, ROWS)
                i, q = _rows_of(query, qb, qh, qs, qd, positions, counts, b, h, m, N, D, WIDTH)
                x, slopes = _logits(
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
