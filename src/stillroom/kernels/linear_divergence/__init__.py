"""Two heads and a divergence between what they say, without the logits of either."""

from stillroom.kernels.linear_divergence.door import linear_divergence

__all__ = ["linear_divergence"]
