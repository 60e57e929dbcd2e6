"""Chunks against the pieces that plain loops find: which tokens they hold, and which are left out."""

from dataclasses import replace

import pytest
import torch
from objectives.vocabulary.two_sides import batch, texts
from reference import vocabulary as reference

from stillroom.objectives.vocabulary._chunks import scored_chunks
from stillroom.objectives.vocabulary._merged_chunks import merged


def pieces(asked, first):
    """By loops: row and tokens of both sides, from the piece `first` of every text on."""
    return [(row, *span) for row, text in enumerate(texts(asked)) for span in reference.spans(*text)[first:]]


def told(chunks):
    """The same of what is tested; a token comes after the position that predicts it."""
    found = []
    for number, row in enumerate(chunks.rows.tolist()):
        sides = [(side.positions[side.chunks == number] + 1).tolist() for side in chunks]
        assert all((side.rows[side.chunks == number] == row).all() for side in chunks)
        found.append((row, *sides))
    return found


def whole(asked):
    """Without a prompt: nothing predicts the first token of a text."""
    sides = (replace(side, response_mask=side.byte_ends >= 0) for side in (asked.student, asked.teacher))
    return replace(asked, **dict(zip(("student", "teacher"), sides, strict=True)))


@pytest.mark.parametrize("spaces_differ", [False, True])
def test_they_are_those_of_the_loops(spaces_differ):
    asked = batch()
    chunks = scored_chunks(asked, spaces_differ)
    assert told(chunks) == pieces(asked, first=int(spaces_differ))
    assert chunks.single.tolist() == [len(mine) == len(other) == 1 for _, mine, other in told(chunks)]


def test_one_that_nothing_predicts_is_left_out():
    asked = whole(batch())
    assert told(scored_chunks(asked)) == pieces(asked, first=1)


def test_their_ends_are_the_numbers_of_tokens():
    chunks = scored_chunks(batch())
    for number, (_, mine, other) in enumerate(told(chunks)):
        for side, own in zip(chunks, (mine, other), strict=True):
            ends = [int(side.positions[each[number]]) + 1 for each in (side.first, side.last)]
            assert ends == [own[0], own[-1]]


def test_no_response_has_no_chunks():
    asked = batch()
    blank = replace(asked.student, response_mask=torch.zeros_like(asked.student.response_mask))
    chunks = scored_chunks(replace(asked, student=blank))
    assert len(chunks.rows) == len(chunks.single) == len(chunks.teacher.rows) == 0


def test_spans_end_where_a_word_does_and_with_their_row():
    rows, likely = torch.tensor([0, 0, 0, 1, 3, 3]), torch.tensor([0.05, 0.5, 0.05, 0.05, 0.1, 0.9])
    spans = merged(rows, likely.double().log(), 0.2)
    assert spans.of.tolist() == [0, 0, 1, 2, 3, 3]
    assert spans.ends.tolist() == [1, 2, 3, 5]
    assert spans.weights.tolist() == [1.5, 1.5, 1.0, 2.0]
    alone = merged(rows, likely.double().log(), 0.0)
    assert alone.ends.tolist() == list(range(6))
    assert alone.weights.tolist() == [1.0] * 6
