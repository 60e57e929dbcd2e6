"""SRA against plain loops; what each setting changes, what it asks for, and what it says."""

from dataclasses import replace

import pytest
import torch
from objectives.hidden.trials import trial
from reference import span as reference
from reference import trajectories

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.core.signals import (
    FinalHidden,
    Head,
    HeadMixture,
    HeadTransform,
    HeadWeights,
    Hidden,
    ReceivedAttention,
    Signals,
)
from stillroom.objectives.span._shared_head import rows_of
from stillroom.objectives.span._units import units_of_batch
from stillroom.testing import OTHER_TEACHER, STUDENT, TEACHER, check_objective
from stillroom.testing._signals import changed, unscored

SRA = objectives.find("span.sra")
SETTINGS = [
    {},
    {"spans": "words"},
    {"spans": "phrases", "power": 0.5, "temperature": 1.0},
    {"pool_weights": "uniform"},
    {"loss_weights": "uniform"},
    {"pool_weights": "uniform", "loss_weights": "uniform", "logits_over": "sequences"},
    {"pool_weights": "centrality", "spans": "words"},
    {"loss_weights": "centrality", "power": 2.0},
    {"student_layers": [1, 3], "teacher_layers": [2, 5], "layer_weights": [1.0, 3.0], "projector": "frozen"},
    {"norm": "teacher", "max_spans": 2},
    {"divergence": "reverse_kl", "scale_by_temperature_squared": True},
]


def losses(objective, batch, ours, theirs):
    return objective(Signals(ours), Signals(theirs), batch)


class Sample:
    """One row of a trial, as lists."""

    def __init__(self, objective, batch, ours, theirs, row):
        self.objective, self.batch, self.ours, self.theirs, self.row = objective, batch, ours, theirs, row
        units = units_of_batch(batch, objective.spans, objective.max_spans)
        self.pieces = [
            [[t for t, each in enumerate(side[row].tolist()) if each == k] for side in units[:2]]
            for k in range(int(units.exists[row].sum()))
        ]

    def tokens(self, side):
        return [t for piece in self.pieces for t in piece[side]]

    def tokens_weigh(self, kind, side, layer):
        """By `kind` in a layer; among the tokens of spans, which is all that shares depend on, or of the response."""
        answers = (self.ours, self.theirs)[side]
        if kind == "uniform":
            return [1.0] * len(self.states(side, layer))
        if kind == "attention":
            received = answers[ReceivedAttention(layer, "last")][self.row].double().tolist()
            return reference.last_attention(received, self.tokens(side))
        one_side = (self.batch.student, self.batch.teacher)[side]
        kept = (one_side.predicts & one_side.response_mask)[self.row].nonzero()[:, 0].tolist()
        states = self.states(side, layer)
        found = dict(zip(kept, trajectories.centrality([states[t] for t in kept]), strict=True))
        return [found.get(t, 0.0) for t in range(len(states))]

    def states(self, side, layer):
        own = self.objective
        normed = side == 1 or own.norm == "both"
        request = FinalHidden() if layer == own.depths[side] and normed else Hidden(layer)
        return (self.ours, self.theirs)[side][request][self.row].double().tolist()

    def centers(self, side, layer):
        weights = self.tokens_weigh(self.objective.pool_weights, side, layer)
        states = self.states(side, layer)
        return [reference.center(states, weights, piece[side])[0] for piece in self.pieces]

    def both(self, pair):
        return self.centers(0, pair[0]), self.centers(1, pair[1])

    def weights(self, layer):
        if self.objective.loss_weights == "uniform":
            return [1.0] * len(self.pieces)
        weights = self.tokens_weigh(self.objective.loss_weights, 1, layer)
        return [sum(weights[t] for t in piece[1]) ** self.objective.power for piece in self.pieces]

    def cosine(self):
        own, total = self.objective, 0.0
        shares = own.layer_weights or [1.0] * len(own.pairs)
        for pair, share, projector in zip(own.pairs, shares, own.projectors, strict=True):
            each = reference.distance(
                *self.both(pair), self.weights(pair[1]), projector.weight.double().tolist()
            )
            total += share / sum(shares) * each
        return total

    def geometry(self):
        pair = self.objective.pairs[-1]
        return reference.relational(*self.both(pair), self.weights(pair[1]))

    def logits(self, shared):
        own = self.objective
        heads = [each[Head()].weight.double().tolist() for each in (self.ours, self.theirs)]
        value = reference.head_divergence(
            *self.both(own.depths), *heads, shared, own.temperature, own.divergence
        )
        return value * own.temperature**2 if own.scale_by_temperature_squared else value


def expected(objective, batch, ours, theirs, shared):
    """Totals and counts of every term."""
    samples = [Sample(objective, batch, ours, theirs, row) for row in range(len(batch.sample_ids))]
    spans = [len(each.pieces) for each in samples]
    samples = [each for each in samples if each.pieces]
    with_some = len(samples)
    return {
        "cosine": (sum(each.cosine() for each in samples), with_some),
        "geometry": (sum(each.geometry() for each in samples), sum(each > 1 for each in spans)),
        "logits": (
            sum(each.logits(shared) for each in samples),
            sum(spans) if objective.logits_over == "spans" else with_some,
        ),
    }


def by_letters(student, teacher):
    """Pairs of ids with the same bytes, and both end tokens."""
    if student.vocabulary == teacher.vocabulary:
        return [(number, number) for number in range(student.vocab_size)]
    theirs = teacher.tokens.pieces
    return [(i, theirs.index(piece)) for i, piece in enumerate(student.tokens.pieces) if piece in theirs]


@pytest.mark.parametrize("teacher", [TEACHER, OTHER_TEACHER], ids=["one tokenizer", "two"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_values_are_those_of_the_loops(settings, teacher):
    objective = SRA(**settings)
    batch, ours, theirs = trial(objective, teacher=teacher)
    got = losses(objective, batch, ours, theirs)
    told = expected(objective, batch, ours, theirs, by_letters(STUDENT, teacher))
    assert got.keys() == told.keys()
    for term, (total, count) in told.items():
        assert got[term].total.item() == pytest.approx(total, rel=2e-5)
        assert int(got[term].count) == count == int(objective.counts(batch)[term])


@pytest.mark.parametrize("settings", [{}, {"spans": "words", "divergence": "jensen_shannon"}], ids=str)
def test_gradients_are_those_of_finite_differences(settings):
    objective = SRA(**settings)
    batch, *answers = trial(objective, teacher=OTHER_TEACHER)
    objective.double()
    sides = (batch.student, batch.teacher)
    ours, theirs = (
        {
            key: changed(key, each, side, lambda request, tensor, side: tensor.double())
            for key, each in own.items()
        }
        for own, side in zip(answers, sides, strict=True)
    )
    head = ours[Head()].weight

    def value(last, upper, weight, first, second):
        moved = ours | {FinalHidden(): last, Hidden(3): upper, Head(): HeadWeights(weight)}
        own = dict(zip(("projectors.0.weight", "projectors.1.weight"), (first, second), strict=True))
        found = torch.func.functional_call(objective, own, (Signals(moved), Signals(theirs), batch))
        return sum(each.total for each in found.values())

    leaves = [ours[FinalHidden()], ours[Hidden(3)], head, *(each.weight for each in objective.projectors)]
    leaves = [each.detach().clone().requires_grad_() for each in leaves]
    assert torch.autograd.gradcheck(value, leaves, fast_mode=True)


@pytest.mark.parametrize("teacher", [TEACHER, OTHER_TEACHER], ids=["one tokenizer", "two"])
@pytest.mark.parametrize("settings", [*SETTINGS, {"cosine_weight": 0.0}, {"geometry_weight": 0}], ids=str)
def test_contract(settings, teacher):
    check_objective(SRA(**settings), teacher=teacher)


def test_nothing_to_learn_from_an_equal_without_a_projector():
    assert not SRA().zero_at_match
    objective = SRA(projector="none")
    assert objective.zero_at_match
    check_objective(objective, teacher=replace(TEACHER, width=STUDENT.width))


def test_what_a_weight_of_zero_leaves_out_is_not_asked_for():
    geometry = SRA(cosine_weight=0, logits_weight=0.0, student_layers=[2], pool_weights="uniform")
    reads = geometry.setup(STUDENT, TEACHER)
    assert reads.student == (Hidden(2),)
    assert reads.teacher == (Hidden(3), ReceivedAttention(3, "last"))
    assert list(geometry.terms) == ["geometry"]
    assert not list(geometry.parameters())
    central = SRA(pool_weights="centrality", loss_weights="centrality", student_layers=[4])
    assert central.setup(STUDENT, TEACHER).teacher == (FinalHidden(), Head())
    bare = SRA(pool_weights="uniform", loss_weights="uniform")
    assert bare.setup(STUDENT, TEACHER).teacher == (Hidden(5), FinalHidden(), Head())
    assert SRA().term_weights() == {"cosine": 1, "geometry": 50, "logits": 1}
    with pytest.raises(BadInput, match="no term left"):
        SRA(cosine_weight=0, geometry_weight=0, logits_weight=0)


def test_layers():
    objective = SRA()
    reads = objective.setup(STUDENT, TEACHER)
    assert objective.pairs == [(3, 5), (4, 6)]
    last, upper = ReceivedAttention(4, "last"), ReceivedAttention(3, "last")
    assert reads.student == (Hidden(3), upper, FinalHidden(), last, Head())
    objective.setup(replace(STUDENT, num_layers=1), TEACHER)
    assert objective.pairs == [(1, 6)]
    published = SRA()
    published.setup(replace(STUDENT, num_layers=12), replace(TEACHER, num_layers=24))
    assert published.pairs == [(11, 22), (12, 24)]
    middle = SRA(student_layers=[2])
    assert FinalHidden() in middle.setup(STUDENT, TEACHER).student  # that is what heads read
    before_the_norm = SRA(norm="teacher").setup(STUDENT, TEACHER)
    assert Hidden(4) in before_the_norm.student
    assert FinalHidden() not in before_the_norm.student
    assert FinalHidden() in before_the_norm.teacher


def test_units_are_those_of_the_setting():
    assert SRA().units == ()
    assert SRA(spans="words").units == ("words",)
    assert SRA(spans="phrases").units == ("phrases",)


@pytest.mark.parametrize("projector", ["trained", "frozen"])
def test_projectors_start_orthogonal_and_only_the_trained_ones_learn(projector):
    objective = SRA(projector=projector)
    objective.setup(STUDENT, TEACHER)
    for each in objective.projectors:
        torch.testing.assert_close(each.weight.T @ each.weight, torch.eye(8))
        assert each.weight.requires_grad == (projector == "trained")
    with pytest.raises(BadInput, match="one width, but the student has 8 and the teacher 12"):
        SRA(projector="none").setup(STUDENT, TEACHER)
    SRA(projector="none", cosine_weight=0).setup(STUDENT, TEACHER)


def test_a_sample_without_spans_neither_counts_nor_adds():
    objective = SRA(spans="phrases")
    batch, ours, theirs = trial(objective)
    before = losses(objective, batch, ours, theirs)
    phrases = batch.student.phrases.clone()
    phrases[1] = -1
    phrases[2] = torch.where(phrases[2] == phrases[2].max(), phrases[2], -1)
    side = replace(batch.student, phrases=phrases)
    fewer = replace(batch, student=side, teacher=side)
    spans = units_of_batch(fewer, "phrases").counts.tolist()
    assert spans[0] > 1
    after = losses(objective, fewer, ours, theirs)
    assert int(after["cosine"].count) == sum(each > 0 for each in spans) < int(before["cosine"].count)
    assert int(after["geometry"].count) == 1
    told = expected(objective, fewer, ours, theirs, by_letters(STUDENT, TEACHER))
    for term, (total, count) in told.items():
        assert (after[term].total.item(), int(after[term].count)) == pytest.approx((total, count), rel=1e-5)


def test_spans_without_attention_weigh_nothing():
    objective = SRA()
    batch, ours, theirs = trial(objective)
    units = units_of_batch(batch, "chunks")
    for answers in (ours, theirs):
        for request, answer in answers.items():
            if isinstance(request, ReceivedAttention):
                answers[request] = answer.masked_fill((units.student == 0)[:, None], 0)
    found = losses(objective, batch, ours, theirs)
    words = batch.student.input_ids.new_full((3, 9), -1).where(units.student < 1, units.student - 1)
    side = replace(batch.student, words=words)
    without = SRA(spans="words")
    torch.manual_seed(0)
    without.setup(STUDENT, TEACHER)
    other = losses(without, replace(batch, student=side, teacher=side), ours, theirs)
    for term in ("cosine", "geometry"):
        torch.testing.assert_close(found[term].total, other[term].total)
    blind = {key: each * 0 if isinstance(key, ReceivedAttention) else each for key, each in theirs.items()}
    assert all(each.total.item() == 0 for each in losses(objective, batch, ours, blind).values())


def test_high_powers_of_little_attention_are_no_zeros():
    objective = SRA(power=60.0)
    batch, ours, theirs = trial(objective)
    faint = {key: each * 1e-6 if isinstance(key, ReceivedAttention) else each for key, each in theirs.items()}
    before, after = (losses(objective, batch, ours, each) for each in (theirs, faint))
    assert before["cosine"].total > 0
    torch.testing.assert_close(after["cosine"].total, before["cosine"].total)


def test_centers_of_zeros_are_finite():
    objective = SRA()
    batch, ours, theirs = trial(objective)
    units = units_of_batch(batch, "chunks")
    for answers in (ours, theirs):
        for request, each in answers.items():
            if isinstance(request, Hidden | FinalHidden):
                answers[request] = each.masked_fill((units.student == 0)[..., None], 0).requires_grad_()
    found = losses(objective, batch, ours, theirs)
    sum(each.total for each in found.values()).backward()
    assert all(each.total.isfinite() for each in found.values())
    assert ours[FinalHidden()].grad.isfinite().all()
    assert objective.projectors[0].weight.grad.isfinite().all()


def test_no_response_is_finite():
    objective = SRA().train()
    batch, ours, theirs = trial(objective, teacher=OTHER_TEACHER)
    found = losses(objective, unscored(batch), ours, theirs)
    assert [each.total.item() for each in found.values()] == [0, 0, 0]
    assert objective.measures()["chunks_in_a_sequence"] == 0


def unseen(answers, tokens, layer):
    """The same answers, in which nothing attends to some tokens of the first row."""
    request = ReceivedAttention(layer, "last")
    received = answers[request].clone()
    received[0, :, tokens] = 0
    return answers | {request: received}


def test_logits_are_over_all_spans_that_have_a_center_whatever_they_weigh():
    objective = SRA(pool_weights="uniform", cosine_weight=0, geometry_weight=0)
    batch, ours, theirs = trial(objective, teacher=OTHER_TEACHER)
    hidden = (units_of_batch(batch, "chunks").teacher[0] == 0).nonzero()[:, 0].tolist()
    told = losses(objective, batch, ours, theirs)["logits"]
    assert losses(objective, batch, ours, unseen(theirs, hidden, 6))["logits"].total == told.total


def test_a_power_of_zero_does_not_bring_back_spans_without_weight():
    objective = SRA(pool_weights="uniform", power=0.0, cosine_weight=0, logits_weight=0)
    batch, ours, theirs = trial(objective)
    units = units_of_batch(batch, "chunks")
    found = losses(objective, batch, ours, unseen(theirs, units.teacher[0] == 0, 6))["geometry"].total
    words = units.student.clone()
    words[0, words[0] == 0] = -1
    fewer = replace(batch.student, words=words)
    alike = SRA(spans="words", pool_weights="uniform", power=0.0, cosine_weight=0, logits_weight=0)
    alike.setup(STUDENT, TEACHER)
    other = losses(alike, replace(batch, student=fewer, teacher=fewer), ours, theirs)["geometry"].total
    torch.testing.assert_close(found, other)


@pytest.mark.parametrize("side", [0, 1], ids=["student", "teacher"])
@pytest.mark.parametrize("over", ["spans", "sequences"])
def test_a_span_that_nothing_attends_to_does_not_thin_out_logits(side, over):
    objective = SRA(cosine_weight=0, geometry_weight=0, logits_over=over)
    batch, *answers = trial(objective, teacher=OTHER_TEACHER)
    first = Sample(objective, batch, *answers, 0)
    (blank, *rest), depth = first.pieces, objective.depths[side]
    before = losses(objective, batch, *answers)["logits"]
    answers[side] = unseen(answers[side], blank[side], depth)
    got = losses(objective, batch, *answers)["logits"]
    samples = [Sample(objective, batch, *answers, row) for row in range(3)]
    samples[0].pieces = rest
    shared = by_letters(STUDENT, OTHER_TEACHER)
    first, *others = (each.logits(shared) for each in samples)
    assert got.total.item() == pytest.approx(first * (len(rest) + 1) / len(rest) + sum(others), rel=1e-5)
    assert int(got.count) == int(before.count)


def test_heads_keep_their_transforms():
    generator = torch.Generator().manual_seed(0)
    ids = torch.tensor([4, 0, 2])
    hidden = torch.randn(3, 5, generator=generator)
    transform = HeadTransform(bias=torch.randn(6, generator=generator), softcap=2.0)
    head = HeadWeights(torch.randn(6, 5, generator=generator), transform)
    torch.testing.assert_close(rows_of(head, ids)(hidden), head(hidden)[:, ids])
    assert rows_of(head, torch.arange(6)) is head


def test_a_mixture_of_heads_is_renormalized_after_it_is_mixed():
    objective = SRA(cosine_weight=0, geometry_weight=0, loss_weights="uniform")
    batch, ours, theirs = trial(objective, teacher=OTHER_TEACHER)
    before = losses(objective, batch, ours, theirs)["logits"].total
    half = HeadTransform()
    weight, states = theirs[Head()].weight, theirs[FinalHidden()]
    mixture = HeadMixture(widths=(12, 12), shares=(0.5, 0.5), transforms=(half, half))
    twice = theirs | {
        Head(): HeadWeights(torch.cat([weight, weight], dim=1), mixture),
        FinalHidden(): torch.cat([states, states], dim=2),
    }
    after = losses(objective, batch, ours, twice)["logits"].total
    torch.testing.assert_close(after, before)


def test_several_teachers_have_wider_last_states_than_a_projector_makes():
    objective = SRA()
    batch, ours, theirs = trial(objective)
    theirs[FinalHidden()] = torch.cat([theirs[FinalHidden()]] * 2, dim=2)
    with pytest.raises(BadInput, match=r"width 12, got 24.* teacher_layers below the last"):
        losses(objective, batch, ours, theirs)


def test_measures_and_control():
    objective = SRA().train()
    batch, ours, theirs = trial(objective, teacher=OTHER_TEACHER)
    assert objective.measures() == {}
    losses(objective, batch, ours, theirs)
    units, found = units_of_batch(batch, "chunks"), objective.measures()
    spans, tokens = int(units.exists.sum()), int((units.student >= 0).sum())
    assert found.pop("control") > 0
    assert found == pytest.approx(
        {
            "chunks_in_a_sequence": spans / 3,
            "tokens_in_chunks": tokens / spans,
            "covered_by_chunks": tokens / int(batch.student.response_mask.sum()),
        }
    )
    frozen = SRA(projector="frozen").train()
    batch, ours, theirs = trial(frozen)
    losses(frozen, batch, ours, theirs)
    assert "control" not in frozen.measures()


def test_training_the_projector_lowers_the_loss_more_than_its_control():
    objective = SRA(geometry_weight=0, logits_weight=0).train()
    wide, wider = replace(STUDENT, width=48), replace(TEACHER, width=64)
    batch, ours, theirs = trial(objective, wide, wider)
    optimizer, values = torch.optim.AdamW(objective.parameters(), lr=0.02), []
    for _ in range(30):
        loss = losses(objective, batch, ours, theirs)["cosine"]
        values.append(loss.mean().item())
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    assert values[-1] < 0.5 * values[0]
    assert objective.measures()["control"] > 2 * values[-1]


def test_notes():
    def notes(settings, teacher):
        objective = SRA(**settings)
        objective.setup(STUDENT, teacher)
        return " ".join(objective.notes())

    assert "measure/control" in notes({}, TEACHER)
    assert "With one tokenizer every span" in notes({}, TEACHER)
    assert notes({"projector": "frozen", "spans": "words"}, TEACHER) == ""
    assert "share 13 tokens, of 13 of the student and 17 of the teacher" in notes({}, OTHER_TEACHER)
    assert "With one tokenizer" not in notes({}, OTHER_TEACHER)


def test_models_without_attention_are_told_what_to_set():
    blind = replace(STUDENT, num_heads=0)
    with pytest.raises(BadInput, match=r"the student \(llama\) has none: set pool_weights: uniform"):
        SRA().setup(blind, TEACHER)
    with pytest.raises(BadInput, match="the teacher"):
        SRA(pool_weights="uniform").setup(blind, replace(TEACHER, num_heads=0))
    SRA(pool_weights="uniform").setup(blind, TEACHER)
    SRA(pool_weights="uniform", loss_weights="uniform").setup(blind, replace(TEACHER, num_heads=0))


def test_the_teacher_gets_no_gradient_and_its_attention_neither():
    objective = SRA()
    batch, ours, theirs = trial(objective)
    for answers in (ours, theirs):
        for request, each in answers.items():
            if not isinstance(request, Head):
                each.requires_grad_()
    sum(each.total for each in losses(objective, batch, ours, theirs).values()).backward()
    assert all(each.grad is None for key, each in theirs.items() if key != Head())
    assert ours[ReceivedAttention(4, "last")].grad is None
    assert ours[FinalHidden()].grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"spans": "tokens"}, "spans must be one of"),
        ({"projector": "linear"}, "projector must be one of"),
        ({"norm": "student"}, "norm must be one of"),
        ({"pool_weights": "mass"}, "pool_weights must be one of"),
        ({"loss_weights": "mass"}, "loss_weights must be one of"),
        ({"logits_over": "tokens"}, "logits_over must be one of"),
        ({"divergence": "kl"}, "divergence must be one of"),
        ({"power": -1}, "power must lie in"),
        ({"temperature": 0}, "temperature must lie in"),
        ({"geometry_weight": -1}, "geometry_weight must lie in"),
        ({"scale_by_temperature_squared": 1}, "must be true or false"),
        ({"max_spans": 0}, "max_spans must be a whole number of at least 1, or null, got 0"),
        ({"max_spans": True}, "max_spans must be"),
        ({"student_layers": [0]}, "student_layers must be a list of layers counted from 1"),
        ({"layer_weights": []}, "layer_weights must be a list"),
        ({"layer_weights": [0, 0]}, "must not all be 0"),
        ({"layer_weights": [1, -1]}, "layer_weights must lie in"),
    ],
    ids=str,
)
def test_bad_settings(settings, said):
    with pytest.raises(BadInput, match=said):
        SRA(**settings)


def test_bad_pairs():
    with pytest.raises(BadInput, match="one weight for each of the 2 pairs of layers"):
        SRA(layer_weights=[1.0]).setup(STUDENT, TEACHER)
    with pytest.raises(BadInput, match=r"student_layers must lie in \[1, 4\]"):
        SRA(student_layers=[5]).setup(STUDENT, TEACHER)
    unknown = replace(OTHER_TEACHER, tokens=None)
    with pytest.raises(BadInput, match=r"span\.sra compares two vocabularies by their bytes"):
        SRA().setup(STUDENT, unknown)
    SRA(logits_weight=0).setup(STUDENT, unknown)
