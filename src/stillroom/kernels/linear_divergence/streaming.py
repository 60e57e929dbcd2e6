"""Chunks of rows: logits of both models, divergence and gradient, then the next chunk (see `_chunked_head`).

A gradient g with respect to the student's log-probabilities is g - q sum(g) with respect to its logits. For
the divergences in `CLOSED_FORMS` both are one formula; for all others autograd finds g inside the chunk.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.kernels._chunked_head import chunked_head_total
from stillroom.kernels._projection import Projection, Scratch
from stillroom.kernels.linear_divergence._closed_forms import CLOSED_FORMS


def streaming(
    student: Projection,
    teacher: Projection,
    divergence: Callable[[Tensor, Tensor], Tensor],
    weights: Tensor | None,
    memory_budget: int | None,
) -> Tensor:
    """Weighted sum over rows of `divergence(P, Q)`, a scalar; scratch within `memory_budget` bytes."""
    loss = _DivergenceOfRows(teacher.for_chunks(), divergence, student.sum_dtype)
    return chunked_head_total(student, loss, weights, memory_budget)


class _DivergenceOfRows:
    """A `ChunkLoss`: the divergence between the teacher's rows and the student's logits."""

    def __init__(
        self, teacher: Projection, divergence: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype
    ) -> None:
        self._teacher = teacher
        self._divergence = divergence
        self._closed_form = CLOSED_FORMS.get(divergence)
        self._dtype = dtype
        # What autograd keeps for the hungrier divergences was counted, not derived.
        self.matrices = 3 if self._closed_form is not None else 10

    def __call__(
        self, rows: slice, logits: Tensor, scratch: Scratch, with_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        log_q = scratch.matrix("log_q", len(logits), self._dtype)
        torch.log_softmax(logits, dim=-1, out=log_q)
        log_p = self._teacher_log_probabilities(rows, scratch)
        spare = scratch.matrix("scores", len(logits), self._dtype)
        if self._closed_form is not None:
            return self._closed_form(log_p, log_q, spare, with_gradient)
        if not with_gradient:
            return self._checked(self._divergence(log_p, log_q), len(logits)), None
        with torch.enable_grad():
            leaf = log_q.detach().requires_grad_()
            values = self._checked(self._divergence(log_p, leaf), len(logits))
        (slope,) = torch.autograd.grad(values, leaf, torch.ones_like(values))
        share = torch.exp(log_q, out=spare).mul_(slope.sum(dim=-1, keepdim=True))
        return values.detach(), torch.sub(slope, share, out=share)

    def _teacher_log_probabilities(self, rows: slice, scratch: Scratch) -> Tensor:
        logits = self._teacher.scores(rows, scratch)
        if not self._teacher.is_plain_product:
            logits = self._teacher.transform(logits)
        if self._teacher.temperature != 1.0:
            logits = logits.div_(self._teacher.temperature)
        log_p = scratch.matrix("log_p", len(logits), logits.dtype)
        torch.log_softmax(logits, dim=-1, out=log_p)
        return log_p.to(self._dtype)

    @staticmethod
    def _checked(values: Tensor, count: int) -> Tensor:
        if values.shape != (count,):
            raise BadInput(
                f"expected a divergence of log-probabilities [{count},V] to give one value a row, [{count}], "
                f"got {list(values.shape)}; sum over the vocabulary, not over rows."
            )
        return values
