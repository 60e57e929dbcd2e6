"""Next-token distributions as hidden states with a head: compared without their logits."""

from dataclasses import dataclass, replace

from torch import Tensor

from stillroom.core.signals import HeadWeights
from stillroom.kernels.linear_cross_entropy import linear_cross_entropy
from stillroom.kernels.linear_divergence import linear_divergence
from stillroom.kernels.linear_statistics import HeadStatistics, linear_statistics


@dataclass(frozen=True)
class Distributions:
    """softmax(head(hidden)), one a row; `hidden [N,d]` in the type of the head."""

    hidden: Tensor
    head: HeadWeights

    def statistics(self) -> HeadStatistics:
        """Entropy, largest probability and its token of every row, at a temperature of 1; without gradient."""
        return linear_statistics(self.hidden.detach(), self.head.weight, transform=self.head.transform)

    def cross_entropy(self, targets: Tensor) -> Tensor:
        """Sum over rows of -log of the probability of `targets [N]`."""
        return linear_cross_entropy(self.hidden, self.head.weight, targets, transform=self.head.transform)

    def divergence(
        self, teacher: "Distributions", name: str, temperature: float, weights: Tensor | None = None
    ) -> Tensor:
        """Sum over rows, times `weights [N]`, of the divergence called `name` between the teacher and these; no
        gradient to the teacher."""
        return linear_divergence(
            self.hidden,
            self.head.weight,
            teacher.hidden,
            teacher.head.weight,
            divergence=name,
            temperature=temperature,
            weights=weights,
            student_transform=self.head.transform,
            teacher_transform=teacher.head.transform,
        )


def frozen(head: HeadWeights) -> HeadWeights:
    """The head without gradient to its weight or bias."""
    transform = head.transform
    if transform.bias is not None:
        transform = replace(transform, bias=transform.bias.detach())
    return HeadWeights(head.weight.detach(), transform)
