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
    values = _expectation(p, log_p.sub_(log_q))
    return values, log_q.exp_().sub_(p) if with_gradient else None


def _reverse_kl(
    log_p: Tensor, log_q: Tensor, spare: Tensor, with_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    ratio = torch.sub(log_q, log_p, out=log_p)
    q = torch.exp(log_q, out=spare)
    values = _expectation(q, ratio)
    return values, ratio.sub_(values.unsqueeze(1)).mul_(q) if with_gradient else None


def _expectation(probabilities: Tensor, values: Tensor) -> Tensor:
    """Sum over the vocabulary of `probabilities * values`, `[n]`, where 0 * inf is 0; may write to `values`.

    Masked vocabularies are rare and the search for them costs as much as a softmax, so it waits for a NaN.
    """
    sums = torch.linalg.vecdot(probabilities, values)
    if sums.isnan().any():
        sums = torch.linalg.vecdot(probabilities, values.masked_fill_(probabilities == 0, 0.0))
    return sums


CLOSED_FORMS: dict[Callable[[Tensor, Tensor], Tensor], ClosedForm] = {
    forward_kl: _forward_kl,
    reverse_kl: _reverse_kl,
}
"""By the function of `stillroom.numerics.divergence` that each one equals."""
