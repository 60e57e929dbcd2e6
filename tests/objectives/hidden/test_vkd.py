"""VkD against plain loops; the projection stays orthogonal, the target is white."""

from dataclasses import replace

import pytest
import torch
from objectives.hidden.trials import joined, loss, rows, trial
from reference import hidden as reference
from reference.layerwise import layer_norm, project

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.core.signals import Hidden
from stillroom.objectives.hidden.vkd import whitened
from stillroom.testing import STUDENT, TEACHER, check_objective

VkD = objectives.find("hidden.vkd")
SETTINGS = [
    {},
    {"target": "whiten"},
    {"projection": "frozen"},
    {"projection": "frozen", "target": "whiten", "normalize_student": False},
    {"student_layers": [1, 4]},
]
SHAPES = [(8, 12), (12, 12), (12, 8)]


def matrix(objective, number):
    own = objective.projections[number]
    return own.weight if objective.projection == "frozen" else own.linear.weight


@pytest.mark.parametrize("widths", SHAPES)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_value_is_that_of_the_loops(settings, widths):
    objective = VkD(**settings)
    width, teacher_width = widths
    batch, ours, theirs = trial(
        objective, replace(STUDENT, width=width), replace(TEACHER, width=teacher_width)
    )
    got, predicts = loss(objective, batch, ours, theirs), batch.student.predicts
    samples = (rows(ours, objective.pairs, 0, predicts), rows(theirs, objective.pairs, 1, predicts))
    expected = 0.0
    for number, (s, h) in enumerate(zip(*samples, strict=True)):
        s, h = joined(s), joined(h)
        goals = reference.whitened(h) if objective.target == "whiten" else [layer_norm(y) for y in h]
        own = matrix(objective, number).double().tolist()
        for x, goal in zip(s, goals, strict=True):
            x = layer_norm(x) if objective.normalize_student else x
            expected += reference.smooth_l1(project(own, x), goal) / len(objective.pairs)
    assert got.total.item() == pytest.approx(expected, rel=1e-5)
    assert int(got.count) == int(predicts.sum())


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_contract(settings):
    for width, teacher_width in SHAPES:
        check_objective(
            VkD(**settings),
            student=replace(STUDENT, width=width),
            teacher=replace(TEACHER, width=teacher_width),
        )


def test_whitening_depends_on_the_batch_and_layer_norm_does_not():
    assert VkD(target="whiten").additive is False
    assert VkD().additive is True


def assert_orthogonal(weight):
    """Columns, or rows where there are fewer."""
    small = weight.T @ weight if weight.shape[0] >= weight.shape[1] else weight @ weight.T
    torch.testing.assert_close(small, torch.eye(len(small)), rtol=0, atol=2e-5)


@pytest.mark.parametrize("projection", ["trained", "frozen"])
@pytest.mark.parametrize("widths", SHAPES)
def test_the_projection_stays_orthogonal_while_it_is_trained(widths, projection):
    objective = VkD(projection=projection)
    width, teacher_width = widths
    batch, ours, theirs = trial(
        objective, replace(STUDENT, width=width), replace(TEACHER, width=teacher_width)
    )
    assert_orthogonal(matrix(objective, 0))
    trained = list(objective.parameters())
    if projection == "frozen":
        assert not trained
        assert objective.measures() == {}
        return
    optimizer, values = torch.optim.AdamW(trained, lr=0.05, weight_decay=0.1), []
    for _ in range(20):
        values.append(loss(objective, batch, ours, theirs).total)
        optimizer.zero_grad()
        values[-1].backward()
        optimizer.step()
    assert values[-1] < values[0]
    assert_orthogonal(matrix(objective, 0))
    assert objective.measures()["control"] > 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = loss(objective, batch, ours, theirs).total
    assert rounded == loss(objective, batch, ours, theirs).total


@pytest.mark.parametrize("count", [1, 5, 8, 40])
def test_whitened_states_are_white(count):
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(count, 12, generator=generator) @ torch.randn(12, 12, generator=generator) + 4
    states[:, 3] *= 1e4  # massive, as in real models
    white = whitened(states).double()
    assert white.mean(dim=0).abs().max() < 1e-4
    values = torch.linalg.eigvalsh(white.T @ white / count)
    rank = min(count - 1, 12)
    assert ((values[12 - rank :] - 1).abs() < 0.02).all()
    assert (values[: 12 - rank].abs() < 0.02).all()


def test_only_the_last_layers_meet_unless_others_are_named():
    objective = VkD()
    assert objective.setup(STUDENT, TEACHER).student == (Hidden(4),)
    assert objective.pairs == [(4, 6)]
    objective = VkD(student_layers=[2, 3], teacher_layers=[1, 6])
    objective.setup(STUDENT, TEACHER)
    assert objective.pairs == [(2, 1), (3, 6)]


def test_a_narrower_teacher_and_the_tokens_that_whitening_needs_are_said():
    objective = VkD(projection="frozen")
    objective.setup(STUDENT, TEACHER)
    assert objective.notes() == []
    white = VkD(projection="frozen", target="whiten")
    white.setup(STUDENT, TEACHER)
    assert "more trained tokens in a micro-batch than the teacher is wide (12)" in white.notes()[0]
    objective.setup(TEACHER, STUDENT)
    assert "narrower than the student (8 < 12)" in objective.notes()[0]


@pytest.mark.parametrize(
    "settings", [{"target": "zca"}, {"projection": "free"}, {"normalize_student": 0}], ids=str
)
def test_bad_settings(settings):
    with pytest.raises(BadInput, match=f"{next(iter(settings))} must be"):
        VkD(**settings)
