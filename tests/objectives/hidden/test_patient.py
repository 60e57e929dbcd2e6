"""Patient distillation against plain loops, and which layers and tokens it looks at."""

from dataclasses import replace

import pytest
import torch
from objectives.hidden.trials import loss, padded, rows, trial
from reference import hidden as reference

from stillroom import objectives
from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.testing import STUDENT, TEACHER, check_objective

Patient = objectives.find("hidden.patient")
SETTINGS = [{}, {"layers": "last"}, {"pool": "mean"}, {"student_layers": [4, 1], "pool": "mean"}]


@pytest.mark.parametrize("width", [8, 12])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_value_is_that_of_the_loops(settings, width):
    objective = Patient(**settings)
    batch, ours, theirs = trial(objective, replace(STUDENT, width=width))
    got = loss(objective, batch, ours, theirs)
    mask = batch.student.predicts if objective.pool == "mean" else batch.student.attention_mask.bool()
    expected = 0.0
    for number, (s, h) in enumerate(
        zip(rows(ours, objective.pairs, 0, mask), rows(theirs, objective.pairs, 1, mask), strict=True)
    ):
        matrix = None if width == 12 else objective.projections[number].weight.double().tolist()
        pool = reference.mean if objective.pool == "mean" else (lambda vectors: vectors[-1])
        expected += sum(reference.patient(pool(x), pool(y), matrix) for x, y in zip(s, h, strict=True))
    assert got.total.item() == pytest.approx(expected / len(objective.pairs), rel=1e-5)
    assert (int(got.count), got.unit) == (3, "sequences")


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_contract(settings):
    check_objective(Patient(**settings))
    check_objective(Patient(**settings), teacher=replace(TEACHER, width=STUDENT.width))


def test_the_papers_layers():
    six, twelve = replace(STUDENT, num_layers=6), replace(TEACHER, num_layers=12)
    for layers, partners in (("skip", [2, 4, 6, 8, 10]), ("last", [7, 8, 9, 10, 11])):
        objective = Patient(layers=layers)
        objective.setup(six, twelve)
        assert objective.pairs == list(zip([1, 2, 3, 4, 5], partners, strict=True))


@pytest.mark.parametrize("pool", ["last", "mean"])
@pytest.mark.parametrize(("left", "right"), [(4, 0), (0, 5), (2, 3)])
def test_padding_on_either_side_changes_nothing(pool, left, right):
    objective = Patient(pool=pool)
    batch, *answers = trial(objective)
    before, after = loss(objective, batch, *answers), loss(objective, *padded(batch, answers, left, right))
    assert after.total.item() == pytest.approx(before.total.item(), rel=1e-6)


def test_a_sample_without_a_trained_token_does_not_count():
    objective = Patient()
    batch, ours, theirs = trial(objective)
    marks = batch.student.response_mask.clone()
    marks[1] = False
    side = replace(batch.student, response_mask=marks)
    got = loss(objective, Batch(side, side, batch.sample_ids), ours, theirs)
    kept = torch.tensor([0, 2])
    own = [{key: each[kept] for key, each in answers.items()} for answers in (ours, theirs)]
    assert int(got.count) == 2
    assert got.total.item() == pytest.approx(loss(objective, batch.rows(kept), *own).total.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "shape", "says"),
    [
        ({"layers": "first"}, {}, "layers must be one of skip, last"),
        ({"pool": "cls"}, {}, "pool must be one of last, mean"),
        ({}, {"num_layers": 1}, "name it in student_layers"),
        ({"layers": "last"}, {"num_layers": 7}, "at least the student's 7 layers, got 6"),
        ({"student_layers": [9]}, {}, r"student_layers must lie in \[0, 4\]"),
    ],
)
def test_bad_settings(settings, shape, says):
    with pytest.raises(BadInput, match=says):
        Patient(**settings).setup(replace(STUDENT, **shape), TEACHER)
