"""What is compared in one layer: which units and tokens take part, and what they weigh."""

import pytest
import torch
from reference import span as reference

from stillroom.objectives.span._levels import level, tokens_of_units
from stillroom.objectives.span._units import Units


def given():
    """Three samples of three units, of one, and of none; what is in no unit is not a number."""
    ours = torch.tensor([[-1, 0, 0, 1, 2, 2], [0, -1, 0, -1, -1, -1], [-1] * 6])
    theirs = torch.tensor([[0, 1, 1, 2, -1], [-1, 0, 0, 0, -1], [-1] * 5])
    exists = torch.tensor([[True] * 3, [True, False, False], [False] * 3])
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(3, 6, 4, generator=generator), torch.randn(3, 5, 7, generator=generator)]
    tokens = [torch.rand(3, 6, generator=generator), torch.rand(3, 5, generator=generator)]
    for ids, state, weight in zip((ours, theirs), states, tokens, strict=True):
        state[ids < 0] = torch.nan
        weight[ids < 0] = torch.nan
    return states, tokens, Units(ours, theirs, exists)


def test_units_share_the_weight_of_their_sample():
    states, tokens, units = given()
    weights = torch.tensor([[1.0, 2.0, 5.0], [3.0, 7.0, 7.0], [7.0, 7.0, 7.0]])
    found = level(states, tokens, units, weights)
    assert found.weights.tolist() == [[0.125, 0.25, 0.625], [1, 0, 0], [0, 0, 0]]
    torch.testing.assert_close(level(states, tokens, units).weights[0], torch.full((3,), 1 / 3))
    rows = found.rows(units.exists)
    assert [len(each) for each in rows] == [4, 4, 4]
    center, _ = reference.center(states[1][0].tolist(), tokens[1][0].tolist(), [1, 2])
    assert rows.theirs[1].tolist() == pytest.approx(center, rel=1e-5)
    assert rows.shares.tolist() == [0.125, 0.25, 0.625, 1]


@pytest.mark.parametrize(("side", "place"), [(0, 3), (1, 3)])
def test_a_unit_without_mass_on_either_side_weighs_nothing(side, place):
    states, tokens, units = given()
    tokens[side][0, place] = 0
    found = level(states, tokens, units)
    blank = units[side][0, place]
    assert found.weights[0, blank] == 0
    assert not found[side][0, blank].any()
    assert found.weights[0].sum() == pytest.approx(1)


def test_no_gradient_reaches_weights_or_the_teacher():
    states, tokens, units = given()
    weights = torch.ones(3, 3)
    for each in (*states, *tokens, weights):
        each.requires_grad_()
    found = level(states, tokens, units, weights)
    assert [each.requires_grad for each in found] == [True, False, False]
    (found.ours.sum()).backward()
    assert torch.equal(states[0].grad.any(-1), units.student >= 0)


def test_tokens_of_units_are_one_by_one():
    states, tokens, units = given()
    same = units._replace(student=units.teacher)
    states[0] = torch.randn(3, 5, 4).where((units.teacher >= 0)[..., None], torch.nan)
    rows = tokens_of_units(states, tokens[1], same)
    assert torch.equal(rows.ours, states[0][units.teacher >= 0])
    assert torch.equal(rows.theirs, states[1][units.teacher >= 0])
    weights = tokens[1][0, :4]
    torch.testing.assert_close(rows.shares[:4], weights / weights.sum())
    assert rows.shares[4:].sum() == pytest.approx(1)


def test_half_precision_is_pooled_and_shared_in_float32():
    states, tokens, units = given()
    half = [each.bfloat16() for each in states], [each.bfloat16() for each in tokens]
    full = [each.float() for each in half[0]], [each.float() for each in half[1]]
    for found, expected in zip(level(*half, units), level(*full, units), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected)
    tiny = [each * 1e-7 for each in tokens]  # no number of float16
    torch.testing.assert_close(level(states, tiny, units).ours, level(states, tokens, units).ours)


def test_no_units_at_all():
    states, tokens, units = given()
    none = Units(units.student.fill_(-1), units.teacher.fill_(-1), units.exists[:, :1] & False)
    found = level(states, tokens, none)
    assert [tuple(each.shape) for each in found] == [(3, 1, 4), (3, 1, 7), (3, 1)]
    assert not any(each.any() for each in found)
    assert [len(each) for each in found.rows(none.exists)] == [0, 0, 0]
    assert [len(each) for each in tokens_of_units(states, tokens[1], none)] == [0, 0, 0]
