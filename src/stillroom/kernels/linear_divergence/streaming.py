"""Chunks of rows: logits of both models, divergence and gradient, then the next chunk (see `_chunked_head`).

A gradient g with respect to the student's log-probabilities is g - q sum(g) with respect to its logits. For
the divergences in `CLOSED_FORMS` both are one formula; for all others autograd finds g inside the chunk. Where the
teacher has a vocabulary of its own, its W columns get a scratch of their own.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.kernels._chunked_head import chunked_head_total
from stillroom.kernels._projection import Projection, Scratch
from stillroom.kernels.linear_divergence._closed_forms import CLOSED_FORMS

_BLOCK_BYTES_ON_CPU, _BLOCK_BYTES = 4 * 2**20, 64 * 2**20
"""Size of a matrix that autograd works on: on a CPU it stays in the cache, elsewhere it fills the device."""


def streaming(
    student: Projection,
    teacher: Projection,
    divergence: Callable[[Tensor, Tensor], Tensor],
    weights: Tensor | None,
    memory_budget: int | None,
) -> Tensor:
    """Weighted sum over rows of `divergence(P, Q)`, a scalar; scratch within `memory_budget` bytes."""
    loss = _DivergenceOfRows(teacher.for_chunks(), divergence, len(student.head), student.sum_dtype)
    return chunked_head_total(student, loss, weights, memory_budget)


class _DivergenceOfRows:
    """A `ChunkLoss`: the divergence between the teacher's rows and the student's logits."""

    def __init__(
        self,
        teacher: Projection,
        divergence: Callable[[Tensor, Tensor], Tensor],
        vocab_size: int,
        dtype: torch.dtype,
    ) -> None:
        self._teacher = teacher
        self._divergence = divergence
        self._closed_form = CLOSED_FORMS.get(divergence, self._by_autograd)
        self._dtype = dtype
        columns = len(teacher.head)
        self._own_scratch = None if columns == vocab_size else Scratch(columns, teacher.head.device)
        # scores, log_q and log_p; a scratch of its own holds the teacher's scores too, in half precision twice
        own = 2 if teacher.hidden.dtype == dtype else 3
        self.matrices = 3 if columns == vocab_size else 2 + math.ceil(own * columns / max(1, vocab_size))

    def __call__(
        self, rows: slice, logits: Tensor, scratch: Scratch, with_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        log_q = scratch.matrix("log_q", len(logits), self._dtype)
        torch.log_softmax(logits, dim=-1, out=log_q)
        log_p = self._teacher_log_probabilities(rows, self._own_scratch or scratch)
        spare = scratch.matrix("scores", len(logits), self._dtype)
        return self._closed_form(log_p, log_q, spare, with_gradient)

    def _by_autograd(
        self, log_p: Tensor, log_q: Tensor, spare: Tensor, with_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        """A `ClosedForm` for any divergence, in blocks so small that what autograd keeps is small too."""
        at_once = _BLOCK_BYTES_ON_CPU if log_q.device.type == "cpu" else _BLOCK_BYTES
        size = max(1, at_once // max(1, max(log_p.shape[1], log_q.shape[1]) * log_q.itemsize))
        values = [
            self._block(*block, with_gradient)
            for block in zip(log_p.split(size), log_q.split(size), spare.split(size), strict=True)
        ]
        return torch.cat(values), spare if with_gradient else None

    def _block(self, log_p: Tensor, log_q: Tensor, slope: Tensor, with_gradient: bool) -> Tensor:
        """Values `[n]`; writes the gradient of the logits to `slope`."""
        with torch.set_grad_enabled(with_gradient):
            leaf = log_q.detach().requires_grad_(with_gradient)
            values = self._divergence(log_p, leaf)
        if values.shape != log_q.shape[:1]:
            raise BadInput(
                f"expected a divergence of log-probabilities {list(log_q.shape)} to give one value a row, "
                f"got {list(values.shape)}; sum over the vocabulary, not over rows."
            )
        if with_gradient:
            (g,) = torch.autograd.grad(values, leaf, torch.ones_like(values))
            share = torch.exp(log_q, out=slope).mul_(g.sum(dim=-1, keepdim=True))
            torch.sub(g, share, out=slope)
        return values.detach()

    def _teacher_log_probabilities(self, rows: slice, scratch: Scratch) -> Tensor:
        logits = self._teacher.chunk_logits(rows, scratch)
        if self._teacher.temperature != 1.0:
            logits = logits.div_(self._teacher.temperature)
        log_p = scratch.matrix("log_p", len(logits), logits.dtype)
        torch.log_softmax(logits, dim=-1, out=log_p)
        return log_p.to(self._dtype)
