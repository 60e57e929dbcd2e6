import math

import pytest
from reference.report_numbers import share_of_gap

from stillroom.report.read import read_runs
from stillroom.report.results import COLUMNS, gap_closed, held_out_loss, result_rows

PLACE = {column.key: i for i, column in enumerate(COLUMNS)}


@pytest.mark.parametrize(("before", "after", "teacher"), [(3.4, 2.8, 2.4), (3.4, 3.9, 2.4), (3.4, 2.0, 2.4)])
def test_gap_like_the_plain_loop(before, after, teacher):
    assert math.isclose(
        gap_closed(before, after, teacher), share_of_gap(before, after, teacher), rel_tol=1e-9
    )


def test_no_gap_without_a_better_teacher():
    assert gap_closed(2.0, 1.0, 2.0) is None
    assert gap_closed(None, 1.0, 2.0) is None


def test_loss_from_perplexity():
    assert math.isclose(held_out_loss({"perplexity": math.e}), 1.0)
    assert held_out_loss({"loss": 0.0}) == 0.0
    assert held_out_loss({"loss": math.nan}) is None


def test_sorted_by_held_out_loss_whatever_the_order_given(make_run):
    runs = read_runs(
        [
            make_run("mine", loss=2.9),
            make_run("worst", loss=3.5),
            make_run("none", final={}),
            make_run("best", loss=0.0),
        ]
    )
    rows = result_rows(runs)
    assert [row.label for row in rows] == [
        "teacher",
        "student before training",
        "best",
        "mine",
        "worst",
        "none",
    ]
    assert [row.index for row in rows[2:]] == [3, 0, 1, 2]


def test_the_student_before_training_can_be_the_best(make_run):
    rows = result_rows(read_runs([make_run("a", loss=9.0)]))
    assert rows[1].cells[PLACE["loss"]].best
    assert not rows[2].cells[PLACE["loss"]].best
    assert not rows[0].cells[PLACE["loss"]].best


def test_equal_digits_share_the_mark(make_run):
    rows = result_rows(read_runs([make_run("a", loss=2.80001), make_run("b", loss=2.80002)]))
    assert [row.cells[PLACE["loss"]].best for row in rows] == [False, False, True, True]


def test_every_dash_has_a_reason(make_run):
    stopped = make_run("s", exit="stopped", final={}, teacher={}, models={}, peak_memory_bytes=0)
    odd = make_run("n", final={"loss": math.nan, "perplexity": math.inf, "agreement": None})
    for row in result_rows(read_runs([stopped, odd])):
        for cell in row.cells:
            assert (cell.text == "—") == bool(cell.reason)
    rows = {row.label: row for row in result_rows(read_runs([stopped, odd]))}
    assert "stopped" in rows["s"].cells[PLACE["loss"]].reason
    assert "nan" in rows["n"].cells[PLACE["loss"]].reason
    assert "no teacher" in rows["s"].cells[PLACE["agreement"]].reason


def test_runs_that_measured_other_models_get_their_own_rows(make_run):
    first, second = make_run("a"), make_run("b", teacher={"loss": 2.0, "perplexity": math.exp(2.0)})
    labels = [row.label for row in result_rows(read_runs([first, second]))]
    assert labels[:3] == ["teacher", "teacher (b)", "student before training"]
