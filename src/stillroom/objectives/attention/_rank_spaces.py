"""The parts of SHARP that stand between pooled attention and its losses: features, rank spaces, integration.

All of them are frozen in the working mode. Trained on the loss that they carry, they would reach zero on two
models that have nothing in common.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stillroom.numerics.projection import frames

Activation = Literal["gelu", "tanh", "linear"]
GELU_MEAN = 1 / (2 * math.sqrt(math.pi))
"""E[gelu(z)] for a standard normal z: without it all features would share one direction."""


class PositionFeatures(nn.Module):
    """Maps `[...,S]` of any length to `[...,D]`: cosines of the position with frozen random frequencies, then
    layer norm and GELU or tanh.

    Frequencies are uniform over (0, pi), so that the features of two whole positions are orthogonal in expectation
    (random Fourier features of the kernel sin(pi x) / (pi x)) and no length is built in.
    """

    frequency: Tensor
    phase: Tensor

    def __init__(self, width: int, activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.register_buffer("frequency", torch.rand(width) * math.pi)
        self.register_buffer("phase", torch.rand(width) * 2 * math.pi)

    def forward(self, maps: Tensor) -> Tensor:
        width = len(self.frequency)
        position = torch.arange(maps.shape[-1], device=maps.device, dtype=maps.dtype)[:, None]
        hidden = maps @ (torch.cos(position * self.frequency + self.phase) * (2 / width) ** 0.5)
        if self.activation == "linear":
            return hidden
        hidden = F.layer_norm(hidden, (width,))
        return torch.tanh(hidden) if self.activation == "tanh" else F.gelu(hidden) - GELU_MEAN


class LearnedPositions(nn.Module):
    """The paper's Eq. 17-19: one trained matrix `[S_max,D]` with bias; shorter maps are padded with zeros."""

    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(positions, width)

    def forward(self, maps: Tensor) -> Tensor:
        return self.linear(F.pad(maps, (0, self.linear.in_features - maps.shape[-1])))


class RankSpaces(nn.Module):
    """Frames `[n,D,d]`: frozen, trained freely, or trained with the joint matrix kept orthonormal."""

    frozen: Tensor

    def __init__(
        self,
        count: int,
        width: int,
        rank: int,
        initialization: Literal["joint_qr", "independent_qr", "gram_schmidt", "random"],
        orthogonality: Literal["frozen", "parametrized", "penalty"],
    ) -> None:
        super().__init__()
        self.count, self.rank = count, rank
        start = frames(count, width, rank, initialization)
        self.joint: nn.Linear | None = None
        self.free: nn.Parameter | None = None
        if orthogonality == "frozen":
            self.register_buffer("frozen", start)
        elif orthogonality == "penalty":
            self.free = nn.Parameter(start)
        else:
            self.joint = nn.Linear(count * rank, width, bias=False)
            # Not the default map: Householder reads signs that weight decay turns to zero, and the frames with them.
            nn.utils.parametrizations.orthogonal(self.joint, orthogonal_map="cayley")
            self.joint.weight = start.transpose(0, 1).reshape(width, count * rank)

    def frames(self) -> Tensor:
        if self.joint is not None:
            return self.joint.weight.reshape(-1, self.count, self.rank).transpose(0, 1)
        return self.frozen if self.free is None else self.free


class Integration(nn.Module):
    """Attention among the rank spaces of one sample, `[B,n,d]` to `[B,D]` (Eq. 9): each space is one token."""

    def __init__(self, rank: int, width: int) -> None:
        super().__init__()
        heads = next(count for count in (4, 2, 1) if rank % count == 0)
        self.attention = nn.MultiheadAttention(rank, heads, batch_first=True)
        self.output = nn.Linear(rank, width, bias=False)

    def forward(self, spaces: Tensor) -> Tensor:
        mixed, _ = self.attention(spaces, spaces, spaces, need_weights=False)
        return self.output(mixed).mean(dim=1)
