"""The definition: the whole map, multiplied with the values and summed over its rows."""

import torch
from torch import Tensor

from stillroom.kernels._attention_map import attention_map
from stillroom.kernels._attention_rule import Rule


def plain(
    query: Tensor, key: Tensor, value: Tensor, weights: Tensor, exists: Tensor, rule: Rule
) -> tuple[Tensor, Tensor]:
    """Output `[B,H,S,e]` and received attention `[B,H,S]`, by ordinary differentiable PyTorch."""
    exists = exists[:, None, :, None]
    query, value = (torch.where(exists, tensor, 0.0) for tensor in (query, value))
    rows = attention_map(query, key, exists[:, 0, :, 0], rule, weights.dtype)
    value = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
    output = torch.where(exists, rows.to(value.dtype) @ value, 0.0)
    return output, torch.einsum("bi,bhij->bhj", weights, rows)
