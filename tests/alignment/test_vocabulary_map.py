"""Vocabularies meet by bytes."""

import numpy as np
import pytest

from stillroom.alignment.vocabulary_map import vocabulary_map
from stillroom.core.byte_table import ByteTable


def table(*pieces: bytes, special: tuple[int, ...] = (), fallback: tuple[int, ...] = ()) -> ByteTable:
    ids = np.arange(len(pieces))
    return ByteTable(pieces, np.isin(ids, special), np.isin(ids, fallback), False, None)


def test_pairs_and_both_ways() -> None:
    found = vocabulary_map(table(b"a", b"b", b"ab"), table(b"ab", b"x", b"a", b"y"))
    assert found.student.tolist() == [0, 2]
    assert found.teacher.tolist() == [2, 0]
    assert found.to_student.tolist() == [2, -1, 0, -1]
    assert found.to_teacher.tolist() == [2, -1, 0]
    assert len(found) == 2


def test_a_byte_that_is_also_a_piece_is_the_piece() -> None:
    student = table(b"a", b"a", b"\n", fallback=(0, 2))
    found = vocabulary_map(student, table(b"\n", b"a"))
    assert found.to_student.tolist() == [2, 1]
    assert found.to_teacher.tolist() == [-1, 1, 0]


def test_special_tokens_have_roles_and_holes_have_none() -> None:
    student, teacher = (
        table(b"</s>", b"", b"a", special=(0,)),
        table(b"a", b"</s>", b"", b"<end>", special=(3,)),
    )
    assert vocabulary_map(student, teacher).student.tolist() == [2]
    found = vocabulary_map(student, teacher, roles=[(0, 3)])
    assert (found.student.tolist(), found.teacher.tolist()) == ([0, 2], [3, 0])


def test_a_role_keeps_its_ids_from_other_pairs() -> None:
    found = vocabulary_map(table(b"a", b"end"), table(b"a", b"b"), roles=[(1, 0)])
    assert (found.student.tolist(), found.teacher.tolist()) == ([1], [0])


def test_a_vocabulary_and_itself(reader) -> None:
    own = reader("byte_level").table
    found = vocabulary_map(own, own, roles=[(0, 0)])
    assert found.student.tolist() == found.teacher.tolist() == list(range(len(own)))


@pytest.mark.parametrize(
    ("teacher", "student", "size"),
    [
        ("qwen1.5", "gpt2", 42_256),
        ("mistral-7b-v0.1", "llama2", 24_085),
        ("llama2", "gpt2", 18_207),
        ("qwen1.5", "llama2", 26_342),
    ],
)
def test_real_vocabularies(reader, teacher, student, size) -> None:
    """Without the three special tokens that the two SentencePiece files spell alike."""
    ours, theirs = reader(student).table, reader(teacher).table
    found = vocabulary_map(ours, theirs)
    assert len(found) == size == len(vocabulary_map(theirs, ours))
    pieces = [(ours.pieces[i], theirs.pieces[j]) for i, j in zip(found.student, found.teacher, strict=True)]
    assert all(left == right != b"" for left, right in pieces)
    assert len(set(found.teacher.tolist())) == size
