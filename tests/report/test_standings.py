import pytest
from compared import comparison, noisy
from reference.paired_statistics import paired_interval

from stillroom.numerics.paired_difference import student_quantile
from stillroom.report.measured import sheets
from stillroom.report.standings import standings


def held_out(losses, against="a"):
    return sheets(comparison(losses, against))[0]


def test_who_is_alike_is_said_by_the_interval_of_the_plain_loop():
    losses = noisy({"a": 0.0, "b": 0.004, "c": 0.02, "d": 0.3, "e": 0.001}, noise=0.02)
    sheet = held_out(losses)
    ranked = standings(sheet, sheet.main)
    means = {name: sum(values) / 5 for name, values in losses.items()}
    assert [each.name for each in ranked] == sorted(means, key=means.__getitem__)
    best = ranked[0]
    assert best.to_best == "best"
    seen = set()
    for each in ranked[1:]:
        _, low, high, _ = paired_interval(losses[each.name], losses[best.name], student_quantile(4))
        assert each.to_best == ("alike" if low <= 0 <= high else "behind")
        seen.add(each.to_best)
    assert seen == {"alike", "behind"}


def test_pairs_are_made_by_seed_and_not_by_place():
    content = comparison({"a": [1.0, 2.0, 3.0], "b": [1.1, 2.1, 3.1]}, "a")
    content["variants"]["b"]["runs"].reverse()
    sheet = sheets(content)[0]
    difference = sheet.difference(sheet.main, "b", "a")
    assert difference.mean == pytest.approx(0.1)
    assert difference.high - difference.low < 1e-9
    assert standings(sheet, sheet.main)[1].to_best == "behind"


def test_one_seed_is_no_verdict():
    sheet = held_out({"a": [1.0], "b": [2.0]})
    assert [each.to_best for each in standings(sheet, sheet.main)] == ["best", "unknown"]


def test_the_best_has_as_many_seeds_as_any():
    sheet = held_out({"a": [5.0, 5.1, 5.2], "lucky": [4.0], "none": []})
    ranked = standings(sheet, sheet.main)
    assert [(each.name, each.to_best) for each in ranked] == [
        ("lucky", "unknown"),
        ("a", "best"),
        ("none", "unknown"),
    ]
