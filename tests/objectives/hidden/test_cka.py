"""CKA against plain loops with the whole Gram matrices, and what its bias would hide."""

import pytest
import torch
from objectives.hidden.trials import joined, loss, one_text, rows, trial
from reference import hidden as reference

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.core.signals import Hidden
from stillroom.testing import check_objective

CKA = objectives.find("hidden.cka")


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_value_is_that_of_the_loops(estimator):
    objective = CKA(estimator=estimator)
    batch, ours, theirs = trial(objective)
    ours = {key: each + 2 for key, each in ours.items()}
    got, predicts = loss(objective, batch, ours, theirs), batch.student.predicts
    expected = 0.0
    for s, h in zip(
        rows(ours, objective.pairs, 0, predicts), rows(theirs, objective.pairs, 1, predicts), strict=True
    ):
        similarity = reference.cka(joined(s), joined(h), estimator)
        expected += (1 - similarity) / len(objective.pairs)
    assert got.mean().item() == pytest.approx(expected, rel=1e-5)
    assert (int(got.count), got.unit) == (int(predicts.sum()), "tokens")


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_contract(estimator):
    check_objective(CKA(estimator=estimator))
    assert CKA.additive is False


def between(estimator, ours, theirs):
    """CKA of states `[N,D]`."""
    objective = CKA(estimator=estimator, student_layers=[1])
    trial(objective)
    batch = one_text(len(ours) + 1)
    wide = [torch.cat([each, each[-1:]])[None] for each in (ours, theirs)]
    return 1 - loss(objective, batch, {Hidden(1): wide[0]}, {Hidden(2): wide[1]}).mean().item()


def test_unrelated_states_are_alike_only_by_the_bias():
    generator = torch.Generator().manual_seed(0)
    ours, theirs = torch.randn(2, 50, 200, generator=generator)
    assert between("biased", ours, theirs) == pytest.approx(200 / 250, abs=0.03)
    assert between("unbiased", ours, theirs) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_axes_scale_and_mean_do_not_matter(estimator):
    ours, shift = torch.randn(2, 30, 8, generator=torch.Generator().manual_seed(0))
    turn = torch.linalg.qr(torch.randn(12, 8, generator=torch.Generator().manual_seed(2))).Q
    assert between(estimator, ours, 1000 * ours @ turn.T + 5) == pytest.approx(1, abs=1e-5)
    assert between(estimator, ours, ours + shift) < 0.95


@pytest.mark.parametrize(("estimator", "fewest"), [("unbiased", 4), ("biased", 2)])
def test_too_few_tokens_say_nothing(estimator, fewest):
    rows = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    objective = CKA(estimator=estimator, student_layers=[1])
    trial(objective)
    for count in (fewest - 1, fewest):
        states = torch.cat([rows[:count], rows[:1]])[None]
        value = loss(
            objective, one_text(count + 1), {Hidden(1): states}, {Hidden(2): states.detach().exp()}
        ).total
        assert (value.item() == 0) == (count < fewest or estimator == "biased")
        assert torch.autograd.grad(value, rows)[0].isfinite().all()


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_constant_states_give_finite_gradients(estimator):
    states = torch.ones(1, 9, 8).requires_grad_()
    objective = CKA(estimator=estimator, student_layers=[1])
    trial(objective)
    value = loss(objective, one_text(9), {Hidden(1): states}, {Hidden(2): torch.randn(1, 9, 8)}).total
    assert torch.autograd.grad(value, states)[0].isfinite().all()


def test_bad_settings():
    with pytest.raises(BadInput, match="estimator must be one of unbiased, biased"):
        CKA(estimator="debiased")
