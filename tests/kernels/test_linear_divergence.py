"""Every engine against plain loops, each other and finite differences; and what never may exist or flow."""

from functools import partial

import pytest
import torch
from largest_tensor import LargestTensor
from reference import linear_divergence as reference

from stillroom.core.errors import BadInput
from stillroom.core.signals import HeadMixture, HeadTransform
from stillroom.kernels.linear_divergence import linear_divergence
from stillroom.numerics.divergence import DIVERGENCES, forward_kl, jensen_shannon

ENGINES = ("plain", "streaming")
TINY = 3000
"""Bytes: a row or two at a time."""


def problem(rows=7, vocab=17, width=5, teacher_width=6, dtype=torch.float64):
    """Student hidden and head (which want gradients), teacher hidden and head."""
    student = [torch.randn(n, width, dtype=dtype, requires_grad=True) for n in (rows, vocab)]
    return (*student, *(torch.randn(n, teacher_width, dtype=dtype) for n in (rows, vocab)))


def gradients(total, *inputs):
    return (total.detach(), *torch.autograd.grad(total, inputs))


def distance(found, truth):
    return ((found.double() - truth.double()).norm() / truth.double().norm()).item()


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("divergence", reference.VALUES)
@pytest.mark.parametrize(("rows", "vocab"), [(1, 17), (7, 33), (13, 17)])
def test_equals_plain_loops(impl, divergence, rows, vocab):
    x = problem(rows, vocab)
    bias, teacher_bias = torch.randn(2, vocab, dtype=torch.float64)
    weights = torch.rand(rows, dtype=torch.float64)
    weights[0] = 0.0 if rows > 1 else 1.0
    settings = {"bias": bias, "softcap": 3.0}, {"bias": teacher_bias, "scale": 0.5}
    found = linear_divergence(
        *x,
        divergence=divergence,
        temperature=2.0,
        weights=weights,
        student_transform=HeadTransform(**settings[0]),
        teacher_transform=HeadTransform(**settings[1]),
        memory_budget=TINY,
        impl=impl,
    )
    lists = [tensor.tolist() for tensor in x]
    expected = reference.linear_divergence(
        reference.logits(*lists[:2], bias.tolist(), softcap=3.0, temperature=2.0),
        reference.logits(*lists[2:], teacher_bias.tolist(), scale=0.5, temperature=2.0),
        divergence,
        weights.tolist(),
    )
    assert found.item() == pytest.approx(expected, rel=1e-10)


# Finite differences would see the weights that adaptive_kl and focal hold constant.
@pytest.mark.parametrize("divergence", sorted(DIVERGENCES.keys() - {"adaptive_kl", "focal"}))
@pytest.mark.parametrize("transform", ["none", "all"])
def test_streaming_gradient_is_the_gradient(divergence, transform):
    hidden, head, *teacher = problem(rows=3, vocab=9)
    bias = torch.randn(9, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([0.5, 0.0, 2.0], dtype=torch.float64)

    def total(hidden, head, bias):
        shape = HeadTransform(bias, scale=0.7, softcap=4.0) if transform == "all" else HeadTransform(bias)
        return linear_divergence(
            hidden,
            head,
            *teacher,
            divergence=divergence,
            temperature=1.5,
            weights=weights,
            student_transform=shape,
            memory_budget=1,
        )

    assert torch.autograd.gradcheck(total, (hidden, head, bias))


@pytest.mark.parametrize("divergence", [*DIVERGENCES, "callable", "partial"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("biased", [False, True])
def test_streaming_equals_plain_with_gradients(divergence, temperature, biased):
    x = problem(13, 33)
    bias = torch.randn(33, dtype=torch.float64, requires_grad=True)
    own = {"callable": lambda p, q: (p - q).square().sum(-1), "partial": partial(jensen_shannon, beta=0.3)}
    results = []
    for impl in ENGINES:
        total = linear_divergence(
            *x,
            divergence=own.get(divergence, divergence),
            temperature=temperature,
            weights=torch.linspace(0, 1, 13),
            student_transform=HeadTransform(bias, softcap=5.0) if biased else None,
            memory_budget=TINY,
            impl=impl,
        )
        results.append(gradients(3 * total, *x[:2], *([bias] if biased else [])))
    for plain, streaming in zip(*results, strict=True):
        torch.testing.assert_close(streaming, plain, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_no_further_from_the_truth_than_plain_pytorch(divergence, dtype):
    exact = problem(64, 65, 32, 48)
    inputs = [tensor.detach().to(dtype).requires_grad_(tensor.requires_grad) for tensor in exact]
    exact = [tensor.detach().double().requires_grad_(tensor.requires_grad) for tensor in inputs]
    results = {
        name: gradients(
            linear_divergence(*x, divergence=divergence, memory_budget=65 * 4 * 40, impl=impl), *x[:2]
        )
        for name, x, impl in [
            ("truth", exact, "plain"),
            ("plain", inputs, "plain"),
            ("streaming", inputs, "streaming"),
        ]
    }
    epsilon = torch.finfo(dtype).eps
    for truth, plain, streaming in zip(*results.values(), strict=True):
        assert streaming.dtype == plain.dtype
        assert distance(streaming, truth) <= 1.1 * distance(plain, truth) + epsilon / 2


@pytest.mark.parametrize("divergence", ["forward_kl", "jensen_shannon"])
def test_chunk_size_and_order_of_the_vocabulary_change_nothing(divergence):
    x = problem(13, 33)
    order = torch.randperm(33)
    whole = linear_divergence(*x, divergence=divergence)
    single = linear_divergence(*x, divergence=divergence, memory_budget=1)
    permuted = linear_divergence(x[0], x[1][order], x[2], x[3][order], divergence=divergence)
    expected = gradients(whole, *x[:2])
    for other in (single, permuted):
        torch.testing.assert_close(gradients(other, *x[:2]), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("impl", ENGINES)
def test_no_rows_give_zero_with_a_graph(impl):
    x = problem(rows=0, dtype=torch.float32)
    total = linear_divergence(*x, divergence="forward_kl", impl=impl)
    total.backward()
    assert total.item() == 0.0
    assert total.dtype == torch.float32
    assert torch.equal(x[1].grad, torch.zeros_like(x[1]))


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jensen_shannon", "skew_kl"])
@pytest.mark.parametrize("impl", ENGINES)
def test_masked_vocabulary_counts_nothing(divergence, impl):
    x = problem(7, 17)
    mask = torch.zeros(17, dtype=torch.float64)
    mask[12:] = -torch.inf
    masked = linear_divergence(
        *x,
        divergence=divergence,
        student_transform=HeadTransform(bias=mask),
        teacher_transform=HeadTransform(bias=mask),
        memory_budget=TINY,
        impl=impl,
    )
    cut = linear_divergence(x[0], x[1][:12], x[2], x[3][:12], divergence=divergence)
    torch.testing.assert_close(gradients(masked, *x[:2]), gradients(cut, *x[:2]))


@pytest.mark.parametrize("impl", ENGINES)
def test_a_teacher_may_mask_more_than_the_student(impl):
    x = problem(7, 17)
    mask = torch.zeros(17, dtype=torch.float64)
    mask[12:] = -torch.inf
    total = linear_divergence(
        *x, divergence="forward_kl", teacher_transform=HeadTransform(bias=mask), impl=impl
    )
    assert all(tensor.isfinite().all() for tensor in gradients(total, *x[:2]))


@pytest.mark.parametrize("impl", ENGINES)
def test_rows_without_weight_reach_nothing(impl):
    x = problem(7, 17)
    weights = torch.tensor([1.0, 0, 1, 0, 1, 1, 1], dtype=torch.float64)
    broken = [tensor.detach().clone() for tensor in x]
    broken[0][1], broken[2][3] = torch.nan, torch.inf
    broken[0].requires_grad_()
    broken[1].requires_grad_()
    settings = {"divergence": "reverse_kl", "weights": weights, "impl": impl}
    found = gradients(linear_divergence(*broken, **settings), *broken[:2])
    expected = gradients(linear_divergence(*x, **settings), *x[:2])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("impl", ENGINES)
def test_gradient_goes_to_the_student_alone(impl):
    x = problem()
    teacher = [tensor.requires_grad_() for tensor in x[2:]]
    linear_divergence(*x, divergence="jensen_shannon", impl=impl).backward()
    assert [tensor.grad is None for tensor in x] == [False, False, True, True]
    frozen = linear_divergence(x[0].detach(), x[1].detach(), *teacher, divergence="forward_kl", impl=impl)
    assert not frozen.requires_grad
    with torch.no_grad():
        assert not linear_divergence(*x, divergence="renyi", impl=impl).requires_grad


@pytest.mark.parametrize("wanted", [0, 1])
def test_only_wanted_gradients_are_computed(wanted):
    x = list(problem(13, 33))
    expected = gradients(linear_divergence(*x, divergence="forward_kl", impl="plain"), *x[:2])
    x[1 - wanted] = x[1 - wanted].detach()
    total = linear_divergence(*x, divergence="forward_kl", memory_budget=TINY)
    total.backward()
    torch.testing.assert_close(x[wanted].grad, expected[1 + wanted])
    assert x[1 - wanted].grad is None


def test_slices_and_strides_are_welcome():
    hidden = torch.randn(5, 13, dtype=torch.float64, requires_grad=True)
    head = torch.randn(40, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(13, 12, dtype=torch.float64)[:, ::2], torch.randn(6, 40, dtype=torch.float64).T[:33]
    results = []
    for impl in ENGINES:
        total = linear_divergence(
            hidden.T, head[:33], *teacher, divergence="forward_kl", memory_budget=TINY, impl=impl
        )
        results.append(gradients(total, hidden, head))
    torch.testing.assert_close(*results)
    assert torch.equal(results[1][2][33:], torch.zeros(7, 5, dtype=torch.float64))


def test_autocast_multiplies_in_bfloat16():
    x = problem(16, 33, 32, 32, dtype=torch.float32)
    results = []
    for impl in ENGINES:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            total = linear_divergence(*x, divergence="forward_kl", memory_budget=TINY, impl=impl)
        assert total.dtype == torch.float32
        results.append(gradients(total, *x[:2]))
    full = gradients(linear_divergence(*x, divergence="forward_kl"), *x[:2])
    for plain, streaming, exact in zip(*results, full, strict=True):
        assert streaming.dtype == torch.float32
        assert 0 < distance(streaming, exact) <= distance(plain, exact) + 2**-8


def test_a_retained_graph_can_be_walked_twice_but_not_differentiated_twice():
    x = problem()
    total = linear_divergence(*x, divergence="forward_kl")
    first = torch.autograd.grad(total, x[1], retain_graph=True)
    assert torch.equal(first[0], torch.autograd.grad(total, x[1])[0])
    total = linear_divergence(*x, divergence="forward_kl")
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(total, x[0], create_graph=True)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_the_logits_never_exist(divergence):
    x = problem(rows=64, vocab=100, width=4, teacher_width=4, dtype=torch.float32)
    budget = 10 * 8 * 100 * 4
    found = {}
    for impl in ENGINES:
        with LargestTensor() as largest:
            linear_divergence(*x, divergence=divergence, memory_budget=budget, impl=impl).backward()
        found[impl] = largest.elements
    assert found["plain"] >= 64 * 100
    assert found["streaming"] <= 32 * 100


def two_vocabularies(rows=7, vocab=17, teacher_vocab=29, width=5, teacher_width=6, dtype=torch.float64):
    hidden, head, teacher_hidden, _ = problem(rows, vocab, width, teacher_width, dtype)
    return hidden, head, teacher_hidden, torch.randn(teacher_vocab, teacher_width, dtype=dtype)


def coarse_kl(log_p, log_q):
    """KL between the masses of all tokens with one remainder: W and V may differ."""
    p, q = (torch.stack([side[:, c::3].logsumexp(-1) for c in range(3)], dim=-1) for side in (log_p, log_q))
    return (p.exp() * (p - q)).sum(-1)


def sorted_distance(log_p, log_q):
    """Probabilities by rank, the longer vocabulary cut: no smooth function, and it allocates at will."""
    p, q = (side.exp().sort(-1, descending=True).values for side in (log_p, log_q))
    ranks = min(p.shape[-1], q.shape[-1])
    return (p[:, :ranks] - q[:, :ranks]).abs().sum(-1)


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize(("vocab", "teacher_vocab"), [(17, 29), (29, 17), (4, 33)])
def test_two_vocabularies_equal_plain_loops(impl, vocab, teacher_vocab):
    x = two_vocabularies(7, vocab, teacher_vocab)
    weights = torch.rand(7, dtype=torch.float64)
    bias, teacher_bias = (torch.randn(n, dtype=torch.float64) for n in (vocab, teacher_vocab))
    found = linear_divergence(
        *x,
        divergence=coarse_kl,
        temperature=2.0,
        weights=weights,
        student_transform=HeadTransform(bias, softcap=3.0),
        teacher_transform=HeadTransform(teacher_bias, scale=0.5),
        memory_budget=TINY,
        impl=impl,
    )
    lists = [tensor.tolist() for tensor in x]
    expected = reference.coarse_kl(
        reference.logits(*lists[:2], bias.tolist(), softcap=3.0, temperature=2.0),
        reference.logits(*lists[2:], teacher_bias.tolist(), scale=0.5, temperature=2.0),
        weights.tolist(),
    )
    assert found.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("budget", [1, None])
def test_the_gradient_across_two_vocabularies_is_the_gradient(budget):
    hidden, head, *teacher = two_vocabularies(rows=3, vocab=8, teacher_vocab=11)
    bias = torch.randn(8, dtype=torch.float64, requires_grad=True)

    def total(hidden, head, bias):
        return linear_divergence(
            hidden,
            head,
            *teacher,
            divergence=coarse_kl,
            temperature=1.5,
            weights=torch.tensor([0.5, 0.0, 2.0], dtype=torch.float64),
            student_transform=HeadTransform(bias, softcap=4.0),
            memory_budget=budget,
        )

    assert torch.autograd.gradcheck(total, (hidden, head, bias))


@pytest.mark.parametrize("divergence", [coarse_kl, sorted_distance])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("vocab", "teacher_vocab"), [(65, 41), (41, 65)])
def test_two_vocabularies_are_no_further_from_the_truth_than_plain_pytorch(
    divergence, dtype, vocab, teacher_vocab
):
    x = two_vocabularies(64, vocab, teacher_vocab, 32, 48)
    inputs = [tensor.detach().to(dtype).requires_grad_(tensor.requires_grad) for tensor in x]
    exact = [tensor.detach().double().requires_grad_(tensor.requires_grad) for tensor in inputs]
    truth, plain, streaming = (
        gradients(linear_divergence(*x, divergence=divergence, memory_budget=65 * 4 * 40, impl=impl), *x[:2])
        for x, impl in [(exact, "plain"), (inputs, "plain"), (inputs, "streaming")]
    )
    epsilon = torch.finfo(dtype).eps
    for exactly, one, other in zip(truth, plain, streaming, strict=True):
        assert other.dtype == one.dtype
        assert distance(other, exactly) <= 1.1 * distance(one, exactly) + epsilon / 2


def test_a_mixture_may_teach_in_another_vocabulary():
    hidden, head, _, _ = problem(13, 17)
    states, weight = torch.randn(13, 7, dtype=torch.float64), torch.randn(29, 7, dtype=torch.float64)
    mixture = HeadMixture(
        widths=(4, 3), shares=(0.3, 0.7), transforms=(HeadTransform(scale=2.0), HeadTransform())
    )
    results = [
        gradients(
            linear_divergence(
                hidden,
                head,
                states,
                weight,
                divergence=coarse_kl,
                temperature=2.0,
                teacher_transform=mixture,
                memory_budget=TINY,
                impl=impl,
            ),
            hidden,
            head,
        )
        for impl in ENGINES
    ]
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("impl", ENGINES)
def test_rows_without_weight_reach_nothing_across_two_vocabularies(impl):
    x = two_vocabularies()
    weights = torch.tensor([1.0, 0, 1, 0, 1, 1, 1], dtype=torch.float64)
    broken = [tensor.detach().clone() for tensor in x]
    broken[0][1], broken[2][3] = torch.nan, torch.inf
    for tensor in broken[:2]:
        tensor.requires_grad_()
    settings = {"divergence": coarse_kl, "weights": weights, "impl": impl}
    found, expected = (gradients(linear_divergence(*some, **settings), *some[:2]) for some in (broken, x))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("vocab", "teacher_vocab"), [(100, 70), (100, 300)])
def test_neither_models_logits_exist_where_vocabularies_differ(vocab, teacher_vocab):
    x = two_vocabularies(64, vocab, teacher_vocab, 4, 4, torch.float32)
    # the student's two matrices and the teacher's two, of eight rows
    budget = 8 * (2 * vocab + 2 * max(vocab, teacher_vocab)) * 4
    with LargestTensor() as largest:
        linear_divergence(*x, divergence=coarse_kl, memory_budget=budget).backward()
    assert largest.elements <= 8 * max(vocab, teacher_vocab)


@pytest.mark.parametrize(("vocab", "teacher_vocab"), [(100, 300), (300, 100)])
def test_autograd_works_on_blocks_that_fit_the_wider_vocabulary(monkeypatch, vocab, teacher_vocab):
    monkeypatch.setattr("stillroom.kernels.linear_divergence.streaming._BLOCK_BYTES_ON_CPU", 5 * 300 * 4)
    blocks = []

    def divergence(log_p, log_q):
        blocks.append(len(log_p))
        return coarse_kl(log_p, log_q)

    linear_divergence(*two_vocabularies(12, vocab, teacher_vocab, dtype=torch.float32), divergence=divergence)
    assert blocks == [5, 5, 2]


@pytest.mark.parametrize("divergence", ["forward_kl", forward_kl])
def test_a_divergence_of_the_catalog_needs_one_vocabulary(divergence):
    with pytest.raises(BadInput, match="trim both"):
        linear_divergence(*two_vocabularies(), divergence=divergence)


def test_a_mixture_learns_only_where_its_gradient_is_known():
    hidden, head, *teacher = problem(width=7)
    mixture = HeadMixture(widths=(4, 3), shares=(0.3, 0.7), transforms=(HeadTransform(), HeadTransform()))
    settings = {"divergence": "forward_kl", "student_transform": mixture, "memory_budget": TINY}
    with pytest.raises(BadInput, match="mixture"):
        linear_divergence(hidden, head, *teacher, **settings)
    expected = linear_divergence(hidden, head, *teacher, **settings, impl="plain")
    with torch.no_grad():
        torch.testing.assert_close(linear_divergence(hidden, head, *teacher, **settings), expected.detach())


def test_a_function_may_be_the_transform():
    x = problem()
    for impl in ENGINES:
        total = linear_divergence(
            *x, divergence="forward_kl", student_transform=lambda s: s * s, memory_budget=TINY, impl=impl
        )
        found = gradients(total, *x[:2])
        if impl == "plain":
            expected = found
    torch.testing.assert_close(found, expected)


TRAINABLE = torch.nn.Parameter(torch.ones(17))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"divergence": "forward"}, "did you mean 'forward_kl'"),
        ({"divergence": lambda p, q: (p - q).sum()}, "one value a row"),
        ({"temperature": 0.0}, "positive temperature"),
        ({"weights": torch.ones(3)}, "7 rows"),
        ({"memory_budget": 0}, "memory budget"),
        ({"impl": "triton"}, "impl"),
        ({"student_hidden": torch.zeros(7, 4)}, "of one width"),
        ({"student_hidden": torch.zeros(2, 7, 5)}, "flatten"),
        ({"student_hidden": torch.zeros(7, 5)}, "of one type"),
        ({"teacher_head": torch.zeros(18, 6, dtype=torch.float64)}, "trim both"),
        ({"student_transform": lambda s: s * TRAINABLE}, "trainable tensors"),
    ],
)
def test_misuse_is_named(change, message):
    names = ("student_hidden", "student_head", "teacher_hidden", "teacher_head")
    arguments = dict(zip(names, problem(), strict=True)) | {"divergence": "forward_kl"} | change
    with pytest.raises(BadInput, match=message):
        linear_divergence(**arguments)
