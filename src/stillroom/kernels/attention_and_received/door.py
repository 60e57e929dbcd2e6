"""The door: checks what comes in and picks an engine.

    O_i = sum_j A_ij v_j,   P_j = sum_i weights_i A_ij,   A = softmax over visible keys of scaling * query_i . key_j

Both read the same map. Where attention is not a finished kernel of the device anyway, its blocks are computed once
for both: on a CPU that costs about what SDPA alone does.
"""

from typing import Literal

import torch
from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.kernels._attention_inputs import check_positions, check_query_key, check_value
from stillroom.kernels._attention_rule import Rule
from stillroom.kernels.attention_and_received.plain import plain
from stillroom.kernels.attention_and_received.streaming import streaming

ENGINES = {"auto": streaming, "plain": plain, "streaming": streaming}


def attention_and_received(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scaling: float,
    weights: Tensor,
    key_mask: Tensor | None = None,
    window: int | None = None,
    is_causal: bool = True,
    softcap: float | None = None,
    impl: Literal["auto", "plain", "streaming"] = "auto",
) -> tuple[Tensor, Tensor]:
    """Output `[B,H,S,e]` in the type of `value`, and received attention `[B,H,S]`, float32 (float64 for float64).

    `query [B,H,S,d]`, `key [B,G,S,d]`, `value [B,G,S,e]` with H a multiple of G, `weights [B,S]` of the query rows,
    `key_mask [B,S]` true on tokens that exist: others are neither seen nor do they see, so their output is zero,
    their weight does not count, and they may hold anything. Query i sees key j if `i - window < j <= i`; without
    `is_causal` it sees all keys. `softcap` bounds the logits as Gemma 2 does.

    Gradients flow to query, key and value, once: a second derivative needs "plain". They never flow to weights. The
    arithmetic is float32 or better, under autocast too. "auto" is "streaming", made for CPUs: on a GPU, call SDPA and
    `received_attention`. Raises `BadInput` where shapes or settings do not fit.
    """
    check_query_key(query, key)
    check_value(key, value)
    check_positions(query, weights, key_mask)
    rule = Rule(scaling, is_causal, window, softcap)
    if impl not in ENGINES:
        raise BadInput(f'expected impl to be "auto", "plain" or "streaming", got {impl!r}.')
    exists = torch.ones_like(weights, dtype=torch.bool) if key_mask is None else key_mask.bool()
    dtype = torch.promote_types(torch.promote_types(query.dtype, value.dtype), torch.float32)
    weights = weights.detach().to(dtype) * exists
    with torch.autocast(query.device.type, enabled=False):
        return ENGINES[impl](query, key, value, weights, exists, rule)
