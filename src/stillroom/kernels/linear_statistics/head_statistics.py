"""What `linear_statistics` says of the rows of a head."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class HeadStatistics:
    """Of the next token, row by row; without gradient."""

    entropy: Tensor
    """`[N]`, in nats."""
    top_probability: Tensor
    """`[N]`, of the likeliest token."""
    top_id: Tensor
    """`[N]`, the likeliest token."""
