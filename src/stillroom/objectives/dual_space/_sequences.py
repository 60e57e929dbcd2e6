"""Two sequences of one text laid over each other: normalized soft-DTW of their cosine costs.

    nDTW(X, Y) = s(X, Y) - 1/2 ( s(X, X) + s(Y, Y) )      s: soft-DTW; a band is charged on the cross cost only

Paper:    DWA-KD (2026), eqs. 9-10 and 17-25
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stillroom.numerics.warping import soft_dtw_divergence
from stillroom.numerics.warping_cost import Band, cosine_cost


@dataclass(frozen=True)
class Sequences:
    """The student's `[B,R,d]` with `rows [B]` that exist, the teacher's in its width `[B,Q,d]` with `columns [B]`."""

    student: Tensor
    teacher: Tensor
    rows: Tensor
    columns: Tensor

    def apart(self, gamma: float, band: Band | None, penalty: float) -> Tensor:
        """nDTW of every sample, `[B]`; `penalty` on every cross cost outside the band."""
        cross = cosine_cost(self.student, self.teacher)
        return soft_dtw_divergence(
            cross if band is None else band.charge(cross, penalty),
            cosine_cost(self.student, self.student),
            cosine_cost(self.teacher, self.teacher),
            gamma,
            self.rows,
            self.columns,
        )

    def backwards(self) -> "Sequences":
        """The teacher's read from its end: what no student can follow."""
        at = torch.arange(self.teacher.shape[1], device=self.teacher.device)
        index = (self.columns[:, None] - 1 - at).clamp(min=0)[:, :, None].expand_as(self.teacher)
        return replace(self, teacher=self.teacher.gather(1, index))

    def sample(self, number: int) -> "Sequences":
        """One sample without its gradient."""
        parts = (self.student, self.teacher, self.rows, self.columns)
        return Sequences(*(each[number : number + 1].detach().clone() for each in parts))
