"""Feature distillation with a projector: a linear map or a small MLP predicts the teacher's states.

    1/L sum_l 1/D sum_t || f_l(s_{l,t}) - h_{g(l),t} ||^2        f_l linear with bias, or two layers with GELU between

over predicting positions t; the projectors are trained beside the student and dropped afterwards.

Paper:    squeezing heads, Table 5 ("FD + Projector": "a single linear projection or an MLP"), which says no more.
          TinyBERT (Jiao et al. 2020) is `embedding: true, shared: true, normalize: false`: one W for all layers and
          the embedding, states as they are
Differs:  block outputs, every student layer, the mean over layers instead of a sum. Both sides are layer-normalized
          without weights before f: `normalize: false` compares them as they are, where a few massive coordinates of
          the teacher are nearly all of the distance. TinyBERT sums over layers: its weight is L times ours
Beware:   here f is trained also where the widths are equal (`hidden.layerwise` has none there): a falling loss
          alone proves nothing. It is far from zero for a student that equals its teacher, until f is learned
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from stillroom.core.errors import BadInput
from stillroom.objectives._settings import check_choice, check_flag
from stillroom.objectives.hidden._family import HiddenObjective, normalized


@dataclass(eq=False, kw_only=True)
class Projector(HiddenObjective):
    """Mean squared distance after a trained projector, over width and layers; summed over tokens."""

    projector: Literal["linear", "mlp"] = "linear"
    """A linear map with bias, or two with GELU between."""
    inner_width: int | None = None
    """Width between the two layers of an `mlp`; null: the teacher's width."""
    shared: bool = False
    """One projector for all pairs of layers instead of one each."""
    embedding: bool = False
    """Also compare the outputs of the two embeddings (layer 0)."""
    normalize: bool = True
    """Layer normalization without weights of both sides before the projector; false takes them as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("projector", self.projector, ("linear", "mlp"))
        for name in ("shared", "embedding", "normalize"):
            check_flag(name, getattr(self, name))
        if self.inner_width is not None:
            self._check_inner_width(self.inner_width)
        if self.embedding and 0 in (self.student_layers or []):
            raise BadInput("embedding: true adds layer 0, which student_layers names already: leave one out")

    def _check_inner_width(self, width: int) -> None:
        if type(width) is not int or width < 1:
            raise BadInput(f"inner_width must be a whole number of at least 1, or null, got {width!r}")
        if self.projector != "mlp":
            raise BadInput("inner_width is the width inside an mlp: set projector: mlp, or leave it out")

    def choose(self, deep: int, teacher_deep: int) -> list[tuple[int, int]]:
        return [(0, 0)] * self.embedding + super().choose(deep, teacher_deep)

    def build(self, width: int, teacher_width: int) -> None:
        count = 1 if self.shared else len(self.pairs)
        self.projectors = nn.ModuleList(self._projector(width, teacher_width) for _ in range(count))

    def _projector(self, width: int, teacher_width: int) -> nn.Module:
        if self.projector == "linear":
            return nn.Linear(width, teacher_width)
        inner = self.inner_width or teacher_width
        return nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, teacher_width))

    def prepared(self, ours: Tensor, theirs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return (normalized(ours), normalized(theirs)) if self.normalize else (ours, theirs)

    def distance(self, number: int, ours: Tensor, theirs: Tensor, lengths: Tensor) -> Tensor:
        projected = self.projectors[0 if self.shared else number](ours).float()
        return (projected - theirs).square().sum() / theirs.shape[-1]
