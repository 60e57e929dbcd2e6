"""Frames: matrices whose columns span the subspaces that features are projected into.

A frame is `[D,d]`, several are `[n,D,d]`. n frames are mutually orthogonal only where n d <= D; beyond that

    sum_{i != j} ||W_i^T W_j||_F^2  >=  (n d)^2 / D - n d        for orthonormal columns

because the sum of the n projectors has trace n d and rank D at most (Cauchy-Schwarz on its eigenvalues).
"""

from typing import Literal

import torch
from torch import Tensor

Initialization = Literal["joint_qr", "independent_qr", "gram_schmidt", "random"]


def frames(
    count: int,
    width: int,
    rank: int,
    initialization: Initialization,
    generator: torch.Generator | None = None,
) -> Tensor:
    """`count` random frames `[count,width,rank]`, float32, with `rank` at most `width`.

    "joint_qr": one QR of all columns together, so that all are orthonormal where they fit (else each frame alone
    is). "independent_qr": one QR each. "gram_schmidt": all columns together, one after the other; the frames of
    "joint_qr" up to signs. "random": Gaussian columns of unit length on average.
    """
    gaussian = torch.randn(count, width, rank, generator=generator)
    if initialization == "random":
        return gaussian / width**0.5
    if initialization == "independent_qr" or count * rank > width:
        return torch.linalg.qr(gaussian.double()).Q.float().contiguous()
    columns = gaussian.transpose(0, 1).reshape(width, count * rank).double()
    together = gram_schmidt(columns) if initialization == "gram_schmidt" else torch.linalg.qr(columns).Q
    return together.float().reshape(width, count, rank).transpose(0, 1).contiguous()


def gram_schmidt(columns: Tensor) -> Tensor:
    """Orthonormal columns with the same spans, `[D,n]` with n <= D; each is reduced twice, as once is not enough."""
    found = torch.zeros_like(columns)
    for index in range(columns.shape[1]):
        column = columns[:, index]
        for _ in range(2):
            column = column - found[:, :index] @ (found[:, :index].T @ column)
        found[:, index] = column / column.norm()
    return found


def overlaps(frames: Tensor) -> Tensor:
    """||W_i^T W_j||_F of every pair of `frames [n,D,d]`, `[n,n]`; the diagonal holds each frame with itself."""
    return torch.einsum("ixa,jxb->ijab", frames, frames).flatten(2).norm(dim=-1)


def orthogonality_penalty(frames: Tensor) -> Tensor:
    """Sum over ordered pairs i != j of ||W_i^T W_j||_F^2."""
    squared = overlaps(frames).square()
    return squared.sum() - squared.diagonal().sum()


def orthonormality_penalty(frames: Tensor) -> Tensor:
    """Sum over frames of ||W^T W - I||_F^2: without it, frames meet the other penalty by losing rank or size."""
    identity = torch.eye(frames.shape[-1], device=frames.device, dtype=frames.dtype)
    return (frames.transpose(1, 2) @ frames - identity).square().sum()


def smallest_overlap(count: int, width: int, rank: int) -> float:
    """The root mean square over pairs of ||W_i^T W_j||_F that no choice of orthonormal frames can go below."""
    if count < 2:
        return 0.0
    squared = (count * rank) ** 2 / width - count * rank
    return (max(squared, 0.0) / (count * (count - 1))) ** 0.5


def effective_rank(frame: Tensor) -> Tensor:
    """exp of the entropy of the normalized singular values of `[D,d]` (Roy & Vetterli 2007): from 1 to d."""
    values = torch.linalg.svdvals(frame)
    shares = values / values.sum()
    return torch.exp(-torch.special.xlogy(shares, shares).sum())
