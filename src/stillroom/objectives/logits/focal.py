"""Focal KL: forward KL with more weight where student and teacher differ.

    tvd        T^2 d^gamma KL(P||Q),   d = 1/2 sum_v |P(v) - Q(v)|
    per_class  T^2 sum_v |P(v) - Q(v)|^gamma ( P(v) log( P(v) / Q(v) ) - P(v) + Q(v) )

The weights carry no gradient. With `gamma` 0 both are forward KL.

Paper:    after Lin et al. (2017), Focal Loss for Dense Object Detection; no paper defines it for distillation
Differs:  the weight measures disagreement with the teacher, not with the label; in "per_class" each token's
          part is completed by - P + Q, so that none is negative
Beware:   the weights are not rescaled to a mean of one (their mean is known only after the forward pass and
          would not add up over micro-batches): the loss is small, so raise its weight or the learning rate
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from stillroom.numerics import divergence
from stillroom.objectives._settings import check_choice, check_number
from stillroom.objectives.logits._family import LogitObjective


@dataclass(eq=False, kw_only=True)
class Focal(LogitObjective):
    """Forward KL, weighted by disagreement to the power of `gamma`."""

    scale_by_temperature_squared: bool = True
    """Multiply by the square of the temperature, so that gradients keep their size as it grows."""
    gamma: float = 2.0
    """Exponent of the weights, 0 or more; 0 is forward KL."""
    weighting: Literal["tvd", "per_class"] = "tvd"
    """Whether positions ("tvd") or single tokens of the vocabulary ("per_class") are weighed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("gamma", self.gamma, "[0, inf)")
        check_choice("weighting", self.weighting, ("tvd", "per_class"))

    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return divergence.focal(log_p, log_q, self.gamma, self.weighting)
