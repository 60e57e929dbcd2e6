"""How alike the attention maps of a layer's heads are, from queries and keys, in blocks of rows.

    s_ij = <A_i, A_j> / (|A_i| |A_j|),   <A, A'> = sum over rows of weight * sum over keys of A A'

Paper:    Optimizing Knowledge Distillation in Transformers: Enabling Multi-Head Attention without Alignment Barriers
          (2025, squeezing heads), "head matching" in Table 5, whose similarity is not printed
Differs:  rows of padding are left out.
"""

import torch
from torch import Tensor

from stillroom.kernels._attention_blocks import TILE, Positions
from stillroom.kernels._attention_inputs import check_positions, check_query_key
from stillroom.kernels._attention_rows import counted_rows
from stillroom.kernels._attention_rule import Rule


@torch.no_grad()
def map_similarity(
    query: Tensor,
    key: Tensor,
    *,
    scaling: float,
    weights: Tensor,
    key_mask: Tensor | None = None,
    window: int | None = None,
    is_causal: bool = True,
    softcap: float | None = None,
) -> Tensor:
    """Cosines `[B,H,H]` between the maps of every two heads, float64, 0 to 1; zero for a sample without rows.

    `query [B,H,S,d]`, `key [B,G,S,d]` with H a multiple of G, `weights [B,S]` of the rows, at least 0, `key_mask [B,S]`
    true on keys that exist; what has no weight or does not exist may hold anything. Query i sees key j if
    `i - window < j <= i`; without `is_causal` it sees all keys. `softcap` bounds the logits as Gemma 2 does. Memory is
    that of a few rows of all maps. Raises `BadInput` where shapes or settings do not fit.
    """
    check_query_key(query, key)
    check_positions(query, weights, key_mask)
    rule = Rule(scaling, is_causal, window, softcap)
    exists = torch.ones_like(weights, dtype=torch.bool) if key_mask is None else key_mask.bool()
    rows = counted_rows(weights, exists, rule)
    dtype = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        inner = [
            _inner_products(query[each], key[each], weights[each], rows[each], exists[each], rule, dtype)
            for each in range(len(query))
        ]
    products = torch.stack(inner)
    norms = products.diagonal(dim1=1, dim2=2).sqrt()
    return products / (norms[:, :, None] * norms[:, None, :]).clamp(min=torch.finfo(torch.float64).tiny)


def _inner_products(
    query: Tensor, key: Tensor, weights: Tensor, rows: Tensor, exists: Tensor, rule: Rule, dtype: torch.dtype
) -> Tensor:
    """Of one sample, `[H,H]` float64, from `query [H,S,d]`, `key [G,S,d]`, and `weights`, `rows`, `exists` `[S]`."""
    row, column = Positions.of(rows), Positions.of(exists)
    heads = len(query)
    total = torch.zeros(heads, heads, dtype=torch.float64, device=query.device)
    at_once = max(1, TILE // max(1, heads * len(column.at)))
    key = key[:, column.index].to(dtype) * rule.scaling
    for some in row.tensor.split(at_once):
        # query heads that share a key head are more rows to it
        folded = query[:, some].to(dtype).unflatten(0, (len(key), -1)).flatten(1, 2)
        logits = (folded @ key.mT).reshape(heads, len(some), key.shape[1])
        if rule.softcap is not None:
            logits = logits.div_(rule.softcap).tanh_().mul_(rule.softcap)
        logits = logits.masked_fill_(_hidden(some, column.tensor, rule), -torch.inf)
        maps = logits.softmax(dim=2) * weights[some, None].to(dtype).sqrt()
        maps = maps.flatten(1)
        total += (maps @ maps.mT).double()
    return total


def _hidden(rows: Tensor, keys: Tensor, rule: Rule) -> Tensor:
    """Which keys at `keys [K]` the rows at `rows [m]` do not see, `[m,K]`."""
    hidden = torch.zeros(len(rows), len(keys), dtype=torch.bool, device=rows.device)
    if rule.is_causal:
        hidden |= keys > rows[:, None]
    if rule.window is not None:
        hidden |= keys <= rows[:, None] - rule.window
    return hidden
