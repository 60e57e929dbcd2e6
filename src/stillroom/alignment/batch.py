"""What the two sides of a batch share: boundaries, chunks and positions, where the batch lies."""

from dataclasses import dataclass

import torch
from torch import Tensor

from stillroom.alignment.boundaries import Shared, shared_boundaries
from stillroom.alignment.chunks import Chunks, ordinals, shared_chunks
from stillroom.alignment.positions import Pairs, context_equal, exact_pairs
from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput


@dataclass(frozen=True)
class Alignment:
    """Two tokenizers on the responses of one batch."""

    shared: Shared
    """`[B,S]` and `[B,T]`: tokens that end where one of the other side ends."""
    context: Pairs
    """Positions that predict a trained token from the same bytes on both sides."""
    chunks: Chunks
    """`[B,S]`, `[B,T]`: pieces of the responses with the same bytes. What lies before the first shared boundary is in
    none: the beginning of a text may have been cut, and not at the same byte on both sides."""
    exact: Pairs
    """Trained tokens of the same bytes, by their own positions: predicted one position earlier."""


def align(batch: Batch) -> Alignment:
    """From the byte ends of both sides. With one tokenizer every token is aligned with itself, and none are needed.

    `BadInput` where two tokenizers were used and the byte ends of one are not known.
    """
    if batch.teacher is batch.student:
        ends = [_positions(batch.student)] * 2
    else:
        ends = [_known(side, name) for side, name in ((batch.student, "student"), (batch.teacher, "teacher"))]
    shared = shared_boundaries(*ends)
    masks = [
        side.response_mask.bool() & (ordinals(closes) > 0)
        for side, closes in zip((batch.student, batch.teacher), shared, strict=True)
    ]
    chunks = shared_chunks(shared, *masks)
    context = context_equal(shared, batch.student.predicts, batch.teacher.predicts)
    return Alignment(shared, context, chunks, exact_pairs(chunks))


def _positions(side: Side) -> Tensor:
    """The number of every token as its end: increasing like bytes, and that is all that counts."""
    numbers = torch.arange(side.input_ids.shape[1], device=side.input_ids.device)
    return numbers.where(side.attention_mask.bool(), -1)


def _known(side: Side, name: str) -> Tensor:
    if side.byte_ends is None:
        raise BadInput(
            f"Expected the byte ends of every token to compare two vocabularies, the {name}'s are not known: encode "
            "the text with both tokenizers."
        )
    return side.byte_ends
