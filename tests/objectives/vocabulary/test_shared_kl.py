"""Shared tokens and a bucket against plain loops; with one vocabulary, the divergence itself."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from objectives.vocabulary.two_sides import (
    CONTEXT_PAIRS,
    OURS,
    SHARED,
    THEIRS,
    both,
    probabilities,
    slopes_are_right,
    texts,
)
from reference import vocabulary as reference

from stillroom import objectives
from stillroom.core.batch import Batch
from stillroom.core.byte_table import ByteTable
from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, HeadWeights, Signals
from stillroom.numerics.divergence import DIVERGENCES
from stillroom.testing import OTHER_TEACHER, STUDENT, TEACHER, check_objective
from stillroom.testing._vocabulary import letters

SharedKL = objectives.find("vocabulary.shared_kl")
F_DIVERGENCES = [
    "forward_kl",
    "reverse_kl",
    "jensen_shannon",
    "skew_kl",
    "skew_reverse_kl",
    "total_variation",
]


def expected(asked, ours, theirs, objective, outcomes):
    q, p = (probabilities(each, objective.temperature) for each in (ours, theirs))
    return sum(
        reference.shared_divergence(p[row][j], q[row][i], SHARED, objective.divergence, outcomes)
        for row, text in enumerate(texts(asked))
        for i, j in reference.context(*text)
    )


def by_beginning(ours, theirs, shared):
    """Outcomes of events, by the plain loops."""
    pieces = (
        [None if special else piece for piece, special in zip(table.pieces, table.special, strict=True)]
        for table in (ours.tokens, theirs.tokens)
    )
    classes = reference.by_beginning(*pieces, shared)
    return lambda p, q, _: reference.over_classes(p, q, classes)


@pytest.mark.parametrize("name", sorted(DIVERGENCES))
@pytest.mark.parametrize("rest", ["prefix", "bucket", "renormalize"])
def test_value_is_that_of_the_loops(name, rest):
    objective = SharedKL(divergence=name, rest=rest, temperature=1.5)
    objective.setup(OURS, THEIRS)
    asked, ours, theirs = both()
    loss = objective(ours, theirs, asked)["divergence"]
    outcomes = {
        "prefix": by_beginning(OURS, THEIRS, SHARED),
        "bucket": reference.bucketed,
        "renormalize": reference.renormalized,
    }[rest]
    assert loss.total.item() == pytest.approx(expected(asked, ours, theirs, objective, outcomes), rel=1e-9)
    assert (int(loss.count), loss.unit) == (CONTEXT_PAIRS, "pairs")
    assert int(objective.counts(asked)["divergence"]) == CONTEXT_PAIRS


@pytest.mark.parametrize("settings", [{}, {"rest": "renormalize"}, {"divergence": "jensen_shannon"}], ids=str)
def test_slopes(settings):
    objective = SharedKL(temperature=0.7, **settings)
    objective.setup(OURS, THEIRS)
    assert slopes_are_right(objective, *both())


def test_temperature_squared_where_it_is_asked_for():
    asked, ours, theirs = both()
    plain, scaled = SharedKL(temperature=3.0), SharedKL(temperature=3.0, scale_by_temperature_squared=True)
    for each in (plain, scaled):
        each.setup(OURS, THEIRS)
    found = [each(ours, theirs, asked)["divergence"].total.item() for each in (plain, scaled)]
    assert found[1] == pytest.approx(9 * found[0])


@pytest.mark.parametrize("method", ["forward_kl", "reverse_kl", "skew_kl", "adaptive_kl"])
def test_one_vocabulary_is_the_divergence_itself(method):
    asked, ours, _ = both(dtype=torch.float32)
    side = replace(asked.student, byte_ends=None)
    asked = Batch(side, side, asked.sample_ids)
    teacher = replace(OURS, width=12)
    generator = torch.Generator().manual_seed(5)
    theirs = Signals(
        {
            FinalHidden(): torch.randn(*side.input_ids.shape, 12, generator=generator),
            Head(): HeadWeights(torch.randn(11, 12, generator=generator)),
        }
    )
    found = []
    for objective in (SharedKL(divergence=method), objectives.find(f"logits.{method}")()):
        objective.setup(OURS, teacher)
        loss = objective(ours, theirs, asked)["divergence"]
        (slope,) = torch.autograd.grad(loss.total, ours[FinalHidden()])
        found.append((loss.total, loss.count, slope))
        assert "teacher_on_shared" not in objective.measures()
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)


@pytest.mark.parametrize("name", F_DIVERGENCES)
def test_merging_outcomes_never_adds(name):
    """Were the student's X and Y the teacher's 1 and 2, the whole divergence would be at least as large."""
    more = [*SHARED, (8, 8), (9, 9)]
    for seed in range(5):
        _, ours, theirs = both(seed)
        q, p = probabilities(ours, 1.0)[0][2], probabilities(theirs, 1.0)[0][1]
        coarse, fine = (
            reference.shared_divergence(p, q, pairs, name, reference.bucketed) for pairs in (SHARED, more)
        )
        assert 0 <= coarse <= fine + 1e-12


def test_the_bucket_says_how_often_and_renormalizing_forgets_it():
    """Two models that agree on what is shared, and not on how likely it is."""
    found = {}
    for rest in ("bucket", "renormalize"):
        objective = SharedKL(rest=rest)
        objective.setup(OURS, THEIRS)
        log_p, log_q = torch.zeros(1, 14).double(), torch.zeros(1, 11).double()
        log_p[:, objective.teacher_only] = 2.0
        found[rest] = objective._over_shared(log_p.log_softmax(-1), log_q.log_softmax(-1)).item()
    assert found["bucket"] > 0.5
    assert found["renormalize"] == pytest.approx(0)


def test_a_bucket_of_tiny_probability_is_not_rounding():
    objective = SharedKL()
    objective.setup(OURS, THEIRS)
    sure = torch.full((1, 14), -40.0)
    sure[:, 1] = 0.0
    log_q = torch.full((1, 11), -40.0)
    log_q[:, 7] = 0.0
    value = objective._over_shared(sure.log_softmax(-1), log_q.log_softmax(-1))
    assert value.isfinite()
    assert value.item() == pytest.approx(0, abs=1e-6)


def test_what_has_no_words_of_its_own_is_renormalized_and_that_is_said():
    """Every text token of the student is also the teacher's: a bucket would ask for what it cannot say."""
    default, named = SharedKL(rest="bucket"), SharedKL(rest="renormalize")
    asked, ours, theirs = both()
    for each in (default, named):
        each.setup(replace(OURS, vocab_size=8, tokens=letters("abcdefg")), THEIRS)
    assert "text token of the student is shared: rest: renormalize is used" in default.notes()[1]
    assert "share 8 tokens, of 8 of the student and 14 of the teacher" in named.notes()[0]
    assert len(named.notes()) == 1
    fewer = ours[Head()]
    ours = Signals({FinalHidden(): ours[FinalHidden()], Head(): HeadWeights(fewer.weight[:8])})
    totals = [each(ours, theirs, asked)["divergence"].total for each in (default, named)]
    assert totals[0] == totals[1]
    assert totals[0].isfinite()


def test_control_tokens_are_no_words():
    table = letters("abcdefg~")
    special = table.special.copy()
    special[-1] = True
    student = replace(OURS, vocab_size=9, tokens=replace(table, special=special))
    objective = SharedKL(rest="bucket")
    objective.setup(student, THEIRS)
    assert "renormalize is used" in objective.notes()[1]
    second_id = replace(letters("abcdefga"), fallback=special)
    objective.setup(replace(student, tokens=second_id), THEIRS)
    assert "renormalize is used" in objective.notes()[1]
    objective.setup(replace(student, tokens=table), THEIRS)
    assert objective.notes()[0].endswith("all others are one event.")
    assert len(objective.notes()) == 1


def test_measures_are_of_the_last_batch():
    objective = SharedKL()
    objective.setup(OURS, THEIRS)
    assert objective.measures() == {}
    asked, ours, theirs = both()
    for _ in range(2):
        objective(ours, theirs, asked)
    q, p = probabilities(ours, 1.0), probabilities(theirs, 1.0)
    places = [(row, i, j) for row, text in enumerate(texts(asked)) for i, j in reference.context(*text)]
    found = objective.measures()
    assert found["positions"] == pytest.approx(len(places) / int(asked.student.predicts.sum()))
    mass = sum(p[row][j][theirs] for row, _, j in places for _, theirs in SHARED) / len(places)
    assert found["teacher_on_shared"] == pytest.approx(mass)
    mass = sum(q[row][i][ours] for row, i, _ in places for ours, _ in SHARED) / len(places)
    assert found["student_on_shared"] == pytest.approx(mass)


@pytest.mark.parametrize(
    "settings",
    [{}, {"divergence": "reverse_kl", "rest": "renormalize"}, {"temperature": 2.0, "divergence": "renyi"}],
    ids=str,
)
@pytest.mark.parametrize("teacher", [TEACHER, OTHER_TEACHER, THEIRS], ids=lambda shape: shape.vocabulary)
def test_contract(settings, teacher):
    check_objective(SharedKL(**settings), student=OURS if teacher is THEIRS else STUDENT, teacher=teacher)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"divergence": "forward"}, "divergence must be one of forward_kl, "),
        ({"rest": "drop"}, "rest must be one of prefix, bucket, renormalize"),
        ({"temperature": 0}, "temperature must lie in"),
        ({"scale_by_temperature_squared": 1}, "must be true or false"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(BadInput, match=says):
        SharedKL(**settings)


def test_bad_pairs():
    objective = SharedKL()
    with pytest.raises(
        BadInput, match=r"vocabulary.shared_kl compares .* those of the teacher are not known"
    ):
        objective.setup(OURS, replace(THEIRS, tokens=None))
    with pytest.raises(BadInput, match=r"vocabulary.shared_kl needs tokens that both"):
        objective.setup(OURS, replace(THEIRS, tokens=letters("123"), end_token=None))
    asked, ours, theirs = both()
    objective.setup(OURS, THEIRS)
    with pytest.raises(BadInput, match="the teacher's are not known"):
        objective(ours, theirs, replace(asked, teacher=replace(asked.teacher, byte_ends=None)))


WORDS = (
    ["a", "b", "ab", "abc", "bc", "c", "cd", "d", "dx"],
    ["a", "b", "c", "d", "e", "abcd", "ac", "da", "bcd", "eb"],
)
"""Tokens of both sides: the shared ones are letters."""


def words(shape, pieces, missing=()):
    special = np.array([True] + [False] * len(pieces))
    table = ByteTable((b"</s>", *(each.encode() for each in pieces)), special, ~special & False, False, None)
    return replace(shape, vocab_size=len(table), tokens=table, vocabulary="".join(pieces), end_token=0)


def test_a_token_of_one_side_counts_to_what_it_begins_with():
    ours, theirs = words(OURS, WORDS[0]), words(THEIRS, WORDS[1])
    objective = SharedKL()
    objective.setup(ours, theirs)
    events = {}
    for side, table, found in (
        ("ours", ours.tokens, objective.student_events),
        ("theirs", theirs.tokens, objective.teacher_events),
    ):
        for piece, event in zip(table.pieces, found.tolist(), strict=True):
            events.setdefault(event, {"ours": [], "theirs": []})[side].append(piece.decode())
    assert sorted(events.values(), key=str) == sorted(
        [
            {"ours": ["</s>"], "theirs": ["</s>"]},
            # "abcd" begins with our "abc", which begins with their "a"; "ac" with our "a"
            {"ours": ["a", "ab", "abc"], "theirs": ["a", "abcd", "ac"]},
            {"ours": ["b", "bc"], "theirs": ["b", "bcd"]},
            {"ours": ["c", "cd"], "theirs": ["c"]},
            {"ours": ["d", "dx"], "theirs": ["d", "da"]},
            {"ours": [], "theirs": ["e", "eb"]},  # nothing of ours begins like them
        ],
        key=str,
    )
    assert any("5 events" in note for note in objective.notes())


@pytest.mark.parametrize("seed", range(3))
def test_events_are_those_of_the_loops(seed):
    generator = random.Random(seed)
    drawn = [
        ["".join(generator.choices("abc", k=generator.randint(1, 4))) for _ in range(25)] for _ in range(2)
    ]
    ours, theirs = (
        words(shape, sorted(set(each))) for shape, each in zip((OURS, THEIRS), drawn, strict=True)
    )
    objective = SharedKL()
    objective.setup(ours, theirs)
    shared = list(zip(objective.shared.student.tolist(), objective.shared.teacher.tolist(), strict=True))
    p, q = (torch.rand(each.vocab_size, dtype=torch.float64) for each in (theirs, ours))
    p, q = p / p.sum(), q / q.sum()
    value = objective._over_shared(p.log()[None], q.log()[None]).item()
    wanted = reference.shared_divergence(
        p.tolist(), q.tolist(), shared, "forward_kl", by_beginning(ours, theirs, shared)
    )
    assert value == pytest.approx(wanted, rel=1e-9)


def test_control_tokens_are_no_event():
    """What only the teacher can begin with must not be learned as padding."""
    special = np.array([True, False, True])
    table = ByteTable((b"</s>", b"a", b"<pad>"), special, special & False, False, None)
    student = replace(OURS, vocab_size=3, tokens=table, end_token=0)
    objective = SharedKL()
    objective.setup(student, words(THEIRS, ["a", "e"]))
    log_p, log_q = torch.tensor([[0.3, 0.3, 0.4]]).log(), torch.tensor([[0.4, 0.4, 0.2]]).log()
    assert objective._over_shared(log_p, log_q).item() == pytest.approx(0.0, abs=1e-6)


def test_long_tokens_of_the_student_are_not_unlearned():
    """A student that agrees with its teacher about the text, in longer tokens, has nothing to learn."""
    ours, theirs = words(OURS, ["a", "ab"]), words(THEIRS, ["a", "ac"])
    p, q = torch.tensor([[0.1, 0.5, 0.4]]), torch.tensor([[0.1, 0.2, 0.7]])
    losses = {}
    for rest in ("prefix", "bucket", "renormalize"):
        objective = SharedKL(rest=rest)
        objective.setup(ours, theirs)
        losses[rest] = objective._over_shared(p.log(), q.log()).item()
    assert losses["prefix"] == pytest.approx(0.0, abs=1e-6)
    assert min(losses["bucket"], losses["renormalize"]) > 0.05
