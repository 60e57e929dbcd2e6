"""Contextual dynamic mapping against plain loops, and the shape of groups and matches."""

import sys

import pytest
import torch
from objectives.vocabulary.two_sides import OURS as LETTERS
from objectives.vocabulary.two_sides import THEIRS as OTHER_LETTERS
from objectives.vocabulary.two_sides import both, slopes_are_right
from objectives.vocabulary.two_texts import OURS, PIECES, THEIRS, trial
from reference import cdm as reference

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, Signals
from stillroom.numerics.warping_path import warping_path
from stillroom.objectives._two_vocabularies import shared_tokens
from stillroom.objectives.vocabulary import cdm
from stillroom.objectives.vocabulary._likely_tokens import LikelyTokens
from stillroom.objectives.vocabulary._warped_groups import grouped
from stillroom.testing import OTHER_TEACHER, TEACHER, check_objective

CDM = objectives.find("vocabulary.cdm")
SPELLED = [[None, *(piece.encode() for piece in pieces[1:]), None, None] for pieces in PIECES]
SHARED = [(0, 0)] + [
    (i, PIECES[1].index(piece)) for i, piece in enumerate(PIECES[0]) if i and piece in PIECES[1]
]


def samples(batch, ours, theirs):
    """For every sample, of both sides: tokens read at predicting positions, and the logits there."""
    sides = []
    for side, answers, spelled in zip((batch.student, batch.teacher), (ours, theirs), SPELLED, strict=True):
        logits = Signals(answers)[Head()](answers[FinalHidden()])
        sides.append(
            [
                ([spelled[i] or [i == 0] * (i == 0) for i in ids[keep].tolist()], z[keep].tolist())
                for ids, keep, z in zip(side.input_ids, side.predicts, logits, strict=True)
            ]
        )
    return zip(*sides, strict=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "settings", [{}, {"top_k": 4}, {"top_k": 6, "threshold": 0.5}, {"threshold": 0.0}], ids=str
)
def test_value_is_that_of_the_loops(settings, seed):
    objective = CDM(**settings)
    _, batch, ours, theirs = trial(objective, seed, left=seed % 2 == 1)
    loss = objective(Signals(ours), Signals(theirs), batch)["divergence"]
    rest = (objective.top_k, *SPELLED, SHARED, objective.threshold, objective.temperature)
    expected = sum(
        reference.loss(read_s, read_t, z_s, z_t, *rest)
        for (read_s, z_s), (read_t, z_t) in samples(batch, ours, theirs)
    )
    assert loss.total.item() == pytest.approx(expected, rel=1e-6)
    assert (int(loss.count), loss.unit) == (int(batch.student.predicts.sum()), "tokens")


@pytest.mark.parametrize("settings", [{}, {"top_k": 6, "threshold": 1.0}], ids=str)
def test_slopes(settings):
    """The path, the likely tokens and their matches do not change under a small step."""
    objective = CDM(**settings)
    objective.setup(LETTERS, OTHER_LETTERS)
    assert slopes_are_right(objective, *both())


def test_costs_are_those_of_the_loops(monkeypatch):
    seen = []
    monkeypatch.setattr(cdm, "warping_path", lambda *given: seen.append(given) or warping_path(*given))
    objective = CDM()
    _, batch, ours, theirs = trial(objective, 3)
    objective(Signals(ours), Signals(theirs), batch)
    ((cost, rows, columns),) = seen
    for row, ((read_s, z_s), (read_t, z_t)) in enumerate(samples(batch, ours, theirs)):
        assert (int(rows[row]), int(columns[row])) == (len(z_s), len(z_t))
        expected = reference.costs(read_s, read_t, z_s, z_t)
        assert cost[row, : len(z_s), : len(z_t)].tolist() == expected


def test_groups_are_those_of_the_loops():
    cells = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 3), (3, 4), (4, 5), (5, 5)]
    path = torch.zeros(2, 7, 6, dtype=torch.bool)
    for cell in cells:
        path[1][cell] = True
    groups, found = grouped(path), reference.groups(cells)
    assert [group for group, _ in found] == [[0], [0, 1, 2], [2], [3], [4, 5]]
    ours, theirs = torch.randn(2, 7, 3).double(), torch.randn(2, 6, 4).double()
    expected = [reference.mean([ours[1, i].tolist() for i in group]) for group, _ in found]
    torch.testing.assert_close(groups.average(ours), torch.tensor(expected, dtype=torch.float64))
    expected = [
        reference.mean([reference.mean([theirs[1, j].tolist() for j in columns]) for columns in met])
        for _, met in found
    ]
    torch.testing.assert_close(groups.average_teacher(theirs), torch.tensor(expected, dtype=torch.float64))
    assert groups.weights.tolist() == [0.5, 2.0, 0.5, 1.0, 2.0]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize(("k", "most"), [(3, 3), (7, 9), (13, 15)])
def test_matches_are_those_of_the_loops(k, most, threshold):
    z_s, z_t = torch.randn(20, OURS.vocab_size), torch.randn(20, THEIRS.vocab_size)
    likely, shared = LikelyTokens(OURS, THEIRS, threshold), shared_tokens(OURS, THEIRS, "test")
    found = likely.match(z_s.topk(k).indices, z_t.topk(k).indices, shared)
    for row in range(20):
        kept = found.exists[row]
        pairs = list(zip(found.student[row][kept].tolist(), found.teacher[row][kept].tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)
        assert sorted(pairs) == reference.matches(
            z_s[row].tolist(), z_t[row].tolist(), k, *SPELLED, SHARED, threshold
        )


def test_entropies_stretch_the_costs():
    assert reference.factors([[0.0, 50.0], [0.0, 1.0], [0.0, 0.0]]) == [3, 5, 5]
    assert reference.factors([[0.0, 1.0], [1.0, 0.0]]) == [3, 3]


def test_a_sample_whose_teacher_was_cut_away_adds_nothing_but_its_count():
    objective = CDM()
    _, batch, ours, theirs = trial(objective, 0)
    batch.teacher.response_mask[1:] = False
    alone = objective(Signals(ours), Signals(theirs), batch)["divergence"]
    first = batch.rows(torch.tensor([0]))
    own = [
        {key: each if key == Head() else each[:1] for key, each in side.items()} for side in (ours, theirs)
    ]
    assert alone.total.item() == pytest.approx(
        objective(*map(Signals, own), first)["divergence"].total.item()
    )
    assert int(alone.count) == int(batch.student.predicts.sum())


@pytest.mark.parametrize("settings", [{}, {"top_k": 3}, {"top_k": 6, "threshold": 1.0}], ids=str)
@pytest.mark.parametrize("teacher", [TEACHER, OTHER_TEACHER], ids=lambda shape: shape.vocabulary)
def test_contract(settings, teacher):
    check_objective(CDM(**settings), teacher=teacher)


def test_without_rapidfuzz_it_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidfuzz.distance", None)
    with pytest.raises(BadInput, match=r'vocabulary.cdm .* pip install "stillroom\[edit\]"'):
        CDM().setup(OURS, THEIRS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature must lie in"),
        ({"threshold": 1.5}, "threshold must lie in"),
        ({"top_k": 0}, "top_k must be a whole number of at least 1"),
        ({"top_k": True}, "top_k must be a whole number of at least 1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(BadInput, match=message):
        CDM(**settings)
