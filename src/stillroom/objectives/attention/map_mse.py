"""Attention head by head: scores before the softmax (TinyBERT), or maps after it (MobileBERT); nothing is trained.

    scores           sum_t 1/n_t sum_j ( z^S_tj - z^T_tj )^2       over the n_t keys that query t sees
    probabilities    sum_t KL( A^T_t || A^S_t )                    A = softmax z, z = scaling * query . key

mean over layers and heads, of which both models have as many.

Paper:    Jiao et al. 2020, TinyBERT (`compare: scores`); Sun et al. 2020, MobileBERT (`compare: probabilities`)
Differs:  TinyBERT's program sets masked scores to zero in both models and averages over all S x S: here masked pairs
          are left out, and each query has one voice however many keys it sees. TinyBERT sums over layers: a
          weight of L here. MobileBERT goes layer by layer, one stage each: here all layers at once
Beware:   softmax ignores a constant added to a row of scores, this distance does not: it asks for more than equal maps
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from stillroom.core.shape import ModelShape
from stillroom.core.signals import QueryKey, Signals
from stillroom.objectives._settings import check_choice
from stillroom.objectives.attention._family import MapObjective, Rows, check_equal_heads
from stillroom.objectives.attention._map_distance import map_distance
from stillroom.objectives.attention._score_distance import score_distance


@dataclass(eq=False, kw_only=True)
class MapMse(MapObjective):
    """Distance of scores or maps, mean over layers and heads; summed over rows."""

    compare: Literal["scores", "probabilities"] = "scores"
    """Scores before the softmax by their squared difference, or maps by KL(teacher || student)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("compare", self.compare, ("scores", "probabilities"))

    def build(self, student: ModelShape, teacher: ModelShape) -> None:
        merges = "choose attention.squeeze_heads, which merges the teacher's"
        free = "choose attention.relations, which asks for no number"
        instead = merges if student.num_heads < teacher.num_heads else free
        check_equal_heads(self.name, student.num_heads, teacher.num_heads, instead)

    def distance(self, number: int, student: Signals, teacher: Signals, rows: Rows) -> dict[str, Tensor]:
        layer, partner = self.pairs[number]
        distance = score_distance if self.compare == "scores" else map_distance
        return {"map": distance(student[QueryKey(layer)], teacher[QueryKey(partner)], rows)}
