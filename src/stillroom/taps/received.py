"""Received attention from the queries and keys of a layer: which rows are averaged, and how they are weighted.

Rows without weight are never computed, so what the last token alone looks at costs one query.
"""

import torch
from torch import Tensor

from stillroom.core.batch import Side
from stillroom.core.signals import QueryKeys, ReceivedAttention
from stillroom.kernels.attention_and_received import attention_and_received
from stillroom.kernels.received_attention import received_attention


def reduced(request: ReceivedAttention, seen: QueryKeys, side: Side) -> Tensor:
    """Attention that every key receives from the average query at `request.rows`, `[B,H,S]`, float32."""
    device = seen.query.device
    return received_attention(
        seen.query,
        seen.key,
        scaling=seen.scaling,
        weights=side.row_weights(request.rows).to(device),
        key_mask=side.attention_mask.to(device).bool(),
        window=seen.window,
        is_causal=True,
        softcap=seen.softcap,
    )


def reduced_with_output(
    request: ReceivedAttention, seen: QueryKeys, value: Tensor, side: Side
) -> tuple[Tensor, Tensor]:
    """The same from one pass, after the output of the layer `[B,S,H,e]`, which is zero on padding."""
    device = seen.query.device
    output, received = attention_and_received(
        seen.query,
        seen.key,
        value,
        scaling=seen.scaling,
        weights=side.row_weights(request.rows).to(device),
        key_mask=side.attention_mask.to(device).bool(),
        window=seen.window,
        is_causal=True,
        softcap=seen.softcap,
    )
    return output.transpose(1, 2), received


def is_plain(mask: Tensor | None, side: Side, window: int | None) -> bool:
    """Whether a mask `[B,1,S,S]`, true where a query sees a key, is what a window and the padding of `side` make it.

    Only rows of real tokens count. No mask stands for causal attention over text without padding.
    """
    exists = side.attention_mask.bool()
    length = exists.shape[1]
    if mask is None:
        return bool(exists.all()) and (window is None or window >= length)
    if mask.dtype != torch.bool or mask.shape != (len(exists), 1, length, length):
        return False
    exists = exists.to(mask.device)
    at = torch.arange(length, device=mask.device)
    sees = at[None, :] <= at[:, None]
    if window is not None:
        sees &= at[None, :] > at[:, None] - window
    differs = (mask[:, 0] != (sees & exists[:, None, :])) & exists[:, :, None]
    return not bool(differs.any())
