"""A cached teacher says what the live one says: shapes, types, padding, composition of batches."""

from dataclasses import fields

import pytest
import torch
from teachers.stores import REQUESTS, ask, batch_of, cached_teacher, live_teacher, plan, write
from tiny import TinyDataset, tiny_llama

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.signals import (
    FinalHidden,
    Head,
    Hidden,
    NormedHidden,
    OutputProjection,
    ReceivedAttention,
    TopTokenProbs,
    TopTokens,
)
from stillroom.objectives import find
from stillroom.taps.capture import capture
from stillroom.taps.prepare import prepare
from stillroom.taps.shape import model_shape
from stillroom.teachers.live import LiveTeacher

torch.set_num_threads(1)
DATA = TinyDataset(16)


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exact")
    write(plan(folder, DATA, precision="float32"), ask(live_teacher()))
    return folder


def kept(request, answer, batch: Batch) -> list[torch.Tensor]:
    """The tensors of an answer where it means something."""
    side = batch.teacher
    match request:
        case ReceivedAttention():
            return [answer.transpose(1, 2)[side.attention_mask.bool()]]
        case TopTokens():
            return [getattr(answer, each.name)[side.predicts] for each in fields(TopTokenProbs)]
        case Hidden():
            return [answer[side.attention_mask.bool()]]
        case FinalHidden() | NormedHidden():
            return [answer[side.predicts]]
        case Head():
            return [answer.weight]
        case _:
            return [answer]


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("indices", [[3], [0, 5, 9, 2], list(range(16))])
def test_it_answers_as_the_live_one(exact, padding, indices):
    batch = batch_of(DATA, indices, padding, multiple=8)
    live, cached = live_teacher().answer(batch, REQUESTS), cached_teacher(exact).answer(batch, REQUESTS)
    for request in REQUESTS:
        for ours, theirs in zip(
            kept(request, cached[request], batch), kept(request, live[request], batch), strict=True
        ):
            assert ours.dtype == theirs.dtype, request
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-6)


def test_shapes_and_what_lies_on_padding_are_the_live_ones(exact):
    batch = batch_of(DATA, [0, 5, 9], "left", multiple=8)
    live, cached = live_teacher().answer(batch, REQUESTS), cached_teacher(exact).answer(batch, REQUESTS)
    top = TopTokens(4, 2.0)
    for each in fields(TopTokenProbs):
        ours, theirs = getattr(cached[top], each.name), getattr(live[top], each.name)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        assert torch.equal(ours[~batch.teacher.predicts], theirs[~batch.teacher.predicts])
    for request in REQUESTS[:3]:  # received attention, of all rows, some and one
        assert cached[request].shape == live[request].shape
        hidden = batch.teacher.attention_mask[:, None, :].expand_as(cached[request]) == 0
        assert (cached[request][hidden] == 0).all()
        torch.testing.assert_close(cached[request].sum(-1), torch.ones(cached[request].shape[:2]))
    assert cached[Hidden(2)].shape == live[Hidden(2)].shape
    head = cached[Head()]
    assert torch.equal(head.weight, live[Head()].weight), "the head is stored exactly"
    assert torch.equal(cached[OutputProjection(2)], live[OutputProjection(2)]), (
        "and so is what heads write with"
    )


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_cache_does_not_know_how_it_was_batched(exact, tmp_path, batch_size):
    write(plan(tmp_path / "c", DATA, precision="float32"), ask(live_teacher(), batch_size=batch_size))
    batch = batch_of(DATA, [1, 7, 4])
    ours, theirs = (cached_teacher(each).answer(batch, REQUESTS) for each in (tmp_path / "c", exact))
    for request in REQUESTS:
        for one, other in zip(
            kept(request, ours[request], batch), kept(request, theirs[request], batch), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-6)


def test_answers_come_in_the_type_that_the_teacher_computes_in(tmp_path):
    live = LiveTeacher(tiny_llama(2, width=32).bfloat16(), vocab_size=35)
    live.prepare(REQUESTS)
    write(plan(tmp_path, DATA), ask(live))
    batch = batch_of(DATA, [0, 1])
    cached, theirs = (each.answer(batch, REQUESTS) for each in (cached_teacher(tmp_path), live))
    for request in REQUESTS:
        for one, other in zip(
            kept(request, cached[request], batch), kept(request, theirs[request], batch), strict=True
        ):
            assert (one.dtype, one.shape) == (other.dtype, other.shape), request
    assert cached[Hidden(2)].dtype == torch.bfloat16
    assert cached[ReceivedAttention(1)].dtype == torch.float32


OBJECTIVES = [
    ("attention.sharp", {"width": 64, "rank_size": 16}, 2e-3),
    ("logits.forward_kl", {}, 1e-5),
    ("logits.jensen_shannon", {"temperature": 2.0}, 1e-5),
    ("logits.forward_kl", {"top_k": 4, "temperature": 2.0}, 1e-3),
    ("logits.reverse_kl", {"top_k": 4}, 1e-3),
    ("hidden.layerwise", {}, 1e-5),
]


@pytest.mark.parametrize(("name", "settings", "tolerance"), OBJECTIVES)
def test_losses_and_gradients_are_those_of_the_live_teacher(name, settings, tolerance, tmp_path):
    """With the default precision: float16 for shares and probabilities, hidden states as computed."""
    torch.manual_seed(0)
    objective, student = find(name)(**settings), tiny_llama(1)
    reads = objective.setup(model_shape(student, 35, ""), live_teacher().shape)
    prepare(student, reads.student)
    live = live_teacher()
    live.prepare(reads.teacher)
    write(plan(tmp_path, DATA, requests=reads.teacher), ask(live, reads.teacher))
    batch = batch_of(DATA, [0, 3, 8, 11], multiple=8)
    cached = cached_teacher(tmp_path)
    cached.prepare(reads.teacher)
    found = []
    for teacher in (live, cached):
        signals = capture(student, batch.student, reads.student, vocab_size=35)
        losses = objective(signals, teacher.answer(batch, reads.teacher), batch)
        total = torch.stack([each.total for each in losses.values()]).sum()
        weights = [each for each in student.parameters() if each.requires_grad]
        grads = torch.autograd.grad(total, weights, allow_unused=True, materialize_grads=True)
        found.append((total.detach(), torch.cat([each.flatten() for each in grads])))
    (one, slope), (other, other_slope) = found
    assert one > 0
    torch.testing.assert_close(other, one, rtol=tolerance, atol=1e-6)
    assert (other_slope - slope).norm() <= 5 * tolerance * slope.norm()


def test_a_sample_that_is_not_there_is_named(exact):
    other = TinyDataset(3, seed=99)
    with pytest.raises(BadInput, match=r"sample 0 of the training data is not in the cache.*stillroom cache"):
        cached_teacher(exact).answer(batch_of(other, [0, 1]), REQUESTS)


def test_the_mask_belongs_to_the_content(exact):
    batch = batch_of(DATA, [0])
    batch.teacher.response_mask[0, -1] = False
    with pytest.raises(BadInput, match="sample 0"):
        cached_teacher(exact).answer(batch, REQUESTS)


def test_requests_that_are_not_stored_are_named(exact):
    with pytest.raises(BadInput, match=r"requests: the cache holds .*also read Hidden\(layer=1\)"):
        cached_teacher(exact).prepare((Hidden(1), Hidden(2)))
    with pytest.raises(BadInput, match="rows='response'"):
        cached_teacher(exact).prepare((ReceivedAttention(1, "response"),))
    cached_teacher(exact).prepare((TopTokens(4, 2), Hidden(2)))
