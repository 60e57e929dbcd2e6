"""Which rows of the map count: those with weight that see something, or a sample of them."""

import math

import torch
from torch import Tensor

from stillroom.kernels._attention_rule import Rule


def counted_rows(weights: Tensor, key_mask: Tensor | None, rule: Rule) -> Tensor:
    """Rows that contribute, `[B,S]` bool. All others may hold anything: no engine reads them."""
    counted = weights != 0
    if key_mask is None:
        return counted
    if not rule.is_causal:
        return counted & key_mask.any(dim=1, keepdim=True)
    seen = key_mask.long().cumsum(dim=1)
    if rule.window is not None and rule.window < seen.shape[1]:
        left_behind = torch.nn.functional.pad(seen[:, : -rule.window], (rule.window, 0))
        seen = seen - left_behind
    return counted & (seen > 0)


def sampled(weights: Tensor, fraction: float) -> Tensor:
    """Weights `[B,S]` of which a `fraction` is left, re-weighted so that every weighted sum over rows is unbiased.

    The rows with weight are cut into equal stretches and one row is drawn from each, standing for its whole
    stretch: neighbors attend alike, so this is less noisy than rows drawn from anywhere, and far less than
    blocks. Drawn from the default generator of the CPU, wherever the weights lie.
    """
    kept = torch.zeros_like(weights)
    for sample, row_weights in enumerate(weights):
        positions = row_weights.nonzero().squeeze(1)
        count = math.ceil(len(positions) * fraction)
        if count == 0:
            continue
        edges = torch.arange(count + 1) * len(positions) // count
        length = edges.diff()
        drawn = edges[:-1] + torch.minimum((torch.rand(count) * length).long(), length - 1)
        chosen = positions[drawn.to(positions.device)]
        kept[sample, chosen] = row_weights[chosen] * length.to(weights)
    return kept
