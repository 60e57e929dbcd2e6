"""Entropy and likeliest token of every row: both engines against plain loops, and what never may exist."""

import math

import pytest
import torch
from largest_tensor import LargestTensor
from reference import head_rows
from reference import linear_divergence as reference

from stillroom.core.errors import BadInput
from stillroom.core.signals import HeadMixture, HeadTransform
from stillroom.kernels.linear_statistics import linear_statistics

ENGINES = ("plain", "streaming")
TINY = 3000
"""Bytes: a row or two at a time."""


def problem(rows=7, vocab=17, width=5, dtype=torch.float64):
    return [torch.randn(n, width, dtype=dtype, requires_grad=True) for n in (rows, vocab)]


def parts(statistics):
    return statistics.entropy, statistics.top_probability, statistics.top_id


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("budget", [1, TINY, None])
@pytest.mark.parametrize(("rows", "vocab"), [(1, 17), (13, 33)])
def test_equals_plain_loops(impl, budget, rows, vocab):
    hidden, head = problem(rows, vocab)
    bias = torch.randn(vocab, dtype=torch.float64)
    transform = HeadTransform(bias, softcap=3.0)
    found = linear_statistics(
        hidden, head, transform=transform, temperature=2.0, memory_budget=budget, impl=impl
    )
    logits = reference.logits(hidden.tolist(), head.tolist(), bias.tolist(), softcap=3.0, temperature=2.0)
    entropy, top, ids = zip(*head_rows.statistics(logits), strict=True)
    torch.testing.assert_close(found.entropy, torch.tensor(entropy, dtype=torch.float64))
    torch.testing.assert_close(found.top_probability, torch.tensor(top, dtype=torch.float64))
    assert found.top_id.tolist() == list(ids)
    assert not any(each.requires_grad for each in parts(found))


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_are_float32_however_sure_a_model_is(impl, dtype):
    head = torch.eye(8, dtype=dtype)
    hidden = torch.stack([torch.zeros(8, dtype=dtype), 20 * head[3]])
    found = linear_statistics(hidden, head, impl=impl)
    assert found.entropy.dtype == found.top_probability.dtype == torch.float32
    rest = 7 * math.exp(-20)
    expected = [math.log(8), math.log1p(rest) + 20 * rest / (1 + rest)]
    torch.testing.assert_close(found.entropy, torch.tensor(expected), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found.top_probability, torch.tensor([1 / 8, 1 / (1 + rest)]))
    assert found.top_id[1] == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_further_from_the_truth_than_plain_pytorch(dtype):
    inputs = [each.detach().to(dtype) for each in problem(64, 65, 32)]
    truth = linear_statistics(*(each.double() for each in inputs), impl="plain")
    plain, streaming = (linear_statistics(*inputs, memory_budget=65 * 4 * 20, impl=impl) for impl in ENGINES)
    for exactly, one, other in zip(*(parts(each)[:2] for each in (truth, plain, streaming)), strict=True):
        errors = [(each.double() - exactly).norm() for each in (one, other)]
        assert errors[1] <= 1.1 * errors[0] + torch.finfo(torch.float32).eps * exactly.norm()


def test_autocast_multiplies_in_bfloat16():
    hidden, head = problem(16, 33, 32, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = [linear_statistics(hidden, head, memory_budget=TINY, impl=impl) for impl in ENGINES]
    half = linear_statistics(hidden.bfloat16(), head.bfloat16())
    assert results[1].entropy.dtype == torch.float32
    torch.testing.assert_close(parts(results[1]), parts(half))
    torch.testing.assert_close(parts(results[0]), parts(half))


@pytest.mark.parametrize("impl", ENGINES)
def test_masked_tokens_add_nothing(impl):
    hidden, head = problem()
    mask = torch.zeros(17, dtype=torch.float64)
    mask[12:] = -torch.inf
    masked = linear_statistics(hidden, head, transform=HeadTransform(mask), impl=impl)
    torch.testing.assert_close(parts(masked), parts(linear_statistics(hidden, head[:12])))


@pytest.mark.parametrize("impl", ENGINES)
def test_rows_without_weight_are_finite_and_change_no_other(impl):
    hidden, head = problem(dtype=torch.float32)
    weights = torch.tensor([1.0, 0, 0.5, 0, 1, 1, 1])
    broken = hidden.detach().clone()
    broken[1], broken[3] = torch.nan, torch.inf
    found = linear_statistics(broken, head, weights=weights, impl=impl)
    expected = linear_statistics(hidden, head, impl=impl)
    assert all(each.isfinite().all() for each in parts(found))
    for one, other in zip(parts(found), parts(expected), strict=True):
        torch.testing.assert_close(one[weights != 0], other[weights != 0])


@pytest.mark.parametrize("impl", ENGINES)
def test_a_mixture_says_the_mean_probability(impl):
    hidden, head = problem(width=7)
    transforms = HeadTransform(scale=2.0), HeadTransform()
    mixture = HeadMixture(widths=(4, 3), shares=(0.3, 0.7), transforms=transforms)
    found = linear_statistics(hidden, head, transform=mixture, memory_budget=TINY, impl=impl)
    first, second = 2 * hidden[:, :4] @ head[:, :4].T, hidden[:, 4:] @ head[:, 4:].T
    p = 0.3 * first.softmax(-1) + 0.7 * second.softmax(-1)
    torch.testing.assert_close(found.entropy, -(p * p.log()).sum(-1).detach())
    assert torch.equal(found.top_id, p.argmax(-1))


@pytest.mark.parametrize("impl", ENGINES)
def test_no_rows_give_nothing(impl):
    found = linear_statistics(*problem(rows=0, dtype=torch.float32), impl=impl)
    assert [each.shape for each in parts(found)] == [(0,)] * 3
    assert [each.dtype for each in parts(found)] == [torch.float32, torch.float32, torch.int64]


def test_the_logits_never_exist():
    hidden, head = problem(rows=64, vocab=100, width=4, dtype=torch.float32)
    found = {}
    for impl in ENGINES:
        with LargestTensor() as largest:
            linear_statistics(hidden, head, memory_budget=8 * 2 * 100 * 4, impl=impl)
        found[impl] = largest.elements
    assert found["plain"] >= 64 * 100
    assert found["streaming"] <= 8 * 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "positive temperature"),
        ({"weights": torch.ones(3)}, "7 rows"),
        ({"memory_budget": 0}, "memory budget"),
        ({"impl": "triton"}, "impl"),
        ({"hidden": torch.zeros(7, 4)}, "expected model hidden states"),
    ],
)
def test_misuse_is_named(change, message):
    arguments = dict(zip(("hidden", "head"), problem(), strict=True)) | change
    with pytest.raises(BadInput, match=message):
        linear_statistics(**arguments)
