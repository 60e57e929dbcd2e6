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

from torch import Tensor, nn

from stillroom.objectives._settings import check_flag
from stillroom.objectives.hidden._family import HiddenObjective, normalized


@dataclass(eq=False, kw_only=True)
class Layerwise(HiddenObjective):
    """Mean squared distance of hidden states, over width and layers; summed over tokens."""

    zero_at_match: ClassVar[bool] = True

    normalize: bool = True
    """Layer normalization without weights of both sides before they are compared; false compares them as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("normalize", self.normalize)

    def build(self, width: int, teacher_width: int) -> None:
        same = width == teacher_width
        self.projections = nn.ModuleList(
            nn.Identity() if same else nn.Linear(width, teacher_width, bias=False) for _ in self.pairs
        )

    def prepared(self, ours: Tensor, theirs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return (normalized(ours), normalized(theirs)) if self.normalize else (ours, theirs)

    def distance(self, number: int, ours: Tensor, theirs: Tensor, lengths: Tensor) -> Tensor:
        return (self.projections[number](ours).float() - theirs).square().sum() / theirs.shape[-1]
