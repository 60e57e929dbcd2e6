"""Chunks of a batch as objectives merge them: every token of theirs, and the position that predicts it.

Chunks are in the order of rows and positions, the same on both sides. A chunk is scored where each of its tokens is
predicted on both sides, and where both models have read the same bytes before it.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from stillroom.alignment.batch import align
from stillroom.core.batch import Batch, Side


class Half(NamedTuple):
    """One side: `M` tokens in `C` chunks. `rows`, `predictors` and `chunks` are `[M]`: where a token is predicted and
    the number of its chunk; `first` and `last` `[C]`, the numbers of the tokens at both ends of a chunk."""

    rows: Tensor
    predictors: Tensor
    chunks: Tensor
    first: Tensor
    last: Tensor


class Spans(NamedTuple):
    """Both sides, and of every chunk whether it is scored and whether it is one token on both sides, `[C]` bool."""

    student: Half
    teacher: Half
    scored: Tensor
    single: Tensor


def scored_spans(batch: Batch, spaces_differ: bool) -> Spans:
    """From the alignment of the batch. Where `spaces_differ`, the first tokens of a response have not the same bytes
    before them (`SharedTokens.spaces_differ`)."""
    chunks = align(batch).chunks
    most = 1 + min(chunks.student.shape[1], chunks.teacher.shape[1])
    student, teacher = _half(chunks.student, most), _half(chunks.teacher, most)
    scored = _all_predicted(student, batch.student) & _all_predicted(teacher, batch.teacher)
    if spaces_differ:
        before = student.predictors[student.first].clamp(min=0)
        scored &= batch.student.response_mask.bool()[student.rows[student.first], before]
    return Spans(student, teacher, scored, (student.first == student.last) & (teacher.first == teacher.last))


def _half(numbers: Tensor, most: int) -> Half:
    rows, columns = torch.where(numbers >= 0)
    keys = rows * most + numbers[rows, columns]
    _, chunks, sizes = keys.unique_consecutive(return_inverse=True, return_counts=True)
    ends = sizes.cumsum(dim=0)
    return Half(rows, columns - 1, chunks, ends - sizes, ends - 1)


def _all_predicted(half: Half, side: Side) -> Tensor:
    """Of every chunk `[C]` bool: a token without one before it, or behind a masked one, is not predicted."""
    predicted = side.predicts[half.rows, half.predictors.clamp(min=0)] & (half.predictors >= 0)
    missing = torch.zeros_like(half.first).index_add_(0, half.chunks, (~predicted).long())
    return missing == 0
