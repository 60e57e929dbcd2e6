"""`top_k`: k + 1 outcomes, against the plain loops, and how far renormalizing would be from it."""

import pytest
import torch
from objectives.logits.test_family import SCORED, STUDENT, TEACHER, batch, signals
from reference import divergences as twins
from reference import top_divergence as reference

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, HeadTransform, Signals, TopTokens
from stillroom.taps.top_tokens import top_tokens
from stillroom.testing import check_objective

CASES = [
    ("forward_kl", {"temperature": 2.0}),
    ("reverse_kl", {}),
    ("jensen_shannon", {"beta": 0.3}),
    ("skew_kl", {"alpha": 0.2}),
    ("skew_reverse_kl", {"detach_mixture": True}),
    ("total_variation", {}),
    ("focal", {"gamma": 1.0, "temperature": 2.0}),
    ("focal", {"weighting": "per_class"}),
    ("renyi", {"alpha": 0.3}),
]
OWN = {"temperature", "scale_by_temperature_squared"}


def top_signals(objective):
    """The live teacher of `test_family`, asked for its top tokens."""
    teacher = signals(TEACHER, 1, HeadTransform(bias=torch.linspace(-1, 1, 11), softcap=3.0))
    asked = TopTokens(objective.top_k, float(objective.temperature))
    answer = top_tokens(asked, teacher[FinalHidden()], teacher[Head()], batch().teacher)
    return Signals({asked: answer}), teacher[Head()](teacher[FinalHidden()]).detach().double()


@pytest.mark.parametrize(("method", "settings"), CASES)
def test_value_and_gradient_equal_the_twin(method, settings):
    objective = objectives.find(f"logits.{method}")(top_k=3, **settings)
    reads = objective.setup(STUDENT, TEACHER)
    assert reads.teacher == (TopTokens(3, float(objective.temperature)),)
    student = signals(STUDENT, 0)
    logits = student[Head()](student[FinalHidden()]).detach().double()
    answers, theirs = top_signals(objective)
    loss = objective(student, answers, batch())["divergence"]
    factor = objective.temperature**2 if objective.scale_by_temperature_squared else 1.0
    twin = getattr(twins, method)
    own = {key: value for key, value in settings.items() if key not in OWN}
    expected, slope = 0.0, torch.zeros_like(logits)
    for place in SCORED:
        rows = theirs[place].tolist(), logits[place].tolist()
        expected += factor * reference.top_divergence(twin, *rows, 3, objective.temperature, **own)
        slope[place] = factor * torch.tensor(reference.gradient(twin, *rows, 3, objective.temperature, **own))
    assert loss.total.item() == pytest.approx(expected, rel=1e-4)
    loss.total.backward()
    torch.testing.assert_close(
        student[FinalHidden()].grad, slope.float() @ student[Head()].weight, rtol=1e-3, atol=1e-4
    )


def test_renormalizing_would_pull_towards_another_distribution():
    """A student equal to the teacher: merged outcomes have no gradient, a renormalized teacher has one."""
    logits = [2.0, 1.0, 0.5, 0.0, -0.5, -1.0]
    p = reference.softmax(logits)
    ids = reference.likeliest(p, 2)
    assert max(map(abs, reference.gradient(twins.forward_kl, logits, logits, 2))) < 1e-8
    # cross-entropy against the two tokens as if there were no others: the gradient is q - p', and p' is not p
    raised = dict(zip(ids, reference.renormalized(p, ids), strict=True))
    bias = [q - raised.get(token, 0.0) for token, q in enumerate(p)]
    missing = 1 - sum(p[token] for token in ids)
    assert sum(map(abs, bias)) == pytest.approx(2 * missing, rel=1e-9), (
        "all of the tail's mass, moved to the top"
    )
    assert missing > 0.25


def test_all_tokens_but_one_equal_the_whole_vocabulary():
    for method in ("forward_kl", "jensen_shannon", "focal"):
        whole, merged = (objectives.find(f"logits.{method}")(top_k=k) for k in (None, 10))
        teacher = signals(TEACHER, 1, HeadTransform(bias=torch.linspace(-1, 1, 11), softcap=3.0))
        student = signals(STUDENT, 0)
        full = whole(student, teacher, batch())["divergence"].total
        top = merged(student, top_signals(merged)[0], batch())["divergence"].total
        torch.testing.assert_close(top, full, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", sorted({name for name, _ in CASES}))
def test_the_contract_holds_with_top_k(method):
    check_objective(objectives.find(f"logits.{method}")(top_k=3), student=STUDENT, teacher=TEACHER)


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("forward_kl", {"top_k": 0}, "whole number of at least 1, or null, got 0"),
        ("forward_kl", {"top_k": 2.5}, "whole number"),
        ("forward_kl", {"top_k": True}, "whole number"),
        ("adaptive_kl", {"top_k": 4}, "sorts single tokens.*leave top_k out"),
    ],
)
def test_bad_settings(name, settings, says):
    with pytest.raises(BadInput, match=says):
        objectives.find(f"logits.{name}")(**settings)


def test_k_below_the_vocabulary():
    with pytest.raises(BadInput, match="below the 11 tokens of the vocabulary, got 11"):
        objectives.find("logits.forward_kl")(top_k=11).setup(STUDENT, TEACHER)
