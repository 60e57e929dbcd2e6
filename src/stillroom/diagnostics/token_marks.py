"""What a few thousand predicted tokens tell of a model, whatever its size.

    loss_n        = - log P_n(y_n)
    entropy_n     = H(P_n)
    information   = H(1/N sum_n P_n) - 1/N sum_n H(P_n)      how much what is read changes what is said; 0: not at all
    shifted_n,k   = - log P_n(y_n + k)                       small where ids are off by k
    repeated_n    = - log P_n(x_n)                           small where the token just read is said again

all in nats, over the rows of a `Voice`; logits exist for a few rows at a time. An id outside the vocabulary costs
`OUTSIDE`: more than any token.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stillroom.diagnostics.voice import Voice

SHIFTS = (*range(-8, 0), *range(1, 9))
OUTSIDE = 100.0
CHUNK_ELEMENTS = 2**22
"""Logits that exist at once: 16 MiB in float32, with a few matrices of the same size beside them."""


@dataclass(frozen=True)
class TokenMarks:
    """On the CPU, float64. `shifted [N, len(SHIFTS)]`, all others `[N]`; `information` one number."""

    loss: Tensor
    entropy: Tensor
    hit: Tensor
    """One where the likeliest token is the right one, else zero."""
    shifted: Tensor
    repeated: Tensor
    information: float

    def first(self, rows: int) -> "TokenMarks":
        """The marks of the first `rows` positions; `information` stays that of all."""
        parts = ("loss", "entropy", "hit", "shifted", "repeated")
        return replace(self, **{name: getattr(self, name)[:rows] for name in parts})

    @property
    def is_finite(self) -> bool:
        return bool(self.loss.isfinite().all() and self.entropy.isfinite().all())


def token_marks(voice: Voice) -> TokenMarks:
    """Marks of every row of `voice`."""
    rows, size = len(voice), voice.vocab_size
    chunk = max(1, CHUNK_ELEMENTS // size)
    mean = torch.zeros(size, dtype=torch.float64, device=voice.targets.device)
    parts = []
    for first in range(0, rows, chunk):
        part = slice(first, first + chunk)
        log_p = voice.logits(part).log_softmax(dim=-1)
        p = log_p.exp()
        mean += p.sum(dim=0)
        targets = voice.targets[part]
        wanted = torch.stack([targets, voice.previous[part], *(targets + k for k in SHIFTS)], dim=1)
        is_token = (wanted >= 0) & (wanted < size)
        losses = -log_p.gather(1, wanted.clamp(0, size - 1))
        losses = torch.where(is_token, losses, OUTSIDE).double()
        entropy = torch.special.entr(p).sum(dim=-1).double()
        hit = (log_p.argmax(dim=-1) == targets).double()
        parts.append(torch.cat([losses, entropy[:, None], hit[:, None]], dim=1).cpu())
    table = torch.cat(parts)
    loss, repeated, shifted, entropy, hit = (
        table[:, 0], table[:, 1], table[:, 2:-2], table[:, -2], table[:, -1],
    )  # fmt: skip
    of_mean = float(torch.special.entr(mean / max(rows, 1)).sum())
    return TokenMarks(loss, entropy, hit, shifted, repeated, of_mean - float(entropy.mean()))
