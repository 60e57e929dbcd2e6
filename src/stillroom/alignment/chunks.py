"""The finest cut of a text that both tokenizers respect: chunks of student and teacher tokens with the same bytes."""

from typing import Any, NamedTuple

from stillroom.alignment.boundaries import Array, Shared, namespace


class Chunks(NamedTuple):
    """The chunk of every token: `student [B,S]`, `teacher [B,T]`, int64; `counts [B]` chunks of every row.

    Chunks of a row count from 0, never decrease, and hold at least one token of each side. -1: tokens outside the text,
    and those after the last boundary that both sides have (one of them was cut).
    """

    student: Any
    teacher: Any
    counts: Any


def shared_chunks(shared: Shared, student_text: Array, teacher_text: Array) -> Chunks:
    """From shared boundaries and from which tokens are text, `[B,S]` and `[B,T]` bool.

    A boundary at a token that is no text (the last one of a prompt) closes no chunk; tokens before it have none.
    """
    xp: Any = namespace(student_text)
    real = both_hold(shared, student_text, teacher_text)
    number = xp.where(real, xp.cumsum(xp.asarray(real), axis=1) - 1, -1)
    rows = xp.arange(len(number), device=number.device)[:, None]
    found = [
        xp.where(text, number[rows, ordinals(closes)], -1)
        for closes, text in zip(shared, (student_text, teacher_text), strict=True)
    ]
    return Chunks(*found, real.sum(axis=1))


def both_hold(shared: Shared, student_flag: Array, teacher_flag: Array) -> Array:
    """For the k-th shared boundary of every row, whether both flags hold at its tokens: `[B,K]` bool, false behind the
    last boundary."""
    xp: Any = namespace(student_flag)
    rows = xp.arange(len(student_flag), device=student_flag.device)[:, None]
    width = 1 + min(student_flag.shape[1], teacher_flag.shape[1])
    both = xp.ones((len(rows), width), dtype=xp.bool, device=rows.device)
    for closes, flag in zip(shared, (student_flag, teacher_flag), strict=True):
        holds = xp.zeros_like(both)
        holds[rows, xp.where(closes, ordinals(closes), width - 1)] = closes & flag
        both &= holds
    return both


def ordinals(closes: Array) -> Array:
    """How many boundaries lie before every token: the number of the one that closes it. `[B,S]` int64."""
    xp: Any = namespace(closes)
    return xp.cumsum(closes, axis=1) - xp.where(closes, 1, 0)


def sizes(chunks: Array, most: int) -> Array:
    """How many tokens every chunk has, `[B,most]` int64."""
    xp: Any = namespace(chunks)
    rows = xp.arange(len(chunks), device=chunks.device)[:, None]
    flat = xp.where(chunks >= 0, rows * (most + 1) + chunks, rows * (most + 1) + most)
    counted = xp.bincount(flat.reshape(-1), minlength=len(chunks) * (most + 1))
    return counted.reshape(len(chunks), most + 1)[:, :most]
