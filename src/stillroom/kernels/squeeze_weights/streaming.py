"""Blocks of rows: the maps of a group's heads side by side, their differences at work, and on to the next block.

    (A_a - A_1) X_n = ((A_a - A_1) V_n) W_n,   and only its inner products with others of its kind are wanted

so W_n is replaced by something narrower with the same inner products, and nothing that is wider than the heads of a
group together is ever made. Sums over rows are float64. Memory is that of the queries, keys and values and a few
tiles for each head of a group.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from stillroom.kernels._attention_blocks import Block, Part, Tiles, parts
from stillroom.kernels._attention_rows import counted_rows
from stillroom.kernels._attention_rule import Rule
from stillroom.kernels.squeeze_weights._bundle import Bundle
from stillroom.kernels.squeeze_weights.projection import narrowed


def streaming(
    bundle: Bundle, weights: Tensor, key_mask: Tensor | None, rule: Rule, needs_outputs: bool
) -> Tensor:
    """What `plain` gives, `[B,g,k*k,k*k]`, float64."""
    skipped = 0 if needs_outputs else bundle.heads
    size = bundle.heads**2 - skipped
    total = weights.new_zeros(len(weights), len(bundle.at), size, size, dtype=torch.float64)
    narrow = narrowed(bundle.out_proj.to(weights.dtype))
    for slots in _slots(bundle, weights, key_mask, rule):
        place = slots[0].place
        values = place.keys_of(bundle.value, weights.dtype).contiguous()
        here = total[place.samples, place.groups]
        for blocks in zip(*(slot.blocks() for slot in slots), strict=True):
            sums = _sums(blocks, values, needs_outputs).unflatten(0, here.shape[:2])
            sums = _by_head(sums.unflatten(4, (-1, narrow.shape[2])), bundle.reads)
            outputs = torch.einsum("sgamne,gner->sganmr", sums, narrow[place.groups])
            outputs = outputs.flatten(4).flatten(2, 3).double()
            here += outputs @ outputs.mT
    return torch.nn.functional.pad(total, (skipped, 0, skipped, 0))


def _slots(bundle: Bundle, weights: Tensor, key_mask: Tensor | None, rule: Rule) -> Iterator[list[Part]]:
    """Parts of the first heads of the groups, of the second, ...: the same rows, keys and blocks in each."""
    rows = counted_rows(weights, key_mask, rule)
    keys = torch.ones_like(rows) if key_mask is None else key_mask
    tiles = [Tiles(weights) for _ in bundle.query]
    for first in parts(bundle.query[0], bundle.key[0], weights, rows, keys, rule):
        place, dtype = first.place, weights.dtype
        yield [
            replace(
                first,
                query=place.rows_of(query, dtype),
                key=place.keys_of(key, dtype) * rule.scaling,
                tiles=own,
            )
            for query, key, own in zip(bundle.query, bundle.key, tiles, strict=True)
        ]


def _sums(blocks: tuple[Block, ...], values: Tensor, needs_outputs: bool) -> Tensor:
    """A_1 V, if it is needed, and every (A_a - A_1) V, times the root of the weights of their rows, `[n,a,m,x]`."""
    first, *others = blocks
    values = values[:, first.keys]
    sums = [first.map @ values] if needs_outputs else []
    sums += [block.map.sub_(first.map) @ values for block in others]
    return torch.stack(sums, dim=1).mul_(first.weights.sqrt().unsqueeze(3))


def _by_head(sums: Tensor, reads: list[int]) -> Tensor:
    """Of the sums with each set of values, `[...,n,e]`, the one that each head reads, `[...,k,e]`."""
    return sums if reads == list(range(sums.shape[-2])) else sums[..., reads, :]
