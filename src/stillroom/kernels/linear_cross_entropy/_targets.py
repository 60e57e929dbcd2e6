"""Targets as the engines want them: one id of the vocabulary for every row."""

import torch
from torch import Tensor

from stillroom.core.errors import BadInput


def checked_targets(targets: Tensor, rows: int, vocab_size: int, weights: Tensor | None) -> Tensor:
    """`targets [N]`; where the weight is zero any id is allowed (-100, say) and becomes 0."""
    if targets.shape != (rows,):
        raise BadInput(f"expected one target for each of the {rows} rows, got {list(targets.shape)}.")
    if weights is not None:
        targets = torch.where(weights != 0, targets, 0)
    outside = (targets < 0) | (targets >= vocab_size)
    if outside.any():
        row = int(outside.nonzero()[0])
        raise BadInput(
            f"expected targets from 0 to {vocab_size - 1}, got {int(targets[row])} in row {row}; leave rows "
            "out that are not scored, or give them the weight zero."
        )
    return targets
