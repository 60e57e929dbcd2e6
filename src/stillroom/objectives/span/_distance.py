"""How far rows of the student are from those of the teacher, once a map has brought them to its width.

    sum_n w_n ( 1 - cos( P s_n, t_n ) )        w: shares of a sample

Paper:    SRA (arXiv 2605.01205); MTA (arXiv 2605.01374), eq. 12
"""

import torch
from torch import Tensor, nn

from stillroom.core.errors import BadInput
from stillroom.objectives.span._levels import Rows
from stillroom.objectives.span._relations import SMALLEST


def distance(rows: Rows, project: nn.Module) -> Tensor:
    """A scalar, in float32 at least. `BadInput` where the teacher's rows are not as wide as it said that it is."""
    projected = project(rows.ours).to(rows.theirs.dtype)
    if projected.shape[-1] != rows.theirs.shape[-1]:
        raise BadInput(
            f"expected states of a teacher of width {projected.shape[-1]}, got {rows.theirs.shape[-1]}: the last "
            "states of several teachers stand side by side; give one teacher, or teacher_layers below the last"
        )
    return (rows.shares * (1 - cosines(projected, rows.theirs))).sum()


@torch.no_grad()
def control(rows: Rows, project: nn.Module) -> float:
    """The mean distance of rows that do not belong together, weighted like the loss."""
    return (distance(rows.mismatched(), project) / rows.shares.sum().clamp(min=1e-30)).item()


def cosines(ours: Tensor, theirs: Tensor) -> Tensor:
    """Of rows `[N,D]`, one by one, `[N]`; zero, with finite gradients, where one is zero."""
    lengths = ours.norm(dim=-1).clamp(min=SMALLEST) * theirs.norm(dim=-1).clamp(min=SMALLEST)
    return (ours * theirs).sum(dim=-1) / lengths
