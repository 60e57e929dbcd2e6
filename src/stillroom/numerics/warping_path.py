"""The cheapest way through a table: dynamic time warping with its path, anti-diagonal by anti-diagonal.

    R_ij = C_ij + min(R_i-1,j-1, R_i-1,j, R_i,j-1)

The path is walked back from the last cell, each time to the cheapest of the three cells before it; among equals, to the
first one in the order of `ties`. Token costs are small whole numbers, so ties are the rule and their order decides.

Paper:    Sakoe & Chiba 1978; used between tokens by FuseLLM (Wan et al. 2024) and CDM (Chen et al. 2025)
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Step = Literal["diagonal", "row", "column"]
"""Back by one row and one column, by one row (the column stays), by one column (the row stays)."""

OFFSETS: dict[Step, tuple[int, int]] = {"diagonal": (1, 1), "row": (1, 0), "column": (0, 1)}


@torch.no_grad()
def warping_path(
    cost: Tensor,
    rows: Tensor | None = None,
    columns: Tensor | None = None,
    ties: Sequence[Step] = ("diagonal", "row", "column"),
) -> Tensor:
    """The cells of the cheapest path of every sample, `[B,S,T]` bool, for `cost [B,S,T]`; sums are in float64.

    Only `cost[b, :rows[b], :columns[b]]` exists (`[B]` of integers; None: all of it), the rest may hold anything. An
    infinite cost forbids a cell. No cell is marked where no path is left, or a sample has no rows or no columns. Raises
    `ValueError` where shapes do not fit, or `ties` does not name every step once.
    """
    if cost.dim() != 3:
        raise ValueError(f"expected costs by sample, row and column, got the shape {tuple(cost.shape)}")
    if sorted(ties) != sorted(OFFSETS):
        raise ValueError(f"expected each of {', '.join(OFFSETS)} once in ties, got {', '.join(ties)}")
    batch, height, width = cost.shape
    rows = _lengths(rows, batch, height, cost)
    columns = _lengths(columns, batch, width, cost)
    total = _totals(cost)
    sample = torch.arange(batch, device=cost.device)
    # A cell is named by its row and column counted from 1: those with a 0 are the border.
    row, column = rows.clone(), columns.clone()
    inside = (row > 0) & (column > 0)
    inside &= total[sample, row, column].isfinite()
    path = torch.zeros(batch, height + 1, width + 1, dtype=torch.bool, device=cost.device)
    down, across = torch.tensor([OFFSETS[step] for step in ties], device=cost.device).T
    for _ in range(height + width - 1):
        path[sample[inside], row[inside], column[inside]] = True
        before = total[
            sample[:, None], (row[:, None] - down).clamp(min=0), (column[:, None] - across).clamp(min=0)
        ]
        step = before.argmin(1)  # the first of equals
        row, column = row - down[step] * inside, column - across[step] * inside
        inside &= (row > 0) & (column > 0)
    return path[:, 1:, 1:]


def _totals(cost: Tensor) -> Tensor:
    """R `[B,S+1,T+1]`, float64, with a border that only the first cell can come from."""
    batch, height, width = cost.shape
    total = torch.full((batch, height + 1, width + 1), torch.inf, dtype=torch.float64, device=cost.device)
    total[:, 0, 0] = 0.0
    every = torch.arange(1, height + 1, device=cost.device)
    for diagonal in range(2, height + width + 1):
        i = every[max(1, diagonal - width) - 1 : diagonal - 1]
        j = diagonal - i
        before = torch.minimum(total[:, i - 1, j], total[:, i, j - 1])
        before = torch.minimum(before, total[:, i - 1, j - 1])
        total[:, i, j] = before + cost[:, i - 1, j - 1].double()
    return total


def _lengths(lengths: Tensor | None, batch: int, size: int, like: Tensor) -> Tensor:
    if lengths is None:
        return torch.full((batch,), size, device=like.device)
    if lengths.shape != (batch,) or not ((lengths >= 0) & (lengths <= size)).all():
        raise ValueError(f"expected {batch} lengths of 0 to {size}, got {lengths.tolist()}")
    return lengths.to(like.device, torch.long)
