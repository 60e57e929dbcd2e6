"""Tokens of two tokenizers put side by side by dynamic time warping, as methods before byte offsets did it.

    C_ij = edit distance of what is read at predicting position i of the student and j of the teacher

What is read at a position is its own token; what it predicts is the next one. A path that costs least visits every
position of both sides, one or several of the other side for each.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stillroom.alignment.positions import Pairs
from stillroom.core.batch import Batch, Side
from stillroom.core.shape import ModelShape
from stillroom.objectives._packed import packed
from stillroom.objectives.vocabulary._edit_distance import edit_distances, spellings


@dataclass(frozen=True)
class TokenCosts:
    """Edit distances by predicting positions: those of a sample come first, in their order."""

    cost: Tensor
    """`[B,S',T']` float64, on the CPU; anything where a sample has no such position."""
    rows: Tensor
    """`[B]`, how many positions the student has."""
    columns: Tensor
    """`[B]`, how many positions the teacher has."""


class TokenWarping:
    """What `token_costs` needs of two vocabularies, prepared once."""

    def __init__(self, student: ModelShape, teacher: ModelShape) -> None:
        same = student.vocabulary == teacher.vocabulary
        self._spelled = spellings(student), spellings(student if same else teacher)

    def costs(self, batch: Batch) -> TokenCosts:
        """Of every sample of a batch; distances are measured once for each pair of different tokens."""
        sides = [
            packed(side.input_ids, side.predicts).cpu().numpy() for side in (batch.student, batch.teacher)
        ]
        unique = [np.unique(ids, return_inverse=True) for ids in sides]
        spelled = [[own[index] for index in ids] for own, (ids, _) in zip(self._spelled, unique, strict=True)]
        between = edit_distances(*spelled).astype(np.float64)
        ours, theirs = (where.reshape(ids.shape) for ids, (_, where) in zip(sides, unique, strict=True))
        cost = between[ours[:, :, None], theirs[:, None, :]]
        return TokenCosts(torch.from_numpy(cost), _lengths(batch.student), _lengths(batch.teacher))


def _lengths(side: Side) -> Tensor:
    return side.predicts.sum(1).cpu()


def spread(cells: Tensor, batch: Batch) -> Pairs:
    """Cells `[B,S',T']` of packed positions, as pairs of positions in the batch."""
    row, ours, theirs = cells.to(batch.student.input_ids.device).nonzero(as_tuple=True)
    places = [
        packed(
            torch.arange(side.predicts.shape[1], device=row.device).expand_as(side.predicts), side.predicts
        )
        for side in (batch.student, batch.teacher)
    ]
    return Pairs(row, places[0][row, ours], places[1][row, theirs])
