"""The map in blocks: some rows of some heads at a time, with all the keys that they see.

Only what counts enters a block: rows without weight and keys that do not exist are left out by position, so
padding costs nothing and may hold anything. Blocks stop at the diagonal and at the far end of the window.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stillroom.kernels.received_attention._rows import counted_rows
from stillroom.kernels.received_attention._rule import Rule

ROWS, SMALLEST = 64, 16
"""Rows of a block: at most, and the fewest that are still worth a block where a sample is cut into eight."""
TILE = 2**20
"""Numbers in a block, for all heads that are worked on together."""


@dataclass(frozen=True)
class Positions:
    """Chosen positions, ascending, as numbers and as what indexes a tensor."""

    at: list[int]
    tensor: Tensor
    index: slice | Tensor

    @classmethod
    def of(cls, chosen: Tensor) -> "Positions":
        """From `chosen [S]` bool."""
        tensor = chosen.nonzero().squeeze(1)
        at = tensor.tolist()
        is_run = bool(at) and at[-1] - at[0] + 1 == len(at)
        return cls(at, tensor, slice(at[0], at[-1] + 1) if is_run else tensor)


@dataclass(frozen=True)
class Block:
    """Some rows of the maps of a part. Letters: n key heads, r query heads to each, m rows, k keys that they see."""

    rows: slice
    """Which rows of the part."""
    keys: slice
    """Which keys of the part the rows see."""
    weights: Tensor
    """`[n*r, 1, m]`."""
    map: Tensor
    """`[n*r, m, k]`."""
    logits: Tensor
    """Used up: free for what comes next, `[n*r, m, k]`."""
    tanh: Tensor | None
    """Of the scores, where they are soft-capped, `[n*r, m, k]`."""


class Tiles:
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
class Part:
    """Some key heads of one sample, the query heads that read them, and of both only what counts."""

    sample: int
    groups: slice
    query_heads: slice
    rows: Positions
    keys: Positions
    query: Tensor
    """`[n*r, R, d]`, in the type of the arithmetic."""
    key: Tensor
    """`[n, K, d]`, scaled, in the type of the arithmetic."""
    weights: Tensor
    """`[n*r, 1, R]`."""
    rule: Rule
    tiles: Tiles
    size: int
    """Rows of a block."""

    @property
    def heads(self) -> int:
        return len(self.query)

    def folded(self, rows: Tensor) -> Tensor:
        """`[n*r, m, x]` to `[n, r*m, x]`: query heads that share a key head are more rows to it."""
        return rows.reshape(len(self.key), -1, rows.shape[2])

    def blocks(self) -> Iterator[Block]:
        """One after the other; the next one overwrites the tensors of the last."""
        for start in range(0, len(self.rows.at), self.size):
            yield self._block(slice(start, min(start + self.size, len(self.rows.at))))

    def _block(self, rows: slice) -> Block:
        keys, cap = self._seen(rows), self.rule.softcap
        shape = self.heads, rows.stop - rows.start, keys.stop - keys.start
        scores = self.tiles("logits" if cap is None else "tanh", *shape)
        torch.bmm(self.folded(self.query[:, rows]), self.key[:, keys].mT, out=self.folded(scores))
        logits, tanh = scores, None
        if cap is not None:
            tanh = scores.div_(cap).tanh_()
            logits = torch.mul(tanh, cap, out=self.tiles("logits", *shape))
        self._hide(logits, rows, keys)
        attention = torch.softmax(logits, dim=-1, out=self.tiles("map", *shape))
        return Block(rows, keys, self.weights[:, :, rows], attention, logits, tanh)

    def _seen(self, rows: slice) -> slice:
        """The keys that at least one of the rows sees."""
        if not self.rule.is_causal:
            return slice(0, len(self.keys.at))
        at, window = self.rows.at[rows], self.rule.window
        first = 0 if window is None else bisect_right(self.keys.at, at[0] - window)
        return slice(first, bisect_right(self.keys.at, at[-1]))

    def _hide(self, logits: Tensor, rows: slice, keys: slice) -> None:
        """Minus infinity where a row does not see a key: only near the diagonal and the far end of the window."""
        if not self.rule.is_causal:
            return
        row = self.rows.tensor[rows].unsqueeze(1)
        after = bisect_right(self.keys.at, self.rows.at[rows.start])
        future = self.keys.tensor[after : keys.stop] > row
        logits[:, :, after - keys.start :] += _minus_infinity(future, logits.dtype)
        if self.rule.window is not None:
            before = bisect_right(self.keys.at, self.rows.at[rows.stop - 1] - self.rule.window)
            past = self.keys.tensor[keys.start : before] <= row - self.rule.window
            logits[:, :, : before - keys.start] += _minus_infinity(past, logits.dtype)


def _minus_infinity(where: Tensor, dtype: torch.dtype) -> Tensor:
    """To be added: that is several times faster than filling under a broadcast mask."""
    return torch.zeros_like(where, dtype=dtype).masked_fill_(where, -torch.inf)


def parts(query: Tensor, key: Tensor, weights: Tensor, key_mask: Tensor | None, rule: Rule) -> Iterator[Part]:
    """Everything that counts: samples one by one, as many heads at a time as fit into a tile."""
    query, key = query.detach(), key.detach()
    share = query.shape[1] // key.shape[1]
    counted = counted_rows(weights, key_mask, rule)
    existing = torch.ones_like(counted) if key_mask is None else key_mask
    tiles = Tiles(weights)
    for sample in range(len(query)):
        rows, keys = Positions.of(counted[sample]), Positions.of(existing[sample])
        if not rows.at:
            continue
        wanted = min(ROWS, max(SMALLEST, math.ceil(len(rows.at) / 8)))
        size = max(1, min(wanted, TILE // (share * len(keys.at))))
        at_once = max(1, TILE // (share * size * len(keys.at)))
        for first in range(0, key.shape[1], at_once):
            groups = slice(first, min(first + at_once, key.shape[1]))
            heads = slice(groups.start * share, groups.stop * share)
            yield Part(
                sample,
                groups,
                heads,
                rows,
                keys,
                query[sample, heads][:, rows.index].to(weights.dtype),
                key[sample, groups][:, keys.index].to(weights.dtype) * rule.scaling,
                weights[sample, rows.index].expand(heads.stop - heads.start, 1, -1).contiguous(),
                rule,
                tiles,
                size,
            )
