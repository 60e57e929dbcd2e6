"""Rows that a control is measured on: what a loss would be, had each been compared with one that it does not belong to.

A map that is trained on a loss lowers it also for a student that learns nothing: what falls in the control too is not
knowledge of the rows.
"""

from torch import Tensor

CONTROL_ROWS = 64
"""Rows of the last batch that a control is measured on."""


def some(rows: Tensor) -> Tensor:
    """At most `CONTROL_ROWS` of `rows [N,...]`, from all over the batch (neighbors in one text are alike): a copy
    without gradient, to be measured after the step."""
    step = max(1, -(-len(rows) // CONTROL_ROWS))
    return rows.detach()[::step].clone()


def others(rows: Tensor) -> Tensor:
    """For each of `rows [N,...]` one that it does not belong to; itself where it is alone."""
    return rows.roll(len(rows) // 2, dims=0)
