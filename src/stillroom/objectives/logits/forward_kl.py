"""Forward KL between next-token distributions: word-level distillation.

    T^2 sum_v P(v) log( P(v) / Q(v) ),   P, Q = softmax(logits / T)

The student is asked to cover all that the teacher does.

Paper:    Hinton et al. (2015), Distilling the Knowledge in a Neural Network; Kim & Rush (2016) for sequences
Differs:  KL, not cross-entropy against P: the value is lower by the entropy of P, the gradient is the same
"""

from dataclasses import dataclass

from stillroom.numerics.divergence import forward_kl
from stillroom.objectives.logits._family import LogitObjective


@dataclass(eq=False, kw_only=True)
class ForwardKL(LogitObjective):
    """KL(P||Q), times the square of the temperature."""

    scale_by_temperature_squared: bool = True
    """Multiply by the square of the temperature, so that gradients keep their size as it grows."""

    # The function itself, not a method around it: the kernel knows its gradient in closed form.
    divergence = staticmethod(forward_kl)
