"""Positions of two models that are compared: the same text before them, the same token after them, or the same number.

context    both models have read the same bytes
exact      of these, where the text goes on with one token of the same bytes on both sides
index      the i-th of the student with the i-th of the teacher, up to the end of the shorter response: as methods
           did it before tokens were aligned; behind the first word that is cut otherwise these are different words
"""

from typing import Literal

import torch
from torch import Tensor

from stillroom.alignment.batch import align
from stillroom.alignment.positions import Pairs
from stillroom.core.batch import Batch
from stillroom.objectives._two_vocabularies import SharedTokens

Kind = Literal["context", "exact", "index"]


def paired_positions(batch: Batch, shared: SharedTokens, kind: Kind) -> Pairs:
    """Positions that predict a trained token on both sides: `rows`, `student`, `teacher`, each `[N]` int64."""
    if kind == "index":
        return _by_index(batch)
    aligned = align(batch)
    context = shared.comparable(aligned.context, batch)
    if kind == "context":
        return context
    tokens = aligned.exact
    alone = torch.zeros_like(batch.student.predicts)
    alone[tokens.rows, tokens.student] = True
    exact = alone[context.rows, context.student + 1]
    return Pairs(*(each[exact] for each in context))


def count_of(pairs: Pairs) -> Tensor:
    """How many, a scalar where they lie: the count of a loss in pairs."""
    return torch.tensor(len(pairs.rows), device=pairs.rows.device)


def _by_index(batch: Batch) -> Pairs:
    ours, theirs = batch.student.predicts, batch.teacher.predicts
    shorter = torch.minimum(ours.sum(dim=1), theirs.sum(dim=1))[:, None]
    rows, student = torch.where(ours & (ours.cumsum(dim=1) <= shorter))
    _, teacher = torch.where(theirs & (theirs.cumsum(dim=1) <= shorter))
    return Pairs(rows, student, teacher)
