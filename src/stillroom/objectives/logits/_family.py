"""What objectives over next-token distributions share: which rows are compared, and how.

    loss = T^2 sum_t D( softmax(teacher_t / T) || softmax(student_t / T) )     over predicting positions t

T^2 only where `scale_by_temperature_squared` says so (Hinton et al. 2015). The logits are never stored: a
kernel applies both heads to a few rows at a time, takes logarithms, exponentials and sums in float32, and
lets no gradient through to the teacher.

With `top_k`, k + 1 outcomes are compared at every position: each of the teacher's k likeliest tokens, and "any other
token". Nothing is renormalized: a KL (any f-divergence) over merged outcomes is a lower bound of the whole one, zero
for equal models, and equal to it for k = V - 1. Renormalizing the k tokens would pull the student to a distribution
that the teacher does not have, with the whole mass of the tail.
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
from stillroom.core.signals import FinalHidden, Head, Reads, Signals, TopTokenProbs, TopTokens
from stillroom.kernels.linear_divergence import linear_divergence
from stillroom.kernels.linear_top_divergence import linear_top_divergence
from stillroom.objectives._rows import predicting_rows
from stillroom.objectives._settings import check_flag, check_number


@dataclass(eq=False, kw_only=True)
class LogitObjective(Objective):
    """A divergence at every predicting position, over one shared vocabulary."""

    terms: ClassVar[dict[str, Unit]] = {"divergence": "tokens"}
    zero_at_match: ClassVar[bool] = True
    allows_top_k: ClassVar[bool] = True
    """False where the divergence needs every token by itself."""

    temperature: float = 1.0
    """Divides the logits of both models."""
    scale_by_temperature_squared: bool = False
    """Multiply by the square of the temperature, so that gradients keep their size as it grows."""
    top_k: int | None = None
    """Compare the teacher's so many likeliest tokens, and all others as one event; null: the whole vocabulary."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("temperature", self.temperature, "(0, inf)")
        check_flag("scale_by_temperature_squared", self.scale_by_temperature_squared)
        if self.top_k is not None:
            self._check_top_k(self.top_k)

    def _check_top_k(self, k: int) -> None:
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise BadInput(f"top_k must be a whole number of at least 1, or null, got {k!r}")
        if not self.allows_top_k:
            raise BadInput(
                f"{type(self).__name__} sorts single tokens by likelihood, and with top_k all others are one event: "
                "leave top_k out, or choose another divergence"
            )
        self.zero_at_match = False  # the student is asked for other signals than the teacher

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
        if self.top_k is None:
            return Reads(student=wanted, teacher=wanted)
        if self.top_k >= student.vocab_size:
            raise BadInput(
                f"top_k must be below the {student.vocab_size} tokens of the vocabulary, got {self.top_k}: give fewer, "
                "or null for all"
            )
        return Reads(student=wanted, teacher=(self._top_tokens,))

    @property
    def _top_tokens(self) -> TopTokens:
        assert self.top_k is not None
        return TopTokens(self.top_k, float(self.temperature))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        ours, theirs = predicting_rows(batch)
        compare = self._over_vocabulary if self.top_k is None else self._over_top_tokens
        total = compare(student, teacher, ours, theirs)
        if self.scale_by_temperature_squared:
            total = total * self.temperature**2
        return {"divergence": Loss(total, ours.sum())}

    def _over_vocabulary(self, student: Signals, teacher: Signals, ours: Tensor, theirs: Tensor) -> Tensor:
        student_head, teacher_head = student[Head()], teacher[Head()]
        return linear_divergence(
            student[FinalHidden()][ours],
            student_head.weight,
            teacher[FinalHidden()][theirs],
            teacher_head.weight,
            divergence=self.divergence,
            temperature=self.temperature,
            student_transform=student_head.transform,
            teacher_transform=teacher_head.transform,
        )

    def _over_top_tokens(self, student: Signals, teacher: Signals, ours: Tensor, theirs: Tensor) -> Tensor:
        head, likeliest = student[Head()], teacher[self._top_tokens]
        return linear_top_divergence(
            student[FinalHidden()][ours],
            head.weight,
            TopTokenProbs(likeliest.ids[theirs], likeliest.log_probs[theirs], likeliest.log_tail[theirs]),
            divergence=self.divergence,
            temperature=self.temperature,
            transform=head.transform,
        )
