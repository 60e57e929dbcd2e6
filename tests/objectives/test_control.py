"""Rows that controls are measured on."""

import pytest
import torch

from stillroom.objectives._control import CONTROL_ROWS, others, some


@pytest.mark.parametrize("count", [0, 1, CONTROL_ROWS, CONTROL_ROWS + 1, 2 * CONTROL_ROWS - 1, 1000])
def test_some_are_few_and_from_all_over_the_batch(count):
    rows = torch.arange(float(count))[:, None].requires_grad_()
    found = some(rows)
    assert len(found) == min(count, len(found)) <= CONTROL_ROWS
    assert len(found) > min(count, CONTROL_ROWS) / 2 or not count
    assert not found.requires_grad
    if count:
        steps = found.diff(dim=0).unique()
        assert len(steps) <= 1
        assert count - found[-1].item() <= (steps.item() if len(steps) else 1)


def test_a_copy_outlives_the_step():
    rows = torch.ones(3, 2)
    found = some(rows)
    rows.zero_()
    assert found.all()


@pytest.mark.parametrize("count", [2, 3, 64])
def test_others_are_others(count):
    rows = torch.arange(count)
    assert not (others(rows) == rows).any()
    assert sorted(others(rows).tolist()) == rows.tolist()
