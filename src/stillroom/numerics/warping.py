"""Soft dynamic time warping: what it costs to lay one sequence over another, and which positions then meet.

    R_ij = C_ij + softmin(R_i-1,j , R_i,j-1 , R_i-1,j-1),   softmin(a) = -gamma log sum exp(-a / gamma)
    soft_dtw = R_ST = -gamma log (sum over monotone paths of exp(-cost of the path / gamma)),   E = d soft_dtw / dC
    divergence(x, y) = soft_dtw(x, y) - 1/2 soft_dtw(x, x) - 1/2 soft_dtw(y, y)

E_ij is the chance that a path drawn by exp(-cost / gamma) goes through cell ij. Cells of an anti-diagonal do not depend
on each other: S + T - 1 steps suffice. E is found in forward, by a sweep back that overwrites what the sweep there
left, and is all that is kept; backward only multiplies.

Paper:    Cuturi & Blondel 2017 (soft-DTW); Blondel, Mensch & Vert 2021 (the divergence); used by DWA-KD (2026)
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stillroom.numerics._anti_diagonals import FLOOR, share_paths, storage, sum_paths


def soft_dtw(cost: Tensor, gamma: float, rows: Tensor | None = None, columns: Tensor | None = None) -> Tensor:
    """Soft-DTW `[B]` in the unit and type of `cost [B,S,T]`, float32 or float64; differentiable once.

    Only `cost[b, :rows[b], :columns[b]]` exists (`[B]` of integers; None: all of it), the rest may hold anything; a
    sample without rows or columns costs 0. An infinite cost forbids a cell; where no path is left, the value is
    infinite and its gradient zero. It is no distance and may well be negative. Raises `ValueError` where types, shapes
    or lengths do not fit, or `gamma` is not above 0.
    """
    return _SoftDTW.apply(cost, gamma, *_checked(cost, gamma, rows, columns))


def soft_dtw_divergence(
    cross: Tensor,
    row_self: Tensor,
    column_self: Tensor,
    gamma: float,
    rows: Tensor | None = None,
    columns: Tensor | None = None,
) -> Tensor:
    """Normalized soft-DTW `[B]`: zero for equal sequences.

    From the costs between two sequences `cross [B,S,T]` and of each with itself, `row_self [B,S,S]` and
    `column_self [B,T,T]`. Lengths, types and errors are those of `soft_dtw`.
    """
    batch, height, width = cross.shape
    if row_self.shape != (batch, height, height) or column_self.shape != (batch, width, width):
        raise ValueError(
            f"expected costs of the {height} rows and of the {width} columns with themselves, got the shapes "
            f"{tuple(row_self.shape)} and {tuple(column_self.shape)}"
        )
    between, first, second = (
        soft_dtw(cross, gamma, rows, columns),
        soft_dtw(row_self, gamma, rows, rows),
        soft_dtw(column_self, gamma, columns, columns),
    )
    return between - (first + second) / 2


@torch.no_grad()
def expected_alignment(
    cost: Tensor, gamma: float, rows: Tensor | None = None, columns: Tensor | None = None
) -> Tensor:
    """E `[B,S,T]`, the gradient of `soft_dtw`: the chance that row and column meet, zero where nothing exists.

    Every row that exists sums to at least one, and so does every column.
    """
    return _both(cost, gamma, *_checked(cost, gamma, rows, columns))[1]


class _SoftDTW(torch.autograd.Function):
    """`apply(cost [B,S,T], gamma, rows [B], columns [B]) -> values [B]`."""

    @staticmethod
    def forward(ctx: Any, cost: Tensor, gamma: float, rows: Tensor, columns: Tensor) -> Tensor:
        value, alignment = _both(cost, gamma, rows, columns, ctx.needs_input_grad[0])
        ctx.save_for_backward(alignment)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:
        (alignment,) = ctx.saved_tensors
        return alignment * slope[:, None, None], None, None, None


def _both(
    cost: Tensor, gamma: float, rows: Tensor, columns: Tensor, wants_alignment: bool = True
) -> tuple[Tensor, Tensor]:
    """Values `[B]` and E like `cost`, which holds nothing where it is not wanted."""
    if cost.numel() == 0:
        return cost.new_zeros(len(cost)), torch.empty_like(cost)
    if cost.shape[1] > cost.shape[2]:  # diagonals are stored as long as there are rows
        value, alignment = _both(cost.mT, gamma, columns, rows, wants_alignment)
        return value, alignment.mT
    diagonals, table = storage(cost)
    exists = _before(rows, cost.shape[1])[:, :, None] & _before(columns, cost.shape[2])[:, None, :]
    table.copy_(cost).div_(-gamma).clamp_(min=FLOOR).masked_fill_(~exists, FLOOR)
    row = rows.clamp(min=1)
    diagonal = row + columns.clamp(min=1)
    total = sum_paths(diagonals, diagonal, row)
    is_empty, is_blocked = (rows == 0) | (columns == 0), total < FLOOR / 2
    value = torch.where(is_blocked, torch.inf, -gamma * total).masked_fill(is_empty, 0.0)
    if not wants_alignment:
        return value, cost.new_empty(0, 0, 0)
    share_paths(diagonals, diagonal, row, ~(is_empty | is_blocked))
    return value, torch.empty_like(cost).copy_(table)


def _before(lengths: Tensor, size: int) -> Tensor:
    """True on the first `lengths [B]` of `size` positions, `[B,size]`."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def _checked(
    cost: Tensor, gamma: float, rows: Tensor | None, columns: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The lengths of every sample."""
    if cost.dim() != 3:
        raise ValueError(f"expected costs by sample, row and column, got the shape {tuple(cost.shape)}")
    if cost.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"expected costs in float32 or float64, got {cost.dtype}: its steps are too coarse")
    if not 0 < gamma < float("inf"):
        raise ValueError(f"expected a finite gamma above 0, got {gamma}")
    return (
        _lengths("rows", rows, len(cost), cost.shape[1], cost.device),
        _lengths("columns", columns, len(cost), cost.shape[2], cost.device),
    )


def _lengths(name: str, lengths: Tensor | None, batch: int, size: int, device: torch.device) -> Tensor:
    if lengths is None:
        return torch.full((batch,), size, device=device)
    if lengths.shape != (batch,) or lengths.is_floating_point():
        raise ValueError(
            f"expected {batch} whole numbers of {name}, got {lengths.dtype} {tuple(lengths.shape)}"
        )
    if not ((lengths >= 0) & (lengths <= size)).all():
        raise ValueError(f"expected at most {size} {name} in a sample, got {lengths.tolist()}")
    return lengths.to(device, torch.long)
