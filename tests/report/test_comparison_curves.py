import re

import pytest
from compared import comparison, noisy

from stillroom.report.comparison_curves import comparison_curves, mean_curve


def test_mean_and_band_are_the_plain_loop_over_common_steps():
    curves = [
        [{"step": s, "tokens": s * 10 + seed, "loss": 5 - s / 10 + seed} for s in steps]
        for seed, steps in ((0, (1, 2, 3)), (1, (2, 3, 4)), (5, (3, 2)))
    ]
    found = mean_curve(curves, "tokens")
    expected = []
    for step in (2, 3):
        tokens, losses = 0.0, []
        for curve in curves:
            for point in curve:
                if point["step"] == step:
                    tokens += point["tokens"]
                    losses.append(point["loss"])
        expected.append((tokens / 3, sum(losses) / 3, min(losses), max(losses)))
    assert [list(each) for each in found] == [pytest.approx(each) for each in expected]
    assert mean_curve([], "tokens") == []
    assert mean_curve([[], []], "tokens") == []


def test_twelve_variants_have_twelve_looks_and_labels():
    chart = comparison_curves(comparison(noisy({f"variant {i}": i / 10 for i in range(12)}), "variant 0"))
    assert chart.count("<figure") == 2
    looks = set(re.findall(r'<path class="curve ([^"]*)"', chart))
    assert len(looks) == 12
    assert chart.count('class="band') == 24


def test_runs_that_were_evaluated_once_have_no_curve():
    content = comparison({"a": [5.0]}, "a")
    content["variants"]["a"]["runs"][0]["curve"] = [{"step": 1, "tokens": 1, "seconds": 1.0, "loss": 2.0}]
    assert "<svg" not in comparison_curves(content)
    assert "there is no curve" in comparison_curves({})
