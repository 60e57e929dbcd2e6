"""Received attention of all layers, made comparable between samples: aligned along real tokens, mask applied,
and seen against what a model that looks everywhere alike would give."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from stillroom.core.batch import Side
from stillroom.core.signals import ReceivedAttention, Signals

Centering = Literal["difference", "log_ratio", "none"]
Granularity = Literal["token", "head", "layer"]


@dataclass(frozen=True)
class Pooled:
    """Attention received by the n-th real token, `[B,L,H,S]`, and which of the S are real, `[B,S]`."""

    received: Tensor
    real: Tensor
    profile: Tensor
    """What uniform causal attention gives, `[B,S]`: u_j = sum over rows i >= j of w_i / (i + 1). One origin for both
    models, also for layers whose window sees less."""

    @classmethod
    def whole(cls, received: Tensor) -> "Pooled":
        """Of samples without padding whose rows all count alike."""
        real = torch.ones(received.shape[0], received.shape[-1], dtype=torch.bool, device=received.device)
        return cls(received, real, _profile(real / real.shape[1]))

    def samples(self, chosen: Tensor) -> "Pooled":
        """The samples where `chosen [B]` is true."""
        return Pooled(self.received[chosen], self.real[chosen], self.profile[chosen])

    def detach(self) -> "Pooled":
        return Pooled(self.received.detach(), self.real, self.profile)

    def granularity(self, name: Granularity, centering: Centering) -> Tensor:
        """Maps of one granularity, `[B,n,S]`: n is 1 for token, H for head, L for layer. Zero beyond the last token."""
        match name:
            case "token":
                maps = self.received.mean(dim=(1, 2))[:, None]
            case "head":
                maps = self.received.mean(dim=1)
            case "layer":
                maps = self.received.mean(dim=2)
        seen = self.real & (self.profile > 0)
        return torch.where(seen[:, None], self._centered(maps, centering), 0.0)

    def _centered(self, maps: Tensor, centering: Centering) -> Tensor:
        profile = self.profile[:, None]
        match centering:
            case "log_ratio":
                # one part in a million of the profile keeps the logarithm finite where attention underflows
                tiny = 1e-6
                return torch.log(maps / profile.clamp(min=1e-12) + tiny)
            case "difference":
                return maps - profile
            case "none":
                return maps


def pooled(signals: Signals, side: Side, layers: int, rows: Literal["real", "response"]) -> Pooled:
    """From the answers of one model; padding on either side ends up on the right."""
    mask = side.attention_mask.bool()
    order = (~mask).long().argsort(dim=1, stable=True)
    real, weights = mask.gather(1, order), side.row_weights(rows).gather(1, order)
    received = torch.stack(
        [signals[ReceivedAttention(layer, rows)].float() for layer in range(1, layers + 1)], 1
    )
    received = received.gather(3, order[:, None, None].expand(-1, *received.shape[1:3], -1))
    return Pooled(torch.where(real[:, None, None], received, 0.0), real, _profile(weights))


def _profile(weights: Tensor) -> Tensor:
    seen = torch.arange(1, weights.shape[1] + 1, device=weights.device)
    return (weights / seen).flip(1).cumsum(1).flip(1)
