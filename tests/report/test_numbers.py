import math

import pytest

from stillroom.report import numbers


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (0.5, 0.5),
        (True, None),
        (None, None),
        ("3", None),
        (math.nan, None),
        (-math.inf, None),
        (10**400, None),
    ],
)
def test_finite(value, expected):
    assert numbers.finite(value) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.fixed(2.8549), "2.855"),
        (numbers.fixed(-0.5), "\u22120.500"),
        (numbers.fixed(0.0), "0.000"),
        (numbers.fixed(0.00004), "4.00e\u221205"),
        (numbers.fixed(1e12), "1.00e+12"),
        (numbers.perplexity(17.374), "17.37"),
        (numbers.perplexity(54321.2), "54,321"),
        (numbers.percent(0.6123), "61.2 %"),
        (numbers.amount(999.6), "1.00 k"),
        (numbers.amount(125_239_296), "125 M"),
        (numbers.amount(1_315_758_080), "1.32 B"),
        (numbers.amount(7), "7"),
        (numbers.memory(6_871_947_674), "6.40 GiB"),
        (numbers.memory(12), "12 B"),
        (numbers.duration(0.43), "0.4 s"),
        (numbers.duration(59.6), "1 min"),
        (numbers.duration(75), "1 min 15 s"),
        (numbers.duration(4321), "1 h 12 min"),
        (numbers.duration(3599.9), "1 h"),
        (numbers.duration(200_000), "2 d 8 h"),
    ],
)
def test_writing(written, expected):
    assert written.replace("\u00a0", " ") == expected
