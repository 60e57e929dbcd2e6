"""DSKD with cross-model attention: two tokenizers, both spaces, and attention that learns which positions meet.

    student_space  sum_i c_i D( sg[P_ts] || Q )_i     P_ts = softmax(h_ts sg[W_s] / T),  c_i = 1[argmax P_ts = y_i]
    teacher_space  sum_j KL( P || Q_st )_j            Q_st = softmax(h_st W_t / T)
    projector      sum_i -log P_ts(y_i)               at T = 1; trains nothing but projections

h_ts and h_st are what cross-model attention brings over (`_cross_attention.py`). D reaches the student through its own
logits; KL through its hidden states, never its head. All three are divided by the student's trained tokens.

Paper:    Zhang et al. 2024, DSKD (arXiv 2406.17328), for different vocabularies; public code songmzhang/DSKD
Differs:  the correctness mask c is in the public code only: `correct_only`. Standard deviations in the attention are
          taken over the trained positions of one sample; the code's, over the whole padded batch, are `behavior: code`:
          they depend on padding and on id 0. A sample whose response one side lacks is left out
Beware:   what is brought over knows the embedding of the token to be predicted: P_ts can become one-hot without any
          alignment, and says little where the text is not worth imitating. The projections start at random
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.loss import Loss, Unit
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import Embedding, FinalHidden, Head, Reads, Signals
from stillroom.numerics.divergence import DIVERGENCES
from stillroom.objectives._settings import check_choice, check_flag, check_number
from stillroom.objectives.dual_space._cross_attention import (
    CrossAttention,
    Meeting,
    sample_scales,
    whole_scales,
)
from stillroom.objectives.dual_space._distributions import Distributions, check_one_teacher, frozen
from stillroom.objectives.dual_space._reading import answering, places, read


@dataclass(frozen=True)
class Spaces:
    """Four distributions: `n` rows in the student's space, `m` in the teacher's, in the order of samples."""

    student: Distributions
    from_teacher: Distributions
    """What the teacher says in the student's space: h_ts under the frozen head of the student."""
    teacher: Distributions
    from_student: Distributions
    """What the student says in the teacher's space: h_st under the head of the teacher."""


@dataclass(eq=False, kw_only=True)
class CrossModelAttention(Objective):
    """Distributions compared in the student's space and in the teacher's; three trained projections."""

    terms: ClassVar[dict[str, Unit]] = {
        "student_space": "tokens",
        "teacher_space": "tokens",
        "projector": "tokens",
    }
    two_vocabularies: ClassVar[bool] = True

    temperature: float = 2.0
    """Divides the logits of both distributions in both spaces."""
    divergence: str = "forward_kl"
    """In the student's space: forward_kl, reverse_kl, skew_reverse_kl, adaptive_kl, ... with their usual settings."""
    teacher_divergence: str = "forward_kl"
    """The same in the teacher's space, where the paper has forward KL."""
    correct_only: bool = True
    """In the student's space, learn only where the projected teacher's likeliest token is that of the text."""
    behavior: Literal["corrected", "code"] = "corrected"
    """`code`: what the public code computes where that depends on padding."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("temperature", self.temperature, "(0, inf)")
        check_choice("divergence", self.divergence, list(DIVERGENCES))
        check_choice("teacher_divergence", self.teacher_divergence, list(DIVERGENCES))
        check_flag("correct_only", self.correct_only)
        check_choice("behavior", self.behavior, ("corrected", "code"))
        self.additive = self.behavior == "corrected"  # type: ignore[misc]

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        self.attention = CrossAttention(student.width, teacher.width)
        self._teacher_width = teacher.width
        self._correct: Tensor | None = None
        self._last: tuple[Distributions, Distributions] | None = None
        wanted = (FinalHidden(), Head(), Embedding())
        return Reads(student=wanted, teacher=wanted)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """The student's trained tokens, for every term."""
        return dict.fromkeys(self.terms, answering(batch)[0].sum())

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        return self.space_losses(student, teacher, batch, self.meet(student, teacher, batch))

    def meet(self, student: Signals, teacher: Signals, batch: Batch) -> Meeting:
        """Both models at the positions that predict a trained token, and what they bring each other."""
        check_one_teacher(teacher[Head()], self._teacher_width)
        ours, theirs = answering(batch)
        reader = read(teacher, batch.teacher, places(theirs), theirs)
        is_code = self.behavior == "code"
        scales = whole_scales(teacher, batch.teacher) if is_code else sample_scales(reader)
        return self.attention(read(student, batch.student, places(ours), ours), reader, scales)

    def space_losses(
        self, student: Signals, teacher: Signals, batch: Batch, meeting: Meeting
    ) -> dict[str, Loss]:
        """The three terms."""
        ours, theirs = answering(batch)
        own, other = student[Head()], frozen(teacher[Head()])
        spaces = Spaces(
            Distributions(student[FinalHidden()][ours], own),
            Distributions(meeting.in_student.to(own.weight.dtype), frozen(own)),
            Distributions(teacher[FinalHidden()][theirs].detach(), other),
            Distributions(meeting.in_teacher.to(other.weight.dtype), other),
        )
        targets, count = batch.student.targets[ours], ours.sum()
        in_student, in_teacher = self.weigh(spaces, meeting, targets)
        self._watch(spaces)
        temperature = self.temperature
        totals = {
            "student_space": spaces.student.divergence(
                spaces.from_teacher, self.divergence, temperature, in_student
            ),
            "teacher_space": spaces.from_student.divergence(
                spaces.teacher, self.teacher_divergence, temperature, in_teacher
            ),
            "projector": spaces.from_teacher.cross_entropy(targets),
        }
        return {term: Loss(total, count) for term, total in totals.items()}

    def weigh(self, spaces: Spaces, meeting: Meeting, targets: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Weights of the rows in the student's space `[n]` and in the teacher's `[m]`; None: all one."""
        if not self.correct_only:
            return None, None
        return self.correct(spaces.from_teacher.statistics().top_id, targets), None

    def correct(self, likeliest: Tensor, targets: Tensor) -> Tensor:
        """One where the projected teacher's likeliest token `[n]` is the target `[n]`, else zero."""
        is_correct = (likeliest == targets).float()
        self._correct = is_correct.mean() if len(targets) else None
        return is_correct

    def measures(self) -> dict[str, float]:
        """`projected_accuracy`: how often the projected teacher's likeliest token is that of the text (where it is
        asked). `control`: the teacher's space per token, had the student been compared with other tokens."""
        found = {} if self._correct is None else {"projected_accuracy": self._correct.item()}
        if self._last is not None:
            ours, theirs = self._last
            found["control"] = ours.control(theirs, self.teacher_divergence, self.temperature)
        return found

    def notes(self) -> list[str]:
        notes = [
            "The projections are trained on the losses that they carry: teacher_space falls also for a student that "
            "learns nothing (compare measure/control, the same loss against other tokens)."
        ]
        if self.behavior == "code":
            notes.append(
                "behavior: code reads the teacher's states in prompts and padding, which a stored teacher "
                "(teacher.use: cached) does not have."
            )
        return notes

    def _watch(self, spaces: Spaces) -> None:
        """Keep some rows of the teacher's space for the control."""
        if self.training and len(spaces.teacher.hidden) > 1:
            self._last = spaces.from_student.some(), spaces.teacher.some()
