"""What every kernel over attention maps is made of on a GPU: rows that count, tiles of logits, log-sum-exp of rows.

A program works on tiles of `ROWS` rows and `KEYS` keys on the chip. Rows that count are listed by position, so a
sample of rows costs its share.
"""

from dataclasses import dataclass
from typing import Any

import torch
import triton as triton_compiler
import triton.language as tl
from torch import Tensor

from stillroom.kernels._attention_rows import counted_rows
from stillroom.kernels._attention_rule import Rule

ROWS, KEYS = 64, 64
"""Size of a tile."""


@dataclass(frozen=True)
class Rows:
    """The rows that count, listed by sample; N is the length of the longest list."""

    positions: Tensor
    """`[B,N]` int32, ascending up to the sample's count."""
    counts: Tensor
    """`[B]` int32."""
    weights: Tensor
    """`[B,N]`."""

    @classmethod
    def of(cls, weights: Tensor, key_mask: Tensor | None, rule: Rule) -> "Rows":
        counted = counted_rows(weights, key_mask, rule)
        counts = counted.sum(dim=1)
        longest = int(counts.max()) if len(counts) else 0
        positions = counted.int().argsort(dim=1, descending=True, stable=True)[:, :longest].contiguous()
        return cls(positions.int(), counts.int(), weights.gather(1, positions).contiguous())


def count_tiles(rows: Rows, length: int) -> tuple[int, int]:
    """How many tiles of rows and of keys."""
    return triton_compiler.cdiv(rows.positions.shape[1], ROWS), triton_compiler.cdiv(length, KEYS)


def common_arguments(query: Tensor, key: Tensor, key_mask: Tensor | None, rows: Rows, rule: Rule) -> tuple:
    """What every kernel begins with."""
    mask = rows.counts if key_mask is None else key_mask.to(torch.uint8).contiguous()  # not read where None
    sizes = query.shape[1], key.shape[1], query.shape[2], rows.positions.shape[1], query.shape[3]
    listed = rows.positions, rows.counts, rows.weights
    floats = rule.scaling, rule.softcap or 1.0, rule.window or query.shape[2] + 1
    return query, *query.stride(), key, *key.stride(), mask, *listed, *sizes, *floats


def common_constants(query: Tensor, key_mask: Tensor | None, rule: Rule) -> dict[str, Any]:
    """What kernels are compiled for."""
    return {
        "CAUSAL": rule.is_causal,
        "CAPPED": rule.softcap is not None,
        "MASKED": key_mask is not None,
        "PRECISION": "ieee" if query.dtype == torch.float32 else "tf32",
        "ROWS": ROWS,
        "KEYS": KEYS,
        "WIDTH": max(16, triton_compiler.next_power_of_2(query.shape[3])),
    }


def row_sums(query: Tensor, key: Tensor, key_mask: Tensor | None, rows: Rows, rule: Rule) -> Tensor:
    """Log-sum-exp `[B,H,N]` of the rows that count."""
    lse = rows.weights.new_empty(*query.shape[:2], rows.positions.shape[1])
    grid = count_tiles(rows, query.shape[2])[0], query.shape[0] * query.shape[1]
    _row_sums[grid](
        *common_arguments(query, key, key_mask, rows, rule), lse, **common_constants(query, key_mask, rule)
    )
    return lse


# Letters of the kernels: b sample, h query head, m its rows by number, i their positions, j keys, e width.


@triton_compiler.jit
def tile_logits(
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
def load_rows(query, qb, qh, qs, qd, positions, counts, b, h, m, N, D, WIDTH: tl.constexpr):
    """Positions of the rows numbered m, -1 where there are no more, and their queries."""
    i = tl.load(positions + b * N + m, mask=m < tl.load(counts + b), other=-1)
    e = tl.arange(0, WIDTH)
    at = query + b * qb + h * qh + i.to(tl.int64)[:, None] * qs + e[None, :] * qd
    return i, tl.load(at, mask=(i >= 0)[:, None] & (e < D)[None, :], other=0.0)


@triton_compiler.jit
def load_keys(key, kb, kh, ks, kd, key_mask, b, g, j, S, D, MASKED: tl.constexpr, WIDTH: tl.constexpr):
    """The keys at j; zero where there are none, whatever lies there."""
    e = tl.arange(0, WIDTH)
    exists = j < S
    if MASKED:
        exists = exists & (tl.load(key_mask + b * S + j, mask=j < S, other=0) != 0)
    at = key + b * kb + g * kh + j.to(tl.int64)[:, None] * ks + e[None, :] * kd
    return tl.load(at, mask=exists[:, None] & (e < D)[None, :], other=0.0)


@triton_compiler.jit
def seen_span(i, S, window, CAUSAL: tl.constexpr, KEYS: tl.constexpr):
    """From which tile of keys up to which key the rows at i see something."""
    if CAUSAL:
        first = tl.min(tl.where(i >= 0, i, S)) - window + 1
        return tl.maximum(first, 0) // KEYS * KEYS, tl.max(i) + 1
    return 0, S


@triton_compiler.jit
def sees_any(
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
    i, q = load_rows(query, qb, qh, qs, qd, positions, counts, b, h, m, N, D, WIDTH)
    top = tl.full([ROWS], -1e30, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    begin, end = seen_span(i, S, window, CAUSAL, KEYS)
    for start in range(begin, end, KEYS):
        j = start + tl.arange(0, KEYS)
        k = load_keys(key, kb, kh, ks, kd, key_mask, b, h // (H // G), j, S, D, MASKED, WIDTH)
        x, _ = tile_logits(q, k, i, j, key_mask, b, S, scaling, softcap, window, CAUSAL, CAPPED, MASKED)
        higher = tl.maximum(top, tl.max(x, 1))
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(x - higher[:, None]), 1)
        top = higher
    tl.store(lse_out + tl.program_id(1) * N + m, top + tl.log(tl.where(i >= 0, total, 1.0)), mask=i >= 0)
