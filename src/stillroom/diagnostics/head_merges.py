"""Teacher heads that are merged: how their shares are distributed, and what a merge loses of what they write.

    alpha         the best share of the first of two heads, before it is kept within [0, 1]; by layer and merge
    E(w)          sum_t w_t | (sum_a w_a A_a) (sum_n X_n) - sum_n A_n X_n |_t^2 = w^T G w,    G_ab = <R_a, R_b>
                  R_a = A_a (sum_n X_n) - sum_n A_n X_n,   X = V W_O,   shares w sum to one
    lost          sum of E over samples and merges, over the sum of | sum_n A_n X_n |^2

Paper:    Optimizing Knowledge Distillation in Transformers (2025, SHD), Figure 2 and "Distribution of alpha", which
          says that alpha always lies within [0, 1]; Tables 7 and 8 choose or average heads, and have no errors
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.head_merge import HeadMerge
from stillroom.core.inspection import LEVELS, LayerMerges, Merge
from stillroom.core.signals import OutputProjection, QueryKey, Signals, Values
from stillroom.kernels._attention_map import attention_map
from stillroom.kernels._attention_rule import Rule
from stillroom.kernels.squeeze_weights import narrow_projection

OWN, EQUAL, ALONE = "own shares", "equal shares", "one head alone"


@runtime_checkable
class OffersMerges(Protocol):
    """An objective that shows which heads of its teacher become one."""

    def merges(self, teacher: Signals, batch: Batch) -> list[HeadMerge]:
        """For every pair of layers."""
        ...


class MergeCount:
    """Collects the merges of one pair of layers, batch by batch."""

    def __init__(self) -> None:
        self._unclamped: list[Tensor] = []
        self._clamped: list[Tensor] = []
        self._lost: dict[str, float] = {}

    def add(self, merge: HeadMerge, teacher: Signals, real: Tensor) -> None:
        """`real [B,S]`: which tokens exist. Samples without a row that counts are passed over."""
        self._merge = merge
        if merge.unclamped is None or merge.clamped is None:
            return
        has_rows = merge.counted.any(dim=1)
        self._unclamped.append(merge.unclamped[has_rows].double().cpu())
        self._clamped.append(merge.clamped[has_rows].cpu())
        for name, amount in _losses(merge, teacher, real.bool()).items():
            self._lost[name] = self._lost.get(name, 0.0) + amount

    def result(self) -> LayerMerges:
        layer, partner = self._merge.layer, self._merge.partner
        several = [head for head, group in enumerate(self._merge.groups) if len(group) > 1]
        if not several or not self._clamped or not sum(map(len, self._clamped)):
            return LayerMerges(layer, partner, [], None, {})
        shares, clamped = torch.cat(self._unclamped), torch.cat(self._clamped).double()
        merges = [
            Merge(head, group, _quantiles(shares[:, head, : len(group)]), float(clamped[:, head].mean()))
            for head, group in enumerate(self._merge.groups)
            if len(group) > 1
        ]
        total = self._lost[_WRITTEN]
        lost = {name: self._lost[name] / total for name in (OWN, EQUAL, ALONE)} if total > 0 else {}
        return LayerMerges(layer, partner, merges, float(clamped[:, several].mean()), lost)


def residual_gram(maps: Tensor, written: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Of the heads of one group, `maps [k,S,S]`, `written [k,S,D]`, `weights [S]` of rows: G `[k,k]`, and the square
    of what they write together."""
    target = (maps @ written).sum(dim=0)
    residuals = maps @ written.sum(dim=0) - target
    gram = torch.einsum("s,asd,bsd->ab", weights, residuals, residuals)
    return gram, (weights[:, None] * target * target).sum()


_WRITTEN = "written"


def _losses(merge: HeadMerge, teacher: Signals, real: Tensor) -> dict[str, float]:
    """E with three kinds of shares and the square of what is written, summed over samples and merges."""
    seen, values = teacher[QueryKey(merge.partner)], teacher[Values(merge.partner)]
    narrow = narrow_projection(teacher[OutputProjection(merge.partner)], merge.groups)
    rule = Rule(seen.scaling, True, seen.window, seen.softcap)
    found = dict.fromkeys((OWN, EQUAL, ALONE, _WRITTEN), 0.0)
    for sample, tokens in enumerate(real):
        query, key, value = (each[sample][:, tokens].to(narrow) for each in (seen.query, seen.key, values))
        maps = attention_map(query[None], key[None], None, rule, narrow.dtype)[0]
        weights = merge.counted[sample, tokens].to(narrow)
        for head, group in enumerate(merge.groups):
            if len(group) < 2:
                continue
            reads = torch.tensor(group, device=value.device) * len(value) // len(query)
            gram, square = residual_gram(maps[group], value[reads] @ narrow[group], weights)
            own = merge.mix[sample, head, : len(group)].to(gram)
            found[OWN] += float(own @ gram @ own)
            found[EQUAL] += float(gram.mean())
            found[ALONE] += float(gram.diagonal().mean())
            found[_WRITTEN] += float(square)
    return found


def _quantiles(shares: Tensor) -> list[list[float]]:
    """`[N,k]` to `[k][7]`, four digits."""
    levels = torch.tensor(LEVELS, dtype=shares.dtype)
    return _short(torch.quantile(shares, levels, dim=0).T.tolist())


def _short(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[float(f"{value:.4g}") for value in row] for row in rows]
