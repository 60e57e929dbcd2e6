"""Two prompts before the same responses, compared sample by sample."""

import math
import statistics

import pytest
import torch

from stillroom.diagnostics.paired_text import by_sample, paired_gain


def responses(rows: dict[int, tuple[list[int], list[float]]]) -> dict:
    return {key: (torch.tensor(ids), torch.tensor(losses)) for key, (ids, losses) in rows.items()}


def test_the_gain_is_over_the_tokens_in_common():
    these = responses({n: ([5, 6, 7, 0], [2.0, 2.0, 2.0 + n, 9.0]) for n in range(5)})
    others = responses({n: ([5, 6, 7, 1], [1.0, 1.0, 1.0, 0.0]) for n in range(5)})
    found = paired_gain(these, others)
    assert found is not None
    each = [1 + n / 3 for n in range(5)]
    assert found.mean == pytest.approx(statistics.mean(each))
    assert found.t == pytest.approx(statistics.mean(each) / (statistics.stdev(each) / math.sqrt(5)))
    assert found.samples == 5


def test_responses_that_are_not_the_same_are_not_compared():
    these = responses({n: ([5, 6, 7, 8], [2.0] * 4) for n in range(5)})
    assert paired_gain(these, responses({n: ([5, 9, 7, 8], [1.0] * 4) for n in range(5)})) is None
    assert paired_gain(these, responses({n: ([5, 6, 7, 8], [1.0] * 4) for n in range(3)})) is None


def test_rows_are_told_apart_by_sample():
    found = by_sample(torch.tensor([1, 2, 3]), torch.tensor([0.1, 0.2, 0.3]), torch.tensor([7, 9, 7]))
    assert found[7][0].tolist() == [1, 3]
    assert found[9][1].tolist() == pytest.approx([0.2])
