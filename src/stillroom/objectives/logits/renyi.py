"""Renyi divergence between next-token distributions.

    log( sum_v P(v)^alpha Q(v)^(1 - alpha) ) / (alpha - 1)

`alpha` slides from forward KL (towards 1, the student covers all that the teacher does) to reverse KL (the
divergence over `alpha`, towards 0, it picks).

Paper:    Renyi (1961), On measures of entropy and information
Beware:   towards 0 the loss shrinks with `alpha`; above 0.999 float32 loses digits, so use forward KL
"""

from dataclasses import dataclass

from torch import Tensor

from stillroom.numerics import divergence
from stillroom.objectives._settings import check_number
from stillroom.objectives.logits._family import LogitObjective


@dataclass(eq=False, kw_only=True)
class Renyi(LogitObjective):
    """Renyi divergence of order `alpha`."""

    alpha: float = 0.5
    """Order, in (0, 1). At 0.5 the divergence is symmetric in P and Q."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, "(0, 1)")

    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return divergence.renyi(log_p, log_q, self.alpha)
