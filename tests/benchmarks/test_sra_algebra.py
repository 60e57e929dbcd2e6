"""The claims about SRA: what is committed follows from definitions, written here as plain loops."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from sra.claims import attention, spans, tables  # noqa: E402


def committed() -> dict:
    return json.loads((ROOT / "benchmarks" / "results" / "sra_algebra.json").read_text())["findings"]


def common_subsequence_by_hand(ours, theirs):
    """The textbook's table, cell by cell."""
    table = [[0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
    for i, first in enumerate(ours, 1):
        for j, second in enumerate(theirs, 1):
            same = table[i - 1][j - 1] + 1 if first == second else 0
            table[i][j] = max(table[i - 1][j], table[i][j - 1], same)
    return table[-1][-1]


def ends(generator, most):
    """Offsets that never decrease and, as those of parts of a letter, may repeat."""
    steps = generator.choice([0, 1, 1, 2, 5], size=generator.integers(1, most))
    return (1 + np.cumsum(steps)).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_one_merge_finds_the_longest_common_subsequence(seed):
    generator = np.random.default_rng(seed)
    ours, theirs = ends(generator, 30), ends(generator, 30)
    wanted = common_subsequence_by_hand(ours, theirs)
    assert len(spans.program_cuts(ours, theirs)) == wanted
    assert spans._longest_common(ours, theirs) == wanted


def test_bytes_and_characters_agree_where_no_letter_is_cut_and_differ_where_one_is():
    plain = np.array([2, 4, 9])
    assert (
        spans.program_cuts(plain.tolist(), [4, 9])
        == spans.exact_cuts(plain, np.array([4, 9]))
        == [(2, 1), (3, 2)]
    )
    # one letter of three bytes: two tokens of ours, one of theirs
    assert spans.program_cuts([1, 1], [1]) == [(1, 1)]
    assert spans.exact_cuts(np.array([1, 3]), np.array([3])) == [(2, 1)]


def test_total_variation_is_the_share_that_has_to_move():
    assert attention.distance(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.5, 0.25])) == 0.25


def test_reported_rows_are_those_of_the_notes():
    assert tables.reported("ablation")["SRA"] == tables.reported("results")["SRA"] == 17.97
    assert tables.reported("weighting")["SRA"] == 17.97
    assert tables.reported("one_tokenizer") == {"AKL": 17.03, "SRA": 19.24}


def test_committed_results_hold_every_claim():
    found = tables.findings()
    assert {each.name for each in found} <= set(committed())
    assert all(committed()[each.name]["sentence"] == each.sentence for each in found)


def test_the_page_of_the_paper_cites_every_finding():
    text = (ROOT / "docs" / "papers" / "sra.md").read_text()
    assert [name for name in committed() if f"`{name}`" not in text] == []
