"""Skew reverse KL between next-token distributions (DistiLLM).

    KL( Q || (1 - alpha) P + alpha Q )

A little of the student in the second place keeps the loss below -log(alpha) where the teacher misses a token.

Paper:    Ko et al. (2024), DistiLLM; Ko et al. (2025), DistiLLM-2
Differs:  the program of DistiLLM-2 stops the gradient through the Q of the mixture: `detach_mixture`
"""

from dataclasses import dataclass

from torch import Tensor

from stillroom.numerics import divergence
from stillroom.objectives._settings import check_flag, check_number
from stillroom.objectives.logits._family import LogitObjective


@dataclass(eq=False, kw_only=True)
class SkewReverseKL(LogitObjective):
    """Reverse KL to a mixture with `alpha` of the student."""

    alpha: float = 0.1
    """Weight of the student in the mixture, in [0, 1); 0 is reverse KL."""
    detach_mixture: bool = False
    """Let no gradient through the student inside the mixture, as DistiLLM-2's program does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, "[0, 1)")
        check_flag("detach_mixture", self.detach_mixture)

    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return divergence.skew_reverse_kl(log_p, log_q, self.alpha, self.detach_mixture)
