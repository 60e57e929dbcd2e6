import random

import pytest
from reference.pass_at_k import pass_at_k as by_counting

from stillroom.core.errors import BadInput
from stillroom.evaluation.code.pass_at_k import pass_at_k


@pytest.mark.parametrize("samples", [1, 2, 5, 7])
def test_equals_looking_at_every_choice(samples):
    generator = random.Random(samples)
    outcomes = [[generator.random() < chance for _ in range(samples)] for chance in (0.0, 0.2, 0.5, 0.9, 1.0)]
    for k in range(1, samples + 1):
        found = pass_at_k([sum(programs) for programs in outcomes], samples, k)
        assert found == pytest.approx(by_counting(outcomes, k), abs=1e-14)


def test_has_no_bias_where_the_simple_estimate_has():
    chance, samples, k = 0.3, 4, 2
    from math import comb

    weights = [comb(samples, c) * chance**c * (1 - chance) ** (samples - c) for c in range(samples + 1)]
    mean = sum(weight * pass_at_k([c], samples, k) for c, weight in enumerate(weights))
    simple = sum(weight * (1 - (1 - c / samples) ** k) for c, weight in enumerate(weights))
    true = 1 - (1 - chance) ** k
    assert mean == pytest.approx(true, abs=1e-14)
    assert abs(simple - true) > 0.03


def test_many_samples_stay_between_zero_and_one():
    assert pass_at_k([0], 200, 100) == 0
    assert pass_at_k([150], 200, 100) == 1
    assert 0 < pass_at_k([1], 1000, 1) == pytest.approx(0.001, abs=1e-15)


@pytest.mark.parametrize(
    ("passed", "samples", "k"), [([1], 1, 2), ([1], 2, 0), ([], 1, 1), ([3], 2, 1), ([-1], 2, 1)]
)
def test_impossible_numbers_are_refused(passed, samples, k):
    with pytest.raises(BadInput, match="pass@"):
        pass_at_k(passed, samples, k)
