"""A head and what single numbers say of its rows, without the logits: entropy, and the likeliest token."""

from stillroom.kernels.linear_statistics.door import linear_statistics
from stillroom.kernels.linear_statistics.head_statistics import HeadStatistics

__all__ = ["HeadStatistics", "linear_statistics"]
