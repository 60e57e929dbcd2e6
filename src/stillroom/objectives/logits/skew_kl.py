"""Skew KL between next-token distributions (DistiLLM).

    KL( P || alpha P + (1 - alpha) Q )

A little of the teacher in the second place keeps the loss below -log(alpha) where the student misses a token.

Paper:    Ko et al. (2024), DistiLLM: Towards Streamlined Distillation for Large Language Models
Differs:  the authors' program leaves out the constant sum P log P; the gradient is the same
"""

from dataclasses import dataclass

from torch import Tensor

from stillroom.numerics import divergence
from stillroom.objectives._settings import check_number
from stillroom.objectives.logits._family import LogitObjective


@dataclass(eq=False, kw_only=True)
class SkewKL(LogitObjective):
    """Forward KL to a mixture with `alpha` of the teacher."""

    alpha: float = 0.1
    """Weight of the teacher in the mixture, in [0, 1); 0 is forward KL."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, "[0, 1)")

    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return divergence.skew_kl(log_p, log_q, self.alpha)
