"""Whether cross-model attention finds the position of the teacher that has read the same bytes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dskd.two_models import Answer, Row, TwoModels
from stillroom.alignment.positions import Pairs
from stillroom.core.batch import Batch
from stillroom.core.signals import Head
from stillroom.objectives._two_vocabularies import SharedTokens, shared_tokens
from stillroom.objectives.dual_space._distributions import Distributions, frozen
from stillroom.objectives.dual_space._reading import answering, places
from stillroom.objectives.dual_space.cross_model_attention import CrossModelAttention


@dataclass(frozen=True)
class Attended:
    """The student's context-equal positions, `[n]` each."""

    aligned: Tensor
    """Whether the largest attention lies on the aligned position, bool."""
    beside: Tensor
    """Whether it lies there or one place off, bool."""
    same_token: Tensor
    """Whether it lies where the teacher is to predict the student's next token, there or elsewhere, bool."""
    share: Tensor
    """Attention that the aligned position gets."""
    chance: Tensor
    """What it would get, were all alike."""
    diagonal: Tensor
    """Whether the place as far into the response is the aligned one, bool."""


def attended(attention: Tensor, batch: Batch, pairs: Pairs, shared: SharedTokens) -> Attended:
    """Of `attention [B,R,Q]` over packed positions (`Meeting.attention`)."""
    ours, theirs = answering(batch)
    at, wanted = (
        (mask.cumsum(1) - 1)[pairs.rows, position]
        for mask, position in ((ours, pairs.student), (theirs, pairs.teacher))
    )
    paid = attention[pairs.rows, at]
    found = paid.argmax(1)
    lengths = [mask.sum(1)[pairs.rows] for mask in (ours, theirs)]
    guessed = ((at + 0.5) * lengths[1] / lengths[0]).long()
    packed = places(theirs).index
    told = shared.to_student[batch.teacher.targets.gather(1, packed)[pairs.rows, found]]
    return Attended(
        found == wanted,
        (found - wanted).abs() <= 1,
        told == batch.student.targets[pairs.rows, pairs.student],
        paid.gather(1, wanted[:, None])[:, 0],
        1 / lengths[1].float(),
        guessed == wanted,
    )


@torch.no_grad()
def measure(models: TwoModels, objective: CrossModelAttention, answers: list[Answer], name: str) -> Row:
    """One row of the table."""
    assert models.built.teacher is not None
    shared = shared_tokens(models.built.pair.student_shape, models.built.teacher.shape, "attended")
    parts: list[Attended] = []
    nats, right, count = 0.0, 0, 0
    for student, teacher, batch in answers:
        meeting = objective.meet(student, teacher, batch)
        parts.append(attended(meeting.attention, batch, shared.positions(batch), shared))
        projected = Distributions(meeting.in_student, frozen(student[Head()]))
        targets = batch.student.targets[answering(batch)[0]]
        nats += float(projected.cross_entropy(targets))
        right += int((projected.statistics().top_id == targets).sum())
        count += len(targets)
    mean = {
        field: float(torch.cat([getattr(each, field) for each in parts]).float().mean())
        for field in Attended.__dataclass_fields__
    }
    return {
        "": name,
        "largest on the aligned": mean["aligned"],
        "or one off": mean["beside"],
        "chance": mean["chance"],
        "as far in": mean["diagonal"],
        "attention on the aligned": mean["share"],
        "largest on the same next token": mean["same_token"],
        "projected teacher says the next token": right / count,
        "nats": nats / count,
    }
