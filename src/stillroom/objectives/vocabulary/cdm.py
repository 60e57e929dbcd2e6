"""CDM: contextual dynamic mapping, token sequences warped by entropy and vocabularies matched among likely tokens.

    cost_ij = edit(a_i, b_j) f_i f_j,   f = floor(3 + 3 sigmoid(4 (H - min H) / (max H - min H) - 2)),  3 to 5
    loss    = sum over student positions KL( P || Q ) over the pairs of tokens that match there

a, b are the tokens read at predicting positions and H the entropies of what is predicted there, within a sample.
Dynamic time warping puts positions side by side; where several of a side meet one of the other, their logits are
averaged. There the k likeliest tokens of both models match by bytes or, where the other vocabulary has no such token,
with the nearest of the other model's k that is unmatched too, if edit(a, b) / (|a| + |b|) < `threshold`. P and Q are
softmax(logits / T) over the pairs so found.

Paper:    Chen et al. 2025 (arXiv 2502.11104), by its port beside DSKD: the paper's own code could not be had
Differs:  one temperature for both sides; the port divides the student's logits by T, multiplies the teacher's
          log-probabilities by T^2, and exchanges teacher and student in half of its pairs. A pair counts once, also
          where both directions find it; unmatched tokens are left out, not set to -10^4. Matches hold at their position
          alone, not in the whole sample. Distances are over bytes, a space among them. Every position of the student
          weighs one, however many groups it is in; the port takes the mean over groups and 2k places. Hidden states are
          averaged, which is the same for logits unless the head caps them
Beware:   as published, warping compares positions that have not read the same bytes, and it is measured on the CPU at
          every step
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.core.loss import Loss, Unit
from stillroom.core.shape import ModelShape
from stillroom.core.signals import FinalHidden, Head, HeadWeights, Reads, Signals
from stillroom.kernels.linear_divergence import linear_divergence
from stillroom.kernels.linear_statistics import linear_statistics
from stillroom.numerics.divergence import FLOOR, forward_kl
from stillroom.numerics.warping_path import warping_path
from stillroom.objectives._packed import packed
from stillroom.objectives._settings import check_number
from stillroom.objectives.vocabulary._edit_distance import need_edit_distances
from stillroom.objectives.vocabulary._family import VocabularyObjective
from stillroom.objectives.vocabulary._likely_tokens import LikelyTokens
from stillroom.objectives.vocabulary._token_warping import TokenWarping
from stillroom.objectives.vocabulary._warped_groups import grouped


@dataclass(eq=False, kw_only=True)
class CDM(VocabularyObjective):
    """KL over matched likely tokens, at positions put side by side by warping."""

    terms: ClassVar[dict[str, Unit]] = {"divergence": "tokens"}

    temperature: float = 2.0
    """Divides the logits of both models."""
    top_k: int = 100
    """How many of the likeliest tokens of either model are matched."""
    threshold: float = 0.3
    """Tokens without a counterpart match where edits per letter of both stay below this; 0: never."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("threshold", self.threshold, "[0, 1]")
        if type(self.top_k) is not int or self.top_k < 1:
            raise BadInput(f"top_k must be a whole number of at least 1, got {self.top_k!r}")

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        need_edit_distances("vocabulary.cdm")
        self._warping = TokenWarping(student, teacher)
        self._likely = LikelyTokens(student, teacher, self.threshold)
        return super().setup(student, teacher)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        table, heads = self._warping.costs(batch), (student[Head()], teacher[Head()])
        states = student[FinalHidden()], teacher[FinalHidden()].detach()
        ours, theirs = (
            _weights(own, head, side)
            for own, head, side in zip(states, heads, (batch.student, batch.teacher), strict=True)
        )
        path = warping_path(table.cost * ours[:, :, None] * theirs[:, None], table.rows, table.columns)
        groups = grouped(path.to(states[0].device))
        total = linear_divergence(
            groups.average(packed(states[0], batch.student.predicts)),
            heads[0].weight,
            groups.average_teacher(packed(states[1], batch.teacher.predicts)),
            heads[1].weight,
            divergence=self.divergence,
            temperature=self.temperature,
            weights=groups.weights,
            student_transform=heads[0].transform,
            teacher_transform=heads[1].transform,
        )
        return {"divergence": Loss(total, batch.student.predicts.sum())}

    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """KL `[n]` over matched tokens from log-probabilities `[n,W]` and `[n,V]`; zero where nothing matches."""
        likely = [each.detach().topk(min(self.top_k, each.shape[1])).indices for each in (log_q, log_p)]
        found = self._likely.match(*likely, self.shared)
        some = found.exists.any(1)
        left_out = ~found.exists & some[:, None]
        p, q = (
            each.gather(1, ids).masked_fill(left_out, FLOOR).log_softmax(1)
            for each, ids in ((log_p, found.teacher), (log_q, found.student))
        )
        return forward_kl(p, q).where(some, 0.0)


def _weights(states: Tensor, head: HeadWeights, side: Side) -> Tensor:
    """f `[B,S']` of packed positions, on the CPU: 3 for the surest of a sample, 5 for the least sure."""
    rows = states.detach()[side.predicts]
    entropy = torch.zeros_like(side.predicts, dtype=torch.float32)
    entropy[side.predicts] = linear_statistics(rows, head.weight, transform=head.transform).entropy.float()
    low = entropy.masked_fill(~side.predicts, torch.inf).amin(1, keepdim=True)
    high = entropy.masked_fill(~side.predicts, -torch.inf).amax(1, keepdim=True)
    share = (entropy - low) / (high - low).where(high > low, 1.0)
    return packed((3 + 3 * (4 * share - 2).sigmoid()).floor(), side.predicts).cpu().double()
