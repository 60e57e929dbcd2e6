"""Feature dynamics distillation (FDD): the way that predictions take through the layers, and its direction.

    y_l = log softmax( head( norm( h_l ) ) )              what the model would say, were layer l its last
    trajectory = 1/K     sum_k KL( softmax(y_l_k / T) of the teacher || the same of the student )
    dynamics   = 1/(K-1) sum_k 1 - cos( y_l_{k+1} - y_l_k of the student, the same of the teacher )

at every position that predicts a trained token, over K layers of each model from the input to the output. K = 4 are
spread evenly: Q, 2Q, 3Q, 4Q with Q = floor(L / 5), the student's and the teacher's own L.

Paper:    Gong et al. 2025, Beyond Logits: Aligning Feature Dynamics for Effective Knowledge Distillation (ACL 2025),
          sections 3.2 and 3.3, T = 1, both terms beside a divergence of logits with weight 1
Differs:  the paper writes head(h_l) and does not say whether the final norm comes before the head. It does here: the
          head was trained on what the norm leaves, and states grow with depth. `final_norm: false` leaves it out, as
          the code of MTA does, which has FDD as a base (with T = 5 and without T^2, three layers: 4, 6, 8 of 12 and
          16, 24, 32 of 48, and the tokens of prompts too). The last layer is always normed, in that code as well.
          The paper's optional trained adapters before the head (Tuned Lens) are left out
Beware:   the head was trained for the last layer only. Lower down it is a biased lens, most of all in models of other
          families; what it shows there is a direction to follow, not a prediction. Every layer costs a head
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.loss import Loss, Unit
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import (
    FinalHidden,
    Head,
    HeadWeights,
    Hidden,
    NormedHidden,
    Reads,
    Request,
    Signals,
)
from stillroom.kernels.linear_trajectory import linear_trajectory
from stillroom.objectives._layers import check_layers, pair_layers
from stillroom.objectives._rows import predicting_rows
from stillroom.objectives._settings import check_flag, check_number


@dataclass(eq=False, kw_only=True)
class FeatureDynamics(Objective):
    """Divergence of what layers say through the head, and cosine distance of how that changes; summed over tokens."""

    terms: ClassVar[dict[str, Unit]] = {"trajectory": "tokens", "dynamics": "tokens"}
    zero_at_match: ClassVar[bool] = True

    sampled_layers: int = 4
    """How many layers are spread evenly over each model, below the last; fewer in models with fewer. Without effect on
    layers that are named."""
    student_layers: list[int] | None = None
    """Layers that are read, from low to high, from 1 (0 is the embedding); null: spread evenly."""
    teacher_layers: list[int] | None = None
    """Their partners in the same order; null: spread evenly, or at the same relative depth as layers that are named."""
    final_norm: bool = True
    """Whether the model's final norm comes between a layer and the head; false as in the code of MTA."""
    temperature: float = 1.0
    """Divides the logits that the trajectory compares; changes are compared at 1."""
    trajectory: float = 1.0
    """Weight of the divergence between what layers say."""
    dynamics: float = 1.0
    """Weight of the cosine distance between changes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("student_layers", "teacher_layers"):
            check_layers(name, getattr(self, name))
        if (
            not isinstance(self.sampled_layers, int)
            or isinstance(self.sampled_layers, bool)
            or self.sampled_layers < 2
        ):
            raise BadInput(
                f"sampled_layers must be a whole number of at least 2, got {self.sampled_layers!r}"
            )
        check_flag("final_norm", self.final_norm)
        check_number("temperature", self.temperature, "(0, inf)")
        for term in self.terms:
            check_number(term, getattr(self, term), "[0, inf)")
        if not any(getattr(self, term) for term in self.terms):
            raise BadInput("trajectory and dynamics are both 0 and leave nothing to compare: raise one")

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        if student.vocabulary != teacher.vocabulary:
            raise BadInput(
                "hidden.feature_dynamics compares what layers say token by token and needs one tokenizer, but the "
                f"student has {student.vocabulary} and the teacher {teacher.vocabulary}: choose dual_space.* or "
                "span.* instead"
            )
        ours, theirs = self._layers(student.num_layers, teacher.num_layers)
        self._ours = [self._state(layer, student.num_layers) for layer in ours]
        self._theirs = [self._state(layer, teacher.num_layers) for layer in theirs]
        return Reads(student=(*self._ours, Head()), teacher=(*self._theirs, Head()))

    def term_weights(self) -> dict[str, float]:
        return {term: getattr(self, term) for term in self.terms}

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        ours, theirs = predicting_rows(batch)
        states, head = _states("student", student, self._ours, ours)
        targets, teacher_head = _states("teacher", teacher, self._theirs, theirs)
        divergence, change = linear_trajectory(
            states,
            head.weight,
            targets.detach(),
            teacher_head.weight,
            temperature=self.temperature,
            student_transform=head.transform,
            teacher_transform=teacher_head.transform,
        )
        count, layers = ours.sum(), len(self._ours)
        return {
            "trajectory": Loss(divergence / layers, count),
            "dynamics": Loss(change / (layers - 1), count),
        }

    def _layers(self, deep: int, teacher_deep: int) -> tuple[list[int], list[int]]:
        """Layers of student and teacher, as many on both sides, each from low to high."""
        ours, theirs = self.student_layers, self.teacher_layers
        if ours is None:
            count = len(theirs) if theirs else max(1, min(self.sampled_layers, deep - 1, teacher_deep - 1))
            ours = spread(count, deep)
            theirs = theirs or spread(count, teacher_deep)
        pairs = pair_layers(ours, theirs, deep, teacher_deep)
        ours, theirs = [layer for layer, _ in pairs], [layer for _, layer in pairs]
        for name, layers in (("student", ours), ("teacher", theirs)):
            if len(layers) < 2 or layers != sorted(set(layers)):
                raise BadInput(
                    "hidden.feature_dynamics needs at least two layers of each model, from low to high, got "
                    f"{layers} of the {name}: name other student_layers and teacher_layers"
                )
        return ours, theirs

    def _state(self, layer: int, deep: int) -> Request:
        """What the head is applied to of a layer."""
        if layer == deep:
            return FinalHidden()
        return NormedHidden(layer) if self.final_norm else Hidden(layer)


def spread(count: int, deep: int) -> list[int]:
    """So many layers of a model at equal distances, below its last one; `BadInput` where it has not as many."""
    if deep <= count:
        raise BadInput(
            f"expected a model of more than {count} layers where so many are spread over it, got {deep}: name "
            "student_layers and teacher_layers"
        )
    step = deep // (count + 1)
    return [step * number for number in range(1, count + 1)]


def _states(
    owner: str, signals: Signals, requests: list[Request], mask: Tensor
) -> tuple[Tensor, HeadWeights]:
    """The rows of all layers where the mask is true, `[K,N,D]`, and the head that reads them."""
    head = signals[Head()]
    states = [signals[request][mask] for request in requests]
    for request, rows in zip(requests, states, strict=True):
        if rows.shape[-1] != head.weight.shape[1]:
            raise BadInput(
                f"hidden.feature_dynamics reads layers through the {owner}'s head, whose width is "
                f"{head.weight.shape[1]}, but {request!r} has {rows.shape[-1]}: give one teacher, not several, and "
                "leave final_norm true"
            )
    return torch.stack(states), head
