"""Signals for objectives over attention maps, in float64, as tensors and as nested lists for the loops."""

from dataclasses import replace

import torch

from stillroom.core.batch import Batch, Side
from stillroom.core.signals import QueryKeys, Signals
from stillroom.testing import STUDENT, TEACHER
from stillroom.testing._signals import changed, random_answer, random_batch

EQUAL = replace(TEACHER, num_heads=STUDENT.num_heads, num_key_value_heads=STUDENT.num_key_value_heads)
"""A teacher with as many heads as the student."""


def trial(objective, student=STUDENT, teacher=TEACHER):
    """An objective that is set up: batch, student's and teacher's answers."""
    reads = objective.setup(student, teacher)
    generator = torch.Generator().manual_seed(1)
    batch = random_batch(student, teacher, generator)
    return batch, *(
        {request: as_double(request, random_answer(request, shape, side, generator)) for request in asked}
        for asked, shape, side in (
            (reads.student, student, batch.student),
            (reads.teacher, teacher, batch.teacher),
        )
    )


def as_double(request, answer):
    return changed(request, answer, None, lambda request, each, side: 2 * each.double())


def leaves(answers):
    """The same answers, with gradient."""
    return {
        request: changed(request, each, None, lambda request, x, side: x.clone().requires_grad_())
        for request, each in answers.items()
    }


def losses(objective, batch, ours, theirs):
    return objective(Signals(ours, "student"), Signals(theirs, "teacher"), batch)


def weights_of(batch, rows):
    """One for each row that counts, zero for all others, `[B][S]`."""
    found = []
    for real, response in zip(
        batch.student.attention_mask.tolist(), batch.student.response_mask.tolist(), strict=True
    ):
        predicts = [bool(x and y) for x, y in zip(real, [*response[1:], False], strict=True)]
        found.append([float(x) for x in (predicts if rows == "response" else real)])
    return found


def padded(batch, answers, left, right):
    """The same samples between other columns of padding, which hold large numbers."""

    def wider(tensor, value):
        rows = torch.nn.functional.pad(tensor.movedim(-2, -1), (left, right), value=value)
        return rows.movedim(-1, -2)

    def longer(answer):
        if isinstance(answer, QueryKeys):
            return replace(answer, query=wider(answer.query, 50.0), key=wider(answer.key, 50.0))
        return wider(answer, 50.0) if answer.dim() == 4 else answer

    def mask(tensor):
        return torch.nn.functional.pad(tensor, (left, right))

    side = batch.student
    side = Side(mask(side.input_ids), mask(side.attention_mask), mask(side.response_mask))
    return Batch(side, side, batch.sample_ids), *(
        {request: longer(answer) for request, answer in own.items()} for own in answers
    )
