"""Centrality against a plain loop, and what it may not read."""

import pytest
import torch
from reference import trajectories

from stillroom.objectives.span import _centrality
from stillroom.objectives.span._centrality import centrality


def trial(lengths=(5, 3, 1, 0), width=6):
    """States in which everything that is not kept is NaN, and the mask, between which lie holes."""
    generator = torch.Generator().manual_seed(0)
    states = 2 * torch.randn(len(lengths), 9, width, generator=generator) + 0.5
    kept = torch.zeros(len(lengths), 9, dtype=torch.bool)
    for row, length in enumerate(lengths):
        kept[row, torch.randperm(9, generator=generator)[:length]] = True
    return states.where(kept[..., None], torch.nan), kept


def test_value_is_that_of_the_loop():
    states, kept = trial()
    weights = centrality(states, kept)
    assert weights.dtype == torch.float32
    for row in range(len(kept)):
        expected = trajectories.centrality(states[row, kept[row]].double().tolist())
        assert weights[row, kept[row]].tolist() == pytest.approx(expected, rel=1e-5)
        assert not weights[row, ~kept[row]].any()


def test_rows_sum_to_one_and_empty_ones_to_zero():
    states, kept = trial()
    assert centrality(states, kept).sum(dim=1).tolist() == pytest.approx([1, 1, 1, 0])


@pytest.mark.parametrize("queries", [1, 2, 3])
def test_blocks_of_queries_change_nothing(monkeypatch, queries):
    states, kept = trial()
    whole = centrality(states, kept)
    monkeypatch.setattr(_centrality, "QUERIES", queries)
    torch.testing.assert_close(centrality(states, kept), whole)


def test_the_size_of_a_token_does_not_matter_but_its_mean_does():
    states, kept = trial()
    sizes = torch.rand(kept.shape, generator=torch.Generator().manual_seed(1))[..., None] + 0.5
    torch.testing.assert_close(centrality(states * sizes, kept), centrality(states, kept))
    assert not torch.allclose(centrality(states + 3, kept), centrality(states, kept), atol=1e-3)


def test_a_token_like_all_others_is_more_central_than_one_apart():
    states = torch.tensor([[[1.0, 0, 0, -1], [1.0, 0.1, 0, -1], [1.0, 0, 0.1, -1], [-1.0, 0, 0, 1]]])
    weights = centrality(states, torch.ones(1, 4, dtype=torch.bool))[0]
    assert weights.argmin() == 3
    assert weights[3] < 0.1


def test_nothing_is_differentiated_and_half_precision_is_read():
    states, kept = trial()
    weights = centrality(states.requires_grad_(), kept)
    assert not weights.requires_grad
    rounded = states.detach().bfloat16()
    torch.testing.assert_close(centrality(rounded, kept), centrality(rounded.float(), kept))


def test_a_sample_weighs_the_same_in_any_batch():
    states, kept = trial()
    for row in range(len(kept)):
        alone = centrality(states[row : row + 1], kept[row : row + 1])
        torch.testing.assert_close(alone[0], centrality(states, kept)[row])


def test_identical_and_constant_states_are_finite():
    kept = torch.ones(1, 4, dtype=torch.bool)
    for states in (torch.ones(1, 4, 6), torch.zeros(1, 4, 6)):
        assert centrality(states, kept)[0].tolist() == pytest.approx([0.25] * 4)
