"""Chunks of text that both models can be asked about: their tokens, their likelihoods, and what follows them.

    log P(chunk) = sum over its tokens of log P(token | all before)
    log P(break) = log sum_v P(v | all up to the end of the chunk)     v begins with a blank, or is special

A chunk is the finest piece of a response that both tokenizers cut out (`alignment.chunks`). One that holds a token
which no position predicts (the first of a row) has no likelihood and is left out, on both sides.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from stillroom.alignment.batch import align
from stillroom.core.batch import Batch, Side
from stillroom.core.byte_table import ByteTable
from stillroom.core.signals import FinalHidden, Head, HeadWeights, Signals
from stillroom.kernels.linear_cross_entropy import cross_entropy_rows
from stillroom.kernels.linear_log_likelihood import linear_log_likelihood

BREAKS = (b" ", b"\t", b"\n")
SCRATCH = 128 * 2**20
"""Bytes of logits, and of what is made of them, at once."""


class ChunkTokens(NamedTuple):
    """`n` tokens of one side, in the order of the text: `rows`, `positions` that predict them, `chunks` they are in;
    `last [K]`, the position of the last token of every chunk."""

    rows: Tensor
    positions: Tensor
    chunks: Tensor
    last: Tensor


class ScoredChunks(NamedTuple):
    """`K` chunks of a batch, in the order of rows and text: the row of each, `rows [K]`, its tokens, and whether both
    sides predict a trained token behind it, `followed [K]`."""

    rows: Tensor
    student: ChunkTokens
    teacher: ChunkTokens
    followed: Tensor


def scored_chunks(batch: Batch) -> ScoredChunks:
    """From the batch alone. `BadInput` where two tokenizers were used and byte ends are not known."""
    chunks = align(batch).chunks
    width = 1 + min(chunks.student.shape[1], chunks.teacher.shape[1])
    whole = torch.arange(width, device=chunks.counts.device) < chunks.counts[:, None]
    sides = (batch.student, chunks.student), (batch.teacher, chunks.teacher)
    for side, ids in sides:
        rows, unpredicted = torch.where((ids >= 0) & ~predicted(side))
        whole[rows, ids[rows, unpredicted]] = False
    numbers = torch.where(whole.flatten(), whole.flatten().cumsum(0) - 1, -1).reshape(whole.shape)
    rows = torch.where(whole)[0]
    ours, theirs = (_tokens(ids, numbers, len(rows)) for _, ids in sides)
    followed = batch.student.predicts[rows, ours.last] & batch.teacher.predicts[rows, theirs.last]
    return ScoredChunks(rows, ours, theirs, followed)


def student_likelihoods(signals: Signals, side: Side, chunks: ScoredChunks) -> Tensor:
    """Log-probability of every chunk, `[K]` in nats and float32, with gradient."""
    tokens, head = chunks.student, signals[Head()]
    found = linear_log_likelihood(
        signals[FinalHidden()][tokens.rows, tokens.positions],
        head.weight,
        side.input_ids[tokens.rows, tokens.positions + 1],
        transform=head.transform,
    )
    return found.new_zeros(len(chunks.rows)).index_add(0, tokens.chunks, found)


def teacher_likelihoods(signals: Signals, side: Side, chunks: ScoredChunks) -> Tensor:
    """The same of the teacher, without gradient."""
    tokens, head = chunks.teacher, signals[Head()]
    found = -cross_entropy_rows(
        signals[FinalHidden()][tokens.rows, tokens.positions],
        head.weight,
        side.input_ids[tokens.rows, tokens.positions + 1],
        transform=head.transform,
    )
    return found.new_zeros(len(chunks.rows)).index_add(0, tokens.chunks, found)


def break_likelihoods(
    signals: Signals, places: tuple[Tensor, Tensor], asked: Tensor, breaks: Tensor
) -> Tensor:
    """Log-probability that a token of `breaks [V]`, bool, comes after each of `n` places (rows and positions), `[n]`;
    zero where it is not `asked [n]`.

    Differentiable; logits are made a few rows at a time, and made again for the gradient.
    """
    index = torch.where(asked)[0]
    hidden, head = signals[FinalHidden()][tuple(each[index] for each in places)], signals[Head()]
    size = max(1, SCRATCH // (16 * len(breaks)))
    parts = [
        checkpoint(_log_mass, part, head, breaks, use_reentrant=False, preserve_rng_state=False)
        for part in hidden.split(size)
    ]
    found = torch.cat(parts)
    return found.new_zeros(len(asked)).index_add(0, index, found)


class Spans(NamedTuple):
    """`M` spans of one or more chunks: the span of every chunk, `of [K]`; the last chunk of every span, `ends [M]`; and
    `weights [M]`, which sum to the number of chunks in every row."""

    of: Tensor
    ends: Tensor
    weights: Tensor


def merged(chunks: ScoredChunks, log_breaks: Tensor, threshold: float) -> Spans:
    """A chunk goes with the next one of its row where `exp(log_breaks [K])` is not above the threshold."""
    closes = log_breaks > math.log(threshold) if threshold > 0 else torch.ones_like(chunks.followed)
    closes[:-1] |= chunks.rows[1:] != chunks.rows[:-1]
    closes[-1:] = True
    ends = torch.where(closes)[0]
    before, after = (torch.bincount(each, minlength=1) for each in (chunks.rows, chunks.rows[ends]))
    weights = before.to(log_breaks.dtype) / after.clamp(min=1)
    return Spans(closes.cumsum(0) - closes.long(), ends, weights[chunks.rows[ends]])


def begins_a_word(tokens: ByteTable, vocab_size: int) -> Tensor:
    """Which rows of a head are special, or text that begins with a space, a tab or a line end: `[V]` bool."""
    begins = np.fromiter((piece.startswith(BREAKS) for piece in tokens.pieces), bool, len(tokens))
    found = torch.zeros(vocab_size, dtype=torch.bool)
    known = torch.from_numpy(begins | tokens.special)[:vocab_size]
    found[: len(known)] = known
    return found


def predicted(side: Side) -> Tensor:
    """Tokens that some position predicts, `[B,S]` bool."""
    found = torch.zeros_like(side.predicts)
    found[:, 1:] = side.predicts[:, :-1]
    return found


def _tokens(ids: Tensor, numbers: Tensor, count: int) -> ChunkTokens:
    rows, columns = torch.where(ids >= 0)
    chunks = numbers[rows, ids[rows, columns]]
    rows, columns, chunks = (each[chunks >= 0] for each in (rows, columns, chunks))
    last = columns.new_zeros(count).scatter_reduce(0, chunks, columns, "amax")
    return ChunkTokens(rows, columns - 1, chunks, last)


def _log_mass(hidden: Tensor, head: HeadWeights, members: Tensor) -> Tensor:
    logits = head(hidden)
    shares = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=1)
    with torch.autocast(
        hidden.device.type, enabled=False
    ):  # a product in half precision has no logarithm near zero
        return (shares @ members.to(shares.dtype)).clamp(torch.finfo(shares.dtype).tiny, 1).log()
