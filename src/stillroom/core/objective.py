"""The interface of a method: what is compared, and nothing about how models are run."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from stillroom.core.batch import Batch
from stillroom.core.loss import Loss, Unit
from stillroom.core.shape import ModelShape
from stillroom.core.signals import Reads, Signals


@dataclass(eq=False, kw_only=True)
class Objective(nn.Module, ABC):
    """Compares what student and teacher computed. A dataclass: its fields are its settings.

    Decorate subclasses with `@dataclass(eq=False, kw_only=True)`; check settings in `__post_init__`, after calling
    `super().__post_init__()`, and raise `BadInput`. Trainable parts are made in `setup`.
    """

    additive: ClassVar[bool] = True
    """False where batch statistics enter: such a term is averaged over micro-batches, and the report says so."""

    zero_at_match: ClassVar[bool] = False
    """True where equal signals of student and teacher give a loss of zero; `stillroom.testing` checks it."""

    two_vocabularies: ClassVar[bool] = False
    """True where student and teacher may have different vocabularies."""

    units: ClassVar[tuple[Literal["words", "phrases"], ...]] = ()
    """What it reads of the batch beside tokens. Where settings decide, `__post_init__` sets it on the instance."""

    terms: ClassVar[dict[str, Unit]]
    """Every term with the unit it is counted in. Where settings decide, `__post_init__` sets it on the instance."""

    def __post_init__(self) -> None:
        super().__init__()

    @abstractmethod
    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        """Check the pair, create trainable parts if any, and say which signals to record."""

    @abstractmethod
    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        """A sum and a count per term, over this batch. Never a mean: see `Loss`."""

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """The count of every term, known before any forward pass. Override for spans and pairs."""
        predicts = batch.student.predicts
        known = {
            "tokens": predicts.sum,
            "sequences": lambda: predicts.any(dim=1).sum(),
            "step": lambda: torch.ones((), dtype=torch.long, device=predicts.device),
        }
        return {term: known[unit]() for term, unit in self.terms.items()}

    def term_weights(self) -> dict[str, float]:
        """Weight of each term inside the objective; one where not named."""
        return {}

    def notes(self) -> list[str]:
        """Sentences that a person should see before training, known after `setup`."""
        return []

    def files(self) -> list[str]:
        """Files that its settings name and that it has read; known after `setup`."""
        return []

    def measured_on(self) -> dict[str, str]:
        """Files that it has read, each with the SHA-256 of the teacher's weights that it was measured on, as
        `stillroom cache` notes it; known after `setup`."""
        return {}

    def measures(self) -> dict[str, float]:
        """What the objective knows of its own parts by now (ranks, overlaps, controls), logged beside the losses."""
        return {}
