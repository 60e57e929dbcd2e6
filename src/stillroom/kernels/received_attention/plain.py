"""The definition: the whole map, then a weighted sum over its rows."""

import torch
from torch import Tensor

from stillroom.kernels._attention_map import attention_map
from stillroom.kernels._attention_rule import Rule


def plain(query: Tensor, key: Tensor, weights: Tensor, key_mask: Tensor | None, rule: Rule) -> Tensor:
    """Received attention `[B,H,S]` in the type of `weights`, by ordinary differentiable PyTorch."""
    query = torch.where((weights != 0)[:, None, :, None], query, 0.0)
    rows = attention_map(query, key, key_mask, rule, weights.dtype)
    return torch.einsum("bi,bhij->bhj", weights, rows)
