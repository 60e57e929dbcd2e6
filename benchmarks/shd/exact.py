"""The two exact compressions of section 4.1: any matrix in the place of the maps, and any attention map.

    unconstrained   A~ = Y X^+                                          Y = sum_a A_a X_a,  X = sum_a X_a
    constrained     row by row, the point of the convex hull of the rows of X (those that the query sees) next to y_i

The second is solved exactly: with z_j = x_j - y_i, non-negative least squares

    min_{u >= 0} |sum_j u_j z_j|^2 + c^2 (1 - sum_j u_j)^2

For u = t a, with a summing to one, the best t leaves c^2 e / (c^2 + e) of e = |sum_j a_j z_j|^2, which grows with e:
a = u / sum(u) is the point of the hull with the smallest distance, for any c. `gap` certifies it.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from shd.heads import Group


class Constrained(NamedTuple):
    merged: Tensor
    """`[S,S]`."""
    gap: float
    """An upper bound of |A~ X - Y|^2 - its minimum, as a share of |Y|^2."""


def unconstrained(group: Group) -> Tensor:
    """The smallest matrix `[S,S]` among those with the least error."""
    return group.target @ torch.linalg.pinv(group.whole)


def residual(group: Group, is_causal: bool = False) -> float:
    """Relative error of the best matrix there is, or of the best one that leaves the future alone.

    Row by row: what of y_i lies outside the span of x_1 ... x_i, or of all rows of X (Gram and Schmidt, done twice).
    """
    basis, left = group.whole.new_zeros(0, group.whole.shape[1]), 0.0
    for row, target in zip(group.whole, group.target, strict=True):
        new = row
        for _ in range(2):
            new = new - (basis @ new) @ basis
        if new.norm() > 1e-10 * row.norm():
            basis = torch.cat([basis, new[None] / new.norm()])
        left += float((target - (basis @ target) @ basis).square().sum()) if is_causal else 0.0
    if not is_causal:
        left = float((group.target - group.target @ basis.mT @ basis).square().sum())
    return math.sqrt(left) / float(group.target.norm())


def constrained(group: Group, is_causal: bool = True) -> Constrained:
    """The best attention map there is: no entry below zero, rows that sum to one, nothing of the future."""
    whole, targets = group.whole.numpy(), group.target.numpy()
    merged, gap = np.zeros((len(whole), len(whole))), 0.0
    for row, target in enumerate(targets):
        seen = row + 1 if is_causal else len(whole)
        shares, excess = nearest_in_hull(whole[:seen] - target)
        merged[row, :seen] = shares
        gap += excess
    return Constrained(torch.from_numpy(merged), gap / float((targets**2).sum()))


def nearest_in_hull(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Shares `[n]` of the point next to the origin in the hull of `points [n,D]`, and at most how far its square is
    above the least (the duality gap of Frank and Wolfe)."""
    scale = float(np.sqrt((points**2).sum(axis=1).mean())) or 1.0
    system = np.concatenate([points.T / scale, np.ones((1, len(points)))])
    found = nnls(system, np.append(np.zeros(points.shape[1]), 1.0), maxiter=30 * len(points))[0]
    shares = found / found.sum()
    nearest = shares @ points
    return shares, max(2 * float(nearest @ nearest - (points @ nearest).min()), 0.0)
