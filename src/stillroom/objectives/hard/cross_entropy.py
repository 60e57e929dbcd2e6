"""Cross-entropy on the tokens of the text: training without a teacher.

    - sum_t log Q(y_t | y_<t)     over the tokens y_t that are trained on

On text that the teacher wrote, this is sequence-level distillation.

Paper:    Kim & Rush (2016), Sequence-Level Knowledge Distillation, for that use
"""

from dataclasses import dataclass
from typing import ClassVar

from stillroom.core.batch import Batch
from stillroom.core.loss import Loss, Unit
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import FinalHidden, Head, Reads, Signals
from stillroom.kernels.linear_cross_entropy import linear_cross_entropy


@dataclass(eq=False, kw_only=True)
class CrossEntropy(Objective):
    """Negative log-likelihood of the trained tokens, in nats. The teacher is not read."""

    terms: ClassVar[dict[str, Unit]] = {"cross_entropy": "tokens"}
    two_vocabularies: ClassVar[bool] = True  # it looks at one

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        return Reads(student=(FinalHidden(), Head()))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        rows, head = batch.student.predicts, student[Head()]
        total = linear_cross_entropy(
            student[FinalHidden()][rows],
            head.weight,
            batch.student.targets[rows],
            transform=head.transform,
        )
        return {"cross_entropy": Loss(total, rows.sum())}
