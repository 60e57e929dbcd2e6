import pytest
from compared import comparison, noisy

from stillroom.numerics.paired_difference import Difference
from stillroom.report.measured import sheets
from stillroom.report.standings import Column
from stillroom.report.verdict import bounds, seeds_note, verdict


def words(losses, against, **more):
    content = comparison(losses, against, **more)
    return " ".join(verdict(content, sheets(content)))


def test_the_best_with_its_distance_and_its_equals():
    text = words(noisy({"hard labels": 0.3, "X": 0.0, "Y": 0.001, "Z": 0.2}), "hard labels")
    assert text.startswith("On this pair, X has the lowest held-out loss: 5.")
    assert "below hard labels on 5 of 5 seeds." in text
    assert "Y cannot be told apart from it." in text
    assert "Z" not in text
    assert "1.50 times the time and 2.00 times the memory of hard labels" in text


def test_seconds_of_runs_that_shared_the_machine_are_not_in_the_headline():
    content = comparison(noisy({"hard labels": 0.3, "X": 0.0}), "hard labels") | {"jobs": 2}
    text = " ".join(verdict(content, sheets(content)))
    assert "times the time" not in text
    assert "2.00 times the memory of hard labels" in text


def test_a_lead_that_the_seeds_do_not_carry():
    text = words(noisy({"hard labels": 0.001, "X": 0.0, "Y": 0.002}, noise=0.05), "hard labels")
    assert text.startswith(
        "On this pair, X has the lowest mean held-out loss, 5.000, but cannot be told apart from hard"
    )
    assert "the difference is \u22120.001 [\u2212" in text
    assert "over 5 seeds. Nor can it be told apart from Y." in text


def test_nothing_better_than_what_all_are_paired_with():
    text = words(noisy({"hard labels": 0.0, "X": 0.2, "Y": 0.3}), "hard labels")
    assert text.startswith("On this pair, no variant has a lower held-out loss than hard labels, 5.")
    assert "the nearest is X, 0.2" in text
    assert "Every other variant can be told apart from it." in text
    assert "times the time" not in text


def test_a_variant_with_fewer_seeds_is_no_best_and_is_not_said_to_be_worse():
    losses = noisy({"hard labels": 0.3, "X": 0.0, "Y": 0.2}) | {"lucky": [4.0]}
    text = words(losses, "hard labels")
    assert text.startswith("On this pair, among the variants with most seeds, X has the lowest")
    text = words(losses, "X")
    assert text.startswith(
        "On this pair, among the variants with most seeds, no variant has a lower held-out loss"
    )
    assert "the nearest is Y, 0.2" in text


def test_one_seed_has_no_interval():
    text = words({"hard labels": [5.0], "X": [4.5]}, "hard labels")
    assert "with one seed, X has the lowest held-out loss: 4.500, 0.50 below hard labels" in text
    assert "[" not in text
    assert "may be chance" in text


def test_alone_missing_and_unfinished():
    assert "no other variant has a result" in words({"X": [5.0, 5.1]}, "X")
    assert "nothing to compare" in words({"X": []}, "X")
    assert " ".join(verdict({}, sheets({}))).endswith("nothing to compare.")
    part = words(noisy({"a": 0.1, "b": 0.0}), "a", cautions=["NOT COMPLETE: 10 of 12 runs are done."])
    assert part.startswith("So far, with runs missing: on this pair, b has")
    assert words(noisy({"a": 0.1, "b": 0.0}), "a", failed={"c-seed1": "lost"}).startswith("So far")


def test_harm_is_called_harm():
    text = words({"a": [9.5, 9.6, 9.7], "b": [9.4, 9.5, 9.6]}, "a")
    assert "no better than the student before training (9.000)" in text


def test_correction_for_many_variants_takes_a_lead_back():
    content = comparison(noisy({"a": 0.1, "b": 0.0}), "a")
    content["variants"]["b"]["difference"] = {"loss": {"p_holm": 0.2}}
    assert "may be chance (p = 0.2)" in " ".join(verdict(content, sheets(content)))
    content["variants"]["b"]["difference"] = {"loss": {"p_holm": 0.001}}
    assert "chance" not in " ".join(verdict(content, sheets(content)))


def test_exams_come_before_the_held_out_set_and_other_marks_may_disagree():
    content = comparison(noisy({"a": 0.0, "b": 0.1}), "a")
    for name, variant in content["variants"].items():
        for place, each in enumerate(variant["runs"]):
            each["tests"] = {"dolly": {"rouge_l": 20.0 + 0.1 * place + (3 if name == "b" else 0)}}
    text = " ".join(verdict(content, sheets(content)))
    assert text.startswith(
        "On this pair, b has the highest Rouge-L on dolly: 23.20, 3.00 [3.00, 3.00] above a"
    )
    assert "Other marks name another best: a by held-out loss." in text


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (Difference(-0.17, -0.18, -0.16, 5, 5), "0.170 [0.160, 0.180]"),
        (Difference(0.0007, -0.0003, 0.0017, 1, 5), "0.0007 [-0.0003, 0.0017]"),
        (Difference(-2.0, -9.0, 5.0, 1, 2), "2.00 [-5.00, 9.00]"),
        (Difference(-0.5, None, None, 1, 1), "0.50"),
    ],
)
def test_decimals_follow_the_interval(difference, expected):
    assert (
        bounds(Column("loss", "Loss", better="lower"), difference, signed=False).replace("\u2212", "-")
        == expected
    )


def test_how_far_intervals_can_be_trusted():
    assert "one seed" in seeds_note(sheets(comparison({"a": [5.0]}, "a")))
    assert "rough" in seeds_note(sheets(comparison({"a": [5.0, 5.1]}, "a")))
    assert "rough" not in seeds_note(sheets(comparison({"a": [5.0] * 5}, "a")))
    assert seeds_note(sheets({})) == ""
