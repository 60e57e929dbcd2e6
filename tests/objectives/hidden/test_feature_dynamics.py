"""Feature dynamics against plain loops: which layers, through which lens, and what is compared of them."""

from dataclasses import replace

import pytest
import torch
from objectives.hidden.trials import trial
from reference.feature_dynamics import changes, lens, trajectory
from tiny import tiny_llama

from stillroom import objectives
from stillroom.core.batch import Side
from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, HeadWeights, Hidden, NormedHidden, Signals
from stillroom.taps.anatomy import blocks
from stillroom.taps.capture import capture
from stillroom.taps.prepare import prepare
from stillroom.taps.shape import model_shape
from stillroom.testing import STUDENT, TEACHER, check_objective
from stillroom.testing._signals import random_batch

FeatureDynamics = objectives.find("hidden.feature_dynamics")
VARIANTS = [
    {},
    {"temperature": 5.0, "final_norm": False},
    {"student_layers": [0, 2, 4], "teacher_layers": [1, 4, 6]},
    {"sampled_layers": 2},
]


def said(answers, mask):
    """Logits `[layer][row][token]` of every layer, in the order in which they were asked for."""
    states = [each[mask].double().tolist() for request, each in answers.items() if request != Head()]
    return lens(states, answers[Head()].weight.double().tolist())


@pytest.mark.parametrize("settings", VARIANTS)
def test_values_are_those_of_the_loops(settings):
    objective = FeatureDynamics(**settings)
    batch, ours, theirs = trial(objective)
    losses = objective(Signals(ours), Signals(theirs), batch)
    student, teacher = (said(each, batch.student.predicts) for each in (ours, theirs))
    layers = len(student)
    expected = {
        "trajectory": trajectory(student, teacher, objective.temperature) / layers,
        "dynamics": changes(student, teacher) / (layers - 1),
    }
    for term, loss in losses.items():
        assert loss.total.item() == pytest.approx(expected[term], rel=1e-5)
        assert int(loss.count) == int(batch.student.predicts.sum())


@pytest.mark.parametrize(
    ("depths", "ours", "theirs"),
    [
        ((12, 48), [2, 4, 6, 8], [9, 18, 27, 36]),  # GPT-2 small and XL
        ((24, 24), [4, 8, 12, 16], [4, 8, 12, 16]),
        ((5, 40), [1, 2, 3, 4], [8, 16, 24, 32]),
        ((4, 6), [1, 2, 3], [1, 2, 3]),
        ((8, 3), [2, 4], [1, 2]),
    ],
)
def test_layers_are_spread_as_in_the_paper(depths, ours, theirs):
    shapes = (replace(shape, num_layers=deep) for shape, deep in zip((STUDENT, TEACHER), depths, strict=True))
    reads = FeatureDynamics().setup(*shapes)
    assert reads.student == (*map(NormedHidden, ours), Head())
    assert reads.teacher == (*map(NormedHidden, theirs), Head())


def test_named_layers_are_the_ones_that_are_read():
    raw = FeatureDynamics(student_layers=[2, 4], final_norm=False).setup(STUDENT, TEACHER)
    assert raw.student == (Hidden(2), FinalHidden(), Head())
    assert raw.teacher == (Hidden(3), FinalHidden(), Head())
    partners = FeatureDynamics(teacher_layers=[2, 3, 6]).setup(STUDENT, TEACHER)
    assert partners.student == (NormedHidden(1), NormedHidden(2), NormedHidden(3), Head())
    assert partners.teacher == (NormedHidden(2), NormedHidden(3), FinalHidden(), Head())


def test_the_teacher_may_have_read_another_prompt():
    objective = FeatureDynamics()
    batch, ours, theirs = trial(objective)

    def behind(tensor):
        return torch.cat([tensor[:, :1], tensor], dim=1)

    names = ("input_ids", "attention_mask", "response_mask")
    moved = replace(batch, teacher=Side(*(behind(getattr(batch.student, name)) for name in names)))
    longer = {key: each if key == Head() else behind(each) for key, each in theirs.items()}
    plain = objective(Signals(ours), Signals(theirs), batch)
    for term, loss in objective(Signals(ours), Signals(longer), moved).items():
        assert loss.total.item() == pytest.approx(plain[term].total.item(), rel=1e-5)


def test_terms_are_weighed():
    assert FeatureDynamics().term_weights() == {"trajectory": 1.0, "dynamics": 1.0}
    assert FeatureDynamics(trajectory=0, dynamics=0.3).term_weights() == {"trajectory": 0, "dynamics": 0.3}


@pytest.mark.parametrize(
    "settings", [*VARIANTS[:2], VARIANTS[3], {"student_layers": [1, 3], "teacher_layers": [1, 3]}]
)
def test_the_contract_holds(settings):
    check_objective(FeatureDynamics(**settings))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"student_layers": []}, "student_layers must be a list of layers"),
        ({"teacher_layers": [1.5, 2]}, "teacher_layers must be a list of layers"),
        ({"sampled_layers": 1}, "sampled_layers must be a whole number of at least 2, got 1"),
        ({"sampled_layers": True}, "sampled_layers must be a whole number"),
        ({"final_norm": "yes"}, "final_norm must be true or false"),
        ({"temperature": 0}, r"temperature must lie in \(0, inf\)"),
        ({"dynamics": -1}, r"dynamics must lie in \[0, inf\)"),
        ({"student_layers": [2, 5]}, r"student_layers must lie in \[0, 4\].*got 5"),
        ({"student_layers": [1, 2], "teacher_layers": [1]}, "one partner for each of the student's 2 layers"),
        ({"student_layers": [3]}, r"at least two layers of each model.*\[3\] of the student"),
        ({"student_layers": [3, 2]}, r"from low to high, got \[3, 2\] of the student"),
        ({"student_layers": [1, 2], "teacher_layers": [4, 4]}, r"got \[4, 4\] of the teacher"),
        ({"teacher_layers": [1, 2, 3, 4]}, "more than 4 layers where so many are spread over it, got 4"),
    ],
)
def test_bad_settings_are_refused(settings, says):
    with pytest.raises(BadInput, match=says):
        FeatureDynamics(**settings).setup(STUDENT, TEACHER)


def test_models_without_a_way_are_refused():
    with pytest.raises(BadInput, match="at least two layers of each model"):
        FeatureDynamics().setup(replace(STUDENT, num_layers=2), TEACHER)
    one = replace(STUDENT, num_layers=1)
    for pair in ((one, TEACHER), (STUDENT, one)):
        with pytest.raises(BadInput, match=r"of more than 1 layers .* got 1"):
            FeatureDynamics().setup(*pair)
    FeatureDynamics(student_layers=[0, 1]).setup(one, TEACHER)


def test_another_tokenizer_is_refused():
    with pytest.raises(BadInput, match="needs one tokenizer"):
        FeatureDynamics().setup(STUDENT, replace(TEACHER, vocabulary="syllables"))


@pytest.mark.parametrize("settings", [{}, {"final_norm": False}])
def test_a_model_has_nothing_to_learn_from_itself_and_lower_blocks_learn(settings):
    student, teacher = tiny_llama(0, layers=4), tiny_llama(1, layers=4)
    shape = model_shape(student, 35, "")
    objective = FeatureDynamics(sampled_layers=2, **settings)
    reads, batch = objective.setup(shape, shape), random_batch(shape, shape, torch.Generator().manual_seed(0))
    for model in (student, teacher):
        prepare(model, reads.student)
    with torch.no_grad():
        theirs = capture(teacher, batch.teacher, reads.teacher, vocab_size=35)
        same = objective(theirs, theirs, batch)
    assert all(each.total.item() == pytest.approx(0, abs=1e-4) for each in same.values())
    losses = objective(capture(student, batch.student, reads.student, vocab_size=35), theirs, batch)
    sum(each.total for each in losses.values()).backward()
    learns = [any(each.grad is not None for each in block.parameters()) for block in blocks(student)]
    assert learns == [True, True, False, False], "layers 1 and 2 of 4 are read"


def test_a_head_of_several_teachers_is_refused():
    objective = FeatureDynamics()
    batch, ours, theirs = trial(objective)
    theirs[Head()] = HeadWeights(torch.cat([theirs[Head()].weight] * 2, dim=1))
    with pytest.raises(
        BadInput, match=r"the teacher's head, whose width is 24, but NormedHidden\(layer=1\) has 12"
    ):
        objective(Signals(ours), Signals(theirs), batch)


def test_two_weights_of_zero_are_refused():
    with pytest.raises(BadInput, match="both 0"):
        FeatureDynamics(trajectory=0, dynamics=0)
