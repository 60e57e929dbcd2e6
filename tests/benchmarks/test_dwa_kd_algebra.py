"""The claims of the DWA-KD paper: what is committed follows from the formulas, in plain loops and closed forms."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from dwa_kd.claims import tables, warping  # noqa: E402


def committed() -> dict:
    return json.loads((ROOT / "benchmarks" / "results" / "dwa_kd_algebra.json").read_text())["findings"]


def soft_dtw_by_hand(cost, gamma):
    """The recursion of Eq 6, cell by cell."""
    rows, columns = len(cost), len(cost[0])
    table = [[math.inf] * (columns + 1) for _ in range(rows + 1)]
    table[0][0] = 0.0
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            before = (table[i - 1][j], table[i][j - 1], table[i - 1][j - 1])
            least = min(before)
            soft = least - gamma * math.log(sum(math.exp((least - each) / gamma) for each in before))
            table[i][j] = cost[i - 1][j - 1] + soft
    return table[rows][columns]


def cosine_costs(first, second):
    return [[1 - float(torch.cosine_similarity(a, b, dim=0)) for b in second] for a in first]


@pytest.mark.parametrize("gamma", [0.1, 1.0, 2.0])
def test_the_divergence_is_that_of_the_recursion_band_and_all(gamma):
    first, second = warping.sequences(1, 9), warping.sequences(1, 9, 1)
    cross, own, other = (
        cosine_costs(a[0], b[0]) for a, b in ((first, second), (first, first), (second, second))
    )
    band = warping.untrained_band(9)
    narrow = type(band)(band.center, band.width - 9)
    for row, center, width in zip(range(9), narrow.center[0].tolist(), narrow.width[0].tolist(), strict=True):
        cross[row] = [cost + (abs(j - center) > width) for j, cost in enumerate(cross[row])]
    wanted = soft_dtw_by_hand(cross, gamma) - sum(soft_dtw_by_hand(c, gamma) for c in (own, other)) / 2
    assert warping.divergence(first, second, gamma, narrow).item() == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("length", [20, 35, 36, 60, 128])
def test_the_untrained_band_is_the_middle_of_the_text(length):
    """Even attention: its mean is (T + 1) / 2 and its entropy log T."""
    outside = [
        abs(i - (0.7 * (length + 1) / 2 + 0.3 * i)) > 5 + 2 * math.log(length) for i in range(1, length + 1)
    ]
    found = warping.untrained_band(length).outside(length)[0].diagonal()
    assert found.tolist() == outside
    assert any(outside) == (length >= committed()["untrained band"]["numbers"]["from"])


def test_committed_results_hold_every_claim():
    found = [*tables.findings(), warping.no_gradient(), warping.symbols(), warping.equal_sequences()]
    assert {each.name for each in found} <= set(committed())
    assert all(committed()[each.name]["sentence"] == each.sentence for each in found)


def test_the_page_of_the_paper_cites_every_finding():
    text = (ROOT / "docs" / "papers" / "dwa_kd.md").read_text()
    assert [name for name in committed() if f"`{name}`" not in text] == []
