"""A loss is a sum and a count, never a mean.

Chunks, micro-batches and ranks combine by addition; the trainer divides once per optimizer step. That is why a
batch of eight, eight accumulated batches of one, and two ranks with four each train the same student.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Unit = Literal["tokens", "sequences", "spans", "pairs", "step"]


@dataclass(frozen=True)
class Loss:
    """One term of an objective over one batch.

    `total` is a float32 scalar that carries gradient. `count` is a scalar that is known from the batch before any
    forward pass: what depends on what the models say multiplies the total and never changes the count. With the
    unit "step" (regularisers) a batch counts one, so the term is averaged over micro-batches and ranks.
    """

    total: Tensor
    count: Tensor
    unit: Unit = "tokens"

    def __add__(self, other: "Loss") -> "Loss":
        if self.unit != other.unit:
            raise ValueError(f"cannot add a loss counted in {other.unit} to one counted in {self.unit}")
        return Loss(self.total + other.total, self.count + other.count, self.unit)

    def mean(self) -> Tensor:
        """Total per counted unit; zero (with its graph) where nothing was counted."""
        return self.total / self.count.clamp(min=1)


def masked_sum(values: Tensor, mask: Tensor, unit: Unit = "tokens") -> Loss:
    """Sum `values [B,S]` where `mask [B,S]` is true, in float32, and count those places.

    Masked values are replaced before the sum, not multiplied afterwards: NaN times zero is NaN.
    """
    kept = torch.where(mask.bool(), values.float(), 0.0)
    return Loss(kept.sum(), mask.bool().sum(), unit)
