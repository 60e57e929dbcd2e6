"""Chunks of rows: logits, their statistics, then the next chunk."""

import torch
from torch import Tensor

from stillroom.kernels._chunked_head import chunks
from stillroom.kernels._projection import Projection, Scratch
from stillroom.kernels.linear_statistics.head_statistics import HeadStatistics
from stillroom.numerics.divergence import FLOOR

_MATRICES = 2
"""`[n,V]`: logits, and their log-probabilities."""


@torch.no_grad()
def streaming(model: Projection, memory_budget: int | None) -> HeadStatistics:
    """The statistics of all rows; scratch within `memory_budget` bytes."""
    model = model.for_chunks()
    rows, device = len(model.hidden), model.head.device
    entropy, top = (torch.empty(rows, dtype=model.sum_dtype, device=device) for _ in range(2))
    top_id = torch.empty(rows, dtype=torch.long, device=device)
    scratch = Scratch(len(model.head), device)
    with torch.autocast(device.type, enabled=False):
        for some in chunks(model, _MATRICES, memory_budget):
            logits = model.chunk_logits(some, scratch)
            if model.temperature != 1.0:
                logits = logits.div_(model.temperature)
            log_p = scratch.matrix("log_p", len(logits), logits.dtype)
            torch.log_softmax(logits, dim=-1, out=log_p)
            best = log_p.max(dim=-1)
            top[some], top_id[some] = best.values.exp(), best.indices
            entropy[some] = _entropy(log_p, logits)
    return HeadStatistics(entropy, top, top_id)


def _entropy(log_p: Tensor, spare: Tensor) -> Tensor:
    """`[n]` of `log_p [n,V]`; both matrices are used up."""
    p = torch.exp(log_p, out=spare)
    # the floor: a token that is masked out adds zero, not NaN
    return p.mul_(log_p.clamp_(min=FLOOR)).sum(dim=-1).neg_()
