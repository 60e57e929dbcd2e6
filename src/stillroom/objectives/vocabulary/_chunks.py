"""Chunks of text that both models can be asked about: their tokens, and the positions that predict them.

A chunk is the finest piece of a response that both tokenizers cut out (`alignment.chunks`). One that holds a token
which no position predicts (the first of a row) has no likelihood and is left out, on both sides.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from stillroom.alignment.batch import align
from stillroom.core.batch import Batch, Side


class ChunkTokens(NamedTuple):
    """`n` tokens of one side in `K` chunks, in the order of rows and text: `rows`, `positions` that predict them and
    `chunks` they are in, `[n]`; `first` and `last [K]`, the numbers of the tokens at both ends of every chunk."""

    rows: Tensor
    positions: Tensor
    chunks: Tensor
    first: Tensor
    last: Tensor


class ScoredChunks(NamedTuple):
    """The same `K` chunks by the tokens of both sides."""

    student: ChunkTokens
    teacher: ChunkTokens

    @property
    def rows(self) -> Tensor:
        """`[K]`, the row of every chunk."""
        return self.student.rows[self.student.first]

    @property
    def single(self) -> Tensor:
        """`[K]` bool: chunks of one token on both sides."""
        return (self.student.first == self.student.last) & (self.teacher.first == self.teacher.last)


def scored_chunks(batch: Batch, spaces_differ: bool = False) -> ScoredChunks:
    """From the batch alone. Where `spaces_differ`, the chunk that opens a response is left out: the two models have not
    read the same bytes before it (`SharedTokens.spaces_differ`). `BadInput` where byte ends are needed and not known.
    """
    chunks = align(batch).chunks
    width = 1 + min(chunks.student.shape[1], chunks.teacher.shape[1])
    whole = torch.arange(width, device=chunks.counts.device) < chunks.counts[:, None]
    sides = (batch.student, chunks.student), (batch.teacher, chunks.teacher)
    for side, ids in sides:
        _leave_out(whole, ids, ~predicted(side))
    if spaces_differ:
        _leave_out(whole, chunks.student, ~_behind(batch.student.response_mask.bool()))
    numbers = torch.where(whole.flatten(), whole.flatten().cumsum(0) - 1, -1).reshape(whole.shape)
    return ScoredChunks(*(_tokens(ids, numbers, int(whole.sum())) for _, ids in sides))


def predicted(side: Side) -> Tensor:
    """Tokens that some position predicts, `[B,S]` bool."""
    return _behind(side.predicts)


def _behind(mask: Tensor) -> Tensor:
    """Tokens behind those of `mask [B,S]`, `[B,S]` bool."""
    found = torch.zeros_like(mask)
    found[:, 1:] = mask[:, :-1]
    return found


def _leave_out(whole: Tensor, ids: Tensor, bad: Tensor) -> None:
    """Unmark the chunks `[B,C]` that hold a bad token; `ids [B,S]` are their numbers, `bad [B,S]` bool."""
    rows, columns = torch.where((ids >= 0) & bad)
    whole[rows, ids[rows, columns]] = False


def _tokens(ids: Tensor, numbers: Tensor, count: int) -> ChunkTokens:
    rows, columns = torch.where(ids >= 0)
    chunks = numbers[rows, ids[rows, columns]]
    rows, columns, chunks = (each[chunks >= 0] for each in (rows, columns, chunks))
    sizes = torch.bincount(chunks, minlength=count)
    ends = sizes.cumsum(0)
    return ChunkTokens(rows, columns - 1, chunks, ends - sizes, ends - 1)
