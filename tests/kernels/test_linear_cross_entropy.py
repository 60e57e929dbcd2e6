"""Hard labels through the chunked head: against plain loops, PyTorch and finite differences."""

import pytest
import torch
from reference import linear_divergence as reference

from stillroom.core.errors import BadInput
from stillroom.core.signals import HeadTransform
from stillroom.kernels.linear_cross_entropy import cross_entropy_rows, linear_cross_entropy

ENGINES = ("plain", "streaming")


def problem(rows=7, vocab=17, dtype=torch.float64):
    torch.manual_seed(rows * vocab)
    hidden, head = (torch.randn(n, 5, dtype=dtype, requires_grad=True) for n in (rows, vocab))
    return hidden, head, torch.randint(vocab, (rows,))


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize(("rows", "vocab"), [(1, 17), (7, 33), (13, 17)])
def test_equals_plain_loops(impl, rows, vocab):
    hidden, head, targets = problem(rows, vocab)
    bias = torch.randn(vocab, dtype=torch.float64)
    transform, weights = (
        HeadTransform(bias=bias, softcap=3.0),
        torch.linspace(1, 0, rows, dtype=torch.float64),
    )
    found = linear_cross_entropy(
        hidden, head, targets, weights=weights, transform=transform, memory_budget=3000, impl=impl
    )
    logits = reference.logits(hidden.tolist(), head.tolist(), bias.tolist(), softcap=3.0)
    expected = torch.tensor(reference.cross_entropy_rows(logits, targets.tolist()), dtype=torch.float64)
    torch.testing.assert_close(found.detach(), (weights * expected).sum())
    rows_alone = cross_entropy_rows(hidden, head, targets, transform=transform, memory_budget=1)
    torch.testing.assert_close(rows_alone, expected)
    assert not rows_alone.requires_grad


@pytest.mark.parametrize("budget", [1, None])
def test_gradient_is_the_gradient(budget):
    hidden, head, targets = problem()
    bias = torch.randn(17, dtype=torch.float64, requires_grad=True)
    weights = torch.linspace(0, 1, 7, dtype=torch.float64)

    def total(hidden, head, bias):
        return linear_cross_entropy(
            hidden, head, targets, weights=weights, transform=HeadTransform(bias), memory_budget=budget
        )

    assert torch.autograd.gradcheck(total, (hidden, head, bias))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_further_from_the_truth_than_plain_pytorch(dtype):
    hidden, head, targets = problem(64, 65, dtype)
    exact = [tensor.detach().double().requires_grad_() for tensor in (hidden, head)]
    truth, *results = (
        torch.autograd.grad(linear_cross_entropy(*x, targets, memory_budget=65 * 4 * 20, impl=impl), x)
        for x, impl in [(exact, "plain"), ((hidden, head), "plain"), ((hidden, head), "streaming")]
    )
    for exactly, plain, streaming in zip(truth, *results, strict=True):
        plain_error, error = ((found.double() - exactly).norm() for found in (plain, streaming))
        assert error <= 1.1 * plain_error + torch.finfo(dtype).eps / 2 * exactly.norm()


@pytest.mark.parametrize("impl", ENGINES)
def test_unscored_rows_may_hold_any_target(impl):
    hidden, head, targets = problem()
    weights = torch.tensor([1.0, 0, 1, 1, 0, 1, 1], dtype=torch.float64)
    padded = torch.where(weights == 0, -100, targets)
    found, expected = (
        linear_cross_entropy(hidden, head, labels, weights=weights, impl=impl) for labels in (padded, targets)
    )
    assert found == expected


@pytest.mark.parametrize("impl", ENGINES)
def test_no_rows_give_zero_with_a_graph(impl):
    hidden, head, targets = problem(rows=0, dtype=torch.float32)
    total = linear_cross_entropy(hidden, head, targets, impl=impl)
    total.backward()
    assert total.item() == 0.0
    assert torch.equal(head.grad, torch.zeros_like(head))


@pytest.mark.parametrize(
    ("targets", "message"),
    [(torch.tensor([1, 2]), "7 rows"), (torch.tensor([0, 1, -100, 3, 4, 5, 17]), "row 2")],
)
def test_misuse_is_named(targets, message):
    hidden, head, _ = problem()
    with pytest.raises(BadInput, match=message):
        linear_cross_entropy(hidden, head, targets)
    with pytest.raises(BadInput, match=message):
        cross_entropy_rows(hidden, head, targets)
