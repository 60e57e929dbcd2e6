"""Merge weights against plain loops and brute force; their symmetries; and what never may exist, matter or be read."""

import itertools

import pytest
import torch
from largest_tensor import LargestTensor
from reference import squeeze_weights as reference

from stillroom.core.errors import BadInput
from stillroom.kernels import _attention_blocks as _blocks
from stillroom.kernels.squeeze_weights import narrow_projection, squeeze_weights

ENGINES = ("plain", "streaming")
METHODS = ("optimal", "sequential", "printed", "constant")
RULES = {
    "causal": {},
    "window": {"window": 4},
    "one key": {"window": 1},
    "all": {"is_causal": False},
    "softcap": {"softcap": 1.5},
    "softcap and window": {"softcap": 1.5, "window": 6},
}
PADDING = ("none", "left", "right", "holes")
GROUPS = [[0, 1], [4, 2], [3], [5, 1, 2], [3, 5]]
"""Pairs that share a key head and pairs that do not, one head alone, three heads, not in order."""
PAIR = [[0, 1]]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of three rows and tiles of few heads, so that small problems have many of both."""
    monkeypatch.setattr(_blocks, "ROWS", 3)
    monkeypatch.setattr(_blocks, "SMALLEST", 3)
    monkeypatch.setattr(_blocks, "TILE", 60)


def problem(batch=2, heads=6, groups=3, length=9, width=5, value_width=3, model=4, dtype=torch.float64):
    """Query, key, value (transposed views, as transformers hands them over), output slices; weights."""
    query, key, value = (
        torch.randn(batch, length, count, size, dtype=dtype).transpose(1, 2)
        for count, size in ((heads, width), (groups, width), (groups, value_width))
    )
    out_proj = torch.randn(heads, value_width, model, dtype=dtype)
    return [query, key, value, out_proj], torch.rand(batch, length, dtype=torch.float64)


def pairs(batch=20, **sizes):
    return problem(batch, heads=2, groups=2, length=12, **sizes)


def padding(kind, batch=2, length=9):
    if kind == "none":
        return None
    mask = torch.ones(batch, length, dtype=torch.bool)
    where = {"left": slice(0, 3), "right": slice(-3, None), "holes": slice(1, None, 3)}[kind]
    mask[0, where] = False
    return mask


def merged(x, weights, groups=PAIR, **settings):
    return squeeze_weights(*x, groups=groups, weights=weights, **{"scaling": 0.7} | settings)


def alpha(x, weights, **settings):
    return merged(x, weights, **settings).mix[:, 0, 0]


def errors(x, weights, mixes, group=(0, 1), scaling=0.7):
    """E of the definition for each sample at its shares `[B,k]`; causal, every head its own keys, no padding."""
    query, key, value, out_proj = (tensor[..., list(group), :, :] for tensor in x)
    hidden = torch.ones(query.shape[2], query.shape[2]).triu(1).bool()
    maps = (scaling * query @ key.mT).masked_fill(hidden, -torch.inf).softmax(-1)
    written = value @ out_proj
    gap = torch.einsum("ba,baij,bnjd->bid", mixes, maps, written) - (maps @ written).sum(1)
    return torch.einsum("bi,bid->b", weights, gap.square())


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", PADDING)
def test_equals_plain_loops(rule, kind):
    x, weights = problem()
    mask = padding(kind)
    weights = weights if mask is None else weights * mask
    settings = {"window": None, "is_causal": True, "softcap": None, **RULES[rule]}
    expected = reference.squeeze_weights(
        *(tensor.tolist() for tensor in (*x, weights)),
        groups=GROUPS,
        methods=METHODS,
        mask=(torch.ones(2, 9, dtype=torch.bool) if mask is None else mask).tolist(),
        scaling=0.7,
        **settings,
    )
    for method, impl in itertools.product(METHODS, ENGINES):
        found = merged(x, weights, GROUPS, key_mask=mask, method=method, impl=impl, **settings).mix
        truth = torch.tensor(expected[method], dtype=torch.float64)
        torch.testing.assert_close(found, truth, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("heads", "groups"), [(6, 6), (6, 1), (6, 2)])
@pytest.mark.parametrize(("length", "model"), [(1, 4), (9, 4), (67, 4), (130, 40)])
def test_streaming_with_inner_products_equals_plain_with_outputs(rule, heads, groups, length, model):
    x, weights = problem(heads=heads, groups=groups, length=length, model=model)
    mask = padding("holes", length=length)
    for method in METHODS:
        plain, streaming = (
            merged(x, weights, GROUPS, key_mask=mask, method=method, impl=impl, **RULES[rule])
            for impl in ENGINES
        )
        torch.testing.assert_close(streaming, plain, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_is_near(dtype):
    x, weights = problem(length=64, width=16, value_width=8, model=48)
    x = [tensor.to(dtype) for tensor in x]
    truth = merged([tensor.double() for tensor in x], weights, GROUPS, impl="plain")
    found = merged(x, weights, GROUPS)
    assert found.mix.dtype == torch.float32
    torch.testing.assert_close(found.mix.double(), truth.mix, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_weights_are_shares(method):
    x, weights = problem()
    found = merged(x, weights, GROUPS, method=method)
    assert found.mix.shape == (2, 5, 3)
    assert torch.all(found.mix >= 0)
    torch.testing.assert_close(found.mix.sum(2), torch.ones(2, 5, dtype=torch.float64))
    torch.testing.assert_close(found.unclamped.sum(2), torch.ones(2, 5, dtype=torch.float64))
    for group, rows in zip(GROUPS, found.mix.unbind(1), strict=True):
        assert torch.all(rows[:, len(group) :] == 0)
    assert torch.all(found.mix[:, 2] == torch.tensor([1.0, 0, 0]))
    inside = ~found.clamped[..., None].expand_as(found.mix)
    torch.testing.assert_close(found.mix[inside], found.unclamped[inside])


def test_no_alpha_on_a_grid_is_better():
    x, weights = problem(batch=3, heads=2, groups=2)
    found = errors(x, weights, merged(x, weights).mix[:, 0])
    grid = torch.linspace(0, 1, 201, dtype=torch.float64)
    on_grid = torch.stack([errors(x, weights, torch.stack([a, 1 - a]).expand(3, 2)) for a in grid])
    lowest, where = on_grid.min(0)
    assert torch.all(found <= lowest + 1e-12)
    assert torch.all((alpha(x, weights) - grid[where]).abs() <= 1 / 200)


@pytest.mark.parametrize("method", ["optimal", "sequential"])
def test_swapped_heads_have_swapped_weights(method):
    x, weights = pairs()
    there, back = (merged(x, weights, [group], method=method) for group in ([0, 1], [1, 0]))
    torch.testing.assert_close(there.mix.flip(2), back.mix)
    torch.testing.assert_close(there.unclamped.flip(2), back.unclamped)


def test_the_printed_formula_gives_the_first_head_the_same_share_whichever_it_is():
    x, weights = pairs()
    there, back = (merged(x, weights, [group], method="printed").unclamped for group in ([0, 1], [1, 0]))
    torch.testing.assert_close(there, back)
    assert (there[:, 0, 0] - 0.5).abs().min() > 1e-4


@pytest.mark.parametrize("order", list(itertools.permutations((5, 1, 2))))
def test_the_optimum_does_not_depend_on_the_order_of_heads(order):
    x, weights = problem()
    expected = dict(zip((5, 1, 2), merged(x, weights, [[5, 1, 2]]).mix[:, 0].T, strict=True))
    found = merged(x, weights, [list(order)]).mix[:, 0].T
    torch.testing.assert_close(found, torch.stack([expected[head] for head in order]))


@pytest.mark.parametrize("impl", ENGINES)
def test_a_head_that_writes_nothing_gets_nothing(impl):
    x, weights = pairs()
    x[3][1] = 0.0
    found = merged(x, weights, impl=impl)
    torch.testing.assert_close(found.mix[:, 0, 0], torch.ones(20, dtype=torch.float64))
    assert not found.clamped.any()
    printed = alpha(x, weights, method="printed")
    assert printed.mean() < 0.7


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_heads_that_look_alike_share_alike(impl, method, dtype):
    x, weights = problem(heads=3, groups=3, length=70, width=16, dtype=dtype)
    x[0], x[1] = (tensor[:, :1].expand(-1, 3, -1, -1) for tensor in x[:2])
    found = merged(x, weights, [[0, 1], [0, 1, 2]], method=method, impl=impl)
    torch.testing.assert_close(found.mix[:, 0, :2], torch.full((2, 2), 0.5, dtype=dtype))
    expected = torch.tensor([1 / 4, 1 / 4, 1 / 2] if method in ("sequential", "printed") else [1 / 3] * 3)
    torch.testing.assert_close(found.mix[:, 1], expected.to(dtype).expand(2, 3))
    assert not found.clamped.any()


def test_the_first_row_and_nothing_at_all_leave_it_open():
    x, weights = pairs()
    for nothing in (torch.zeros_like(weights), torch.nn.functional.one_hot(torch.zeros(20).long(), 12)):
        assert torch.all(merged(x, nothing.double()).mix == 0.5)
    heavier = weights.clone()
    heavier[:, 0] += 5.0
    torch.testing.assert_close(merged(x, heavier).mix, merged(x, weights).mix)


def test_heads_that_cancel_each_other_need_clamping():
    x, weights = pairs(model=8)
    x[2][:, 1] = -0.9 * x[2][:, 0] + 0.4 * x[2][:, 1]
    x[3][1] = x[3][0]
    found = merged(x, weights)
    outside = (found.unclamped < 0).any(2)
    assert torch.equal(outside, found.clamped)
    assert 0 < outside.double().mean() < 1
    torch.testing.assert_close(found.mix, found.unclamped.clamp(0, 1))


def test_a_bias_of_the_values_cancels():
    x, weights = problem()
    biased = [*x[:2], x[2] + torch.randn(2, 3, 1, 3, dtype=torch.float64), x[3]]
    for method in ("optimal", "sequential"):
        torch.testing.assert_close(
            merged(biased, weights, GROUPS, method=method), merged(x, weights, GROUPS, method=method)
        )


@pytest.mark.parametrize("heads", [2, 3, 4, 8])
def test_no_step_towards_any_head_helps(heads):
    """E is convex: a point of the simplex that no corner improves on is its minimum."""
    x, weights = problem(batch=10, heads=heads, groups=heads, value_width=4, model=6)
    x[2][:, 1] = -x[2][:, 0] + 0.3 * x[2][:, 1]  # so that constraints are active
    x[3][1] = x[3][0]
    group = list(range(heads))
    mix = merged(x, weights, [group]).mix[:, 0]
    assert (mix == 0).any()
    lowest = errors(x, weights, mix, group)
    for corner, step in itertools.product(torch.eye(heads, dtype=torch.float64), (1e-3, 0.1, 1.0)):
        other = errors(x, weights, (1 - step) * mix + step * corner, group)
        assert torch.all(lowest <= other * (1 + 1e-12))


def test_a_constraint_of_three_heads_is_seen():
    x, weights = problem(batch=40, heads=3, groups=3, model=6)
    x[2][:, 2] = -x[2][:, 0]
    x[3][2] = x[3][0]
    found = merged(x, weights, [[0, 1, 2]])
    assert 0 < found.clamped.double().mean() < 1
    assert torch.equal((found.unclamped < 0).any(2), found.clamped)
    assert torch.equal((found.mix == 0).any(2), found.clamped)


def test_one_after_the_other_is_nearly_as_good_as_all_at_once():
    x, weights = problem(batch=20, heads=4, groups=4, length=24, width=8, value_width=6, model=24)
    group = [0, 1, 2, 3]
    found = {}
    for method in METHODS:
        mix = merged(x, weights, [group], method=method, scaling=0.3).mix[:, 0]
        found[method] = errors(x, weights, mix, group, scaling=0.3)
    assert torch.all(found["optimal"] <= found["sequential"] + 1e-12)
    assert found["sequential"].mean() <= 1.03 * found["optimal"].mean() <= found["constant"].mean()


@pytest.mark.parametrize(("size", "cost"), [(1.0, 1.02), (0.5, 1.4)])
def test_the_printed_formula_is_no_better_than_half(size, cost):
    """Heads that write equally much and heads that do not: it sees no difference between the two cases."""
    x, weights = pairs(batch=200, width=8, value_width=6, model=16)
    x[2][:, 1] *= size
    shares = {method: merged(x, weights, scaling=0.3, method=method) for method in METHODS}
    found = {method: errors(x, weights, each.mix[:, 0], scaling=0.3) for method, each in shares.items()}
    mean = {method: each.mean() for method, each in found.items()}
    assert abs(shares["printed"].unclamped[:, 0, 0].mean() - 0.5) < 0.1
    assert torch.all(found["optimal"] <= torch.minimum(found["printed"], found["constant"]) + 1e-12)
    assert mean["printed"] >= mean["constant"] >= cost * mean["optimal"]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("kind", ["left", "right", "holes"])
def test_padding_may_hold_anything(impl, kind):
    x, weights = problem()
    mask = padding(kind)
    weights = weights * mask
    settings = {"key_mask": mask, "impl": impl, "window": 6}
    broken = [tensor.clone() for tensor in x]
    for tensor in broken[:3]:
        tensor.transpose(1, 2)[~mask] = torch.nan
    for method in METHODS:
        expected, found = (merged(each, weights, GROUPS, method=method, **settings) for each in (x, broken))
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("impl", ENGINES)
def test_a_row_that_sees_nothing_counts_for_nothing(impl):
    x, weights = problem()
    mask = padding("left")  # the first three rows keep their weight and see no key
    found, expected = (
        merged(x, each, GROUPS, key_mask=mask, window=3, impl=impl) for each in (weights, weights * mask)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("impl", ENGINES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_batch_and_side_of_padding_change_nothing(impl, side):
    x, weights = problem()
    whole = merged(x, weights, GROUPS, impl=impl)
    before, after = (4, 0) if side == "left" else (0, 4)
    for b in range(2):
        longer = [torch.nn.functional.pad(tensor[b : b + 1], (0, 0, before, after)) for tensor in x[:3]]
        padded = torch.nn.functional.pad(weights[b : b + 1], (before, after))
        mask = torch.nn.functional.pad(torch.ones(1, 9, dtype=torch.bool), (before, after))
        found = merged([*longer, x[3]], padded, GROUPS, key_mask=mask, impl=impl)
        torch.testing.assert_close(found.mix, whole.mix[b : b + 1])


@pytest.mark.parametrize("impl", ENGINES)
def test_shared_key_heads_are_keys_repeated(impl):
    x, weights = problem()
    repeated = [x[0], *(tensor.repeat_interleave(2, dim=1) for tensor in x[1:3]), x[3]]
    found, expected = (merged(each, weights, GROUPS, impl=impl) for each in (x, repeated))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("model", [4, 40])
@pytest.mark.parametrize("groups", [[[0, 1], [4, 2]], [[3], [5, 1, 2], [0, 4]]])
def test_a_narrow_projection_gives_the_same_weights(model, groups):
    x, weights = problem(model=model)
    narrow = narrow_projection(x[3], groups)
    assert narrow.shape == (6, 3, min(model, 3 * max(map(len, groups))))
    for method, impl in itertools.product(METHODS, ENGINES):
        found, expected = (
            merged([*x[:3], out_proj], weights, groups, method=method, impl=impl)
            for out_proj in (narrow, x[3])
        )
        torch.testing.assert_close(found, expected)
    with pytest.raises(BadInput, match="at most one group"):
        narrow_projection(x[3], [[0, 1], [1, 2]])


def test_a_group_does_not_know_the_others():
    x, weights = problem()
    together = merged(x, weights, GROUPS)
    for number, group in enumerate(GROUPS):
        alone = merged(x, weights, [group])
        torch.testing.assert_close(alone.mix[:, 0], together.mix[:, number, : len(group)])


def test_the_map_never_exists(monkeypatch):
    monkeypatch.setattr(_blocks, "ROWS", 8)
    monkeypatch.setattr(_blocks, "SMALLEST", 8)
    monkeypatch.setattr(_blocks, "TILE", 8 * 128)
    x, weights = problem(batch=1, heads=2, groups=2, length=128)
    found = {}
    for impl in ENGINES:
        with LargestTensor() as largest:
            merged(x, weights, impl=impl)
        found[impl] = largest.elements
    assert found["plain"] >= 128 * 128
    assert found["streaming"] <= 2 * 8 * 128


@pytest.mark.parametrize("impl", ENGINES)
def test_no_gradient_and_autocast_changes_nothing(impl):
    x, weights = problem(dtype=torch.float32)
    expected = merged(x, weights, GROUPS, impl=impl)
    for tensor in x:
        tensor.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = merged(x, weights, GROUPS, impl=impl)
    assert not found.mix.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_nothing_to_do():
    x, weights = problem()
    empty = merged([*(tensor[:0] for tensor in x[:3]), x[3]], weights[:0], GROUPS)
    assert empty.mix.shape == (0, 5, 3)
    assert merged(x, weights, []).mix.shape == (2, 0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.zeros(6, 9, 5)}, r"expected query \[B,H,S,d\]"),
        ({"value": torch.zeros(2, 3, 8, 3)}, r"expected value \[B,G,S,e\]"),
        ({"weights": torch.ones(9)}, r"weights \[B,S\] = \[2, 9\]"),
        ({"key_mask": torch.ones(2, 8)}, "key_mask"),
        ({"out_proj": torch.zeros(6, 4, 4)}, r"out_proj \[H,e,D\].*\[6, 3\].*\[6, 4, 4\]"),
        ({"out_proj": torch.zeros(4, 18)}, "one slice a head"),
        ({"groups": [[0, 6]]}, r"heads 0 to 5.*\[0, 6\]"),
        ({"groups": [[0, 1], []]}, "at least one"),
        ({"groups": [[1, 1]]}, "none of them twice"),
        ({"groups": [list(range(9))], "heads": 9}, "at most 8 heads.*sequential"),
        ({"window": 0}, "window of at least 1"),
        ({"method": "best"}, "method"),
        ({"impl": "flash"}, "impl"),
    ],
)
def test_misuse_is_named(change, message):
    heads = change.pop("heads", 6)
    (query, key, value, out_proj), weights = problem(heads=heads)
    arguments = {"query": query, "key": key, "value": value, "out_proj": out_proj}
    arguments |= {"groups": PAIR, "scaling": 0.7, "weights": weights} | change
    with pytest.raises(BadInput, match=message):
        squeeze_weights(**arguments)
