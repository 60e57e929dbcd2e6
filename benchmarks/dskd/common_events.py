"""What is left of two next-token distributions over outcomes that both vocabularies have, and how true they are."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from dskd.two_models import Answer, TwoModels
from stillroom.core.signals import FinalHidden, Head
from stillroom.objectives._two_vocabularies import ABSENT, SharedTokens
from stillroom.objectives.vocabulary._events import common_events, over_events

Row = dict[str, float | int | str | None]
MERGED = (
    "a token of both, nothing with it",
    "with longer tokens of the student",
    "with longer tokens of the teacher",
    "with longer tokens of both",
    "begins with no token of the other",
)


@dataclass(frozen=True)
class Events:
    """The outcome of every id, `student [V]` and `teacher [W]`; ids that have none, `count`, are one more outcome."""

    student: Tensor
    teacher: Tensor
    count: int
    renormalize: bool = False
    """Leave that one out."""

    def over(self, log_p: Tensor, ids: Tensor) -> Tensor:
        found = over_events(log_p, ids, self.count)
        return found[:, :-1].log_softmax(-1) if self.renormalize else found


def ways(models: TwoModels, shared: SharedTokens) -> dict[str, Events]:
    """The settings of `rest` in `vocabulary.shared_kl`."""
    pair, teacher = models.built.pair, models.built.teacher
    assert teacher is not None
    pairs = zip(shared.student.tolist(), shared.teacher.tolist(), strict=True)
    ours, theirs, count = common_events(pair.student_shape, teacher.shape, pairs)
    alike = [torch.full_like(each, len(shared)) for each in (ours, theirs)]
    for events, ids in zip(alike, (shared.student, shared.teacher), strict=True):
        events[ids] = torch.arange(len(shared))
    return {
        "prefix": Events(ours, theirs, count),
        "bucket": Events(alike[0], alike[1], len(shared)),
        "renormalize": Events(alike[0], alike[1], len(shared), renormalize=True),
    }


def merged(events: Events, shared: SharedTokens) -> Tensor:
    """What every event is made of, `[count + 1]` indices of `MERGED`."""
    found = torch.zeros(events.count + 1, dtype=torch.long)
    for number, (ids, other) in enumerate(
        ((events.student, shared.to_teacher), (events.teacher, shared.to_student))
    ):
        joined = torch.zeros(events.count + 1, dtype=torch.bool)
        joined[ids[other == ABSENT]] = True
        found += joined * 2**number
    found[-1] = len(MERGED) - 1
    return found


@torch.no_grad()
def measure(
    models: TwoModels, answers: Iterable[Answer], shared: SharedTokens
) -> tuple[list[Row], list[Row]]:
    """By setting of `rest`: divergence, and how likely what the text goes on with is. By what an event is made of: how
    likely the models find it, and how often it comes."""
    compared = ways(models, shared)
    made_of = merged(compared["prefix"], shared)
    sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros(11, dtype=torch.float64))
    masses = torch.zeros(4, len(MERGED), dtype=torch.float64)
    for student, teacher, batch in answers:
        pairs = shared.positions(batch)
        sides = (
            (student, batch.student, pairs.student),
            (teacher, batch.teacher, pairs.teacher),
        )
        (log_q, ours), (log_p, theirs) = (
            (
                signals[Head()](signals[FinalHidden()][pairs.rows, at]).log_softmax(-1),
                side.targets[pairs.rows, at],
            )
            for signals, side, at in sides
        )
        for name, events in compared.items():
            sums[name] += _sums(events, log_p, log_q, theirs, ours)
        masses += _masses(compared["prefix"], made_of, log_p, log_q, theirs, ours)
    return [_row(name, events, sums[name]) for name, events in compared.items()], [
        {
            "": name,
            "events": int((made_of == index).sum()),
            "teacher says": float(masses[0, index] / masses[0].sum()),
            "student says": float(masses[1, index] / masses[1].sum()),
            "teacher's next token": float(masses[2, index] / masses[2].sum()),
            "student's next token": float(masses[3, index] / masses[3].sum()),
        }
        for index, name in enumerate(MERGED)
    ]


def _sums(events: Events, log_p: Tensor, log_q: Tensor, theirs: Tensor, ours: Tensor) -> Tensor:
    p, q = events.over(log_p, events.teacher), events.over(log_q, events.student)
    told, taught = events.student[ours], events.teacher[theirs]
    most = events.count - events.renormalize  # the last event that there is
    known, its = told <= most, taught <= most
    same = (told == taught) & known
    told, taught = told.clamp(max=most)[:, None], taught.clamp(max=most)[:, None]
    parts = (
        (p.exp() * (p - q)).sum(),
        -p.gather(1, told)[known].sum(),
        -q.gather(1, told)[known].sum(),
        -p.gather(1, taught)[its].sum(),
        same.sum(),
        known.sum(),
        its.sum(),
        p[:, -1].exp().sum(),
        q[:, -1].exp().sum(),
        (told == events.count).sum(),
        torch.tensor(len(p)),
    )
    return torch.stack([each.double() for each in parts])


def _row(name: str, events: Events, sums: Tensor) -> Row:
    """`told` is the student's next token in the text, `taught` the teacher's; nats, or shares of positions."""
    divergence, by_teacher, by_student, own, same, known, its, *last, count = sums.tolist()
    rest = [None if events.renormalize else each / count for each in last]
    return {
        "": name,
        "KL(teacher, student)": divergence / count,
        "told, teacher": by_teacher / known,
        "told, student": by_student / known,
        "taught, teacher": own / its,
        "one outcome for both": same / count,
        "told is an outcome": known / count,
        "last outcome, teacher": rest[0],
        "last outcome, student": rest[1],
        "last outcome, told": rest[2],
    }


def _masses(
    events: Events, made_of: Tensor, log_p: Tensor, log_q: Tensor, theirs: Tensor, ours: Tensor
) -> Tensor:
    """Probability or number of each of `MERGED`: teacher's, student's, teacher's next tokens, student's."""
    said = [events.over(log_p, events.teacher), events.over(log_q, events.student)]
    rows = [each.exp().sum(0).double() for each in said]
    rows += [
        torch.bincount(ids, minlength=events.count + 1).double()
        for ids in (events.teacher[theirs], events.student[ours])
    ]
    return torch.stack([torch.zeros(len(MERGED)).double().index_add(0, made_of, each) for each in rows])
