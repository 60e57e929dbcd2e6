"""Tokens and spans by bytes, against plain loops."""

import random

import numpy as np
import pytest

from stillroom.alignment.spans import units_of, whole


def looped(ends, spans):
    """The span that holds the last byte of every token."""
    return [
        next((number for number, (start, stop) in enumerate(spans) if start < end <= stop), -1)
        for end in ends
    ]


@pytest.mark.parametrize("seed", range(20))
def test_the_span_of_every_token(seed):
    draw = random.Random(seed)
    cuts = sorted(draw.sample(range(60), 2 * draw.randint(0, 9)))
    spans = list(zip(cuts[::2], cuts[1::2], strict=True))
    ends = sorted(draw.choices(range(-1, 70), k=30))
    found = units_of(np.array(ends), np.array(spans, np.int64).reshape(-1, 2))
    assert found.dtype == np.int64
    assert found.tolist() == looped(ends, spans)


def test_a_leading_space_belongs_to_its_word_and_a_short_token_before_it_does_not():
    # "a, b cd": words "a" "b" "cd"; tokens "a" "," " b" " c" "d"
    spans = np.array([[0, 1], [3, 4], [5, 7]])
    assert units_of(np.array([1, 2, 4, 6, 7]), spans).tolist() == [0, -1, 1, 2, 2]


def test_spans_that_lost_a_token_are_dropped_whole():
    units = np.array([-1, 0, 0, 1, 2, 2, -1, 3])
    assert whole(units[2:6], units).tolist() == [-1, 1, 2, 2]
    assert whole(units, units).tolist() == units.tolist()
    assert whole(units[:0], units).tolist() == []
    assert whole(units[:1], units[:1]).tolist() == [-1]
