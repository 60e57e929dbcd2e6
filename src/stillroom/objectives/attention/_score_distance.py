"""The distance of two models' attention scores, before any softmax, a block of rows at a time.

    1/H sum_h sum_t 1/n_t sum_j ( z_htj - y_htj )^2        over the n_t keys that query t sees

A block's scores are computed again for its gradient, so no S x S tensor lives from one block to the next.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from stillroom.core.signals import QueryKeys
from stillroom.objectives.attention._family import Rows, shared_window

NUMBERS = 2**22
"""Scores in a block, of all samples and heads."""


def score_distance(ours: QueryKeys, theirs: QueryKeys, rows: Rows) -> Tensor:
    """A scalar, summed over samples and rows that count; gradient reaches `ours` only. As many heads on both sides."""
    theirs = replace(theirs, query=theirs.query.detach(), key=theirs.key.detach())
    ours, theirs = (_filled(each, rows.real) for each in (ours, theirs))
    batch, heads, length, _ = ours.query.shape
    size = max(1, NUMBERS // (batch * heads * length))
    window = shared_window(ours, theirs)
    total = ours.query.new_zeros(())
    for start in range(0, length, size):
        block = slice(start, min(start + size, length))
        arguments = (_upto(ours, block), _upto(theirs, block), rows, block, window)
        total = total + checkpoint(_block, *arguments, use_reentrant=False, preserve_rng_state=False)
    return total / heads


def _block(ours: QueryKeys, theirs: QueryKeys, rows: Rows, block: slice, window: int | None) -> Tensor:
    at, key = (torch.arange(n, device=rows.real.device) for n in (block.stop, block.stop))
    at = at[block, None]
    sees = (key <= at) if window is None else (key <= at) & (key > at - window)
    sees = sees & rows.real[:, None, : block.stop]
    gaps = torch.where(sees[:, None], _scores(ours) - _scores(theirs), 0.0).square().sum(dim=(1, 3))
    return (gaps / sees.sum(dim=2).clamp(min=1)).where(rows.counted[:, block], 0.0).sum()


def _scores(given: QueryKeys) -> Tensor:
    """`[B,H,m,k]`, soft-capped where the model does."""
    share = given.query.shape[1] // given.key.shape[1]
    by_key = given.query.unflatten(1, (-1, share)) @ given.key.unsqueeze(2).mT
    scores = by_key.flatten(1, 2) * given.scaling
    return scores if given.softcap is None else given.softcap * torch.tanh(scores / given.softcap)


def _filled(given: QueryKeys, real: Tensor) -> QueryKeys:
    """In float32 or better, with zeros on padding, which may hold anything."""
    dtype = torch.promote_types(given.query.dtype, torch.float32)
    query, key = (torch.where(real[:, None, :, None], x.to(dtype), 0.0) for x in (given.query, given.key))
    return replace(given, query=query, key=key)


def _upto(given: QueryKeys, block: slice) -> QueryKeys:
    """The queries of a block, and the keys that they may see."""
    return replace(given, query=given.query[:, :, block], key=given.key[:, :, : block.stop])
