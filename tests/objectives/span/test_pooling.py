"""Centers of mass and weights of tokens against plain loops; what is in no unit is not read."""

import pytest
import torch
from reference import span as reference

from stillroom.core.signals import FinalHidden, Hidden
from stillroom.objectives.span._pooling import masses, pool
from stillroom.objectives.span._states import state
from stillroom.objectives.span._token_weights import last_attention, uniform

MOST = 4


def given(seed, dtype=torch.float64):
    """States and weights, NaN where there is no unit; one unit has no token, one no mass."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(-1, MOST - 1, (3, 8), generator=generator).sort(dim=1).values
    states = torch.randn(3, 8, 5, generator=generator, dtype=dtype)
    weights = torch.rand(3, 8, generator=generator, dtype=dtype).masked_fill(ids == 1, 0)
    return states.masked_fill(ids[..., None] < 0, torch.nan), weights.masked_fill(ids < 0, torch.nan), ids


@pytest.mark.parametrize("seed", range(5))
def test_centers_are_those_of_the_loops(seed):
    states, weights, ids = given(seed)
    found = pool(states, weights, ids, MOST)
    for row in range(len(ids)):
        for unit in range(MOST):
            tokens = [t for t, each in enumerate(ids[row].tolist()) if each == unit]
            center, mass = reference.center(states[row].tolist(), weights[row].tolist(), tokens)
            assert found.centers[row, unit].tolist() == pytest.approx(center, rel=1e-12)
            assert found.masses[row, unit].item() == pytest.approx(mass, rel=1e-12)
    assert torch.equal(found.masses, masses(weights, ids, MOST))


def test_gradients_reach_the_states_of_units_alone():
    states, weights, ids = given(0)
    states.requires_grad_()
    weights.requires_grad_()
    found = pool(states, weights, ids, MOST)
    (gradient,) = torch.autograd.grad(found.centers.square().sum(), states)
    assert gradient.isfinite().all()
    assert not gradient[ids < 0].any()
    assert gradient[(ids >= 0) & (ids != 1)].abs().sum(-1).all()
    assert not found.masses.requires_grad
    inside = (ids >= 0)[..., None].expand_as(states)

    def centers(rows):
        return pool(torch.zeros_like(states).masked_scatter(inside, rows), weights, ids, MOST).centers

    assert torch.autograd.gradcheck(centers, states.detach()[inside].requires_grad_())


def test_little_mass_does_not_shrink_a_center():
    states = torch.randn(1, 2, 5, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[0, 0]])
    for mass in (1.0, 1e-7, 1e-30):
        weights = torch.tensor([[0.25, 0.75]]) * mass
        torch.testing.assert_close(
            pool(states, weights, ids, 1).centers[0, 0], 0.25 * states[0, 0] + 0.75 * states[0, 1]
        )


def test_half_precision_is_summed_in_float32():
    states, weights, ids = given(1, torch.float32)
    found = pool(states.bfloat16(), weights, ids, MOST)
    expected = pool(states.bfloat16().double(), weights.double(), ids, MOST)
    assert found.centers.dtype == found.masses.dtype == torch.float32
    torch.testing.assert_close(found.centers.double(), expected.centers, rtol=1e-5, atol=1e-6)


def test_no_unit_at_all():
    states = torch.full((2, 3, 5), torch.nan)
    found = pool(states, torch.full((2, 3), torch.nan), torch.full((2, 3), -1), 1)
    assert not found.centers.any()
    assert not found.masses.any()


def test_attention_of_the_last_token_is_shared_by_those_that_are_kept():
    generator = torch.Generator().manual_seed(0)
    received = torch.rand(3, 2, 6, generator=generator, dtype=torch.float64)
    kept = torch.rand(3, 6, generator=generator) < 0.6
    kept[2] = False
    received = received.masked_fill(~kept[:, None], torch.nan).requires_grad_()
    found = last_attention(received, kept)
    assert not found.requires_grad
    assert not found[2].any()
    for row in range(2):
        places = kept[row].nonzero()[:, 0].tolist()
        assert found[row].tolist() == pytest.approx(reference.last_attention(received[row].tolist(), places))
    alike = uniform(kept)
    assert alike.sum(1).tolist() == pytest.approx([1, 1, 0])
    assert torch.equal(alike > 0, kept)


def test_kept_tokens_that_nothing_attends_to_weigh_nothing():
    found = last_attention(torch.zeros(1, 2, 3), torch.tensor([[True, True, False]]))
    assert found.tolist() == [[0, 0, 0]]


def test_the_last_block_is_read_after_the_norm():
    assert state(4, 4) == FinalHidden()
    assert state(3, 4) == Hidden(3)
    assert state(0, 4) == Hidden(0)
