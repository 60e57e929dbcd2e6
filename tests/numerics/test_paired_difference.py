"""Paired differences against plain loops and printed tables."""

import random

import pytest
from reference.paired_statistics import paired_interval, student_mass

from stillroom.numerics.paired_difference import paired_difference, student_quantile


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30, 101])
def test_quantiles_enclose_their_share_of_the_density(freedom):
    assert student_mass(student_quantile(freedom), freedom) == pytest.approx(0.95, abs=1e-7)


def test_quantiles_are_those_of_printed_tables():
    printed = {1: 12.706, 2: 4.303, 4: 2.776, 9: 2.262, 30: 2.042}
    assert all(student_quantile(freedom) == pytest.approx(t, abs=5e-4) for freedom, t in printed.items())
    with pytest.raises(ValueError, match="at least one degree"):
        student_quantile(0)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_paired_difference_is_the_plain_loop(n):
    rolls = random.Random(n)
    xs, ys = ({seed: rolls.gauss(5, 1) for seed in range(n)} for _ in range(2))
    got = paired_difference(xs, ys | {99: 0.0})
    expected = paired_interval([*xs.values()], [*ys.values()], student_quantile(n - 1))
    assert (got.mean, got.low, got.high, got.wins) == pytest.approx(expected)
    assert got.n == n
    assert paired_difference(xs, ys, lower_is_better=False).wins == n - got.wins


def test_one_pair_has_no_interval_and_none_has_no_difference():
    alone = paired_difference({1: 2.0, 2: 9.0}, {1: 2.0})
    assert (alone.mean, alone.low, alone.high, alone.wins, alone.n) == (0.0, None, None, 0, 1)
    assert paired_difference({1: 2.0}, {2: 2.0}) is None


@pytest.mark.parametrize("n", [2, 3, 8])
def test_p_is_what_lies_beyond_the_t_of_the_pairs(n):
    rolls = random.Random(n)
    xs, ys = ({seed: rolls.gauss(mean, 1) for seed in range(n)} for mean in (5.5, 5))
    got = paired_difference(xs, ys)
    _, low, high, _ = paired_interval([*xs.values()], [*ys.values()], 1.0)
    t = abs(got.mean) / ((high - low) / 2)
    assert got.p == pytest.approx(1 - student_mass(t, n - 1), abs=1e-7)
    assert (got.p < 0.05) == (got.low > 0 or got.high < 0)


def test_pairs_that_all_differ_alike_leave_no_doubt_and_equal_ones_no_difference():
    assert paired_difference({1: 3.0, 2: 4.0}, {1: 2.0, 2: 3.0}).p == 0.0
    assert paired_difference({1: 3.0, 2: 4.0}, {1: 3.0, 2: 4.0}).p == 1.0
