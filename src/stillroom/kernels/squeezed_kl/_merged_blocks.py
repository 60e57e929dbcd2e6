"""Blocks of the student's maps, each with the same rows and keys of the teacher's merged maps.

The teacher's heads are taken slot by slot: the first head of every group, the second of those that have one, and so
on. Only one slot's rows exist at a time beside the sum.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stillroom.kernels._attention_blocks import Block, Part, Tiles
from stillroom.kernels.squeezed_kl._teacher import MergedTeacher


@dataclass(frozen=True)
class _Slot:
    """One head of every group that is long enough."""

    part: Part
    """The teacher's heads; the weights of its rows are their shares."""
    where: Tensor | None
    """Which heads of the student's part they belong to; None: to all of them, in order."""

    def add(self, block: Block, merged: Tensor) -> None:
        """Add a share of the block to `merged [n*r, m, k]`."""
        if self.where is None:
            merged.addcmul_(block.map, block.weights.mT)
        else:
            merged.index_add_(0, self.where, block.map.mul_(block.weights.mT))


def merged_blocks(part: Part, teacher: MergedTeacher, tiles: Tiles) -> Iterator[tuple[Block, Tensor]]:
    """Every block of the student's part and `merged [n*r, m, k]`; the next one overwrites the tensors of the last."""
    longest = max(map(len, teacher.groups[part.place.query_heads]))
    slots = [_slot(part, teacher, number, tiles) for number in range(longest)]
    walks = [slot.part.blocks() for slot in slots]
    for block in part.blocks():
        merged = tiles("merged", *block.map.shape)
        for slot, walk in zip(slots, walks, strict=True):
            rows = next(walk)
            if slot is slots[0]:  # every group has a first head
                torch.mul(rows.map, rows.weights.mT, out=merged)
            else:
                slot.add(rows, merged)
        yield block, merged


def _slot(part: Part, teacher: MergedTeacher, number: int, tiles: Tiles) -> _Slot:
    place, dtype = part.place, part.query.dtype
    heads = range(place.query_heads.start, place.query_heads.stop)
    having = [head for head in heads if number < len(teacher.groups[head])]
    chosen = [teacher.groups[head][number] for head in having]
    query = teacher.query[place.samples, chosen][:, :, place.rows.index]
    key = teacher.key[place.samples, [teacher.key_head(head) for head in chosen]][:, :, place.keys.index]
    shares = teacher.mix[place.samples, having, number].flatten()
    part = Part(
        place,
        query.to(dtype).flatten(0, 1),
        key.to(dtype).flatten(0, 1) * teacher.rule.scaling,
        shares[:, None, None].expand(-1, 1, len(place.rows.at)),
        teacher.rule,
        tiles,
        part.size,
    )
    return _Slot(
        part, None if len(having) == len(heads) else _where(having, heads, len(query), shares.device)
    )


def _where(having: list[int], heads: range, samples: int, device: torch.device) -> Tensor:
    """Numbers of the heads `having` among those of all samples of a part."""
    numbers = torch.tensor(having, device=device) - heads.start
    return (torch.arange(samples, device=device)[:, None] * len(heads) + numbers).flatten()
