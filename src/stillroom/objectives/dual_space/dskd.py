"""DSKD v2: both models through the student's head, both through the teacher's, with linear maps between the spaces.

    student_space   sum_t 1[argmax z_ts = y]  D( softmax(z_ts / T) || softmax(z_s / T) )     z_ts = h_t P_ts W_s
    projector       sum_t -log softmax(z_ts)[y]                                              trains P_ts alone
    teacher_space   sum_t D( softmax(z_t / T) || softmax(z_st / T) )                         z_st = h_s P_st W_t

over positions t where both models have read the same text. y is the token that the teacher finds likeliest. P_ts starts
as the map that keeps the teacher's logits, W_t W_s^+, and is trained; P_st = W_s W_t^+ is no parameter, but follows
W_s at every step. No gradient reaches the teacher, W_s through z_ts, or P_st; in teacher space it reaches the student
below its head. In each space there is one vocabulary, so two tokenizers need only be aligned.

Paper:    A Dual-Space Framework for General Knowledge Distillation of Large Language Models (arXiv 2504.11426); code
          songmzhang/DSKDv2. Beside it stands cross-entropy, at equal weights: hard.cross_entropy 0.5, this one 0.5.
          `space: student` and `space: teacher` are its single-space ablations; DSKD v1 is `dual_space.dskd_v1`
Differs:  positions are aligned by bytes, and are those that have read the same bytes (`positions: exact`: those that
          also predict the same token, its ETA). Labels are mapped by bytes, and dropped where the student has no such
          token; its program looks strings up, and trains wrong ones. What is masked lowers the total; its program
          divides by what is left of a micro-batch (`normalize_agreement`). Scales, biases and soft-caps of heads apply
          in both spaces. On sampled text its program masks nothing (`agreement: false`), and it trains P_ts at its own
          learning rate
Beware:   the term projector falls for a student that learns nothing. The maps of real heads keep less than their name
          says (benchmarks/results/dskd_algebra.md); `map_tokens: 1024`, a vocabulary's frequent tokens, keeps more of
          the distribution than all tokens do
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from stillroom.alignment.positions import Pairs
from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.loss import Loss, Unit
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import FinalHidden, Head, HeadWeights, Reads, Signals
from stillroom.numerics.divergence import DIVERGENCES
from stillroom.objectives._positions import paired_positions
from stillroom.objectives._settings import check_choice, check_flag, check_number
from stillroom.objectives._two_vocabularies import shared_tokens
from stillroom.objectives.dual_space._distributions import Distributions, check_one_teacher, frozen
from stillroom.objectives.dual_space._projectors import HeadInverse, Projector, logit_map


@dataclass(eq=False, kw_only=True)
class DSKD(Objective):
    """Divergences in the student's and in the teacher's space, summed over pairs of positions."""

    terms: ClassVar[dict[str, Unit]] = {
        "student_space": "pairs",
        "projector": "pairs",
        "teacher_space": "pairs",
    }
    two_vocabularies: ClassVar[bool] = True

    space: Literal["both", "student", "teacher"] = "both"
    """Where the models are compared."""
    divergence: str = "forward_kl"
    """Name of the divergence, as in the catalog under `logits`, with its default settings."""
    teacher_divergence: str | None = None
    """Another one for the teacher's space; null: the same."""
    temperature: float = 2.0
    """Divides the logits of both sides of a divergence; nothing is multiplied by its square."""
    init: Literal["logits", "random"] = "logits"
    """How trained projectors start: so that they keep logits, or at random."""
    map_tokens: int | None = None
    """Maps keep the logits of the first so many shared tokens, in the order of the student's ids (the code's
    `topk-vocab`); null: of all."""
    to_teacher: Literal["recomputed", "trained"] = "recomputed"
    """The map from the student's space to the teacher's: from the two heads at every step, or a trained one."""
    bias: bool = False
    """Whether trained projectors have a bias."""
    positions: Literal["context", "exact"] = "context"
    """Positions with the same text before them, or those of them that also predict the same token of the text."""
    label: Literal["teacher", "gold"] = "teacher"
    """What the projector is trained to say: the teacher's likeliest token, or the next one of the text."""
    agreement: bool | float = True
    """Compare in the student's space only where the projected teacher says the label; a number: only while no larger
    share of a micro-batch agrees."""
    normalize_agreement: bool = False
    """Divide by what is left in a micro-batch, not by all its pairs, as the public code does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("space", self.space, ("both", "student", "teacher"))
        check_choice("divergence", self.divergence, tuple(DIVERGENCES))
        if self.teacher_divergence is not None:
            check_choice("teacher_divergence", self.teacher_divergence, tuple(DIVERGENCES))
        check_number("temperature", self.temperature, "(0, inf)")
        check_choice("init", self.init, ("logits", "random"))
        check_choice("to_teacher", self.to_teacher, ("recomputed", "trained"))
        check_choice("positions", self.positions, ("context", "exact"))
        check_choice("label", self.label, ("teacher", "gold"))
        if self.map_tokens is not None and (type(self.map_tokens) is not int or self.map_tokens < 1):
            raise BadInput(
                f"map_tokens must be a whole number of at least 1, or null, got {self.map_tokens!r}"
            )
        for name in ("bias", "normalize_agreement"):
            check_flag(name, getattr(self, name))
        if not isinstance(self.agreement, bool):
            check_number("agreement", self.agreement, "[0, 1]")
            self.additive = False  # type: ignore[misc]
        if self.normalize_agreement:
            self.additive = False  # type: ignore[misc]
        unused = {"student": ("teacher_space",), "teacher": ("student_space", "projector")}.get(
            self.space, ()
        )
        self.terms = {term: unit for term, unit in DSKD.terms.items() if term not in unused}  # type: ignore[misc]

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        self.shared = shared_tokens(
            student, teacher, f"dual_space.{type(self).__module__.rpartition('.')[2]}"
        )
        self._widths = student.width, teacher.width
        made = {"bias": self.bias, "waits": self.init == "logits"}
        self.to_student_space = self.to_teacher_space = None
        if self.space != "teacher":
            self.to_student_space = Projector(teacher.width, student.width, **made)
        if self.space != "student" and self.to_teacher == "trained":
            self.to_teacher_space = Projector(student.width, teacher.width, **made)
        self._inverse: HeadInverse | None = None
        self._shares: dict[str, Tensor] = {}
        self._last: tuple[Distributions, Distributions] | None = None
        wanted = (FinalHidden(), Head())
        return Reads(student=wanted, teacher=wanted)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        pairs = self._pairs(batch)
        count = torch.tensor(len(pairs.rows), device=pairs.rows.device)
        return dict.fromkeys(self.terms, count)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        pairs = self._pairs(batch)
        own, other = student[Head()], frozen(teacher[Head()])
        check_one_teacher(other, self._widths[1])
        ours = Distributions(student[FinalHidden()][pairs.rows, pairs.student], own)
        theirs = Distributions(teacher[FinalHidden()][pairs.rows, pairs.teacher].detach(), other)
        self._shares = {"aligned": len(pairs.rows) / batch.student.predicts.sum().clamp(min=1)}
        totals = {}
        if self.to_student_space is not None:
            gold = batch.student.targets[pairs.rows, pairs.student] if self.label == "gold" else None
            totals |= self._in_student_space(ours, theirs, gold)
        if self.space != "student":
            totals["teacher_space"] = self._in_teacher_space(ours, theirs)
        count = torch.tensor(len(pairs.rows), device=pairs.rows.device)
        return {term: Loss(totals[term], count, unit) for term, unit in self.terms.items()}

    def _pairs(self, batch: Batch) -> Pairs:
        return paired_positions(batch, self.shared, self.positions)

    def _in_student_space(
        self, ours: Distributions, theirs: Distributions, gold: Tensor | None
    ) -> dict[str, Tensor]:
        """Totals of `student_space` and `projector`; `gold [N]`, the tokens of the text where they are the labels."""
        own, project = frozen(ours.head), self.to_student_space
        assert project is not None
        own_tokens, other_tokens = self._map_tokens()
        project.start(theirs.head, other_tokens, own, own_tokens)
        projected = Distributions(project(theirs.hidden).to(own.weight.dtype), own)
        label = self.shared.to_student[theirs.statistics().top_id] if gold is None else gold
        known = label >= 0  # the student may lack what the teacher finds likeliest
        kept = self._agreeing(projected, label)
        fitted = projected.cross_entropy(label, known.float())
        compared = ours.divergence(projected, self.divergence, self.temperature, kept.float())
        self._shares |= {"label_map_ratio": known.float().mean()}
        return {"student_space": compared * self._restored(kept), "projector": fitted * self._restored(known)}

    def _agreeing(self, projected: Distributions, label: Tensor) -> Tensor:
        """Rows that are compared in the student's space, `[N]` bool."""
        if self.agreement is False:
            return torch.ones_like(label, dtype=torch.bool)
        agrees = projected.statistics().top_id == label
        share = agrees.float().mean()
        self._shares |= {"agreement": share}
        return agrees if self.agreement is True else agrees | (share > self.agreement)

    def _restored(self, kept: Tensor) -> Tensor | float:
        """What turns a sum over kept rows that is divided by all rows into one that is divided by the kept ones."""
        return len(kept) / kept.sum().clamp(min=1) if self.normalize_agreement else 1.0

    def _in_teacher_space(self, ours: Distributions, theirs: Distributions) -> Tensor:
        """Total of `teacher_space`."""
        other = theirs.head
        projected = Distributions(self._to_teacher(ours, other).to(other.weight.dtype), other)
        if self.to_teacher == "trained" and self.training and len(theirs.hidden) > 1:
            self._last = projected.some(), theirs.some()
        return projected.divergence(theirs, self._divergence_of_teacher, self.temperature)

    def _map_tokens(self) -> tuple[Tensor, Tensor]:
        """Ids of the student and of the teacher whose logits the maps keep, each `[n]`."""
        return self.shared.student[: self.map_tokens], self.shared.teacher[: self.map_tokens]

    def _to_teacher(self, ours: Distributions, other: HeadWeights) -> Tensor:
        """The student's states in the teacher's space, `[N,D]`."""
        own_tokens, other_tokens = self._map_tokens()
        if self.to_teacher_space is not None:
            self.to_teacher_space.start(ours.head, own_tokens, other, other_tokens)
            return self.to_teacher_space(ours.hidden)
        if self._inverse is None:  # the teacher's head stays what it is
            self._inverse = HeadInverse.of(other, other_tokens)
        moving = logit_map(ours.head, own_tokens, other, other_tokens, self._inverse, torch.float32)
        dtype = torch.promote_types(ours.hidden.dtype, torch.float32)
        return ours.hidden.to(dtype) @ moving.to(dtype)

    @property
    def _divergence_of_teacher(self) -> str:
        return self.teacher_divergence or self.divergence

    def measures(self) -> dict[str, float]:
        """Of the last batch: `aligned`, pairs for each trained token of the student; `label_map_ratio`, labels that
        the student has; `agreement`, where the projected teacher says the label; `control`, what teacher_space would
        be had its rows been those of other tokens, where its projector is trained."""
        found = {name: float(share) for name, share in self._shares.items()}
        found = {name: share for name, share in found.items() if share == share}  # no pair: no share
        if self._last is not None:
            ours, theirs = self._last
            found["control"] = ours.control(theirs, self._divergence_of_teacher, self.temperature)
        return found

    def notes(self) -> list[str]:
        notes = []
        if self.to_student_space is not None:
            notes.append(
                "The term projector trains the projector alone: it falls for a student that learns nothing."
            )
        if self.to_teacher_space is not None:
            notes.append(
                "The map to the teacher's space is trained on the loss that it carries: it falls for a student that "
                "learns nothing (compare measure/control, the same loss against other tokens)."
            )
        recomputed = self.space != "student" and self.to_teacher == "recomputed"
        widest, count = max(self._widths), len(self._map_tokens()[0])
        if (recomputed or self.init == "logits") and count < widest:
            notes.append(
                f"The maps between the spaces keep the logits of {count} shared tokens, fewer than a hidden state is "
                f"wide ({widest}): what these do not read of it is lost."
            )
        return notes
