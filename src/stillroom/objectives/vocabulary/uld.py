"""Universal logit distillation: distributions over two vocabularies compared by their sorted probabilities alone.

    sum over places of sum_r | P_(r) - Q_(r) |,     P_(1) >= P_(2) >= ..., the shorter one continued by zeros

Nothing has to be known about the tokens: two models that are equally sure of different words are equal here.

Paper:    Boizard et al. (2024), Towards Cross-Tokenizer Distillation: the Universal Logit Distillation Loss for LLMs
          (arXiv 2402.12030). There hard labels have weight 1 and this 1.5
Differs:  places are positions of equal context; the paper compares the i-th tokens of both responses up to the end of
          the shorter one, which after the first word that is cut in two are places in different words
          (`positions: index`). A mean over all places of a batch; the public code takes one over each response first.
          There the distribution behind the last token can be left out; here it predicts nothing and never takes part
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.loss import Loss, Unit
from stillroom.core.signals import Signals
from stillroom.numerics.sorted_distance import sorted_distance
from stillroom.objectives._positions import count_of, paired_positions
from stillroom.objectives._settings import check_choice
from stillroom.objectives.vocabulary._family import VocabularyObjective


@dataclass(eq=False, kw_only=True)
class ULD(VocabularyObjective):
    """Sum of differences between sorted probabilities."""

    terms: ClassVar[dict[str, Unit]] = {"distance": "pairs"}

    positions: Literal["context", "index"] = "context"
    """Compare where both models have read the same bytes, or the i-th tokens of both responses, as published."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("positions", self.positions, ("context", "index"))

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"distance": count_of(paired_positions(batch, self.shared, self.positions))}

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        pairs = paired_positions(batch, self.shared, self.positions)
        total = self.compare(student, teacher, pairs, sorted_distance)
        return {"distance": Loss(total, count_of(pairs), "pairs")}
