"""The door: checks what comes in and picks an engine.

    P_j = sum_i weights_i A_ij,   A = softmax over visible keys of scaling * query_i . key_j

A mean over rows commutes with the means over heads, layers and sequences that SHARP takes (Eq. 3-5, 17-19), so
every granularity is a mean of P and no averaged S x S map is ever needed.
"""

import importlib.util
import os
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.kernels.received_attention._rows import sampled
from stillroom.kernels.received_attention._rule import Rule
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
    _check_tensors(query, key, weights, key_mask)
    rule = _checked_rule(scaling, window, is_causal, softcap)
    if not 0 < row_fraction <= 1:
        raise BadInput(f"expected row_fraction above 0 and at most 1, got {row_fraction}; 1 uses every row.")
    weights = weights.detach().to(torch.promote_types(query.dtype, torch.float32))
    key_mask = None if key_mask is None else key_mask.bool()
    engine = _engine(impl, query)
    with torch.autocast(query.device.type, enabled=False):
        if row_fraction < 1:
            weights = sampled(weights, row_fraction)
        return engine(query, key, weights, key_mask, rule)


def _check_tensors(query: Tensor, key: Tensor, weights: Tensor, key_mask: Tensor | None) -> None:
    if (
        query.dim() != 4
        or key.dim() != 4
        or query.shape[0] != key.shape[0]
        or query.shape[2:] != key.shape[2:]
    ):
        raise BadInput(
            "expected query [B,H,S,d] and key [B,G,S,d] with the same B, S and d, got "
            f"{list(query.shape)} and {list(key.shape)}; transpose heads before positions."
        )
    if key.shape[1] == 0 or query.shape[1] % key.shape[1]:
        raise BadInput(
            f"expected the number of query heads to be a multiple of the number of key heads, got "
            f"{query.shape[1]} and {key.shape[1]}."
        )
    if query.dtype != key.dtype or not query.dtype.is_floating_point:
        raise BadInput(
            f"expected query and key of one floating-point type, got {query.dtype} and {key.dtype}; convert one."
        )
    for name, given in (("weights", weights), ("key_mask", key_mask)):
        if given is not None and given.shape != (query.shape[0], query.shape[2]):
            raise BadInput(
                f"expected {name} [B,S] = {[query.shape[0], query.shape[2]]}, got {list(given.shape)}; "
                "heads share them."
            )


def _checked_rule(scaling: float, window: int | None, is_causal: bool, softcap: float | None) -> Rule:
    if window is not None and window < 1:
        raise BadInput(
            f"expected a window of at least 1 (a query sees itself), got {window}; None means no window."
        )
    if window is not None and not is_causal:
        raise BadInput(
            f"expected is_causal with a window, got is_causal=False and window={window}; drop the window."
        )
    if softcap is not None and not softcap > 0:
        raise BadInput(f"expected a positive softcap, got {softcap}; None means no cap.")
    return Rule(scaling, is_causal, window, softcap)


def _engine(impl: str, query: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor | None, Rule], Tensor]:
    if impl == "auto":
        fits = (
            query.is_cuda and query.dtype != torch.float64 and importlib.util.find_spec("triton") is not None
        )
        impl = "triton" if fits else "streaming"
    if impl == "plain":
        return plain
    if impl == "streaming":
        return streaming
    if impl == "triton":
        _check_triton(query)
        from stillroom.kernels.received_attention.triton import triton

        return triton
    raise BadInput(f'expected impl to be "auto", "plain", "streaming" or "triton", got {impl!r}.')


def _check_triton(query: Tensor) -> None:
    instead = 'use impl="streaming".'
    if importlib.util.find_spec("triton") is None:
        raise BadInput(f'impl="triton" needs the package triton, which is not installed; {instead}')
    if not query.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise BadInput(f'impl="triton" needs tensors on a CUDA device, got {query.device.type}; {instead}')
    if query.dtype == torch.float64:
        raise BadInput(f'impl="triton" computes in float32, got float64 inputs; {instead}')
