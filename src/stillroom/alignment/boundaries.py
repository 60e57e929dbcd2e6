"""Which token ends two segmentations of one text share, for whole batches: two rasters over bytes, and what is in both.

Time and memory are linear in tokens and bytes, nothing is sorted, and one text serves NumPy (a collator) and PyTorch (a
device): both know indexing, comparing and `cumsum` by the same words.
"""

from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

Array = TypeVar("Array", np.ndarray, torch.Tensor)


class Shared(NamedTuple):
    """Whether a token ends where one of the other side ends: `student [B,S]`, `teacher [B,T]`, bool.

    In every row the k-th marked token of the student and the k-th of the teacher end at the same byte.
    """

    student: Any
    teacher: Any


def shared_boundaries(student_ends: Array, teacher_ends: Array) -> Shared:
    """From byte ends `[B,S]` and `[B,T]`, int64, which never decrease along a row; negative ones are nowhere.

    Where several tokens of a row have one end, the last of them has it. Memory is `B` times the largest end: texts that
    share a row count on (see `rows`), they do not leap.
    """
    xp: Any = namespace(student_ends)
    rows = xp.arange(len(student_ends), device=student_ends.device)[:, None]
    columns = [_closing(ends) + 1 for ends in (student_ends, teacher_ends)]  # column 0 is nowhere
    size = 1 + max((int(each.max()) for each in columns if 0 not in each.shape), default=0)
    both = xp.ones((len(rows), size), dtype=xp.bool, device=rows.device)
    for each in columns:
        marked = xp.zeros_like(both)
        marked[rows, each] = True
        both &= marked
    both[:, 0] = False
    return Shared(*(both[rows, each] for each in columns))


def _closing(ends: Array) -> Array:
    """The ends of tokens that close something, -1 for the others."""
    xp: Any = namespace(ends)
    closes = ends >= 0
    closes[:, :-1] &= ends[:, :-1] != ends[:, 1:]
    return xp.where(closes, ends, -1)


def namespace(array: Array) -> Any:
    """The library that an array is of."""
    return torch if isinstance(array, torch.Tensor) else np
