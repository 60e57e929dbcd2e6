"""COT2Align's transport against plain loops."""

from dataclasses import replace

import pytest
import torch
from objectives.vocabulary.two_texts import loss, trial
from reference import cot2align as reference

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Hidden
from stillroom.testing import OTHER_TEACHER, check_objective

COT2Align = objectives.find("vocabulary.cot2align")
SHIFT = {"embeddings": 1, "hidden": 0}
REQUESTS = {"embeddings": Hidden(0), "hidden": FinalHidden()}


def rows(answers, side, term):
    """Vectors of every text's tokens: at their own places, or where they are predicted."""
    states = answers[REQUESTS[term]]
    return [
        [states[row, place + SHIFT[term]].tolist() for place in torch.where(predicts)[0].tolist()]
        for row, predicts in enumerate(side.predicts)
    ]


@pytest.mark.parametrize(
    "settings", [{}, {"epsilon": 0.02, "rounds": 7, "through_plan": True}, {"hidden": 0.0}], ids=str
)
@pytest.mark.parametrize("left", [False, True])
def test_value_is_that_of_the_loops(settings, left):
    for seed in range(3):
        objective = COT2Align(**settings)
        _, batch, ours, theirs = trial(objective, seed, left)
        objective.double()
        losses = loss(objective, batch, ours, theirs)
        assert losses.keys() == objective.terms.keys() == objective.term_weights().keys()
        for term, got in losses.items():
            own = objective.projectors[term]
            pairs = zip(rows(ours, batch.student, term), rows(theirs, batch.teacher, term), strict=True)
            expected = [
                reference.transported(
                    *pair, own.weight.tolist(), own.bias.tolist(), objective.epsilon, objective.rounds
                )
                for pair in pairs
                if all(pair)
            ]
            assert got.total.item() == pytest.approx(sum(expected), rel=1e-9)
            assert int(got.count) == len(expected) == int(objective.counts(batch)[term])


@pytest.mark.parametrize("through_plan", [True, False])
def test_gradient_is_that_of_finite_differences(through_plan):
    """Of the loss, or where the plan is taken as given, of what the plan makes least."""
    objective = COT2Align(rounds=5 if through_plan else 400, through_plan=through_plan)
    _, batch, ours, theirs = trial(objective, 1)
    objective.double()
    leaves = [ours[each].clone().requires_grad_() for each in REQUESTS.values()]

    def value(*states):
        losses = loss(objective, batch, dict(zip(REQUESTS.values(), states, strict=True)), theirs)
        return losses["embeddings"].total + losses["hidden"].total

    if through_plan:
        assert torch.autograd.gradcheck(value, leaves, fast_mode=True)
        return
    value(*leaves).backward()
    for number, (term, request) in enumerate(REQUESTS.items()):
        own, direction = objective.projectors[term], torch.randn_like(leaves[number])
        step, sums = 1e-5, []
        for sign in (1, -1):
            moved = {request: ours[request] + sign * step * direction}
            pairs = zip(rows(moved, batch.student, term), rows(theirs, batch.teacher, term), strict=True)
            sums.append(
                sum(
                    reference.smoothed(*pair, own.weight.tolist(), own.bias.tolist(), objective.epsilon, 400)
                    for pair in pairs
                    if all(pair)
                )
            )
        slope = (leaves[number].grad * direction).sum().item()
        assert slope == pytest.approx((sums[0] - sums[1]) / (2 * step), rel=1e-5)


def test_the_published_smoothing_teaches_next_to_nothing():
    """Of a plan that is nearly uniform, and costs whose rows have one sum, the loss is known beforehand."""
    _, batch, ours, theirs = trial(COT2Align(), 2)
    found = {}
    for epsilon in (10.0, 0.1):
        objective = COT2Align(epsilon=epsilon, through_plan=True)
        trial(objective, 2)  # the same projection for both
        objective.double()
        hidden = ours[FinalHidden()].clone().requires_grad_()
        total = loss(objective, batch, {**ours, FinalHidden(): hidden}, theirs)["hidden"].total
        total.backward()
        found[epsilon] = total.item(), hidden.grad.norm().item()
    lengths = batch.teacher.predicts.sum(dim=1)
    both = lengths.gt(0) & batch.student.predicts.any(dim=1)
    known = (1 - 1 / lengths[both]).sum().item()
    assert found[10.0][0] == pytest.approx(known, rel=2e-3)
    assert known - found[0.1][0] > 20 * abs(known - found[10.0][0])
    assert found[10.0][1] < 0.05 * found[0.1][1]


@pytest.mark.parametrize("settings", [{}, {"embeddings": 0}, {"hidden": 0, "through_plan": True}], ids=str)
def test_contract(settings):
    check_objective(COT2Align(**settings))
    check_objective(COT2Align(**settings), teacher=OTHER_TEACHER)


def test_the_control_is_the_loss_against_the_other_text():
    objective = COT2Align(embeddings=0)
    _, batch, ours, theirs = trial(objective, 1)
    objective.double()
    assert objective.measures() == {}
    two = torch.tensor([1, 2])
    signals = [{FinalHidden(): each[FinalHidden()][two]} for each in (ours, theirs)]
    loss(objective, batch.rows(two), *signals)
    control = objective.measures()["control_hidden"]
    swapped = batch.rows(two), batch.rows(two.flip(0))
    crossed = type(batch)(swapped[0].student, swapped[1].teacher, two)
    other = {FinalHidden(): theirs[FinalHidden()][two.flip(0)]}
    assert loss(objective, crossed, signals[0], other)["hidden"].total.item() / 2 == pytest.approx(control)


def test_a_sample_with_nothing_on_one_side_does_not_count():
    objective = COT2Align(embeddings=0)
    _, batch, ours, theirs = trial(objective, 1)
    objective.double()
    mask = batch.teacher.response_mask.clone()
    mask[0] = False
    half = replace(batch, teacher=replace(batch.teacher, response_mask=mask))
    got = loss(objective, half, ours, theirs)["hidden"]
    rest = [{FinalHidden(): each[FinalHidden()][1:]} for each in (ours, theirs)]
    expected = loss(objective, batch.rows(torch.arange(1, 4)), *rest)["hidden"]
    torch.testing.assert_close(got.total, expected.total)
    assert int(got.count) == int(expected.count) == int(objective.counts(half)["hidden"])


def test_autocast_changes_nothing():
    objective = COT2Align()
    _, batch, ours, theirs = trial(objective, 1)
    ours, theirs = ({key: each.float() for key, each in own.items()} for own in (ours, theirs))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = loss(objective, batch, ours, theirs)["hidden"].total
    assert rounded == loss(objective, batch, ours, theirs)["hidden"].total


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"embeddings": 0, "hidden": 0}, "nothing to compare"),
        ({"epsilon": 0}, "epsilon must lie in"),
        ({"rounds": 0}, "rounds must be a whole number"),
        ({"through_plan": 1}, "through_plan must be true or false"),
        ({"hidden": -1}, "hidden must lie in"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(BadInput, match=says):
        COT2Align(**settings)
