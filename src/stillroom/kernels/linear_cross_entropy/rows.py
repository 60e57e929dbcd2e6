"""Cross-entropy of every row, for evaluation."""

from torch import Tensor

from stillroom.kernels._chunked_head import chunked_head_rows
from stillroom.kernels._projection import Transform, projection
from stillroom.kernels.linear_cross_entropy._targets import checked_targets
from stillroom.kernels.linear_cross_entropy.streaming import CrossEntropyOfRows


def cross_entropy_rows(
    hidden: Tensor,
    head: Tensor,
    targets: Tensor,
    *,
    transform: Transform | None = None,
    memory_budget: int | None = None,
) -> Tensor:
    """Cross-entropy of each row, `[N]` in nats, without gradient; arguments as `linear_cross_entropy`."""
    student = projection("student", hidden, head, transform, weights=None, temperature=1.0)
    targets = checked_targets(targets, len(hidden), len(head), weights=None)
    return chunked_head_rows(student, CrossEntropyOfRows(targets), memory_budget)
