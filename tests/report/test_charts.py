import math
import re

import pytest

from stillroom.report.charts import Level, Line, line_chart


def numbers_in(svg: str) -> list[float]:
    return [float(n) for text in re.findall(r'(?:points|d)="M?([^"]*)"', svg) for n in re.split("[ ,]", text)]


def test_a_gap_where_values_are_not_finite():
    chart = line_chart(
        "Loss", [Line("a", 0, [(0, 1.0), (1, 2.0), (2, math.nan), (3, 1.0), (4, math.inf), (5, 1.0)])]
    )
    assert chart.count("<path") == 1
    assert chart.count("<circle") == 2
    assert "2 values are not finite" in chart
    assert "nan" not in chart.lower()


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(0, math.nan)],
        [(1, 5.0)],
        [(0, 0.0), (1, 0.0)],
        [(0, 1e308), (1, -1e308), (2, 1.0)],
        [(0, 1e-320), (1, 1e29)],
    ],
)
def test_odd_data_never_breaks_a_chart(points):
    chart = line_chart("Loss", [Line("a", 0, points)])
    assert ("<svg" in chart) == any(abs(y) < 1e30 for _, y in points)
    assert all(math.isfinite(number) for number in numbers_in(chart))


def test_curves_stay_inside_the_picture():
    chart = line_chart(
        "Loss", [Line(f"run {i}", i, [(j, math.sin(i * j)) for j in range(2000)]) for i in range(3)]
    )
    assert all(0 <= number <= 360 for number in numbers_in(chart))
    assert len(chart) < 60_000


def test_names_are_escaped_and_labels_kept_apart():
    lines = [Line(f"<b>{i}</b>", i, [(0, 1.0), (1, 2.0)]) for i in range(12)]
    chart = line_chart("<i>", lines)
    assert "<b>0" not in chart
    assert "<i>" not in chart
    heights = [float(y) for y in re.findall(r'class="end [^>]* y="([^"]*)"', chart)]
    assert len(heights) == 12
    gaps = [b - a for a, b in zip(sorted(heights), sorted(heights)[1:], strict=False)]
    assert min(gaps) > 10


def test_a_far_level_is_named_instead_of_drawn():
    line = Line("a", 0, [(0, 3.0), (1, 2.0)])
    assert line_chart("Loss", [line], [Level("teacher", 1.8)]).count('class="level"') == 1
    far = line_chart("Loss", [line], [Level("untrained", 900.0)])
    assert 'class="level"' not in far
    assert "Off the scale: untrained 900" in far


def test_described_for_those_who_do_not_see_it():
    chart = line_chart("Loss", [Line("a", 0, [(0, 3.0), (10, 2.0)])], x_name="steps")
    assert "<title>Loss</title>" in chart
    assert "a: from 3 at 0 to 2 at 10 steps; lowest 2, highest 3." in chart
