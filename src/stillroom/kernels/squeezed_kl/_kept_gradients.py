"""Gradients that are computed with the value and kept: backward only multiplies.

The gradient of a head's divergence is linear in the slope of that one number. So it is computed in forward for a
slope of one, where the maps are at hand, and no map, the teacher's least of all, is computed twice. What is kept is
two tensors like the student's queries, in the type of the arithmetic: halves would lose small row weights.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Compute = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]
"""`(query [B,H,S,d], key [B,G,S,d], d_query, d_key) -> values [B,H]`; writes both gradients, `[B,H,S,d]` of zeros at
first, where they are not None. That of the keys by query head: heads that share a key head may differ in slope."""


class KeptGradients(torch.autograd.Function):
    """`apply(query, key, dtype of the arithmetic, compute) -> values [B,H]`."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, dtype: torch.dtype, compute: Compute) -> Tensor:
        d_query, d_key = (
            torch.zeros(query.shape, dtype=dtype, device=query.device) if wanted else None
            for wanted in ctx.needs_input_grad[:2]
        )
        values = compute(query, key, d_query, d_key)
        ctx.save_for_backward(d_query, d_key)
        ctx.key_heads, ctx.dtype = key.shape[1], query.dtype
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        d_query, d_key = ctx.saved_tensors
        slope = slope[:, :, None, None]
        if d_query is not None:
            d_query = (d_query * slope).to(ctx.dtype)
        if d_key is not None:
            d_key = (d_key * slope).unflatten(1, (ctx.key_heads, -1)).sum(2).to(ctx.dtype)
        return d_query, d_key, None, None
