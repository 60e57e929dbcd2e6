"""Several teachers that speak as one: the mean of their logits, or of their probabilities.

    combine: logits          z = sum_i w_i z_i,                      P = softmax(z / T)
    combine: probabilities   z = log sum_i w_i softmax(z_i),         P = softmax(z / T)

Shares w sum to one. Final hidden states stand side by side, [h_1; h_2], and so do the heads, so that the kernels make
logits a few rows at a time as of any teacher: the mean of logits is one linear head [w_1 W_1, w_2 W_2] with the mean
of the biases; for the mean of probabilities see `core.signals.HeadMixture`. The heads are copied once, `[V, sum of D]`.
Everything else (hidden states, queries, keys, values, output projections, embedding) is said by the first alone.

Paper:    Timiryasov & Tastet (2023), Baby Llama: the mean of the logits of two teachers
Differs:  with probabilities T softens the mean, as the distribution of one teacher; others soften first
"""

from collections.abc import Collection, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.shape import ModelShape
from stillroom.core.signals import (
    FinalHidden,
    Head,
    HeadMixture,
    HeadTransform,
    HeadWeights,
    Logits,
    Request,
    Signals,
    TopTokenProbs,
    TopTokens,
)
from stillroom.taps.capture import capture
from stillroom.taps.top_tokens import top_tokens
from stillroom.teachers.live import LiveTeacher

Combine = Literal["logits", "probabilities"]

TOGETHER = (FinalHidden, Head, Logits, TopTokens)
"""Requests that all members answer together; any other is the first member's alone."""


class EnsembleTeacher:
    """Live teachers with one vocabulary. `shape` is that of the first, which speaks for what lies inside a model.

    `shares` are divided by their sum (default: all alike). `BadInput` where the vocabularies differ, where a share is
    not above zero, or where the logits of a soft-capped head would be averaged, which no linear head can do.
    """

    def __init__(
        self,
        members: Sequence[LiveTeacher],
        *,
        combine: Combine = "logits",
        shares: Sequence[float] | None = None,
    ) -> None:
        self.members = tuple(members)
        self.combine: Combine = combine
        self.shares = normalized(shares, len(self.members))
        self.shape: ModelShape = self.members[0].shape
        for member in self.members[1:]:
            if (member.shape.vocabulary, member.shape.vocab_size) != (
                self.shape.vocabulary,
                self.shape.vocab_size,
            ):
                raise BadInput(
                    f"expected teachers with one vocabulary, got {self.shape.vocab_size} tokens of "
                    f"{self.shape.vocabulary!r} and {member.shape.vocab_size} of {member.shape.vocabulary!r}: take the "
                    "other teacher out"
                )
        self._head: HeadWeights | None = None

    def prepare(self, requests: Collection[Request]) -> None:
        """Check once, before training, that the members can answer `requests`: see `stillroom.taps.prepare`."""
        asked = _together(requests)
        for number, member in enumerate(self.members):
            own = [] if number else [each for each in requests if not isinstance(each, TOGETHER)]
            member.prepare({*own, *({FinalHidden(), Head()} if asked else ())})

    def to(self, device: torch.device) -> None:
        """Move the weights, and with them the answers."""
        self._head = None
        for member in self.members:
            member.to(device)

    def answer(self, batch: Batch, requests: Collection[Request]) -> Signals:
        """What the teachers say about their side of the batch, without gradient."""
        asked = _together(requests)
        states = {FinalHidden()} if any(each != Head() for each in asked) else set()
        answers = {}
        first, *others = self.members
        said = [first.answer(batch, {each for each in requests if each not in asked} | states)]
        answers |= {each: said[0][each] for each in requests if each not in asked}
        with torch.no_grad():
            head = self._combined(batch) if asked else None
            hidden = None
            if states:
                said += [each.answer(batch, states) for each in others]
                hidden = torch.cat([each[FinalHidden()] for each in said], dim=-1)
            answers |= {each: _answer(each, hidden, head, batch) for each in asked}
        return Signals(answers, owner="teachers")

    def check_distinct(self, student: nn.Module) -> None:
        """Refuse a student that shares parameters with a teacher: they would be frozen or both train."""
        for member in self.members:
            member.check_distinct(student)

    def _combined(self, batch: Batch) -> HeadWeights:
        """Made once: teachers do not change."""
        if self._head is None:
            heads = [
                capture(each.model, batch.teacher, {Head()}, vocab_size=each.vocab_size)[Head()]
                for each in self.members
            ]
            self._head = combined_head(heads, self.combine, self.shares)
        return self._head


Live = LiveTeacher | EnsembleTeacher
"""A teacher whose weights are in memory; `members` are its models."""


def combined_head(heads: Sequence[HeadWeights], combine: Combine, shares: Sequence[float]) -> HeadWeights:
    """One head `[V, sum of D]` for hidden states side by side; `shares` sum to one."""
    widths = tuple(each.weight.shape[1] for each in heads)
    if combine == "probabilities":
        weight = torch.cat([each.weight for each in heads], dim=1)
        transforms = tuple(each.transform for each in heads)
        return HeadWeights(weight, HeadMixture(widths=widths, shares=tuple(shares), transforms=transforms))
    if any(each.transform.softcap is not None for each in heads):
        raise BadInput(
            "teacher.combine: the mean of logits is that of linear heads, and one of the teachers has a soft-cap "
            "behind its head; use combine: probabilities"
        )
    weight = torch.cat(
        [each.weight * (share * each.transform.scale) for each, share in zip(heads, shares, strict=True)],
        dim=1,
    )
    biases = [
        each.transform.bias * share
        for each, share in zip(heads, shares, strict=True)
        if each.transform.bias is not None
    ]
    return HeadWeights(weight, HeadTransform(bias=sum(biases[1:], biases[0]) if biases else None))


def normalized(shares: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """Shares that sum to one, one for each of `count` teachers."""
    if shares is None:
        return (1 / count,) * count
    if len(shares) != count or not all(each > 0 for each in shares):
        raise BadInput(
            f"expected one share above 0 for each of the {count} teachers, the first one's first, got {list(shares)}"
        )
    return tuple(each / sum(shares) for each in shares)


def _together(requests: Collection[Request]) -> list[Request]:
    return [each for each in requests if isinstance(each, TOGETHER)]


def _answer(
    request: Request, hidden: Tensor | None, head: HeadWeights | None, batch: Batch
) -> Tensor | HeadWeights | TopTokenProbs:
    assert head is not None
    if isinstance(request, Head):
        return head
    assert hidden is not None
    match request:
        case FinalHidden():
            return hidden
        case TopTokens():
            return top_tokens(request, hidden, head, batch.teacher)
        case _:
            return head(hidden)
