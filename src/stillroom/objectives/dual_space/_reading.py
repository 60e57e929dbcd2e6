"""What one model read and predicts at some positions of every sample, packed to the left.

Attention between two responses, packed, never pays for their prompts: `R x Q` instead of `S x T`.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from stillroom.core.batch import Batch, Side
from stillroom.core.signals import Embedding, FinalHidden, Signals


@dataclass(frozen=True)
class Places:
    """Up to `R` positions of each sample: `index [B,R]`, and `exists [B,R]` where there is one, at the front."""

    index: Tensor
    exists: Tensor

    @property
    def lengths(self) -> Tensor:
        """How many there are in each sample, `[B]`."""
        return self.exists.sum(dim=1)

    def take(self, values: Tensor) -> Tensor:
        """`values [B,S,...]` at the places, `[B,R,...]`; zeros where there is none, whatever lies there."""
        more = (1,) * (values.dim() - 2)
        index = self.index.reshape(*self.index.shape, *more).expand(-1, -1, *values.shape[2:])
        return values.gather(1, index).masked_fill(~self.exists.reshape(*self.exists.shape, *more), 0)


def places(mask: Tensor) -> Places:
    """Where `mask [B,S]` is true, in order."""
    longest = int(mask.sum(dim=1).max())
    index = mask.int().argsort(dim=1, descending=True, stable=True)[:, :longest]
    return Places(index, mask.gather(1, index))


def answering(batch: Batch) -> tuple[Tensor, Tensor]:
    """Positions that predict a trained token, `[B,S]` and `[B,T]` bool, of samples that have some on both sides."""
    ours, theirs = batch.student.predicts, batch.teacher.predicts
    both = (ours.any(dim=1) & theirs.any(dim=1))[:, None]
    return ours & both, theirs & both


@dataclass(frozen=True)
class Reading:
    """One model at `R` places: embedding of the token read there `before [B,R,d]`, of the one that is predicted
    `after [B,R,d]`, and the final hidden states `hidden [B,R,d]` between them; zeros where there is no place."""

    places: Places
    before: Tensor
    after: Tensor
    hidden: Tensor

    def detached(self) -> "Reading":
        return Reading(self.places, self.before.detach(), self.after.detach(), self.hidden.detach())


def read(signals: Signals, side: Side, at: Places, told: Tensor) -> Reading:
    """At the places `at`; ids where `told [B,S]` is false are read as id 0."""
    ids, targets = (each.masked_fill(~told, 0) for each in (side.input_ids, side.targets))
    before, after = (_embedded(signals[Embedding()], at, each) for each in (ids, targets))
    return Reading(at, before, after, at.take(signals[FinalHidden()]))


def _embedded(matrix: Tensor, at: Places, ids: Tensor) -> Tensor:
    found = functional.embedding(at.take(ids), matrix)
    return found.masked_fill(~at.exists[:, :, None], 0)
