"""What training needs of any teacher: its shape, and answers about a batch."""

from collections.abc import Collection
from typing import Protocol

import torch

from stillroom.core.batch import Batch
from stillroom.core.shape import ModelShape
from stillroom.core.signals import Request, Signals


class Teacher(Protocol):
    """Answers for the teacher, whether its weights are in memory or not."""

    shape: ModelShape

    def prepare(self, requests: Collection[Request]) -> None:
        """Check once, before training, that `requests` can be answered; `BadInput` where not."""
        ...

    def to(self, device: torch.device) -> None:
        """Where answers shall lie."""
        ...

    def answer(self, batch: Batch, requests: Collection[Request]) -> Signals:
        """What the teacher says about its side of the batch, without gradient."""
        ...
