"""Every engine against plain loops, each other and finite differences; and what never may exist, flow or be kept."""

import importlib.util
import math
import os
import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from largest_tensor import LargestTensor
from reference import received_attention as reference

from stillroom.core.errors import BadInput
from stillroom.kernels import _attention_blocks as _blocks
from stillroom.kernels._attention_rows import sampled
from stillroom.kernels.received_attention import received_attention

ENGINES = ("plain", "streaming")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RULES = {
    "causal": {},
    "window": {"window": 4},
    "one key": {"window": 1},
    "wide window": {"window": 100},
    "all": {"is_causal": False},
    "softcap": {"softcap": 1.5},
    "softcap and window": {"softcap": 1.5, "window": 6},
}
PADDING = ("none", "left", "right", "holes")


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of three rows and tiles of few heads, so that small problems have many of both."""
    monkeypatch.setattr(_blocks, "ROWS", 3)
    monkeypatch.setattr(_blocks, "SMALLEST", 3)
    monkeypatch.setattr(_blocks, "TILE", 100)


def problem(batch=2, heads=4, groups=2, length=13, width=5, dtype=torch.float64):
    """Query and key as transformers hands them over (transposed views, with gradient), weights, slope of the loss."""
    query = torch.randn(batch, length, heads, width, dtype=dtype).transpose(1, 2).requires_grad_()
    key = torch.randn(batch, length, groups, width, dtype=dtype).transpose(1, 2).requires_grad_()
    exact = torch.promote_types(dtype, torch.float32)
    weights = torch.rand(batch, length, dtype=exact)
    return query, key, weights, torch.randn(batch, heads, length, dtype=exact)


def padding(kind, batch=2, length=13):
    if kind == "none":
        return None
    mask = torch.ones(batch, length, dtype=torch.bool)
    where = {"left": slice(0, 5), "right": slice(-5, None), "holes": slice(1, None, 3)}[kind]
    mask[0, where] = False
    return mask


def results(query, key, weights, slope, **settings):
    """What is received, and the gradients of query and key."""
    received = received_attention(query, key, weights=weights, **{"scaling": 0.7} | settings)
    return received.detach(), *torch.autograd.grad(received, (query, key), slope)


def distance(found, truth):
    return ((found.double() - truth.double()).norm() / truth.double().norm()).item()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", PADDING)
def test_equals_plain_loops_with_gradients(impl, rule, kind):
    *x, weights, slope = problem()
    mask = padding(kind)
    weights = weights if mask is None else weights * mask
    found = results(*x, weights, slope, key_mask=mask, impl=impl, **RULES[rule])
    lists = [tensor.tolist() for tensor in (*x, weights, slope)]
    expected = reference.received_attention(
        *lists, scaling=0.7, key_mask=None if mask is None else mask.tolist(), **RULES[rule]
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, torch.tensor(b, dtype=torch.float64), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 1), (6, 2)])
@pytest.mark.parametrize("length", [1, 2, 67, 130])
def test_streaming_equals_plain(rule, heads, groups, length):
    x = problem(heads=heads, groups=groups, length=length)
    mask = padding("holes", length=length)
    plain, streaming = (
        results(*x, key_mask=mask, impl=impl, **RULES[rule]) for impl in ("plain", "streaming")
    )
    torch.testing.assert_close(streaming, plain, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("rule", RULES)
def test_streaming_gradient_is_the_gradient(rule):
    query, key, weights, _ = problem(batch=1, heads=2, groups=1, length=7, width=3)
    weights[0, 2] = 0.0

    def received(query, key):
        return received_attention(query, key, scaling=0.9, weights=weights, impl="streaming", **RULES[rule])

    assert torch.autograd.gradcheck(received, (query, key))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rule", ["causal", "window", "softcap"])
def test_no_further_from_the_truth_than_plain_pytorch(dtype, rule):
    x = problem(length=96, width=32, dtype=dtype)
    exact = [tensor.detach().double().requires_grad_(tensor.requires_grad) for tensor in x]
    settings = {"scaling": 0.3, **RULES[rule]}
    found = [results(*x, impl=impl, **settings) for impl in ("plain", "streaming")]
    truths = results(*exact, impl="plain", **settings)
    epsilon = torch.finfo(dtype).eps
    for truth, plain, streaming in zip(truths, *found, strict=True):
        assert streaming.dtype == plain.dtype
        assert distance(streaming, truth) <= 1.1 * distance(plain, truth) + epsilon / 2
    assert found[1][0].dtype == torch.float32


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("kind", ["left", "right", "holes"])
def test_padding_may_hold_anything_and_receives_nothing(impl, kind):
    *x, weights, slope = problem()
    mask = padding(kind)
    weights = weights * mask
    settings = {"key_mask": mask, "impl": impl, "window": 6}
    expected = results(*x, weights, slope, **settings)
    broken = [tensor.detach().clone() for tensor in x]
    for tensor in broken:
        tensor.transpose(1, 2)[~mask] = torch.nan
        tensor.requires_grad_()
    found = results(*broken, weights, slope, **settings)
    torch.testing.assert_close(found, expected)
    for tensor in found:
        assert torch.all(tensor.transpose(1, 2)[~mask] == 0)


@pytest.mark.parametrize("impl", ENGINES)
def test_a_row_that_sees_nothing_contributes_nothing(impl):
    *x, weights, slope = problem()
    mask = padding("left")  # the first five rows keep their weight and see no key
    found = results(*x, weights, slope, key_mask=mask, window=3, impl=impl)
    expected = results(*x, weights * mask, slope, key_mask=mask, window=3, impl=impl)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("rule", RULES)
def test_every_head_hands_out_the_weights(impl, rule):
    query, key, weights, _ = problem()
    received = received_attention(query, key, scaling=0.7, weights=weights, impl=impl, **RULES[rule])
    torch.testing.assert_close(received.sum(-1), weights.sum(-1, keepdim=True).expand(2, 4))


@pytest.mark.parametrize("impl", ENGINES)
def test_batch_and_padding_length_change_nothing(impl):
    *x, weights, slope = problem()
    whole = results(*x, weights, slope, impl=impl)
    for b in range(2):
        longer = [torch.nn.functional.pad(tensor[b : b + 1], (0, 0, 0, 4)) for tensor in x]
        found = results(
            *longer,
            torch.nn.functional.pad(weights[b : b + 1], (0, 4)),
            torch.nn.functional.pad(slope[b : b + 1], (0, 4)),
            key_mask=torch.arange(17)[None] < 13,
            impl=impl,
        )
        for part, all_of_it in zip(found, whole, strict=True):
            torch.testing.assert_close(part[:, :, :13], all_of_it[b : b + 1])


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("wanted", [0, 1])
def test_only_wanted_gradients_are_computed(impl, wanted):
    *x, weights, slope = problem()
    expected = results(*x, weights, slope, impl=impl)[1 + wanted]
    x[1 - wanted] = x[1 - wanted].detach()
    weights.requires_grad_()
    received = received_attention(*x, scaling=0.7, weights=weights, impl=impl)
    received.backward(slope)
    torch.testing.assert_close(x[wanted].grad, expected)
    assert x[1 - wanted].grad is None
    assert weights.grad is None


@pytest.mark.parametrize("impl", ENGINES)
def test_no_gradient_no_graph(impl):
    query, key, weights, _ = problem()
    frozen = received_attention(query.detach(), key.detach(), scaling=0.7, weights=weights, impl=impl)
    assert not frozen.requires_grad
    with torch.no_grad():
        assert not received_attention(query, key, scaling=0.7, weights=weights, impl=impl).requires_grad


def test_nothing_is_kept_but_the_inputs():
    query, key, weights, _ = problem()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.data_ptr()) or t, lambda t: t):
        received_attention(query, key, scaling=0.7, weights=weights, impl="streaming")
    assert sorted(kept) == sorted(t.data_ptr() for t in (query, key, weights))


@pytest.mark.parametrize("rule", RULES)
def test_the_map_never_exists(rule, monkeypatch):
    monkeypatch.setattr(_blocks, "ROWS", 8)
    monkeypatch.setattr(_blocks, "SMALLEST", 8)
    monkeypatch.setattr(_blocks, "TILE", 8 * 128)
    x, found = problem(batch=1, heads=2, groups=2, length=128, width=4), {}
    for impl in ENGINES:
        with LargestTensor() as largest:
            results(*x, impl=impl, **RULES[rule])
        found[impl] = largest.elements
    assert found["plain"] >= 128 * 128
    assert found["streaming"] <= 2 * 8 * 128


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", PADDING)
def test_one_row_of_each_sample_equals_plain_loops(impl, rule, kind):
    *x, _, slope = problem()
    mask, weights = padding(kind), torch.nn.functional.one_hot(torch.tensor([6, 12]), 13).double()
    found = results(*x, weights, slope, key_mask=mask, impl=impl, **RULES[rule])
    expected = reference.received_attention(
        *(tensor.tolist() for tensor in (*x, weights, slope)),
        scaling=0.7,
        key_mask=None if mask is None else mask.tolist(),
        **RULES[rule],
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, torch.tensor(b, dtype=torch.float64), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_one_row_costs_one_row(rule, monkeypatch):
    """Only the chosen queries are multiplied with keys, and nothing is larger than the queries."""
    multiplied, original = [], torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda a, b, **out: (multiplied.append(a), original(a, b, **out))[1])
    query, key, _, _ = problem(batch=2, heads=4, groups=2, length=128, width=4)
    weights = torch.nn.functional.one_hot(torch.tensor([127, 40]), 128).double()
    with LargestTensor() as largest, torch.no_grad():
        received_attention(query, key, scaling=0.7, weights=weights, impl="streaming", **RULES[rule])
    assert sum(each.numel() for each in multiplied) == 2 * 4 * 4
    assert largest.elements == query.numel()


@pytest.mark.parametrize("impl", ENGINES)
def test_autocast_changes_nothing(impl):
    query, key, weights, slope = problem(dtype=torch.float32)
    expected = results(query, key, weights, slope, impl=impl)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        received = received_attention(query, key, scaling=0.7, weights=weights, impl=impl)
        if impl == "streaming":  # whose backward is its own
            assert torch.equal(torch.autograd.grad(received, key, slope, retain_graph=True)[0], expected[2])
    found = received, *torch.autograd.grad(received, (query, key), slope)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_retained_graph_can_be_walked_twice_but_not_differentiated_twice():
    query, key, weights, slope = problem()
    received = received_attention(query, key, scaling=0.7, weights=weights, impl="streaming")
    first = torch.autograd.grad(received, key, slope, retain_graph=True)
    assert torch.equal(first[0], torch.autograd.grad(received, key, slope)[0])
    total = received_attention(query, key, scaling=0.7, weights=weights, impl="streaming").square().sum()
    (gradient,) = torch.autograd.grad(total, query, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("impl", ENGINES)
def test_nothing_to_do_gives_zeros(impl):
    query, key, weights, slope = problem()
    found = results(query, key, torch.zeros_like(weights), slope, impl=impl)
    assert all(torch.all(tensor == 0) for tensor in found)
    empty = received_attention(query[:0], key[:0], scaling=0.7, weights=weights[:0], impl=impl)
    assert empty.shape == (0, 4, 13)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.3, 0.5, 0.99])
def test_a_sample_of_rows_has_one_in_every_stretch(fraction):
    weights = torch.rand(3, 41, dtype=torch.float64) + 0.1
    weights[1, 20:] = 0.0
    weights[2] = 0.0
    kept = sampled(weights, fraction)
    for full, left in zip(weights, kept, strict=True):
        rows = full.nonzero().squeeze(1).tolist()
        count = math.ceil(len(rows) * fraction)
        assert left.count_nonzero() == count
        edges = [k * len(rows) // count for k in range(count + 1)] if count else []
        for start, stop in pairwise(edges):
            stretch = rows[start:stop]
            (chosen,) = [r for r in stretch if left[r] != 0]
            assert left[chosen].item() == pytest.approx(full[chosen].item() * len(stretch))


@pytest.mark.parametrize("impl", ENGINES)
def test_row_fraction_is_unbiased_and_follows_the_seed(impl):
    *x, weights, slope = problem(batch=1, heads=1, groups=1, length=16, width=3)
    exact = results(*x, weights, slope, impl=impl)
    torch.manual_seed(1)
    draws = [results(*x, weights, slope, impl=impl, row_fraction=0.25) for _ in range(500)]
    for part, tensor in enumerate(exact):
        samples = torch.stack([draw[part] for draw in draws])
        error = samples.std(0) / len(draws) ** 0.5
        assert torch.all((samples.mean(0) - tensor).abs() <= 4.5 * error + 1e-12)
    torch.manual_seed(1)
    torch.testing.assert_close(results(*x, weights, slope, impl=impl, row_fraction=0.25), draws[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.zeros(4, 13, 5)}, r"expected query \[B,H,S,d\]"),
        ({"query": torch.zeros(2, 4, 12, 5, dtype=torch.float64)}, "the same B, S and d"),
        ({"key": torch.zeros(2, 3, 13, 5, dtype=torch.float64)}, "multiple of the number of key heads"),
        ({"key": torch.zeros(2, 2, 13, 5)}, "one floating-point type"),
        ({"weights": torch.ones(13)}, r"weights \[B,S\] = \[2, 13\]"),
        ({"key_mask": torch.ones(2, 12)}, "key_mask"),
        ({"window": 0}, "window of at least 1"),
        ({"window": 3, "is_causal": False}, "drop the window"),
        ({"softcap": 0.0}, "positive softcap"),
        ({"row_fraction": 0.0}, "row_fraction"),
        ({"row_fraction": 1.5}, "row_fraction"),
        ({"impl": "flash"}, "impl"),
    ],
)
def test_misuse_is_named(change, message):
    query, key, weights, _ = problem()
    arguments = {"query": query, "key": key, "scaling": 0.7, "weights": weights} | change
    with pytest.raises(BadInput, match=message):
        received_attention(**arguments)


def test_triton_that_is_absent_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    query, key, weights, _ = problem(dtype=torch.float32)
    with pytest.raises(BadInput, match="not installed"):
        received_attention(query, key, scaling=0.7, weights=weights, impl="triton")


@pytest.fixture
def triton_tiles(monkeypatch):
    """Triton with small tiles: on a GPU, or on its interpreter, which must be chosen before Triton is imported."""
    pytest.importorskip("triton")
    if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("no GPU, and TRITON_INTERPRET is not 1; test_triton_on_its_interpreter runs this")
    from stillroom.kernels import _triton_attention as tiles

    monkeypatch.setattr(tiles, "ROWS", 16)
    monkeypatch.setattr(tiles, "KEYS", 16)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="this is the process that it starts")
def test_triton_on_its_interpreter():
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "test_triton_", __file__]
    result = subprocess.run(
        command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout[-4000:]


def on_device(tensors):
    return [tensor.detach().to(DEVICE).requires_grad_(tensor.requires_grad) for tensor in tensors]


@pytest.mark.usefixtures("triton_tiles")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["none", "holes"])
def test_triton_equals_plain(rule, kind):
    *x, weights, slope = on_device(problem(heads=2, groups=1, length=21, dtype=torch.float32))
    mask = padding(kind, length=21)
    if mask is not None:
        mask = mask.to(DEVICE)
        weights = weights * mask
        x = [torch.where(mask[:, None, :, None], t.detach(), torch.nan).requires_grad_() for t in x]
    found, expected = (
        results(*x, weights, slope, key_mask=mask, impl=impl, **RULES[rule]) for impl in ("triton", "plain")
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("triton_tiles")
@pytest.mark.parametrize("rule", RULES)
def test_triton_takes_one_row_of_each_sample(rule):
    query, key, _, slope = on_device(problem(length=21, dtype=torch.float32))
    weights = torch.nn.functional.one_hot(torch.tensor([17, 20], device=DEVICE), 21).float()
    found, expected = (
        results(query, key, weights, slope, impl=impl, **RULES[rule]) for impl in ("triton", "plain")
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("triton_tiles")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_triton_takes_halves_and_samples(dtype):
    if DEVICE == "cpu" and dtype == torch.bfloat16:
        return  # the interpreter multiplies bfloat16 as if it were integers
    x = on_device(problem(batch=1, heads=2, groups=1, length=40, width=20, dtype=dtype))
    exact = [tensor.detach().double().requires_grad_(tensor.requires_grad) for tensor in x]
    found = []
    for impl, inputs in (("triton", x), ("plain", x), ("plain", exact)):
        torch.manual_seed(1)
        found.append(results(*inputs, row_fraction=0.4, impl=impl))
    for triton, plain, truth in zip(*found, strict=True):
        assert triton.dtype == plain.dtype
        assert distance(triton, truth) <= 1.1 * distance(plain, truth) + torch.finfo(dtype).eps / 2


@pytest.mark.usefixtures("triton_tiles")
@pytest.mark.parametrize(("dtype", "message"), [(torch.float64, "float32"), (torch.float32, "CUDA device")])
def test_triton_refuses_what_it_cannot(dtype, message, monkeypatch):
    if dtype == torch.float32:
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    query, key, weights, _ = problem(dtype=dtype)
    with pytest.raises(BadInput, match=message):
        received_attention(query, key, scaling=0.7, weights=weights, impl="triton")
