"""Generalized Jensen-Shannon divergence between next-token distributions (GKD).

    beta KL(P||M) + (1 - beta) KL(Q||M),   M = beta P + (1 - beta) Q

`beta` is the weight of the teacher P, in the mixture and in the sum. As in TRL, 0 means forward and 1 reverse
KL, although the formula tends to zero there.

Paper:    Agarwal et al. (2024), On-Policy Distillation of Language Models (GKD)
Code:     agrees with `generalized_jsd_loss` of trl
Differs:  `normalize` divides by beta (1 - beta), which joins both ends without a jump
Beware:   some programs (DistiLLM) put the weight on the student: their 0.9 is 0.1 here
"""

from dataclasses import dataclass

from torch import Tensor

from stillroom.numerics import divergence
from stillroom.objectives._settings import check_flag, check_number
from stillroom.objectives.logits._family import LogitObjective


@dataclass(eq=False, kw_only=True)
class JensenShannon(LogitObjective):
    """Jensen-Shannon divergence with weight `beta` on the teacher."""

    beta: float = 0.5
    """Weight of the teacher in the mixture, in [0, 1]; 0 is forward KL and 1 reverse KL."""
    normalize: bool = False
    """Divide by beta (1 - beta), so that the loss keeps its size as `beta` nears 0 or 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("beta", self.beta, "[0, 1]")
        check_flag("normalize", self.normalize)

    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return divergence.jensen_shannon(log_p, log_q, self.beta, self.normalize)
