"""How far two tokenizers agree on each token of a text: the very token, the bytes before it, or neither."""

import numpy as np
import torch
from torch import Tensor

from stillroom.alignment.boundaries import Shared
from stillroom.alignment.chunks import shared_chunks
from stillroom.alignment.positions import exact_pairs
from stillroom.core.batch import Batch
from stillroom.objectives._positions import paired_positions
from stillroom.objectives._two_vocabularies import SharedTokens

EXACT, CONTEXT, NEITHER = CLASSES = ("exact", "same bytes before only", "neither")


def classes_in(batch: Batch, shared: SharedTokens) -> tuple[Tensor, Tensor]:
    """`[B,S]` and `[B,T]` indices of `CLASSES` for every trained token, at its own position; -1 for the others."""
    found = [
        torch.full_like(side.input_ids, CLASSES.index(NEITHER)).masked_fill(~_trained(side.predicts), -1)
        for side in (batch.student, batch.teacher)
    ]
    for kind, name in (("context", CONTEXT), ("exact", EXACT)):
        pairs = paired_positions(batch, shared, kind)  # type: ignore[arg-type]
        for classes, at in zip(found, (pairs.student, pairs.teacher), strict=True):
            classes[pairs.rows, at + 1] = CLASSES.index(name)
    return found[0], found[1]


def _trained(predicts: Tensor) -> Tensor:
    """Positions of the tokens that are predicted."""
    return torch.cat([torch.zeros_like(predicts[:, :1]), predicts[:, :-1]], dim=1)


def classes_of_text(shared: Shared) -> np.ndarray:
    """`[S]` indices of `CLASSES` for the student's tokens of one whole text, from its boundaries `[1,S]`, `[1,T]`."""
    ends = shared.student[0]
    begins = np.concatenate([[True], ends[:-1]])[: len(ends)]
    found = np.where(begins, CLASSES.index(CONTEXT), CLASSES.index(NEITHER))
    chunks = shared_chunks(shared, *(np.ones_like(each) for each in shared))
    found[exact_pairs(chunks).student] = CLASSES.index(EXACT)
    return found
