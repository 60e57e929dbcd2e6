"""Several teachers answer as one: against plain loops, against single teachers, through kernels and a store."""

import pytest
import torch
from largest_tensor import LargestTensor
from reference import ensemble as reference
from reference.linear_divergence import kl, softmax
from teachers.stores import CPU, ask, batch_of, plan, write
from tiny import TinyDataset, tiny_llama

from stillroom.core.errors import BadInput
from stillroom.core.signals import (
    FinalHidden,
    Head,
    HeadTransform,
    HeadWeights,
    Hidden,
    Logits,
    OutputProjection,
    QueryKey,
    TopTokens,
    Values,
)
from stillroom.data.collate import Collator
from stillroom.evaluation.likelihood import evaluate_likelihood
from stillroom.kernels.linear_divergence import linear_divergence
from stillroom.taps.shape import model_shape
from stillroom.teachers.cached import CachedTeacher
from stillroom.teachers.ensemble import EnsembleTeacher, combined_head
from stillroom.teachers.live import LiveTeacher
from stillroom.teachers.store.reader import Store

torch.set_num_threads(1)
DATA = TinyDataset(6, vocab_size=35)
BOTH = (FinalHidden(), Head())
KINDS = {"logits": reference.mean_of_logits, "probabilities": reference.mean_of_probabilities}


def member(seed, width=16, **settings):
    return LiveTeacher(tiny_llama(seed, width=width).double(), vocab_size=35, **settings)


def ensemble(combine="logits", shares=None):
    return EnsembleTeacher([member(2, 32), member(3)], combine=combine, shares=shares)


def logits_of(teacher, batch):
    teacher.prepare([Logits()])
    return teacher.answer(batch, [Logits()])[Logits()][batch.teacher.predicts]


@pytest.mark.parametrize("combine", KINDS)
@pytest.mark.parametrize("shares", [None, [3.0, 1.0]])
def test_what_they_say_is_the_mean(combine, shares):
    batch, teachers = batch_of(DATA, [0, 3, 5], "left"), ensemble(combine, shares)
    said = [logits_of(each, batch).tolist() for each in teachers.members]
    expected = KINDS[combine](said, [0.75, 0.25] if shares else [0.5, 0.5])
    torch.testing.assert_close(logits_of(teachers, batch), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("combine", KINDS)
@pytest.mark.parametrize("impl", ["plain", "streaming"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_kernels_read_it_as_one_teacher(combine, impl, temperature):
    """Value and gradient, with the temperature after the mean."""
    batch, teachers = batch_of(DATA, [0, 1, 2]), ensemble(combine)
    rows = batch.teacher.predicts
    said = teachers.answer(batch, BOTH)
    head, generator = said[Head()], torch.Generator().manual_seed(0)
    student = torch.randn(int(rows.sum()), 8, generator=generator, dtype=torch.float64, requires_grad=True)
    matrix = torch.randn(35, 8, generator=generator, dtype=torch.float64)
    loss = linear_divergence(
        student,
        matrix,
        said[FinalHidden()][rows],
        head.weight,
        divergence="forward_kl",
        temperature=temperature,
        teacher_transform=head.transform,
        memory_budget=20_000,
        impl=impl,
    )
    loss.backward()
    each = [logits_of(one, batch).tolist() for one in teachers.members]
    mean = [[z / temperature for z in row] for row in KINDS[combine](each, [0.5, 0.5])]
    ours = (student @ matrix.T / temperature).tolist()
    expected = sum(kl(softmax(p), softmax(q)) for p, q in zip(mean, ours, strict=True))
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    slope = torch.tensor(ours, dtype=torch.float64).softmax(-1) - torch.tensor(
        mean, dtype=torch.float64
    ).softmax(-1)
    torch.testing.assert_close(student.grad, slope @ matrix / temperature, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("combine", KINDS)
def test_no_tensor_of_all_rows_and_the_vocabulary_is_made(combine):
    rows, vocabulary = 400, 300
    heads = [HeadWeights(torch.randn(vocabulary, width)) for width in (8, 12)]
    head = combined_head(heads, combine, (0.5, 0.5))
    student, teacher = torch.randn(rows, 8, requires_grad=True), torch.randn(rows, 20)
    with LargestTensor() as largest:
        linear_divergence(
            student,
            torch.randn(vocabulary, 8),
            teacher,
            head.weight,
            divergence="forward_kl",
            teacher_transform=head.transform,
            memory_budget=6 * 40 * vocabulary * 4,
        )
    assert largest.elements < rows * vocabulary / 2


def test_heads_with_bias_and_scale_are_averaged_too():
    generator = torch.Generator().manual_seed(1)
    heads = [
        HeadWeights(
            torch.randn(7, 3, generator=generator), HeadTransform(torch.randn(7, generator=generator))
        ),
        HeadWeights(torch.randn(7, 4, generator=generator), HeadTransform(scale=0.3)),
    ]
    hidden = [torch.randn(5, 3, generator=generator), torch.randn(5, 4, generator=generator)]
    said = [head(states).tolist() for head, states in zip(heads, hidden, strict=True)]
    for combine, mean in KINDS.items():
        got = combined_head(heads, combine, (0.2, 0.8))(torch.cat(hidden, dim=1))
        torch.testing.assert_close(got, torch.tensor(mean(said, (0.2, 0.8))), rtol=1e-5, atol=1e-5)


def test_a_soft_cap_has_no_mean_of_logits_but_one_of_probabilities():
    heads = [HeadWeights(torch.randn(7, 3), HeadTransform(softcap=2.0)), HeadWeights(torch.randn(7, 4))]
    with pytest.raises(BadInput, match="use combine: probabilities"):
        combined_head(heads, "logits", (0.5, 0.5))
    said = combined_head(heads, "probabilities", (0.5, 0.5))(torch.randn(5, 7))
    torch.testing.assert_close(said.exp().sum(dim=-1), torch.ones(5))


def test_what_lies_inside_a_model_is_said_by_the_first_alone():
    batch, teachers = batch_of(DATA, [1, 4]), ensemble()
    inside = (QueryKey(2), Values(2), OutputProjection(2), Hidden(1))
    teachers.prepare([*inside, *BOTH])
    first = teachers.members[0]
    said, alone = teachers.answer(batch, [*inside, *BOTH]), first.answer(batch, inside)
    assert teachers.shape == first.shape
    torch.testing.assert_close(said[QueryKey(2)].query, alone[QueryKey(2)].query)
    for request in inside[1:]:
        torch.testing.assert_close(said[request], alone[request])


def test_others_are_not_run_where_nothing_is_asked_of_all(monkeypatch):
    batch, teachers = batch_of(DATA, [1, 4]), ensemble()
    teachers.prepare([Hidden(1)])
    monkeypatch.setattr(teachers.members[1], "answer", lambda *_: pytest.fail("was asked"))
    assert list(teachers.answer(batch, [Hidden(1)])) == [Hidden(1)]


@pytest.mark.parametrize("combine", KINDS)
def test_top_tokens_are_those_of_the_mean(combine):
    batch, teachers, request = batch_of(DATA, [0, 2]), ensemble(combine), TopTokens(5, 2.0)
    top = teachers.answer(batch, [request])[request]
    rows = batch.teacher.predicts
    log_p = (logits_of(teachers, batch) / 2.0).log_softmax(dim=-1)
    torch.testing.assert_close(top.log_probs[rows], log_p.topk(5).values.float())
    torch.testing.assert_close(
        top.log_tail[rows].exp() + top.log_probs[rows].exp().sum(-1), torch.ones(rows.sum())
    )


def test_one_teacher_twice_is_that_teacher():
    batch, alone = batch_of(DATA, [0, 2]), member(2)
    for combine in KINDS:
        twice = logits_of(EnsembleTeacher([member(2), member(2)], combine=combine), batch)
        torch.testing.assert_close(twice.log_softmax(-1), logits_of(alone, batch).log_softmax(-1))


def test_a_store_holds_the_mean_of_logits_exactly_and_top_tokens_of_either(tmp_path):
    for combine, requests in (("logits", (*BOTH, TopTokens(4))), ("probabilities", (TopTokens(4),))):
        teachers = EnsembleTeacher(
            [LiveTeacher(tiny_llama(seed, width=width), vocab_size=35) for seed, width in ((2, 32), (3, 16))],
            combine=combine,
        )
        teachers.prepare(requests)
        folder = tmp_path / combine
        write(plan(folder, DATA, requests=requests, precision="float32"), ask(teachers, requests))
        cached = CachedTeacher(Store(folder), model_shape(teachers.members[0].model, 35, ""))
        cached.prepare(requests)
        cached.to(CPU)
        batch = batch_of(DATA, [1, 5])
        live, stored = teachers.answer(batch, requests), cached.answer(batch, requests)
        rows = batch.teacher.predicts
        top = TopTokens(4)
        torch.testing.assert_close(
            stored[top].log_probs[rows], live[top].log_probs[rows], rtol=1e-5, atol=1e-5
        )
        if Head() in requests:
            logits = [each[Head()](each[FinalHidden()])[rows] for each in (stored, live)]
            torch.testing.assert_close(*logits)


def test_their_held_out_loss_is_that_of_their_mean():
    """As student (their own loss) and as teacher (no divergence from themselves)."""
    teachers = ensemble("probabilities")
    marks = evaluate_likelihood(teachers, DATA, Collator(0), teacher=teachers, batch_size=6)
    batch = batch_of(DATA, range(6))
    rows, targets = batch.teacher.predicts, batch.teacher.targets
    log_p = logits_of(teachers, batch).log_softmax(-1)
    expected = -log_p.gather(1, targets[rows][:, None]).mean()
    assert marks["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert marks["teacher_kl"] == pytest.approx(0, abs=1e-6)
    assert marks["agreement"] == 1


def test_what_cannot_be_one_teacher_is_refused():
    with pytest.raises(BadInput, match="teachers with one vocabulary, got 35 tokens of 'a' and 35 of 'b'"):
        EnsembleTeacher([member(2, vocabulary="a"), member(3, vocabulary="b")])
    for shares in ([1.0], [1.0, 0.0], [1.0, -1.0]):
        with pytest.raises(BadInput, match="one share above 0 for each of the 2 teachers"):
            ensemble(shares=shares)
    teachers = ensemble()
    with pytest.raises(BadInput, match="share the parameter"):
        teachers.check_distinct(teachers.members[1].model)
    teachers.members[1].model.train()
    with pytest.raises(BadInput, match="in evaluation mode"):
        teachers.answer(batch_of(DATA, [0]), BOTH)
