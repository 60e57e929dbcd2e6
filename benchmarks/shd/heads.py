"""Attention heads of one layer on one text, as the paper writes them: maps A and what they move, X = V W_O.

    target = sum_a A_a X_a,   merged output = M (sum_a X_a),   error = |merged output - target| / |target|

Everything is float64 and dense; only the shares come from `kernels.squeeze_weights`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stillroom.kernels.squeeze_weights import MergeWeights, squeeze_weights
from stillroom.kernels.squeeze_weights.door import Method


@dataclass(frozen=True)
class Group:
    """Heads that become one."""

    maps: Tensor
    """`[k,S,S]`."""
    written: Tensor
    """X, `[k,S,D]`."""

    @cached_property
    def whole(self) -> Tensor:
        """What a merged map would move, `[S,D]`."""
        return self.written.sum(dim=0)

    @cached_property
    def target(self) -> Tensor:
        """What the heads write together, `[S,D]`."""
        return (self.maps @ self.written).sum(dim=0)

    def error(self, merged: Tensor) -> float:
        """Of one map `[S,S]` in the place of all, relative to what they write."""
        return float((merged @ self.whole - self.target).norm() / self.target.norm())

    def mixed(self, shares: Tensor) -> Tensor:
        """The map `[S,S]` with these shares `[k]` of the heads."""
        return torch.einsum("k,kst->st", shares, self.maps)


@dataclass(frozen=True)
class Heads:
    query: Tensor
    """`[H,S,d]`."""
    key: Tensor
    """`[G,S,d]`."""
    value: Tensor
    """`[G,S,e]`."""
    out_proj: Tensor
    """`[H,e,D]`."""
    scaling: float
    is_causal: bool = True

    @cached_property
    def maps(self) -> Tensor:
        """`[H,S,S]`."""
        key = self.key.repeat_interleave(len(self.query) // len(self.key), dim=0)
        return softmax_maps(self.query @ key.mT * self.scaling, self.is_causal)

    @cached_property
    def written(self) -> Tensor:
        """X, `[H,S,D]`."""
        return self.value.repeat_interleave(len(self.query) // len(self.value), dim=0) @ self.out_proj

    def group(self, heads: Sequence[int]) -> Group:
        """Their maps and X, which keeps all inner products and is as narrow as it can be."""
        written = self.written[list(heads)]
        rows = written.flatten(0, 1)
        basis = torch.linalg.qr(self.out_proj[list(heads)].flatten(0, 1).mT).Q
        narrow = rows @ basis if basis.shape[1] < rows.shape[1] else rows
        return Group(self.maps[list(heads)], narrow.unflatten(0, written.shape[:2]))

    def shares(self, groups: Sequence[Sequence[int]], method: Method) -> MergeWeights:
        """Of one text: `mix [g,k]` and the rest of the answer likewise."""
        weights = torch.full((1, self.query.shape[1]), 1 / self.query.shape[1], dtype=torch.float64)
        found = squeeze_weights(
            self.query[None],
            self.key[None],
            self.value[None],
            self.out_proj,
            groups=groups,
            scaling=self.scaling,
            weights=weights,
            is_causal=self.is_causal,
            method=method,
        )
        return MergeWeights(*(each[0] for each in found))


def softmax_maps(scores: Tensor, is_causal: bool = True) -> Tensor:
    """`[...,S,S]` to maps."""
    if is_causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, -torch.inf)
    return scores.softmax(dim=-1)


def random_heads(
    heads: int,
    length: int,
    width: int,
    generator: torch.Generator,
    *,
    sharpness: float = 1.0,
    correlation: float = 0.0,
    is_causal: bool = True,
) -> Heads:
    """Unrelated Gaussian queries and keys; scores deviate by `sharpness`.

    Every head has values and a slice of the output projection of its own. `correlation` is that of each entry of X
    with the same entry of the head before: heads that say nearly the same (near 1) or nearly the opposite (near -1).
    """

    def gaussian(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    query, key = sharpness * gaussian(heads, length, width), gaussian(heads, length, width)
    value, out_proj = gaussian(heads, length, width), gaussian(heads, width, 2 * heads * width)
    if correlation:
        own = math.sqrt(1 - correlation**2)
        for head in range(1, heads):
            value[head] = correlation * value[head - 1] + own * value[head]
            out_proj[head] = out_proj[0]
    return Heads(query, key, value, out_proj / math.sqrt(width), 1 / math.sqrt(width), is_causal)
