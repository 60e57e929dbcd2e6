"""Shares and losses of merges against plain loops."""

from dataclasses import replace

import pytest
import torch
from objectives.attention.trials import trial, weights_of
from reference.head_merges import lost

from stillroom import objectives
from stillroom.core.batch import Batch
from stillroom.core.head_merge import HeadMerge
from stillroom.core.signals import OutputProjection, QueryKey, QueryKeys, Signals, Values
from stillroom.diagnostics.head_merges import ALONE, EQUAL, OWN, MergeCount, OffersMerges
from stillroom.testing import STUDENT

SqueezeHeads = objectives.find("attention.squeeze_heads")


def counted(objective, batch, theirs):
    """By pair of layers, from batches of one and two samples."""
    counts = [MergeCount() for _ in objective.pairs]
    for rows in (torch.tensor([0]), torch.tensor([1, 2])):
        part = batch.rows(rows)
        answers = Signals({request: of_rows(answer, rows) for request, answer in theirs.items()}, "teacher")
        for count, merge in zip(counts, objective.merges(answers, part), strict=True):
            count.add(merge, answers, part.teacher.attention_mask)
    return [count.result() for count in counts]


def of_rows(answer, rows):
    if isinstance(answer, QueryKeys):
        return replace(answer, query=answer.query[rows], key=answer.key[rows])
    return answer[rows] if answer.dim() == 4 else answer


@pytest.mark.parametrize("settings", [{}, {"merge": "sequential", "rows": "response"}])
@pytest.mark.parametrize("heads", [1, 2, 3])
def test_losses_are_those_of_whole_maps(heads, settings):
    objective = SqueezeHeads(student_layers=[2, 4], **settings)
    batch, _, theirs = trial(objective, replace(STUDENT, num_heads=heads, num_key_value_heads=1))
    merges = objective.merges(Signals(theirs, "teacher"), batch)
    for merge, found in zip(merges, counted(objective, batch, theirs), strict=True):
        seen = theirs[QueryKey(merge.partner)]
        expected = lost(
            *(each.tolist() for each in (seen.query, seen.key, theirs[Values(merge.partner)])),
            theirs[OutputProjection(merge.partner)].tolist(),
            weights_of(batch, objective.rows),
            groups=merge.groups,
            shares=merge.mix.tolist(),
            mask=batch.student.attention_mask.tolist(),
            scaling=seen.scaling,
            window=None,
            is_causal=True,
            softcap=None,
        )
        assert list(found.lost) == [OWN, EQUAL, ALONE]
        assert list(found.lost.values()) == pytest.approx(expected, rel=1e-8)
        assert found.lost[EQUAL] < found.lost[ALONE]
        if objective.merge == "optimal":
            assert found.lost[OWN] <= found.lost[EQUAL]


def made(unclamped: list[list[float]], groups: list[list[int]]) -> HeadMerge:
    """Merges of one head each sample, whose shares are these."""
    shares = torch.tensor(unclamped)[:, None]
    shares = torch.cat([shares, torch.ones_like(shares)], dim=1)
    rows = torch.ones(len(unclamped), 3, dtype=torch.bool)
    rows[-1] = False
    return HeadMerge(1, 2, groups, shares.clamp(0, 1), rows, shares, (shares < 0).any(-1))


def test_quantiles_and_the_share_outside_leave_out_samples_without_rows(monkeypatch):
    monkeypatch.setattr("stillroom.diagnostics.head_merges._losses", lambda *_: {"written": 0.0})
    count = MergeCount()
    first = [[0.0, 1.0], [-0.5, 1.5], [0.25, 0.75], [1.25, -0.25], [9.0, -8.0]]
    count.add(made(first, [[0, 1], [2]]), Signals({}), torch.ones(5, 3))
    count.add(made([[0.5, 0.5], [9.0, -8.0]], [[0, 1], [2]]), Signals({}), torch.ones(2, 3))
    found = count.result()
    (merge,) = found.merges
    assert (merge.head, merge.partners) == (0, [0, 1])
    assert merge.outside == found.outside == pytest.approx(2 / 5)
    assert merge.quantiles[0][::3] == [-0.5, 0.25, 1.25]
    assert merge.quantiles[1][::3] == [-0.25, 0.75, 1.5]
    assert found.lost == {}


@pytest.mark.parametrize("settings", [{"merge": "constant"}, {"merge": "select"}])
def test_shares_that_do_not_depend_on_the_text_are_not_counted(settings):
    objective = SqueezeHeads(**settings)
    batch, _, theirs = trial(objective)
    found = counted(objective, batch, theirs)
    assert [(each.merges, each.outside, each.lost) for each in found] == [([], None, {})] * len(found)
    merges = objective.merges(Signals(theirs, "teacher"), batch)
    assert all(torch.allclose(merge.mix.sum(-1), torch.ones(())) for merge in merges)


def test_only_objectives_that_merge_offer_it():
    assert isinstance(SqueezeHeads(), OffersMerges)
    assert not isinstance(objectives.find("attention.relations")(), OffersMerges)


def test_no_text_at_all(monkeypatch):
    objective = SqueezeHeads()
    batch, _, theirs = trial(objective)
    nothing = replace(batch.student, response_mask=torch.zeros_like(batch.student.response_mask))
    found = counted(objective, Batch(nothing, nothing, batch.sample_ids), theirs)
    assert all(each.outside is None and each.lost == {} for each in found)
