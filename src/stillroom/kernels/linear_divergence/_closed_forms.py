"""Divergences whose value and gradient are cheaper by hand than by autograd.

forward_kl   KL(P||Q) = sum p (log p - log q)      d/dlogits = q - p
reverse_kl   KL(Q||P) = sum q (log q - log p)      d/dlogits = q (log q - log p - KL)
"""

from collections.abc import Callable

import torch
from torch import Tensor

from stillroom.numerics.divergence import forward_kl, reverse_kl

ClosedForm = Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor | None]]
"""`(log_p [n,V], log_q [n,V], spare [n,V], with_gradient)` to values `[n]` and their gradient `[n,V]` with
respect to the student's logits. All three matrices are used up; the gradient lies in one of them."""


def _forward_kl(
    log_p: Tensor, log_q: Tensor, spare: Tensor, with_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    p = torch.exp(log_p, out=spare)
    parts = log_p.sub_(log_q).mul_(p)
    return _sum(parts, p), log_q.exp_().sub_(p) if with_gradient else None


def _reverse_kl(
    log_p: Tensor, log_q: Tensor, spare: Tensor, with_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    q = torch.exp(log_q, out=spare)
    parts = log_q.sub_(log_p).mul_(q)
    values = _sum(parts, q)
    return values, parts.addcmul_(q, values.unsqueeze(1), value=-1.0) if with_gradient else None


def _sum(parts: Tensor, probabilities: Tensor) -> Tensor:
    """Sum over the vocabulary, `[n]`; a part of probability zero counts zero, also where it met infinity.

    Masked vocabularies are rare and the search for them costs as much as a softmax, so it waits for a NaN.
    """
    sums = parts.sum(dim=-1)
    if sums.isnan().any():
        sums = parts.masked_fill_(probabilities == 0, 0.0).sum(dim=-1)
    return sums


CLOSED_FORMS: dict[Callable[[Tensor, Tensor], Tensor], ClosedForm] = {
    forward_kl: _forward_kl,
    reverse_kl: _reverse_kl,
}
"""By the function of `stillroom.numerics.divergence` that each one equals."""
