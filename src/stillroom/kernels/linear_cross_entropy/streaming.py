"""Chunks of rows: logits, loss and gradient softmax - onehot, then the next chunk (see `_chunked_head`)."""

import torch
from torch import Tensor

from stillroom.kernels._chunked_head import chunked_head_total
from stillroom.kernels._projection import Projection, Scratch


def streaming(
    student: Projection, targets: Tensor, weights: Tensor | None, memory_budget: int | None
) -> Tensor:
    """Weighted sum over rows of the cross-entropy on `targets [N]`, a scalar."""
    return chunked_head_total(student, CrossEntropyOfRows(targets), weights, memory_budget)


class CrossEntropyOfRows:
    """A `ChunkLoss`: minus the log-probability of each row's target."""

    matrices = 2

    def __init__(self, targets: Tensor) -> None:
        self._targets = targets.unsqueeze(1)

    def __call__(
        self, rows: slice, logits: Tensor, scratch: Scratch, with_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        log_q = scratch.matrix("log_q", len(logits), logits.dtype)
        torch.log_softmax(logits, dim=-1, out=log_q)
        targets = self._targets[rows]
        values = -log_q.gather(1, targets).squeeze(1)
        if not with_gradient:
            return values, None
        minus_one = torch.full_like(targets, -1, dtype=log_q.dtype)
        return values, log_q.exp_().scatter_add_(1, targets, minus_one)
