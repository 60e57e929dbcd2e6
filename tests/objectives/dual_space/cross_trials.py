"""Signals for objectives with cross-model attention, as tensors in float64 and as nested lists for the loops."""

from dataclasses import replace

import torch
from reference import cross_attention as reference

from stillroom.core.signals import Embedding, FinalHidden, Head, HeadWeights, Signals
from stillroom.testing import STUDENT
from stillroom.testing._signals import random_answer, random_batch


def widened(answer):
    if isinstance(answer, HeadWeights):
        return replace(answer, weight=answer.weight.double())
    return answer.double()


def trial(objective, teacher, seed=1):
    """An objective that is set up, in float64: batch, student's and teacher's answers."""
    torch.manual_seed(0)
    reads = objective.setup(STUDENT, teacher)
    objective.double()
    generator = torch.Generator().manual_seed(seed)
    batch = random_batch(STUDENT, teacher, generator)
    ours, theirs = (
        {each: widened(random_answer(each, shape, side, generator)) for each in asked}
        for asked, shape, side in (
            (reads.student, STUDENT, batch.student),
            (reads.teacher, teacher, batch.teacher),
        )
    )
    return batch, ours, theirs


def losses(objective, batch, ours, theirs):
    return objective(Signals(ours), Signals(theirs), batch)


def totals(objective, batch, ours, theirs):
    with torch.no_grad():
        return {term: loss.total.item() for term, loss in losses(objective, batch, ours, theirs).items()}


def train_projections(objective, batch, ours, theirs, steps):
    """Some steps on the projector's own loss: afterwards it knows a part of the text."""
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        losses(objective, batch, ours, theirs)["projector"].total.backward()
        optimizer.step()
    objective.zero_grad()


def affine_layers(*linears):
    return [(each.weight.tolist(), each.bias.tolist()) for each in linears]


def projections(objective):
    own = objective.attention
    return affine_layers(own.query, own.to_student, own.to_teacher)


def head_of(answers):
    return answers[Head()].weight.tolist()


def sides(answers, side, where=None):
    """For each sample: the vectors at the positions where the mask is true."""
    where = side.predicts if where is None else where
    ids, targets = (each.masked_fill(~side.predicts, 0) for each in (side.input_ids, side.targets))
    embedding, hidden = answers[Embedding()], answers[FinalHidden()]
    return [
        {
            "before": embedding[ids[row][keep]].tolist(),
            "after": embedding[targets[row][keep]].tolist(),
            "hidden": hidden[row][keep].tolist(),
        }
        for row, keep in enumerate(where)
    ]


def whole_scales(answers, side):
    """The standard deviations of the public code: over every position of the batch, as one sample."""
    samples = sides(answers, side, torch.ones_like(side.predicts))
    return reference.scales({name: [x for each in samples for x in each[name]] for name in samples[0]})


def meetings(objective, batch, ours, theirs):
    """What the loops say of every sample: student, teacher, and attention with both states brought over."""
    found = []
    for student, teacher in zip(sides(ours, batch.student), sides(theirs, batch.teacher), strict=True):
        code = objective.behavior == "code"
        scales = whole_scales(theirs, batch.teacher) if code else reference.scales(teacher)
        met = reference.meet(student, teacher, projections(objective), scales)
        found.append((student, teacher, *met))
    return found


def target_rows(batch):
    return [
        ids[keep].tolist() for ids, keep in zip(batch.student.targets, batch.student.predicts, strict=True)
    ]
