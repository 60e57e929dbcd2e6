"""DWA-KD against plain loops: entropy weights, warped responses, and the prompt that the public code warps."""

from dataclasses import replace

import pytest
import torch
from objectives.dual_space.cross_trials import (
    affine_layers,
    head_of,
    losses,
    meetings,
    projections,
    sides,
    target_rows,
    totals,
    train_projections,
    trial,
    whole_scales,
)
from reference import cross_attention
from reference import dwa_kd as reference
from reference.hidden import affine

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.core.signals import Embedding, FinalHidden
from stillroom.objectives.dual_space._entropy_weights import rescaled, student_weights
from stillroom.testing import OTHER_TEACHER, STUDENT, TEACHER, check_objective

DWAKD = objectives.find("dual_space.dwa_kd")
NARROW = {"base": 0.2, "slope": 0.3}  # a band that leaves out some cells of responses of six tokens
SETTINGS = [
    {},
    NARROW,
    NARROW | {"share": 0.2, "penalty": 0.4, "gamma": 0.3, "weights": "student", "correct_only": True},
    {"behavior": "code", "divergence": "skew_reverse_kl"},
    {"weights": "teacher", "band": "none", "warp": "hidden", "gamma": 2.0},
    {"weights": "none", "warp": "embeddings"} | NARROW,
    {"weights": "none", "warp": "none", "correct_only": True},
    {"gate": False, "warp": "none"},
    {"gate": False, "weights": "student", "warp": "none", "behavior": "code", "correct_only": True},
]
TEACHERS = [TEACHER, OTHER_TEACHER]


def expected_spaces(objective, batch, ours, theirs):
    """Totals of both spaces."""
    head, other, total = head_of(ours), head_of(theirs), [0.0, 0.0]
    met = meetings(objective, batch, ours, theirs)
    for (student, teacher, _, in_student, in_teacher), targets in zip(met, target_rows(batch), strict=True):
        said, brought, stated = (
            [cross_attention.distribution(matrix, each) for each in states]
            for matrix, states in ((head, student["hidden"]), (head, in_student), (other, teacher["hidden"]))
        )
        w_s, w_t = [1.0] * len(said), [1.0] * len(stated)
        if objective.weights in ("both", "student"):
            w_s = reference.student_weights(said, brought, objective.behavior, objective.gate)
        if objective.weights in ("both", "teacher"):
            w_t = reference.teacher_weights(stated)
        if objective.correct_only:
            right = zip(w_s, in_student, targets, strict=True)
            w_s = [w * cross_attention.is_correct(head, h, y) for w, h, y in right]
        for w, state, h in zip(w_s, student["hidden"], in_student, strict=True):
            total[0] += w * cross_attention.divergence(objective.divergence, (head, h), (head, state), 2.0)
        for w, state, h in zip(w_t, teacher["hidden"], in_teacher, strict=True):
            total[1] += w * cross_attention.divergence("forward_kl", (other, state), (other, h), 2.0)
    return total


def warped(objective, name, student, teacher, attention):
    """One warping term of one sample."""
    if name == "hidden":
        (layer,), x, y = affine_layers(objective.attention.to_student), student["hidden"], teacher["hidden"]
    else:
        (layer,), x, y = affine_layers(objective.embeddings), student["after"], teacher["after"]
    band = None if objective.band == "none" else attention
    shape = (objective.base, objective.slope, objective.share, objective.penalty)
    return reference.warped(x, [affine(layer, each) for each in y], objective.gamma, band, *shape)


def terms_of(objective):
    return [term.removeprefix("warp_") for term in objective.terms if term.startswith("warp_")]


def expected_warps(objective, batch, ours, theirs):
    met = meetings(objective, batch, ours, theirs)
    return {
        f"warp_{name}": sum(warped(objective, name, *sample[:3]) for sample in met)
        for name in terms_of(objective)
    }


@pytest.mark.parametrize("teacher", TEACHERS, ids=["one vocabulary", "two"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_values_are_those_of_the_loops(settings, teacher):
    objective = DWAKD(**settings)
    parts = trial(objective, teacher)
    train_projections(objective, *parts, 15)
    got, count = losses(objective, *parts), int(parts[0].student.predicts.sum())
    wanted = dict(
        zip(("student_space", "teacher_space"), expected_spaces(objective, *parts), strict=True)
    ) | expected_warps(objective, *parts)
    found = {term: loss.total.item() for term, loss in got.items()}
    assert found.pop("projector") > 0
    assert found == pytest.approx(wanted, rel=1e-8)
    assert {int(loss.count) for loss in got.values()} == {count}
    assert wanted["student_space"] > 0


@pytest.mark.parametrize("teacher", TEACHERS, ids=["one vocabulary", "two"])
@pytest.mark.parametrize("settings", [each for each in SETTINGS if "behavior" not in each], ids=str)
def test_contract(settings, teacher):
    check_objective(DWAKD(**settings), teacher=teacher)


def expected_slips(objective, batch, ours, theirs):
    """The sequences that the public code slices, with its attention from rows that mean nothing."""
    found = dict.fromkeys((f"warp_{name}" for name in terms_of(objective)), 0.0)
    everything = torch.ones_like(batch.student.predicts), torch.ones_like(batch.teacher.predicts)
    samples = zip(
        sides(ours, batch.student, everything[0]),
        sides(theirs, batch.teacher, everything[1]),
        batch.student.predicts.tolist(),
        batch.teacher.predicts.tolist(),
        strict=True,
    )
    key_scale = whole_scales(theirs, batch.teacher)[0]
    for student, teacher, rows, columns in samples:
        scores = cross_attention.scores(student, teacher, projections(objective)[0], key_scale)
        attention = reference.slipped_attention(scores, rows, columns, sum(rows), sum(columns))
        first = {name: each[: sum(rows)] for name, each in student.items()}
        other = {name: each[: sum(columns)] for name, each in teacher.items()}
        for name in terms_of(objective):
            found[f"warp_{name}"] += warped(objective, name, first, other, attention)
    return found


@pytest.mark.parametrize("teacher", TEACHERS, ids=["one vocabulary", "two"])
@pytest.mark.parametrize("band", ["entropy", "none"])
def test_the_slip_of_the_public_code_is_that_of_the_loops(band, teacher):
    objective = DWAKD(region="prompt_slip", behavior="code", band=band, **NARROW)
    parts = trial(objective, teacher)
    wanted, got = expected_slips(objective, *parts), totals(objective, *parts)
    assert {term: got[term] for term in wanted} == pytest.approx(wanted, rel=1e-8)
    right = DWAKD(behavior="code", band=band, **NARROW)
    trial(right, teacher)
    after = totals(right, *parts)
    assert {term: after[term] for term in got.keys() - wanted.keys()} == pytest.approx(
        {term: got[term] for term in got.keys() - wanted.keys()}
    )
    assert all(after[term] != pytest.approx(got[term]) for term in wanted)


@pytest.mark.parametrize(("region", "reads_prompts"), [("response", False), ("prompt_slip", True)])
def test_only_the_slip_warps_prompts(region, reads_prompts):
    objective = DWAKD(region=region)
    batch, ours, theirs = trial(objective, OTHER_TEACHER)
    before = totals(objective, batch, ours, theirs)
    moved = dict(ours)
    moved[FinalHidden()] = ours[FinalHidden()].where(batch.student.predicts[:, :, None], 3.0)
    after = totals(objective, batch, moved, theirs)
    assert (after["warp_hidden"] != before["warp_hidden"]) == reads_prompts
    assert after["student_space"] == before["student_space"]


def test_the_slip_starts_at_the_first_token_wherever_padding_is():
    """From the left-padded batch, the same tokens are taken."""
    objective = DWAKD(region="prompt_slip", band="none")
    batch, ours, theirs = trial(objective, TEACHER)
    order = torch.tensor([[*range(9 - n, 9), *range(9 - n)] for n in batch.student.attention_mask.sum(1)])
    back = order.argsort(dim=1)  # real tokens to the right end

    def turned(tensor):
        index = back.reshape(*back.shape, *(1,) * (tensor.dim() - 2)).expand(tensor.shape)
        return tensor.gather(1, index)

    side = batch.student
    parts = (side.input_ids, side.attention_mask, side.response_mask)
    left = replace(
        side, **dict(zip(("input_ids", "attention_mask", "response_mask"), map(turned, parts), strict=True))
    )
    assert left.attention_mask[:, -1].all()
    others = [
        {key: turned(each) if key == FinalHidden() else each for key, each in own.items()}
        for own in (ours, theirs)
    ]
    before = totals(objective, batch, ours, theirs)
    after = totals(objective, replace(batch, student=left, teacher=left), *others)
    assert after == pytest.approx(before, rel=1e-9)


def test_weights_of_a_sample_sum_to_its_tokens():
    lengths = torch.tensor([3, 0, 2, 2])
    entropy, confidence = torch.rand(7).double(), torch.rand(7).double()
    entropy[5:] = 0
    weights = student_weights(entropy, confidence, lengths, before_confidence=False)
    assert weights.split(lengths.tolist())[0].sum().item() == pytest.approx(3)
    assert weights.split(lengths.tolist())[2].sum().item() == pytest.approx(2)
    assert weights[5:].tolist() == [1, 1]
    published = student_weights(entropy, confidence, lengths, before_confidence=True)
    assert published[:3].sum().item() < 2.9
    assert torch.equal(rescaled(torch.ones(0), torch.tensor([0, 0])), torch.ones(0))


def test_weights_follow_doubt_and_confidence():
    """A token that the student knows weighs nothing, nor does one of which the teacher has no idea."""
    entropy, confidence = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 0.5, 0.0])
    assert student_weights(entropy, confidence, torch.tensor([3]), False).tolist() == [0, 3, 0]


def found_gradients(objective, total, ours, theirs):
    named = {
        "student hidden": ours[FinalHidden()],
        "student embedding": ours[Embedding()],
        "teacher hidden": theirs[FinalHidden()],
        "teacher embedding": theirs[Embedding()],
    } | dict(objective.named_parameters())
    found = torch.autograd.grad(total, list(named.values()), allow_unused=True, retain_graph=True)
    return {
        name.removesuffix(".weight").removesuffix(".bias")
        for name, each in zip(named, found, strict=True)
        if each is not None and each.any()
    }


@pytest.mark.parametrize("region", ["response", "prompt_slip"])
def test_warping_teaches_the_student_its_embedding_and_two_projections(region):
    objective = DWAKD(region=region, **NARROW)
    batch, ours, theirs = trial(objective, OTHER_TEACHER)
    for own in (ours, theirs):
        for each in (FinalHidden(), Embedding()):
            own[each] = own[each].clone().requires_grad_()
    got = losses(objective, batch, ours, theirs)
    assert found_gradients(objective, got["warp_hidden"].total, ours, theirs) == {
        "student hidden",
        "attention.to_student",
    }
    assert found_gradients(objective, got["warp_embeddings"].total, ours, theirs) == {
        "student embedding",
        "embeddings",
    }


def test_equal_sequences_are_not_apart():
    """A student that says what its teacher says, under projections that change nothing."""
    objective = DWAKD()
    batch, ours, _ = trial(objective, STUDENT)
    with torch.no_grad():
        for linear in (objective.attention.to_student, objective.embeddings):
            linear.weight.copy_(torch.eye(STUDENT.width))
            linear.bias.zero_()
    got = totals(objective, batch, ours, ours)
    assert got["warp_hidden"] == pytest.approx(0, abs=1e-9)
    assert got["warp_embeddings"] == pytest.approx(0, abs=1e-9)
    objective.eval()
    assert objective.measures()["warp_control"] > 0.05


def test_the_band_costs_what_it_says():
    """A penalty of zero is no band; a dearer one costs more, and cells inside are never charged."""
    found = {}
    for name, settings in {
        "none": {"band": "none"},
        "free": {"penalty": 0.0},
        "cheap": {"penalty": 0.5},
        "dear": {"penalty": 50.0},
        "wide": {"base": 99.0, "penalty": 50.0},
    }.items():
        objective = DWAKD(**(NARROW | settings))
        found[name] = totals(objective, *trial(objective, OTHER_TEACHER))["warp_hidden"]
    assert found["none"] == found["free"] == found["wide"] < found["cheap"] < found["dear"] < 1e4


def test_terms_and_their_weights():
    assert DWAKD().term_weights() == {
        "student_space": 0.5,
        "teacher_space": 0.5,
        "projector": 0.5,
        "warp_hidden": 0.2,
        "warp_embeddings": 0.2,
    }
    assert not DWAKD().correct_only  # the mask is DSKD's; here the confidence takes its place
    alone = DWAKD(warp="none", space_weight=1.0)
    assert alone.term_weights() == {"student_space": 1.0, "teacher_space": 1.0, "projector": 1.0}
    alone.setup(STUDENT, OTHER_TEACHER)
    assert not hasattr(alone, "embeddings")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"weights": "teachers"}, "weights must be one of both, student, teacher, none"),
        ({"warp": "embedding"}, "warp must be one of both, hidden, embeddings, none"),
        ({"region": "prompt"}, "region must be one of response, prompt_slip"),
        ({"band": True}, "band must be one of entropy, none"),
        ({"gamma": 0}, "gamma must lie in"),
        ({"share": 1.5}, "share must lie in"),
        ({"penalty": float("inf")}, "penalty must lie in"),
        ({"warp_weight": -1}, "warp_weight must lie in"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(BadInput, match=says):
        DWAKD(**settings)
