"""From inner products to shares: the constrained optimum, pair after pair, and the formula as it was printed.

For shares w that sum to one, sum_a w_a A_a X - Y is sum_a w_a (A_a X - Y): its smallest norm is reached at the
point of a simplex that is nearest to the origin. Everything here is float64 and tiny; a relative ridge of `RIDGE`
makes the answer unique where maps do not differ: all shares equal.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

RIDGE = 1e-10
TINY = torch.finfo(torch.float64).tiny
LARGEST_GROUP = 8
"""Heads in a group for the constrained optimum: it solves a small system for every subset of them."""


class Shares(NamedTuple):
    mix: Tensor
    """`[...,k]`, at least 0."""
    clamped: Tensor
    """`[...]` bool: whether that was a constraint."""
    unclamped: Tensor
    """`[...,k]`, what it would have been otherwise."""


def optimal(products: Tensor) -> Shares:
    """The exact minimum over the simplex: of the minima over all its faces, the best that lies on its face."""
    heads = _heads(products)
    eye = torch.eye(heads, dtype=products.dtype, device=products.device)
    residuals = _in_basis(eye[:, :, None] - eye)  # A_a X_n - A_n X_n, for every n
    gram = residuals @ products @ residuals.T
    trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    gram = gram / trace.clamp_min(TINY) + RIDGE * eye
    faces = torch.tensor(list(itertools.product((0.0, 1.0), repeat=heads))[1:]).to(gram)
    systems = faces[:, :, None] * gram.unsqueeze(-3) * faces[:, None, :] + torch.diag_embed(1 - faces)
    solved = torch.linalg.solve(systems, faces.expand(*systems.shape[:-1]).unsqueeze(-1)).squeeze(-1)
    sums = solved.sum(-1, keepdim=True)  # one over the smallest square that the face reaches
    lies_on_it = (solved >= 0).all(-1)
    best = (
        sums.squeeze(-1).where(lies_on_it, 0.0).argmax(-1)[..., None, None].expand(*gram.shape[:-2], 1, heads)
    )
    points = solved / sums
    unclamped = points[..., -1, :]
    return Shares(points.gather(-2, best).squeeze(-2), (unclamped < 0).any(-1), unclamped)


Offset = Callable[[Tensor, int], Tensor]
"""`(shares so far [...,k], next head b)` to N of `alpha M + N`, in multiples of A_a X_n, `[...,k,k]`."""


def true_offset(shares: Tensor, head: int) -> Tensor:
    """A_b (X_1 + ... + X_b) - (A_1 X_1 + ... + A_b X_b)."""
    eye = torch.eye(shares.shape[-1], dtype=shares.dtype, device=shares.device)
    offset = eye[head][:, None] - eye
    offset[:, head + 1 :] = 0
    return offset.expand(*shares.shape, -1)


def printed_offset(shares: Tensor, head: int) -> Tensor:
    """A_b (X_1 + ... + X_{b-1}) - (A_1 merged with all before b) X_b: the paper's Eq. 7, which is not what it says."""
    offset = shares.new_zeros(*shares.shape, shares.shape[-1])
    offset[..., head, :head] = 1
    offset[..., :, head] = -shares
    return offset


def pair_by_pair(products: Tensor, offset: Offset) -> Shares:
    """The first two heads merged, the result with the third, and so on; clamped at every step."""
    mix, clamped = _pair_by_pair(products, offset, 0.0, 1.0)
    return Shares(mix, clamped, _pair_by_pair(products, offset, -torch.inf, torch.inf)[0])


def _pair_by_pair(products: Tensor, offset: Offset, lowest: float, highest: float) -> tuple[Tensor, Tensor]:
    heads = _heads(products)
    eye = torch.eye(heads, dtype=products.dtype, device=products.device)
    shares = eye[0].expand(*products.shape[:-2], -1)
    clamped = torch.zeros(shares.shape[:-1], dtype=torch.bool, device=shares.device)
    for head in range(1, heads):
        slope = (shares - eye[head])[..., None].repeat(*[1] * shares.dim(), heads)  # M
        slope[..., head + 1 :] = 0
        slope, start = _in_basis(slope), _in_basis(offset(shares, head))
        ends = _inner(products, start, start) + _inner(products, start + slope, start + slope)
        # half, and how far the smaller end draws it: where nothing differs, half
        pull = _inner(products, slope, start + slope / 2) / (
            _inner(products, slope, slope) + RIDGE * ends + TINY
        )
        alpha = (0.5 - pull)[..., None]
        clamped |= ((alpha < 0) | (alpha > 1)).squeeze(-1)
        alpha = alpha.clamp(lowest, highest)
        shares = alpha * shares + (1 - alpha) * eye[head]
    return shares, clamped


def _heads(products: Tensor) -> int:
    return round(products.shape[-1] ** 0.5)


def _in_basis(multiples: Tensor) -> Tensor:
    """Multiples of A_a X_n, `[...,k,k]`, as multiples of A_1 X_n and (A_a - A_1) X_n, `[...,k*k]`."""
    return torch.cat([multiples.sum(-2, keepdim=True), multiples[..., 1:, :]], dim=-2).flatten(-2)


def _inner(products: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return torch.einsum("...x,...xy,...y->...", left, products, right)
