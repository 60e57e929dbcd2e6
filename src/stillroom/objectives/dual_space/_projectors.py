"""Linear maps from the space of one model to that of another that keep what the heads say of shared tokens.

    h A^T ~ h P B^T   over shared tokens   =>   P = A^T (B^T)^+ = (A^T B) (B^T B)^+        [D,d]

with the rows of shared tokens of the source's head A `[n,D]` and of the target's B `[n,d]`. The n rows are only ever
summed over, in chunks; what is inverted is a d x d matrix, in float64. Directions of the target that no shared token
reads (fewer tokens than dimensions, dead rows) are left at zero, or are filled at random where P is to be trained.

Paper:    A Dual-Space Framework for General Knowledge Distillation of LLMs (DSKD v2, arXiv 2504.11426), initialization
Differs:  its program takes the SVD of the head in float32, where `torch.linalg.pinv` drops every singular value below
          n 2^-23 of the largest: 2 % for 150 k tokens. The scales of heads take part; soft-caps and biases, which no
          linear map can keep, do not
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stillroom.core.signals import HeadWeights

CHUNK = 8192
"""Tokens that are summed over at once."""
CUTOFF = 1e-6
"""Eigenvalues of a Gram matrix below this share of their mean are zero."""


@dataclass(frozen=True)
class HeadInverse:
    """What inverts a head on some tokens."""

    gram: Tensor
    """(B^T B)^+, `[d,d]`, float64."""
    unread: Tensor
    """Orthonormal directions of the space that none of the tokens reads, `[d,k]`, float64."""

    @classmethod
    @torch.no_grad()
    def of(cls, head: HeadWeights, ids: Tensor) -> "HeadInverse":
        """Of `head` on the tokens `ids [n]`."""
        values, vectors = torch.linalg.eigh(cross_gram(head, ids, head, ids))
        is_read = values > CUTOFF * values.mean()
        read = vectors[:, is_read]
        return cls((read / values[is_read]) @ read.T, vectors[:, ~is_read])


@torch.no_grad()
def cross_gram(
    first: HeadWeights,
    first_ids: Tensor,
    second: HeadWeights,
    second_ids: Tensor,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """A^T B over pairs of tokens `[n]`, `[D,d]` float64, multiplied in `dtype` and times the scales of both heads.

    Heads are single: of a `HeadMixture` the logits are not linear in the hidden states.
    """
    left, right = first.weight, second.weight
    total = torch.zeros(left.shape[1], right.shape[1], dtype=torch.float64, device=left.device)
    with torch.autocast(left.device.type, enabled=False):
        for ours, theirs in zip(first_ids.split(CHUNK), second_ids.split(CHUNK), strict=True):
            total += left[ours].to(dtype).T @ right[theirs].to(dtype)
    return total * (first.transform.scale * second.transform.scale)


@torch.no_grad()
def logit_map(
    source: HeadWeights,
    source_ids: Tensor,
    target: HeadWeights,
    target_ids: Tensor,
    inverse: HeadInverse,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """P `[D,d]`, float64, from the space of `source` to that of `target`, whose `inverse` is known.

    The least-squares map for the logits of the tokens `source_ids [n]`, `target_ids [n]`; zero where they read nothing.
    """
    return cross_gram(source, source_ids, target, target_ids, dtype) @ inverse.gram


class Projector(nn.Linear):
    """A trained linear map between two spaces, `[..., D]` to `[..., d]`, that may start from the heads.

    `setup` knows no heads, so it waits for the first forward pass. Until then its weight is zero, and a weight that is
    not zero has been started: that is true of what was saved, too, so a resumed run needs no other mark.
    """

    def __init__(self, source_width: int, target_width: int, *, bias: bool, waits: bool) -> None:
        super().__init__(source_width, target_width, bias=bias)
        self._waits = waits
        if waits:
            for each in self.parameters():
                nn.init.zeros_(each)

    @torch.no_grad()
    def start(self, source: HeadWeights, source_ids: Tensor, target: HeadWeights, target_ids: Tensor) -> None:
        """Start from `logit_map`, once; the same on every rank. Unread directions get the usual random numbers."""
        if not self._waits:
            return
        self._waits = False
        if self.weight.any():
            return
        inverse = HeadInverse.of(target, target_ids)
        wanted = logit_map(source, source_ids, target, target_ids, inverse)
        generator = torch.Generator().manual_seed(0)
        bound = self.in_features**-0.5
        filled = (
            torch.rand(self.in_features, inverse.unread.shape[1], generator=generator) * 2 * bound - bound
        )
        wanted += filled.to(wanted) @ inverse.unread.T
        self.weight.copy_(wanted.T)

    def forward(self, rows: Tensor) -> Tensor:
        return super().forward(rows.to(self.weight.dtype))
