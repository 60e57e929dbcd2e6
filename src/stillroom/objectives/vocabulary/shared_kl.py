"""Divergence over what two vocabularies can both say: shared tokens, each with the longer ones that begin with it.

    sum over events e of P(e) log( P(e) / Q(e) )        (forward KL)

at positions where both models have read the same bytes. An event is a class of tokens of both sides: a token that one
side lacks is counted to the longest token of that side which it begins with (see `_events`). An f-divergence over
merged outcomes is a lower bound of that over any outcomes which they are made of, zero at match; with one vocabulary
nothing is merged and this is the divergence itself.

With `rest: bucket` the tokens of one side only are one event, with `renormalize` they are left out. Both compare the
student's own tokens with nothing that the teacher says for the same text: a student with longer tokens unlearns them.

Paper:    none. KL over shared tokens alone, renormalized, is the usual baseline; it forgets how much was left out
Differs:  tokens are shared where their bytes are, positions where the bytes before them are
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.loss import Loss, Unit
from stillroom.core.shape import ModelShape
from stillroom.core.signals import Reads, Signals
from stillroom.numerics.divergence import DIVERGENCES
from stillroom.objectives._positions import count_of, paired_positions
from stillroom.objectives._settings import check_choice, check_flag
from stillroom.objectives._two_vocabularies import ABSENT
from stillroom.objectives.vocabulary._events import common_events, over_events
from stillroom.objectives.vocabulary._family import VocabularyObjective


@dataclass(eq=False, kw_only=True)
class SharedKL(VocabularyObjective):
    """A divergence over shared tokens and a bucket for the rest, at positions of equal context."""

    terms: ClassVar[dict[str, Unit]] = {"divergence": "pairs"}

    student_events: ClassVar[Tensor]
    teacher_events: ClassVar[Tensor]
    """Buffers: the event of every id."""

    divergence: str = "forward_kl"
    """Any divergence of `stillroom.numerics.divergence`, with its default settings."""
    scale_by_temperature_squared: bool = False
    """Multiply by the square of the temperature, so that gradients keep their size as it grows."""
    rest: Literal["prefix", "bucket", "renormalize"] = "prefix"
    """Tokens of one side only: counted to the token of the other side that they begin with, or one event, or left out
    and both sides renormalized. A vocabulary with no text of its own has no bucket: then both are renormalized."""

    positions: Literal["context", "exact"] = "context"
    """All positions that have read the same bytes, or those of them that also predict the same token of the text."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("positions", self.positions, ("context", "exact"))
        check_choice("divergence", self.divergence, list(DIVERGENCES))
        check_flag("scale_by_temperature_squared", self.scale_by_temperature_squared)
        check_choice("rest", self.rest, ("prefix", "bucket", "renormalize"))

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        reads = super().setup(student, teacher)
        self._one_vocabulary = student.vocabulary == teacher.vocabulary
        sides = (("student", student, self.shared.to_teacher), ("teacher", teacher, self.shared.to_student))
        self._without = [name for name, shape, found in sides if not _own_words(shape, found != ABSENT)]
        self._bucket = self.rest == "bucket" and not self._without
        self._num_events = 0
        if self.rest == "prefix" and not self._one_vocabulary:
            pairs = zip(self.shared.student.tolist(), self.shared.teacher.tolist(), strict=True)
            ours, theirs, self._num_events = common_events(student, teacher, pairs)
            sides = (student, ours), (teacher, theirs)
            self._both_have_others = all(_own_words(shape, each < self._num_events) for shape, each in sides)
            self.register_buffer("student_events", ours, persistent=False)
            self.register_buffer("teacher_events", theirs, persistent=False)
        self._mass = torch.zeros(2)
        self._pairs = self._predicting = 0
        return reads

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"divergence": count_of(paired_positions(batch, self.shared, self.positions))}

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        pairs = paired_positions(batch, self.shared, self.positions)
        predicting = batch.student.predicts.sum()
        self._mass = torch.zeros(2, device=predicting.device)
        self._pairs, self._predicting = len(pairs.rows), predicting
        # The function itself where nothing is merged: the kernel knows the gradient of some in closed form.
        compared = DIVERGENCES[self.divergence] if self._one_vocabulary else self._over_shared
        total = self.compare(student, teacher, pairs, compared)
        if self.scale_by_temperature_squared:
            total = total * self.temperature**2
        return {"divergence": Loss(total, count_of(pairs), "pairs")}

    def notes(self) -> list[str]:
        if self._one_vocabulary:
            return []
        if self.rest == "prefix":
            return [
                f"The vocabularies share {len(self.shared)} tokens, of {len(self.student_events)} of the student and "
                f"{len(self.teacher_events)} of the teacher; with the others, each counted to what it begins with, "
                f"they are {self._num_events} events."
            ]
        said = [
            f"The vocabularies share {len(self.shared)} tokens, of {len(self.shared.to_teacher)} of the student and "
            f"{len(self.shared.to_student)} of the teacher; all others are "
            + ("one event." if self._bucket else "left out, and both sides are renormalized.")
        ]
        if self.rest == "bucket" and self._without:
            said.append(
                f"rest: bucket compares what only one side can say, and every text token of the "
                f"{' and of the '.join(self._without)} is shared: rest: renormalize is used."
            )
        return said

    def measures(self) -> dict[str, float]:
        """Of the last batch: the share of the student's positions that could be compared, and how much probability
        either model had on shared tokens there."""
        if not self._pairs:
            return {}
        found = {"positions": self._pairs / int(self._predicting)}
        if not self._one_vocabulary:
            theirs, ours = (self._mass / self._pairs).tolist()
            found |= {"teacher_on_shared": theirs, "student_on_shared": ours}
        return found

    def _over_shared(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """Log-probabilities `[n,W]` and `[n,V]` of both vocabularies to nats `[n]`."""
        theirs, ours = log_p.index_select(1, self.shared.teacher), log_q.index_select(1, self.shared.student)
        with torch.no_grad():
            self._mass += torch.stack([each.exp().sum() for each in (theirs, ours)])
        if self.rest == "prefix":
            theirs = over_events(log_p, self.teacher_events, self._num_events)
            ours = over_events(log_q, self.student_events, self._num_events)
            if not self._both_have_others:
                theirs, ours = theirs[:, :-1].log_softmax(dim=-1), ours[:, :-1].log_softmax(dim=-1)
        elif self._bucket:
            theirs = _with_rest(theirs, log_p.index_select(1, self.teacher_only))
            ours = _with_rest(ours, log_q.index_select(1, self.student_only))
        else:
            theirs, ours = theirs.log_softmax(dim=-1), ours.log_softmax(dim=-1)
        return DIVERGENCES[self.divergence](theirs, ours)


def _with_rest(shared: Tensor, others: Tensor) -> Tensor:
    """Log-probabilities `[n,k]` and those of all other tokens to `[n,k+1]`. Summed, not one minus the shared ones:
    where the shared tokens have nearly everything, that difference would be rounding."""
    return torch.cat([shared, others.logsumexp(dim=-1, keepdim=True)], dim=-1)


def _own_words(shape: ModelShape, matched: Tensor) -> bool:
    """Whether the vocabulary has text that the other has no token for: control tokens are none, nor is a second id of
    the same bytes."""
    if shape.tokens is None or len(matched) == int(matched.sum()):
        return False
    ordinary = [
        (piece, bool(found))
        for piece, found, special in zip(
            shape.tokens.pieces, matched.tolist(), shape.tokens.special, strict=False
        )
        if piece and not special
    ]
    return bool(
        {piece for piece, found in ordinary if not found} - {piece for piece, found in ordinary if found}
    )
