"""Scores and maps compared head by head, against plain loops."""

from dataclasses import replace

import pytest
import torch
from objectives.attention.trials import EQUAL, leaves, losses, padded, trial, weights_of
from reference.map_objectives import score_distance
from reference.squeezed_kl import squeezed_kl

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.core.signals import QueryKey
from stillroom.objectives.attention import _score_distance
from stillroom.testing import STUDENT, TEACHER, check_objective

MapMse = objectives.find("attention.map_mse")


def as_lists(seen):
    return seen.query.tolist(), seen.key.tolist(), seen.scaling, seen.softcap


def scores_by_loops(objective, batch, ours, theirs, window=None):
    weights, real = weights_of(batch, objective.rows), batch.student.attention_mask.tolist()
    found = [
        score_distance(
            as_lists(ours[QueryKey(layer)]), as_lists(theirs[QueryKey(partner)]), weights, real, window
        )
        for layer, partner in objective.pairs
    ]
    return sum(found) / len(found)


@pytest.mark.parametrize(
    "numbers", [1, 3 * 2 * 9 * 4, 2**22], ids=["row by row", "blocks of four", "at once"]
)
@pytest.mark.parametrize("rows", ["real", "response"])
def test_scores_are_those_of_the_loops(rows, numbers, monkeypatch):
    monkeypatch.setattr(_score_distance, "NUMBERS", numbers)
    objective = MapMse(rows=rows, student_layers=[2, 4])
    batch, ours, theirs = trial(objective, teacher=EQUAL)
    loss = losses(objective, batch, ours, theirs)["map"]
    assert loss.total.item() == pytest.approx(scores_by_loops(objective, batch, ours, theirs), rel=1e-5)
    assert int(loss.count) == sum(map(sum, weights_of(batch, rows)))


def test_soft_caps_and_windows_are_those_of_the_loops():
    objective = MapMse(student_layers=[4])
    batch, ours, theirs = trial(objective, teacher=EQUAL)
    ours = {QueryKey(4): replace(ours[QueryKey(4)], softcap=2.0, window=4)}
    theirs = {QueryKey(6): replace(theirs[QueryKey(6)], softcap=3.0, window=3)}
    expected = scores_by_loops(objective, batch, ours, theirs, window=3)
    assert losses(objective, batch, ours, theirs)["map"].total.item() == pytest.approx(expected, rel=1e-5)


def test_gradients_of_scores_are_differences_of_the_loops(monkeypatch):
    monkeypatch.setattr(_score_distance, "NUMBERS", 200)
    objective = MapMse(student_layers=[4])
    batch, ours, theirs = trial(objective, teacher=EQUAL)
    mine, other = leaves(ours), leaves(theirs)
    losses(objective, batch, mine, other)["map"].total.backward()
    generator = torch.Generator().manual_seed(0)
    for name in ("query", "key"):
        seen = ours[QueryKey(4)]
        where = torch.randn(getattr(seen, name).shape, generator=generator, dtype=torch.float64)
        ends = [
            scores_by_loops(
                objective,
                batch,
                {QueryKey(4): replace(seen, **{name: getattr(seen, name) + step * where})},
                theirs,
            )
            for step in (1e-5, -1e-5)
        ]
        slope = (getattr(mine[QueryKey(4)], name).grad * where).sum().item()
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)
        assert getattr(other[QueryKey(6)], name).grad is None


def test_probabilities_are_compared_by_kl_from_the_teacher():
    objective = MapMse(compare="probabilities", student_layers=[4])
    batch, ours, theirs = trial(objective, teacher=EQUAL)
    seen, shown = ours[QueryKey(4)], theirs[QueryKey(6)]
    values, _, _ = squeezed_kl(
        *(each.tolist() for each in (seen.query, seen.key, shown.query, shown.key)),
        [[[1.0]] * 2] * 3,
        [[1.0] * 2] * 3,
        groups=[[0], [1]],
        student_scaling=seen.scaling,
        teacher_scaling=shown.scaling,
        weights=weights_of(batch, "real"),
        key_mask=batch.student.attention_mask.tolist(),
    )
    loss = losses(objective, batch, ours, theirs)["map"]
    assert loss.total.item() == pytest.approx(sum(map(sum, values)) / 2, rel=1e-5)


@pytest.mark.parametrize("compare", ["scores", "probabilities"])
@pytest.mark.parametrize("rows", ["real", "response"])
def test_the_contract_holds(compare, rows):
    check_objective(MapMse(compare=compare, rows=rows), teacher=EQUAL)


def test_padding_on_either_side_and_its_amount_change_nothing():
    objective = MapMse()
    batch, *answers = trial(objective, teacher=EQUAL)
    expected = losses(objective, batch, *answers)["map"].total.item()
    for left, right in ((3, 0), (2, 5)):
        got = losses(objective, *padded(batch, answers, left, right))["map"]
        assert got.total.item() == pytest.approx(expected, rel=1e-6)


def test_a_constant_in_a_row_of_scores_is_seen_by_scores_and_not_by_maps():
    """A key that all keys have in common adds q . k to a whole row."""
    for compare, is_seen in (("scores", True), ("probabilities", False)):
        objective = MapMse(compare=compare, student_layers=[4], teacher_layers=[4])
        batch, ours, _ = trial(objective, teacher=EQUAL)
        seen = ours[QueryKey(4)]
        moved = {QueryKey(4): replace(seen, key=seen.key + 1)}
        assert (losses(objective, batch, moved, ours)["map"].total.item() > 1e-3) is is_seen


def test_bad_settings_and_unequal_heads_are_refused():
    with pytest.raises(BadInput, match="compare must be one of scores, probabilities"):
        MapMse(compare="maps")
    with pytest.raises(
        BadInput, match=r"attention\.map_mse.*student has 2 and the teacher 4: choose attention.squeeze"
    ):
        MapMse().setup(STUDENT, TEACHER)
    with pytest.raises(BadInput, match=r"student has 4 and the teacher 2: choose attention\.relations"):
        MapMse().setup(replace(STUDENT, num_heads=4), EQUAL)
