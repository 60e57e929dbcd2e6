"""Gradients of a real pair of tiny models against one plain backward pass for each term."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from reference import interference as plain
from tiny import TinyDataset, tiny_llama

from stillroom.core.batch import Batch
from stillroom.core.inspection import Place
from stillroom.core.loss import Loss, Unit
from stillroom.core.objective import Objective
from stillroom.core.signals import FinalHidden, Reads
from stillroom.data.collate import Collator
from stillroom.diagnostics.interference import compare, measure_gradients, skipped, unheard
from stillroom.diagnostics.parameter_groups import (
    ALL,
    EMBEDDING,
    QUERY_KEY,
    parameter_groups,
    trained_parameters,
)
from stillroom.objectives.hard.cross_entropy import CrossEntropy
from stillroom.objectives.logits.forward_kl import ForwardKL
from stillroom.taps.shape import model_shape
from stillroom.teachers.live import LiveTeacher
from stillroom.training.pair import Pair

PLACE = Place("start", 0)


@dataclass(eq=False, kw_only=True)
class Opposed(Objective):
    """Two terms that pull the student in opposite directions, and one that is constant."""

    terms: ClassVar[dict[str, Unit]] = {"up": "tokens", "down": "tokens", "constant": "step"}

    def setup(self, student, teacher):
        return Reads(student=(FinalHidden(),))

    def forward(self, student, teacher, batch):
        total = student[FinalHidden()][batch.student.predicts].float().pow(3).sum()
        count = batch.student.predicts.sum()
        constant = Loss(torch.tensor(3.0), torch.ones((), dtype=torch.long), "step")
        return {"up": Loss(total, count), "down": Loss(-2 * total, count), "constant": constant}


def make_pair(student=None, weights=None, **objectives) -> tuple[Pair, LiveTeacher]:
    student = student if student is not None else tiny_llama(1)
    teacher = LiveTeacher(tiny_llama(2, width=32), vocab_size=37, vocabulary="tiny")
    objectives = objectives or {"labels": CrossEntropy(), "kl": ForwardKL()}
    weights = weights or dict.fromkeys(objectives, 1.0)
    return Pair(student, objectives, weights, model_shape(student, 37, "tiny"), teacher.shape), teacher


def batches(count: int = 3) -> list:
    data, collate = TinyDataset(size=4 * count), Collator(padding_id=0)
    return [collate([data[i] for i in range(4 * b, 4 * b + 4)]) for b in range(count)]


def measured(pair, teacher, inputs):
    return measure_gradients(
        pair, inputs, lambda each: teacher.answer(Batch.from_inputs(each), pair.teacher_requests), PLACE
    )


def flat_gradient(pair, teacher, inputs, term: str, members: list[int]) -> list[float]:
    """As in training: factor x total / count, backward, and the chosen parameters end to end."""
    pair.zero_grad()
    batch = Batch.from_inputs(inputs)
    total = pair(inputs, teacher.answer(batch, pair.teacher_requests))[term]
    (pair.factors()[term] * total / pair.counts(batch)[term]).backward()
    parameters = list(trained_parameters(pair.student).values())
    gradients = [parameters[i].grad if parameters[i].grad is not None else parameters[i] * 0 for i in members]
    return torch.cat([each.flatten() for each in gradients]).double().tolist()


@pytest.mark.parametrize("group", [ALL, QUERY_KEY, EMBEDDING, "block 2"])
def test_every_number_equals_one_backward_pass_a_term(group):
    pair, teacher = make_pair(weights={"labels": 0.3, "kl": 0.7})
    inputs = batches()
    found = measured(pair, teacher, inputs).groups[group][0]
    pair.eval()
    members = parameter_groups(pair.student)[group]
    terms = ("labels/cross_entropy", "kl/divergence")
    flat = [tuple(flat_gradient(pair, teacher, each, term, members) for term in terms) for each in inputs]
    expected = plain.statistics(flat)
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-4, abs=1e-5), name
    assert found.batches == 3


def test_opposed_terms_and_a_constant():
    pair, teacher = make_pair(opposed=Opposed())
    found = measured(pair, teacher, batches(2))
    up_down, up_constant, _ = found.groups[ALL]
    assert up_down.cosine == pytest.approx(-1, abs=1e-6)
    assert up_down.opposition == pytest.approx(2, abs=1e-6)
    assert up_down.conflict_rate == 1
    assert up_down.norm_ratio == pytest.approx(0.5, rel=1e-5)
    assert (up_constant.batches, up_constant.cosine) == (0, None)
    assert unheard([found]) == [
        "opposed/constant has no gradient in the student (start), and its pairs are left out: its weight is zero, "
        "or it does not depend on the student."
    ]


def test_weights_change_norms_and_leave_cosines():
    inputs = batches(2)
    one = measured(*make_pair(weights={"labels": 1.0, "kl": 1.0}), inputs).groups[ALL][0]
    other = measured(*make_pair(weights={"labels": 5.0, "kl": 1.0}), inputs).groups[ALL][0]
    assert other.cosine == pytest.approx(one.cosine, abs=1e-6)
    assert other.norm_ratio == pytest.approx(5 * one.norm_ratio, rel=1e-4)


def test_dropout_is_off_and_the_model_stays_as_it_was():
    student = tiny_llama(1)
    student.config.attention_dropout = 0.5
    for block in student.model.layers:
        block.self_attn.attention_dropout = 0.5
    pair, teacher = make_pair(student)
    pair.train()
    first, again = (measured(pair, teacher, batches(1)).groups[ALL][0] for _ in range(2))
    assert first.cosine == again.cosine
    assert pair.student.training
    assert all(each.grad is None for each in pair.parameters())


def test_groups_cover_every_trained_parameter_once():
    student = tiny_llama(1, layers=3)
    student.model.layers[0].requires_grad_(False)
    groups = parameter_groups(student)
    assert "block 1" not in groups
    parts = [members for name, members in groups.items() if name not in (ALL, QUERY_KEY)]
    assert sorted(i for members in parts for i in members) == groups[ALL]
    names = list(trained_parameters(student))
    assert {names[i].split(".")[-2] for i in groups[QUERY_KEY]} == {"q_proj", "k_proj"}


def test_one_batch_has_no_deviation_and_half_a_pair_is_said():
    products = torch.tensor([[[1.0, -1.0], [-1.0, 4.0]], [[0.0, 0.0], [0.0, 4.0]]], dtype=torch.float64)
    found = compare(["a", "b"], products)[0]
    assert (found.batches, found.cosine, found.cosine_sd, found.conflict_rate) == (1, -0.5, None, 1.0)
    from stillroom.core.inspection import Gradients

    sentence = skipped(Gradients(PLACE, {}, {ALL: [found]}), 2)
    assert sentence == ["a and b at start: 1 of 2 batches are left out, a gradient was zero or not finite."]


@pytest.mark.parametrize("lost", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_has_no_direction(lost):
    products = torch.tensor([[[1.0, -1.0], [-1.0, 4.0]]] * 2, dtype=torch.float64)
    products[1, 0, :] = products[1, :, 0] = lost
    found = compare(["a", "b"], products)[0]
    assert (found.batches, found.cosine, found.norm_ratio) == (1, -0.5, pytest.approx(0.5))
