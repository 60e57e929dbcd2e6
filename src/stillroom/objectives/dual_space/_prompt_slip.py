"""The positions that the public code of DWA-KD warps: as many as the response has, but from the start of the text.

It counts the trained tokens of a sample, then slices that many from the front: prompt, mostly. There every token that
is not trained on stands for id 0, and attention from such a position sees all of the teacher's, the padding included.
Kept so that what the published numbers may rest on can be compared.
"""

import torch
from torch import Tensor

from stillroom.core.batch import Batch, Side
from stillroom.core.signals import Signals
from stillroom.objectives.dual_space._cross_attention import CrossAttention, Scales
from stillroom.objectives.dual_space._reading import Places, Reading, answering, places, read

TINY = 1e-9


def slipped(student: Signals, teacher: Signals, batch: Batch) -> tuple[Reading, Reading]:
    """Both models at their first tokens, as many as they are trained on."""
    ours, theirs = answering(batch)
    return (
        read(student, batch.student, _first(batch.student, ours.sum(dim=1)), ours),
        read(teacher, batch.teacher, _first(batch.teacher, theirs.sum(dim=1)), theirs),
    )


@torch.no_grad()
def slipped_attention(
    attention: CrossAttention, scales: Scales, rows: Reading, columns: Places, teacher: Signals, batch: Batch
) -> Tensor:
    """`[B,R,Q]` between the places of `slipped`: what the softmax over all of the teacher's positions leaves there,
    each row rescaled to one."""
    ours, theirs = answering(batch)
    everywhere = places(torch.ones_like(theirs))
    scores = attention.scores(rows, read(teacher, batch.teacher, everywhere, theirs), scales)
    answers = rows.places.take(ours)[:, :, None]
    scores = scores.masked_fill(answers & ~theirs[:, None], torch.finfo(scores.dtype).min)
    index = columns.index[:, None].expand(-1, scores.shape[1], -1)
    share = scores.softmax(dim=2).gather(2, index).masked_fill(~columns.exists[:, None], 0)
    return (share + TINY) / (share.sum(dim=2, keepdim=True) + TINY)


def _first(side: Side, lengths: Tensor) -> Places:
    """The first `lengths [B]` tokens of every sample."""
    step = torch.arange(int(lengths.max()), device=lengths.device)
    start = side.attention_mask.int().argmax(dim=1)
    exists = step < lengths[:, None]
    return Places((start[:, None] + step).where(exists, 0), exists)
