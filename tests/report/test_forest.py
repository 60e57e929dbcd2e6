import re

import pytest

from stillroom.report.forest import Effect, forest_plot


def effect(name, mean, low, high, seeds=()):
    return Effect(name, 0, mean, low, high, list(seeds), "numbers")


def rows(plot):
    return {m[1]: m[0] for m in re.findall(r'(<li class="c\d">.*?title="([^"]*)".*?</li>)', plot)}


def percent(text):
    return float(text.rstrip("%"))


def places(row, look):
    return [percent(m) for m in re.findall(rf'class="{look}"[^/]*?(?:x1|cx)="([^"]*)"', row)]


def test_places_are_linear_in_the_values():
    plot = forest_plot(
        "c", [effect("a", -1.0, -2.0, 0.5, [-1.5, -0.5]), effect("b", 1.0, 0.5, 1.5)], "z", "lower"
    )
    row = rows(plot)["a"]
    zero, mean = places(row, "zero")[0], places(row, "point hollow")[0]
    low, left, right = places(row, "whisker")
    unit = zero - mean
    assert low == left == pytest.approx(zero - 2 * unit, abs=0.02)
    assert right == pytest.approx(zero + 0.5 * unit, abs=0.02)
    assert places(row, "seed") == pytest.approx([zero - 1.5 * unit, zero - 0.5 * unit], abs=0.02)
    assert all(0 <= percent(m) <= 100 for m in re.findall(r'(?:x1|x2|cx)="([^"]*%)"', plot))


def test_filled_where_the_interval_leaves_zero_out():
    plot = rows(
        forest_plot(
            "c",
            [effect("in", 1.0, -1.0, 3.0), effect("out", 2.0, 1.0, 3.0), effect("one", 1.0, None, None)],
            "z",
            "lower",
        )
    )
    assert 'class="point"' in plot["out"]
    assert 'class="point hollow"' in plot["in"]
    assert 'class="point hollow"' in plot["one"]
    assert "whisker" not in plot["one"]


def test_a_huge_interval_does_not_press_the_others_flat():
    plot = forest_plot("c", [effect("wide", 0.1, -50.0, 50.0), effect("b", 0.3, 0.2, 0.4)], "z", "lower")
    found = rows(plot)
    assert len(places(found["wide"], "whisker")) == 1
    assert "goes on beyond the scale" in plot
    assert places(found["b"], "point")[0] - places(found["b"], "zero")[0] > 15


@pytest.mark.parametrize(("better", "expected"), [("lower", "← better"), ("higher", "← worse")])
def test_says_which_side_is_the_better_one(better, expected):
    assert expected in forest_plot("c", [effect("a", 1.0, 0.0, 2.0)], "z", better)


def test_odd_values_never_break_it():
    assert "no variant shares a seed" in forest_plot("c", [], "z", "lower")
    assert "no variant" in forest_plot("c", [effect("a", float("nan"), None, None)], "z", "lower")
    assert "<svg" in forest_plot("c", [effect("a", 0.0, 0.0, 0.0, [0.0, 0.0])], "z", "lower")
    assert "<b>" not in forest_plot("<b>", [effect("<b>", 1.0, None, None)], "<b>", "lower")
