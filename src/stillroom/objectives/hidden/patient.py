"""Patient distillation: one state per sequence and layer points where the teacher's points.

    1/L sum_l || s_l / |s_l| - h_{g(l)} / |h_{g(l)}| ||^2  =  2/L sum_l (1 - cos(s_l, h_{g(l)}))

with the state of the last token, per sequence. L: all student layers but the last. `skip` spreads them over the
teacher (6 of 12: 2, 4, 6, 8, 10), `last` takes the teacher's end but for its last layer (7 to 11).

Paper:    Sun et al. 2019, Patient Knowledge Distillation (PKD), beside hard labels and soft targets
Differs:  causal models have no [CLS]: the last token is the one that has read all others (`pool: mean`: the mean of
          the predicting positions). The paper needs equal widths: where they differ a trained linear map without bias
          comes before the norm. The paper sums over layers, its program takes the mean over layers and width: their
          beta is beta L here, and beta / D, that is 0.01 to 1.3 for the program's 10 to 1000 at a width of 768
Beware:   one vector per sequence is little to learn from; a trained map lowers the loss without the student
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.loss import Unit
from stillroom.objectives._layers import pair_layers, same_depth
from stillroom.objectives._settings import check_choice
from stillroom.objectives.hidden._family import HiddenObjective


@dataclass(eq=False, kw_only=True)
class Patient(HiddenObjective):
    """Squared distance of unit vectors, mean over layers; summed over sequences."""

    terms: ClassVar[dict[str, Unit]] = {"hidden": "sequences"}
    zero_at_match: ClassVar[bool] = True

    layers: Literal["skip", "last"] = "skip"
    """Partners of the student's layers but the last: spread over the teacher, or its end; without effect on layers
    that are named."""
    pool: Literal["last", "mean"] = "last"
    """What stands for a sequence: its last token, or the mean of the positions that predict a trained one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("layers", self.layers, ("skip", "last"))
        check_choice("pool", self.pool, ("last", "mean"))

    def choose(self, deep: int, teacher_deep: int) -> list[tuple[int, int]]:
        ours = self.student_layers or list(range(1, deep))
        if not ours:
            raise BadInput(
                "hidden.patient leaves out the student's last layer, and it has one: name it in student_layers"
            )
        theirs = self.teacher_layers or [self._partner(layer, deep, teacher_deep) for layer in ours]
        return pair_layers(ours, theirs, deep, teacher_deep)

    def _partner(self, layer: int, deep: int, teacher_deep: int) -> int:
        if self.layers == "skip":
            return same_depth(layer, deep, teacher_deep)
        if teacher_deep < deep:
            raise BadInput(
                f"layers: last needs a teacher of at least the student's {deep} layers, got {teacher_deep}: set "
                "layers: skip"
            )
        return teacher_deep - deep + layer

    def build(self, width: int, teacher_width: int) -> None:
        same = width == teacher_width
        self.projections = nn.ModuleList(
            nn.Identity() if same else nn.Linear(width, teacher_width, bias=False) for _ in self.pairs
        )

    def compared(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if self.pool == "mean":
            return super().compared(batch)
        counted = batch.student.predicts.any(dim=1)
        ours, theirs = (
            _last(side.attention_mask) & counted[:, None] for side in (batch.student, batch.teacher)
        )
        return ours, theirs

    def prepared(self, ours: Tensor, theirs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return _means(ours, lengths), functional.normalize(_means(theirs, lengths), dim=-1)

    def distance(self, number: int, ours: Tensor, theirs: Tensor, lengths: Tensor) -> Tensor:
        state = functional.normalize(self.projections[number](ours).float(), dim=-1)
        return (state - theirs).square().sum()


def _last(mask: Tensor) -> Tensor:
    """The last real token of every row, `[B,S]` bool, whichever side is padded."""
    real = mask.bool()
    return real & (real.flip(1).cumsum(1).flip(1) == 1)


def _means(rows: Tensor, lengths: Tensor) -> Tensor:
    """Rows `[N,D]` to their mean in every sample that has any, `[K,D]`."""
    lengths = lengths[lengths > 0]
    owners = torch.arange(len(lengths), device=rows.device).repeat_interleave(lengths)
    summed = rows.new_zeros(len(lengths), rows.shape[-1]).index_add(0, owners, rows)
    return summed / lengths[:, None]
