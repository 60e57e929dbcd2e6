"""Layerwise alignment against a plain loop, and the choices it makes where the paper is silent."""

from dataclasses import replace

import pytest
from objectives.hidden.trials import loss, trial
from reference.layerwise import layerwise, partner

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.core.signals import Hidden
from stillroom.testing import STUDENT, TEACHER, check_objective

Layerwise = objectives.find("hidden.layerwise")


def states(answers):
    return {request.layer: tensor.double().tolist() for request, tensor in answers.items()}


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("width", [8, 12])
def test_value_is_that_of_the_loop(normalize, width):
    objective = Layerwise(normalize=normalize)
    student = replace(STUDENT, width=width)
    batch, ours, theirs = trial(objective, student)
    got = loss(objective, batch, ours, theirs)
    pairs = [(layer, partner(layer, 4, 6)) for layer in (1, 2, 3, 4)]
    matrices = None if width == 12 else [each.weight.double().tolist() for each in objective.projections]
    predicts = batch.student.predicts.tolist()
    expected = layerwise(states(ours), states(theirs), predicts, pairs, matrices, normalize)
    assert got.total.item() == pytest.approx(expected, rel=1e-5)
    assert int(got.count) == sum(map(sum, predicts))


def test_layers_meet_at_the_same_relative_depth():
    for deep, teacher_deep in ((4, 6), (12, 24), (2, 32), (3, 3), (6, 4), (1, 5)):
        objective = Layerwise()
        objective.setup(replace(STUDENT, num_layers=deep), replace(TEACHER, num_layers=teacher_deep))
        assert objective.pairs == [
            (layer, partner(layer, deep, teacher_deep)) for layer in range(1, deep + 1)
        ]
        assert objective.pairs[-1] == (deep, teacher_deep)


def test_chosen_layers_are_the_ones_that_are_read():
    objective = Layerwise(student_layers=[0, 2], teacher_layers=[0, 5])
    reads = objective.setup(STUDENT, TEACHER)
    assert reads.student == (Hidden(0), Hidden(2))
    assert reads.teacher == (Hidden(0), Hidden(5))
    assert Layerwise(student_layers=[2]).setup(STUDENT, TEACHER).teacher == (Hidden(3),)


def test_equal_widths_need_no_parameter():
    objective = Layerwise()
    objective.setup(STUDENT, replace(TEACHER, width=STUDENT.width))
    assert not list(objective.parameters())
    objective.setup(STUDENT, TEACHER)
    assert [each.shape for each in objective.parameters()] == [(TEACHER.width, STUDENT.width)] * 4


def test_the_size_of_a_token_does_not_matter_and_one_massive_coordinate_does_not_rule():
    objective = Layerwise()
    batch, ours, theirs = trial(objective, replace(STUDENT, width=12))
    plain = loss(objective, batch, ours, theirs).total
    larger = {key: 100 * each for key, each in ours.items()}
    assert loss(objective, batch, larger, theirs).total == pytest.approx(plain.item(), rel=1e-3)
    massive = {key: each.clone() for key, each in theirs.items()}
    for each in massive.values():
        each[..., 3] = 1000.0
    ruled = loss(objective, batch, ours, massive)
    assert ruled.total / ruled.count < 2.5, "each side has a mean square of one a coordinate"
    raw = Layerwise(normalize=False)
    raw.setup(replace(STUDENT, width=12), TEACHER)
    assert loss(raw, batch, ours, massive).total / ruled.count > 1000


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"normalize": False},
        {"student_layers": [1, 4]},
        {"student_layers": [4, 4], "teacher_layers": [4, 4]},
    ],
)
def test_the_contract_holds(settings):
    check_objective(Layerwise(**settings))
    check_objective(Layerwise(**settings), teacher=replace(TEACHER, width=STUDENT.width))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"student_layers": []}, "student_layers must be a list of layers"),
        ({"teacher_layers": [1.5]}, "teacher_layers must be a list of layers"),
        ({"student_layers": [-1]}, "student_layers must be a list of layers"),
        ({"student_layers": [True]}, "student_layers must be a list of layers"),
        ({"normalize": 1}, "normalize must be true or false"),
        ({"student_layers": [5]}, r"student_layers must lie in \[0, 4\].*got 5"),
        ({"student_layers": [1], "teacher_layers": [7]}, r"teacher_layers must lie in \[0, 6\].*got 7"),
        ({"teacher_layers": [1, 2]}, "one partner for each of the student's 4 layers, got 2"),
    ],
)
def test_bad_layers_are_refused(settings, says):
    with pytest.raises(BadInput, match=says):
        Layerwise(**settings).setup(STUDENT, TEACHER)


def test_another_tokenizer_is_refused():
    with pytest.raises(BadInput, match="needs one tokenizer"):
        Layerwise().setup(STUDENT, replace(TEACHER, vocabulary="syllables"))


def test_a_response_that_is_longer_for_the_teacher_is_named():
    objective = Layerwise()
    batch, ours, theirs = trial(objective)
    marks = batch.teacher.response_mask.clone()
    marks[1, batch.teacher.predicts[1].nonzero()[0] + 1] = False
    uneven = replace(batch, teacher=replace(batch.teacher, response_mask=marks))
    with pytest.raises(BadInput, match=rf"sample {int(batch.sample_ids[1])} has \d+ scored tokens"):
        loss(objective, uneven, ours, theirs)
