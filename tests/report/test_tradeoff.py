import random
import re

from stillroom.report.tradeoff import Spot, tradeoff_chart, unbeaten


def random_spots(count):
    chance = random.Random(count)
    return [Spot(f"v{i}", i, chance.randrange(8), chance.randrange(8)) for i in range(count)]


def test_unbeaten_is_the_plain_loop():
    for count in range(1, 14):
        spots = random_spots(count)
        kept = []
        for one in spots:
            is_beaten = False
            for other in spots:
                no_worse = other.cost <= one.cost and other.result >= one.result
                is_beaten |= no_worse and (other.cost < one.cost or other.result > one.result)
            if not is_beaten:
                kept.append(one)
        found = unbeaten(spots, lower=False)
        assert {each.name for each in found} == {each.name for each in kept}
        assert [each.cost for each in found] == sorted(each.cost for each in found)


def test_names_never_cover_each_other_and_every_point_says_its_own():
    chart = tradeoff_chart("t", random_spots(13), "seconds", "loss")
    assert chart.count("<circle") == 13
    assert all(f"<title>v{i}: loss" in chart for i in range(13))
    names = re.findall(r'<text class="end [^"]*" x="([^"]*)" y="([^"]*)"', chart)
    assert len(names) > 5
    assert len(set(names)) == len(names)


def test_odd_values_and_names():
    nan = float("nan")
    assert "no run has recorded it" in tradeoff_chart("t", [Spot("a", 0, nan, 1.0)], "x", "y")
    one = tradeoff_chart("<i>", [Spot("<b>", 0, 1.0, 1.0)], "x", "y")
    assert "<b>&lt;i&gt;</b>" in one
    assert one.count("<b>") == 1
    assert 'class="front"' not in one
