"""The map itself, S x S numbers a head: what the definitions are written with, and no engine beside them."""

import torch
from torch import Tensor

from stillroom.kernels._attention_rule import Rule


def attention_map(
    query: Tensor, key: Tensor, key_mask: Tensor | None, rule: Rule, dtype: torch.dtype
) -> Tensor:
    """`[B,H,S,S]` by ordinary differentiable PyTorch, the softmax in `dtype`; a row that sees nothing is zero."""
    logits, hidden = attention_logits(query, key, key_mask, rule, dtype)
    return logits.softmax(dim=-1).masked_fill(hidden, 0.0)


def attention_logits(
    query: Tensor, key: Tensor, key_mask: Tensor | None, rule: Rule, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Logits `[B,H,S,S]`, and which of them a row does not see, `[B or 1,1,S,S]` bool: those are the smallest number.

    Not minus infinity: a row that sees nothing becomes uniform instead of NaN.
    """
    if key_mask is not None:
        key = torch.where(key_mask[:, None, :, None], key, 0.0)
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    logits = (query @ key.transpose(2, 3)).to(dtype) * rule.scaling
    if rule.softcap is not None:
        logits = rule.softcap * torch.tanh(logits / rule.softcap)
    hidden = _hidden(query.shape[2], key_mask, rule, query.device)
    return logits.masked_fill(hidden, torch.finfo(dtype).min), hidden


def _hidden(length: int, key_mask: Tensor | None, rule: Rule, device: torch.device) -> Tensor:
    """Which keys a row does not see, broadcastable to `[B,H,S,S]`."""
    row, column = torch.arange(length, device=device)[:, None], torch.arange(length, device=device)
    hidden = torch.zeros(length, length, dtype=torch.bool, device=device)
    if rule.is_causal:
        hidden = column > row
    if rule.window is not None:
        hidden = hidden | (column <= row - rule.window)
    return hidden if key_mask is None else hidden | ~key_mask[:, None, None, :]
