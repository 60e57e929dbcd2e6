"""The two divergences of a block of rows, with their slopes at the student's logits, by hand.

kl    sum_j M_ij log(M_ij / A_ij)         d/dlogits = A - M
mse   sum_j (A_ij - M_ij)^2 / keys        d/dlogits = A (D - sum_j A_ij D_ij),   D = 2 (A - M) / keys

A student's probability may be too small for a float where its logit is not: KL reads logits.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from stillroom.kernels._attention_blocks import Block

ClosedForm = Callable[[Block, Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""`(student's block, merged [n,m,k], spare [n,m,k], keys of the sample)` to values `[n,m]` and slopes `[n,m,k]`.
All matrices are used up; the slopes lie in one of them."""

FLOOR = -1e30
"""Stands for minus infinity where it is multiplied by zero."""


def _kl(block: Block, merged: Tensor, spare: Tensor, keys: int) -> tuple[Tensor, Tensor]:
    top, largest = block.logits.amax(-1, keepdim=True), block.map.amax(-1)
    values = torch.special.xlogy(merged, merged, out=spare).sum(-1)
    # log A = logit - top + log(largest A): from the top down, so that large logits do not cancel
    below = block.logits.sub_(top).clamp_(min=FLOOR)
    values.sub_(torch.mul(below, merged, out=spare).sum(-1)).sub_(largest.log())
    return values, block.map.sub_(merged)


def _mse(block: Block, merged: Tensor, spare: Tensor, keys: int) -> tuple[Tensor, Tensor]:
    gap = torch.sub(block.map, merged, out=merged)
    values = torch.mul(gap, gap, out=spare).sum(-1) / keys
    means = torch.mul(gap, block.map, out=spare).sum(-1, keepdim=True)
    return values, gap.sub_(means).mul_(block.map).mul_(2 / keys)


CLOSED_FORMS: dict[str, ClosedForm] = {"kl": _kl, "mse": _mse}
