import math
import random

import pytest
from reference.report_numbers import bucket_means

from stillroom.report.buckets import bucketed


@pytest.mark.parametrize("count", [0, 1, 7, 79, 80, 81, 1234])
@pytest.mark.parametrize("limit", [1, 3, 80])
def test_like_the_plain_loop(count, limit):
    chance = random.Random(count)
    points = [(float(i), math.nan if chance.random() < 0.2 else chance.gauss(0, 1)) for i in range(count)]
    found, expected = bucketed(points, limit), bucket_means(points, limit)
    assert len(found) == len(expected)
    for bucket, twin in zip(found, expected, strict=True):
        for a, b in zip((bucket.x, bucket.mean, bucket.low, bucket.high), twin, strict=True):
            assert (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12)


def test_spikes_survive():
    points = [(float(i), 1.0) for i in range(5000)]
    points[3210] = (3210.0, 500.0)
    points[17] = (17.0, -500.0)
    buckets = bucketed(points)
    assert max(b.high for b in buckets) == 500.0
    assert min(b.low for b in buckets) == -500.0


def test_few_points_stay_as_they_are():
    points = [(0.0, 3.0), (1.0, 2.0), (5.0, math.nan)]
    assert [(b.x, b.mean) for b in bucketed(points)][:2] == points[:2]
    assert math.isnan(bucketed(points)[2].mean)
