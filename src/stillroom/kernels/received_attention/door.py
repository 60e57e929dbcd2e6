"""The door: checks what comes in and picks an engine.

    P_j = sum_i weights_i A_ij,   A = softmax over visible keys of scaling * query_i . key_j

A mean over rows commutes with the means over heads, layers and sequences that SHARP takes (Eq. 3-5, 17-19), so
every granularity is a mean of P and no averaged S x S map is ever needed.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.kernels._attention_engine import chosen_engine
from stillroom.kernels._attention_inputs import check_positions, check_query_key
from stillroom.kernels._attention_rows import sampled
from stillroom.kernels._attention_rule import Rule
from stillroom.kernels.received_attention.plain import plain
from stillroom.kernels.received_attention.streaming import streaming


def received_attention(
    query: Tensor,
    key: Tensor,
    *,
    scaling: float,
    weights: Tensor,
    key_mask: Tensor | None = None,
    window: int | None = None,
    is_causal: bool = True,
    softcap: float | None = None,
    row_fraction: float = 1.0,
    impl: Literal["auto", "plain", "streaming", "triton"] = "auto",
) -> Tensor:
    """How much attention every key receives, `[B,H,S]`, float32 (float64 for float64 inputs).

    `query [B,H,S,d]`, `key [B,G,S,d]` with H a multiple of G, `weights [B,S]` of the query rows, `key_mask [B,S]`
    true on keys that exist. Query i sees key j if `i - window < j <= i`; without `is_causal` it sees all keys.
    `softcap` bounds the logits as Gemma 2 does. `row_fraction` uses that share of the rows, drawn anew by every
    call from torch's default generator and re-weighted: unbiased, at about that share of the cost.

    Gradients flow to query and key, once: a second derivative needs "plain". They never flow to weights. Rows of
    weight zero contribute nothing and masked keys receive exactly zero, whatever either holds; a row that sees no
    key contributes nothing. The arithmetic is float32 or better, under autocast too. "auto" is "triton" on a
    CUDA device where it is installed, else "streaming". Raises `BadInput` where shapes or settings do not fit.
    """
    check_query_key(query, key)
    check_positions(query, weights, key_mask)
    rule = Rule(scaling, is_causal, window, softcap)
    if not 0 < row_fraction <= 1:
        raise BadInput(f"expected row_fraction above 0 and at most 1, got {row_fraction}; 1 uses every row.")
    weights = weights.detach().to(torch.promote_types(query.dtype, torch.float32))
    key_mask = None if key_mask is None else key_mask.bool()
    engine = _engine(impl, query)
    with torch.autocast(query.device.type, enabled=False):
        if row_fraction < 1:
            weights = sampled(weights, row_fraction)
        return engine(query, key, weights, key_mask, rule)


def _engine(impl: str, query: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor | None, Rule], Tensor]:
    chosen = chosen_engine(impl, query)
    if chosen == "triton":
        from stillroom.kernels.received_attention.triton import triton

        return triton
    return plain if chosen == "plain" else streaming
