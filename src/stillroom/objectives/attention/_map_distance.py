"""The distance of two models' maps, head by head or of merged teacher heads, summed over the rows that count.

1/H sum_h sum_t distance( sum_m mix_hm A^m_t, A^h_t )        A the student's maps, A^m those of the teacher
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from stillroom.core.signals import QueryKeys
from stillroom.kernels.squeezed_kl import squeezed_kl
from stillroom.objectives.attention._family import Rows, shared_window

Divergence = Literal["kl", "mse"]


def map_distance(
    ours: QueryKeys,
    theirs: QueryKeys,
    rows: Rows,
    groups: Sequence[Sequence[int]] | None = None,
    mix: Tensor | None = None,
    *,
    temperature: float = 1.0,
    divergence: Divergence = "kl",
) -> Tensor:
    """A scalar, in nats for "kl"; gradient reaches `ours` only.

    `groups` and `mix [B,H,k]` are the teacher's heads and their shares for each head of the student; left out, heads
    are compared one by one.
    """
    heads = ours.query.shape[1]
    if groups is None:
        groups = [[head] for head in range(heads)]
    if mix is None:
        mix = equal_shares(groups, len(ours.query), ours.query.device)
    return (
        squeezed_kl(
            ours.query,
            ours.key,
            theirs.query,
            theirs.key,
            mix,
            groups=groups,
            student_scaling=ours.scaling,
            teacher_scaling=theirs.scaling,
            weights=rows.weights,
            temperature=temperature,
            key_mask=rows.real,
            window=shared_window(ours, theirs),
            student_softcap=ours.softcap,
            teacher_softcap=theirs.softcap,
            divergence=divergence,
        ).sum()
        / heads
    )


def equal_shares(groups: Sequence[Sequence[int]], batch: int, device: torch.device) -> Tensor:
    """`[B,H,k]`, float32: one over the size of each group, zero behind its end."""
    longest = max(map(len, groups))
    shares = [[1 / len(group)] * len(group) + [0.0] * (longest - len(group)) for group in groups]
    return torch.tensor(shares, device=device).expand(batch, -1, -1)
