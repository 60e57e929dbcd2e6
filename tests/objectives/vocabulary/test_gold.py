"""GOLD against plain loops: pieces of several tokens, both merges, measures instead of distributions."""

import math
from dataclasses import replace

import pytest
import torch
from objectives.vocabulary.two_sides import (
    OURS,
    PIECES,
    SHARED,
    SINGLE,
    THEIRS,
    batch,
    both,
    probabilities,
    slopes_are_right,
    texts,
)
from reference import vocabulary as reference

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.objectives.vocabulary import gold
from stillroom.objectives.vocabulary._chunks import scored_chunks
from stillroom.testing import OTHER_TEACHER, STUDENT, TEACHER, check_objective
from stillroom.testing._vocabulary import letters

GOLD = objectives.find("vocabulary.gold")
SETTINGS = [
    {},
    {"merge": "observed", "temperature": 1.5},
    {"merge": "none"},
    {"beta": 0.0},
    {"beta": 1.0, "temperature": 0.7},
    {"beta": 0.3, "matched_weight": 0.9, "unmatched_weight": 2.0},
]


def is_single(span):
    return len(span[0]) == len(span[1]) == 1


def expected(asked, ours, theirs, objective):
    q, p = (probabilities(each, objective.temperature) for each in (ours, theirs))
    share = len(SHARED) / THEIRS.vocab_size
    weights = (share, 1 - share)
    if objective.matched_weight is not None:
        weights = (objective.matched_weight, objective.unmatched_weight)
    ids = asked.student.input_ids.tolist(), asked.teacher.input_ids.tolist()
    return sum(
        reference.gold_span(
            *(p[row], q[row], ids[0][row], ids[1][row], span),
            *(objective.merge, SHARED, objective.beta, weights),
        )
        for row, text in enumerate(texts(asked))
        for span in reference.spans(*text)
        if objective.merge != "none" or is_single(span)
    )


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_value_is_that_of_the_loops(settings):
    objective = GOLD(**settings)
    objective.setup(OURS, THEIRS)
    asked, ours, theirs = both()
    loss = objective(ours, theirs, asked)["hybrid"]
    assert loss.total.item() == pytest.approx(expected(asked, ours, theirs, objective), rel=1e-9)
    counted = SINGLE if objective.merge == "none" else PIECES
    assert (int(loss.count), loss.unit) == (counted, "spans")
    assert int(objective.counts(asked)["hybrid"]) == counted
    assert objective.measures() == {"single": pytest.approx(SINGLE / PIECES)}


@pytest.mark.parametrize("settings", SETTINGS[:4], ids=str)
def test_slopes_flow_through_the_factors_too(settings):
    objective = GOLD(**settings)
    objective.setup(OURS, THEIRS)
    assert slopes_are_right(objective, *both())


def test_blocks_of_merged_pieces_add_up(monkeypatch):
    objective = GOLD()
    objective.setup(OURS, THEIRS)
    asked, ours, theirs = both()
    whole = objective(ours, theirs, asked)["hybrid"].total
    monkeypatch.setattr(gold, "ROWS_AT_ONCE", 3)
    torch.testing.assert_close(objective(ours, theirs, asked)["hybrid"].total, whole)


@pytest.mark.parametrize("beta", [0.0, 0.2, 0.5, 1.0])
def test_of_measures_it_is_never_negative_and_zero_for_equal_ones(beta):
    objective = GOLD(beta=beta)
    objective.setup(OURS, OURS)
    generator = torch.Generator().manual_seed(0)
    log_p, log_q = (torch.randn(200, 11, generator=generator).log_softmax(-1) for _ in range(2))
    for log_b in (0.0, -1.0, -8.0):
        assert (objective._hybrid(log_p, log_q + log_b) > -1e-6).all()
        assert (objective._hybrid(log_p + log_b, log_q) > -1e-6).all()
    torch.testing.assert_close(objective._hybrid(log_p - 2.0, log_p - 2.0), torch.zeros(200))


def test_the_chain_rule_of_the_text_itself():
    """Behind the last position, the factor times the probability of the last token is that of the whole piece."""
    asked, ours, _ = both()
    objective = GOLD()
    objective.setup(OURS, THEIRS)
    log_b = objective._others(ours, asked.student, scored_chunks(asked).student)
    q = probabilities(ours, 1.0)
    ids, found = asked.student.input_ids.tolist(), []
    for row, text in enumerate(texts(asked)):
        for mine, _ in reference.spans(*text):
            each = [math.log(q[row][i - 1][ids[row][i]]) for i in mine]
            found.append(sum(each) - each[-1])
    assert log_b.tolist() == pytest.approx(found)


def test_last_tokens_of_merged_pieces_never_begin_at_one_byte():
    """Why `bayesian` compares by name what continues different texts, and `observed` does not."""
    for text in texts(batch()):
        for mine, other in reference.spans(*text):
            begins = text[0][mine[-1] - 1] == text[2][other[-1] - 1]
            assert begins == is_single((mine, other))
            assert text[0][mine[0] - 1] == text[2][other[0] - 1]


def test_a_space_before_every_text_leaves_out_the_first_piece():
    spaced = replace(THEIRS, tokens=replace(letters("gfedcba123456"), dummy_prefix=True))
    objective = GOLD()
    objective.setup(OURS, spaced)
    assert int(objective.counts(batch())["hybrid"]) == PIECES - 3


def test_weights_follow_the_vocabulary_of_the_teacher():
    objective = GOLD()
    objective.setup(OURS, THEIRS)
    assert objective._weights == (8 / 14, 1 - 8 / 14)
    assert "8 of the teacher's 14 tokens are compared by name with weight 0.571" in objective.notes()[0]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("teacher", [TEACHER, OTHER_TEACHER], ids=lambda shape: shape.vocabulary)
def test_contract(settings, teacher):
    check_objective(GOLD(**settings), student=STUDENT, teacher=teacher)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"merge": "first"}, "merge must be one of bayesian, observed, none"),
        ({"beta": 1.5}, "beta must lie in"),
        ({"matched_weight": 1.0}, "belong together, got 1.0 and None: give both"),
        ({"matched_weight": -1.0, "unmatched_weight": 1.0}, "matched_weight must lie in"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(BadInput, match=says):
        GOLD(**settings)
