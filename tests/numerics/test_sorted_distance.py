"""Sorted probabilities against the plain loop; names of tokens do not matter."""

import pytest
import torch
from reference import optimal_transport as twin

from stillroom.numerics.sorted_distance import sorted_distance


@pytest.mark.parametrize(("teacher", "student"), [(7, 7), (9, 5), (5, 9), (1, 3)])
def test_it_equals_the_loop_and_gradcheck(teacher, student):
    log_p = torch.randn(2, 3, teacher).double().log_softmax(-1)
    logits = torch.randn(2, 3, student).double().requires_grad_()
    found = sorted_distance(log_p, logits.log_softmax(-1))
    p, q = log_p.exp().flatten(0, 1).tolist(), logits.softmax(-1).flatten(0, 1).tolist()
    expected = [twin.sorted_distance(*each) for each in zip(p, q, strict=True)]
    torch.testing.assert_close(found.flatten(), torch.tensor(expected, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda z: sorted_distance(log_p, z.log_softmax(-1)), logits)


def test_names_of_tokens_do_not_matter():
    log_p = torch.randn(4, 8).log_softmax(-1)
    assert not sorted_distance(log_p, log_p[:, torch.randperm(8)]).any()


def test_certain_against_uniform_and_rows_that_do_not_exist():
    certain = torch.tensor([0.0, -torch.inf, -torch.inf])
    uniform = torch.tensor([0.25] * 4).log()
    assert sorted_distance(certain, uniform).item() == pytest.approx(1.5)
    padded = torch.cat([uniform, torch.full((3,), -torch.inf)])
    assert sorted_distance(certain, padded).item() == pytest.approx(1.5)
