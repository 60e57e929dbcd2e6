"""The door: checks what comes in and picks an engine.

    sum_n weights[n] * divergence(P_n, Q_n)     over k + 1 outcomes: each of k tokens, and "any other token"

Both distributions sum to one, because nothing is renormalized: merging outcomes only makes an f-divergence smaller
(data processing), while renormalizing the k tokens would compare two distributions that neither model has.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.core.signals import TopTokenProbs
from stillroom.kernels._projection import Transform, projection
from stillroom.kernels.linear_top_divergence.plain import plain
from stillroom.kernels.linear_top_divergence.streaming import streaming

Divergence = Callable[[Tensor, Tensor], Tensor]
"""`(log_p [n,k+1], log_q [n,k+1]) -> [n]`, differentiable in log_q; the last outcome is "any other token"."""


def linear_top_divergence(
    hidden: Tensor,
    head: Tensor,
    teacher: TopTokenProbs,
    *,
    divergence: Divergence,
    temperature: float = 1.0,
    weights: Tensor | None = None,
    transform: Transform | None = None,
    memory_budget: int | None = None,
    impl: Literal["auto", "plain", "streaming"] = "auto",
) -> Tensor:
    """Weighted sum over rows of the divergence between teacher P and student Q, in nats; a float32 scalar.

    `hidden [N,d]`, `head [V,d]`; `teacher` holds ids `[N,k]` without repetition, log-probabilities `[N,k]` and the tail
    `[N]`, at the same `temperature`. `weights [N]`; `transform` turns scores to logits; `memory_budget` bounds the
    scratch memory of "streaming" in bytes; "auto" is "streaming".

    Gradients flow to hidden states, head and bias, once: a second derivative needs "plain". Rows of weight zero
    contribute nothing, whatever they hold. Raises `BadInput` where shapes or settings do not fit.
    """
    student = projection("student", hidden, head, transform, weights, temperature)
    _check(teacher, len(hidden), len(head))
    log_p = torch.cat([teacher.log_probs, teacher.log_tail[:, None]], dim=1).detach().to(student.sum_dtype)
    ids = teacher.ids.long()
    if weights is not None:
        used = (weights != 0).unsqueeze(1)
        log_p, ids = (
            torch.where(used, log_p, 0.0),
            torch.where(used, ids, torch.arange(ids.shape[1], device=ids.device)),
        )
        weights = weights.detach().to(student.sum_dtype)
    if impl == "plain":
        return plain(student, ids, log_p, divergence, weights)
    if impl in ("auto", "streaming"):
        return streaming(student, ids, log_p, divergence, weights, memory_budget)
    raise BadInput(f'expected impl to be "auto", "plain" or "streaming", got {impl!r}.')


def _check(teacher: TopTokenProbs, rows: int, vocab_size: int) -> None:
    found = [list(each.shape) for each in (teacher.ids, teacher.log_probs, teacher.log_tail)]
    k = found[0][-1] if found[0] else 0
    if found != [[rows, k], [rows, k], [rows]]:
        raise BadInput(
            f"expected ids [N,k], log-probabilities [N,k] and a tail [N] for the student's {rows} rows, got {found}."
        )
    if not 1 <= k < vocab_size:
        raise BadInput(
            f"expected from 1 to {vocab_size - 1} tokens of a vocabulary of {vocab_size}, got {k}; at least one "
            "must be left for all others."
        )
