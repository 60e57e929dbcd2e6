"""Centers of mass: the weighted mean state of every unit.

    C_k = sum_{t in k} w_t H_t / m_k        m_k = sum_{t in k} w_t

Paper:    SRA (arXiv 2605.01205), MTA (arXiv 2605.01374), eq. 8
Differs:  public code divides by max(m_k, 1e-5), which shrinks the state of a unit that few attend to
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Pooled(NamedTuple):
    """`centers [B,K,D]`, zeros where a unit has no mass, and `masses [B,K]`; in float32 at least."""

    centers: Tensor
    masses: Tensor


def pool(states: Tensor, weights: Tensor, ids: Tensor, most: int) -> Pooled:
    """From `states [B,S,D]`, `weights [B,S]` of at least 0 and the unit of every token, `ids [B,S]`, below `most`.

    Tokens in no unit (-1) are not read: they may hold anything. No gradient reaches the weights.
    """
    tokens, units = _members(ids, most)
    own, total = _mass(weights, tokens, units, len(ids) * most)
    found = rows_at(states, tokens) * (own / total.where(total > 0, 1)[units])[:, None]
    centers = found.new_zeros(len(total), states.shape[2]).index_add(0, units, found)
    return Pooled(centers.view(len(ids), most, -1), total.view(len(ids), most))


def masses(weights: Tensor, ids: Tensor, most: int) -> Tensor:
    """Sum of the weights of every unit, `[B,most]`, without gradient."""
    return _mass(weights, *_members(ids, most), len(ids) * most)[1].view(len(ids), most)


def rows_at(states: Tensor, tokens: Tensor) -> Tensor:
    """Of `states [B,S,D]` those of `tokens [n]`, counted through the batch: `[n,D]`, in float32 at least."""
    # as index_select: indexing by two coordinates takes three times as long, most of it on the way back
    found = states.flatten(0, 1).index_select(0, tokens)
    return found.to(torch.promote_types(found.dtype, torch.float32))


def _members(ids: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Token and unit of all tokens that are in one, `[n]` each, both counted through the batch."""
    slots = ids + most * torch.arange(len(ids), device=ids.device)[:, None]
    tokens = (ids >= 0).flatten().nonzero()[:, 0]
    return tokens, slots.flatten().index_select(0, tokens)


def _mass(weights: Tensor, tokens: Tensor, units: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """What each token weighs, `[n]`, and each of `count` units; in float32 at least, where half would underflow."""
    own = weights.detach().flatten().index_select(0, tokens)
    own = own.to(torch.promote_types(own.dtype, torch.float32))
    return own, own.new_zeros(count).index_add(0, units, own)
