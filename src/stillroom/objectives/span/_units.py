"""Units of the responses of a batch: pieces of text that both models have read, by the tokens of both sides.

chunks     the finest pieces that both tokenizers cut out (`alignment.chunks`); with one tokenizer, tokens
words      as `data.spans` found them
phrases    likewise

A unit exists where it has tokens on both sides and all of them stand where a trained token is predicted: only there
are final states known. So the end token is in none, nor is the last token of a response that was cut.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from stillroom.alignment.batch import align
from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput

Kind = Literal["chunks", "words", "phrases"]


class Units(NamedTuple):
    """The unit of every token, `student [B,S]` and `teacher [B,T]`, int64; which units there are, `exists [B,K]` bool.

    Those of a row count from 0 in the order of the text; tokens in none have -1. K is what the longest row needs, and
    at least 1.
    """

    student: Tensor
    teacher: Tensor
    exists: Tensor

    @property
    def counts(self) -> Tensor:
        """How many units every row has, `[B]` int64."""
        return self.exists.sum(dim=1)


def units_of_batch(batch: Batch, kind: Kind, most: int | None = None) -> Units:
    """From the batch alone. Neighbors in rows of more than `most` units are merged, evenly, into so many.

    `BadInput` where the batch does not know its words or phrases, or where bytes are needed and not known.
    """
    found = _numbers(batch, kind)
    predicts = (batch.student.predicts, batch.teacher.predicts)
    size = 1 + max(int(each.max()) if each.numel() else -1 for each in found)
    whole = [_whole(ids, mask, size) for ids, mask in zip(found, predicts, strict=True)]
    is_unit = whole[0] & whole[1]
    counts = is_unit.sum(dim=1, keepdim=True)
    number = is_unit.cumsum(dim=1) - 1
    if most is not None:
        merged = ((number + 1) * most - 1) // counts.clamp(min=1)
        number = torch.where(counts > most, merged, number)
        counts = counts.clamp(max=most)
    # the last column is that of tokens in no unit: ids of -1 find it
    number = functional.pad(number.masked_fill(~is_unit, -1), (0, 1), value=-1)
    student, teacher = (number.gather(1, ids.where(ids >= 0, size)) for ids in found)
    longest = max(1, int(counts.max())) if len(counts) else 1
    return Units(student, teacher, torch.arange(longest, device=counts.device) < counts)


def only_within(ids: Tensor, region: Tensor) -> Tensor:
    """`ids [B,S]` without the pieces that have a token outside of `region [B,S]`: these have -1."""
    inside = _whole(ids, region, 1 + max(0, int(ids.max())))
    return ids.masked_fill(~inside.gather(1, ids.clamp(min=0)), -1)


def _numbers(batch: Batch, kind: Kind) -> tuple[Tensor, Tensor]:
    """Number of the piece of every token, `[B,S]` and `[B,T]`; the same ones on both sides, -1 for none."""
    if kind == "chunks":
        chunks = align(batch).chunks
        return chunks.student, chunks.teacher
    sides = (batch.student, batch.teacher)
    ours, theirs = (side.words if kind == "words" else side.phrases for side in sides)
    if ours is None or theirs is None:
        raise BadInput(
            f"Expected the {kind} of every sample, the samples hold none: set data.spans in the recipe."
        )
    return ours, theirs


def _whole(ids: Tensor, known: Tensor, size: int) -> Tensor:
    """Which of `size` pieces have a token and no token outside of `known [B,S]`, `[B,size]` bool."""
    slots = ids.where(ids >= 0, size)
    tokens, unknown = (ids.new_zeros(len(ids), size + 1) for _ in range(2))
    tokens.scatter_add_(1, slots, torch.ones_like(ids))
    unknown.scatter_add_(1, slots, (~known).to(ids.dtype))
    return ((tokens > 0) & (unknown == 0))[:, :size]
