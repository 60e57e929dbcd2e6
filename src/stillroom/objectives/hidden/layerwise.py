"""Layerwise hidden states: every student layer predicts the teacher layer at the same depth.

    1/L sum_l 1/D sum_t || W_l norm(s_{l,t}) - norm(h_{g(l),t}) ||^2,   g(l) = ceil(l L_teacher / L_student)

over predicting positions t, with a trained W_l without bias where the widths differ, and none where they are equal.

Paper:    SHARP, Tables 4 and 5 ("Layerwise KD", not defined there); its "GKD with hidden alignment" adds this at 0.3
Differs:  the paper is silent on layers, positions and scales. Positions are those that predict a trained token: the
          sum is counted in the tokens that every other objective counts, so weights mean the same for any prompt.
          The teacher is layer-normalized without weights: a few massive coordinates would be nearly all of the
          distance otherwise. So is the student, before W_l and not after: its next block reads the residual stream
          through a norm too, so its size is free; after W_l a norm would hide the size of W_l, and shrink its gradient
Beware:   a trained W_l lowers this loss also where the student cannot learn; a falling loss alone proves nothing
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.loss import Loss, Unit
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import Hidden, Reads, Signals
from stillroom.objectives._rows import predicting_rows
from stillroom.objectives._settings import check_flag


@dataclass(eq=False, kw_only=True)
class Layerwise(Objective):
    """Mean squared distance of hidden states, over width and layers; summed over tokens."""

    terms: ClassVar[dict[str, Unit]] = {"hidden": "tokens"}
    zero_at_match: ClassVar[bool] = True

    student_layers: list[int] | None = None
    """Layers that are aligned, from 1 (0 is the embedding); null: all blocks."""
    teacher_layers: list[int] | None = None
    """Their partners in the same order; null: the layers at the same relative depth, rounded up."""
    normalize: bool = True
    """Layer normalization without weights of both sides before they are compared; false compares them as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("normalize", self.normalize)
        for name in ("student_layers", "teacher_layers"):
            _check_layers(name, getattr(self, name))

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        if student.vocabulary != teacher.vocabulary:
            raise BadInput(
                "hidden.layerwise compares position by position and needs one tokenizer, but the student has "
                f"{student.vocabulary} and the teacher {teacher.vocabulary}: choose dual_space.* instead"
            )
        self.pairs = self._pairs(student.num_layers, teacher.num_layers)
        same = student.width == teacher.width
        self.projections = nn.ModuleList(
            nn.Identity() if same else nn.Linear(student.width, teacher.width, bias=False) for _ in self.pairs
        )
        ours, theirs = zip(*self.pairs, strict=True)
        return Reads(student=_hidden(ours), teacher=_hidden(theirs))

    def _pairs(self, deep: int, teacher_deep: int) -> list[tuple[int, int]]:
        """Student layer and teacher layer, one pair each."""
        ours = self.student_layers if self.student_layers is not None else list(range(1, deep + 1))
        theirs = self.teacher_layers
        if theirs is None:
            theirs = [-(-layer * teacher_deep // deep) for layer in ours]
        if len(ours) != len(theirs):
            raise BadInput(
                f"teacher_layers must name one partner for each of the student's {len(ours)} layers, "
                f"got {len(theirs)}: {theirs}"
            )
        for name, layers, most in (("student", ours, deep), ("teacher", theirs, teacher_deep)):
            if max(layers) > most:
                raise BadInput(
                    f"{name}_layers must lie in [0, {most}], the {name}'s depth, got {max(layers)}"
                )
        return list(zip(ours, theirs, strict=True))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        ours, theirs = predicting_rows(batch)
        total = torch.zeros((), device=ours.device)
        for projection, (layer, partner) in zip(self.projections, self.pairs, strict=True):
            state = projection(self._scaled(student[Hidden(layer)][ours]))
            target = self._scaled(teacher[Hidden(partner)][theirs].detach())
            total = total + (state.float() - target).square().sum() / target.shape[-1]
        return {"hidden": Loss(total / len(self.pairs), ours.sum())}

    def _scaled(self, rows: Tensor) -> Tensor:
        """Rows `[N,D]` in float32, of mean zero and variance one where that is asked for."""
        rows = rows.float()
        return functional.layer_norm(rows, rows.shape[-1:]) if self.normalize else rows


def _hidden(layers: tuple[int, ...]) -> tuple[Hidden, ...]:
    return tuple(Hidden(layer) for layer in dict.fromkeys(layers))


def _check_layers(name: str, layers: list[int] | None) -> None:
    if layers is None:
        return
    whole = isinstance(layers, list) and all(type(layer) is int and layer >= 0 for layer in layers)
    if not whole or not layers:
        raise BadInput(f"{name} must be a list of layers counted from 1 (0 is the embedding), got {layers!r}")
