"""The order of samples: a pure function of seed and epoch, so that nothing needs saving and resuming is exact."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler


class EpochOrder(Sampler[int]):
    """Shuffles every epoch anew and, where `group` is true, puts samples of similar length side by side.

    Grouping shuffles first, sorts within windows of `window` batches, and shuffles the batches again, so the length
    of a batch says nothing about when it comes. `batch_size` is the whole optimizer step: micro-batches times
    ranks times samples; a step therefore holds the same samples however it is split.
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, seed: int, group: bool = True, window: int = 32
    ) -> None:
        self.lengths = torch.as_tensor(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.group = group
        self.window = window
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self), generator=generator)
        return iter((self._grouped(order, generator) if self.group else order).tolist())

    def _grouped(self, order: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        pieces = order.split(self.batch_size * self.window)
        by_length = torch.cat([piece[self.lengths[piece].argsort(stable=True)] for piece in pieces])
        batches = list(by_length.split(self.batch_size))
        # A last, smaller batch stays last: batches of unequal size must not shift the others.
        tail = [batches.pop()] if len(batches[-1]) < self.batch_size else []
        shuffled = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
        return torch.cat(shuffled + tail)
