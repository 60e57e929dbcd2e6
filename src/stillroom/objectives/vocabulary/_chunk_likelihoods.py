"""How likely a model finds chunks of text, and the end of a word behind them.

log P(chunk) = sum over its tokens of log P(token | all before)
log P(break) = log sum_v P(v | all up to the end of the chunk)     v begins with a blank, or is special
"""

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from stillroom.core.batch import Side
from stillroom.core.byte_table import ByteTable
from stillroom.core.signals import FinalHidden, Head, HeadWeights, Signals
from stillroom.kernels.linear_log_likelihood import linear_log_likelihood
from stillroom.objectives.vocabulary._chunks import ChunkTokens

BREAKS = (b" ", b"\t", b"\n")
SCRATCH = 128 * 2**20
"""Bytes of logits, and of what is made of them, at once."""


def chunk_likelihoods(
    signals: Signals,
    side: Side,
    tokens: ChunkTokens,
    asked: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Log-probability of every chunk, `[K]` in nats and float32, with gradient where signals have one; of its tokens
    that are `asked [n]` alone, if that is given."""
    rows, positions, chunks = (
        each if asked is None else each[asked] for each in (tokens.rows, tokens.positions, tokens.chunks)
    )
    head = signals[Head()]
    found = linear_log_likelihood(
        signals[FinalHidden()][rows, positions],
        head.weight,
        side.targets[rows, positions],
        transform=head.transform,
        temperature=temperature,
    )
    return found.new_zeros(len(tokens.first)).index_add(0, chunks, found)


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


def begins_a_word(tokens: ByteTable, vocab_size: int) -> Tensor:
    """Which rows of a head are special, or text that begins with a space, a tab or a line end: `[V]` bool."""
    begins = np.fromiter((piece.startswith(BREAKS) for piece in tokens.pieces), bool, len(tokens))
    found = torch.zeros(vocab_size, dtype=torch.bool)
    known = torch.from_numpy(begins | tokens.special)[:vocab_size]
    found[: len(known)] = known
    return found


def _log_mass(hidden: Tensor, head: HeadWeights, members: Tensor) -> Tensor:
    logits = head(hidden)
    shares = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=1)
    # a product in half precision has no logarithm near zero
    with torch.autocast(hidden.device.type, enabled=False):
        return (shares @ members.to(shares.dtype)).clamp(torch.finfo(shares.dtype).tiny, 1).log()
