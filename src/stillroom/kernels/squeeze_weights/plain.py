"""The definition: all maps, all products with what the heads write into the model, then their inner products."""

import torch
from torch import Tensor

from stillroom.kernels._attention_map import attention_map
from stillroom.kernels._attention_rule import Rule
from stillroom.kernels.squeeze_weights._bundle import Bundle


def plain(
    bundle: Bundle, weights: Tensor, key_mask: Tensor | None, rule: Rule, needs_outputs: bool
) -> Tensor:
    """Inner products `[B,g,k*k,k*k]`, float64, of A_1 X_n and of (A_a - A_1) X_n for every other a.

    Ordered by a, then n. Without `needs_outputs` those of A_1 X_n are zero.
    """
    counted, dtype = (weights != 0)[:, None, :, None], weights.dtype
    maps = [
        attention_map(torch.where(counted, query, 0.0), key, key_mask, rule, dtype)
        for query, key in zip(bundle.query, bundle.key, strict=True)
    ]
    first = maps[0] if needs_outputs else torch.zeros_like(maps[0])
    differences = torch.stack([first, *(each - maps[0] for each in maps[1:])], dim=2)
    value = bundle.value.to(dtype)
    if key_mask is not None:
        value = torch.where(key_mask[:, None, :, None], value, 0.0)
    value = value.unflatten(3, (-1, bundle.out_proj.shape[2]))[:, :, :, bundle.reads]
    written = torch.einsum("bgjne,gned->bgnjd", value, bundle.out_proj.to(dtype))
    outputs = torch.einsum("bgaij,bgnjd->bganid", differences, written).flatten(2, 3).double()
    return torch.einsum("bi,bgxid,bgyid->bgxy", weights.double(), outputs, outputs)
