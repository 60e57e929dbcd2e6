"""How central every token is among those beside it: what the average other token attends to it, by hidden states alone.

    a_st = softmax_t( x_s . x_t / sqrt(D) ),  x_t = H_t / std(H_t),  t != s          w_t = 1/n sum_s a_st

over the n kept tokens of a sample, without parameters, without a causal mask and without gradient; the standard
deviation is over the D features, which are not centered.

Paper:    MTA (arXiv 2605.01374), eqs. 5-7
Differs:  its public code averages over all queries of the padded row, also those that are padding, so that a token of a
          short sample weighs what padding attends to it; and a sample with one token is NaN there. Here the kept tokens
          are the queries, and one alone has weight one
"""

import math

import torch
from torch import Tensor

from stillroom.objectives._packed import packed

QUERIES = 128
"""How many are compared with all tokens at a time: no `[B,S,S]` tensor exists where texts are longer."""


@torch.no_grad()
def centrality(states: Tensor, kept: Tensor) -> Tensor:
    """Weights `[B,S]`, float32, summing to one over each row: zero where not kept, a row of zeros where nothing is.

    `states [B,S,D]` are read only where `kept [B,S]` is true.
    """
    with torch.autocast(states.device.type, enabled=False):
        # side by side at the front: prompts and padding cost nothing
        exists, tokens = packed(kept, kept), packed(states, kept).float()
        tokens = tokens / deviation(tokens)[..., None].clamp(min=1e-5)
        received = _received(tokens, exists) / exists.sum(dim=1, keepdim=True).clamp(min=1)
        weights = torch.zeros_like(kept, dtype=torch.float32)
        weights[kept] = received[exists]
        return weights


def deviation(states: Tensor) -> Tensor:
    """Of the features of `[...,D]`: `[...]`. In parts, as `std` takes twenty times as long on a CPU."""
    centered = states - states.mean(dim=-1, keepdim=True)
    return centered.norm(dim=-1) / math.sqrt(max(1, states.shape[-1] - 1))


def _received(tokens: Tensor, exists: Tensor) -> Tensor:
    """Attention `[B,R]` that each of `tokens [B,R,D]` receives from all that exist, itself left out unless alone."""
    total = tokens.new_zeros(exists.shape)
    position = torch.arange(exists.shape[1], device=tokens.device)
    several = (exists.sum(dim=1) > 1)[:, None, None]
    for first in range(0, len(position), QUERIES):
        asking = slice(first, first + QUERIES)
        scores = tokens[:, asking] @ tokens.transpose(1, 2) / math.sqrt(tokens.shape[-1])
        itself = position[asking, None] == position
        scores = scores.masked_fill(~exists[:, None] | (several & itself), -math.inf)
        total = total + torch.einsum("bq,bqr->br", exists[:, asking].float(), scores.softmax(dim=-1))
    return total.masked_fill(~exists, 0.0)  # a sample without tokens is NaN until here
