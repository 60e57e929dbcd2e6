"""Both engines against plain loops, each other and finite differences; and what never may exist, flow or change."""

import pytest
import torch
from largest_tensor import LargestTensor
from reference import squeezed_kl as reference

from stillroom.core.errors import BadInput
from stillroom.kernels import _attention_blocks as _blocks
from stillroom.kernels.squeezed_kl import squeezed_kl

ENGINES = ("plain", "streaming")
DIVERGENCES = ("kl", "mse")
RULES = {
    "causal": {},
    "window": {"window": 4},
    "one key": {"window": 1},
    "all": {"is_causal": False},
    "softcaps and window": {"student_softcap": 1.5, "teacher_softcap": 0.8, "window": 6},
    "softcap of the student": {"student_softcap": 1.5, "is_causal": False},
}
PADDING = ("none", "left", "right", "holes")
GROUPS = [[0, 1, 5], [2], [3, 4], [4]]
SETTINGS = {"groups": GROUPS, "student_scaling": 0.7, "teacher_scaling": 0.9, "temperature": 1.3}


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of three rows and tiles of few heads, so that small problems have many of both."""
    monkeypatch.setattr(_blocks, "ROWS", 3)
    monkeypatch.setattr(_blocks, "SMALLEST", 3)
    monkeypatch.setattr(_blocks, "TILE", 100)


def shares(batch, groups, dtype=torch.float64):
    """Random shares, and what must not matter behind short groups."""
    mix = torch.rand(batch, len(groups), max(map(len, groups)), dtype=dtype)
    for h, group in enumerate(groups):
        mix[:, h, : len(group)] /= mix[:, h, : len(group)].sum(-1, keepdim=True)
        mix[:, h, len(group) :] = torch.nan
    return mix


def problem(
    batch=2, heads=4, key_heads=2, length=11, width=5, dtype=torch.float64, groups=GROUPS, teacher=(6, 3, 3)
):
    """Queries and keys of both models as transformers hands them over, mix, row weights, and slopes of the heads."""
    teacher_heads, teacher_key_heads, teacher_width = teacher
    sizes = [
        (heads, width),
        (key_heads, width),
        (teacher_heads, teacher_width),
        (teacher_key_heads, teacher_width),
    ]
    tensors = [torch.randn(batch, length, n, d, dtype=dtype).transpose(1, 2) for n, d in sizes]
    for tensor in tensors[:2]:
        tensor.requires_grad_()
    exact = torch.promote_types(dtype, torch.float32)
    weights = torch.rand(batch, length, dtype=exact)
    return [*tensors, shares(batch, groups, exact)], weights, torch.randn(batch, heads, dtype=exact)


def padding(kind, batch=2, length=11):
    if kind == "none":
        return None
    mask = torch.ones(batch, length, dtype=torch.bool)
    where = {"left": slice(0, 5), "right": slice(-5, None), "holes": slice(1, None, 3)}[kind]
    mask[0, where] = False
    return mask


def results(inputs, weights, slope, **settings):
    """The divergences, and the gradients of the student's query and key."""
    value = squeezed_kl(*inputs, weights=weights, **SETTINGS | settings)
    return value.detach(), *torch.autograd.grad(value, inputs[:2], slope)


def distance(found, truth):
    return ((found.double() - truth.double()).norm() / truth.double().norm()).item()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", PADDING)
def test_equals_plain_loops_with_gradients(impl, divergence, rule, kind):
    inputs, weights, slope = problem()
    mask = padding(kind)
    settings = {"divergence": divergence, **RULES[rule]}
    found = results(inputs, weights, slope, key_mask=mask, impl=impl, **settings)
    expected = reference.squeezed_kl(
        *(tensor.tolist() for tensor in (*inputs, slope)),
        weights=weights.tolist(),
        key_mask=None if mask is None else mask.tolist(),
        **SETTINGS | settings,
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, torch.tensor(b, dtype=torch.float64), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (4, 1)])
@pytest.mark.parametrize("length", [1, 2, 67, 130])
def test_streaming_equals_plain(divergence, rule, heads, key_heads, length):
    inputs, weights, slope = problem(heads=heads, key_heads=key_heads, length=length)
    mask = padding("holes", length=length)
    plain, streaming = (
        results(inputs, weights, slope, key_mask=mask, impl=impl, divergence=divergence, **RULES[rule])
        for impl in ENGINES
    )
    torch.testing.assert_close(streaming, plain, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("rule", RULES)
def test_streaming_gradient_is_the_gradient(divergence, rule):
    inputs, weights, _ = problem(batch=1, length=4, width=2)
    weights[0, 2] = 0.0

    def value(query, key):
        settings = {"divergence": divergence, "impl": "streaming", **RULES[rule]}
        return squeezed_kl(query, key, *inputs[2:], weights=weights, **SETTINGS | settings)

    assert torch.autograd.gradcheck(value, tuple(inputs[:2]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("rule", ["causal", "window", "softcaps and window"])
def test_no_further_from_the_truth_than_plain_pytorch(dtype, divergence, rule):
    inputs, weights, slope = problem(length=96, width=32, dtype=dtype)
    exact = [tensor.detach().double().requires_grad_(tensor.requires_grad) for tensor in inputs]
    settings = {"divergence": divergence, **RULES[rule]}
    truths = results(exact, weights.double(), slope.double(), impl="plain", **settings)
    plain, streaming = (results(inputs, weights, slope, impl=impl, **settings) for impl in ENGINES)
    for truth, a, b in zip(truths, plain, streaming, strict=True):
        assert a.dtype == b.dtype
        assert distance(b, truth) <= 1.1 * distance(a, truth) + torch.finfo(dtype).eps / 2
    assert streaming[0].dtype == torch.float32


@pytest.mark.parametrize("impl", ENGINES)
def test_probabilities_too_small_for_a_float_have_a_divergence(impl):
    inputs, weights, slope = problem(length=8, dtype=torch.float32)
    exact = [tensor.detach().double().requires_grad_(tensor.requires_grad) for tensor in inputs]
    settings = {"student_scaling": 60.0, "temperature": 1.0, "impl": impl}
    found = results(inputs, weights, slope, **settings)
    truths = results(exact, weights.double(), slope.double(), **settings | {"impl": "plain"})
    assert truths[0].max() > 100  # some student probabilities underflow in float32, whose smallest is e^-103
    for a, truth in zip(found, truths, strict=True):
        torch.testing.assert_close(a.double(), truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_identical_maps_do_not_differ(impl, divergence):
    groups, copies = [[0, 1], [2], [3], [4, 5, 6]], [0, 0, 1, 2, 3, 3, 3]
    inputs, weights, slope = problem(groups=groups)
    query, key = (tensor.detach() for tensor in inputs[:2])
    inputs[2:4] = query[:, copies], key.repeat_interleave(2, dim=1)[:, copies]
    same = {"groups": groups, "teacher_scaling": 0.7, "divergence": divergence, "impl": impl}
    for tensor in results(inputs, weights, slope, **same):
        torch.testing.assert_close(tensor, torch.zeros_like(tensor), rtol=0, atol=1e-12)


@pytest.mark.parametrize("impl", ENGINES)
def test_one_teacher_head_a_head_is_the_divergence_of_two_maps(impl):
    groups = [[3], [1], [0], [5]]
    inputs, weights, _ = problem(groups=groups, key_heads=4, teacher=(6, 6, 3))
    query, key, teacher_query, teacher_key, _ = inputs
    found = squeezed_kl(
        *inputs, weights=weights, **SETTINGS | {"groups": groups, "is_causal": False, "impl": impl}
    )
    log_p = (teacher_query @ teacher_key.mT * 0.9 / 1.3).log_softmax(-1)[:, [3, 1, 0, 5]]
    log_q = (query @ key.mT * 0.7 / 1.3).log_softmax(-1)
    rows = torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(found, torch.einsum("bi,bhi->bh", weights, rows))


@pytest.mark.parametrize("impl", ENGINES)
def test_kl_is_never_negative_and_merging_never_raises_it(impl):
    inputs, weights, _ = problem()
    apart = [
        squeezed_kl(
            *inputs[:4],
            torch.ones(2, 4, 1, dtype=torch.float64),
            weights=weights,
            **SETTINGS | {"groups": [[group[min(m, len(group) - 1)]] for group in GROUPS], "impl": impl},
        )
        for m in range(3)
    ]
    merged = squeezed_kl(*inputs, weights=weights, **SETTINGS | {"impl": impl})
    mix = inputs[4].nan_to_num(0.0)
    assert torch.all(merged > 0)
    # KL is convex in its first argument: the merged map is no further away than its parts are on average
    assert torch.all(merged <= sum(mix[:, :, m] * part for m, part in enumerate(apart)) + 1e-12)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("kind", ["left", "right", "holes"])
def test_padding_may_hold_anything(impl, divergence, kind):
    inputs, weights, slope = problem()
    mask = padding(kind)
    weights = weights * mask
    settings = {"key_mask": mask, "impl": impl, "window": 6, "divergence": divergence}
    expected = results(inputs, weights, slope, **settings)
    broken = [tensor.detach().clone() for tensor in inputs[:4]]
    for tensor in broken:
        tensor.transpose(1, 2)[~mask] = torch.nan
    for tensor in broken[:2]:
        tensor.requires_grad_()
    found = results([*broken, inputs[4]], weights, slope, **settings)
    torch.testing.assert_close(found, expected)
    for tensor in found[1:]:
        assert torch.all(tensor.transpose(1, 2)[~mask] == 0)


@pytest.mark.parametrize("impl", ENGINES)
def test_a_row_that_sees_nothing_contributes_nothing(impl):
    inputs, weights, slope = problem()
    mask = padding("left")  # the first five rows keep their weight and see no key
    found = results(inputs, weights, slope, key_mask=mask, window=3, impl=impl)
    expected = results(inputs, weights * mask, slope, key_mask=mask, window=3, impl=impl)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_batch_and_side_of_padding_change_nothing(impl, divergence, side):
    inputs, weights, slope = problem()
    whole = results(inputs, weights, slope, impl=impl, divergence=divergence)
    before, after = (4, 0) if side == "left" else (0, 4)
    real = slice(before, before + 11)
    for b in range(2):
        longer = [torch.nn.functional.pad(tensor[b : b + 1], (0, 0, before, after)) for tensor in inputs[:4]]
        mask = torch.zeros(1, 15, dtype=torch.bool)
        mask[:, real] = True
        found = results(
            [*longer, inputs[4][b : b + 1]],
            torch.nn.functional.pad(weights[b : b + 1], (before, after)),
            slope[b : b + 1],
            key_mask=mask,
            impl=impl,
            divergence=divergence,
        )
        torch.testing.assert_close(found[0], whole[0][b : b + 1])
        for part, all_of_it in zip(found[1:], whole[1:], strict=True):
            torch.testing.assert_close(part[:, :, real], all_of_it[b : b + 1])


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_blocks_change_nothing(divergence, monkeypatch):
    inputs, weights, slope = problem(length=40)
    expected = results(inputs, weights, slope, impl="streaming", divergence=divergence)
    for rows, tile in ((1, 40), (7, 300), (40, 2**19)):
        monkeypatch.setattr(_blocks, "ROWS", rows)
        monkeypatch.setattr(_blocks, "SMALLEST", rows)
        monkeypatch.setattr(_blocks, "TILE", tile)
        found = results(inputs, weights, slope, impl="streaming", divergence=divergence)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("impl", ENGINES)
def test_weights_are_weights(impl):
    inputs, weights, slope = problem()
    rows = [torch.zeros_like(weights).index_fill_(1, torch.tensor([i]), 1.0) for i in range(11)]
    alone = torch.stack([results(inputs, row, slope, impl=impl)[0] for row in rows])
    torch.testing.assert_close(
        results(inputs, weights, slope, impl=impl)[0], torch.einsum("bi,ibh->bh", weights, alone)
    )


@pytest.mark.parametrize("impl", ENGINES)
def test_temperature_divides_logits(impl):
    inputs, weights, slope = problem()
    warm = results(inputs, weights, slope, temperature=4.0, impl=impl)
    divided = {"student_scaling": 0.7 / 4, "teacher_scaling": 0.9 / 4, "temperature": 1.0}
    torch.testing.assert_close(warm, results(inputs, weights, slope, impl=impl, **divided))
    assert torch.all(warm[0] < results(inputs, weights, slope, temperature=1.0, impl=impl)[0])


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("wanted", [0, 1])
def test_only_wanted_gradients_are_computed(impl, wanted):
    inputs, weights, slope = problem()
    expected = results(inputs, weights, slope, impl=impl)[1 + wanted]
    inputs[1 - wanted] = inputs[1 - wanted].detach()
    others = [*inputs[2:], weights]
    for tensor in others:
        tensor.requires_grad_()
    squeezed_kl(*inputs, weights=weights, **SETTINGS | {"impl": impl}).backward(slope)
    torch.testing.assert_close(inputs[wanted].grad, expected)
    assert all(tensor.grad is None for tensor in (inputs[1 - wanted], *others))


@pytest.mark.parametrize("impl", ENGINES)
def test_no_gradient_no_graph(impl):
    inputs, weights, _ = problem()
    with torch.no_grad():
        assert not squeezed_kl(*inputs, weights=weights, **SETTINGS | {"impl": impl}).requires_grad


def test_what_is_kept_is_two_gradients():
    inputs, weights, _ = problem(length=64)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        squeezed_kl(*inputs, weights=weights, **SETTINGS)
    assert kept == [inputs[0].numel()] * 2


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("rule", RULES)
def test_no_map_ever_exists(divergence, rule, monkeypatch):
    monkeypatch.setattr(_blocks, "ROWS", 8)
    monkeypatch.setattr(_blocks, "SMALLEST", 8)
    monkeypatch.setattr(_blocks, "TILE", 8 * 128)
    (inputs, weights, slope), found = problem(batch=1, length=128, width=2, key_heads=4), {}
    for impl in ENGINES:
        with LargestTensor() as largest:
            results(inputs, weights, slope, impl=impl, divergence=divergence, **RULES[rule])
        found[impl] = largest.elements
    assert found["plain"] >= 128 * 128
    assert found["streaming"] <= 4 * 8 * 128


@pytest.mark.parametrize("impl", ENGINES)
def test_autocast_changes_nothing(impl):
    inputs, weights, slope = problem(dtype=torch.float32)
    expected = results(inputs, weights, slope, impl=impl)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = squeezed_kl(*inputs, weights=weights, **SETTINGS | {"impl": impl})
    found = value, *torch.autograd.grad(value, inputs[:2], slope)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_used_twice_and_walked_twice_but_not_differentiated_twice():
    inputs, weights, slope = problem()
    first = squeezed_kl(*inputs, weights=weights, **SETTINGS)
    second = squeezed_kl(*inputs, weights=weights, **SETTINGS | {"divergence": "mse"})
    alone = [torch.autograd.grad(v, inputs[:2], slope, retain_graph=True) for v in (first, second)]
    assert torch.equal(torch.autograd.grad(first, inputs[0], slope, retain_graph=True)[0], alone[0][0])
    both = torch.autograd.grad(((first + second) * slope).sum(), inputs[:2])
    for a, b, c in zip(both, *alone, strict=True):
        torch.testing.assert_close(a, b + c)
    total = squeezed_kl(*inputs, weights=weights, **SETTINGS).square().sum()
    (gradient,) = torch.autograd.grad(total, inputs[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_nothing_to_do_gives_zeros(impl, divergence):
    inputs, weights, slope = problem()
    nothing = torch.zeros_like(weights)
    found = results(inputs, nothing, slope, impl=impl, divergence=divergence)
    assert all(torch.all(tensor == 0) for tensor in found)
    found = results(inputs, weights, slope, key_mask=nothing, impl=impl, divergence=divergence)
    assert all(torch.all(tensor == 0) for tensor in found)
    empty = squeezed_kl(*(tensor[:0] for tensor in inputs), weights=weights[:0], **SETTINGS | {"impl": impl})
    assert empty.shape == (0, 4)


@pytest.mark.parametrize("impl", ENGINES)
def test_row_fraction_is_unbiased_and_follows_the_seed(impl):
    inputs, weights, slope = problem(batch=1, heads=1, key_heads=1, length=16, width=3, groups=[[0, 3]])
    settings = {"groups": [[0, 3]], "impl": impl}
    exact = results(inputs, weights, slope, **settings)
    torch.manual_seed(1)
    draws = [results(inputs, weights, slope, row_fraction=0.25, **settings) for _ in range(300)]
    for part, tensor in enumerate(exact):
        samples = torch.stack([draw[part] for draw in draws])
        error = samples.std(0) / len(draws) ** 0.5
        assert torch.all((samples.mean(0) - tensor).abs() <= 4.5 * error + 1e-12)
    torch.manual_seed(1)
    torch.testing.assert_close(results(inputs, weights, slope, row_fraction=0.25, **settings), draws[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student_query": torch.zeros(4, 11, 5)}, r"expected query \[B,H,S,d\]"),
        (
            {"student_key": torch.zeros(2, 3, 11, 5, dtype=torch.float64)},
            "multiple of the number of key heads",
        ),
        ({"teacher_key": torch.zeros(2, 3, 11, 3)}, "one floating-point type"),
        (
            {"teacher_query": torch.zeros(2, 6, 12, 3), "teacher_key": torch.zeros(2, 6, 12, 3)},
            "the same tokens",
        ),
        ({"weights": torch.ones(11)}, r"weights \[B,S\] = \[2, 11\]"),
        ({"key_mask": torch.ones(2, 12)}, "key_mask"),
        ({"groups": GROUPS[:3]}, "each of the 4 student heads, got 3 groups"),
        ({"groups": [[0], [1], [], [2]]}, r"at least one of the heads .* got \[\]"),
        ({"groups": [[0], [1], [6], [2]]}, r"heads 0 to 5, .* got \[6\]"),
        ({"groups": [[0], [1], [3, 3], [2]]}, "none of them twice"),
        ({"mix": torch.ones(2, 4, 2)}, r"mix \[B,H,k\] = \[2, 4, 3\]"),
        ({"mix": torch.ones(2, 4, 3)}, "sum to 1 within each group"),
        ({"mix": torch.tensor([1.5, -0.5, 0.0]).expand(2, 4, 3)}, "at least 0"),
        ({"mix": torch.full((2, 4, 3), torch.nan)}, "sum to 1"),
        ({"temperature": 0.0}, "positive attention temperature"),
        ({"window": 0}, "window of at least 1"),
        ({"window": 3, "is_causal": False}, "drop the window"),
        ({"teacher_softcap": 0.0}, "positive softcap"),
        ({"row_fraction": 0.0}, "row_fraction"),
        ({"divergence": "js"}, "one of kl, mse"),
        ({"impl": "flash"}, "impl"),
    ],
)
def test_misuse_is_named(change, message):
    (query, key, teacher_query, teacher_key, mix), weights, _ = problem()
    tensors = {
        "student_query": query,
        "student_key": key,
        "teacher_query": teacher_query,
        "teacher_key": teacher_key,
    }
    with pytest.raises(BadInput, match=message):
        squeezed_kl(**tensors | {"mix": mix, "weights": weights} | SETTINGS | change)
