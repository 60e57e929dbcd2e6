"""Positions that objectives compare one by one: those that predict a trained token, on both sides."""

from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput


def predicting_rows(batch: Batch) -> tuple[Tensor, Tensor]:
    """Of student and teacher, `[B,S]` and `[B,T]` bool; `BadInput` where a sample has not as many on both sides."""
    ours = batch.student.predicts
    if batch.teacher is batch.student:
        return ours, ours
    theirs = batch.teacher.predicts
    differs = ours.sum(dim=1) != theirs.sum(dim=1)
    if differs.any():
        row = int(differs.nonzero()[0])
        raise BadInput(
            f"sample {int(batch.sample_ids[row])} has {int(ours[row].sum())} scored tokens for the student "
            f"and {int(theirs[row].sum())} for the teacher: with one vocabulary both sides must hold the "
            "same response"
        )
    return ours, theirs
