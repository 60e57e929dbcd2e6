import math
import re

import pytest

from stillroom.report.scatter import scatter_chart


def test_a_point_for_each_sample_and_a_legend_for_each_cloud():
    clouds = {
        f"{side}/{g}": [(i, i * i) for i in range(5)] for side in ("student", "teacher") for g in ("a", "b")
    }
    chart = scatter_chart("PCA", clouds)
    assert chart.count("<circle") == 4 * 5 + 4
    assert chart.count('class="dot c1"') == 6
    assert chart.count('class="dot hollow c0"') == 6
    assert "b · teacher" in chart


@pytest.mark.parametrize(
    ("points", "drawn"),
    [
        ([], 0),
        ([(math.nan, 0.0)], 0),
        ([(1.0, 1.0)], 1),
        ([(0.0, 0.0), (0.0, math.inf)], 1),
        ([(1e29, -1e29), (0, 0)], 2),
    ],
)
def test_odd_points_never_break_a_chart(points, drawn):
    chart = scatter_chart("PCA", {"student/a": points})
    places = [float(n) for n in re.findall(r'c[xy]="([^"]*)"', chart)]
    assert all(0 <= place <= 420 for place in places)
    assert len(places) == 2 * (drawn + bool(drawn))  # and one in the legend


def test_many_points_stay_a_small_picture():
    chart = scatter_chart("PCA", {"student/a": [(i, i) for i in range(5000)]})
    assert len(chart) < 12_000


def test_names_are_escaped():
    assert "<b>x" not in scatter_chart("<b>x", {"student/<b>x": [(0, 0)]})
