"""Which tokens of two vocabularies are the same bytes.

A string says less: `Ġthe` and `▁the`, `Ċ` and `<0x0A>` are one token each in bytes. Where several ids of a vocabulary
have the same bytes, the one that is no byte fallback takes part, then the smallest. Special tokens never match by their
letters: what they mean is their role, so their pairs are given.

Not at the first token of a text where only one tokenizer puts a space before it (`ByteTable.dummy_prefix`): there that
one says `▁Hello` for what the other calls `Hello`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stillroom.core.byte_table import ByteTable

ABSENT = -1


@dataclass(frozen=True)
class VocabularyMap:
    """Pairs of ids with the same bytes: one to one, in the order of the student's ids."""

    student: np.ndarray
    """`[n]` int64."""
    teacher: np.ndarray
    """`[n]` int64."""
    to_student: np.ndarray
    """`[W]` int64: the student's id of every id of the teacher, or -1."""
    to_teacher: np.ndarray
    """`[V]` int64: the teacher's id of every id of the student, or -1."""

    def __len__(self) -> int:
        return len(self.student)


def vocabulary_map(
    student: ByteTable, teacher: ByteTable, roles: Sequence[tuple[int, int]] = ()
) -> VocabularyMap:
    """The map; `roles` pairs special tokens (student's id, teacher's id) that mean the same, such as both end tokens.

    Rows that heads have beyond their tokenizers are in no pair.
    """
    ours, theirs = _by_bytes(student), _by_bytes(teacher)
    pairs = dict(roles)
    taken = set(pairs.values())
    for piece, index in ours.items():
        other = theirs.get(piece)
        if other is not None and index not in pairs and other not in taken:
            pairs[index] = other
    left = np.array(sorted(pairs), np.int64)
    right = np.array([pairs[index] for index in sorted(pairs)], np.int64)
    to_student, to_teacher = np.full(len(teacher), ABSENT), np.full(len(student), ABSENT)
    to_student[right], to_teacher[left] = left, right
    return VocabularyMap(left, right, to_student, to_teacher)


def _by_bytes(table: ByteTable) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    ordinary = [index for index in range(len(table)) if table.pieces[index] and not table.special[index]]
    for index in sorted(ordinary, key=lambda index: (bool(table.fallback[index]), index)):
        found.setdefault(table.pieces[index], index)
    return found
