"""Groups of one pattern, worked on together: as many heads, which share key heads in the same way.

Heads of a group that read one key head read one set of values: each map is multiplied with it once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stillroom.kernels._head_groups import Groups


@dataclass(frozen=True)
class Bundle:
    """Letters: g groups of k heads, that read n different key heads."""

    at: list[int]
    """Which groups these are, `[g]`."""
    query: list[Tensor]
    """Of the first, second, ... k-th head of each group, `[B,g,S,d]`."""
    key: list[Tensor]
    """What those heads read, `[B,g,S,d]`."""
    value: Tensor
    """Of the n key heads, side by side, `[B,g,S,n*e]`."""
    reads: list[int]
    """Which of the n values each of the k heads reads."""
    out_proj: Tensor
    """`[g,k,e,D]`."""

    @property
    def heads(self) -> int:
        return len(self.reads)


def bundles(query: Tensor, key: Tensor, value: Tensor, out_proj: Tensor, groups: Groups) -> Iterator[Bundle]:
    """All groups of more than one head."""
    share = query.shape[1] // key.shape[1]
    alike: dict[tuple[int, ...], list[int]] = {}
    for number, group in enumerate(groups):
        if len(group) > 1:
            alike.setdefault(_pattern(group, share), []).append(number)
    for pattern, at in alike.items():
        heads = torch.tensor([list(groups[number]) for number in at])
        first = torch.tensor([pattern.index(read) for read in range(max(pattern) + 1)])
        chosen = value[:, heads[:, first].to(value.device) // share]
        heads = heads.to(query.device)
        yield Bundle(
            at,
            [query[:, each] for each in heads.T],
            [key[:, each // share] for each in heads.T],
            chosen.transpose(2, 3).flatten(3),
            list(pattern),
            out_proj[heads],
        )


def _pattern(group: Sequence[int], share: int) -> tuple[int, ...]:
    """Key heads of a group, numbered in the order in which they first appear."""
    numbers: dict[int, int] = {}
    return tuple(numbers.setdefault(head // share, len(numbers)) for head in group)
