"""Signals for an objective over hidden states, as tensors and as nested lists for the loops."""

import torch

from stillroom.core.batch import Batch, Side
from stillroom.core.signals import Hidden, Signals
from stillroom.testing import STUDENT, TEACHER
from stillroom.testing._signals import random_answer, random_batch


def trial(objective, student=STUDENT, teacher=TEACHER):
    """An objective that is set up: batch, student's and teacher's answers."""
    torch.manual_seed(0)
    reads = objective.setup(student, teacher)
    generator = torch.Generator().manual_seed(1)
    batch = random_batch(student, teacher, generator)
    ours = {each: random_answer(each, student, batch.student, generator) for each in reads.student}
    theirs = {each: random_answer(each, teacher, batch.teacher, generator) for each in reads.teacher}
    return batch, ours, theirs


def loss(objective, batch, ours, theirs):
    return objective(Signals(ours), Signals(theirs), batch)["hidden"]


def rows(answers, pairs, side, mask):
    """Of every pair of layers: the vectors of each sample where the mask is true, `[pair][sample][row][width]`."""
    return [
        [each[keep].double().tolist() for each, keep in zip(answers[Hidden(pair[side])], mask, strict=True)]
        for pair in pairs
    ]


def joined(samples):
    """The rows of all samples in one list."""
    return [row for sample in samples for row in sample]


def padded(batch, answers, left, right):
    """The same samples between other columns of padding, which hold NaN."""

    def wider(tensor, value):
        return torch.nn.functional.pad(tensor, (0, 0) * (tensor.dim() - 2) + (left, right), value=value)

    side = Side(
        *(wider(each, 0) for each in (batch.student.input_ids, batch.student.attention_mask)),
        wider(batch.student.response_mask, False),
    )
    moved = [{key: wider(each, torch.nan) for key, each in own.items()} for own in answers]
    return Batch(side, side, batch.sample_ids), *moved


def one_text(length):
    """A batch of one sample in which all but the first token are trained on."""
    ids = torch.ones(1, length, dtype=torch.long)
    side = Side(ids, ids, torch.arange(length)[None] > 0)
    return Batch(side, side, torch.arange(1))
