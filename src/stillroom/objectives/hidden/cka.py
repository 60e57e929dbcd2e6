"""Centered kernel alignment: are the same tokens alike in both models, whatever the axes and the scale?

    CKA  = < K_c, L_c > / (|K_c| |L_c|)      K = S S^T, L = H H^T over the tokens of the batch, centered
    loss = 1/L sum_l N (1 - CKA(s_l, h_{g(l)}))

with N predicting tokens of a micro-batch: divided by the trainer's count of tokens, the mean over micro-batches, each
weighted by its tokens. Linear kernels: products of features (d x D) or of Gram matrices (N x N), whichever costs less.

Paper:    Kornblith et al. 2019 (CKA); Dasgupta & Cohn 2025 as a loss between hidden states of language models
Differs:  `estimator: unbiased`, the default, is the debiased CKA (Song et al. 2012; Nguyen et al. 2021). The usual,
          biased one is near one for unrelated states wherever a batch has fewer tokens than the states have
          dimensions: d / (N + d) for two unrelated Gaussian ones of width d
Beware:   not additive: the loss depends on how a step is split into micro-batches, so compare runs with equal ones.
          Fewer than four tokens (biased: two) say nothing and add zero
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from stillroom.objectives._settings import check_choice
from stillroom.objectives.hidden._family import HiddenObjective, full_precision
from stillroom.objectives.hidden._gram import centered_product

TINY = 1e-6  # of n^2 HSIC, for rows whose mean square is one


@dataclass(eq=False, kw_only=True)
class CKA(HiddenObjective):
    """One minus linear CKA over the tokens of a micro-batch, mean over layers; times its tokens."""

    additive: ClassVar[bool] = False
    zero_at_match: ClassVar[bool] = True

    estimator: Literal["unbiased", "biased"] = "unbiased"
    """Of the inner products that CKA is made of; the biased one is the usual CKA."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("estimator", self.estimator, ("unbiased", "biased"))

    def distance(self, number: int, ours: Tensor, theirs: Tensor, lengths: Tensor) -> Tensor:
        unbiased = self.estimator == "unbiased"
        if len(ours) < (4 if unbiased else 2):
            return ours.sum() * 0.0
        with full_precision(ours):
            first, second = _centered(ours), _centered(theirs)
            across, own, other = (
                centered_product(*pair, unbiased=unbiased)
                for pair in ((first, second), (first, first), (second, second))
            )
            return len(ours) * (1 - across / (own.clamp(min=TINY) * other.clamp(min=TINY)).sqrt())


def _centered(rows: Tensor) -> Tensor:
    """Rows `[N,D]` about their mean, with a mean squared length of one: CKA is the same, and no square overflows."""
    rows = rows - rows.mean(dim=0)
    return rows / rows.square().sum(dim=-1).mean().clamp(min=TINY).sqrt()
