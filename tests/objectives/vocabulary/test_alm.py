"""ALM against plain loops over texts; what its differences are, and what its corrections leave alone."""

import math
from dataclasses import replace

import pytest
import torch
from objectives.vocabulary.two_texts import OURS, PIECES, THEIRS, loss, response, trial
from reference import alm as reference
from reference.likelihood import log_softmax

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, HeadTransform, HeadWeights, Signals
from stillroom.objectives.vocabulary import _chunk_likelihoods
from stillroom.objectives.vocabulary._chunks import scored_chunks
from stillroom.objectives.vocabulary.alm import DIFFERENCES, binary_kl, limit, log_of_rest
from stillroom.testing import OTHER_TEACHER, STUDENT, check_objective

ALM = objectives.find("vocabulary.alm")
SETTINGS = [
    {},
    {"debias": False},
    {"merge_threshold": None},
    {"debias": False, "merge_threshold": None},
    {"merge_threshold": 0.4, "temperature": 3.0},
    {"difference": "limit", "merge_threshold": 0.3},
]


def breaks(pieces):
    """By hand: which ids are special or begin with a blank."""
    return [number for number, piece in enumerate(pieces) if number == 0 or piece[0] in " \t\n"]


def tokens(samples, answers, pieces, left):
    """What the twin reads of one side: for every text its tokens, ends with their log-probabilities."""
    logits = answers[Head()](answers[FinalHidden()])
    found = []
    for row, each in enumerate(samples):
        length = len(each.ids) + each.before + each.whole
        start = logits.shape[1] - length if left else 0
        spelled = response(each, pieces, start)
        told = []
        for number, (_, end, index, at) in enumerate(spelled):
            own = None if at is None else log_softmax(logits[row, at].tolist())[index]
            after = None
            if number + 1 < len(spelled):
                next_token = log_softmax(logits[row, spelled[number + 1][3]].tolist())
                after = math.log(sum(math.exp(next_token[each]) for each in breaks(pieces)))
            told.append((end, own, after))
        found.append(told)
    return found


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("left", [False, True])
def test_value_is_that_of_the_loops(settings, left):
    for seed in range(6):
        objective = ALM(**settings)
        samples, batch, ours, theirs = trial(objective, seed, left)
        got = loss(objective, batch, ours, theirs)["likelihood"]
        told = [tokens(*each, left) for each in zip(samples, (ours, theirs), PIECES, strict=True)]
        own = (objective.difference, objective.temperature, objective.debias, objective.merge_threshold)
        expected = [reference.alm(*each, *own) for each in zip(*told, strict=True)]
        assert got.total.item() == pytest.approx(sum(value for value, _ in expected), rel=1e-9)
        assert (
            int(got.count)
            == sum(count for _, count in expected)
            == int(objective.counts(batch)["likelihood"])
        )


@pytest.mark.parametrize("settings", [{}, {"merge_threshold": 0.4}], ids=str)
def test_gradient_is_that_of_finite_differences(settings, monkeypatch):
    monkeypatch.setattr(_chunk_likelihoods, "SCRATCH", 16 * 13 * 3)  # three rows at a time
    objective = ALM(**settings)
    _, batch, ours, theirs = trial(objective, 1)
    bias = torch.linspace(-1, 1, OURS.vocab_size, dtype=torch.float64)

    def value(hidden, weight, bias):
        head = HeadWeights(weight, HeadTransform(bias=bias, softcap=5.0))
        return loss(objective, batch, {FinalHidden(): hidden, Head(): head}, theirs)["likelihood"].total

    leaves = [each.clone().requires_grad_() for each in (ours[FinalHidden()], ours[Head()].weight, bias)]
    assert torch.autograd.gradcheck(value, leaves, atol=1e-5, fast_mode=True)


@pytest.mark.parametrize("difference", list(DIFFERENCES))
@pytest.mark.parametrize("settings", SETTINGS[:4], ids=str)
def test_contract(difference, settings):
    check_objective(ALM(difference=difference, **settings))
    check_objective(ALM(difference=difference, **settings), teacher=OTHER_TEACHER)


@pytest.mark.parametrize("difference", list(DIFFERENCES))
def test_differences_are_those_of_the_loops_far_from_and_near_to_zero_and_one(difference):
    places = [-60.0, -9.0, -0.7, -0.6931, -0.1, -1e-3, -1e-6]
    p, q = torch.cartesian_prod(*[torch.tensor(places, dtype=torch.float64)] * 2).T
    got = DIFFERENCES[difference](p, q).tolist()
    expected = [reference.DIFFERENCES[difference](*each) for each in zip(p.tolist(), q.tolist(), strict=True)]
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert DIFFERENCES[difference](p, p).abs().max() < 1e-12


def test_gradients_are_those_of_the_published_cross_entropy():
    p, q = (torch.tensor(each).double() for each in ([-3.0, -0.2, -1e-4], [-0.5, -0.01, -2.0]))
    q.requires_grad_()
    published = -(p.exp() * q + (1 - p.exp()) * log_of_rest(q))
    found = [torch.autograd.grad(each.sum(), q)[0] for each in (published, binary_kl(p, q))]
    torch.testing.assert_close(*found)


def test_the_limit_is_what_hot_binary_kl_tends_to():
    p, q = (torch.tensor(each).double() for each in ([-30.0, -2.0, -0.1], [-3.0, -5.0, -0.4]))
    torch.testing.assert_close(1e6 * binary_kl(p / 1e6, q / 1e6), limit(p, q), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("value", [-1e-6, -1e-3, -0.6931472, -0.7, -20.0, -100.0])
def test_the_log_of_the_rest_is_stable_with_its_gradient(value):
    single = torch.tensor(value, requires_grad=True)
    log_of_rest(single).backward()
    assert log_of_rest(single).item() == pytest.approx(
        reference.log_of_rest(single.item()), rel=1e-5, abs=1e-30
    )
    slope = -math.exp(single.item()) / -math.expm1(single.item())
    assert single.grad.item() == pytest.approx(slope, rel=1e-5)


def test_certain_models_have_finite_gradients():
    objective = ALM()
    _, batch, ours, theirs = trial(objective, 3)
    hidden = (ours[FinalHidden()] * 300).requires_grad_()
    sure = {FinalHidden(): theirs[FinalHidden()] * 300, Head(): theirs[Head()]}
    total = loss(objective, batch, {FinalHidden(): hidden, Head(): ours[Head()]}, sure)["likelihood"].total
    total.backward()
    assert total.isfinite()
    assert hidden.grad.isfinite().all()


def test_tokens_that_begin_a_word():
    for shape, pieces in ((OURS, PIECES[0]), (THEIRS, PIECES[1])):
        found = torch.where(_chunk_likelihoods.begins_a_word(shape.tokens, shape.vocab_size))[0].tolist()
        assert found == breaks(pieces)


def test_a_first_token_that_nothing_predicts_takes_its_chunk_with_it():
    objective = ALM()
    samples, batch, _, _ = trial(objective, 0)
    assert samples[0][0].before == 0
    assert not scored_chunks(batch).student.positions.lt(0).any()


def test_one_vocabulary_needs_no_correction_and_no_bytes():
    objective = ALM()
    objective.setup(STUDENT, STUDENT)
    assert objective._corrects is False
    assert objective.measures() == {"chunks_in_a_span": 1.0}
    check_objective(ALM(temperature=1.0, scale_by_temperature=False))


def test_merging_is_told():
    objective = ALM(merge_threshold=0.9)
    _, batch, ours, theirs = trial(objective, 2)
    loss(objective, batch, ours, theirs)
    assert objective.measures()["chunks_in_a_span"] > 1.2


def test_unknown_bytes_are_refused_with_a_way_out():
    with pytest.raises(
        BadInput, match=r"those of the teacher .* set debias: false and merge_threshold: null"
    ):
        ALM().setup(OURS, replace(THEIRS, tokens=None))
    ALM(debias=False, merge_threshold=None).setup(OURS, replace(THEIRS, tokens=None))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"difference": "kl"}, "difference must be one of binary_kl"),
        ({"temperature": 0}, "temperature must lie in"),
        ({"merge_threshold": 1.0}, r"merge_threshold must lie in \(0, 1\)"),
        ({"debias": 1}, "debias must be true or false"),
        ({"scale_by_temperature": "no"}, "scale_by_temperature must be true or false"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(BadInput, match=says):
        ALM(**settings)


def test_scaling_by_the_temperature_is_a_factor():
    objective, published = ALM(), ALM(scale_by_temperature=False)
    _, batch, ours, theirs = trial(objective, 4)
    published.setup(OURS, THEIRS)
    scaled, plain = (
        each(Signals(ours), Signals(theirs), batch)["likelihood"].total for each in (objective, published)
    )
    torch.testing.assert_close(scaled, 100 * plain)
