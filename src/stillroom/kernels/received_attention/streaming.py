"""Blocks of rows: scores, softmax, weighted column sums, then the next block; the map never exists.

A block holds some rows with all the keys that they see, so its softmax is complete and nothing about it needs to
be kept for backward, which computes A again. With g = dLoss/dP, u_i = sum_j A_ij g_j and dS_ij = A_ij (g_j - u_i):

    dQ_i = scaling weights_i sum_j dS_ij k_j        dK_j = scaling sum_i dS_ij weights_i q_i

A soft-cap c multiplies dS by 1 - tanh^2(score / c). Rows without weight and masked keys are left out by position
before anything is computed. Memory is that of the queries and keys of a part and a few tiles.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stillroom.kernels._attention_blocks import Part, parts
from stillroom.kernels._attention_rows import counted_rows
from stillroom.kernels._attention_rule import Rule


def streaming(query: Tensor, key: Tensor, weights: Tensor, key_mask: Tensor | None, rule: Rule) -> Tensor:
    """Received attention `[B,H,S]` in the type of `weights`."""
    return _ReceivedAttention.apply(query, key, weights, key_mask, rule)


class _ReceivedAttention(torch.autograd.Function):
    """Keeps its inputs and nothing else."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, weights: Tensor, key_mask: Tensor | None, rule: Rule
    ) -> Tensor:
        ctx.save_for_backward(query, key, weights, key_mask)
        ctx.rule = rule
        received = weights.new_zeros(query.shape[:3])
        for part in _parts(query, key, weights, key_mask, rule):
            total = weights.new_zeros(part.heads, 1, len(part.place.keys.at))
            for block in part.blocks():
                total[:, :, block.keys].baddbmm_(block.weights, block.map)
            part.place.put_received(received, total.squeeze(1))
        return received

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        query, key, weights, key_mask = ctx.saved_tensors
        wants_query, wants_key = ctx.needs_input_grad[:2]
        d_query = torch.zeros_like(query) if wants_query else None
        d_key = torch.zeros_like(key) if wants_key else None
        with torch.autocast(query.device.type, enabled=False):
            for part in _parts(query, key, weights, key_mask, ctx.rule):
                _backward(part, slope, d_query, d_key)
        return d_query, d_key, None, None, None


def _parts(
    query: Tensor, key: Tensor, weights: Tensor, key_mask: Tensor | None, rule: Rule
) -> Iterator[Part]:
    rows = counted_rows(weights, key_mask, rule)
    keys = torch.ones_like(rows) if key_mask is None else key_mask
    return parts(query, key, weights, rows, keys, rule)


def _backward(part: Part, slope: Tensor, d_query: Tensor | None, d_key: Tensor | None) -> None:
    """Write the gradients of one part; `slope [B,H,S]` is the gradient of what its keys received."""
    g = part.place.received_of(slope, part.key.dtype).unsqueeze(1)
    weights = part.weights.mT
    weighted = part.query * weights
    row_sums, key_sums = torch.empty_like(part.query), torch.zeros_like(part.key)
    for block in part.blocks():
        here = g[:, :, block.keys]
        d_scores = torch.sub(here, torch.bmm(block.map, here.mT), out=block.logits).mul_(block.map)
        if block.tanh is not None:
            d_scores.mul_(block.tanh.square_().neg_().add_(1.0))
        d_scores = part.folded(d_scores)
        if d_key is not None:
            key_sums[:, block.keys].baddbmm_(d_scores.mT, part.folded(weighted[:, block.rows]))
        if d_query is not None:
            sums = torch.bmm(d_scores, part.key[:, block.keys])
            row_sums[:, block.rows] = sums.view(part.heads, -1, sums.shape[2])
    if d_key is not None:
        part.place.put_keys(d_key, key_sums.mul_(part.rule.scaling))
    if d_query is not None:
        part.place.put_rows(d_query, row_sums.mul_(weights))
