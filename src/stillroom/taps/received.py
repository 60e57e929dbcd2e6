"""Received attention from the queries and keys of a layer: which rows are averaged, and how they are weighted."""

from torch import Tensor

from stillroom.core.batch import Side
from stillroom.core.signals import QueryKeys, ReceivedAttention
from stillroom.kernels.received_attention import received_attention


def reduced(request: ReceivedAttention, seen: QueryKeys, side: Side) -> Tensor:
    """Attention that every key receives from the average query at `request.rows`, `[B,H,S]`, float32."""
    device = seen.query.device
    return received_attention(
        seen.query,
        seen.key,
        scaling=seen.scaling,
        weights=row_weights(request, side).to(device),
        key_mask=side.attention_mask.to(device).bool(),
        window=seen.window,
        is_causal=True,
        softcap=seen.softcap,
    )


def row_weights(request: ReceivedAttention, side: Side) -> Tensor:
    """Weights `[B,S]` that are equal on the rows asked for and sum to one; all zero where a sample has no such row."""
    rows = side.attention_mask.bool() if request.rows == "real" else side.predicts
    return rows.float() / rows.sum(dim=1, keepdim=True).clamp(min=1)
