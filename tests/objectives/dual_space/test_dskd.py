"""DSKD against plain loops: values, what trains what, how projectors start and which positions meet."""

import copy
from dataclasses import replace

import pytest
import torch
from largest_tensor import LargestTensor
from reference import dskd as reference

from stillroom import objectives
from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, HeadMixture, HeadTransform, HeadWeights, Signals
from stillroom.objectives._control import CONTROL_ROWS
from stillroom.objectives.dual_space._distributions import Distributions
from stillroom.testing import OTHER_TEACHER, STUDENT, TEACHER, check_objective

DSKD = objectives.find("dual_space.dskd")
V1 = objectives.find("dual_space.dskd_v1")
SETTINGS = [
    {},
    {"space": "student"},
    {"space": "teacher"},
    {"init": "random", "bias": True},
    {"to_teacher": "trained"},
    {"to_teacher": "trained", "bias": True},
    {"to_teacher": "trained", "init": "random"},
    {"positions": "exact"},
    {"label": "gold", "temperature": 1.0},
    {"agreement": False},
    {"agreement": 0.0, "init": "random"},
    {"agreement": 0.9},
    {"normalize_agreement": True},
    {"map_tokens": 8, "space": "student"},
    {"divergence": "skew_kl", "teacher_divergence": "reverse_kl"},
]
TEACHERS = {"one vocabulary": TEACHER, "two vocabularies": OTHER_TEACHER}
NARROW = replace(STUDENT, width=5)
"""Narrower than a head has rows in common with any other: its maps are least squares, not exact."""


PLAIN = (HeadTransform(), HeadTransform())


def side(ends, prompts, vocab_size, generator):
    """Rows of byte ends, -1 on padding; `prompts` tokens of each belong to the prompt."""
    ends = torch.tensor(ends)
    real, position = ends >= 0, torch.arange(ends.shape[1])
    ids = torch.randint(vocab_size, ends.shape, generator=generator)
    return Side(ids, real.long(), real & (position >= torch.tensor(prompts)[:, None]), ends)


def text(teacher, generator):
    ours = side([[2, 4, 5, 7, 8, 10, 12], [3, 4, 5, 6, 9, -1, -1]], [2, 1], 13, generator)
    if teacher.vocabulary == STUDENT.vocabulary:
        return Batch(ours, ours, torch.arange(2))
    theirs = side([[1, 3, 4, 5, 6, 8, 10, 12], [1, 3, 4, 5, 7, 8, 9, -1]], [3, 2], 17, generator)
    return Batch(ours, theirs, torch.arange(2))


def answers(shape, own, generator, transform=HeadTransform()):  # noqa: B008
    head = torch.randn(shape.vocab_size, shape.width, generator=generator).double()
    hidden = torch.randn(*own.input_ids.shape, shape.width, generator=generator).double()
    return {FinalHidden(): hidden, Head(): HeadWeights(head, transform)}


def trial(settings, student=NARROW, teacher=TEACHER, kind=DSKD, transforms=PLAIN):
    """An objective in float64 that is set up, with a batch and answers."""
    generator = torch.Generator().manual_seed(2)
    torch.manual_seed(0)
    objective = kind(**settings)
    objective.setup(student, teacher)
    batch = text(teacher, generator)
    ours = answers(student, batch.student, generator, transforms[0])
    theirs = answers(teacher, batch.teacher, generator, transforms[1])
    return objective.double(), batch, ours, theirs


def run(objective, batch, ours, theirs):
    return objective(Signals(ours), Signals(theirs), batch)


def plain_head(answered):
    head, transform = answered[Head()], answered[Head()].transform
    bias = None if transform.bias is None else transform.bias.tolist()
    return head.weight.tolist(), transform.scale, bias, transform.softcap


def plain_pairs(kind, batch, ours, theirs):
    """Pairs of hidden states, of positions `(row, i, j)`, by the loops."""
    states, found = [], []
    for row in range(len(batch.sample_ids)):
        both = [
            list(
                zip(
                    *(each[row].tolist() for each in (own.byte_ends, own.predicts, own.response_mask)),
                    strict=True,
                )
            )
            for own in (batch.student, batch.teacher)
        ]
        for i, j in getattr(reference, f"{kind}_pairs")(*both):
            states.append((ours[FinalHidden()][row, i].tolist(), theirs[FinalHidden()][row, j].tolist()))
            found.append((row, i, j))
    return states, found


def matrix(projector):
    """As loops apply it, `[d][D]`; a bias is one more column."""
    return (
        torch.cat([projector.weight, projector.bias[:, None]], dim=1)
        if projector.bias is not None
        else projector.weight
    )


def expected(objective, batch, ours, theirs):
    """All terms by the loops, times what normalization makes of them."""
    head, other = plain_head(ours), plain_head(theirs)
    states, found = plain_pairs(objective.positions, batch, ours, theirs)
    shared = list(zip(objective.shared.student.tolist(), objective.shared.teacher.tolist(), strict=True))
    turned = [(w, v) for v, w in shared]
    fitted_tokens = objective.map_tokens or len(shared)
    totals = {}
    if objective.space != "teacher":
        project = objective.to_student_space
        start = reference.logit_map(other, head, turned[:fitted_tokens])
        own = start if objective.init == "logits" else matrix(project).tolist()
        rows = [(s, [*h, 1.0] if objective.init == "random" and objective.bias else h) for s, h in states]
        if objective.label == "gold":
            labels = [int(batch.student.input_ids[row, i + 1]) for row, i, _ in found]
        else:
            labels = [dict(turned).get(reference.argmax(reference.logits(other, h))) for _, h in states]
        compared, kept, _ = reference.student_space(
            rows, head, own, labels, objective.divergence, objective.temperature, objective.agreement
        )
        fitted, known = reference.projector(rows, head, own, labels)
        if objective.normalize_agreement:
            compared, fitted = compared * len(rows) / max(kept, 1), fitted * len(rows) / max(known, 1)
        totals |= {"student_space": compared, "projector": fitted}
    if objective.space != "student":
        own = reference.logit_map(head, other, shared[:fitted_tokens])
        rows = states
        if objective.to_teacher == "trained" and objective.init == "random":
            project = objective.to_teacher_space
            own = matrix(project).tolist()
            rows = [([*s, 1.0] if project.bias is not None else s, h) for s, h in states]
        divergence = objective.teacher_divergence or objective.divergence
        totals["teacher_space"] = reference.teacher_space(rows, other, own, divergence, objective.temperature)
    return totals, len(states)


TRANSFORMS = (
    HeadTransform(torch.linspace(-1, 1, 13).double(), scale=0.5),
    HeadTransform(scale=2.0, softcap=3.0),
)


@pytest.mark.parametrize("transforms", [PLAIN, TRANSFORMS], ids=["plain", "transformed"])
@pytest.mark.parametrize("teacher", TEACHERS.values(), ids=TEACHERS)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_values_are_those_of_the_loops(settings, teacher, transforms):
    objective, batch, ours, theirs = trial(settings, teacher=teacher, transforms=transforms)
    got = run(objective, batch, ours, theirs)
    totals, count = expected(objective, batch, ours, theirs)
    assert {term: loss.total.item() for term, loss in got.items()} == pytest.approx(totals, rel=1e-5)
    assert {int(loss.count) for loss in got.values()} == {count}
    assert all(value > 0 for term, value in totals.items() if term != "student_space")


@pytest.mark.parametrize("settings", [{}, {"agreement": False}, {"divergence": "reverse_kl"}], ids=str)
def test_values_of_the_first_version_are_those_of_the_loops(settings):
    objective, batch, ours, theirs = trial(settings, kind=V1, transforms=TRANSFORMS)
    got = run(objective, batch, ours, theirs)
    totals, count = expected(objective, batch, ours, theirs)
    assert {term: loss.total.item() for term, loss in got.items()} == pytest.approx(totals, rel=1e-5)
    assert count == int(batch.student.predicts.sum())
    assert objective.teacher_divergence == "forward_kl"


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_contract(settings):
    for student in (STUDENT, NARROW):
        for teacher in (TEACHER, OTHER_TEACHER):
            check_objective(DSKD(**settings), student=student, teacher=teacher)


@pytest.mark.parametrize("settings", [{}, {"init": "logits"}, {"space": "teacher"}], ids=str)
def test_contract_of_the_first_version(settings):
    check_objective(V1(**settings))
    assert V1.two_vocabularies is False


def test_two_equal_models_have_nothing_to_learn_and_the_projector_says_what_the_teacher_says():
    objective, batch, ours, _ = trial({}, teacher=NARROW)
    got = run(objective, batch, ours, ours)
    torch.testing.assert_close(objective.to_student_space.weight, torch.eye(5).double(), rtol=0, atol=1e-9)
    assert got["student_space"].total.item() == pytest.approx(0, abs=1e-9)
    assert got["teacher_space"].total.item() == pytest.approx(0, abs=1e-9)
    scored = ours[Head()](ours[FinalHidden()][batch.student.predicts]).log_softmax(-1)
    assert got["projector"].total.item() == pytest.approx(-scored.max(-1).values.sum().item())
    assert objective.measures() == {"aligned": 1.0, "label_map_ratio": 1.0, "agreement": 1.0}


def gradients(objective, batch, ours, theirs, term):
    """Of one term, by name; None where none arrives."""
    leaves = {
        "hidden": ours[FinalHidden()].clone().requires_grad_(),
        "head": ours[Head()].weight.clone().requires_grad_(),
        "bias": ours[Head()].transform.bias.clone().requires_grad_(),
        "teacher": theirs[FinalHidden()].clone().requires_grad_(),
        "teacher head": theirs[Head()].weight.clone().requires_grad_(),
    }
    own = {
        FinalHidden(): leaves["hidden"],
        Head(): HeadWeights(leaves["head"], replace(ours[Head()].transform, bias=leaves["bias"])),
    }
    other = {
        FinalHidden(): leaves["teacher"],
        Head(): HeadWeights(leaves["teacher head"], theirs[Head()].transform),
    }
    total = run(objective, batch, own, other)[term].total
    leaves |= dict(objective.named_parameters())
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {name: each for name, each in zip(leaves, found, strict=True) if each is not None and each.any()}


@pytest.mark.parametrize("teacher", TEACHERS.values(), ids=TEACHERS)
@pytest.mark.parametrize(
    "settings", [{"agreement": False}, {"agreement": False, "to_teacher": "trained"}], ids=str
)
def test_every_term_trains_what_it_should_and_nothing_else(settings, teacher):
    made = trial(settings, teacher=teacher, transforms=TRANSFORMS)
    trains = {term: gradients(*made, term).keys() for term in made[0].terms}
    map_of_student = {"to_teacher_space.weight"} if "to_teacher" in settings else set()
    assert trains == {
        "student_space": {"hidden", "head", "bias"},
        "projector": {"to_student_space.weight"},
        "teacher_space": {"hidden"} | map_of_student,
    }


def test_gradients_are_those_of_the_formulas_with_everything_else_held():
    objective, batch, ours, theirs = trial({}, transforms=TRANSFORMS)
    run(objective, batch, ours, theirs)
    rows = batch.student.predicts
    hidden, head = (each.clone().requires_grad_() for each in (ours[FinalHidden()], ours[Head()].weight))
    other, transform = theirs[Head()], ours[Head()].transform
    weight = objective.to_student_space.weight
    states = theirs[FinalHidden()][rows]
    said = transform(states @ weight.T @ head.detach().T)
    label = other(states).argmax(-1)
    agrees = said.argmax(-1) == label
    assert 0 < agrees.sum() < len(agrees)
    divergence = torch.nn.functional.kl_div(
        (transform(hidden[rows] @ head.T) / 2).log_softmax(-1),
        (said.detach() / 2).log_softmax(-1),
        reduction="none",
        log_target=True,
    ).sum(-1)
    wanted = torch.autograd.grad((divergence * agrees).sum(), (hidden, head))
    got = gradients(objective, batch, ours, theirs, "student_space")
    torch.testing.assert_close((got["hidden"], got["head"]), wanted)

    fitted = torch.nn.functional.cross_entropy(said, label, reduction="sum")
    got = gradients(objective, batch, ours, theirs, "projector")
    torch.testing.assert_close(got["to_student_space.weight"], torch.autograd.grad(fitted, weight)[0])

    back = ours[Head()].weight.T * 0.5 @ torch.linalg.pinv(other.weight.T * 2.0)
    divergence = torch.nn.functional.kl_div(
        (other(hidden[rows] @ back) / 2).log_softmax(-1),
        (other(states) / 2).log_softmax(-1),
        reduction="sum",
        log_target=True,
    )
    got = gradients(objective, batch, ours, theirs, "teacher_space")
    torch.testing.assert_close(
        got["hidden"], torch.autograd.grad(divergence, hidden)[0], rtol=1e-5, atol=1e-6
    )


def test_labels_without_a_partner_are_left_out_and_counted():
    objective, batch, ours, theirs = trial({}, student=STUDENT, teacher=OTHER_TEACHER)
    states, _ = plain_pairs("context", batch, ours, theirs)
    absent = [w for w in range(17) if w not in objective.shared.teacher.tolist()]
    theirs[Head()].weight[absent[0]] = 50 * torch.tensor(states[0][1]).double()
    said = [reference.argmax(reference.logits(plain_head(theirs), h)) for _, h in states]
    known = sum(w not in absent for w in said)
    assert 0 < known < len(states)
    got = run(objective, batch, ours, theirs)
    totals, _ = expected(objective, batch, ours, theirs)
    assert got["projector"].total.item() == pytest.approx(totals["projector"], rel=1e-5)
    measured = objective.measures()
    assert measured["label_map_ratio"] == pytest.approx(known / len(states))
    assert measured["aligned"] == pytest.approx(len(states) / int(batch.student.predicts.sum()))


def test_labels_are_what_the_teacher_says_with_its_bias():
    objective, batch, ours, theirs = trial({"space": "student"})
    bias = 3 * torch.randn(13, generator=torch.Generator().manual_seed(0)).double()
    theirs[Head()] = HeadWeights(theirs[Head()].weight, HeadTransform(bias=bias))
    got = run(objective, batch, ours, theirs)
    totals, _ = expected(objective, batch, ours, theirs)
    assert {term: loss.total.item() for term, loss in got.items()} == pytest.approx(totals, rel=1e-5)


@pytest.mark.parametrize("swapped", [False, True], ids=["student", "teacher"])
@pytest.mark.parametrize("padding", [0, 1])
def test_a_first_token_that_nothing_comes_before_is_not_predicted(padding, swapped):
    generator = torch.Generator().manual_seed(0)
    bare = side([[-1] * padding + [3, 6, 9, 12]], [padding], 13, generator)
    prompted = side([[0, 3, 6, 9, 12]], [1], 13, generator)
    objective, *_ = trial({"positions": "exact"}, teacher=OTHER_TEACHER)
    own, other = (prompted, bare) if swapped else (bare, prompted)
    found = objective._pairs(Batch(own, other, torch.arange(1)))
    places = {id(bare): [padding, padding + 1, padding + 2], id(prompted): [1, 2, 3]}
    assert found.student.tolist() == places[id(own)]
    assert found.teacher.tolist() == places[id(other)]


def test_positions_are_those_of_the_loops_and_exact_ones_are_fewer():
    made = {kind: trial({"positions": kind}, teacher=OTHER_TEACHER) for kind in ("context", "exact")}
    counts = {}
    for kind, (objective, batch, ours, theirs) in made.items():
        pairs = objective._pairs(batch)
        assert (
            list(zip(*(each.tolist() for each in pairs), strict=True))
            == plain_pairs(kind, batch, ours, theirs)[1]
        )
        counts[kind] = {int(count) for count in objective.counts(batch).values()}
    assert counts == {"context": {7}, "exact": {5}}


@pytest.mark.parametrize("positions", ["context", "exact"])
def test_with_one_vocabulary_every_predicting_position_counts(positions):
    objective, batch, _, _ = trial({"positions": positions})
    shifted = Side(
        *(
            each.roll(2, dims=1)
            for each in (
                batch.student.input_ids[1:],
                batch.student.attention_mask[1:],
                batch.student.response_mask[1:],
            )
        )
    )
    for own in (batch.student, shifted):  # the second one is padded on the left
        pairs = objective._pairs(Batch(own, own, torch.arange(len(own.input_ids))))
        assert torch.equal(torch.stack([pairs.rows, pairs.student], 1), own.predicts.nonzero())
        assert torch.equal(pairs.student, pairs.teacher)


@pytest.mark.parametrize("positions", ["context", "exact"])
def test_the_first_token_is_left_out_where_one_tokenizer_writes_a_space_before_it(positions):
    spaced = replace(OTHER_TEACHER, tokens=replace(OTHER_TEACHER.tokens, dummy_prefix=True))
    objective, batch, ours, theirs = trial({"positions": positions}, teacher=spaced)
    wanted = [
        (row, i, j)
        for row, i, j in plain_pairs(positions, batch, ours, theirs)[1]
        if batch.student.response_mask[row, i]
    ]
    assert list(zip(*(each.tolist() for each in objective._pairs(batch)), strict=True)) == wanted
    assert int(objective.counts(batch)["projector"]) == len(wanted)


def test_logits_that_the_students_space_can_hold_are_kept():
    objective, batch, ours, theirs = trial({}, teacher=OTHER_TEACHER)
    shared = objective.shared
    hidden = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)).double()
    theirs[Head()].weight[shared.teacher] = ours[Head()].weight[shared.student] @ hidden.T
    run(objective, batch, ours, theirs)
    torch.testing.assert_close(objective.to_student_space.weight, hidden.T, rtol=1e-6, atol=1e-6)
    states = theirs[FinalHidden()][batch.teacher.predicts]
    kept = objective.to_student_space(states) @ ours[Head()].weight[shared.student].T
    torch.testing.assert_close(kept, states @ theirs[Head()].weight[shared.teacher].T)


def test_directions_that_no_shared_token_reads_start_at_random():
    """The student is 20 wide, and its head has 13 rows: the other 7 directions would stay at zero for ever."""
    objective, batch, ours, theirs = trial({}, student=replace(STUDENT, width=20))
    run(objective, batch, ours, theirs)
    weight, head = objective.to_student_space.weight, ours[Head()].weight
    states = theirs[FinalHidden()][batch.teacher.predicts]
    torch.testing.assert_close(states @ weight.T @ head.T, theirs[Head()](states))
    unread = torch.linalg.svd(head).Vh[13:]
    assert torch.linalg.matrix_rank(unread @ weight) == 7
    assert (unread @ weight).std().item() == pytest.approx(12**-0.5 / 3**0.5, rel=0.3)
    assert "logits of 13 shared tokens, fewer than a hidden state is wide (20)" in objective.notes()[1]


def test_the_map_to_the_teachers_space_keeps_what_the_tokens_it_is_fitted_to_read():
    """Eight tokens in twelve dimensions: their logits are kept exactly, as no others need be."""
    objective, batch, ours, theirs = trial({"space": "teacher", "map_tokens": 8})
    run(objective, batch, ours, theirs)
    states = ours[FinalHidden()][batch.student.predicts]
    moved = objective._to_teacher(Distributions(states, ours[Head()]), theirs[Head()])
    wanted, got = ours[Head()](states), theirs[Head()](moved)
    torch.testing.assert_close(got[:, :8], wanted[:, :8], rtol=1e-5, atol=1e-5)
    assert (got - wanted)[:, 8:].abs().max() > 0.1


def test_the_map_to_the_teachers_space_follows_the_students_head():
    objective, batch, ours, theirs = trial({"space": "teacher"})
    before = run(objective, batch, ours, theirs)["teacher_space"].total
    ours[Head()].weight.mul_(1.5)
    after = run(objective, batch, ours, theirs)["teacher_space"].total
    totals, _ = expected(objective, batch, ours, theirs)
    assert after != before
    assert after.item() == pytest.approx(totals["teacher_space"], rel=1e-5)
    assert not list(objective.parameters())


def test_projectors_start_once_the_same_everywhere_and_are_saved_and_resumed():
    settings = {"to_teacher": "trained"}
    wide = replace(STUDENT, width=20)
    objective, batch, ours, theirs = trial(settings, student=wide)
    torch.manual_seed(1)
    other = DSKD(**settings)
    other.setup(wide, TEACHER)
    other.double()
    assert not any(each.any() for each in objective.parameters())
    for each in (objective, other):
        run(each, batch, ours, theirs)
    for mine, yours in zip(objective.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, yours)
        assert mine.any()
    with torch.no_grad():
        for each in objective.parameters():
            each.mul_(1.1)
    trained, wanted = copy.deepcopy(objective.state_dict()), run(objective, batch, ours, theirs)
    assert trained.keys() == dict(objective.named_parameters()).keys()
    resumed = DSKD(**settings)
    resumed.setup(wide, TEACHER)
    resumed.double().load_state_dict(trained)
    got = run(resumed, batch, ours, theirs)
    assert {term: loss.total for term, loss in got.items()} == {
        term: loss.total for term, loss in wanted.items()
    }
    for name, each in resumed.named_parameters():
        assert torch.equal(each, trained[name])


def test_random_projectors_are_those_of_torch():
    objective, batch, ours, theirs = trial({"init": "random", "bias": True, "to_teacher": "trained"})
    before = copy.deepcopy(objective.state_dict())
    run(objective, batch, ours, theirs)
    for name, each in objective.named_parameters():
        assert torch.equal(each, before[name])
        assert 0 < each.abs().max() <= (12 if "to_student" in name else 5) ** -0.5


def test_a_share_masks_only_while_no_larger_one_agrees():
    def total(agreement):
        return run(*trial({"agreement": agreement}))["student_space"].total.item()

    objective, *made = trial({})
    run(objective, *made)
    share = objective.measures()["agreement"]
    assert 0 < share < 1
    assert total(share + 0.01) == total(True) < total(share - 0.01) == total(False)
    assert DSKD(agreement=0.5).additive is False
    assert DSKD(normalize_agreement=True).additive is False
    assert DSKD().additive is True


def test_a_control_is_measured_where_the_loss_trains_its_own_map():
    objective, batch, ours, _ = trial({"to_teacher": "trained"}, teacher=NARROW)
    got = run(objective, batch, ours, ours)
    assert got["teacher_space"].total.item() == pytest.approx(0, abs=1e-9)
    assert objective.measures()["control"] > 0.01
    assert "measure/control" in objective.notes()[1]
    assert "control" not in trial({})[0].measures()


def test_no_tensor_has_the_size_of_logits(monkeypatch):
    monkeypatch.setattr("stillroom.kernels._chunked_head.DEFAULT_BUDGET", 2**18)
    shapes = replace(STUDENT, vocab_size=1024), replace(TEACHER, vocab_size=1024)
    objective = DSKD()
    objective.setup(*shapes)
    generator = torch.Generator().manual_seed(0)
    own = side([list(range(200))], [1], 1024, generator)
    made = [answers(shape, own, generator) for shape in shapes]
    leaves = [
        each.float().requires_grad_() for one in made for each in (one[FinalHidden()], one[Head()].weight)
    ]
    ours, theirs = ({FinalHidden(): leaves[at], Head(): HeadWeights(leaves[at + 1])} for at in (0, 2))
    with LargestTensor() as seen:
        losses = run(objective, Batch(own, own, torch.arange(1)), ours, theirs)
        torch.stack([loss.total for loss in losses.values()]).sum().backward()
    assert seen.elements < 199 * 1024 / 4


def test_half_precision_is_near():
    objective, batch, ours, theirs = trial({}, teacher=OTHER_TEACHER)
    objective.float()
    exact = run(objective, batch, ours, theirs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = run(
            objective,
            batch,
            *(
                {
                    FinalHidden(): each[FinalHidden()].bfloat16(),
                    Head(): HeadWeights(each[Head()].weight.float()),
                }
                for each in (ours, theirs)
            ),
        )
    for term in ("projector", "teacher_space"):
        assert near[term].total.item() == pytest.approx(exact[term].total.item(), rel=0.05)


def ensemble(theirs, transform):
    """Answers of two teachers side by side, under one head."""
    head = theirs[Head()].weight
    both = torch.cat([theirs[FinalHidden()]] * 2, dim=-1)
    return {FinalHidden(): both, Head(): HeadWeights(torch.cat([head, head], dim=1) / 2, transform)}


@pytest.mark.parametrize(
    "settings", [{}, {"init": "random", "space": "student"}, {"space": "teacher"}], ids=str
)
@pytest.mark.parametrize(
    "transform",
    [
        HeadTransform(),
        HeadMixture(widths=(12, 12), shares=(0.5, 0.5), transforms=(HeadTransform(), HeadTransform())),
    ],
    ids=["logits", "probabilities"],
)
def test_an_ensemble_is_refused(settings, transform):
    objective, batch, ours, theirs = trial(settings)
    with pytest.raises(BadInput, match=r"ensemble side by side \(24 wide, .* 12\): choose one teacher"):
        run(objective, batch, ours, ensemble(theirs, transform))


def test_the_control_is_asked_after_autocast_is_over():
    """A normalization that autocast keeps in float32 over a head in bfloat16: outside, their product is an error."""
    objective, batch, ours, theirs = trial({"to_teacher": "trained"})
    objective.float()
    ours, theirs = (
        {FinalHidden(): each[FinalHidden()].float(), Head(): HeadWeights(each[Head()].weight.bfloat16())}
        for each in (ours, theirs)
    )
    with torch.autocast("cpu", torch.bfloat16):
        run(objective, batch, ours, theirs)
    assert objective.measures()["control"] > 0


@pytest.mark.parametrize("count", [1, CONTROL_ROWS, CONTROL_ROWS + 1, 2 * CONTROL_ROWS - 1, 1000])
def test_rows_of_the_control_are_few_and_from_all_over_the_batch(count):
    hidden = torch.arange(count).float()[:, None].requires_grad_()
    some = Distributions(hidden, HeadWeights(torch.ones(3, 1))).some().hidden
    assert len(some) <= CONTROL_ROWS
    assert some[-1] >= count - 1 - count / len(some)
    assert not some.requires_grad
    some.zero_()
    assert hidden.sum() == count * (count - 1) / 2  # the step's own rows are not touched


@pytest.mark.parametrize(
    ("settings", "by_heads"),
    [
        ({"space": "student"}, True),
        ({"space": "student", "init": "random"}, False),
        ({"space": "teacher", "init": "random"}, True),  # recomputed from both heads
        ({"to_teacher": "trained", "init": "random"}, False),
    ],
    ids=str,
)
def test_few_shared_tokens_are_noted_where_heads_make_maps(settings, by_heads):
    objective = DSKD(**settings)
    objective.setup(replace(STUDENT, width=20), TEACHER)
    assert any("fewer than a hidden state is wide" in each for each in objective.notes()) == by_heads


@pytest.mark.parametrize(
    "settings",
    [
        {"space": "dual"},
        {"divergence": "kl"},
        {"teacher_divergence": "kl"},
        {"temperature": 0},
        {"init": "pinv"},
        {"to_teacher": "frozen"},
        {"positions": "eta"},
        {"label": "hard"},
        {"agreement": 1.5},
        {"agreement": "yes"},
        {"bias": 1},
        {"map_tokens": 0},
        {"normalize_agreement": 1},
    ],
    ids=str,
)
def test_bad_settings(settings):
    with pytest.raises(BadInput, match=f"^{next(iter(settings))} must"):
        DSKD(**settings)
