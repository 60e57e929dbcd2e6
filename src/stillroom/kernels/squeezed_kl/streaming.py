"""Blocks of rows: student's map, teacher's maps merged, divergence and gradient at once; no map of S x S ever exists.

A block holds some rows with all the keys that they see, so both softmaxes are complete, and the gradient follows from
the same block (`_closed_forms`). With D the slope at the logits:

    dQ_i = scaling weights_i sum_j D_ij k_j        dK_j = scaling sum_i D_ij weights_i q_i

A soft-cap c multiplies D by 1 - tanh^2(score / c).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from stillroom.kernels._attention_blocks import Part, Tiles, parts
from stillroom.kernels._attention_rows import counted_rows
from stillroom.kernels._attention_rule import Rule
from stillroom.kernels.squeezed_kl._closed_forms import CLOSED_FORMS
from stillroom.kernels.squeezed_kl._kept_gradients import KeptGradients
from stillroom.kernels.squeezed_kl._merged_blocks import merged_blocks
from stillroom.kernels.squeezed_kl._teacher import MergedTeacher


def streaming(
    query: Tensor,
    key: Tensor,
    teacher: MergedTeacher,
    weights: Tensor,
    key_mask: Tensor | None,
    rule: Rule,
    divergence: str,
) -> Tensor:
    """`[B,H]` in the type of `weights`."""

    def compute(query: Tensor, key: Tensor, d_query: Tensor | None, d_key: Tensor | None) -> Tensor:
        values, tiles = weights.new_zeros(query.shape[:2]), Tiles(weights)
        for part in _parts(query, key, weights, key_mask, rule):
            heads = part.place.query_heads
            total = _compare(part, teacher, divergence, tiles, d_query, d_key)
            values[part.place.samples, heads] = total.view(-1, heads.stop - heads.start)
        return values

    return KeptGradients.apply(query, key, weights.dtype, compute)


def _parts(
    query: Tensor, key: Tensor, weights: Tensor, key_mask: Tensor | None, rule: Rule
) -> Iterator[Part]:
    rows = counted_rows(weights, key_mask, rule)
    keys = torch.ones_like(rows) if key_mask is None else key_mask
    return parts(query, key, weights, rows, keys, rule)


def _compare(
    part: Part,
    teacher: MergedTeacher,
    divergence: str,
    tiles: Tiles,
    d_query: Tensor | None,
    d_key: Tensor | None,
) -> Tensor:
    """The values of a part, `[n*r]`; write its gradients, both `[B,H,S,d]`, where they are wanted."""
    closed_form, keys = CLOSED_FORMS[divergence], len(part.place.keys.at)
    total = part.query.new_zeros(part.heads)
    weights = part.weights.mT
    weighted = part.query * weights
    row_sums = torch.empty_like(part.query)
    key_sums = part.query.new_zeros(part.heads, keys, part.query.shape[2])
    for block, merged in merged_blocks(part, teacher, tiles):
        values, slopes = closed_form(block, merged, tiles("spare", *merged.shape), keys)
        total += torch.linalg.vecdot(values, block.weights.squeeze(1))
        if block.tanh is not None:
            slopes.mul_(block.tanh.square_().neg_().add_(1.0))
        if d_key is not None:
            key_sums[:, block.keys].baddbmm_(slopes.mT, weighted[:, block.rows])
        if d_query is not None:
            sums = torch.bmm(part.folded(slopes), part.key[:, block.keys])
            row_sums[:, block.rows] = sums.view(part.heads, -1, sums.shape[2])
    if d_key is not None:
        part.place.put_received(d_key, key_sums.mul_(part.rule.scaling))
    if d_query is not None:
        part.place.put_rows(d_query, row_sums.mul_(weights))
    return total
