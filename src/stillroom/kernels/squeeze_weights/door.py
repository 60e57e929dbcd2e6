"""The door: checks what comes in, picks an engine and a way to merge.

    w = argmin_w || (sum_a w_a A_a) (sum_a X_a) - sum_a A_a X_a ||^2,   w >= 0,  sum_a w_a = 1,   X_a = V_a W_a

A_a is the map of head a, V_a its values, W_a its slice of the output projection; the norm sums over rows with their
weights. Of two heads, with x = (A_1 - A_2) X_1 and y = (A_1 - A_2) X_2,

    alpha = 1/2 + (|x|^2 - |y|^2) / (2 |x + y|^2), clamped to [0, 1]; 1/2 where the denominator vanishes

Paper:    Optimizing Knowledge Distillation in Transformers: Enabling Multi-Head Attention without Alignment Barriers
          (2025, squeezing heads), Eq. 5-9
Differs:  Eq. 7 prints N = A_2 X_1 - A_1 X_2 where its own definition gives (A_2 - A_1) X_1: "printed" is Eq. 9 with
          the printed N. More than two heads are merged at once, exactly ("optimal"), or one after the other.
"""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.kernels._attention_inputs import check_positions, check_query_key, check_value
from stillroom.kernels._attention_rule import Rule
from stillroom.kernels._head_groups import Groups, check_groups
from stillroom.kernels.squeeze_weights._bundle import bundles
from stillroom.kernels.squeeze_weights._merging import (
    LARGEST_GROUP,
    Shares,
    optimal,
    pair_by_pair,
    printed_offset,
    true_offset,
)
from stillroom.kernels.squeeze_weights.plain import plain
from stillroom.kernels.squeeze_weights.streaming import streaming

ENGINES = {"auto": streaming, "plain": plain, "streaming": streaming}
Method = Literal["optimal", "sequential", "printed", "constant"]


class MergeWeights(NamedTuple):
    """Letters: g groups, k heads in the longest. No gradient flows through any of it."""

    mix: Tensor
    """`[B,g,k]`: at least 0, rows sum to one, zero beyond the last head of a group."""
    clamped: Tensor
    """`[B,g]` bool: whether the best weights without bounds had one below zero."""
    unclamped: Tensor
    """`[B,g,k]`: those weights. Rows sum to one; of a pair, the first is alpha before clamping."""


@torch.no_grad()
def squeeze_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out_proj: Tensor,
    *,
    groups: Groups,
    scaling: float,
    weights: Tensor,
    key_mask: Tensor | None = None,
    window: int | None = None,
    is_causal: bool = True,
    softcap: float | None = None,
    method: Method = "optimal",
    impl: Literal["auto", "plain", "streaming"] = "auto",
) -> MergeWeights:
    """For each sample and group the weights with which its heads become one head, float32 (float64 for float64).

    `query [B,H,S,d]`, `key [B,G,S,d]`, `value [B,G,S,e]` with H a multiple of G, `out_proj [H,e,D]`: the
    slice of the output projection that each head has, or that of `narrow_projection`, which saves time at every
    call. `groups`: heads by number. `weights [B,S]` of the query rows, at least 0, and 0 on padding; `key_mask [B,S]`
    true on keys that exist; both kinds of padding may hold anything. Query i sees key j if `i - window < j <= i`;
    without `is_causal` it sees all keys. `softcap` bounds the logits as Gemma 2 does.

    "optimal": the exact minimum, for groups of up to eight heads. "sequential": two heads, their merger with the
    third, and so on. "printed": the same with the paper's N. "constant": all alike, whatever the maps are. "auto" is
    "streaming", which never holds a map. Raises `BadInput` where shapes or settings do not fit.
    """
    check_query_key(query, key)
    check_value(key, value)
    check_positions(query, weights, key_mask)
    check_groups(groups, query.shape[1])
    _check_out_proj(query, value, out_proj)
    _check_choices(method, impl, groups)
    rule = Rule(scaling, is_causal, window, softcap)
    dtype = torch.promote_types(torch.promote_types(query.dtype, value.dtype), torch.float32)
    found = _constant(groups, len(query), dtype, query.device)
    if method == "constant":
        return found
    mask = None if key_mask is None else key_mask.bool()
    with torch.autocast(query.device.type, enabled=False):
        for bundle in bundles(query, key, value, out_proj, groups):
            products = ENGINES[impl](bundle, weights.to(dtype), mask, rule, method == "printed")
            shares = _merged(products, method)
            found.mix[:, bundle.at, : bundle.heads] = shares.mix.to(dtype)
            found.clamped[:, bundle.at] = shares.clamped
            found.unclamped[:, bundle.at, : bundle.heads] = shares.unclamped.to(dtype)
    return found


def _merged(products: Tensor, method: str) -> Shares:
    if method == "optimal":
        return optimal(products)
    return pair_by_pair(products, printed_offset if method == "printed" else true_offset)


def _constant(groups: Groups, batch: int, dtype: torch.dtype, device: torch.device) -> MergeWeights:
    """The same for every head of a group: also the truth about groups of one."""
    longest = max(map(len, groups), default=0)
    rows = [[1 / len(group)] * len(group) + [0.0] * (longest - len(group)) for group in groups]
    mix = torch.tensor(rows, dtype=dtype, device=device).reshape(len(groups), longest).repeat(batch, 1, 1)
    return MergeWeights(mix, torch.zeros(mix.shape[:2], dtype=torch.bool, device=device), mix.clone())


def _check_out_proj(query: Tensor, value: Tensor, out_proj: Tensor) -> None:
    expected = query.shape[1], value.shape[3]
    if out_proj.dim() != 3 or out_proj.shape[:2] != expected or not out_proj.dtype.is_floating_point:
        raise BadInput(
            f"expected out_proj [H,e,D] of floating-point numbers with H and e of query and value, {list(expected)}, "
            f"got {list(out_proj.shape)} of {out_proj.dtype}; cut the output projection into one slice a head."
        )


def _check_choices(method: str, impl: str, groups: Groups) -> None:
    if method not in get_args(Method):
        raise BadInput(
            f'expected method to be "optimal", "sequential", "printed" or "constant", got {method!r}.'
        )
    if impl not in ENGINES:
        raise BadInput(f'expected impl to be "auto", "plain" or "streaming", got {impl!r}.')
    longest = max(map(len, groups), default=0)
    if method == "optimal" and longest > LARGEST_GROUP:
        raise BadInput(
            f'expected groups of at most {LARGEST_GROUP} heads for method="optimal", got one of {longest}; '
            'use method="sequential".'
        )
