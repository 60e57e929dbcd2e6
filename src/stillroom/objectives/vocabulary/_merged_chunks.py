"""Chunks of a text joined to spans, where a word hardly ends between them."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Spans(NamedTuple):
    """`M` spans of one or more chunks: the span of every chunk, `of [K]`; the last chunk of every span, `ends [M]`; and
    `weights [M]`, which sum to the number of chunks in every row."""

    of: Tensor
    ends: Tensor
    weights: Tensor


def merged(rows: Tensor, log_breaks: Tensor, threshold: float) -> Spans:
    """A chunk goes with the next one of its row, `rows [K]`, where `exp(log_breaks [K])` is not above the threshold."""
    closes = log_breaks > math.log(threshold) if threshold > 0 else torch.ones_like(rows, dtype=torch.bool)
    closes[:-1] |= rows[1:] != rows[:-1]
    closes[-1:] = True
    ends = torch.where(closes)[0]
    before, after = (torch.bincount(each, minlength=1) for each in (rows, rows[ends]))
    weights = before.to(log_breaks.dtype) / after.clamp(min=1)
    return Spans(closes.cumsum(0) - closes.long(), ends, weights[rows[ends]])
