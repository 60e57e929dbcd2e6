"""Relative geometry: how units lie to each other in one model, and in the other.

    sum_{i != j} pi_ij ( cos(S_i, S_j) - cos(T_i, T_j) )^2        pi_ij ~ w_i w_j

share: pairs      pi sums to one over pairs
share: units      w sums to one over units, so pi sums to less: to 1 - sum w_i^2

Of one sample a K x K matrix, never one over the batch.

Paper:    SRA (arXiv 2605.01205), MTA (arXiv 2605.01374), eqs. 9-11
Differs:  MTA prints `units`; its program, and that of SRA, divide over pairs (MTA's over those of the whole batch)
"""

from typing import Literal

import torch
from torch import Tensor

Share = Literal["pairs", "units"]

SMALLEST = 1e-8
"""Length that a state has at least: one of zeros is at a right angle to all others."""


def relational(ours: Tensor, theirs: Tensor, weights: Tensor, share: Share = "pairs") -> Tensor:
    """Of centers `[B,K,d]` and `[B,K,D]` with `weights [B,K]` of at least 0, which need not sum to one: `[B]`.

    Units of weight zero take no part; zero where fewer than two have weight. No gradient reaches `theirs` or the
    weights.
    """
    weights = weights.detach()
    weights = weights / _or_one(weights.sum(dim=1, keepdim=True))
    pairs = weights[:, :, None] * weights[:, None, :]
    pairs = pairs.masked_fill(torch.eye(weights.shape[1], dtype=torch.bool, device=weights.device), 0)
    if share == "pairs":
        # summed: one minus the squares would be rounding where one unit has nearly all the weight
        pairs = pairs / _or_one(pairs.sum(dim=(1, 2), keepdim=True))
    # half precision would round cosines before they are compared
    with torch.autocast(ours.device.type, enabled=False):
        apart = _cosines(ours) - _cosines(theirs.detach())
    return (pairs * apart.square()).sum(dim=(1, 2))


def _cosines(centers: Tensor) -> Tensor:
    """`[B,K,K]`: products first, as lengths are on their diagonal, and K is less than a state is wide."""
    products = centers @ centers.mT
    lengths = products.diagonal(dim1=1, dim2=2).clamp(min=SMALLEST**2).sqrt()
    return products / (lengths[:, :, None] * lengths[:, None, :])


def _or_one(total: Tensor) -> Tensor:
    return total.where(total > 0, 1)
