"""Attention weights from queries and keys, in plain loops and float64."""

import math

import torch
from torch import Tensor


def attention_map(
    query: Tensor,
    key: Tensor,
    attention_mask: Tensor,
    scaling: float,
    softcap: float | None = None,
    window: int | None = None,
) -> Tensor:
    """query [B,H,S,d], key [B,G,S,d], attention_mask [B,S] to weights [B,H,S,S]; rows of padding are zero.

    A window of w lets a query see itself and the w - 1 tokens before it.
    """
    batch, heads, length, _ = query.shape
    group = heads // key.shape[1]
    query, key = query.double(), key.double()
    weights = torch.zeros(batch, heads, length, length, dtype=torch.float64)
    for b in range(batch):
        for h in range(heads):
            for i in range(length):
                if not attention_mask[b, i]:
                    continue
                scores = {}
                for j in range(i + 1):
                    if not attention_mask[b, j] or (window is not None and j <= i - window):
                        continue
                    score = float(query[b, h, i] @ key[b, h // group, j]) * scaling
                    scores[j] = score if softcap is None else softcap * math.tanh(score / softcap)
                top = max(scores.values())
                total = sum(math.exp(score - top) for score in scores.values())
                for j, score in scores.items():
                    weights[b, h, i, j] = math.exp(score - top) / total
    return weights
