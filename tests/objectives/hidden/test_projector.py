"""Feature distillation with a projector against plain loops; what is shared, and what its control gives away."""

from dataclasses import replace

import pytest
import torch
from objectives.hidden.trials import loss, one_text, rows, trial
from reference import hidden as reference

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.core.signals import Hidden, Signals
from stillroom.testing import STUDENT, TEACHER, check_objective

Projector = objectives.find("hidden.projector")
SETTINGS = [
    {},
    {"normalize": False},
    {"projector": "mlp"},
    {"projector": "mlp", "inner_width": 5, "student_layers": [2, 4], "teacher_layers": [1, 6]},
    {"shared": True, "embedding": True, "normalize": False},
]


def layers(objective, number):
    """The affine layers of the projector of a pair, as lists."""
    own = objective.projectors[0 if objective.shared else number]
    linear = [own] if objective.projector == "linear" else [own[0], own[2]]
    return [(each.weight.double().tolist(), each.bias.double().tolist()) for each in linear]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_value_is_that_of_the_loops(settings):
    objective = Projector(**settings)
    batch, ours, theirs = trial(objective)
    got, predicts = loss(objective, batch, ours, theirs), batch.student.predicts
    samples = (rows(ours, objective.pairs, 0, predicts), rows(theirs, objective.pairs, 1, predicts))
    expected = sum(
        reference.projector(s, h, layers(objective, number), objective.normalize)
        for number, pair in enumerate(zip(*samples, strict=True))
        for s, h in zip(*pair, strict=True)
    )
    assert got.total.item() == pytest.approx(expected / len(objective.pairs), rel=1e-5)
    assert int(got.count) == int(predicts.sum())


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_contract(settings):
    check_objective(Projector(**settings))
    check_objective(Projector(**settings), teacher=replace(TEACHER, width=STUDENT.width))


def test_tinybert_reads_the_embedding_and_has_one_map():
    objective = Projector(shared=True, embedding=True, normalize=False)
    reads = objective.setup(STUDENT, replace(TEACHER, num_layers=8))
    assert reads.student == tuple(Hidden(layer) for layer in (0, 1, 2, 3, 4))
    assert reads.teacher == tuple(Hidden(layer) for layer in (0, 2, 4, 6, 8))
    assert [tuple(each.shape) for each in objective.parameters()] == [(12, 8), (12,)]


def train_projector(objective, ours, theirs, batch, steps):
    """The loss per token and the control, before and after the projector alone is trained."""
    found, optimizer = [], torch.optim.Adam(objective.parameters(), lr=0.05)
    for step in range(steps + 1):
        value = loss(objective, batch, ours, theirs)
        if step in (0, steps):
            found.append((value.mean().item(), objective.measures()["control"]))
        optimizer.zero_grad()
        value.total.backward()
        optimizer.step()
    return found


@pytest.mark.parametrize("knows", [False, True])
def test_the_control_tells_learning_the_mean_from_learning_the_tokens(knows):
    """A student with constant states lets a projector learn the teacher's mean; one with states also what varies."""
    batch, generator = one_text(41), torch.Generator().manual_seed(3)
    objective = Projector(normalize=False, student_layers=[4])
    torch.manual_seed(0)
    objective.setup(STUDENT, TEACHER)
    states = torch.randn(1, 41, STUDENT.width, generator=generator)
    wide = states @ torch.randn(STUDENT.width, TEACHER.width, generator=generator) / STUDENT.width**0.5
    ours, theirs = states if knows else torch.ones_like(states), wide + 3
    (before, control_before), (after, control) = train_projector(
        objective, {Hidden(4): ours}, {Hidden(6): theirs}, batch, 200
    )
    assert before > 5
    assert control_before > 5
    if knows:
        assert after < 0.1
        assert control > 1
    else:
        assert 0.5 < after < 2
        assert control == pytest.approx(after, rel=0.15)


def test_the_control_is_of_training_only_and_changes_nothing():
    objective = Projector()
    batch, ours, theirs = trial(objective)
    assert objective.measures() == {}
    objective.eval()
    loss(objective, batch, ours, theirs)
    assert objective.measures() == {}
    objective.train()
    with torch.no_grad():
        before = objective(Signals(ours), Signals(theirs), batch)["hidden"].total
        assert objective.measures()["control"] > 0
        assert objective(Signals(ours), Signals(theirs), batch)["hidden"].total == before
    assert "measure/control" in objective.notes()[0]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"projector": "conv"}, "projector must be one of linear, mlp"),
        ({"shared": "yes"}, "shared must be true or false"),
        ({"inner_width": 3}, "set projector: mlp"),
        ({"projector": "mlp", "inner_width": 0}, "inner_width must be a whole number"),
        ({"embedding": True, "student_layers": [0, 1]}, "names already"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(BadInput, match=says):
        Projector(**settings)
