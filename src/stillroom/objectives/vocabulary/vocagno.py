"""VocAgnoLM: train on the tokens that the teacher finds easier than the student does.

    M(i) = teacher's tokens that share a byte with token i of the student
    gap_i = L_i - max over j in M(i) of L_j         L: cross-entropy of one token
    loss = n / #kept sum over kept i of L_i         kept: the widest gaps of a sample, and all i where M(i) is empty

What the teacher says only chooses: the loss is the cross-entropy of the text. Nothing of two vocabularies is compared
but bytes, so any two will do.

Paper:    Shin et al., ICML 2025, Overcoming Vocabulary Mismatch: Vocabulary-agnostic Teacher Guided Language Modeling
          (2503.19123): top 40 %, the largest of several losses, unmapped tokens kept. The formulas are reconstructed
          from what others wrote of it; no program is public
Differs:  the widest gaps are found sample by sample, so that micro-batches add up (`scope: batch` as published). The
          count is that of all tokens, for the teacher decides how many are kept: each sample's sum is multiplied by
          n / #kept instead, which is its mean over kept tokens. Bytes, not letters
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.core.loss import Loss, Unit
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import FinalHidden, Head, Reads, Signals
from stillroom.kernels.linear_cross_entropy import cross_entropy_rows, linear_cross_entropy
from stillroom.objectives._rows import predicting_rows
from stillroom.objectives._settings import check_choice, check_number


@dataclass(eq=False, kw_only=True)
class VocAgnoLM(Objective):
    """Cross-entropy of the tokens where the student is furthest behind the teacher."""

    terms: ClassVar[dict[str, Unit]] = {"cross_entropy": "tokens"}
    two_vocabularies: ClassVar[bool] = True

    keep: float = 0.4
    """Share of the tokens that a token of the teacher overlaps which is trained on, rounded up."""
    scope: Literal["sample", "batch"] = "sample"
    """Whether the widest gaps are those of a sample, or of a micro-batch as published."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("keep", self.keep, "(0, 1]")
        check_choice("scope", self.scope, ("sample", "batch"))
        self.additive = self.scope == "sample"  # type: ignore[misc]

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        self._one_vocabulary = student.vocabulary == teacher.vocabulary
        self._shares: dict[str, Tensor] = {}
        return Reads(student=(FinalHidden(), Head()), teacher=(FinalHidden(), Head()))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        predicts, head = batch.student.predicts, student[Head()]
        hidden, targets = student[FinalHidden()][predicts], batch.student.targets[predicts]
        rows = torch.where(predicts)[0] if self.scope == "sample" else torch.zeros_like(targets)
        gaps = cross_entropy_rows(hidden, head.weight, targets, transform=head.transform)
        gaps -= self._hardest(teacher, batch)
        kept = widest(gaps, rows, self.keep)
        sizes, numbers = (torch.bincount(each, minlength=1) for each in (rows, rows[kept]))
        self._shares = {"kept": kept.float().mean(), "unmapped": gaps.isinf().float().mean()}
        total = linear_cross_entropy(
            hidden[kept],
            head.weight,
            targets[kept],
            weights=(sizes[: len(numbers)] / numbers)[rows[kept]],
            transform=head.transform,
        )
        return {"cross_entropy": Loss(total, predicts.sum())}

    def measures(self) -> dict[str, float]:
        """Of the last batch's tokens, the share that was `kept` and the share that is `unmapped`."""
        return {name: share.item() for name, share in self._shares.items() if not share.isnan()}

    def _hardest(self, teacher: Signals, batch: Batch) -> Tensor:
        """The largest loss of the teacher's tokens that overlap each of the student's, `[n]`; -inf where none does."""
        head = teacher[Head()]
        ours, theirs = predicting_rows(batch) if self._one_vocabulary else (None, batch.teacher.predicts)
        losses = cross_entropy_rows(
            teacher[FinalHidden()][theirs],
            head.weight,
            batch.teacher.targets[theirs],
            transform=head.transform,
        )
        if ours is not None:
            return losses
        (first, end), (starts, ends) = _keys(batch)
        known = ends >= 0
        return overlapping_maximum(first, end, starts[known], ends[known], losses[known])


def widest(gaps: Tensor, groups: Tensor, share: float) -> Tensor:
    """Which of `gaps [n]` are the widest of their group: all infinite ones and so much of the others, rounded up."""
    order = gaps.argsort(descending=True, stable=True)
    order = order[groups[order].argsort(stable=True)]
    sizes, free = (torch.bincount(each, minlength=1) for each in (groups, groups[gaps.isinf()]))
    free = torch.nn.functional.pad(free, (0, len(sizes) - len(free)))
    wanted = free + ((sizes - free).double() * share - 1e-9).ceil().long()  # 0.4 of 5 is 2
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[groups[order]]
    return ranks < wanted[groups]


def overlapping_maximum(first: Tensor, end: Tensor, starts: Tensor, ends: Tensor, values: Tensor) -> Tensor:
    """For each of `n` stretches from `first` to `end`, the largest of `values [m]` whose stretch overlaps it, `[n]`;
    -inf where none does, and where `end` is negative.

    `starts` and `ends`, `[m]`, never decrease. Time and memory grow with the number of overlaps: n + m for two cuts of
    one text.
    """
    low = torch.searchsorted(ends, first, right=True)
    number = (torch.searchsorted(starts, end) - low).clamp(min=0) * (end >= 0)
    owner = torch.arange(len(first), device=first.device).repeat_interleave(number)
    member = low[owner] + torch.arange(len(owner), device=first.device) - (number.cumsum(0) - number)[owner]
    found = values.new_full((len(first),), -torch.inf)
    return found.scatter_reduce(0, owner, values[member], "amax")


def _keys(batch: Batch) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Where every scored token of student and teacher starts and ends, in bytes that count on from row to row; -1 where
    it is not known."""
    ends = []
    for side, name in ((batch.student, "student"), (batch.teacher, "teacher")):
        if side.byte_ends is None:
            raise BadInput(
                f"vocabulary.vocagno needs the byte ends of every token, and the {name}'s are not known: encode the "
                "text with both tokenizers"
            )
        ends.append(side.byte_ends)
    size = 1 + max(int(each.max()) for each in ends)
    found = [
        _stretches(side, own, size) for side, own in zip((batch.student, batch.teacher), ends, strict=True)
    ]
    return found[0], found[1]


def _stretches(side: Side, ends: Tensor, size: int) -> tuple[Tensor, Tensor]:
    rows, positions = torch.where(side.predicts)
    start, end = ends[rows, positions], ends[rows, positions + 1]
    known = (start >= 0) & (end >= 0)
    return (rows * size + start).where(known, -1), (rows * size + end).where(known, -1)
