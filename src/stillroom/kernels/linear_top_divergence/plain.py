"""The definition: the student's logits in full, ordinary PyTorch."""

from collections.abc import Callable

import torch
from torch import Tensor

from stillroom.kernels._projection import Projection


def plain(
    student: Projection,
    ids: Tensor,
    log_p: Tensor,
    divergence: Callable[[Tensor, Tensor], Tensor],
    weights: Tensor | None,
) -> Tensor:
    """Weighted sum over rows of `divergence(P, Q)` over the tokens `ids [N,k]` and all others, a scalar."""
    values = divergence(log_p, outcomes(student.logits(), ids))
    return values.sum() if weights is None else (weights * values).sum()


def outcomes(logits: Tensor, ids: Tensor) -> Tensor:
    """Log-probabilities `[n,k+1]` of the tokens `ids [n,k]` and of all others together, from logits `[n,V]`.

    The others are summed, not taken as one minus the rest, whose digits would be gone.
    """
    log_q = logits.log_softmax(dim=-1)
    others = log_q.scatter(1, ids, -torch.inf).logsumexp(dim=-1, keepdim=True)
    return torch.cat([log_q.gather(1, ids), others], dim=1)
