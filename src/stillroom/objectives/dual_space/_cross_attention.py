"""Cross-model attention: every response position of one model finds those of the other, and states go both ways.

    Q = P_q [e_i ; e_{i+1}]                       of the student, from embeddings of the tokens read and predicted
    K = N([e_j ; e_{j+1}])                        of the teacher;  N(x) = x / std(x)
    A = Q K^T / sqrt(2D)
    h_ts = softmax(A, over j) P_ts( N(H_t) + N(e_{j+1}) )         `[n,d]`, the teacher in the student's space
    h_st = softmax(A^T, over i) P_st( H_s )                       `[m,D]`, the student in the teacher's

over positions that predict a trained token; embeddings and the teacher without gradient. std is taken over the entries
of one sample at those positions, so no sample depends on what is batched with it, or on padding.

Paper:    Zhang et al. 2024 (DSKD, arXiv 2406.17328); the same in DWA-KD (2026)
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stillroom.core.batch import Side
from stillroom.core.signals import Signals
from stillroom.objectives.dual_space._reading import Reading, places, read

TINY = 1e-30


@dataclass(frozen=True)
class Scales:
    """What N divides the teacher's keys, its target embeddings and its hidden states by; each `[B,1,1]` or scalar."""

    keys: Tensor
    after: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class Meeting:
    """Two models that found each other."""

    student: Reading
    teacher: Reading
    scales: Scales
    attention: Tensor
    """`[B,R,Q]`: where it exists, each of the student's positions pays one in all to the teacher's."""
    in_student: Tensor
    """h_ts `[n,d]`, one row for every place of the student that exists, in the order of samples."""
    in_teacher: Tensor
    """h_st `[m,D]`, of the teacher's places."""


class CrossAttention(nn.Module):
    """The three projections, from a student of width d and a teacher of width D; default initialization of torch."""

    def __init__(self, width: int, teacher_width: int) -> None:
        super().__init__()
        self.query = nn.Linear(2 * width, 2 * teacher_width)
        self.to_student = nn.Linear(teacher_width, width)
        self.to_teacher = nn.Linear(width, teacher_width)

    def forward(self, student: Reading, teacher: Reading, scales: Scales) -> Meeting:
        """Samples have places on both sides or on none."""
        theirs = teacher.detached()
        scores = self.scores(student, theirs, scales)
        both = student.places.exists[:, :, None] & theirs.places.exists[:, None, :]
        scores = scores.masked_fill(~both, torch.finfo(scores.dtype).min)
        normal = _wide(theirs.hidden) / scales.hidden + _wide(theirs.after) / scales.after
        brought = self.project(self.to_student, normal)
        taken = self.project(self.to_teacher, student.hidden)
        attention = scores.softmax(dim=2)
        with _full_precision(scores):
            in_student = (attention @ brought)[student.places.exists]
            in_teacher = (scores.mT.softmax(dim=2) @ taken)[theirs.places.exists]
        return Meeting(student, theirs, scales, attention, in_student, in_teacher)

    def scores(self, student: Reading, teacher: Reading, scales: Scales) -> Tensor:
        """A before the softmax, `[B,R,Q]`, float32 or better; also where nothing exists."""
        queries = torch.cat([student.before, student.after], dim=2).detach()
        query = self.project(self.query, queries)
        key = _keys(teacher).to(query.dtype) / scales.keys
        with _full_precision(query):
            return query @ key.mT / math.sqrt(key.shape[2])

    def project(self, linear: nn.Linear, states: Tensor) -> Tensor:
        """Through one of the projections, whatever the type of `states`; float32 or better."""
        projected = linear(states.to(linear.weight.dtype))
        return projected.to(torch.promote_types(projected.dtype, torch.float32))


@torch.no_grad()
def sample_scales(teacher: Reading) -> Scales:
    """std over the entries of each sample at its places."""
    exists = teacher.places.exists
    return Scales(*(_sample_std(each, exists) for each in (_keys(teacher), teacher.after, teacher.hidden)))


@torch.no_grad()
def whole_scales(signals: Signals, side: Side) -> Scales:
    """std over whole tensors, prompts and padding included, as the public code takes it: positions that predict no
    trained token count with the embedding of id 0, and with whatever hidden state they have."""
    everywhere = places(torch.ones_like(side.predicts))
    teacher = read(signals, side, everywhere, side.predicts)
    return Scales(
        *(_wide(each).std().clamp(min=TINY) for each in (_keys(teacher), teacher.after, teacher.hidden))
    )


def _keys(teacher: Reading) -> Tensor:
    return torch.cat([teacher.before, teacher.after], dim=2)


def _sample_std(values: Tensor, exists: Tensor) -> Tensor:
    """Of `values [B,Q,D]` where `exists [B,Q]`, with Bessel's correction; `[B,1,1]`."""
    values, count = _wide(values), exists.sum(dim=1) * values.shape[2]
    mean = values.sum(dim=(1, 2)) / count.clamp(min=1)
    apart = (values - mean[:, None, None]).masked_fill(~exists[:, :, None], 0)
    variance = apart.square().sum(dim=(1, 2)) / (count - 1).clamp(min=1)
    return variance.sqrt().clamp(min=TINY)[:, None, None]


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _full_precision(tensor: Tensor) -> torch.autocast:
    """Autocast off: half precision would round the scores, and a softmax sees differences."""
    return torch.autocast(tensor.device.type, enabled=False)
