"""What objectives over next-token distributions share: which rows are compared, and how.

    loss = T^2 sum_t D( softmax(teacher_t / T) || softmax(student_t / T) )     over predicting positions t

T^2 only where `scale_by_temperature_squared` says so (Hinton et al. 2015). The logits are never stored: a
kernel applies both heads to a few rows at a time, takes logarithms, exponentials and sums in float32, and
lets no gradient through to the teacher.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.loss import Loss, Unit
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import FinalHidden, Head, Reads, Signals
from stillroom.kernels.linear_divergence import linear_divergence
from stillroom.objectives._settings import check_flag, check_number


@dataclass(eq=False, kw_only=True)
class LogitObjective(Objective):
    """A divergence at every predicting position, over one shared vocabulary."""

    terms: ClassVar[dict[str, Unit]] = {"divergence": "tokens"}
    zero_at_match: ClassVar[bool] = True

    temperature: float = 1.0
    """Divides the logits of both models."""
    scale_by_temperature_squared: bool = False
    """Multiply by the square of the temperature, so that gradients keep their size as it grows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("temperature", self.temperature, "(0, inf)")
        check_flag("scale_by_temperature_squared", self.scale_by_temperature_squared)

    @abstractmethod
    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """Teacher's and student's log-probabilities `[n,V]`, float32, to nats `[n]`."""

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        if student.vocabulary != teacher.vocabulary:
            raise BadInput(
                f"{type(self).__name__} needs one vocabulary, but the student has {student.vocabulary} and "
                f"the teacher {teacher.vocabulary}: choose a cross-tokenizer objective (vocabulary.* or "
                "dual_space.*)"
            )
        wanted = (FinalHidden(), Head())
        return Reads(student=wanted, teacher=wanted)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        ours, theirs = _rows(batch)
        student_head, teacher_head = student[Head()], teacher[Head()]
        total = linear_divergence(
            student[FinalHidden()][ours],
            student_head.weight,
            teacher[FinalHidden()][theirs],
            teacher_head.weight,
            divergence=self.divergence,
            temperature=self.temperature,
            student_transform=student_head.transform,
            teacher_transform=teacher_head.transform,
        )
        if self.scale_by_temperature_squared:
            total = total * self.temperature**2
        return {"divergence": Loss(total, ours.sum())}


def _rows(batch: Batch) -> tuple[Tensor, Tensor]:
    """Predicting positions of both sides, `[B,S]` and `[B,T]`, as many in every row."""
    ours = batch.student.predicts
    if batch.teacher is batch.student:
        return ours, ours
    theirs = batch.teacher.predicts
    differs = ours.sum(dim=1) != theirs.sum(dim=1)
    if differs.any():
        row = int(differs.nonzero()[0])
        raise BadInput(
            f"sample {int(batch.sample_ids[row])} has {int(ours[row].sum())} scored tokens for the student "
            f"and {int(theirs[row].sum())} for the teacher: with one vocabulary both sides must hold the "
            "same response"
        )
    return ours, theirs
