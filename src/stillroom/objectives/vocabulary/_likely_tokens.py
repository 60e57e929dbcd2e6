"""Which of the likely tokens of two models are each other's: by bytes, else by nearest spelling among those at hand.

    t goes to s    if both have the same bytes, whether s is likely or not
    t goes to s    if neither has a counterpart, s is the likely one with least edit(t, s) / (|t| + |s|), the likeliest
                   of equals, and that is below the threshold

and s goes to t likewise. A pair is there once, whichever way it was found.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stillroom.alignment.vocabulary_map import ABSENT
from stillroom.core.shape import ModelShape
from stillroom.objectives._two_vocabularies import SharedTokens
from stillroom.objectives.vocabulary._edit_distance import END, edit_distances, spellings


@dataclass(frozen=True)
class Matches:
    """Up to m pairs of tokens for each of n positions: ids `student [n,m]` and `teacher [n,m]` where `exists [n,m]`."""

    student: Tensor
    teacher: Tensor
    exists: Tensor


class LikelyTokens:
    """Matches likely tokens of one position after the other; knows how every token is spelled."""

    def __init__(self, student: ModelShape, teacher: ModelShape, threshold: float) -> None:
        self._student, self._teacher = (
            [_letters(text) for text in spellings(each)] for each in (student, teacher)
        )
        self._threshold = threshold

    def match(self, student: Tensor, teacher: Tensor, shared: SharedTokens) -> Matches:
        """From likely ids `[n,k]` of the student and `[n,l]` of the teacher, likeliest first; k + l pairs at most."""
        to_student, to_teacher = shared.to_student[teacher], shared.to_teacher[student]
        distance = self._distances(student, teacher, to_teacher == ABSENT, to_student == ABSENT)
        if distance is not None:
            to_student = _nearest(distance, student, to_student, self._threshold)
            to_teacher = _nearest(distance.mT, teacher, to_teacher, self._threshold)
        known = (teacher[:, None] == to_teacher[:, :, None]) & (to_student[:, None] == student[:, :, None])
        pairs = torch.cat([to_student, student], 1), torch.cat([teacher, to_teacher], 1)
        exists = torch.cat([to_student != ABSENT, (to_teacher != ABSENT) & ~known.any(2)], 1)
        return Matches(*(each.where(exists, 0) for each in pairs), exists)

    def _distances(self, student: Tensor, teacher: Tensor, lone_s: Tensor, lone_t: Tensor) -> Tensor | None:
        """Edits per letter `[n,l,k]` between tokens without a counterpart, infinite for all others; None: there are
        none."""
        if self._threshold == 0 or not (lone_s.any() and lone_t.any()):
            return None
        spelled, places = [], []
        for ids, lone, letters in ((teacher, lone_t, self._teacher), (student, lone_s, self._student)):
            unique, where = ids[lone].unique(return_inverse=True)
            spelled.append([letters[index] for index in unique.tolist()])
            places.append(torch.full_like(ids, len(unique)).masked_scatter_(lone, where))
        sizes = [np.array([len(text) for text in texts], np.float32) for texts in spelled]
        table = np.full([len(texts) + 1 for texts in spelled], np.inf, np.float32)
        table[:-1, :-1] = edit_distances(*spelled) / np.maximum(sizes[0][:, None] + sizes[1], 1)
        table[:-1][sizes[0] == 0], table[:, :-1][:, sizes[1] == 0] = np.inf, np.inf
        return torch.from_numpy(table).to(student.device)[places[0][:, :, None], places[1][:, None]]


def _nearest(distance: Tensor, others: Tensor, known: Tensor, threshold: float) -> Tensor:
    """`known [n,l]` counterparts, and for tokens without one the nearest of `others [n,k]` below the threshold."""
    least, place = distance.min(2)
    return known.where((known != ABSENT) | (least >= threshold), others.gather(1, place))


def _letters(text: str) -> str:
    return "" if text == END else text
