"""Adaptive KL between next-token distributions (AKL).

    g_head / (g_head + g_tail) KL(P||Q) + g_tail / (g_head + g_tail) KL(Q||P)

Per position: the head is the set of likeliest teacher tokens that first reaches the probability `mu`, the
tail is the rest, g = sum |P - Q| over each. The two shares carry no gradient.

Paper:    Wu et al. (2025), Rethinking Kullback-Leibler Divergence in Knowledge Distillation for LLMs
Differs:  `head="code"` follows the authors' program, where the token that crosses `mu` falls into the tail
Cost:     sorts the vocabulary at every position
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from stillroom.numerics import divergence
from stillroom.objectives._settings import check_choice, check_number
from stillroom.objectives.logits._family import LogitObjective


@dataclass(eq=False, kw_only=True)
class AdaptiveKL(LogitObjective):
    """Forward and reverse KL, mixed by where the models differ."""

    allows_top_k: ClassVar[bool] = False

    mu: float = 0.5
    """Teacher probability that the head must reach, in (0, 1)."""
    head: Literal["paper", "code"] = "paper"
    """Whether the token that crosses `mu` belongs to the head ("paper") or to the tail ("code")."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("mu", self.mu, "(0, 1)")
        check_choice("head", self.head, ("paper", "code"))

    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return divergence.adaptive_kl(log_p, log_q, self.mu, self.head)
