"""Blocks of rows: the map of a block once, for what its rows put out and for what its keys receive.

Backward computes the blocks again. With o = dLoss/dO and g = dLoss/dP,

    dA_ij = o_i . v_j + weights_i g_j        dS_ij = A_ij (dA_ij - sum_k A_ik dA_ik)        dV_j = sum_i A_ij o_i
    dQ_i = scaling sum_j dS_ij k_j           dK_j = scaling sum_i dS_ij q_i

Received attention is one more channel of the values in disguise: dA = [o_i, weights_i] . [v_j, g_j] is a single
matrix product, and where only one of the two losses exists its columns are all there is. A soft-cap c multiplies dS
by 1 - tanh^2(score / c). Memory is that of queries, keys and values of a part and a few tiles.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stillroom.kernels._attention_blocks import Block, Part, parts
from stillroom.kernels._attention_rule import Rule


def streaming(
    query: Tensor, key: Tensor, value: Tensor, weights: Tensor, exists: Tensor, rule: Rule
) -> tuple[Tensor, Tensor]:
    """Output `[B,H,S,e]` and received attention `[B,H,S]`."""
    return _AttentionAndReceived.apply(query, key, value, weights, exists, rule)


class _AttentionAndReceived(torch.autograd.Function):
    """Keeps its inputs and nothing else."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, weights: Tensor, exists: Tensor, rule: Rule
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(query, key, value, weights, exists)
        ctx.set_materialize_grads(False)
        ctx.rule = rule
        batch, heads, length, _ = query.shape
        # positions before heads in memory: the next layer folds heads into its width, without a copy
        output = value.new_zeros(batch, length, heads, value.shape[3]).transpose(1, 2)
        received = weights.new_zeros(batch, heads, length)
        for part in parts(query, key, weights, exists, exists, rule):
            _forward(part, value.detach(), output, received)
        return output, received

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, o: Tensor | None, g: Tensor | None) -> tuple[Tensor | None, ...]:
        query, key, value, weights, exists = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        wanted[2] = wanted[2] and o is not None
        gradients = [
            torch.zeros_like(tensor) if want else None
            for tensor, want in zip((query, key, value), wanted, strict=True)
        ]
        if o is not None or g is not None:
            with torch.autocast(query.device.type, enabled=False):
                for part in parts(query, key, weights, exists, exists, ctx.rule):
                    _backward(part, value, o, g, *gradients)
        return *gradients, None, None, None


def _forward(part: Part, value: Tensor, output: Tensor, received: Tensor) -> None:
    """Write what one part puts out and what its keys receive."""
    values = part.place.keys_of(value, part.key.dtype).contiguous()
    rows = values.new_empty(*part.query.shape[:2], values.shape[2])
    total = values.new_zeros(part.heads, 1, values.shape[1])
    for block in part.blocks():
        total[:, :, block.keys].baddbmm_(block.weights, block.map)
        out = torch.bmm(part.folded(block.map), values[:, block.keys])
        rows[:, block.rows] = out.view(part.heads, -1, out.shape[2])
    part.place.put_rows(output, rows)
    part.place.put_received(received, total.squeeze(1))


def _backward(
    part: Part,
    value: Tensor,
    o: Tensor | None,
    g: Tensor | None,
    d_query: Tensor | None,
    d_key: Tensor | None,
    d_value: Tensor | None,
) -> None:
    """Write the gradients of one part, those that are wanted."""
    left, right = _channels(part, value, o, g)
    width = value.shape[3]
    query_sums, key_sums = torch.empty_like(part.query), torch.zeros_like(part.key)
    value_sums = part.key.new_zeros(*part.key.shape[:2], width)
    for block in part.blocks():
        here = part.folded(left[:, block.rows])
        if d_value is not None:
            value_sums[:, block.keys].baddbmm_(part.folded(block.map).mT, here[:, :, :width])
        torch.bmm(here, right[:, block.keys].mT, out=part.folded(block.logits))
        d_scores = part.folded(_through_softmax(block))
        key_sums[:, block.keys].baddbmm_(d_scores.mT, part.folded(part.query[:, block.rows]))
        sums = torch.bmm(d_scores, part.key[:, block.keys])
        query_sums[:, block.rows] = sums.view(part.heads, -1, sums.shape[2])
    if d_query is not None:
        part.place.put_rows(d_query, query_sums)
    if d_key is not None:
        part.place.put_keys(d_key, key_sums.mul_(part.rule.scaling))
    if d_value is not None:
        part.place.put_keys(d_value, value_sums)


def _channels(part: Part, value: Tensor, o: Tensor | None, g: Tensor | None) -> tuple[Tensor, Tensor]:
    """`[o, weights]` of the rows, `[n*r, R, x]`, and `[v, g]` of the keys, `[n, K, x]`."""
    place, dtype, share = part.place, part.key.dtype, part.heads // len(part.key)
    left, right = [], []
    if o is not None:
        left.append(place.rows_of(o, dtype))
        right.append(place.keys_of(value, dtype))
    if g is not None:
        # query heads that share a key head have a channel each, where the others weigh nothing
        own = torch.eye(share, dtype=dtype, device=part.key.device).repeat(len(part.key), 1).unsqueeze(1)
        left.append(part.weights.mT * own)
        right.append(place.received_of(g, dtype).unflatten(0, (-1, share)).mT)
    return torch.cat(left, dim=2), torch.cat(right, dim=2)


def _through_softmax(block: Block) -> Tensor:
    """dS from the dA that lies in the block's logits, and in its place."""
    d_map, rows = block.logits, block.map
    # one pass over both for the sums of the rows and the differences; d_map may be overwritten, row by row
    torch.ops.aten._softmax_backward_data.out(d_map, rows, -1, rows.dtype, grad_input=d_map)
    return d_map if block.tanh is None else d_map.mul_(block.tanh.square_().neg_().add_(1.0))
