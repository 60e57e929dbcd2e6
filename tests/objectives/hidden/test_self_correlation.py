"""Self-correlation against plain loops with the whole N x N matrices, in every reading."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from largest_tensor import LargestTensor
from objectives.hidden.trials import loss, one_text, padded, rows, trial
from reference import hidden as reference

from stillroom import objectives
from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.signals import Hidden
from stillroom.objectives.hidden._gram import gram_product
from stillroom.testing import check_objective

SelfCorrelation = objectives.find("hidden.self_correlation")
SETTINGS = [
    {"norm": norm, "similarity": similarity, "diagonal": diagonal, "rows": which}
    for norm, similarity, diagonal, which in product(
        ["token", "frobenius"], ["cosine", "mse"], [True, False], ["response", "real"]
    )
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_value_is_that_of_the_loops(settings):
    objective = SelfCorrelation(**settings)
    batch, ours, theirs = trial(objective)
    got = loss(objective, batch, ours, theirs)
    mask = batch.student.predicts if objective.rows == "response" else batch.student.attention_mask.bool()
    samples = (rows(ours, objective.pairs, 0, mask), rows(theirs, objective.pairs, 1, mask))
    reading = (objective.norm, objective.similarity, objective.diagonal)
    expected = sum(
        reference.self_correlation(s, h, *reading)
        for pair in zip(*samples, strict=True)
        for s, h in zip(*pair, strict=True)
    )
    assert got.total.item() == pytest.approx(expected / len(objective.pairs), rel=2e-5)
    assert (int(got.count), got.unit) == (3, "sequences")


@pytest.mark.parametrize("settings", SETTINGS[::3], ids=str)
def test_contract(settings):
    check_objective(SelfCorrelation(**settings))


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize(("count", "widths"), [(3, (40, 50)), (40, (3, 5)), (9, (10, 100))])
def test_products_and_gradients_are_those_of_the_matrices(count, widths, diagonal):
    """Few rows, many rows: whichever side is formed, values and gradients are the same."""
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(2, count, width, generator=generator).double() for width in widths)
    first.requires_grad_()
    hidden = torch.ones(count, count).bool() if diagonal else ~torch.eye(count).bool()
    matrices = ((first @ first.mT) * (second @ second.mT) * hidden).sum(dim=(1, 2))
    got = gram_product(first, second, diagonal=diagonal)
    torch.testing.assert_close(got, matrices, rtol=1e-12, atol=1e-9)
    slopes = [torch.autograd.grad(each.sum(), first)[0] for each in (got, matrices)]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize(("count", "widths"), [(3, (40, 50)), (40, (3, 5))])
def test_the_larger_side_is_never_formed(count, widths):
    first, second = (torch.randn(count, width, requires_grad=True) for width in widths)
    with LargestTensor() as seen:
        gram_product(first, second, diagonal=False).backward()
    assert seen.elements == count * max(widths)


def test_a_rotated_and_scaled_copy_has_the_same_correlations():
    objective = SelfCorrelation(student_layers=[1])
    batch, ours, _ = trial(objective)
    turn = torch.linalg.qr(torch.randn(12, 8, generator=torch.Generator().manual_seed(2))).Q
    turned = {Hidden(2): 7 * ours[Hidden(1)] @ turn.T}
    assert loss(objective, batch, ours, turned).total.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("which", ["response", "real"])
@pytest.mark.parametrize(("left", "right"), [(4, 0), (0, 5), (2, 3)])
def test_padding_on_either_side_changes_nothing(which, left, right):
    objective = SelfCorrelation(rows=which)
    batch, *answers = trial(objective)
    before, after = loss(objective, batch, *answers), loss(objective, *padded(batch, answers, left, right))
    assert after.total.item() == pytest.approx(before.total.item(), rel=1e-5)


def test_one_token_has_no_pairs():
    batch = one_text(2)
    for settings in ({}, {"similarity": "mse"}, {"diagonal": True}):
        objective = SelfCorrelation(**settings, student_layers=[1])
        _, ours, theirs = trial(objective)
        ours, theirs = ({key: each[:1, :2] for key, each in own.items()} for own in (ours, theirs))
        ours[Hidden(1)].requires_grad_()
        got = loss(objective, batch, ours, theirs)
        got.total.backward()
        assert got.total.item() == (pytest.approx(0, abs=1e-6) if objective.diagonal else 0)
        assert ours[Hidden(1)].grad.isfinite().all()


def test_gradient_survives_autocast():
    objective = SelfCorrelation()
    batch, ours, theirs = trial(objective)
    plain = loss(objective, batch, ours, theirs).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(objective, batch, ours, theirs).total == plain


def test_prompts_of_different_length_are_refused():
    objective = SelfCorrelation(rows="real")
    batch, ours, theirs = trial(objective)
    mask = batch.student.attention_mask.clone()
    mask[0, 0] = 0
    uneven = Batch(batch.student, replace(batch.student, attention_mask=mask), batch.sample_ids)
    with pytest.raises(BadInput, match="set rows: response"):
        loss(objective, uneven, ours, theirs)


@pytest.mark.parametrize(
    "settings", [{"norm": "layer"}, {"similarity": "dot"}, {"diagonal": 1}, {"rows": "all"}], ids=str
)
def test_bad_settings(settings):
    with pytest.raises(BadInput, match=f"{next(iter(settings))} must be"):
        SelfCorrelation(**settings)
