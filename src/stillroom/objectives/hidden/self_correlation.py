"""Self-correlation: which tokens of a text have similar states, compared between the models; no projector.

    C_tu  = < f_t, f_u > / (|f_t| |f_u|)                          cosine Gram over the tokens of one sequence
    loss  = 1/L sum_l 1 - cos( C(s_l), C(h_{g(l)}) )              both flattened, without their diagonals

per sequence. C has no width, so any two models can be compared; the N x N matrices are formed only where that is
cheaper than d x D ones (`_gram.py`).

Paper:    squeezing heads, Eq. 12 and Table 5 ("FD + self-correlation"); Sim is "any similarity score"
Differs:  `norm: frobenius` is the literal reading of F F^T / (|F| |F|), one norm for all tokens: long states rule.
          With `similarity: cosine` that norm cancels. `similarity: mse` is the mean over pairs of (C_S - C_T)^2. The
          diagonal is one for both models where tokens are normalized: it is left out, unless `diagonal: true`. The
          paper is silent on layers and positions: all pairs at the same depth; positions that predict a trained token
Beware:   states of one layer share a direction, so all cosines are near one and so is the similarity of any two
          models: the loss starts small. A sequence with one row has no pairs and a loss of zero
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.loss import Unit
from stillroom.objectives._settings import check_choice, check_flag
from stillroom.objectives.hidden._family import HiddenObjective, full_precision
from stillroom.objectives.hidden._gram import gram_product

TINY = 1e-30


@dataclass(eq=False, kw_only=True)
class SelfCorrelation(HiddenObjective):
    """Distance of the self-correlations of two layers, mean over layers; summed over sequences."""

    terms: ClassVar[dict[str, Unit]] = {"hidden": "sequences"}
    zero_at_match: ClassVar[bool] = True

    norm: Literal["token", "frobenius"] = "token"
    """What divides the states: the length of each token's, or one number for the whole sequence."""
    similarity: Literal["cosine", "mse"] = "cosine"
    """One minus the cosine of the two matrices, or the mean squared difference of their entries."""
    diagonal: bool = False
    """Whether tokens are also compared with themselves."""
    rows: Literal["response", "real"] = "response"
    """Tokens that are compared: those that predict a trained one, or all of the sequence."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("norm", self.norm, ("token", "frobenius"))
        check_choice("similarity", self.similarity, ("cosine", "mse"))
        check_choice("rows", self.rows, ("response", "real"))
        check_flag("diagonal", self.diagonal)

    def compared(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if self.rows == "response":
            return super().compared(batch)
        counted = batch.student.predicts.any(dim=1)[:, None]
        ours, theirs = (side.attention_mask.bool() & counted for side in (batch.student, batch.teacher))
        if not torch.equal(ours.sum(dim=1), theirs.sum(dim=1)):
            raise BadInput(
                "rows: real compares all tokens of a sequence, but student and teacher read prompts of different "
                "length: set rows: response"
            )
        return ours, theirs

    def distance(self, number: int, ours: Tensor, theirs: Tensor, lengths: Tensor) -> Tensor:
        with full_precision(ours):
            first, second = self._scaled(ours, lengths), self._scaled(theirs, lengths)
            across, own, other = (
                gram_product(*pair, diagonal=self.diagonal)
                for pair in ((first, second), (first, first), (second, second))
            )
            pairs = lengths * lengths if self.diagonal else lengths * (lengths - 1)
            if self.similarity == "mse":
                apart = (own - 2 * across + other) / pairs.clamp(min=1)
            else:
                apart = 1 - across / (own * other).clamp(min=TINY).sqrt()
            return torch.where(pairs > 0, apart, 0.0).sum()

    def _scaled(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Rows `[N,D]` to samples `[B,n,D]` filled up with zeros, divided by their norms."""
        samples = pad_sequence(rows.split(lengths.tolist()), batch_first=True)
        if self.norm == "token":
            return functional.normalize(samples, dim=-1)
        return functional.normalize(samples.flatten(1), dim=-1).view_as(samples)
