"""To which token of the student every token of the teacher goes: the one of the same bytes, else of nearest spelling.

Nearest is the least edit distance over bytes, among equals the smallest id; pieces that stand for one byte where a
letter has no piece of its own come last. End tokens go to each other; other control tokens and rows that a head has
beyond its tokenizer go nowhere.
"""

from typing import Literal

import torch
from torch import Tensor

from stillroom.alignment.vocabulary_map import ABSENT
from stillroom.core.shape import ModelShape
from stillroom.objectives._two_vocabularies import SharedTokens
from stillroom.objectives.vocabulary._edit_distance import END, nearest, spellings


def nearest_map(
    student: ModelShape, teacher: ModelShape, shared: SharedTokens, merge: Literal["sum", "one"]
) -> Tensor:
    """The student's id for every id of the teacher, `[W]`, or -1. With "one", of all that would go to one token of the
    student only the nearest does."""
    ours, theirs, goal = spellings(student), spellings(teacher), shared.to_student.clone()
    lone = [index for index in (goal == ABSENT).nonzero()[:, 0].tolist() if theirs[index] not in ("", END)]
    among = [index for index, text in enumerate(ours) if text not in ("", END)]
    assert student.tokens is not None  # else nothing would be shared
    among.sort(key=student.tokens.fallback.__getitem__)
    found, distance = nearest(tuple(theirs[index] for index in lone), tuple(ours[index] for index in among))
    to = [among[place] for place in found.tolist()]
    if merge == "sum":
        goal[lone] = torch.tensor(to, dtype=torch.long)
        return goal
    taken = set(shared.student.tolist())
    for number in distance.argsort(kind="stable").tolist():
        if to[number] not in taken:
            taken.add(to[number])
            goal[lone[number]] = to[number]
    return goal
