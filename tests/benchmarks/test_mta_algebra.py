"""The claims about MTA: what is committed follows from definitions, written here as plain loops."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from mta.claims import geometry, tables, weights  # noqa: E402


def committed() -> dict:
    return json.loads((ROOT / "benchmarks" / "results" / "mta_algebra.json").read_text())["findings"]


def centrality_by_hand(states, real):
    """Equations 5 to 7, token by token; rows that are no tokens ask, too."""
    scaled = [row / (row.std() + 1e-5) for row in states]
    total = [0.0] * len(scaled)
    for s, asking in enumerate(scaled):
        seen = [t for t in range(len(scaled)) if t != s and real[t]]
        scores = [math.exp(float(asking @ scaled[t]) / math.sqrt(len(asking))) for t in seen]
        for t, score in zip(seen, scores, strict=True):
            total[t] += score / sum(scores) / len(scaled)
    return total


@pytest.mark.parametrize("tokens", [7, 5, 2])
def test_the_definition_is_that_of_the_equations_padding_and_all(tokens):
    states = torch.randn(7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(tokens))
    real = torch.arange(7) < tokens
    found = weights.by_definition(states, real).tolist()
    assert found == pytest.approx(centrality_by_hand(states, real.tolist()), abs=1e-12)
    assert sum(found) == pytest.approx(1)


def test_one_token_alone_is_not_a_number_there():
    assert not weights.by_definition(torch.randn(1, 8), torch.ones(1, dtype=torch.bool)).isfinite().all()


def test_shares_over_units_are_those_over_pairs_without_the_squares():
    for row in geometry.over_units().numbers["table"]:
        assert row["equal weights: units / pairs"] == pytest.approx(row["1 - 1/K"], abs=1e-5)


def test_reported_rows_are_those_of_the_notes():
    assert tables.reported("ablation")["MTA"] == tables.reported("bases")["DistiLLM with MTA"] == 21.45
    gains = [row["gain"] for row in tables.plug_in().numbers["table"]]
    assert len(gains) == 9
    assert min(gains) == pytest.approx(0.26)


def test_committed_results_hold_every_claim():
    found = tables.findings()
    assert {each.name for each in found} <= set(committed())
    assert all(committed()[each.name]["sentence"] == each.sentence for each in found)


def test_the_page_of_the_paper_cites_every_finding():
    text = (ROOT / "docs" / "papers" / "mta.md").read_text()
    assert [name for name in committed() if f"`{name}`" not in text] == []
