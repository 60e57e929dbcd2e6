"""How the heads of one teacher layer become those of one student layer: what objectives that merge heads can show."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class HeadMerge:
    """Of a batch. Layers count from 1, heads from 0. Letters: B samples, S positions, H heads of the student, k heads
    in the longest group."""

    layer: int
    partner: int
    """The teacher's layer."""
    groups: list[list[int]]
    """Teacher heads that are merged for each of the student's."""
    mix: Tensor
    """Their shares, `[B,H,k]`: at least 0, rows sum to one, zero behind the end of a group."""
    counted: Tensor
    """`[B,S]` bool: the rows of the maps that are compared."""
    unclamped: Tensor | None = None
    """`[B,H,k]`: the best shares without bounds; None where shares do not depend on what the heads write."""
    clamped: Tensor | None = None
    """`[B,H]` bool: whether one of those was below zero."""
