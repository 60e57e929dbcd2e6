"""One layer of both models: what is compared there, and what each of it weighs.

    unit     the centers of mass of its tokens' states; without mass in one model it has no center, and no weight
    token    its states, where both models have the same tokens

Weights of a sample sum to one. No gradient reaches them, or the teacher.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from stillroom.objectives._control import others, some
from stillroom.objectives.span._pooling import pool, rows_at
from stillroom.objectives.span._token_weights import shares
from stillroom.objectives.span._units import Units


class Rows(NamedTuple):
    """What is compared one by one: student's `[N,d]`, teacher's `[N,D]`, and `shares [N]` that sum to one a sample."""

    ours: Tensor
    theirs: Tensor
    shares: Tensor

    def some(self) -> "Rows":
        """A few, from all over the batch, that a control is measured on after the step."""
        return Rows(*(some(each) for each in self))

    def mismatched(self) -> "Rows":
        """Each of the student's beside one of the teacher's that it does not belong to."""
        return Rows(self.ours, others(self.theirs), self.shares)


class Level(NamedTuple):
    """Centers of units, `ours [B,K,d]` and `theirs [B,K,D]`, and their `weights [B,K]`; zeros where there is none."""

    ours: Tensor
    theirs: Tensor
    weights: Tensor

    @property
    def centered(self) -> Tensor:
        """Units with a center in both models, whatever they weigh: `[B,K]` bool."""
        return self.ours.any(dim=-1) & self.theirs.any(dim=-1)

    def rows(self, exists: Tensor) -> Rows:
        """Units one by one, those that there are: `exists [B,K]`."""
        return Rows(*(each[exists] for each in self))


def level(
    states: tuple[Tensor, Tensor], tokens: tuple[Tensor, Tensor], units: Units, weights: Tensor | None = None
) -> Level:
    """From states of student and teacher, `[B,S,d]` and `[B,T,D]`, what their tokens weigh, `[B,S]` and `[B,T]`, and
    what units do, `[B,K]` of at least 0, which need not sum to one; null: all the same."""
    most = units.exists.shape[1]
    ours = pool(states[0], tokens[0], units.student, most)
    theirs = pool(states[1].detach(), tokens[1], units.teacher, most)
    weights = torch.ones_like(theirs.masses) if weights is None else weights.detach()
    return Level(ours.centers, theirs.centers, shares(weights, (ours.masses > 0) & (theirs.masses > 0)))


def tokens_of_units(states: tuple[Tensor, Tensor], weights: Tensor, units: Units) -> Rows:
    """Tokens one by one, those in units, which must be the same ones on both sides: from states `[B,S,d]` and
    `[B,T,D]` and what the teacher's tokens weigh, `[B,T]`, whatever their sum."""
    ours, theirs = (ids.flatten().ge(0).nonzero()[:, 0] for ids in (units.student, units.teacher))
    weights = shares(weights.detach(), units.teacher >= 0).flatten()
    return Rows(
        rows_at(states[0], ours), rows_at(states[1].detach(), theirs), weights.index_select(0, theirs)
    )
