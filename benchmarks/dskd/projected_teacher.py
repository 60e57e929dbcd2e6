"""What a student is taught in its own space: the teacher through DSKD's projector, beside the teacher itself."""

from collections.abc import Iterable

import torch
from torch import Tensor

from dskd.common_events import Events, ways
from dskd.two_models import Answer, Row, TwoModels
from stillroom.core.signals import FinalHidden, Head
from stillroom.objectives.dual_space.dskd import DSKD


@torch.no_grad()
def measure(models: TwoModels, objective: DSKD, answers: Iterable[Answer], name: str) -> Row:
    """Over the outcomes that both vocabularies have, at positions with the same bytes before them; temperature 1."""
    events = outcomes(models, objective)
    sums = torch.stack([_sums(objective, events, each) for each in answers]).sum(0)
    mean = (sums / sums[-1]).tolist()
    known = sums[7]
    return {
        "": name,
        "KL(teacher, student)": mean[0],
        "KL(teacher, projected)": mean[1],
        "KL(projected, student)": mean[2],
        "next token, teacher": mean[3],
        "next token, projected": mean[4],
        "next token, student": mean[5],
        "projected says what the teacher says": float(sums[6] / known),
        "student says what the teacher says": float(sums[8] / known),
    }


def outcomes(models: TwoModels, objective: DSKD) -> Events:
    """Of one vocabulary every token is one."""
    pair, teacher = models.built.pair, models.built.teacher
    assert teacher is not None
    if pair.student_shape.vocabulary != teacher.shape.vocabulary:
        return ways(models, objective.shared)["prefix"]
    ids = torch.arange(pair.student_shape.vocab_size)
    return Events(ids, ids, len(ids))


def _sums(objective: DSKD, events: Events, answer: Answer) -> Tensor:
    student, teacher, batch = answer
    pairs = objective.shared.positions(batch)
    own, other = student[Head()], teacher[Head()]
    ours, theirs = (
        student[FinalHidden()][pairs.rows, pairs.student],
        teacher[FinalHidden()][pairs.rows, pairs.teacher],
    )
    project = objective.to_student_space
    assert project is not None
    project.start(other, objective.shared.teacher, own, objective.shared.student)
    log_p = other(theirs).log_softmax(-1)
    log_q, log_ts = (own(each).log_softmax(-1) for each in (ours, project(theirs)))
    p, q, ts = (
        events.over(log_p, events.teacher),
        *(events.over(each, events.student) for each in (log_q, log_ts)),
    )
    told = events.student[batch.student.targets[pairs.rows, pairs.student]][:, None]
    label = objective.shared.to_student[log_p.argmax(-1)]
    parts = (
        (p.exp() * (p - q)).sum(),
        (p.exp() * (p - ts)).sum(),
        (log_ts.exp() * (log_ts - log_q)).sum(),
        *(-each.gather(1, told).sum() for each in (p, ts, q)),
        (log_ts.argmax(-1) == label).sum(),
        (label >= 0).sum(),
        (log_q.argmax(-1) == label).sum(),
        torch.tensor(len(label)),
    )
    return torch.stack([each.double() for each in parts])
