"""Every engine against plain loops, each other and finite differences; and what never may exist."""

import pytest
import torch
from largest_tensor import LargestTensor
from reference import head_rows
from reference import linear_divergence as reference

from stillroom.core.errors import BadInput
from stillroom.core.signals import HeadMixture, HeadTransform
from stillroom.kernels.linear_log_likelihood import linear_log_likelihood

ENGINES = ("plain", "streaming")
TINY = 3000
"""Bytes: a row or two at a time."""


def problem(rows=7, vocab=17, width=5, dtype=torch.float64):
    hidden, head = (torch.randn(n, width, dtype=dtype, requires_grad=True) for n in (rows, vocab))
    return hidden, head, torch.randint(vocab, (rows,))


def uneven(values):
    """A loss with a gradient of its own for every row, as those of chunks have."""
    return (values[: len(values) // 2].sum().exp() * values[len(values) // 2 :].square()).sum()


def gradients(loss, *inputs):
    return (loss.detach(), *torch.autograd.grad(loss, inputs))


def distance(found, truth):
    return ((found.double() - truth).norm() / truth.norm()).item()


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("wants_gradient", [False, True])
@pytest.mark.parametrize(("rows", "vocab"), [(1, 17), (7, 33), (13, 17)])
def test_equals_plain_loops(impl, wants_gradient, rows, vocab):
    hidden, head, targets = problem(rows, vocab)
    bias = torch.randn(vocab, dtype=torch.float64)
    with torch.set_grad_enabled(wants_gradient):
        found = linear_log_likelihood(
            hidden,
            head,
            targets,
            transform=HeadTransform(bias, softcap=3.0),
            temperature=2.0,
            memory_budget=TINY,
            impl=impl,
        )
    logits = reference.logits(hidden.tolist(), head.tolist(), bias.tolist(), softcap=3.0, temperature=2.0)
    expected = torch.tensor(head_rows.log_likelihood(logits, targets.tolist()), dtype=torch.float64)
    torch.testing.assert_close(found.detach(), expected)
    assert found.requires_grad == wants_gradient


@pytest.mark.parametrize("budget", [1, None])
@pytest.mark.parametrize("transform", ["none", "bias", "all"])
def test_gradient_is_the_gradient_of_every_row(budget, transform):
    hidden, head, targets = problem(rows=5, vocab=9)
    bias = torch.randn(9, dtype=torch.float64, requires_grad=True)

    def rows(hidden, head, bias):
        shapes = {
            "none": None,
            "bias": HeadTransform(bias),
            "all": HeadTransform(bias, scale=0.7, softcap=4.0),
        }
        return linear_log_likelihood(
            hidden, head, targets, transform=shapes[transform], temperature=1.5, memory_budget=budget
        )

    inputs = (hidden, head, bias if transform != "none" else bias.detach())
    assert torch.autograd.gradcheck(rows, inputs)


@pytest.mark.parametrize("budget", [1, TINY, None])
def test_chunks_change_nothing(budget):
    hidden, head, targets = problem(13, 33)
    bias = torch.randn(33, dtype=torch.float64, requires_grad=True)
    inputs = hidden, head, bias
    results = [
        gradients(
            uneven(
                linear_log_likelihood(
                    hidden, head, targets, transform=HeadTransform(bias), memory_budget=budget, impl=impl
                )
            ),
            *inputs,
        )
        for impl in ENGINES
    ]
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_no_further_from_the_truth_than_plain_pytorch(dtype):
    hidden, head, targets = problem(64, 65, 32)
    inputs = [(tensor.detach() / 8).to(dtype).requires_grad_() for tensor in (hidden, head)]
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    share = torch.linspace(-1, 1, 64)
    results = []
    for x, impl in [(exact, "plain"), (inputs, "plain"), (inputs, "streaming")]:
        values = linear_log_likelihood(*x, targets, memory_budget=65 * 4 * 20, impl=impl)
        results.append((values.detach(), *torch.autograd.grad((values * share).sum(), x)))
    for truth, plain, streaming in zip(*results, strict=True):
        assert streaming.dtype == plain.dtype
        assert distance(streaming, truth) <= 1.1 * distance(plain, truth) + torch.finfo(dtype).eps / 2
    assert results[2][0].dtype == torch.float32


def test_autocast_is_the_same_in_the_backward_pass():
    hidden, head, targets = problem(16, 33, 32, torch.float32)
    results = []
    for impl in ENGINES:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            values = linear_log_likelihood(hidden, head, targets, memory_budget=TINY, impl=impl)
        results.append((values.detach(), *torch.autograd.grad(values.sum(), (hidden, head))))
        assert values.dtype == torch.float32
    rounded = [tensor.detach().bfloat16().requires_grad_() for tensor in (hidden, head)]
    values = linear_log_likelihood(*rounded, targets, memory_budget=TINY)
    # what is computed in bfloat16 without autocast, to the last bit: so the second pass saw the logits of the first
    torch.testing.assert_close(results[1][0], values.detach(), rtol=0, atol=0)
    for found, half in zip(results[1][1:], torch.autograd.grad(values.sum(), rounded), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.bfloat16(), half, rtol=0, atol=0)


@pytest.mark.parametrize("wanted", [0, 1])
def test_only_wanted_gradients_are_computed(wanted):
    *x, targets = problem(13, 33)
    expected = gradients(uneven(linear_log_likelihood(*x, targets, impl="plain")), *x)
    x[1 - wanted] = x[1 - wanted].detach()
    uneven(linear_log_likelihood(*x, targets, memory_budget=TINY)).backward()
    torch.testing.assert_close(x[wanted].grad, expected[1 + wanted])
    assert x[1 - wanted].grad is None


def test_slices_and_strides_are_welcome():
    hidden = torch.randn(5, 13, dtype=torch.float64, requires_grad=True)
    head = torch.randn(40, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(33, (26,))[::2]
    results = [
        gradients(
            uneven(linear_log_likelihood(hidden.T, head[:33], targets, memory_budget=TINY, impl=impl)),
            hidden,
            head,
        )
        for impl in ENGINES
    ]
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("impl", ENGINES)
def test_no_rows_give_nothing_with_a_graph(impl):
    hidden, head, targets = problem(rows=0, dtype=torch.float32)
    values = linear_log_likelihood(hidden, head, targets, impl=impl)
    values.sum().backward()
    assert values.shape == (0,)
    assert values.dtype == torch.float32
    assert torch.equal(head.grad, torch.zeros_like(head))


def test_a_retained_graph_can_be_walked_twice_but_not_differentiated_twice():
    hidden, head, targets = problem()
    total = uneven(linear_log_likelihood(hidden, head, targets))
    first = torch.autograd.grad(total, head, retain_graph=True)
    assert torch.equal(first[0], torch.autograd.grad(total, head)[0])
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(linear_log_likelihood(hidden, head, targets).sum(), hidden, create_graph=True)


def test_inputs_that_change_before_the_backward_pass_are_noticed():
    hidden, head, targets = problem()
    values = linear_log_likelihood(hidden, head, targets)
    with torch.no_grad():
        head.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        values.sum().backward()


def test_the_logits_never_exist():
    hidden, head, targets = problem(rows=64, vocab=100, width=4, dtype=torch.float32)
    found = {}
    for impl in ENGINES:
        with LargestTensor() as largest:
            uneven(
                linear_log_likelihood(hidden, head, targets, memory_budget=8 * 2 * 100 * 4, impl=impl)
            ).backward()
        found[impl] = largest.elements
    assert found["plain"] >= 64 * 100
    assert found["streaming"] <= 8 * 100


@pytest.mark.parametrize("impl", ENGINES)
def test_a_mixture_can_be_asked_without_gradients(impl):
    hidden, head, targets = problem(width=7)
    mixture = HeadMixture(
        widths=(4, 3), shares=(0.3, 0.7), transforms=(HeadTransform(scale=2.0), HeadTransform())
    )
    settings = {"transform": mixture, "memory_budget": TINY}
    first, second = (
        torch.tensor(reference.logits(some[0].tolist(), some[1].tolist(), scale=scale)).softmax(-1)
        for some, scale in [((hidden[:, :4], head[:, :4]), 2.0), ((hidden[:, 4:], head[:, 4:]), 1.0)]
    )
    expected = (0.3 * first + 0.7 * second).log().double().gather(1, targets[:, None]).squeeze(1)
    found = linear_log_likelihood(hidden.detach(), head.detach(), targets, **settings, impl=impl)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    if impl == "streaming":
        with pytest.raises(BadInput, match="mixture"):
            linear_log_likelihood(hidden, head, targets, **settings)


TRAINABLE = torch.nn.Parameter(torch.ones(17))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.tensor([1, 2])}, "7 rows"),
        ({"targets": torch.tensor([0, 1, -100, 3, 4, 5, 17])}, "row 2"),
        ({"temperature": -1.0}, "positive temperature"),
        ({"memory_budget": 0}, "memory budget"),
        ({"impl": "triton"}, "impl"),
        ({"hidden": torch.zeros(7, 4)}, "of one width"),
        ({"hidden": torch.zeros(7, 5)}, "of one type"),
        ({"transform": lambda s: s * TRAINABLE}, "trainable tensors"),
    ],
)
def test_misuse_is_named(change, message):
    arguments = dict(zip(("hidden", "head", "targets"), problem(), strict=True)) | change
    with pytest.raises(BadInput, match=message):
        linear_log_likelihood(**arguments)
