"""VocAgnoLM against plain loops over texts."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from objectives.vocabulary.two_texts import OURS, PIECES, THEIRS, loss, response, trial
from reference import vocagno as reference
from reference.likelihood import log_softmax

from stillroom import objectives
from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, HeadWeights
from stillroom.objectives.vocabulary.vocagno import overlapping_maximum, widest
from stillroom.testing import OTHER_TEACHER, check_objective

VocAgnoLM = objectives.find("vocabulary.vocagno")


def told(samples, answers, pieces, left):
    """What the twin reads of one side: for every text its predicted tokens."""
    logits = answers[Head()](answers[FinalHidden()])
    found = []
    for row, each in enumerate(samples):
        start = logits.shape[1] - len(each.ids) - each.before - each.whole if left else 0
        spelled = [token for token in response(each, pieces, start) if token[3] is not None]
        found.append(
            [(first, end, -log_softmax(logits[row, at].tolist())[index]) for first, end, index, at in spelled]
        )
    return found


@pytest.mark.parametrize("settings", [{}, {"keep": 0.75}, {"keep": 1.0}, {"scope": "batch"}], ids=str)
@pytest.mark.parametrize("left", [False, True])
def test_value_is_that_of_the_loops(settings, left):
    unmapped = 0
    for seed in range(8):
        objective = VocAgnoLM(**settings)
        samples, batch, ours, theirs = trial(objective, seed, left)
        got = loss(objective, batch, ours, theirs)["cross_entropy"]
        pairs = zip(
            *(told(*each, left) for each in zip(samples, (ours, theirs), PIECES, strict=True)), strict=True
        )
        mapped = [[(token[2], reference.hardest(token, other)) for token in own] for own, other in pairs]
        if objective.scope == "batch":
            mapped = [[token for text in mapped for token in text]]
        unmapped += sum(largest is None for text in mapped for _, largest in text)
        expected = sum(reference.vocagno(text, objective.keep) for text in mapped)
        assert got.total.item() == pytest.approx(expected, rel=1e-6)
        assert int(got.count) == sum(map(len, mapped))
        measured = objective.measures()
        assert measured["unmapped"] * int(got.count) == pytest.approx(
            sum(largest is None for text in mapped for _, largest in text)
        )
    assert unmapped > 5


def test_all_tokens_kept_is_cross_entropy():
    objective, hard = VocAgnoLM(keep=1.0), objectives.find("hard.cross_entropy")()
    _, batch, ours, theirs = trial(objective, 1)
    hard.setup(OURS, THEIRS)
    expected = loss(hard, batch, ours, theirs)["cross_entropy"]
    got = loss(objective, batch, ours, theirs)["cross_entropy"]
    torch.testing.assert_close(got.total, expected.total)
    assert objective.measures()["kept"] == 1.0


def test_gradient_is_that_of_finite_differences():
    objective = VocAgnoLM()
    _, batch, ours, theirs = trial(objective, 5)

    def value(hidden, weight):
        signals = {FinalHidden(): hidden, Head(): HeadWeights(weight)}
        return loss(objective, batch, signals, theirs)["cross_entropy"].total

    leaves = [each.clone().requires_grad_() for each in (ours[FinalHidden()], ours[Head()].weight)]
    assert torch.autograd.gradcheck(value, leaves, fast_mode=True)


def test_overlaps_of_random_cuts_are_those_of_the_loops():
    rng = random.Random(0)
    for _ in range(200):
        sides = []
        for _ in range(2):
            marks = sorted(rng.randint(0, 12) for _ in range(rng.randint(1, 8)))
            sides.append([(a, b, rng.random()) for a, b in pairwise(marks)])
        ours, theirs = sides
        (first, end, _), (starts, ends, values) = (
            [torch.tensor([token[place] for token in side]) for place in range(3)] for side in sides
        )
        got = overlapping_maximum(first.long(), end.long(), starts.long(), ends.long(), values.double())
        expected = [reference.hardest(token, theirs) for token in ours]
        assert got.tolist() == pytest.approx([-torch.inf if each is None else each for each in expected])


def test_the_widest_are_counted_group_by_group():
    inf = torch.inf
    gaps = torch.tensor([3.0, 1.0, 2.0, inf, 5.0, 0.0, 0.0, -1.0])
    groups = torch.tensor([0, 0, 0, 0, 2, 2, 2, 2])
    assert widest(gaps, groups, 0.4).tolist() == [True, False, True, True, True, True, False, False]
    assert widest(gaps, groups, 0.01).tolist() == [True, False, False, True, True, False, False, False]
    assert widest(gaps, groups, 1.0).all()


@pytest.mark.parametrize("settings", [{}, {"keep": 1.0}, {"scope": "batch"}], ids=str)
def test_contract(settings):
    check_objective(VocAgnoLM(**settings))
    check_objective(VocAgnoLM(**settings), teacher=OTHER_TEACHER)
    assert VocAgnoLM(**settings).additive is (settings.get("scope") != "batch")


def test_unknown_byte_ends_are_refused():
    objective = VocAgnoLM()
    _, batch, ours, theirs = trial(objective, 0)
    side = batch.teacher
    blind = Batch(
        batch.student, type(side)(side.input_ids, side.attention_mask, side.response_mask), batch.sample_ids
    )
    with pytest.raises(BadInput, match="byte ends of every token, and the teacher's are not known"):
        loss(objective, blind, ours, theirs)


def test_tokens_without_a_known_place_are_unmapped_and_map_nothing():
    objective = VocAgnoLM()
    _, batch, ours, theirs = trial(objective, 3)
    predicts = batch.student.predicts
    for blind in ("student", "teacher"):
        side = getattr(batch, blind)
        ends = side.byte_ends.clone()
        ends[0] = -1
        loss(objective, replace(batch, **{blind: replace(side, byte_ends=ends)}), ours, theirs)
        nowhere = objective.measures()["unmapped"] * predicts.sum().item()
        loss(
            objective,
            batch.rows(torch.tensor([1, 2, 3])),
            *({**each, FinalHidden(): each[FinalHidden()][1:]} for each in (ours, theirs)),
        )
        others = objective.measures()["unmapped"] * predicts[1:].sum().item()
        assert nowhere == pytest.approx(others + predicts[0].sum().item())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"keep": 0.0}, r"keep must lie in \(0, 1\]"),
        ({"keep": 40}, r"keep must lie in \(0, 1\]"),
        ({"scope": "rank"}, "scope must be one of sample, batch"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(BadInput, match=says):
        VocAgnoLM(**settings)
