"""A head and how likely it finds given tokens, row by row, without the logits."""

from stillroom.kernels.linear_log_likelihood.door import linear_log_likelihood

__all__ = ["linear_log_likelihood"]
