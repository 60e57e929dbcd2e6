"""Tokens of the same bytes as buffers, and the positions whose distributions may be compared."""

from dataclasses import replace

import pytest
import torch

from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.objectives._two_vocabularies import shared_tokens
from stillroom.testing import OTHER_TEACHER, STUDENT, TEACHER
from stillroom.testing._vocabulary import letters

OURS = replace(STUDENT, vocab_size=4, tokens=letters("abc"), end_token=0)
THEIRS = replace(OTHER_TEACHER, vocab_size=5, tokens=letters("cdab"), end_token=0)


def pairs(found):
    return list(zip(*(each.tolist() for each in found), strict=True))


def test_tokens_meet_by_their_bytes_and_end_tokens_by_their_role():
    shared = shared_tokens(OURS, THEIRS, "test")
    assert pairs((shared.student, shared.teacher)) == [(0, 0), (1, 3), (2, 4), (3, 1)]
    assert shared.to_student.tolist() == [0, 3, -1, 1, 2]  # nothing of the student is `d`
    assert shared.to_teacher.tolist() == [0, 3, 4, 1]
    assert len(shared) == 4


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_without_an_end_token_on_both_sides_ends_do_not_meet(side):
    shapes = {"student": OURS, "teacher": THEIRS}
    shapes[side] = replace(shapes[side], end_token=None)
    shared = shared_tokens(*shapes.values(), "test")
    assert pairs((shared.student, shared.teacher)) == [(1, 3), (2, 4), (3, 1)]
    assert shared.to_teacher[0] == shared.to_student[0] == -1


def test_one_vocabulary_is_matched_with_itself_and_needs_no_bytes():
    shared = shared_tokens(replace(STUDENT, tokens=None), replace(TEACHER, tokens=None), "test")
    for each in (shared.student, shared.teacher, shared.to_student, shared.to_teacher):
        assert torch.equal(each, torch.arange(STUDENT.vocab_size))


def test_buffers_go_where_the_objective_goes_and_are_not_saved():
    shared = shared_tokens(OURS, THEIRS, "test")
    assert not shared.state_dict()
    assert {each.device.type for each in shared.to("meta").buffers()} == {"meta"}
    assert {each.dtype for each in shared.half().buffers()} == {torch.int64}


def side(ends, prompt, vocab_size):
    ends = torch.tensor([ends])
    return Side(
        ends % vocab_size, torch.ones_like(ends), torch.arange(ends.shape[1])[None] >= prompt, byte_ends=ends
    )


@pytest.mark.parametrize("spaced", ["", "student", "teacher", "both"])
def test_before_the_first_token_only_tokenizers_that_agree_on_spaces_are_compared(spaced):
    """Ends of `ab|c|</s>` and `a|bc|</s>` after one and two tokens of prompt: 1 + the bytes, see `alignment.rows`."""
    ours, theirs = (
        replace(shape, tokens=replace(shape.tokens, dummy_prefix=spaced in (name, "both")))
        for name, shape in (("student", OURS), ("teacher", THEIRS))
    )
    batch = Batch(side([0, 3, 4, 5], 1, 4), side([-1, 0, 2, 4, 5], 2, 5), torch.arange(1))
    first = [] if spaced in ("student", "teacher") else [(0, 0, 1)]
    assert pairs(shared_tokens(ours, theirs, "test").positions(batch)) == [*first, (0, 2, 3)]


def test_positions_of_one_side_are_all_that_predict():
    own = side([0, 3, 4, 5], 1, 4)
    found = shared_tokens(STUDENT, TEACHER, "test").positions(Batch(own, own, torch.arange(1)))
    assert pairs(found) == [(0, 0, 0), (0, 1, 1), (0, 2, 2)]


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        (replace(OURS, tokens=None), THEIRS, "those of the student are not known"),
        (OURS, replace(THEIRS, tokens=None), "those of the teacher are not known"),
        (replace(OURS, tokens=letters("xyz"), end_token=None), THEIRS, "they share none"),
    ],
)
def test_what_cannot_be_compared_is_named(ours, theirs, says):
    with pytest.raises(BadInput, match=f"^a.loss .*{says}"):
        shared_tokens(ours, theirs, "a.loss")
