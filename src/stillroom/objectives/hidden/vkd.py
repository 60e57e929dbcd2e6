"""VkD: an orthogonal projection of the student predicts the normalized or whitened state of the teacher.

    1/L sum_l 1/D sum_t smoothL1( P s_{l,t}, n(h_{g(l),t}) )        P^T P = I

A projection with orthonormal columns keeps every inner product of the student's states: it can neither invent what
the student does not know nor lower the loss by shrinking. n is layer normalization without weights, or ZCA
whitening over the N predicting tokens of the micro-batch, (Sigma + 1e-3 I)^(-1/2) (h - mu).

Paper:    Miles et al. 2024, VkD: Improving Knowledge Distillation using Orthogonal Projections; peer of squeezing heads
Differs:  tokens are compared one by one, not pooled, in the last layer (the paper's only one) unless others are named.
          The student's state is layer-normalized too: the paper's is a network's last, normalized feature, the
          output of a block has any size, and an orthogonal P cannot mend that (`normalize_student: false`).
          Whitening, which the paper prescribes for generative tasks, is not in its program: eps, batch and
          decomposition are ours, in float64 and without gradient. `projection: frozen` keeps a random P
Beware:   a narrower teacher (D < d) sees only D directions of the student. With whitening the loss is not additive,
          and with fewer tokens than dimensions every token is as far from every other as can be
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from stillroom.numerics.projection import frames
from stillroom.objectives._layers import pair_layers
from stillroom.objectives._settings import check_choice, check_flag
from stillroom.objectives.hidden._family import HiddenObjective, full_precision, normalized

EPS = 1e-3


@dataclass(eq=False, kw_only=True)
class VkD(HiddenObjective):
    """Smooth L1 distance after an orthogonal projection, mean over width and layers; summed over tokens."""

    target: Literal["layer_norm", "whiten"] = "layer_norm"
    """What is made of the teacher's states: each one of mean zero and variance one, or all of them whitened."""
    projection: Literal["trained", "frozen"] = "trained"
    """Whether the orthogonal projection is learned, or stays random."""
    normalize_student: bool = True
    """Layer normalization without weights of the student's states; false takes them as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("target", self.target, ("layer_norm", "whiten"))
        check_choice("projection", self.projection, ("trained", "frozen"))
        check_flag("normalize_student", self.normalize_student)
        self.additive = self.target == "layer_norm"  # type: ignore[misc]

    def choose(self, deep: int, teacher_deep: int) -> list[tuple[int, int]]:
        return pair_layers(self.student_layers or [deep], self.teacher_layers, deep, teacher_deep)

    def build(self, width: int, teacher_width: int) -> None:
        self.widths = width, teacher_width
        kind = OrthogonalMap if self.projection == "trained" else FrozenMap
        self.projections = nn.ModuleList(kind(width, teacher_width) for _ in self.pairs)

    def prepared(self, ours: Tensor, theirs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        goal = normalized(theirs) if self.target == "layer_norm" else whitened(theirs)
        return normalized(ours) if self.normalize_student else ours, goal

    def distance(self, number: int, ours: Tensor, theirs: Tensor, lengths: Tensor) -> Tensor:
        with full_precision(ours):  # rounded on its way, P would not be orthogonal
            projected = self.projections[number](ours)
        return functional.smooth_l1_loss(projected, theirs, reduction="sum") / theirs.shape[-1]

    def notes(self) -> list[str]:
        notes = super().notes()
        width, teacher_width = self.widths
        if teacher_width < width:
            notes.append(
                f"The teacher is narrower than the student ({teacher_width} < {width}): an orthogonal projection keeps "
                f"{teacher_width} of the student's directions, and hidden.vkd says nothing of the others."
            )
        if self.target == "whiten":
            notes.append(
                f"Whitening needs more trained tokens in a micro-batch than the teacher is wide ({teacher_width}): "
                "with fewer it puts all tokens equally far apart."
            )
        return notes


class OrthogonalMap(nn.Module):
    """A trained map `[N,d]` to `[N,D]` with orthonormal columns (rows where D < d), whatever the optimizer does."""

    def __init__(self, width: int, teacher_width: int) -> None:
        super().__init__()
        plain = nn.Linear(width, teacher_width, bias=False)
        # torch's Householder map, its default here, keeps signs in the diagonal of the parameter and reads them as
        # whole numbers: the least weight decay makes each one a zero, and P with them
        self.linear = parametrizations.orthogonal(plain, orthogonal_map="cayley")

    def forward(self, rows: Tensor) -> Tensor:
        return self.linear(rows)


class FrozenMap(nn.Module):
    """A random map of that kind."""

    weight: Tensor

    def __init__(self, width: int, teacher_width: int) -> None:
        super().__init__()
        frame = frames(1, max(width, teacher_width), min(width, teacher_width), "joint_qr")[0]
        self.register_buffer("weight", frame if width <= teacher_width else frame.T.contiguous())

    def forward(self, rows: Tensor) -> Tensor:
        return functional.linear(rows, self.weight)


@torch.no_grad()
def whitened(rows: Tensor) -> Tensor:
    """Rows `[N,D]` about their mean, times (Sigma + eps I)^(-1/2), Sigma their covariance; float32.

    Of N x N or D x D the smaller one is decomposed: A f(A^T A) = f(A A^T) A. In float64: massive coordinates
    make eigenvalues of which float32 holds no digits as small as eps.
    """
    if not len(rows):
        return rows.float()
    centered = (rows - rows.mean(dim=0)).double()
    count, width = centered.shape
    few = count < width
    values, vectors = torch.linalg.eigh((centered @ centered.T if few else centered.T @ centered) / count)
    root = (vectors * (values.clamp(min=0) + EPS).rsqrt()) @ vectors.T
    return (root @ centered if few else centered @ root).float()
