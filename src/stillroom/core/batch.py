"""One batch as both models see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

KNOWN_SOMETIMES = ("byte_ends", "words", "phrases")
"""What a side says of its tokens only where somebody asked for it: `[B,S]` int64, -1 where it means nothing."""


@dataclass(frozen=True)
class Side:
    """The text of a batch under one tokenizer.

    `input_ids [B,S]`; `attention_mask [B,S]`, one on real tokens; `response_mask [B,S]`, true on the tokens that are
    trained on (their being predicted is scored); `byte_ends [B,S]`, where each token ends in the UTF-8
    text, if known: they count on through a row, see `alignment.rows`. `words` and `phrases [B,S]`, where a recipe asks
    for them (`data.spans`): the number of the word or phrase that each token is part of, the same ones on both sides of
    a batch, increasing along a row; -1 where there is none.
    """

    input_ids: Tensor
    attention_mask: Tensor
    response_mask: Tensor
    byte_ends: Tensor | None = None
    words: Tensor | None = None
    phrases: Tensor | None = None

    @property
    def targets(self) -> Tensor:
        """Next token at every position, `[B,S]`; the last column repeats itself and is never scored."""
        return torch.cat([self.input_ids[:, 1:], self.input_ids[:, -1:]], dim=1)

    @property
    def predicts(self) -> Tensor:
        """Where a trained response token is predicted, `[B,S]` bool: position t answers for token t+1."""
        shifted = torch.zeros_like(self.response_mask, dtype=torch.bool)
        shifted[:, :-1] = self.response_mask[:, 1:].bool() & self.attention_mask[:, :-1].bool()
        return shifted

    def row_weights(self, rows: Literal["real", "response", "last"]) -> Tensor:
        """Weights `[B,S]`, float32, of queries that are averaged: equal on all real tokens, on those that predict a
        trained one, or on the last real one alone, and summing to one; all zero where a sample has no such row."""
        chosen = self.predicts if rows == "response" else self.attention_mask.bool()
        if rows == "last":
            chosen = chosen & (chosen.flip(1).cumsum(1).flip(1) == 1)
        return chosen.float() / chosen.sum(dim=1, keepdim=True).clamp(min=1)


@dataclass(frozen=True)
class Batch:
    """Student and teacher side of the same samples. With one tokenizer both sides are one object."""

    student: Side
    teacher: Side
    sample_ids: Tensor
    """`[B]`, the index of each sample in its data set: messages name rows by it."""

    @classmethod
    def from_inputs(cls, inputs: Mapping[str, Any]) -> "Batch":
        """From the flat dictionary of tensors that a collator makes (see `stillroom.data.collate`)."""
        student = _side(inputs, "")
        teacher = _side(inputs, "teacher_") if "teacher_input_ids" in inputs else student
        return cls(student, teacher, inputs["sample_ids"])

    def rows(self, index: Tensor) -> "Batch":
        """The samples at `index [K]`, as a smaller batch."""
        student = _take(self.student, index)
        teacher = student if self.teacher is self.student else _take(self.teacher, index)
        return Batch(student, teacher, self.sample_ids[index])


def _side(inputs: Mapping[str, Any], prefix: str) -> Side:
    return Side(
        inputs[prefix + "input_ids"],
        inputs[prefix + "attention_mask"],
        inputs[prefix + "response_mask"],
        *(inputs.get(prefix + name) for name in KNOWN_SOMETIMES),
    )


def _take(side: Side, index: Tensor) -> Side:
    known = [getattr(side, name) for name in KNOWN_SOMETIMES]
    return Side(
        side.input_ids[index],
        side.attention_mask[index],
        side.response_mask[index],
        *(None if each is None else each[index] for each in known),
    )
