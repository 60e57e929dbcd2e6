"""Blocks of rows: scores, softmax, weighted column sums, then the next block; the map never exists.

A block holds some rows with all the keys that they see, so its softmax is complete and nothing about it needs to
be kept for backward, which computes A again. With g = dLoss/dP, u_i = sum_j A_ij g_j and dS_ij = A_ij (g_j - u_i):

    dQ_i = scaling weights_i sum_j dS_ij k_j        dK_j = scaling sum_i dS_ij weights_i q_i

A soft-cap c multiplies dS by 1 - tanh^2(score / c). Rows without weight and masked keys are left out by position
before anything is computed. Memory is that of one sample's keys and a few tiles, whatever S.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from stillroom.kernels.received_attention._rows import counted_rows
from stillroom.kernels.received_attention._rule import Rule

ROWS = 64
TILE = 2**19
"""Rows of a block at most, and numbers in a block for all heads that are worked on together."""


def streaming(query: Tensor, key: Tensor, weights: Tensor, key_mask: Tensor | None, rule: Rule) -> Tensor:
    """Received attention `[B,H,S]` in the type of `weights`."""
    return _ReceivedAttention.apply(query, key, weights, key_mask, rule)


class _ReceivedAttention(torch.autograd.Function):
    """Keeps its inputs and nothing else."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, weights: Tensor, key_mask: Tensor | None, rule: Rule
    ) -> Tensor:
        ctx.save_for_backward(query, key, weights, key_mask)
        ctx.rule = rule
        received = weights.new_zeros(query.shape[:3])
        for part in _parts(query, key, weights, key_mask, rule):
            total = weights.new_zeros(part.heads, 1, len(part.keys.at))
            for block in part.blocks():
                total[:, :, block.keys] += torch.bmm(block.weights, block.map)
            received[part.sample, part.query_heads, part.keys.index] = total.squeeze(1)
        return received

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        query, key, weights, key_mask = ctx.saved_tensors
        wants_query, wants_key = ctx.needs_input_grad[:2]
        d_query = torch.zeros_like(query) if wants_query else None
        d_key = torch.zeros_like(key) if wants_key else None
        with torch.autocast(query.device.type, enabled=False):
            for part in _parts(query, key, weights, key_mask, ctx.rule):
                _backward(part, slope, d_query, d_key)
        return d_query, d_key, None, None, None
def _backward(part: "_Part", slope: Tensor, d_query: Tensor | None, d_key: Tensor | None) -> None:
    """Write the gradients of one part; `slope [B,H,S]` is the gradient of what its keys received."""
    g = slope[part.sample, part.query_heads][:, part.keys.index].to(part.key.dtype).unsqueeze(1)
    key_sums = torch.zeros_like(part.key)
    for block in part.blocks():
        g_here = g[:, :, block.keys]
        d_scores = torch.sub(g_here, torch.bmm(block.map, g_here.mT), out=block.logits).mul_(block.map)
        if block.tanh is not None:
            d_scores.mul_(block.tanh.square_().neg_().add_(1.0))
        d_scores = d_scores.view(len(part.key), -1, d_scores.shape[2])
        factor = block.weights.mT.unflatten(0, (len(part.key), -1))  # [n, share, m, 1]
        if d_key is not None:
            weighted = block.query.view(*factor.shape[:3], -1).mul(factor).view_as(block.query)
            key_sums[:, block.keys] += torch.bmm(d_scores.mT, weighted)
        if d_query is not None:
            sums = torch.bmm(d_scores, part.key[:, block.keys]).view(*factor.shape[:3], -1)
            sums = sums.mul_(factor).mul_(part.rule.scaling).flatten(0, 1)
            d_query[part.sample, part.query_heads, block.rows] = sums.to(d_query.dtype)
    if d_key is not None:
        d_key[part.sample, part.groups, part.keys.index] = key_sums.to(d_key.dtype)


@dataclass(frozen=True)
class _Positions:
    """Chosen positions, ascending, as numbers and as what indexes a tensor."""

    at: list[int]
    index: slice | Tensor

    @classmethod
    def of(cls, chosen: Tensor) -> "_Positions":
        """From `chosen [S]` bool."""
        index = chosen.nonzero().squeeze(1)
        at = index.tolist()
        is_run = bool(at) and at[-1] - at[0] + 1 == len(at)
        return cls(at, slice(at[0], at[-1] + 1) if is_run else index)

    def some(self, which: slice) -> "_Positions":
        at = self.at[which]
        if isinstance(self.index, slice):
            return _Positions(at, slice(at[0], at[-1] + 1))
        return _Positions(at, self.index[which])


@dataclass(frozen=True)
class _Block:
    """Some rows of the maps of a part. Letters: n key heads, r query heads to each, m rows, k keys that they see."""

    rows: slice | Tensor
    """Positions of the rows in the sample."""
    keys: slice
    """Which keys of the part the rows see."""
    query: Tensor
    """Scaled, `[n, r*m, d]`."""
    weights: Tensor
    """`[n*r, 1, m]`."""
    map: Tensor
    """`[n*r, m, k]`."""
    logits: Tensor
    """Used up: free for what comes next, `[n*r, m, k]`."""
    tanh: Tensor | None
    """Of the scores, where they are soft-capped, `[n*r, m, k]`."""


class _Tiles:
    """Buffers that serve all blocks of a call: memory that was never touched costs as much as the arithmetic."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._held: dict[str, Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        """The buffer of that name as a contiguous tensor, with whatever it held."""
        size = math.prod(shape)
        if name not in self._held or self._held[name].numel() < size:
            self._held[name] = self._like.new_empty(size)
        return self._held[name][:size].view(shape)


@dataclass(frozen=True)
class _Part:
    """Some key heads of one sample and the query heads that read them."""

    sample: int
    groups: slice
    query_heads: slice
    rows: _Positions
    keys: _Positions
    query: Tensor
    """`[n*r, S, d]`, as it came."""
    key: Tensor
    """`[n, K, d]`: the keys that exist, in the type of the arithmetic."""
    weights: Tensor
    """`[R]`, of the rows."""
    rule: Rule
    tiles: _Tiles
    size: int
    """Rows of a block."""

    @property
    def heads(self) -> int:
        return len(self.query)

    def blocks(self) -> Iterator[_Block]:
        for start in range(0, len(self.rows.at), self.size):
            yield self._block(slice(start, min(start + self.size, len(self.rows.at))))

    def _block(self, which: slice) -> _Block:
        rows = self.rows.some(which)
        keys = self._seen(rows.at)
        shape = self.heads, len(rows.at), keys.stop - keys.start
        query = self.tiles("query", *shape[:2], self.key.shape[2])
        query = query.copy_(self.query[:, rows.index]).mul_(self.rule.scaling).view(len(self.key), -1, query.shape[2])
        scores = self.tiles("logits" if self.rule.softcap is None else "tanh", *shape)
        torch.bmm(query, self.key[:, keys].mT, out=scores.view(len(self.key), -1, shape[2]))
        logits, tanh = scores, None
        if self.rule.softcap is not None:
            tanh = scores.div_(self.rule.softcap).tanh_()
            logits = torch.mul(tanh, self.rule.softcap, out=self.tiles("logits", *shape))
        self._hide(logits, rows.at, keys)
        a = torch.softmax(logits, dim=-1, out=self.tiles("map", *shape))
        weights = self.weights[which].expand(self.heads, 1, -1)
        return _Block(rows.index, keys, query, weights, a, logits, tanh)

    def _seen(self, rows: list[int]) -> slice:
        """The keys that at least one of the rows sees."""
        if not self.rule.is_causal:
            return slice(0, len(self.keys.at))
        window = self.rule.window
        first = 0 if window is None else bisect_right(self.keys.at, rows[0] - window)
        return slice(first, bisect_right(self.keys.at, rows[-1]))

    def _hide(self, logits: Tensor, rows: list[int], keys: slice) -> None:
        """Minus infinity where a row does not see a key: only near the diagonal and the far end of the window."""
        if not self.rule.is_causal:
            return
        at = torch.tensor(self.keys.at[keys], device=logits.device)
        row = torch.tensor(rows, device=logits.device).unsqueeze(1)
        after = bisect_right(self.keys.at, rows[0]) - keys.start
        logits[:, :, after:].masked_fill_(at[after:] > row, -torch.inf)
        if self.rule.window is not None:
            before = bisect_right(self.keys.at, rows[-1] - self.rule.window) - keys.start
            logits[:, :, :before].masked_fill_(at[:before] <= row - self.rule.window, -torch.inf)


def _parts(
    query: Tensor, key: Tensor, weights: Tensor, key_mask: Tensor | None, rule: Rule
) -> Iterator[_Part]:
    """All parts in which something counts."""
    share = query.shape[1] // key.shape[1]
    counted = counted_rows(weights, key_mask, rule)
    existing = torch.ones_like(counted) if key_mask is None else key_mask
    tiles = _Tiles(weights)
    for sample in range(len(query)):
        rows, keys = _Positions.of(counted[sample]), _Positions.of(existing[sample])
        if not rows.at:
            continue
        size = max(1, min(ROWS, TILE // (share * len(keys.at)), math.ceil(len(rows.at) / 8)))
        at_once = max(1, TILE // (share * size * len(keys.at)))
        for first in range(0, key.shape[1], at_once):
            groups = slice(first, min(first + at_once, key.shape[1]))
            heads = slice(groups.start * share, groups.stop * share)
            yield _Part(
                sample,
                groups,
                heads,
                rows,
                keys,
                query[sample, heads].detach(),
                key[sample, groups].detach()[:, keys.index].to(weights.dtype).contiguous(),
                weights[sample][rows.index],
                rule,
                tiles,
                size,
            )
