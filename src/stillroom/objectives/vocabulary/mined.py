"""MinED: the teacher's next-token distribution, moved to the student's tokens of nearest spelling.

    P'(v) = sum of P(w) over teacher tokens w whose nearest student token is v,  renormalized
    loss  = sum over aligned positions KL( P'_t || Q_s ),   P, Q = softmax(logits / T)

The nearest token is that of the same bytes, else the one of the least edit distance over bytes, the smallest id among
equals. The map is made once in `setup`: seconds, or the better part of a minute for the largest vocabularies.

Paper:    FuseLLM (Wan et al. 2024, arXiv 2401.10491), with one teacher; a baseline of DSKD (2406.17328)
Differs:  positions that predict the same token from the same bytes are found by byte offsets. The published ones are
          `positions: dtw`: time warping over the tokens that are read there, with edit distances as cost. Mass is
          summed where several teacher tokens go to one; public code takes one of them and renormalizes (`merge: one`).
          Positions without a partner are left out. The published one-hot label there (`unaligned: label`) is hard
          labels at the temperature of distillation: `hard.cross_entropy` has them without it and with a weight of their
          own. Distances are over bytes, a space among them; published ones are over the letters of a byte-level
          alphabet without its mark for a space, where a letter outside ASCII is two or three
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from stillroom.alignment.positions import Pairs
from stillroom.alignment.vocabulary_map import ABSENT
from stillroom.core.batch import Batch
from stillroom.core.loss import Loss, Unit
from stillroom.core.shape import ModelShape
from stillroom.core.signals import FinalHidden, Head, Reads, Signals
from stillroom.kernels.linear_log_likelihood import linear_log_likelihood
from stillroom.numerics.divergence import forward_kl
from stillroom.numerics.warping_path import warping_path
from stillroom.objectives._positions import count_of, paired_positions
from stillroom.objectives._settings import check_choice
from stillroom.objectives.vocabulary._edit_distance import need_edit_distances
from stillroom.objectives.vocabulary._family import VocabularyObjective
from stillroom.objectives.vocabulary._nearest_map import nearest_map
from stillroom.objectives.vocabulary._token_warping import TokenWarping, spread


@dataclass(eq=False, kw_only=True)
class MinED(VocabularyObjective):
    """Forward KL over the student's vocabulary at aligned positions."""

    terms: ClassVar[dict[str, Unit]] = {"divergence": "pairs"}

    goal: ClassVar[Tensor]
    """Buffer `[W]`: the student's id to which every id of the teacher goes, or V for nowhere."""

    temperature: float = 2.0
    """Divides the logits of both models."""
    positions: Literal["exact", "context", "dtw"] = "exact"
    """Positions that predict tokens of the same bytes from the same bytes; all that have read the same bytes; or those
    that time warping puts side by side one to one, and that have read tokens which the map sends to each other."""
    merge: Literal["sum", "one"] = "sum"
    """Where several teacher tokens go to one student token: the sum of their probabilities, or the nearest one's."""
    unaligned: Literal["skip", "label"] = "skip"
    """Positions of the student without a partner: left out, or -log Q of the token that follows, at the temperature."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("positions", self.positions, ("exact", "context", "dtw"))
        check_choice("merge", self.merge, ("sum", "one"))
        check_choice("unaligned", self.unaligned, ("skip", "label"))
        if self.unaligned == "label":
            self.terms = {"divergence": "tokens"}

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        reads = super().setup(student, teacher)
        one_vocabulary = student.vocabulary == teacher.vocabulary
        if not one_vocabulary or self.positions == "dtw":
            need_edit_distances("vocabulary.mined")
        goal = self.shared.to_student
        if not one_vocabulary:
            goal = nearest_map(student, teacher, self.shared, self.merge)
        self.register_buffer("goal", goal.where(goal != ABSENT, student.vocab_size), persistent=False)
        if self.positions == "dtw":
            self._warping = TokenWarping(student, teacher)
        return reads

    def notes(self) -> list[str]:
        moved, same = int((self.goal < len(self.shared.to_teacher)).sum()), len(self.shared)
        return [
            f"{same} of the teacher's {len(self.goal)} tokens are the student's byte for byte, "
            f"{moved - same} go to the nearest one."
        ]

    def pairs(self, batch: Batch) -> Pairs:
        """Predicting positions that are compared, from the batch alone."""
        if self.positions == "dtw":
            return self._warped(batch)
        return paired_positions(batch, self.shared, self.positions)

    def _warped(self, batch: Batch) -> Pairs:
        table = self._warping.costs(batch)
        path = warping_path(table.cost, table.rows, table.columns)
        found = spread(path & (path.sum(2, keepdim=True) == 1), batch)
        read = batch.student.input_ids[found.rows, found.student]
        same = self.goal[batch.teacher.input_ids[found.rows, found.teacher]] == read
        return Pairs(*(each[same] for each in found))

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        if self.unaligned == "label":
            return super().counts(batch)
        return {"divergence": count_of(self.pairs(batch))}

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        pairs = self.pairs(batch)
        total = self.compare(student, teacher, pairs, self.divergence)
        if self.unaligned == "skip":
            return {"divergence": Loss(total, count_of(pairs), "pairs")}
        head, alone = student[Head()], batch.student.predicts.clone()
        alone[pairs.rows, pairs.student] = False
        likelihood = linear_log_likelihood(
            student[FinalHidden()][alone],
            head.weight,
            batch.student.targets[alone],
            transform=head.transform,
            temperature=self.temperature,
        )
        return {"divergence": Loss(total - likelihood.sum(), batch.student.predicts.sum())}

    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """KL `[n]` from the teacher's log-probabilities `[n,W]` and the student's `[n,V]`."""
        n, size = log_q.shape
        moved = log_q.new_zeros(n, size + 1)  # what is dropped goes to a column behind the last token
        moved.scatter_add_(1, self.goal.expand(n, -1), log_p.exp().to(log_q.dtype))
        moved = moved[:, :size]
        # a teacher that is sure of a token which goes nowhere says nothing: a loss of zero, not of NaN
        kept = moved.sum(1, keepdim=True).clamp(min=torch.finfo(moved.dtype).tiny)
        return forward_kl((moved / kept).log(), log_q)
