"""By what factor a model's logits should be multiplied: how its temperature is found out.

    scale = argmin_s  L(s),   L(s) = 1/N sum_n [logsumexp(s z_n) - s z_n[y_n]]

L is convex: L' = mean E_s[z] - z_y and L'' = mean Var_s[z]. A trained model lies near 1. Logits that were divided by a
temperature T on their way lie near T, those that were multiplied near 1/T.

Paper: Guo et al. (2017), On Calibration of Modern Neural Networks (1 / scale is their temperature)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from stillroom.diagnostics.voice import Voice

LEAST, MOST = 1 / 16, 16.0
MIN_ROWS = 256
CHUNK_ELEMENTS = 2**22


@dataclass(frozen=True)
class LogitScale:
    """The best factor within [1/16, 16], and what it would gain."""

    scale: float
    gain: float
    """Nats a token that the loss would be lower."""
    error: float
    """Standard error of the gain, over tokens."""


def best_scale(voice: Voice, max_elements: int = 2**23) -> LogitScale:
    """By Newton's method within a bracket, over rows spread evenly: at most `max_elements` logits, but 256 rows."""
    rows = min(len(voice), max(MIN_ROWS, max_elements // voice.vocab_size))
    chosen = torch.arange(rows, device=voice.targets.device) * len(voice) // rows
    parts = chosen.split(max(1, CHUNK_ELEMENTS // voice.vocab_size))
    logits = [voice.logits(part) for part in parts]
    right = [
        each.gather(1, voice.targets[part][:, None])[:, 0] for each, part in zip(logits, parts, strict=True)
    ]

    def slope(scale: float) -> tuple[float, float]:
        first, second = 0.0, 0.0
        for z, right_z in zip(logits, right, strict=True):
            p = (scale * z).softmax(dim=-1)
            mean = (p * z).sum(dim=-1)
            first += float((mean - right_z).sum())
            second += float((p * (z - mean[:, None]).square()).sum())
        return first / rows, second / rows

    def losses(scale: float) -> torch.Tensor:
        each = [
            (scale * z).logsumexp(dim=-1) - scale * right_z for z, right_z in zip(logits, right, strict=True)
        ]
        return torch.cat(each).double()

    scale = _root(slope)
    gain = losses(1.0) - losses(scale)
    error = float(gain.std()) / math.sqrt(rows) if rows > 1 else math.inf
    return LogitScale(scale, float(gain.mean()), error)


def _root(slope: Callable[[float], tuple[float, float]]) -> float:
    """Where `slope`, which gives first and second derivative, passes zero."""
    low, high, scale = LEAST, MOST, 1.0
    for _ in range(12):
        first, second = slope(scale)
        low, high = (scale, high) if first < 0 else (low, scale)
        newton = scale - first / second if second > 0 else math.nan
        after = newton if low < newton < high else math.sqrt(low * high)
        if abs(math.log(after / scale)) < 1e-3:
            return after
        scale = after
    return scale
