import math

import pytest
from reference.paired_statistics import first_crossing

from stillroom.diagnostics.reach import best, crossing, held_out, reach


def rows(*points):
    return [{"split": "eval", "step": s, "seconds": 10.0 * s, "loss": v} for s, v in points]


def test_straight_line_between_evaluations():
    curve = rows((0, 5.0), (10, 3.0), (20, 2.0))
    assert reach(curve, 4.0, "step") == 5
    assert reach(curve, 2.25, "seconds") == pytest.approx(175)
    assert reach(curve, 3.0, "step") == 10


def test_first_crossing_counts_although_the_loss_rises_again():
    assert reach(rows((0, 5.0), (10, 3.0), (20, 6.0), (30, 1.0)), 4.0, "step") == 5


def test_never_and_already():
    assert reach(rows((0, 5.0), (10, 3.0)), 2.9, "step") is None
    assert reach(rows((5, 1.0), (10, 3.0)), 2.0, "step") == 5
    assert reach([], 2.0, "step") is None
    assert best([]) is None


def test_training_losses_and_other_marks_do_not_count():
    curve = [
        {"split": "train", "step": 1, "seconds": 1, "loss": 0.0},
        {"split": "eval", "step": 2, "seconds": 2, "rouge_l": 0.0},
        *rows((4, 3.0), (2, 5.0)),
    ]
    assert held_out(curve, "step") == [(2, 5.0), (4, 3.0)]
    assert reach(curve, 4.0, "step") == 3


def test_a_step_written_twice_has_its_last_value():
    curve = rows((0, 5.0), (10, 3.0), (10, 4.0))
    assert reach(curve, 4.5, "step") == 5
    assert best(curve) == 4.0


def test_a_flat_curve_at_the_target():
    assert reach(rows((0, 2.0), (10, 2.0)), 2.0, "step") == 0


def test_the_place_where_a_curve_reaches_its_target():
    places, values = [0.0, 10.0, 30.0, 40.0], [9.0, 5.0, 6.0, 2.0]
    curve = [*zip(places, values, strict=True)]
    for target in (9.0, 8.0, 5.5, 5.0, 3.3, 2.0):
        expected = first_crossing(places, values, target)
        assert crossing(curve, target) == pytest.approx(expected, abs=1e-2)
    assert crossing(curve, 1.9) is None
    assert crossing([], 1.0) is None


@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_no_point_of_the_line(lost):
    curve = rows((0, 5.0), (5, lost), (10, 3.0))
    assert reach(curve, 4.0, "step") == 5
    assert best(rows((0, lost), (10, 3.0))) == 3.0
