"""Mass beyond the shared vocabulary against plain loops in float64."""

import math

import torch

from stillroom.core.signals import HeadTransform, HeadWeights
from stillroom.taps.tail import tail_mass


def test_equals_plain_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 5, 6, generator=generator)
    weight = torch.randn(13, 6, generator=generator)
    head = HeadWeights(weight, HeadTransform(torch.randn(13, generator=generator), 1.0, 3.0))
    mass = tail_mass(hidden, head, 10, rows=3)
    assert mass.shape == (2, 5)
    for b in range(2):
        for s in range(5):
            logits = [
                3 * math.tanh((float(hidden[b, s].double() @ row) + float(bias)) / 3)
                for row, bias in zip(weight.double(), head.transform.bias, strict=True)
            ]
            parts = [math.exp(logit) for logit in logits]
            assert math.isclose(mass[b, s], sum(parts[10:]) / sum(parts), rel_tol=1e-5)


def test_nothing_trimmed_is_no_mass() -> None:
    head = HeadWeights(torch.randn(7, 4))
    assert torch.equal(tail_mass(torch.randn(3, 4), head, 7), torch.zeros(3))


def test_extreme_logits_stay_finite() -> None:
    head = HeadWeights(torch.tensor([[0.0], [1000.0], [-1000.0]]))
    assert torch.equal(tail_mass(torch.ones(1, 1), head, 1), torch.ones(1))
    assert torch.equal(tail_mass(torch.ones(1, 1), head, 2), torch.zeros(1))
