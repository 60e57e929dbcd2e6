"""The map in blocks: some rows of some heads at a time, with all the keys that they see.

Only what counts enters a block: rows that nothing asks for and keys that do not exist are left out by position, so
padding costs nothing and may hold anything. Blocks stop at the diagonal and at the far end of the window.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from stillroom.kernels._attention_rule import Rule

ROWS, SMALLEST = 128, 32
"""Rows of a block: at most, and the fewest that are still worth a block where a sample is cut into eight."""
TILE = 2**19
"""Numbers in a block, for all heads worked on together: enough for several threads, not more than caches hold."""


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
class Place:
    """Where a part lies: heads of some samples that have their rows and keys at the same positions.

    Letters: s samples, n key heads of all of them together, r query heads to each, R rows, K keys.
    """

    samples: slice
    groups: slice
    query_heads: slice
    rows: Positions
    keys: Positions

    def rows_of(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """Of `[B,H,S,x]` the rows, `[n*r, R, x]`."""
        return tensor[self.samples, self.query_heads][:, :, self.rows.index].to(dtype).flatten(0, 1)

    def keys_of(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """Of `[B,G,S,x]` the keys, `[n, K, x]`."""
        return tensor[self.samples, self.groups][:, :, self.keys.index].to(dtype).flatten(0, 1)

    def received_of(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """Of `[B,H,S]` what belongs to the keys, `[n*r, K]`."""
        return tensor[self.samples, self.query_heads][:, :, self.keys.index].to(dtype).flatten(0, 1)

    def put_rows(self, tensor: Tensor, rows: Tensor) -> None:
        """Write `[n*r, R, x]` into `[B,H,S,x]`."""
        self._put(tensor, rows, self.query_heads, self.rows)

    def put_keys(self, tensor: Tensor, keys: Tensor) -> None:
        """Write `[n, K, x]` into `[B,G,S,x]`."""
        self._put(tensor, keys, self.groups, self.keys)

    def put_received(self, tensor: Tensor, received: Tensor) -> None:
        """Write `[n*r, K]` into `[B,H,S]`."""
        self._put(tensor, received, self.query_heads, self.keys)

    def _put(self, tensor: Tensor, part: Tensor, heads: slice, at: Positions) -> None:
        split = part.unflatten(0, (-1, heads.stop - heads.start))
        tensor[self.samples, heads, at.index] = split.to(tensor.dtype)


@dataclass(frozen=True)
class Part:
    """What counts at a place, ready for arithmetic."""

    place: Place
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
        for start in range(0, len(self.place.rows.at), self.size):
            yield self._block(slice(start, min(start + self.size, len(self.place.rows.at))))

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
            return slice(0, len(self.place.keys.at))
        at, window = self.place.rows.at[rows], self.rule.window
        first = 0 if window is None else bisect_right(self.place.keys.at, at[0] - window)
        return slice(first, bisect_right(self.place.keys.at, at[-1]))

    def _hide(self, logits: Tensor, rows: slice, keys: slice) -> None:
        """Minus infinity where a row does not see a key: only near the diagonal and the far end of the window."""
        if not self.rule.is_causal:
            return
        row = self.place.rows.tensor[rows].unsqueeze(1)
        after = bisect_right(self.place.keys.at, self.place.rows.at[rows.start])
        future = self.place.keys.tensor[after : keys.stop] > row
        logits[:, :, after - keys.start :] += _minus_infinity(future, logits.dtype)
        if self.rule.window is not None:
            before = bisect_right(self.place.keys.at, self.place.rows.at[rows.stop - 1] - self.rule.window)
            past = self.place.keys.tensor[keys.start : before] <= row - self.rule.window
            logits[:, :, : before - keys.start] += _minus_infinity(past, logits.dtype)


def _minus_infinity(where: Tensor, dtype: torch.dtype) -> Tensor:
    """To be added: that is several times faster than filling under a broadcast mask."""
    return torch.zeros_like(where, dtype=dtype).masked_fill_(where, -torch.inf)


def parts(
    query: Tensor, key: Tensor, weights: Tensor, rows: Tensor, keys: Tensor, rule: Rule
) -> Iterator[Part]:
    """Everything that counts, as many heads at a time as fit into a tile.

    `query [B,H,S,d]`, `key [B,G,S,d]`, `weights [B,S]` in the type of the arithmetic, `rows [B,S]` and `keys [B,S]`
    bool: which of them count. Every row must see a key.
    """
    query, key, tiles, dtype = query.detach(), key.detach(), Tiles(weights), weights.dtype
    share = query.shape[1] // key.shape[1]
    for samples in _alike(rows, keys):
        row, col = Positions.of(rows[samples.start]), Positions.of(keys[samples.start])
        if not row.at:
            continue
        wanted = min(ROWS, max(SMALLEST, math.ceil(len(row.at) / 8)))
        size = max(1, min(wanted, TILE // (share * len(col.at))))
        at_once = max(1, TILE // (share * size * len(col.at)))
        for some, groups in _portions(samples, key.shape[1], at_once):
            place = Place(some, groups, slice(groups.start * share, groups.stop * share), row, col)
            heads = share * (groups.stop - groups.start)
            yield Part(
                place,
                place.rows_of(query, dtype),
                place.keys_of(key, dtype) * rule.scaling,
                weights[some, row.index].repeat_interleave(heads, dim=0).unsqueeze(1),
                rule,
                tiles,
                size,
            )


def _alike(rows: Tensor, keys: Tensor) -> Iterator[slice]:
    """Runs of samples whose rows and keys lie at the same positions: without padding, the whole batch."""
    both = torch.cat([rows, keys], dim=1)
    differs = (both[1:] != both[:-1]).any(dim=1).nonzero().squeeze(1) + 1
    edges = [0, *differs.tolist(), len(both)]
    return (slice(start, stop) for start, stop in pairwise(edges) if start < stop)


def _portions(samples: slice, groups: int, at_once: int) -> Iterator[tuple[slice, slice]]:
    """At most `at_once` key heads at a time: all those of some samples, or some of those of one."""
    several = max(1, at_once // groups)
    for first in range(samples.start, samples.stop, several):
        some = slice(first, min(first + several, samples.stop))
        for start in range(0, groups, at_once):
            yield some, slice(start, min(start + at_once, groups))
