"""Next-token distributions as hidden states with a head: compared without their logits."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.core.signals import HeadMixture, HeadWeights
from stillroom.kernels.linear_cross_entropy import linear_cross_entropy
from stillroom.kernels.linear_divergence import linear_divergence
from stillroom.kernels.linear_statistics import HeadStatistics, linear_statistics
from stillroom.objectives._control import others, some


@dataclass(frozen=True)
class Distributions:
    """softmax(head(hidden)), one a row; `hidden [N,d]` in the type of the head, except under autocast."""

    hidden: Tensor
    head: HeadWeights

    def statistics(self) -> HeadStatistics:
        """Entropy, largest probability and its token of every row, at a temperature of 1; without gradient."""
        return linear_statistics(self.hidden.detach(), self.head.weight, transform=self.head.transform)

    def cross_entropy(self, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Sum over rows, times `weights [N]`, of -log of the probability of `targets [N]`."""
        return linear_cross_entropy(
            self.hidden, self.head.weight, targets, weights=weights, transform=self.head.transform
        )

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

    def some(self) -> "Distributions":
        """A few of the rows, that a control is measured on; in the type of the head, as autocast is over by then."""
        return Distributions(some(self.hidden).to(self.head.weight.dtype), self.head)

    @torch.no_grad()
    def control(self, teacher: "Distributions", name: str, temperature: float) -> float:
        """The divergence per row, had each of these been compared with another row of the teacher."""
        other = Distributions(others(teacher.hidden), teacher.head)
        return self.divergence(other, name, temperature).item() / len(self.hidden)


def frozen(head: HeadWeights) -> HeadWeights:
    """The head without gradient to its weight or bias."""
    transform = head.transform
    if transform.bias is not None:
        transform = replace(transform, bias=transform.bias.detach())
    return HeadWeights(head.weight.detach(), transform)


def check_one_teacher(head: HeadWeights, width: int) -> None:
    """`BadInput` where the teacher's head reads the states of several teachers side by side: maps were made for the
    `width` of one, and of all other signals only the first teacher's are known."""
    if isinstance(head.transform, HeadMixture) or head.weight.shape[1] != width:
        raise BadInput(
            "objectives under dual_space map the hidden states of one teacher, and got those of an ensemble side by "
            f"side ({head.weight.shape[1]} wide, the first teacher's {width}): choose one teacher"
        )
