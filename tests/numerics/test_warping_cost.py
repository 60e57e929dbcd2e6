"""Cosine costs and bands against plain loops; no band that is meant as one may close the way."""

import math

import pytest
import torch
from reference import warping as twin

from stillroom.numerics.warping import expected_alignment, soft_dtw
from stillroom.numerics.warping_cost import Band, cosine_cost, entropy_band, sakoe_chiba


def cells(mask):
    return {tuple(cell) for cell in mask.nonzero().tolist()}


def test_cosine_cost_equals_the_loop():
    student, teacher = torch.randn(2, 3, 5).double(), torch.randn(2, 4, 5).double()
    found = cosine_cost(student, teacher)
    expected = [twin.cosine_cost(x, y) for x, y in zip(student.tolist(), teacher.tolist(), strict=True)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_cosine_cost_is_float32_for_halves_and_under_autocast():
    student, teacher = torch.randn(1, 3, 64).bfloat16(), torch.randn(1, 4, 64).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = cosine_cost(student, teacher)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, cosine_cost(student.double(), teacher.double()).float())


def test_vectors_of_zeros_are_a_finite_distance_away():
    student = torch.zeros(1, 2, 4).requires_grad_()
    cost = cosine_cost(student, torch.randn(1, 3, 4))
    assert (cost == 1).all()
    cost.sum().backward()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize(("base", "slope", "share"), [(0.5, 0.3, 0.7), (1.0, 0.0, 0.0), (0.0, 1.0, 1.0)])
def test_entropy_band_equals_the_loop(base, slope, share):
    attention = (3 * torch.randn(2, 9, 12)).double().softmax(-1)
    attention[0, 3] = 0.0
    attention[0, 3, 5] = 1.0
    full = torch.tensor([9, 9]), torch.tensor([12, 12])
    outside = entropy_band(attention, *full, base, slope, share).outside(12)
    for found, rows in zip(outside, attention.tolist(), strict=True):
        expected = twin.outside_entropy_band(rows, base, slope, share)
        assert cells(found) == expected
        assert 0 < len(expected) < 9 * 12


def test_entropy_band_does_not_read_padding():
    attention = torch.full((1, 6, 8), math.nan)
    attention[0, :4, :5] = torch.randn(4, 5).softmax(-1)
    padded = entropy_band(attention, torch.tensor([4]), torch.tensor([5]), base=0.5, slope=0.2)
    alone = entropy_band(attention[:, :4, :5], torch.tensor([4]), torch.tensor([5]), base=0.5, slope=0.2)
    assert torch.equal(padded.outside(8)[:, :4, :5], alone.outside(5))


def test_rows_that_do_not_know_their_column_get_a_wider_band():
    attention = torch.stack([torch.eye(6)[2], torch.full((6,), 1 / 6)])[None]
    band = entropy_band(attention, torch.tensor([2]), torch.tensor([6]))
    torch.testing.assert_close(band.width[0], torch.tensor([5.0, 5 + 2 * math.log(6)]))


def test_a_corridor_at_equal_lengths_is_that_of_sakoe_and_chiba():
    length = torch.tensor([7])
    at = torch.arange(7)
    for radius in (0, 1, 3):
        outside = sakoe_chiba(length, length, 7, radius).outside(7)[0]
        assert torch.equal(outside, (at - at[:, None]).abs() > radius)


@pytest.mark.parametrize("radius", [0, 1])
def test_a_corridor_always_has_a_way_through(radius):
    rows, columns = torch.cartesian_prod(torch.arange(1, 30), torch.arange(1, 30)).unbind(1)
    forbidden = sakoe_chiba(rows, columns, 29, radius).charge(torch.zeros(len(rows), 29, 29), math.inf)
    assert soft_dtw(forbidden, 1.0, rows, columns).isfinite().all()


def test_a_penalty_is_added_outside_only_and_leaves_the_gradient():
    cost = torch.rand(1, 4, 5).requires_grad_()
    band = Band(torch.tensor([[0.0, 1.0, 2.0, 4.0]]), torch.tensor([[0.0, 1.0, 0.5, 9.0]]))
    charged = band.charge(cost, 10.0)
    outside = [[0, 1, 1, 1, 1], [0, 0, 0, 1, 1], [1, 1, 0, 1, 1], [0, 0, 0, 0, 0]]
    torch.testing.assert_close(charged - cost, 10.0 * torch.tensor([outside]))
    charged.sum().backward()
    assert (cost.grad == 1).all()


def test_an_infinite_penalty_forbids():
    cost = torch.rand(1, 8, 8).double()
    length = torch.tensor([8])
    alignment = expected_alignment(sakoe_chiba(length, length, 8, 1).charge(cost, math.inf), 1.0)
    at = torch.arange(8)
    assert torch.equal(alignment[0] > 0, (at - at[:, None]).abs() <= 1)
