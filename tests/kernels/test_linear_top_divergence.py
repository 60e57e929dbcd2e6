"""The head-and-top-k kernel: engines against each other and against full logits; nothing of size N x V is kept."""

import itertools

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from stillroom.core.errors import BadInput
from stillroom.core.signals import HeadTransform, TopTokenProbs
from stillroom.kernels.linear_divergence import linear_divergence
from stillroom.kernels.linear_top_divergence import linear_top_divergence
from stillroom.numerics.divergence import DIVERGENCES

torch.set_num_threads(1)
N, V, D = 7, 13, 5
MERGEABLE = sorted(set(DIVERGENCES) - {"adaptive_kl"})


def inputs(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    hidden, head = torch.randn(N, D, generator=generator), torch.randn(V, D, generator=generator)
    theirs = torch.randn(N, V, generator=generator, dtype=torch.float64) * 2
    return hidden.to(dtype).requires_grad_(), head.to(dtype).requires_grad_(), theirs


def top(logits, k, temperature=1.0):
    log_p = (logits / temperature).log_softmax(-1)
    values, ids = log_p.topk(k)
    return TopTokenProbs(ids, values, log_p.scatter(1, ids, -torch.inf).logsumexp(-1))


@pytest.mark.parametrize("name", MERGEABLE)
@pytest.mark.parametrize("k", [1, 4, V - 1])
def test_streaming_equals_plain_in_value_and_gradient(name, k):
    hidden, head, theirs = inputs()
    bias = torch.linspace(-1, 1, V, dtype=torch.float64).requires_grad_()
    weights = torch.tensor([1.0, 0, 2, 1, 1, 0.5, 1]).double()
    found = []
    for settings in ({"impl": "plain"}, {"impl": "streaming", "memory_budget": 2000}):
        loss = linear_top_divergence(
            hidden, head, top(theirs, k, 1.5), divergence=DIVERGENCES[name], temperature=1.5, weights=weights,
            transform=HeadTransform(bias=bias, softcap=4.0), **settings,
        )  # fmt: skip
        found.append([loss, *torch.autograd.grad(loss, (hidden, head, bias))])
    for plain, streaming in zip(*found, strict=True):
        torch.testing.assert_close(streaming, plain, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", MERGEABLE)
def test_all_tokens_but_one_are_the_whole_divergence(name):
    hidden, head, theirs = inputs()
    eye = torch.eye(V, dtype=torch.float64)
    whole = linear_divergence(hidden, head, theirs, eye, divergence=name)
    merged = linear_top_divergence(hidden, head, top(theirs, V - 1), divergence=DIVERGENCES[name])
    torch.testing.assert_close(merged, whole, rtol=1e-9, atol=0)
    ours, full = (torch.autograd.grad(each, (hidden, head)) for each in (merged, whole))
    torch.testing.assert_close(ours, full, rtol=1e-8, atol=1e-11)


def test_merging_is_a_lower_bound_that_grows_with_k():
    hidden, head, theirs = inputs()
    values = [
        linear_top_divergence(hidden, head, top(theirs, k), divergence=DIVERGENCES["forward_kl"]).item()
        for k in range(1, V)
    ]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(values))


def test_rows_of_weight_zero_may_hold_anything():
    hidden, head, theirs = inputs()
    teacher, weights = top(theirs, 3), torch.ones(N)
    clean = linear_top_divergence(hidden[1:], head, top(theirs[1:], 3), divergence=DIVERGENCES["reverse_kl"])
    weights[0] = 0
    spoiled = hidden.detach().clone()
    spoiled[0] = torch.nan
    teacher.log_probs[0], teacher.log_tail[0] = torch.nan, torch.nan
    dirty = linear_top_divergence(
        spoiled, head, teacher, divergence=DIVERGENCES["reverse_kl"], weights=weights
    )
    torch.testing.assert_close(dirty, clean)


def test_a_student_that_gives_the_others_nothing_has_a_gradient_all_the_same():
    hidden, head, theirs = inputs()
    ids = theirs.topk(3).indices[:1]
    bias = torch.full((V,), -torch.inf, dtype=torch.float64).index_fill(0, ids[0], 0.0)
    teacher = TopTokenProbs(ids, torch.tensor([[0.5, 0.3, 0.2]]).double().log(), torch.tensor([-torch.inf]))
    loss = linear_top_divergence(
        hidden[:1], head, teacher, divergence=DIVERGENCES["forward_kl"], transform=HeadTransform(bias=bias)
    )
    assert torch.autograd.grad(loss, hidden)[0].isfinite().all()


def test_nothing_of_rows_times_vocabulary_is_kept_for_the_backward_pass():
    hidden, head, theirs = inputs(dtype=torch.float32)
    kept = []
    with saved_tensors_hooks(lambda each: kept.append(each.numel()) or each, lambda each: each):
        linear_top_divergence(hidden, head, top(theirs.float(), 4), divergence=DIVERGENCES["forward_kl"])
    assert max(kept) < N * V


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: TopTokenProbs(t.ids[:3], t.log_probs, t.log_tail), "expected ids"),
        (lambda t: TopTokenProbs(t.ids, t.log_probs, t.log_probs), "a tail"),
    ],
)
def test_shapes_that_do_not_fit(change, says):
    hidden, head, theirs = inputs()
    with pytest.raises(BadInput, match=says):
        linear_top_divergence(hidden, head, change(top(theirs, 4)), divergence=DIVERGENCES["renyi"])


def test_at_least_one_token_is_left_for_the_others():
    hidden, head, theirs = inputs()
    with pytest.raises(BadInput, match="from 1 to 12 tokens"):
        linear_top_divergence(hidden, head, top(theirs, V), divergence=DIVERGENCES["renyi"])
