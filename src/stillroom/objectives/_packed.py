"""Chosen positions of every sample side by side at the front of its row: what sequences are compared in."""

from torch import Tensor


def packed(values: Tensor, kept: Tensor) -> Tensor:
    """`values [B,S,...]` where `kept [B,S]` is true, in their order, `[B,S',...]`; zeros behind. S' is what the longest
    sample needs, and at least one."""
    longest = max(1, int(kept.sum(1).max())) if len(kept) else 1
    found = values.new_zeros(len(values), longest, *values.shape[2:])
    row, column = kept.nonzero(as_tuple=True)
    return found.index_put((row, kept.cumsum(1)[row, column] - 1), values[row, column])
