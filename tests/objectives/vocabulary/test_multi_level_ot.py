"""Multi-level optimal transport against plain loops, corrected and as published."""

import pytest
import torch
from objectives.vocabulary.two_sides import OURS, THEIRS, both, slopes_are_right, texts
from reference import multi_level_ot as reference
from reference.vocabulary import by_index, context

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, Signals
from stillroom.objectives.vocabulary import multi_level_ot
from stillroom.testing import OTHER_TEACHER, TEACHER, check_objective

MultiLevelOT = objectives.find("vocabulary.multi_level_ot")
VARIANTS = [{}, {"positions": "index"}, {"order": "batch"}, {"costs": "published"}]


def ready(settings):
    objective = MultiLevelOT(**settings)
    objective.setup(OURS, THEIRS)
    return objective


def logits(answers, side):
    """By sample and predicting position."""
    whole = answers[Head()](answers[FinalHidden()])
    return [each[keep].tolist() for each, keep in zip(whole, side.predicts, strict=True)]


def expected(objective, asked, ours, theirs):
    """Both totals."""
    k, rest = min(objective.top_k, 11), (objective.temperature, objective.order)
    q, p = (
        reference.ranked(logits(*each), k, *rest) for each in ((ours, asked.student), (theirs, asked.teacher))
    )
    token = 0.0
    for row, text in enumerate(texts(asked)):
        pairs = context(*text) if objective.positions == "context" else by_index(text[1], text[3])
        places = [[t for t in range(len(mask) - 1) if mask[t + 1]] for mask in (text[1], text[3])]
        for i, j in pairs:
            both_sides = p[row][places[1].index(j)], q[row][places[0].index(i)]
            token += reference.token(*both_sides, objective.logarithm, objective.costs)
    return token, sum(reference.sequence(*each, objective.costs) for each in zip(p, q, strict=True))


@pytest.mark.parametrize("top_k", [3, 50])
@pytest.mark.parametrize("settings", [*VARIANTS, {"temperature": 2.0, "logarithm": 0.7}], ids=str)
def test_values_are_those_of_the_loops(settings, top_k):
    objective = ready({**settings, "top_k": top_k})
    asked, ours, theirs = both()
    losses = objective(ours, theirs, asked)
    token, sequence = expected(objective, asked, ours, theirs)
    assert losses["token"].total.item() == pytest.approx(token, rel=1e-9)
    assert losses["sequence"].total.item() == pytest.approx(sequence, rel=1e-9)
    assert {term: loss.unit for term, loss in losses.items()} == {"token": "pairs", "sequence": "sequences"}
    assert int(losses["sequence"].count) == 3
    assert objective.term_weights() == {"sequence": 0.1}


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_slopes(settings):
    """All tokens take part, so that no rank changes under a small step."""
    assert slopes_are_right(ready({**settings, "top_k": 50}), *both())


def test_few_positions_at_once_give_the_same(monkeypatch):
    asked, ours, theirs = both()
    objective = ready({})

    def value_and_slopes():
        total = sum(loss.total for loss in objective(ours, theirs, asked).values())
        return total, *torch.autograd.grad(total, (ours[FinalHidden()], ours[Head()].weight))

    whole = value_and_slopes()
    monkeypatch.setattr(multi_level_ot, "_AT_ONCE", 20)
    for parts, one in zip(value_and_slopes(), whole, strict=True):
        torch.testing.assert_close(parts, one, equal_nan=True)


def test_scale_and_order_of_logits_do_not_matter():
    """Standard deviations and ranks are all that is left of them, up to the steadying of the deviation."""
    asked, ours, theirs = both()
    objective, head, order = ready({}), theirs[Head()], torch.randperm(14)
    bias = head.transform.bias[order] * 1000
    other = type(head)(head.weight[order] * 1000, type(head.transform)(bias=bias))
    again = objective(ours, Signals({FinalHidden(): theirs[FinalHidden()], Head(): other}), asked)
    for term, loss in objective(ours, theirs, asked).items():
        assert again[term].total.item() == pytest.approx(loss.total.item(), rel=1e-3)


def test_a_batch_statistic_is_declared():
    assert MultiLevelOT().additive
    assert not MultiLevelOT(order="batch").additive


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
@pytest.mark.parametrize("teacher", [TEACHER, OTHER_TEACHER], ids=lambda shape: shape.vocabulary)
def test_contract(settings, teacher):
    check_objective(MultiLevelOT(**settings), teacher=teacher)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"positions": "exact"}, "positions must be one of context, index"),
        ({"order": "token"}, "order must be one of sample, batch"),
        ({"costs": "paper"}, "costs must be one of corrected, published"),
        ({"logarithm": -1.0}, "logarithm must lie in"),
        ({"sequence": -1.0}, "sequence must lie in"),
        ({"top_k": 0}, "top_k must be a whole number of at least 1"),
        ({"temperature": 0}, "temperature must lie in"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(BadInput, match=message):
        MultiLevelOT(**settings)
