"""Positions of two models that can be compared: same bytes before them, or same bytes before them and the same token.

Context-equal positions predict from the same bytes: whole distributions may be compared there. Exact pairs are tokens
of the same bytes, one on each side; they are what DSKD calls aligned (arXiv 2504.11426), found by bytes instead of by
strings, and always fewer.
"""

from typing import Any, NamedTuple

from stillroom.alignment.boundaries import Array, Shared, namespace
from stillroom.alignment.chunks import Chunks, both_hold, ordinals, sizes


class Pairs(NamedTuple):
    """`N` pairs, in the order of rows and positions: `rows`, `student` and `teacher` positions, each `[N]` int64."""

    rows: Any
    student: Any
    teacher: Any


def context_equal(shared: Shared, student_predicts: Array, teacher_predicts: Array) -> Pairs:
    """Positions after which both models have read the same bytes, where both predict something that is scored.

    `student_predicts [B,S]`, `teacher_predicts [B,T]`, bool: where a token of the text is predicted (`Side.predicts`).
    """
    wanted = both_hold(shared, student_predicts, teacher_predicts)
    return _pairs(wanted, shared.student, shared.teacher)


def exact_pairs(chunks: Chunks) -> Pairs:
    """Tokens of the same bytes on both sides: chunks of one token each. Position p-1 predicts the token at p."""
    width = 1 + min(chunks.student.shape[1], chunks.teacher.shape[1])
    alone = (sizes(chunks.student, width) == 1) & (sizes(chunks.teacher, width) == 1)
    xp: Any = namespace(chunks.student)
    rows = xp.arange(len(alone), device=alone.device)[:, None]
    student, teacher = (xp.where((ids >= 0) & alone[rows, ids]) for ids in (chunks.student, chunks.teacher))
    return Pairs(student[0], student[1], teacher[1])


def _pairs(wanted: Array, student: Array, teacher: Array) -> Pairs:
    """Positions of the marked tokens whose boundary, by its number in the row, is wanted."""
    xp: Any = namespace(wanted)
    rows = xp.arange(len(wanted), device=wanted.device)[:, None]
    left, right = (xp.where(closes & wanted[rows, ordinals(closes)]) for closes in (student, teacher))
    return Pairs(left[0], left[1], right[1])
