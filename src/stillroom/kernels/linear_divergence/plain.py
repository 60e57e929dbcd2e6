"""The definition: both logits in full, ordinary PyTorch."""

from collections.abc import Callable

import torch
from torch import Tensor

from stillroom.kernels._projection import Projection


def plain(
    student: Projection,
    teacher: Projection,
    divergence: Callable[[Tensor, Tensor], Tensor],
    weights: Tensor | None,
) -> Tensor:
    """Weighted sum over rows of `divergence(P, Q)`, a scalar."""
    with torch.no_grad():
        log_p = teacher.logits().log_softmax(dim=-1).to(student.sum_dtype)
    log_q = student.logits().log_softmax(dim=-1)
    values = divergence(log_p, log_q)
    return values.sum() if weights is None else (weights * values).sum()
