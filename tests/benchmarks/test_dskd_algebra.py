"""The measures behind the verdicts on DSKD's projectors, in cases whose answers are known."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from dskd import maps


@pytest.fixture
def heads():
    torch.manual_seed(0)
    return [torch.randn(40, width) for width in (6, 4)]


def test_a_map_that_loses_nothing_is_found_and_seen_to_lose_nothing(heads):
    head = heads[0]
    found = maps.kept_map(head, head @ torch.linalg.qr(torch.randn(6, 6)).Q)
    turned = maps.fidelity(torch.randn(20, 6), head, torch.eye(6), head)
    assert (turned.logit_error, turned.agreement, turned.kl) == (0, 1, pytest.approx(0, abs=1e-6))
    torch.testing.assert_close(found @ found.T, torch.eye(6).double(), atol=1e-6, rtol=0)


def test_numbers_of_a_map_are_those_of_the_definitions(heads):
    states, matrix = torch.randn(20, 6), torch.randn(6, 4)
    seen = maps.fidelity(states, heads[0], matrix, heads[1])
    wanted, got = states @ heads[0].T, states @ matrix @ heads[1].T
    p = wanted.softmax(1)
    assert seen.kl == pytest.approx(float((p * (p / got.softmax(1)).log()).sum(1).mean()), rel=1e-4)
    assert seen.logit_error == pytest.approx(float((got - wanted).norm() / wanted.norm()))
    assert seen.agreement == sum(a.argmax() == b.argmax() for a, b in zip(got, wanted, strict=True)) / 20
    away = maps.fidelity(states, heads[0] + 1, matrix, heads[1] - 2)
    assert away.logit_error != seen.logit_error
    assert away.centered_error == pytest.approx(seen.centered_error, rel=1e-4)


def test_no_other_map_has_a_smaller_error(heads):
    states, best = torch.randn(30, 6), maps.kept_map(*heads)
    least = maps.fidelity(states, heads[0], best, heads[1]).logit_error
    for seed in range(5):
        other = best + 0.05 * torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))
        assert maps.fidelity(states, heads[0], other, heads[1]).logit_error > least
    centered = maps.fidelity(states, heads[0], maps.centered_map(*heads), heads[1])
    assert centered.centered_error < maps.fidelity(states, heads[0], best, heads[1]).centered_error


def test_training_on_labels_says_them(heads):
    head, states = heads[0], torch.randn(64, 6)
    labels, start = (states @ head.T).argmax(1), maps.random_map(head, head)
    after = maps.trained(start, states, labels, head, steps=100, rate=0.05)
    assert maps.fidelity(states, head, start, head).agreement < 0.3
    assert maps.fidelity(states, head, after, head).agreement > 0.8
