"""The map itself, S x S numbers a head: what the definitions are written with, and no engine beside them."""

import torch
from torch import Tensor

from stillroom.kernels._attention_rule import Rule


def attention_map(
    query: Tensor, key: Tensor, key_mask: Tensor | None, rule: Rule, dtype: torch.dtype
) -> Tensor:
    """`[B,H,S,S]` by ordinary differentiable PyTorch, the softmax in `dtype`; a row that sees nothing is zero."""
    if key_mask is not None:
        key = torch.where(key_mask[:, None, :, None], key, 0.0)
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    logits = (query @ key.transpose(2, 3)).to(dtype) * rule.scaling
    if rule.softcap is not None:
        logits = rule.softcap * torch.tanh(logits / rule.softcap)
    hidden = _hidden(query.shape[2], key_mask, rule, query.device)
    # the smallest number, not minus infinity: a row that sees nothing becomes uniform instead of NaN, then zero
    return logits.masked_fill(hidden, torch.finfo(dtype).min).softmax(dim=-1).masked_fill(hidden, 0.0)


def _hidden(length: int, key_mask: Tensor | None, rule: Rule, device: torch.device) -> Tensor:
    """Which keys a row does not see, broadcastable to `[B,H,S,S]`."""
    row, column = torch.arange(length, device=device)[:, None], torch.arange(length, device=device)
    hidden = torch.zeros(length, length, dtype=torch.bool, device=device)
    if rule.is_causal:
        hidden = column > row
    if rule.window is not None:
        hidden = hidden | (column <= row - rule.window)
    return hidden if key_mask is None else hidden | ~key_mask[:, None, None, :]
