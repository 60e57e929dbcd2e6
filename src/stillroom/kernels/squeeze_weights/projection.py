"""Output slices as narrow as a group of heads: where only inner products count, D columns say no more than k*e.

A teacher does not change: `narrow_projection` once, `squeeze_weights` every step, and no step pays for its width.
"""

import torch
from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.kernels._head_groups import Groups, check_groups


@torch.no_grad()
def narrow_projection(out_proj: Tensor, groups: Groups) -> Tensor:
    """`[H,e,D]` to `[H,e,r]` that gives the same merge weights of these groups, float32 or better.

    r is at most k*e, for k heads in the longest group. Heads in no group are zero. Raises `BadInput` where a group
    names a head that does not exist, or two of them the same head: slices are narrowed together with their group.
    """
    check_groups(groups, len(out_proj))
    named = [head for group in groups for head in group]
    if len(set(named)) < len(named):
        raise BadInput(f"expected every head in at most one group, got {[list(group) for group in groups]}.")
    out_proj = out_proj.to(torch.promote_types(out_proj.dtype, torch.float32))
    width = min(out_proj.shape[2], max(map(len, groups), default=0) * out_proj.shape[1])
    narrow = out_proj.new_zeros(*out_proj.shape[:2], width)
    for group in groups:
        slices = narrowed(out_proj[list(group)])
        narrow[list(group), :, : slices.shape[2]] = slices
    return narrow


def narrowed(slices: Tensor) -> Tensor:
    """`[...,k,e,D]` to `[...,k,e,r]` with the inner products of all k*e rows kept: r is D or k*e."""
    rows = slices.flatten(-3, -2)
    if rows.shape[-2] < rows.shape[-1]:
        rows = torch.linalg.qr(rows.mT, mode="r").R.mT
    return rows.unflatten(-2, slices.shape[-3:-1])
