"""How certain a model is of what comes after a token: one minus the entropy of its prediction, by the largest there is.

    c_t = 1 - H( P_t ) / log V

Paper:    MTA: not in the paper; the option --entropy_weight of its public code
"""

import math

import torch
from torch import Tensor

from stillroom.core.signals import HeadWeights
from stillroom.kernels.linear_statistics import linear_statistics


@torch.no_grad()
def certainty(hidden: Tensor, head: HeadWeights, kept: Tensor) -> Tensor:
    """`[B,S]` in [0, 1], float32, from final `hidden [B,S,D]`; zero, and not read, where not `kept [B,S]`."""
    rows = hidden[kept].to(head.weight.dtype)
    entropy = linear_statistics(rows, head.weight, transform=head.transform).entropy
    found = torch.zeros_like(kept, dtype=torch.float32)
    found[kept] = (1 - entropy.float() / math.log(len(head.weight))).clamp(min=0)
    return found
