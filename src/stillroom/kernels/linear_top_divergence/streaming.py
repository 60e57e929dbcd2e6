"""Chunks of rows: logits, divergence and gradient, then the next chunk (see `_chunked_head`).

With g the gradient with respect to the k + 1 log-probabilities (by autograd, on `[n,k+1]`), that of the logits is

    g_i - q_v sum(g)                   where v is the i-th of the teacher's tokens
    q_v (g_others / q_others - sum(g)) where it is one of the others
"""

from collections.abc import Callable

import torch
from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.kernels._chunked_head import chunked_head_total
from stillroom.kernels._projection import Projection, Scratch
from stillroom.numerics.divergence import FLOOR


def streaming(
    student: Projection,
    ids: Tensor,
    log_p: Tensor,
    divergence: Callable[[Tensor, Tensor], Tensor],
    weights: Tensor | None,
    memory_budget: int | None,
) -> Tensor:
    """Weighted sum over rows of `divergence(P, Q)`, a scalar; scratch within `memory_budget` bytes."""
    return chunked_head_total(student, _TopDivergenceOfRows(ids, log_p, divergence), weights, memory_budget)


class _TopDivergenceOfRows:
    """A `ChunkLoss`: the divergence over the teacher's tokens and all others."""

    matrices = 3

    def __init__(self, ids: Tensor, log_p: Tensor, divergence: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._ids = ids
        self._log_p = log_p
        self._divergence = divergence

    def __call__(
        self, rows: slice, logits: Tensor, scratch: Scratch, with_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        ids = self._ids[rows]
        log_q = scratch.matrix("log_q", len(logits), logits.dtype)
        torch.log_softmax(logits, dim=-1, out=log_q)
        top = log_q.gather(1, ids)
        others = log_q.scatter_(1, ids, -torch.inf)
        tail = others.logsumexp(dim=1, keepdim=True)
        values, g = self._compare(self._log_p[rows], torch.cat([top, tail], dim=1), with_gradient)
        if not with_gradient:
            return values, None
        whole = g.sum(dim=1, keepdim=True)
        # q_v / q_others from the difference of logarithms: both may be too small for a number of their own
        share = g[:, -1:] - whole * tail.exp()
        # the floor: a student that gives the others nothing has no NaN but zeros there
        slope = others.sub_(tail.clamp(min=FLOOR)).exp_().mul_(share)
        return values, slope.scatter_(1, ids, g[:, :-1] - whole * top.exp())

    def _compare(self, log_p: Tensor, log_q: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor]:
        """Values `[n]` and their gradient `[n,k+1]` with respect to the student's log-probabilities."""
        with torch.set_grad_enabled(with_gradient):
            leaf = log_q.detach().requires_grad_(with_gradient)
            values = self._divergence(log_p, leaf)
        if values.shape != log_q.shape[:1]:
            raise BadInput(
                f"expected a divergence of log-probabilities {list(log_q.shape)} to give one value a row, got "
                f"{list(values.shape)}; sum over the outcomes, not over rows."
            )
        g = torch.autograd.grad(values, leaf, torch.ones_like(values))[0] if with_gradient else leaf
        return values.detach(), g
