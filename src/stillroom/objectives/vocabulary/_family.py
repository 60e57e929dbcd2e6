"""What these objectives share: rows of both models, compared without the logits of either.

    loss = sum over places of D( softmax(teacher / T), softmax(student / T) )       D takes W and V log-probabilities

Which places, and what D makes of two vocabularies, is the objective's own. With one vocabulary every token and every
predicting position is matched with itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from stillroom.alignment.positions import Pairs
from stillroom.alignment.vocabulary_map import ABSENT
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import FinalHidden, Head, Reads, Signals
from stillroom.kernels.linear_divergence import linear_divergence
from stillroom.objectives._settings import check_number
from stillroom.objectives._two_vocabularies import shared_tokens


@dataclass(eq=False, kw_only=True)
class VocabularyObjective(Objective):
    """Next-token distributions over two vocabularies, compared at places where both models can be asked the same."""

    two_vocabularies: ClassVar[bool] = True
    zero_at_match: ClassVar[bool] = True

    student_only: ClassVar[Tensor]
    teacher_only: ClassVar[Tensor]
    """Buffers: ids of tokens that the other vocabulary lacks."""

    temperature: float = 1.0
    """Divides the logits of both models."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("temperature", self.temperature, "(0, inf)")

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        name = type(self).__module__.rpartition(".")[2]
        self.shared = shared_tokens(student, teacher, f"vocabulary.{name}")
        for side, other in (("student", self.shared.to_teacher), ("teacher", self.shared.to_student)):
            self.register_buffer(f"{side}_only", torch.where(other == ABSENT)[0], persistent=False)
        wanted = (FinalHidden(), Head())
        return Reads(student=wanted, teacher=wanted)

    def compare(
        self, student: Signals, teacher: Signals, pairs: Pairs, divergence: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Sum over pairs of `divergence(log_p [n,W], log_q [n,V]) -> [n]`, a scalar; no gradient to the teacher."""
        student_head, teacher_head = student[Head()], teacher[Head()]
        return linear_divergence(
            student[FinalHidden()][pairs.rows, pairs.student],
            student_head.weight,
            teacher[FinalHidden()][pairs.rows, pairs.teacher],
            teacher_head.weight,
            divergence=divergence,
            temperature=self.temperature,
            student_transform=student_head.transform,
            teacher_transform=teacher_head.transform,
        )
