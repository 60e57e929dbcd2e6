"""The likeliest next tokens of a model, and the probability of all others, without the full logits.

Computed where a trained token is predicted; elsewhere the answer is token 0 with certainty and means nothing.
"""

import torch
from torch import Tensor

from stillroom.core.batch import Side
from stillroom.core.errors import BadInput
from stillroom.core.signals import HeadWeights, TopTokenProbs, TopTokens

ROWS = 512
"""Positions whose logits exist at once."""


@torch.no_grad()
def top_tokens(request: TopTokens, hidden: Tensor, head: HeadWeights, side: Side) -> TopTokenProbs:
    """`hidden [B,S,D]` after the final norm, to ids and log-probabilities `[B,S,k]` and the tail `[B,S]`, float32."""
    vocab_size = head.weight.shape[0]
    if not 1 <= request.k < vocab_size:
        raise BadInput(
            f"Expected k from 1 to {vocab_size - 1}, below the {vocab_size} tokens of the vocabulary, got {request.k}."
        )
    shape, rows = hidden.shape[:2], side.predicts
    ids = torch.zeros(*shape, request.k, dtype=torch.long, device=hidden.device)
    log_probs = torch.zeros(*shape, request.k, device=hidden.device)
    log_tail = torch.full(shape, -torch.inf, device=hidden.device)
    parts = [_top(part, head, request) for part in hidden[rows].split(ROWS)]
    if parts:
        ids[rows], log_probs[rows], log_tail[rows] = (torch.cat(each) for each in zip(*parts, strict=True))
    return TopTokenProbs(ids, log_probs, log_tail)


def _top(hidden: Tensor, head: HeadWeights, request: TopTokens) -> tuple[Tensor, Tensor, Tensor]:
    log_p = (head(hidden).float() / request.temperature).log_softmax(dim=-1)
    log_probs, ids = log_p.topk(request.k, dim=-1)
    # summed over the others, not one minus the top: the difference of two numbers near one has no digits left
    return ids, log_probs, log_p.scatter(-1, ids, -torch.inf).logsumexp(dim=-1)
