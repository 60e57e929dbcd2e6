"""Reverse KL between next-token distributions.

    sum_v Q(v) log( Q(v) / P(v) )

The student is asked to pick from what the teacher does; the gradient flows through both Q.

Paper:    Gu et al. (2024), MiniLLM: Knowledge Distillation of Large Language Models
Differs:  the exact per-token divergence on the given text; MiniLLM's policy gradient over sampled text is a
          different method
"""

from dataclasses import dataclass

from stillroom.numerics.divergence import reverse_kl
from stillroom.objectives.logits._family import LogitObjective


@dataclass(eq=False, kw_only=True)
class ReverseKL(LogitObjective):
    """KL(Q||P) at every token of the given text."""

    # The function itself, not a method around it: the kernel knows its gradient in closed form.
    divergence = staticmethod(reverse_kl)
