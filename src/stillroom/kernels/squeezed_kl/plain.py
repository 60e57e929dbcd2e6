"""The definition: all maps, merged, then a divergence of every row."""

import torch
from torch import Tensor

from stillroom.kernels._attention_map import attention_logits, attention_map
from stillroom.kernels._attention_rule import Rule
from stillroom.kernels.squeezed_kl._teacher import MergedTeacher


def plain(
    query: Tensor,
    key: Tensor,
    teacher: MergedTeacher,
    weights: Tensor,
    key_mask: Tensor | None,
    rule: Rule,
    divergence: str,
) -> Tensor:
    """`[B,H]` in the type of `weights`, by ordinary differentiable PyTorch."""
    counted = (weights != 0)[:, None, :, None]
    merged = _merged(torch.where(counted, teacher.query, 0.0), teacher, key_mask, weights.dtype)
    logits, hidden = attention_logits(torch.where(counted, query, 0.0), key, key_mask, rule, weights.dtype)
    if divergence == "kl":
        log_q = logits.log_softmax(dim=-1).masked_fill(hidden, 0.0)
        rows = (torch.special.xlogy(merged, merged) - merged * log_q).sum(-1)
    else:
        keys = logits.shape[3] if key_mask is None else key_mask.sum(1).clamp(min=1)[:, None, None]
        rows = (merged - logits.softmax(dim=-1).masked_fill(hidden, 0.0)).square().sum(-1) / keys
    return torch.einsum("bi,bhi->bh", weights, rows)


def _merged(query: Tensor, teacher: MergedTeacher, key_mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The merged maps `[B,H,S,S]`."""
    maps = attention_map(query, teacher.key, key_mask, teacher.rule, dtype)
    return torch.stack(
        [
            torch.einsum("bm,bmij->bij", teacher.mix[:, h, : len(group)], maps[:, list(group)])
            for h, group in enumerate(teacher.groups)
        ],
        dim=1,
    )
