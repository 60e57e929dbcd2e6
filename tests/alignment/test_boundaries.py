"""Shared boundaries and chunks equal those of two pointers, in NumPy and in PyTorch, on every kind of row."""

import random

import numpy as np
import pytest
import torch
from reference.alignment import exact, two_pointers

from stillroom.alignment.boundaries import shared_boundaries
from stillroom.alignment.chunks import shared_chunks
from stillroom.alignment.positions import context_equal, exact_pairs

KINDS = (np.asarray, lambda rows: torch.as_tensor(np.asarray(rows)))


def segmentation(words: random.Random, size: int) -> list[int]:
    """Ends of one text: some tokens without bytes of their own, sometimes cut, and -1 where nothing closes."""
    ends = sorted(words.sample(range(1, size + 1), words.randint(0, size)))
    ends = [end for end in ends for _ in range(words.choice((1, 1, 1, 2)))]
    if words.random() < 0.3:
        ends = [0, *ends]
    return ends[: words.randint(0, len(ends))] if words.random() < 0.3 else ends


def padded(rows: list[list[int]], words: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one width, padded on either side, and which tokens are text."""
    width = max(map(len, rows)) + 1
    ends = np.full((len(rows), width), -1)
    text = np.zeros_like(ends, dtype=bool)
    for number, row in enumerate(rows):
        start = words.randint(0, width - len(row))
        ends[number, start : start + len(row)] = row
        text[number, start : start + len(row)] = True
    return ends, text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(40))
def test_rows_equal_two_pointers(kind, seed) -> None:
    words = random.Random(seed)
    students, teachers = (
        [segmentation(random.Random(f"{seed} {side} {row}"), 1 + 4 * row) for row in range(6)]
        for side in "st"
    )
    (left, left_text), (right, right_text) = padded(students, words), padded(teachers, words)
    shared = shared_boundaries(kind(left), kind(right))
    chunks = shared_chunks(shared, kind(left_text), kind(right_text))
    pairs = context_equal(shared, kind(left_text), kind(right_text))
    alone = exact_pairs(chunks)
    for row, (student, teacher) in enumerate(zip(students, teachers, strict=True)):
        expected, ours, theirs = two_pointers(student, teacher)
        shift, other = int(left_text[row].argmax()), int(right_text[row].argmax())
        moved = [(i + shift, j + other) for i, j in expected]
        assert found(pairs, row) == moved
        assert chunks.student[row][left_text[row]].tolist() == ours
        assert chunks.teacher[row][right_text[row]].tolist() == theirs
        assert (chunks.student[row][~left_text[row]] == -1).all()
        assert chunks.counts[row] == len(expected)
        assert found(alone, row) == [(i + shift, j + other) for i, j in exact(ours, theirs)]


def found(pairs, row: int) -> list[tuple[int, int]]:
    here = pairs.rows == row
    return list(zip(pairs.student[here].tolist(), pairs.teacher[here].tolist(), strict=True))


def cut(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows)


def chunked(student: list[int], teacher: list[int]) -> tuple[list[int], list[int]]:
    shared = shared_boundaries(cut(student), cut(teacher))
    chunks = shared_chunks(shared, *(torch.ones_like(each) for each in shared))
    return chunks.student[0].tolist(), chunks.teacher[0].tolist()


def test_one_tokenizer_makes_every_token_its_own_chunk() -> None:
    ends = [1, 2, 5, 9]
    assert chunked(ends, ends) == ([0, 1, 2, 3], [0, 1, 2, 3])
    assert chunked([0, 3, 6], [0, 3, 6]) == (
        [0, 1, 2],
        [0, 1, 2],
    )  # a lone space before the text is a token, too


def test_sides_can_be_exchanged() -> None:
    student, teacher = [0, 2, 4, 4, 9, 12], [1, 2, 4, 7, 9, 13]
    assert chunked(student, teacher) == chunked(teacher, student)[::-1]


def test_only_the_last_of_equal_ends_closes() -> None:
    assert chunked([3, 3, 3, 5], [3, 5]) == ([0, 0, 0, 1], [0, 1])


def test_a_cut_response_has_no_chunk_behind_the_last_common_end() -> None:
    assert chunked([2, 4, 6], [2, 4, 5]) == ([0, 1, -1], [0, 1, -1])
    assert chunked([2, 4], [1, 2, 4, 6, 9]) == ([0, 1], [0, 0, 1, -1, -1])
    assert chunked([5], [3]) == ([-1], [-1])


def test_boundaries_of_three_tokenizers() -> None:
    words = random.Random(1)
    a, b, c = (sorted(words.sample(range(1, 60), 30)) for _ in range(3))
    in_all = set(a) & set(b) & set(c)
    shared = shared_boundaries(cut(a), cut(c)).student[0]
    assert in_all <= {end for end, is_shared in zip(a, shared.tolist(), strict=True) if is_shared}


@pytest.mark.parametrize("shape", [(1, 0), (0, 3), (0, 0)])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_shares_nothing(kind, shape) -> None:
    ends = kind(np.zeros(shape, np.int64))
    other = kind(np.zeros((shape[0], 2), np.int64))
    shared = shared_boundaries(ends, other)
    chunks = shared_chunks(shared, shared.student, shared.teacher)
    assert not shared.student.any()
    assert not shared.teacher.any()
    assert len(exact_pairs(chunks).rows) == 0


def test_a_boundary_where_only_one_side_predicts_is_no_pair() -> None:
    """One side was cut where the other goes on: its last token predicts nothing that is scored."""
    shared = shared_boundaries(cut([1, 3, 6]), cut([1, 3, 6]))
    short, whole = torch.tensor([[True, False, True]]), torch.tensor([[True, True, True]])
    pairs = context_equal(shared, short, whole)
    assert found(pairs, 0) == [(0, 0), (2, 2)]


def test_what_comes_in_is_not_changed() -> None:
    ends = cut([-1, 2, 2, 4])
    shared_boundaries(ends, ends)
    assert ends.tolist() == [[-1, 2, 2, 4]]
