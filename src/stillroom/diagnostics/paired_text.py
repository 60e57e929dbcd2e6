"""The same responses after two kinds of prompt: which one does a model expect? Paired sample by sample.

    gain = mean over samples of [loss per token after the one - loss per token after the other]

over the tokens that both have in common (templates close a response differently, and cut it elsewhere). `t` is the
mean over its standard error.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Responses = Mapping[int, tuple[Tensor, Tensor]]
"""Sample to the ids `[n]` of its response and their losses `[n]`."""


@dataclass(frozen=True)
class Gain:
    """What the other prompts would gain over these."""

    mean: float
    """Nats a token; above zero the others are better."""
    t: float
    samples: int


def paired_gain(these: Responses, others: Responses) -> Gain | None:
    """None where fewer than four samples have most of their response in common."""
    gains = []
    for sample in sorted(these.keys() & others.keys()):
        (ids, losses), (other_ids, other_losses) = these[sample], others[sample]
        common = _common_start(ids, other_ids)
        if 2 * common >= len(ids) and common:
            gains.append(float(losses[:common].mean() - other_losses[:common].mean()))
    if len(gains) < 4:
        return None
    each = torch.tensor(gains, dtype=torch.float64)
    error = float(each.std()) / math.sqrt(len(gains))
    mean = float(each.mean())
    return Gain(
        mean, mean / error if error > 0 else math.copysign(math.inf, mean) if mean else 0.0, len(gains)
    )


def by_sample(targets: Tensor, losses: Tensor, samples: Tensor) -> Responses:
    """Rows of scored tokens, told apart by their sample."""
    targets, samples = targets.cpu(), samples.cpu()
    return {
        int(sample): (targets[samples == sample], losses[samples == sample]) for sample in samples.unique()
    }


def _common_start(one: Tensor, other: Tensor) -> int:
    length = min(len(one), len(other))
    differs = (one[:length] != other[:length]).nonzero()
    return int(differs[0]) if len(differs) else length
