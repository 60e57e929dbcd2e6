"""Expected calibration error: does a model that says 70 % come true seven times in ten?

With the confidence c_n of the likeliest token and whether that token was right, r_n in {0, 1}, over N tokens in
M = 15 bins of equal width, [0, 1/M), ..., [1 - 1/M, 1],

    ECE = sum_b N_b / N * | mean_b r - mean_b c | = 1/N sum_b | sum_b r - sum_b c |

The second form is what is computed: sums of a bin in float64, added batch by batch, no token kept.

Paper:    Naeini et al. (2015), Obtaining well calibrated probabilities using Bayesian binning; Guo et al. (2017)
Differs:  nothing; a confidence on an edge belongs to the bin above it (papers leave that open)
"""

import torch
from torch import Tensor

BINS = 15


class Calibration:
    """Sums of confidence and of what came true, bin by bin."""

    def __init__(self, bins: int = BINS) -> None:
        self.bins = bins
        self.tokens = 0
        self._excess = torch.zeros(bins, dtype=torch.float64)

    def add(self, confidence: Tensor, is_right: Tensor) -> None:
        """Tokens `[n]`: the probability of the likeliest token, and whether it was right (0 or 1)."""
        confidence = confidence.double().cpu()
        place = (confidence * self.bins).long().clamp(0, self.bins - 1)
        self._excess.index_add_(0, place, is_right.double().cpu() - confidence)
        self.tokens += len(confidence)

    @property
    def error(self) -> float:
        """From 0 to 1; 0 before any token was added."""
        return float(self._excess.abs().sum()) / max(self.tokens, 1)
