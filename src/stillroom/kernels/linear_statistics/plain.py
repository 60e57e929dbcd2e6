"""The definition: logits in full, ordinary PyTorch."""

import torch

from stillroom.kernels._projection import Projection
from stillroom.kernels.linear_statistics.head_statistics import HeadStatistics
from stillroom.numerics.divergence import FLOOR


@torch.no_grad()
def plain(model: Projection) -> HeadStatistics:
    """The statistics of all rows."""
    log_p = model.logits().log_softmax(dim=-1)
    # the floor: a token that is masked out adds zero to the entropy, not NaN
    entropy = -(log_p.exp() * log_p.clamp(min=FLOOR)).sum(dim=-1)
    top = log_p.max(dim=-1)
    return HeadStatistics(entropy, top.values.exp(), top.indices)
