"""The measures of what two tokenizers lose, in cases whose answers are known."""

import itertools
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from dskd import common_events, projected_teacher
from dskd.attended import attended
from dskd.token_classes import CLASSES, classes_in, classes_of_text
from dskd.token_kinds import KINDS, count_words, kinds_of_bytes, kinds_of_tokens
from dskd.unaligned import Chunks, Tokens, by_chunk, by_class, by_kind

from stillroom.alignment.boundaries import shared_boundaries
from stillroom.core.batch import Batch, Side
from stillroom.core.signals import FinalHidden, Head, HeadWeights, Signals
from stillroom.objectives._two_vocabularies import SharedTokens
from stillroom.objectives.dual_space._projectors import Projector


def side(ends, prompt):
    """One row: tokens of the prompt, then those of the response, which end where `ends` says."""
    ids = torch.arange(prompt + len(ends))[None]
    known = torch.tensor([[-1] * (prompt - 1) + [0] + ends])
    return Side(ids, torch.ones_like(ids), torch.arange(ids.shape[1])[None] >= prompt, known)


def test_classes_are_exact_then_context_then_neither():
    # student: ab|c|d|ef   teacher: a|bc|d|e|f
    batch = Batch(side([3, 4, 5, 7], 2), side([2, 4, 5, 6, 7], 3), torch.tensor([0]))
    shared = SharedTokens(torch.arange(3), torch.arange(3), (9, 9), spaces_differ=False)
    ours, theirs = classes_in(batch, shared)
    assert ours.tolist() == [[-1, -1, 1, 2, 0, 1]]
    assert theirs.tolist() == [[-1, -1, -1, 1, 2, 0, 1, 2]]
    ends = np.array([[2, 3, 4, 6]]), np.array([[1, 3, 4, 5, 6]])
    assert classes_of_text(shared_boundaries(*ends)).tolist() == [1, 2, 0, 1]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("In 1997 Paul", ["common word", "white space", "number", "white space", "name"]),
        ("in. Paul", ["common word", "punctuation", "white space", "rare word"]),
        ("naïve in", ["beyond ASCII", "white space", "common word"]),
    ],
)
def test_kinds_of_bytes_are_those_of_words(text, kinds):
    found = kinds_of_bytes(text.encode(), Counter({"in": 9}))
    assert len(found) == len(text.encode())
    changes = [found[0], *(after for before, after in itertools.pairwise(found) if after != before)]
    assert [KINDS[each] for each in changes] == kinds


def test_a_token_is_of_the_kind_of_its_first_letter():
    kinds = kinds_of_bytes(b"in 19 ", count_words(["in in in in"]))
    found = kinds_of_tokens(kinds, np.array([2, 4, 5, 6, 6]))
    assert [KINDS[each] for each in found] == [
        "common word",
        "number",
        "number",
        "white space",
        "no bytes (end token)",
    ]


def tokens(classes, nats, sizes, chunks, kinds=None):
    return Tokens(*(np.array(each) for each in (classes, kinds or [0] * len(classes), nats, sizes, chunks)))


def test_nats_are_summed_by_class_and_by_piece_of_text():
    ours = tokens([0, 1, 2, 0], [1.0, 2.0, 4.0, 7.0], [2, 3, 1, 5], [0, 1, 1, -1], [4, 3, 3, 4])
    theirs = tokens([0, 1], [0.5, 3.0], [2, 4], [0, 1])
    exact, context, neither = by_class(ours, "student")
    assert (exact["nats a token"], context["nats a byte"], neither["of the bytes"]) == (4, 2 / 3, 1 / 11)
    everything, alone, several, kind = by_chunk(Chunks.of(ours, theirs))
    assert several["student, nats a byte"] == pytest.approx(6 / 4)
    assert several["of the lead"] == pytest.approx(3 / 3.5)
    assert (alone["teacher, nats a byte"], everything["of the bytes"]) == (0.25, 1)
    assert kind[""].endswith("rare word")
    assert kind["of the student's tokens"] == pytest.approx(2 / 3)
    rare, common = by_kind(ours.classes, ours.kinds)
    assert (rare["of all that is not exact"], common["exact"]) == (1, 1)
    assert CLASSES[1] in rare


def test_an_outcome_that_is_told_is_counted_where_it_is():
    events = common_events.Events(torch.tensor([0, 1, 2]), torch.tensor([0, 2, 1]), 2)
    log_p, log_q = torch.randn(4, 3).log_softmax(1), torch.randn(4, 3).log_softmax(1)
    ours, theirs = torch.tensor([0, 1, 2, 1]), torch.tensor([0, 2, 2, 1])
    row = common_events._row("x", events, common_events._sums(events, log_p, log_q, theirs, ours))
    p, q = log_p[:, [0, 2, 1]].double(), log_q.double()
    assert row["KL(teacher, student)"] == pytest.approx(float((p.exp() * (p - q)).sum() / 4), rel=1e-5)
    assert row["told, teacher"] == pytest.approx(-float(p[range(4), ours].mean()), rel=1e-5)
    assert row["taught, teacher"] == pytest.approx(-float(log_p[range(4), theirs].mean()), rel=1e-5)
    assert (row["one outcome for both"], row["last outcome, told"]) == (0.5, 0.25)
    assert row["last outcome, teacher"] == pytest.approx(float(p[:, 2].exp().mean()), rel=1e-5)


def test_attention_is_looked_for_at_the_aligned_position():
    # student: ab|c|d   teacher: a|b|c|d, prompts of 2 and 3 tokens
    batch = Batch(side([3, 4, 5], 2), side([2, 3, 4, 5], 3), torch.tensor([0]))
    shared = SharedTokens(torch.tensor([2, 3, 4]), torch.tensor([3, 5, 6]), (9, 9), spaces_differ=False)
    attention = torch.tensor([[[0.1, 0.6, 0.2, 0.1], [0.0, 0.0, 0.7, 0.3], [0.4, 0.3, 0.2, 0.1]]])
    found = attended(attention, batch, shared.positions(batch), shared)
    assert found.aligned.tolist() == [False, True, False]
    assert found.beside.tolist() == [True, True, False]
    assert found.same_token.tolist() == [False, True, False]
    torch.testing.assert_close(found.share, torch.tensor([0.1, 0.7, 0.1]))
    torch.testing.assert_close(found.chance, torch.full((3,), 0.25))
    assert found.diagonal.tolist() == [True, True, True]


def test_the_projected_teacher_is_measured_against_teacher_and_student():
    torch.manual_seed(0)
    one = side([2, 3, 4], 2)
    batch, ids = Batch(one, one, torch.tensor([0])), torch.arange(5)
    student, teacher = (
        Signals({FinalHidden(): torch.randn(1, 5, width), Head(): HeadWeights(torch.randn(5, width))})
        for width in (2, 3)
    )
    objective = SimpleNamespace(
        shared=SharedTokens(ids, ids, (5, 5), spaces_differ=False),
        to_student_space=Projector(3, 2, bias=False, waits=True),
    )
    sums = projected_teacher._sums(objective, common_events.Events(ids, ids, 5), (student, teacher, batch))
    matrix = objective.to_student_space.weight.detach().T
    assert matrix.any()
    p, q, ts = (
        (hidden[0, 1:4] @ head.T).double().softmax(1)
        for hidden, head in (
            (teacher[FinalHidden()], teacher[Head()].weight),
            (student[FinalHidden()], student[Head()].weight),
            (teacher[FinalHidden()] @ matrix, student[Head()].weight),
        )
    )
    told = torch.tensor([2, 3, 4])[:, None]
    apart = [(a * (a / b).log()).sum() for a, b in ((p, q), (p, ts), (ts, q))]
    likely = [each.argmax(1) for each in (ts, q)]
    wanted = [
        *apart,
        *(-each.gather(1, told).log().sum() for each in (p, ts, q)),
        (likely[0] == p.argmax(1)).sum(),
        torch.tensor(3),
        (likely[1] == p.argmax(1)).sum(),
        torch.tensor(3),
    ]
    torch.testing.assert_close(sums, torch.stack([each.double() for each in wanted]), rtol=1e-4, atol=1e-5)
