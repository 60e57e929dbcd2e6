"""DSKD with cross-model attention against plain loops; who learns from what, and what must not matter."""

from dataclasses import replace

import pytest
import torch
from largest_tensor import LargestTensor
from objectives.dual_space.cross_trials import (
    head_of,
    losses,
    meetings,
    target_rows,
    totals,
    train_projections,
    trial,
)
from reference import cross_attention as reference

from stillroom import objectives
from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.core.signals import Embedding, FinalHidden, Head, HeadTransform, Signals
from stillroom.objectives.dual_space._reading import places
from stillroom.testing import OTHER_TEACHER, STUDENT, TEACHER, check_objective
from stillroom.testing._signals import random_answer

CrossModelAttention = objectives.find("dual_space.cross_model_attention")
SETTINGS = [
    {},
    {"behavior": "code"},
    {"correct_only": False, "divergence": "skew_reverse_kl", "temperature": 1.0},
    {"teacher_divergence": "reverse_kl", "divergence": "jensen_shannon"},
]
TEACHERS = [TEACHER, OTHER_TEACHER]


def expected(objective, batch, ours, theirs):
    """Totals of the loops, and how many targets the projected teacher finds likeliest."""
    head, other, hits = head_of(ours), head_of(theirs), 0
    total = dict.fromkeys(("student_space", "teacher_space", "projector"), 0.0)
    met = meetings(objective, batch, ours, theirs)
    for (student, teacher, _, in_student, in_teacher), targets in zip(met, target_rows(batch), strict=True):
        for state, brought, target in zip(student["hidden"], in_student, targets, strict=True):
            correct = reference.is_correct(head, brought, target)
            hits += correct
            weight = correct if objective.correct_only else 1.0
            total["student_space"] += weight * reference.divergence(
                objective.divergence, (head, brought), (head, state), objective.temperature
            )
        for state, taken in zip(teacher["hidden"], in_teacher, strict=True):
            total["teacher_space"] += reference.divergence(
                objective.teacher_divergence, (other, state), (other, taken), objective.temperature
            )
        total["projector"] += reference.projector(head, in_student, targets)
    return total, hits


@pytest.mark.parametrize("teacher", TEACHERS, ids=["one vocabulary", "two"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_values_are_those_of_the_loops(settings, teacher):
    objective = CrossModelAttention(**settings)
    batch, ours, theirs = trial(objective, teacher)
    train_projections(objective, batch, ours, theirs, 15)
    got, count = losses(objective, batch, ours, theirs), int(batch.student.predicts.sum())
    wanted, hits = expected(objective, batch, ours, theirs)
    assert 0 < hits < count  # else the mask is not seen
    assert {term: loss.total.item() for term, loss in got.items()} == pytest.approx(wanted, rel=1e-9)
    assert {int(loss.count) for loss in got.values()} == {count}
    if objective.correct_only:
        assert objective.measures()["projected_accuracy"] == pytest.approx(hits / count)


@pytest.mark.parametrize("teacher", TEACHERS, ids=["one vocabulary", "two"])
@pytest.mark.parametrize("settings", [each for each in SETTINGS if "behavior" not in each], ids=str)
def test_contract(settings, teacher):
    check_objective(CrossModelAttention(**settings), teacher=teacher)


def leaves(answers):
    """Answers whose tensors all ask for a gradient."""
    return {
        key: replace(each, weight=each.weight.clone().requires_grad_())
        if key == Head()
        else each.clone().requires_grad_()
        for key, each in answers.items()
    }


def reached(objective, total, ours, theirs):
    """Names of what a total gives a gradient to."""
    named = {f"student {key}": each for key, each in ours.items()}
    named |= {f"teacher {key}": each for key, each in theirs.items()}
    named = {name: each.weight if name.endswith("Head()") else each for name, each in named.items()}
    named |= dict(objective.attention.named_parameters())
    found = torch.autograd.grad(total, list(named.values()), allow_unused=True, retain_graph=True)
    return {
        name.removesuffix(".weight").removesuffix(".bias")
        for name, each in zip(named, found, strict=True)
        if each is not None and each.any()
    }


def test_each_term_teaches_whom_it_should():
    objective = CrossModelAttention(correct_only=False)
    batch, ours, theirs = trial(objective, OTHER_TEACHER)
    ours, theirs = leaves(ours), leaves(theirs)
    got = losses(objective, batch, ours, theirs)
    assert {term: reached(objective, loss.total, ours, theirs) for term, loss in got.items()} == {
        "student_space": {"student FinalHidden()", "student Head()"},
        "teacher_space": {"student FinalHidden()", "query", "to_teacher"},
        "projector": {"query", "to_student"},
    }


def test_biases_of_heads_are_read_and_not_trained():
    objective = CrossModelAttention(correct_only=False)
    batch, ours, theirs = trial(objective, OTHER_TEACHER)
    before = totals(objective, batch, ours, theirs)
    bias = torch.linspace(-1, 1, STUDENT.vocab_size, dtype=torch.float64).requires_grad_()
    ours[Head()] = replace(ours[Head()], transform=HeadTransform(bias, softcap=5.0))
    got = losses(objective, batch, ours, theirs)
    assert got["projector"].total.item() != pytest.approx(before["projector"])
    assert got["teacher_space"].total.item() == pytest.approx(before["teacher_space"])
    assert torch.autograd.grad(got["student_space"].total, bias)[0].any()
    assert torch.autograd.grad(got["projector"].total, bias, allow_unused=True)[0] is None


def padded(batch, ours, theirs, left, right):
    """The same samples between columns of padding."""

    def wider(tensor, value):
        return torch.nn.functional.pad(tensor, (0, 0) * (tensor.dim() - 2) + (left, right), value=value)

    def moved(side):
        return Side(
            *(wider(each, 0) for each in (side.input_ids, side.attention_mask)),
            wider(side.response_mask, False),
        )

    answers = [
        {key: wider(each, 7.0) if key == FinalHidden() else each for key, each in own.items()}
        for own in (ours, theirs)
    ]
    return Batch(moved(batch.student), moved(batch.teacher), batch.sample_ids), *answers


@pytest.mark.parametrize(("behavior", "same"), [("corrected", True), ("code", False)])
def test_padding_matters_only_to_the_public_code(behavior, same):
    objective = CrossModelAttention(correct_only=False, behavior=behavior)
    parts = trial(objective, OTHER_TEACHER)
    before, after = totals(objective, *parts), totals(objective, *padded(*parts, 3, 2))
    assert (after["projector"] == pytest.approx(before["projector"], rel=1e-9)) == same
    assert (after == pytest.approx(before, rel=1e-9)) == same


def test_a_sample_without_a_response_on_one_side_is_left_out():
    objective = CrossModelAttention(correct_only=False)
    batch, ours, theirs = trial(objective, OTHER_TEACHER)
    response = batch.teacher.response_mask.clone()
    response[1] = False
    cut = replace(batch, teacher=replace(batch.teacher, response_mask=response))
    kept = torch.tensor([0, 2])
    others = [
        {key: each[kept] if key == FinalHidden() else each for key, each in own.items()}
        for own in (ours, theirs)
    ]
    got, wanted = losses(objective, cut, ours, theirs), losses(objective, batch.rows(kept), *others)
    for term, loss in got.items():
        assert loss.total.item() == pytest.approx(wanted[term].total.item(), rel=1e-9)
        assert int(loss.count) == int(wanted[term].count) == int(objective.counts(cut)[term])


def test_attention_never_pays_for_prompts():
    """Two responses of six tokens behind prompts of 2000: the final states are the largest tensors."""
    ids = torch.ones(1, 2000, dtype=torch.long)
    side = Side(ids, ids, torch.arange(2000)[None] >= 1994)
    batch = Batch(side, replace(side), torch.arange(1))
    objective = CrossModelAttention()
    reads = objective.setup(STUDENT, OTHER_TEACHER)
    draw = torch.Generator().manual_seed(0)
    ours = {each: random_answer(each, STUDENT, side, draw) for each in reads.student}
    theirs = {each: random_answer(each, OTHER_TEACHER, side, draw) for each in reads.teacher}
    with LargestTensor() as largest:
        objective(Signals(ours), Signals(theirs), batch)
    assert largest.elements <= 2000 * OTHER_TEACHER.width


def test_half_precision_by_autocast_is_close():
    objective = CrossModelAttention(correct_only=False)
    batch, ours, theirs = trial(objective, OTHER_TEACHER)
    exact = totals(objective, batch, ours, theirs)
    objective.float()
    halves = [
        {
            key: replace(each, weight=each.weight.bfloat16()) if key == Head() else each.bfloat16()
            for key, each in own.items()
        }
        for own in (ours, theirs)
    ]
    with torch.autocast("cpu", torch.bfloat16):
        assert totals(objective, batch, *halves) == pytest.approx(exact, rel=0.05)


def test_packed_places_keep_order_and_hide_what_is_not_there():
    mask = torch.tensor([[False, True, False, True], [False, False, True, False]])
    at = places(mask)
    values = torch.tensor([[torch.nan, 1, torch.nan, 2], [torch.nan, torch.nan, 3, torch.nan]])
    assert at.take(values).tolist() == [[1, 2], [3, 0]]
    assert at.lengths.tolist() == [2, 1]


def test_the_control_is_of_training_only_and_changes_nothing():
    objective = CrossModelAttention()
    parts = trial(objective, OTHER_TEACHER)
    objective.eval()
    before = totals(objective, *parts)
    assert "control" not in objective.measures()
    objective.train()
    assert totals(objective, *parts) == before
    assert objective.measures()["control"] > 0
    assert "measure/control" in objective.notes()[0]


def test_the_control_is_asked_after_autocast_is_over():
    """A normalization that autocast keeps in float32 over a head in bfloat16: outside, their product is an error."""
    objective = CrossModelAttention()
    batch, *both = trial(objective, OTHER_TEACHER)
    objective.float()
    halves = [
        {
            key: replace(each, weight=each.weight.bfloat16()) if key == Head() else each.float()
            for key, each in own.items()
        }
        for own in both
    ]
    with torch.autocast("cpu", torch.bfloat16):
        losses(objective, batch, *halves)
    assert objective.measures()["control"] > 0


def test_the_control_compares_with_rows_half_a_batch_away():
    objective = CrossModelAttention(teacher_divergence="reverse_kl")
    parts = trial(objective, OTHER_TEACHER)
    losses(objective, *parts)
    stated = [h for _, teacher, *_ in meetings(objective, *parts) for h in teacher["hidden"]]
    taken = [h for *_, in_teacher in meetings(objective, *parts) for h in in_teacher]
    other, half = head_of(parts[2]), len(stated) // 2
    pairs = zip(taken, stated[-half:] + stated[:-half], strict=True)
    wanted = sum(reference.divergence("reverse_kl", (other, p), (other, q), 2.0) for q, p in pairs)
    assert objective.measures()["control"] == pytest.approx(wanted / len(stated))


def test_an_ensemble_is_refused():
    objective = CrossModelAttention()
    batch, ours, theirs = trial(objective, OTHER_TEACHER)
    head = theirs[Head()].weight
    theirs[Head()] = replace(theirs[Head()], weight=torch.cat([head, head], dim=1))
    with pytest.raises(BadInput, match="choose one teacher"):
        losses(objective, batch, ours, theirs)


def test_reads_and_parts():
    objective = CrossModelAttention()
    reads = objective.setup(STUDENT, OTHER_TEACHER)
    assert set(reads.student) == set(reads.teacher) == {FinalHidden(), Head(), Embedding()}
    shapes = {name: tuple(each.shape) for name, each in objective.attention.named_parameters()}
    assert shapes["query.weight"] == (24, 16)
    assert (shapes["to_student.weight"], shapes["to_teacher.weight"]) == ((8, 12), (12, 8))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"divergence": "kl"}, "divergence must be one of forward_kl"),
        ({"teacher_divergence": "none"}, "teacher_divergence must be one of"),
        ({"temperature": 0}, "temperature must lie in"),
        ({"correct_only": 1}, "correct_only must be true or false"),
        ({"behavior": "paper"}, "behavior must be one of corrected, code"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(BadInput, match=says):
        CrossModelAttention(**settings)
