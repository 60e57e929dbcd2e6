"""Relative geometry against plain loops; what has no weight has no part."""

import pytest
import torch
from reference import span as reference

from stillroom.objectives.span._relations import relational


def given(seed=0, units=5):
    generator = torch.Generator().manual_seed(seed)
    ours = torch.randn(4, units, 3, generator=generator, dtype=torch.float64)
    theirs = torch.randn(4, units, 6, generator=generator, dtype=torch.float64)
    weights = torch.rand(4, units, generator=generator, dtype=torch.float64) * 3
    weights[1, 2:] = 0
    weights[2, 1:] = 0
    weights[3] = 0
    return ours, theirs, weights


@pytest.mark.parametrize("share", ["pairs", "units"])
@pytest.mark.parametrize("seed", range(4))
def test_values_are_those_of_the_loops(share, seed):
    ours, theirs, weights = given(seed)
    found = relational(ours, theirs, weights, share)
    expected = [
        reference.relational(*row, share)
        for row in zip(ours.tolist(), theirs.tolist(), weights.tolist(), strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    assert expected[2:] == [0, 0]
    assert expected[0] > 0 < expected[1]
    torch.testing.assert_close(relational(ours, theirs, weights * 7, share), found)


@pytest.mark.parametrize("share", ["pairs", "units"])
def test_gradients(share):
    ours, theirs, weights = given(1)
    leaves = [each.clone().requires_grad_() for each in (ours, theirs, weights)]
    total = relational(*leaves, share).sum()
    gradient, none, nothing = torch.autograd.grad(total, leaves, allow_unused=True)
    assert none is None
    assert nothing is None
    assert not gradient[2:].any()
    assert not gradient[1, 2:].any()
    assert torch.autograd.gradcheck(lambda own: relational(own, theirs, weights, share), leaves[0])


def test_units_without_weight_may_be_zeros():
    ours, theirs, weights = given()
    blank = weights == 0
    moved = ours.masked_fill(blank[..., None], 0).requires_grad_()
    found = relational(moved, theirs.masked_fill(blank[..., None], 0), weights)
    torch.testing.assert_close(found, relational(ours, theirs, weights))
    (gradient,) = torch.autograd.grad(found.sum(), moved)
    assert gradient.isfinite().all()


def test_one_unit_with_nearly_all_the_weight_leaves_pairs_whole():
    ours, theirs, weights = (each.float() for each in given())
    weights[0] = torch.tensor([1.0, 1e-9, 2e-9, 1e-9, 1e-9])
    expected = reference.relational(*(each[0].double().tolist() for each in (ours, theirs, weights)))
    assert relational(ours, theirs, weights)[0].item() == pytest.approx(expected, rel=1e-5)


def test_autocast_changes_nothing():
    ours, theirs, weights = (each.float() for each in given())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = relational(ours, theirs, weights)
    assert torch.equal(found, relational(ours, theirs, weights))


def test_turned_and_scaled_centers_are_the_same():
    ours, theirs, weights = given()
    turn = torch.linalg.qr(
        torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    )[0]
    scales = torch.rand(4, 5, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 0.1
    assert relational(theirs @ turn * scales, theirs, weights).abs().max() < 1e-20
    torch.testing.assert_close(
        relational(ours, theirs @ turn * scales, weights), relational(ours, theirs, weights)
    )
