"""The teacher's side of the comparison: several heads and their shares to each head of the student."""

from dataclasses import dataclass

import torch
from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.kernels._attention_rule import Rule
from stillroom.kernels._head_groups import Groups, check_groups


@dataclass(frozen=True)
class MergedTeacher:
    """`M_h = sum_m mix[b,h,m] A_groups[h][m]`; nothing here has a gradient."""

    query: Tensor
    """`[B,Ht,S,dt]`"""
    key: Tensor
    """`[B,Gt,S,dt]`"""
    mix: Tensor
    """`[B,H,k]`, in the type of the arithmetic."""
    groups: Groups
    """Head by head of the student, the teacher's heads that are merged for it."""
    rule: Rule

    def key_head(self, head: int) -> int:
        """The key head that a query head reads."""
        return head // (self.query.shape[1] // self.key.shape[1])


def check_teacher_groups(groups: Groups, student_heads: int, teacher_heads: int) -> None:
    """One group of different existing teacher heads to each head of the student."""
    if len(groups) != student_heads:
        raise BadInput(
            f"expected one group of teacher heads to each of the {student_heads} student heads, "
            f"got {len(groups)} groups."
        )
    check_groups(groups, teacher_heads)


def shares(mix: Tensor, groups: Groups, batch: int, dtype: torch.dtype) -> Tensor:
    """`mix [B,H,k]` checked, cut to the longest group, zero behind each group, and of sum one to the last digit."""
    longest = max(map(len, groups), default=0)
    if mix.dim() != 3 or mix.shape[:2] != (batch, len(groups)) or mix.shape[2] < longest:
        raise BadInput(
            f"expected mix [B,H,k] = [{batch}, {len(groups)}, {longest}], a share for each head of the longest "
            f"group, got {list(mix.shape)}."
        )
    sizes = torch.tensor([len(group) for group in groups], device=mix.device)
    inside = torch.arange(longest, device=mix.device) < sizes[:, None]
    mix = torch.where(inside, mix[:, :, :longest].detach().to(dtype), 0.0)
    sums = mix.sum(dim=2, keepdim=True)
    if not ((mix >= 0) & ((sums - 1).abs() <= 1e-2)).all():  # halves are that inexact; NaN is refused too
        raise BadInput(
            "expected the shares in mix to be at least 0 and to sum to 1 within each group, got sums from "
            f"{sums.min():.3g} to {sums.max():.3g} and a smallest share of {mix.min():.3g}; clamp before merging."
        )
    return mix / sums
