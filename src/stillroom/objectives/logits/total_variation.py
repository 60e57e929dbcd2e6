"""Total variation distance between next-token distributions.

    1/2 sum_v |P(v) - Q(v)|

Lies in [0, 1]: one for models that share no token.

Paper:    Wen et al. (2023), f-Divergence Minimization for Sequence-Level Knowledge Distillation
Differs:  on the given text only; the paper averages over texts of the teacher and of the student
Beware:   the gradient does not shrink as Q approaches P; lower the learning rate towards the end
"""

from dataclasses import dataclass

from torch import Tensor

from stillroom.numerics import divergence
from stillroom.objectives.logits._family import LogitObjective


@dataclass(eq=False, kw_only=True)
class TotalVariation(LogitObjective):
    """Half the sum of absolute differences."""

    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return divergence.total_variation(log_p, log_q)
