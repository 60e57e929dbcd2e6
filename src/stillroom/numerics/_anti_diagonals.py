"""All monotone paths through a table at once, anti-diagonal by anti-diagonal: there for their weight, back for shares.

    there   L_ij = W_ij + log(exp L_i-1,j + exp L_i,j-1 + exp L_i-1,j-1)      log of the weight of all paths to ij
    back    E_ij = sum over the three cells after ij of E_after * (share of ij in L_after - W_after)

W are log-weights of cells, and E is the share of the paths to the last cell that goes through ij. What a cell hands on
to the three before it are sigmoids of differences, each taken from what it has left: nothing is lost, nothing is a NaN.
L grows with the table and only its differences count: every run of diagonals counts it from a base of its own, without
which float32 would lose E in a few hundred steps.

Both sweeps overwrite `diagonals [S+T+1,S+1,B]`. Cell ij of sample b lies at `[i + j + 2, i + 1, b]`; two diagonals and
a row before them are a border that no path crosses, except at `[0, 0, b]`, where all paths start.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

FLOOR = -1e30
"""The logarithm of no weight. Unlike that of -inf, a difference of two such is a number."""

RUN = 30
"""Diagonals in a run; they are also cut to the rows that they can have, as half of a square table's are border."""


def storage(cost: Tensor) -> tuple[Tensor, Tensor]:
    """`diagonals` without weight, except at the start, and the same memory as a table; `[B,S,T]` like `cost`."""
    batch, height, width = cost.shape
    diagonals = cost.new_full((height + width + 1, height + 1, batch), FLOOR)
    diagonals[0, 0] = 0.0
    down, across = batch, (height + 1) * batch
    strides, first = (1, across + down, across), 2 * across + down
    return diagonals, diagonals.as_strided((batch, height, width), strides, first)


def sum_paths(diagonals: Tensor, diagonal: Tensor, row: Tensor) -> Tensor:
    """W to L, in place, and L `[B]` of the cells at `[diagonal[b], row[b], b]`."""
    bases = []
    for run in _runs(diagonals):
        left, above, base = run.steps(diagonals)
        before = torch.empty_like(left[0])
        for k in range(2, len(left)):
            torch.logaddexp(left[k - 1], above[k - 1], out=before)
            torch.logaddexp(before, above[k - 2], out=before)
            left[k].add_(before)
        bases.append(base)
    sample = torch.arange(len(row), device=row.device)
    return torch.stack(bases).cumsum(0)[(diagonal - 2) // RUN, sample] + diagonals[diagonal, row, sample]


def share_paths(diagonals: Tensor, diagonal: Tensor, row: Tensor, share: Tensor) -> None:
    """L to E, in place; paths of sample b end at `[diagonal[b], row[b], b]`, where E is `share[b]`."""
    ends = torch.zeros_like(diagonals[0]).scatter_(0, row[None], share[None].to(diagonals.dtype))
    with_ends = set(diagonal.tolist())
    received = torch.zeros_like(
        diagonals[:3]
    )  # so far, by diagonals k, k - 1 and k - 2, at their numbers modulo 3
    for run in reversed(_runs(diagonals)):
        left, above, _ = run.steps(diagonals)
        to_left, to_above = run.cut(received)
        part = torch.empty_like(left[0])
        for k in range(len(left) - 1, 1, -1):
            number = run.start + k - 2
            have = to_left[number % 3]
            if number in with_ends:
                have.add_((ends * (diagonal == number))[run.rows.start + 1 : run.rows.stop + 1])
            left[k].copy_(have)  # L of this diagonal has been read for the last time
            torch.logaddexp(left[k - 1], above[k - 1], out=part)
            torch.sub(above[k - 2], part, out=part).sigmoid_()
            to_above[(number - 2) % 3].addcmul_(part, have)
            have.addcmul_(part, have, value=-1)
            torch.sub(left[k - 1], above[k - 1], out=part).sigmoid_()
            to_left[(number - 1) % 3].addcmul_(part, have)
            to_above[(number - 1) % 3].add_(have.addcmul_(part, have, value=-1))
            have.zero_()


@dataclass(frozen=True)
class _Run:
    """Diagonals `start` to `stop - 1` and the rows of the table, from 0, that they can have."""

    start: int
    stop: int
    rows: slice

    def steps(self, diagonals: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """The two diagonals before the run, then those of the run, where a step to the left and where one from above
        finds them; and the base `[B]` of the run, the greatest L before it, which is taken from copies of the two."""
        before = diagonals[self.start - 2 : self.start]
        base = before.amax((0, 1))
        base = base.where(base > FLOOR / 2, 0.0)
        early, late = self.cut(before - base), self.cut(diagonals[self.start : self.stop])
        return [*early[0], *late[0]], [*early[1], *late[1]], base

    def cut(self, diagonals: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Each diagonal at the rows of the run, and at one row above each of them."""
        first, last = self.rows.start, self.rows.stop
        return diagonals[:, first + 1 : last + 1].unbind(), diagonals[:, first:last].unbind()


def _runs(diagonals: Tensor) -> list[_Run]:
    end, height = len(diagonals), diagonals.shape[1] - 1
    width = end - 1 - height
    starts = range(2, end, RUN)
    return [
        _Run(start, min(start + RUN, end), slice(max(0, start - 1 - width), min(height, start + RUN - 2)))
        for start in starts
    ]
