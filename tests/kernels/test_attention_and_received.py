"""Both engines against plain loops, each other, SDPA and finite differences; and what never may exist or flow."""

import pytest
import torch
from largest_tensor import LargestTensor
from reference import attention_and_received as reference
from torch.nn import functional as F

from stillroom.core.errors import BadInput
from stillroom.kernels import _attention_blocks
from stillroom.kernels.attention_and_received import attention_and_received
from stillroom.kernels.received_attention import received_attention

ENGINES = ("plain", "streaming")
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
    monkeypatch.setattr(_attention_blocks, "ROWS", 3)
    monkeypatch.setattr(_attention_blocks, "SMALLEST", 3)
    monkeypatch.setattr(_attention_blocks, "TILE", 100)


def problem(batch=2, heads=4, groups=2, length=13, width=5, depth=3, dtype=torch.float64):
    """Query, key and value as transformers hands them over, weights, and the slopes of a loss in both outputs."""
    sizes = (heads, width), (groups, width), (groups, depth)
    x = [torch.randn(batch, length, n, d, dtype=dtype).transpose(1, 2).requires_grad_() for n, d in sizes]
    exact = torch.promote_types(dtype, torch.float32)
    o = torch.randn(batch, length, heads, depth, dtype=dtype).transpose(1, 2)
    return *x, torch.rand(batch, length, dtype=exact), o, torch.randn(batch, heads, length, dtype=exact)


def padding(kind, batch=2, length=13):
    if kind == "none":
        return None
    mask = torch.ones(batch, length, dtype=torch.bool)
    where = {"left": slice(0, 5), "right": slice(-5, None), "holes": slice(1, None, 3)}[kind]
    mask[0, where] = False
    return mask


def results(query, key, value, weights, o, g, **settings):
    """Output, what is received, and the gradients of query, key and value."""
    outputs = attention_and_received(query, key, value, weights=weights, **{"scaling": 0.7} | settings)
    return *(each.detach() for each in outputs), *torch.autograd.grad(outputs, (query, key, value), (o, g))


def distance(found, truth):
    return ((found.double() - truth.double()).norm() / truth.double().norm()).item()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", PADDING)
def test_equals_plain_loops_with_gradients(impl, rule, kind):
    x = problem(length=11 if rule == "all" else 13)
    mask = padding(kind, length=x[3].shape[1])
    found = results(*x, key_mask=mask, impl=impl, **RULES[rule])
    exists = torch.ones_like(x[3], dtype=torch.bool) if mask is None else mask
    expected = reference.attention_and_received(
        *(tensor.tolist() for tensor in x), scaling=0.7, exists=exists.tolist(), **RULES[rule]
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, torch.tensor(b, dtype=torch.float64), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 1), (6, 2)])
@pytest.mark.parametrize("length", [1, 2, 67, 130])
def test_streaming_equals_plain(rule, heads, groups, length):
    x = problem(batch=3, heads=heads, groups=groups, length=length)
    mask = padding("holes", batch=3, length=length)
    plain, streaming = (
        results(*x, key_mask=mask, impl=impl, **RULES[rule]) for impl in ("plain", "streaming")
    )
    torch.testing.assert_close(streaming, plain, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("tile", [1, 60, 300, 1000, 2**20])
def test_how_samples_and_heads_are_grouped_changes_nothing(monkeypatch, tile):
    x = problem(batch=5)
    mask = torch.ones(5, 13, dtype=torch.bool)
    mask[1:3, :4] = False  # two alike between ones that are not
    expected = results(*x, key_mask=mask, impl="plain")
    monkeypatch.setattr(_attention_blocks, "TILE", tile)
    torch.testing.assert_close(results(*x, key_mask=mask), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("rule", RULES)
def test_streaming_gradient_is_the_gradient(rule):
    *x, weights, _, _ = problem(batch=1, heads=2, groups=1, length=7, width=3, depth=2)
    mask = torch.ones(1, 7, dtype=torch.bool)
    mask[0, 2] = False

    def both(query, key, value):
        return attention_and_received(
            query, key, value, scaling=0.9, weights=weights, key_mask=mask, **RULES[rule]
        )

    assert torch.autograd.gradcheck(both, x)


@pytest.mark.parametrize("kind", PADDING)
@pytest.mark.parametrize("window", [None, 4])
def test_equals_sdpa_and_received_attention(kind, window):
    *x, weights, o, g = problem()
    mask = padding(kind)
    exists = torch.ones(2, 13, dtype=torch.bool) if mask is None else mask
    o = o * exists[:, None, :, None]
    found = results(*x, weights, o, g, key_mask=mask, window=window)
    at = torch.arange(13)
    sees = (at <= at[:, None]) & (at > at[:, None] - (window or 13)) & exists[:, None, None, :]
    output = F.scaled_dot_product_attention(
        *x, attn_mask=sees | ~exists[:, None, :, None], scale=0.7, enable_gqa=True
    )
    received = received_attention(*x[:2], scaling=0.7, weights=weights * exists, key_mask=mask, window=window)
    gradients = torch.autograd.grad((output, received), x, (o, g))
    torch.testing.assert_close(found, (output * exists[:, None, :, None], received, *gradients))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rule", ["causal", "window", "softcap"])
def test_no_further_from_the_truth_than_plain_pytorch(dtype, rule):
    x = problem(length=96, width=32, depth=32, dtype=dtype)
    exact = [tensor.detach().double().requires_grad_(tensor.requires_grad) for tensor in x]
    settings = {"scaling": 0.3, **RULES[rule]}
    found = [results(*x, impl=impl, **settings) for impl in ENGINES]
    truths = results(*exact, impl="plain", **settings)
    epsilon = torch.finfo(dtype).eps
    for truth, plain, streaming in zip(truths, *found, strict=True):
        assert streaming.dtype == plain.dtype
        assert distance(streaming, truth) <= 1.1 * distance(plain, truth) + epsilon / 2
    assert found[1][0].dtype == dtype
    assert found[1][1].dtype == torch.float32


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("kind", ["left", "right", "holes"])
def test_padding_may_hold_anything_and_gives_zeros(impl, kind):
    *x, weights, o, g = problem()
    mask = padding(kind)
    settings = {"key_mask": mask, "impl": impl, "window": 6}
    expected = results(*x, weights, o, g, **settings)
    broken = [tensor.detach().clone() for tensor in x]
    for tensor in broken:
        tensor.transpose(1, 2)[~mask] = torch.nan
        tensor.requires_grad_()
    found = results(*broken, weights, o, g, **settings)
    torch.testing.assert_close(found, expected)
    for tensor in found:
        assert torch.all(tensor.transpose(1, 2)[~mask] == 0)


@pytest.mark.parametrize("impl", ENGINES)
def test_batch_and_padding_side_change_nothing(impl):
    *x, weights, o, g = problem()
    whole = results(*x, weights, o, g, impl=impl)
    for b in range(2):
        for before, after in ((0, 4), (4, 0)):
            longer = [F.pad(tensor[b : b + 1], (0, 0, before, after)) for tensor in (*x, o)]
            found = results(
                *longer[:3],
                F.pad(weights[b : b + 1], (before, after)),
                longer[3],
                F.pad(g[b : b + 1], (before, after)),
                key_mask=F.pad(torch.ones(1, 13), (before, after)),
                impl=impl,
            )
            for part, all_of_it in zip(found, whole, strict=True):
                torch.testing.assert_close(part[:, :, before : before + 13], all_of_it[b : b + 1])


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("groups", [1, 4])
def test_either_loss_alone(impl, groups):
    *x, weights, o, g = problem(groups=groups)
    expected = [results(*x, weights, o, g * 0), results(*x, weights, o * 0, g)]
    for which, slope in enumerate((o, g)):
        outputs = attention_and_received(*x, scaling=0.7, weights=weights, impl=impl)
        found = torch.autograd.grad(outputs[which], x, slope, allow_unused=True)
        for a, b in zip(found, expected[which][2:], strict=True):
            torch.testing.assert_close(torch.zeros_like(b) if a is None else a, b)


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_only_wanted_gradients_are_handed_out(impl, wanted):
    *x, weights, o, g = problem()
    expected = results(*x, weights, o, g, impl=impl)[2 + wanted]
    inputs = [tensor if n == wanted else tensor.detach() for n, tensor in enumerate(x)]
    weights.requires_grad_()
    outputs = attention_and_received(*inputs, scaling=0.7, weights=weights, impl=impl)
    loss = (outputs[0] * o).sum() + (outputs[1] * g).sum()
    loss.backward()
    torch.testing.assert_close(x[wanted].grad, expected)
    assert [tensor.grad is None for tensor in (*x, weights)].count(False) == 1


@pytest.mark.parametrize("impl", ENGINES)
def test_no_gradient_no_graph(impl):
    *x, weights, _, _ = problem()
    with torch.no_grad():
        outputs = attention_and_received(*x, scaling=0.7, weights=weights, impl=impl)
    assert not any(each.requires_grad for each in outputs)


@pytest.mark.parametrize("rule", RULES)
def test_the_map_never_exists(rule, monkeypatch):
    monkeypatch.setattr(_attention_blocks, "ROWS", 8)
    monkeypatch.setattr(_attention_blocks, "SMALLEST", 8)
    monkeypatch.setattr(_attention_blocks, "TILE", 8 * 128)
    x, found = problem(batch=1, heads=2, groups=2, length=128, width=4), {}
    for impl in ENGINES:
        with LargestTensor() as largest:
            results(*x, impl=impl, **RULES[rule])
        found[impl] = largest.elements
    assert found["plain"] >= 128 * 128
    assert found["streaming"] <= 2 * 8 * 128


def test_output_lies_as_the_next_layer_reads_it():
    *x, weights, _, _ = problem()
    output, _ = attention_and_received(*x, scaling=0.7, weights=weights)
    assert output.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("impl", ENGINES)
def test_autocast_changes_nothing(impl):
    x = problem(dtype=torch.float32)
    expected = results(*x, impl=impl)
    *inputs, weights, o, g = x
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = attention_and_received(*inputs, scaling=0.7, weights=weights, impl=impl)
        if impl == "streaming":  # whose backward is its own
            gradients = torch.autograd.grad(outputs, inputs, (o, g), retain_graph=True)
            assert all(torch.equal(a, b) for a, b in zip(gradients, expected[2:], strict=True))
    found = *outputs, *torch.autograd.grad(outputs, inputs, (o, g))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("impl", ENGINES)
def test_values_may_be_of_another_type(impl):
    """Under autocast the rotary embedding makes queries and keys wider than values."""
    query, key, value, weights, o, g = problem(dtype=torch.float32)
    half = value.detach().bfloat16().requires_grad_()
    found = results(query, key, half, weights, o.bfloat16(), g, impl=impl)
    expected = results(query, key, half.detach().float().requires_grad_(), weights, o, g, impl=impl)
    assert found[0].dtype == found[4].dtype == torch.bfloat16
    for a, b in zip(found, expected, strict=True):
        assert distance(a, b) < 0.02


def test_a_retained_graph_can_be_walked_twice_but_not_differentiated_twice():
    *x, weights, o, g = problem()
    outputs = attention_and_received(*x, scaling=0.7, weights=weights)
    first = torch.autograd.grad(outputs, x, (o, g), retain_graph=True)
    second = torch.autograd.grad(outputs, x, (o, g))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    total = attention_and_received(*x, scaling=0.7, weights=weights)[1].square().sum()
    (gradient,) = torch.autograd.grad(total, x[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("impl", ENGINES)
def test_nothing_to_do_gives_zeros(impl):
    *x, weights, o, g = problem()
    found = results(*x, weights, o, g, key_mask=torch.zeros_like(weights), impl=impl)
    assert all(torch.all(tensor == 0) for tensor in found)
    output, received = attention_and_received(
        *(tensor[:0] for tensor in x), scaling=0.7, weights=weights[:0], impl=impl
    )
    assert output.shape == (0, 4, 13, 3)
    assert received.shape == (0, 4, 13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.zeros(4, 13, 5)}, r"expected query \[B,H,S,d\]"),
        ({"key": torch.zeros(2, 3, 13, 5, dtype=torch.float64)}, "multiple of the number of key heads"),
        ({"value": torch.zeros(2, 4, 13, 3)}, r"expected value \[B,G,S,e\]"),
        ({"value": torch.zeros(2, 2, 13, 3, dtype=torch.long)}, "floating-point numbers"),
        ({"weights": torch.ones(13)}, r"weights \[B,S\] = \[2, 13\]"),
        ({"key_mask": torch.ones(2, 12)}, "key_mask"),
        ({"window": 0}, "window of at least 1"),
        ({"window": 3, "is_causal": False}, "drop the window"),
        ({"softcap": 0.0}, "positive softcap"),
        ({"impl": "triton"}, "impl"),
    ],
)
def test_misuse_is_named(change, message):
    query, key, value, weights, _, _ = problem()
    arguments = {"query": query, "key": key, "value": value, "scaling": 0.7, "weights": weights} | change
    with pytest.raises(BadInput, match=message):
        attention_and_received(**arguments)
