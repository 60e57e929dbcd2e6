"""Entropic optimal transport between two sets: how much of each row goes to each column.

    plan = argmin <plan, C> - epsilon entropy(plan)   with given sums of rows a and of columns b
    plan_ij = exp(f_i + g_j - C_ij / epsilon),   f <- log a - logsumexp_j(g_j - C_ij / epsilon),   g likewise (Sinkhorn)

A round sets the rows, then the columns: after the last one, columns are exact, and rows as far as it has converged.
Autograd goes through all rounds.

Paper:    Cuturi 2013; used by MultiLevelOT (Cui et al. 2025; sums of one, ten rounds, epsilon 0.1), COT2Align (2025)
Differs:  logarithms instead of products: small epsilon neither overflows nor divides by zero.
"""

import torch
from torch import Tensor

FLOOR = -1e30
"""Stands for the logarithm of zero where -inf would make a NaN; its exponential is exactly zero."""


def transport_plan(
    cost: Tensor, row_mass: Tensor, column_mass: Tensor, epsilon: float, rounds: int = 100
) -> Tensor:
    """The plan `[B,S,T]` for `cost [B,S,T]`, float32 or float64, `row_mass [B,S]` and `column_mass [B,T]`.

    Masses are at least 0 and need not sum to one; where the sums of both sides differ, the columns win. Rows and
    columns without mass do not exist: their costs may hold anything. Raises `ValueError` where shapes do not fit,
    `epsilon` is not above 0 or there are no rounds.
    """
    _check(cost, row_mass, column_mass, epsilon, rounds)
    exists = (row_mass > 0)[:, :, None] & (column_mass > 0)[:, None, :]
    log_rows, log_columns = (
        mass.to(cost.dtype).log().clamp(min=FLOOR) for mass in (row_mass.detach(), column_mass.detach())
    )
    log_kernel = torch.where(exists, cost, 0.0) / -epsilon
    g = torch.where(column_mass > 0, 0.0, FLOOR).to(cost.dtype)
    f = log_rows
    for _ in range(rounds):
        f = log_rows - (log_kernel + g[:, None, :]).logsumexp(2)
        g = log_columns - (log_kernel + f[:, :, None]).logsumexp(1)
    return torch.where(exists, log_kernel + f[:, :, None] + g[:, None, :], FLOOR).exp()


def uniform_mass(lengths: Tensor, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """One unit spread over the first `lengths [B]` of `size` positions, `[B,size]`; nothing where there are none."""
    exists = torch.arange(size, device=lengths.device) < lengths[:, None]
    return exists.to(dtype) / lengths.clamp(min=1)[:, None].to(dtype)


def _check(cost: Tensor, row_mass: Tensor, column_mass: Tensor, epsilon: float, rounds: int) -> None:
    if cost.dim() != 3 or row_mass.shape != cost.shape[:2] or column_mass.shape != cost[:, 0].shape:
        raise ValueError(
            "expected costs [B,S,T], masses of rows [B,S] and of columns [B,T], got the shapes "
            f"{tuple(cost.shape)}, {tuple(row_mass.shape)} and {tuple(column_mass.shape)}"
        )
    if not epsilon > 0 or rounds < 1:
        raise ValueError(f"expected epsilon above 0 and at least one round, got {epsilon} and {rounds}")
