"""What a cell of a warping table costs: cosine distances, and a band outside which they are dearer.

    C_ij = 1 - cos(x_i, y_j)         plus `penalty` where |j - center_i| > width_i

    sakoe_chiba    a corridor around the diagonal                                  Sakoe & Chiba 1978
    entropy_band   center_i = share sum_j j A_ij + (1 - share) i T/S,              DWA-KD (2026), eqs. 17-20
                   width_i = base + slope H_i,  H_i = -sum_j A_ij log A_ij

A_ij is the attention that row i pays to column j: rows that do not know their column get a wider band. Rows and columns
are counted from 1 in the formulas, from 0 in tensors. A band has no gradient.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize


def cosine_cost(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine, `[B,S,T]`, 0 to 2, from `[B,S,d]` and `[B,T,d]`; float32 or better, under autocast too.

    A vector of zeros is at a distance of 1 from everything.
    """
    dtype = torch.promote_types(torch.promote_types(student.dtype, teacher.dtype), torch.float32)
    with torch.autocast(student.device.type, enabled=False):
        return 1 - normalize(student.to(dtype), dim=-1) @ normalize(teacher.to(dtype), dim=-1).mT


@dataclass(frozen=True)
class Band:
    """Which columns every row should keep to: those within `width [B,S]` of `center [B,S]`, both in columns."""

    center: Tensor
    width: Tensor

    def outside(self, columns: int) -> Tensor:
        """True on cells that the band leaves out, `[B,S,columns]`."""
        at = torch.arange(columns, device=self.center.device, dtype=self.center.dtype)
        return (at - self.center[:, :, None]).abs() > self.width[:, :, None]

    def charge(self, cost: Tensor, penalty: float) -> Tensor:
        """`cost [B,S,T]` with `penalty` on every cell outside; an infinite one forbids them."""
        return torch.where(self.outside(cost.shape[2]), cost + penalty, cost)


def sakoe_chiba(rows: Tensor, columns: Tensor, height: int, radius: float) -> Band:
    """From corner to corner of samples with `rows [B]` and `columns [B]`, for tables `height` rows high.

    `radius` is in columns and at least 0; half a step of the steeper direction and a bit are added, so that there is a
    way through where the lengths differ. At equal lengths that changes nothing.
    """
    last_row, last_column = (rows - 1).clamp(min=0), (columns - 1).clamp(min=0)
    step = last_column / last_row.clamp(min=1)
    width = torch.where(
        last_row > 0, radius + step.clamp(min=1) / 2 + 0.1, last_column
    )  # one row goes all the way
    center = torch.arange(height, device=rows.device) * step[:, None]
    return Band(center, width[:, None].expand(-1, height))


@torch.no_grad()
def entropy_band(
    attention: Tensor,
    rows: Tensor,
    columns: Tensor,
    base: float = 5.0,
    slope: float = 2.0,
    share: float = 0.7,
) -> Band:
    """From `attention [B,S,T]`, whose rows sum to one over the columns that exist; `rows [B]`, `columns [B]`.

    Attention to columns that do not exist is not read. The defaults are the paper's (Table 5).
    """
    count = torch.arange(1, attention.shape[2] + 1, device=attention.device)
    attention = attention.to(torch.promote_types(attention.dtype, torch.float32))
    attention = attention.masked_fill((count > columns[:, None])[:, None], 0.0)
    entropy = -torch.special.xlogy(attention, attention).sum(2)
    row = torch.arange(1, attention.shape[1] + 1, device=attention.device)
    diagonal = row * (columns / rows.clamp(min=1))[:, None]
    center = share * (attention * count).sum(2) + (1 - share) * diagonal
    return Band(center - 1, base + slope * entropy)
