"""A head and a divergence from a teacher's likeliest tokens, without the logits."""

from stillroom.kernels.linear_top_divergence.door import linear_top_divergence

__all__ = ["linear_top_divergence"]
