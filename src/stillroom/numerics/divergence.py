"""Divergences between next-token distributions.

Every function takes `(log_p [...,V], log_q [...,V])`, log-probabilities in float32 or float64 of the teacher
P and of the student Q, and returns `[...]` in nats. A token without probability (-inf) adds nothing, neither
to the value nor to the gradient. A token that the first distribution of a KL has and the second lacks makes
it infinite, as it should. Settings are not checked here: objectives do.

    forward_kl            KL(P||Q)                                        Hinton et al. 2015
    reverse_kl            KL(Q||P)                                        Gu et al. 2024 (MiniLLM)
    jensen_shannon        beta KL(P||M) + (1-beta) KL(Q||M),              Agarwal et al. 2024 (GKD)
                          M = beta P + (1-beta) Q
    skew_kl               KL(P || alpha P + (1-alpha) Q)                  Ko et al. 2024 (DistiLLM)
    skew_reverse_kl       KL(Q || (1-alpha) P + alpha Q)                  Ko et al. 2024 (DistiLLM)
    adaptive_kl           share KL(P||Q) + (1-share) KL(Q||P)             Wu et al. 2025 (AKL)
    total_variation       1/2 sum |P - Q|                                 Wen et al. 2023 (f-DISTILL)
    focal                 TV(P,Q)^gamma KL(P||Q)                          after Lin et al. 2017
    renyi                 log(sum P^alpha Q^(1-alpha)) / (alpha - 1)      Renyi 1961
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

FLOOR = -1e30
"""Stands for the logarithm of zero where -inf would make a NaN; its exponential is exactly zero."""


def forward_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(P||Q): the student covers all that the teacher does."""
    return _kl(log_p, log_q)


def reverse_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(Q||P): the student picks from what the teacher does."""
    return _kl(log_q, log_p)


def jensen_shannon(log_p: Tensor, log_q: Tensor, beta: float = 0.5, normalize: bool = False) -> Tensor:
    """Generalized Jensen-Shannon divergence; `beta`, in [0, 1], is the teacher's share of the mixture.

    The limits at both ends are zero, so `beta` 0 and 1 are defined as forward and reverse KL, as TRL does:
    the scale jumps there. `normalize` divides by beta (1 - beta), and both ends are reached smoothly.
    """
    if beta == 0:
        return forward_kl(log_p, log_q)
    if beta == 1:
        return reverse_kl(log_p, log_q)
    log_m = _mixture(log_p, log_q, beta)
    value = beta * _kl(log_p, log_m) + (1 - beta) * _kl(log_q, log_m)
    return value / (beta * (1 - beta)) if normalize else value


def skew_kl(log_p: Tensor, log_q: Tensor, alpha: float = 0.1) -> Tensor:
    """KL(P || alpha P + (1-alpha) Q), at most -log(alpha); `alpha` 0 is forward KL."""
    return _kl(log_p, _mixture(log_p, log_q, alpha))


def skew_reverse_kl(log_p: Tensor, log_q: Tensor, alpha: float = 0.1, detach_mixture: bool = False) -> Tensor:
    """KL(Q || (1-alpha) P + alpha Q), at most -log(alpha); `alpha` 0 is reverse KL.

    `detach_mixture` stops the gradient through the Q inside the mixture, as the code of DistiLLM-2 does.
    """
    inner = log_q.detach() if detach_mixture else log_q
    return _kl(log_q, _mixture(log_p, inner, 1 - alpha))


def adaptive_kl(
    log_p: Tensor, log_q: Tensor, mu: float = 0.5, head: Literal["paper", "code"] = "paper"
) -> Tensor:
    """Forward KL where the teacher's likely tokens differ most, reverse KL where the rest does.

    The head is the set of likeliest teacher tokens that first reaches the probability `mu`; its share of
    sum |P - Q|, without gradient, weighs forward KL. `head="code"` leaves the token that crosses `mu` in the
    tail (unless it is the likeliest), as the authors' program does.
    """
    in_head, in_tail = _head_share(log_p.detach(), log_q.detach(), mu, head)
    return in_head * forward_kl(log_p, log_q) + in_tail * reverse_kl(log_p, log_q)


def total_variation(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Half the sum of absolute differences, in [0, 1]. Its gradient does not shrink as Q approaches P."""
    return (log_p.exp() - log_q.exp()).abs().sum(-1) / 2


def focal(
    log_p: Tensor, log_q: Tensor, gamma: float = 2.0, weighting: Literal["tvd", "per_class"] = "tvd"
) -> Tensor:
    """Forward KL with more weight where the models differ; `gamma` 0 is forward KL.

    Weights carry no gradient. "tvd": each position weighs TV(P,Q)^gamma. "per_class": each token weighs
    |P-Q|^gamma, and its part of the KL is completed to P log(P/Q) - P + Q, which is never negative and sums
    to the same KL.
    """
    if weighting == "tvd":
        weights = total_variation(log_p.detach(), log_q.detach()).pow(gamma)
        return weights * forward_kl(log_p, log_q)
    p, q = log_p.exp(), log_q.exp()
    parts = p * _log_ratio(log_p, log_q) - p + q
    return ((p - q).abs().detach().pow(gamma) * parts).sum(-1)


def renyi(log_p: Tensor, log_q: Tensor, alpha: float = 0.5) -> Tensor:
    """Renyi divergence of order `alpha` in (0, 1).

    Towards 1 it becomes forward KL; divided by `alpha`, towards 0, reverse KL.
    """
    return (alpha * log_p + (1 - alpha) * log_q).logsumexp(-1) / (alpha - 1)


DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "jensen_shannon": jensen_shannon,
    "skew_kl": skew_kl,
    "skew_reverse_kl": skew_reverse_kl,
    "adaptive_kl": adaptive_kl,
    "total_variation": total_variation,
    "focal": focal,
    "renyi": renyi,
}
"""Catalog names with default settings."""


def _kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    return (log_a.exp() * _log_ratio(log_a, log_b)).sum(-1)


def _log_ratio(log_a: Tensor, log_b: Tensor) -> Tensor:
    """log(A/B), zero where A is zero: those tokens are multiplied by A afterwards, and 0 * inf is NaN."""
    return torch.where(log_a > -math.inf, log_a - log_b, 0.0)


def _mixture(log_p: Tensor, log_q: Tensor, share: float) -> Tensor:
    """log(share P + (1-share) Q); the floor keeps the gradient of logaddexp finite where both are zero."""
    log_share, log_rest = (math.log(part) if part > 0 else -math.inf for part in (share, 1 - share))
    return torch.logaddexp((log_p + log_share).clamp(min=FLOOR), (log_q + log_rest).clamp(min=FLOOR))


def _head_share(log_p: Tensor, log_q: Tensor, mu: float, head: str) -> tuple[Tensor, Tensor]:
    """Shares of head and tail in sum |P - Q|, each `[...]`; both zero where P equals Q."""
    sorted_p, order = log_p.exp().sort(dim=-1, descending=True, stable=True)
    gap = (sorted_p - log_q.exp().gather(-1, order)).abs()
    reached = sorted_p.cumsum(-1)
    before = torch.cat([torch.zeros_like(reached[..., :1]), reached[..., :-1]], dim=-1)
    inside = before < mu if head == "paper" else (reached <= mu) | (before == 0)
    total = gap.sum(-1)
    in_head = torch.where(inside, gap, 0.0).sum(-1) / total.clamp(min=1e-8)
    in_tail = torch.where(inside, 0.0, gap).sum(-1) / total.clamp(min=1e-8)
    return in_head, in_tail
