"""Groups of positions that a warping path puts side by side, and averages over them.

A group is the positions of the student that meet one position of the teacher; those that meet the next one as well are
one group with it. On the teacher's side stands, averaged over the group, the average of all that each of them meets.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Groups:
    """R groups of the samples of one batch; `path [B,S',T']` over packed positions."""

    path: Tensor
    kept: Tensor
    """`[B,T']` bool: positions of the teacher that stand for a group, R of them."""
    weights: Tensor
    """`[R]` float32: how many positions of the student a group stands for, each divided among its groups."""

    def average(self, states: Tensor) -> Tensor:
        """`[R,d]` from the student's packed states `[B,S',d]`, in their type; the mean is taken in float32 at least."""
        return _mean(self.path.mT, states)[self.kept].to(states.dtype)

    def average_teacher(self, states: Tensor) -> Tensor:
        """`[R,D]` from the teacher's packed states `[B,T',D]`."""
        return _mean(self.path.mT, _mean(self.path, states))[self.kept].to(states.dtype)


def grouped(path: Tensor) -> Groups:
    """From the cells `[B,S',T']` of one path for every sample."""
    again = torch.zeros_like(path[:, 0])
    again[:, 1:] = (path[:, :, 1:] == path[:, :, :-1]).all(1)
    kept = path.any(1) & ~again
    groups_of = (path & kept[:, None]).sum(2).clamp(min=1)
    weights = (path / groups_of[:, :, None]).sum(1)[kept]
    return Groups(path, kept, weights)


def _mean(member: Tensor, states: Tensor) -> Tensor:
    """`[B,R,d]` from `member [B,R,n]` bool and `states [B,n,d]`; zero without members."""
    dtype = torch.promote_types(states.dtype, torch.float32)
    with torch.autocast(states.device.type, enabled=False):
        return (member / member.sum(2, keepdim=True).clamp(min=1)).to(dtype) @ states.to(dtype)
