"""The distance of mapped rows against a plain loop, and its control."""

import pytest
import torch
from reference import span as reference
from torch import nn

from stillroom.objectives.span._distance import control, cosines, distance
from stillroom.objectives.span._levels import Rows


def given(count=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(count, 3, generator=generator, dtype=dtype)
    theirs = torch.randn(count, 5, generator=generator, dtype=dtype)
    shares = torch.rand(count, generator=generator, dtype=dtype)
    project = nn.Linear(3, 5, bias=False, dtype=dtype)
    nn.init.normal_(project.weight, generator=generator)
    return Rows(ours, theirs, shares / shares.sum()), project


def test_value_is_that_of_the_loop():
    rows, project = given()
    expected = reference.distance(*(each.tolist() for each in rows), project.weight.tolist())
    assert distance(rows, project).item() == pytest.approx(expected, rel=1e-12)


def test_gradients():
    rows, project = given()
    assert torch.autograd.gradcheck(
        lambda ours: distance(rows._replace(ours=ours), project), rows.ours.requires_grad_()
    )


def test_rows_of_zeros_are_at_a_right_angle_and_finite():
    rows, project = given(dtype=torch.float32)
    for side in (0, 1):
        blank = [each.clone() for each in rows]
        blank[side][1] = 0
        ours = blank[0].requires_grad_()
        found = cosines(project(ours), blank[1])
        assert found[1] == 0
        assert torch.autograd.grad(found.sum(), ours)[0].isfinite().all()


def test_no_rows_are_no_distance():
    rows, project = given(0)
    assert distance(rows, project) == 0


def test_the_control_compares_each_row_with_another():
    rows, project = given()
    turned = [3, 4, 5, 0, 1, 2]
    matrix = project.weight.tolist()
    expected = reference.distance(
        rows.ours.tolist(), rows.theirs[turned].tolist(), rows.shares.tolist(), matrix
    )
    assert control(rows, project) == pytest.approx(expected, rel=1e-12)
    twice = rows._replace(shares=2 * rows.shares)  # of two samples
    assert control(twice, project) == pytest.approx(expected, rel=1e-12)


def test_autocast_rounds_the_map_alone():
    rows, project = given(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = distance(rows, project)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(distance(rows, project).item(), rel=2e-2)
