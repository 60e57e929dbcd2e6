"""Every divergence against its plain-loop twin, at its limits, and where probabilities are zero."""

import math

import pytest
import torch
from reference import divergences as twins

from stillroom.numerics import divergence as subject
from stillroom.numerics.divergence import DIVERGENCES

CASES = [
    ("forward_kl", {}),
    ("reverse_kl", {}),
    ("jensen_shannon", {}),
    ("jensen_shannon", {"beta": 0.0}),
    ("jensen_shannon", {"beta": 1.0, "normalize": True}),
    ("jensen_shannon", {"beta": 0.1}),
    ("jensen_shannon", {"beta": 0.9, "normalize": True}),
    ("skew_kl", {}),
    ("skew_kl", {"alpha": 0.7}),
    ("skew_reverse_kl", {}),
    ("skew_reverse_kl", {"alpha": 0.3, "detach_mixture": True}),
    ("adaptive_kl", {}),
    ("adaptive_kl", {"mu": 0.9}),
    ("adaptive_kl", {"head": "code"}),
    ("adaptive_kl", {"mu": 0.8, "head": "code"}),
    ("total_variation", {}),
    ("focal", {}),
    ("focal", {"gamma": 0.5}),
    ("focal", {"weighting": "per_class"}),
    ("renyi", {}),
    ("renyi", {"alpha": 0.9}),
]
NAMES = sorted(DIVERGENCES)


def logits(rows: int = 5, vocabulary: int = 11, seed: int = 0, spread: float = 1.5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, vocabulary, dtype=torch.float64, generator=generator) * spread


def evaluate(name, teacher, student, **settings):
    return getattr(subject, name)(teacher.log_softmax(-1), student.log_softmax(-1), **settings)


def test_names_are_all_tested():
    assert {name for name, _ in CASES} == set(DIVERGENCES)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_value_and_gradient_equal_the_twin(name, settings):
    teacher, student = logits(seed=1), logits(seed=2).requires_grad_()
    values = evaluate(name, teacher, student, **settings)
    values.sum().backward()
    twin = getattr(twins, name)
    for row, (theirs, ours) in enumerate(zip(teacher.tolist(), student.tolist(), strict=True)):
        p, q = twins.softmax(theirs), twins.softmax(ours)
        assert values[row].item() == pytest.approx(twin(p, q, q, **settings), rel=1e-10)
        expected = twins.gradient(twin, theirs, ours, **settings)
        assert student.grad[row].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_float32_is_close_to_float64(name, settings):
    teacher, student = logits(vocabulary=101, seed=3), logits(vocabulary=101, seed=4)
    exact = evaluate(name, teacher, student, **settings)
    single = evaluate(name, teacher.float(), student.float(), **settings)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_equal_distributions_give_zero_and_no_gradient(name):
    teacher = logits(seed=5)
    student = teacher.clone().requires_grad_()
    values = evaluate(name, teacher, student)
    values.sum().backward()
    assert values.abs().max() < 1e-14
    assert student.grad.abs().max() < 1e-14


@pytest.mark.parametrize("name", NAMES)
def test_a_token_that_neither_has_adds_nothing(name):
    teacher, student = logits(seed=6), logits(seed=7)
    kept = [0, 1, 2, 4, 5, 6, 7, 9, 10]
    shorter = student[:, kept].clone().requires_grad_()
    expected = evaluate(name, teacher[:, kept], shorter)
    expected.sum().backward()
    hidden = torch.ones(11, dtype=torch.bool)
    hidden[kept] = False
    student = student.masked_fill(hidden, -math.inf).requires_grad_()
    values = evaluate(name, teacher.masked_fill(hidden, -math.inf), student)
    values.sum().backward()
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(student.grad[:, kept], shorter.grad)
    assert not student.grad[:, hidden].any()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("reverse_kl", "adaptive_kl")])
def test_a_token_that_the_teacher_lacks_is_finite(name):
    teacher, student = logits(seed=6), logits(seed=7).requires_grad_()
    teacher[:, 3] = -math.inf
    values = evaluate(name, teacher, student)
    values.sum().backward()
    assert values.isfinite().all()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("name", ["reverse_kl", "adaptive_kl"])
def test_reverse_kl_to_a_teacher_that_lacks_a_token_is_infinite(name):
    teacher, student = logits(seed=6), logits(seed=7)
    teacher[:, 3] = -math.inf
    assert evaluate(name, teacher, student).isposinf().all()


@pytest.mark.parametrize("name", ["jensen_shannon", "total_variation", "skew_kl", "skew_reverse_kl"])
def test_bounds_hold_where_nothing_is_shared(name):
    teacher = torch.tensor([[0.0, 0.0, -math.inf, -math.inf]], dtype=torch.float64)
    value = evaluate(name, teacher, teacher.flip(-1)).item()
    bounds = {"jensen_shannon": math.log(2), "total_variation": 1.0}
    assert value == pytest.approx(bounds.get(name, -math.log(0.1)))


def test_jensen_shannon_nears_both_kls_only_when_normalized():
    teacher, student = logits(seed=8), logits(seed=9)
    for beta, limit in ((1e-5, "forward_kl"), (1 - 1e-5, "reverse_kl")):
        expected = evaluate(limit, teacher, student)
        smooth = evaluate("jensen_shannon", teacher, student, beta=beta, normalize=True)
        torch.testing.assert_close(smooth, expected, rtol=2e-3, atol=0)
        assert (evaluate("jensen_shannon", teacher, student, beta=beta) < 1e-3 * expected).all()


def test_limits_towards_the_kls():
    teacher, student = logits(seed=10), logits(seed=11)
    forward, reverse = evaluate("forward_kl", teacher, student), evaluate("reverse_kl", teacher, student)
    near = 1 - 1e-6
    torch.testing.assert_close(evaluate("renyi", teacher, student, alpha=near), forward, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(
        evaluate("renyi", teacher, student, alpha=1 - near) / (1 - near), reverse, rtol=1e-4, atol=1e-8
    )
    torch.testing.assert_close(evaluate("skew_kl", teacher, student, alpha=0.0), forward)
    torch.testing.assert_close(evaluate("skew_reverse_kl", teacher, student, alpha=0.0), reverse)
    torch.testing.assert_close(evaluate("focal", teacher, student, gamma=0.0), forward)
    by_token = evaluate("focal", teacher, student, gamma=0.0, weighting="per_class")
    torch.testing.assert_close(by_token, forward)


def test_gradient_of_skew_reverse_kl_depends_on_the_detached_mixture():
    gradients = []
    for detach in (False, True):
        student = logits(seed=12).requires_grad_()
        evaluate("skew_reverse_kl", logits(seed=13), student, detach_mixture=detach).sum().backward()
        gradients.append(student.grad)
    assert (gradients[0] - gradients[1]).norm() > 0.05 * gradients[0].norm()


def test_a_token_of_the_head_that_crosses_mu_is_where_paper_and_code_differ():
    teacher = torch.tensor([[0.4, 0.35, 0.25]], dtype=torch.float64).log()
    student = torch.tensor([[0.2, 0.7, 0.1]], dtype=torch.float64).log()
    paper, code = (subject.adaptive_kl(teacher, student, 0.5, head).item() for head in ("paper", "code"))
    forward, reverse = (
        getattr(subject, each)(teacher, student).item() for each in ("forward_kl", "reverse_kl")
    )
    assert paper == pytest.approx((0.55 * forward + 0.15 * reverse) / 0.7)
    assert code == pytest.approx((0.2 * forward + 0.5 * reverse) / 0.7)


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_jensen_shannon_agrees_with_trl(beta):
    trainer = pytest.importorskip("trl.experimental.gkd.gkd_trainer").GKDTrainer
    teacher, student = logits(seed=14), logits(seed=15)
    expected = trainer.generalized_jsd_loss(
        student[None], teacher[None], beta=beta, temperature=2.0, reduction="sum"
    )
    found = evaluate("jensen_shannon", teacher / 2, student / 2, beta=beta).sum()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
