import math

import pytest

from stillroom.report.axis import Axis, fitted, tick_text


@pytest.mark.parametrize(
    "values",
    [[2.4, 3.5], [0.0, 1e-9], [5.0], [0.0], [-3.0, 7.0], [1e-300, 1e29], [1e9, 1e9 + 1], [0.1, 90.0]],
)
def test_every_axis_has_ticks_inside_and_holds_its_values(values):
    axis = fitted(values)
    assert all(0 <= axis(value) <= 1 for value in values)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 12
    assert ticks == sorted(set(ticks))
    assert all(-1e-6 <= axis(tick) <= 1 + 1e-6 for tick in ticks)


def test_wide_ranges_are_logarithmic_and_only_where_all_is_positive():
    assert fitted([0.1, 90.0]).is_log
    assert not fitted([0.0, 90.0]).is_log
    assert not fitted([2.0, 3.0]).is_log


def test_ticks_are_round():
    assert Axis(2.4, 3.5).ticks() == [2.4, 2.6, 2.8, 3.0, 3.2, 3.4]
    assert Axis(0.5, 60, is_log=True).ticks() == [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0]


def test_the_middle_of_a_logarithmic_axis_is_the_geometric_mean():
    assert math.isclose(Axis(1, 100, is_log=True)(10), 0.5)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1_200_000, "1.2M"),
        (500_000, "500k"),
        (-2, "\u22122"),
        (0.05, "0.05"),
        (5e-4, "5e\u22124"),
        (2e15, "2e15"),
    ],
)
def test_tick_text(value, text):
    assert tick_text(value) == text
