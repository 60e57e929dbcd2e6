"""Rows with prompts, end tokens, several documents and padding on either side."""

import numpy as np
import pytest
import torch

from stillroom.alignment.batch import align
from stillroom.alignment.rows import Stretch, row_ends
from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.data.collate import Collator

ENDS = np.array([2, 5])


def test_a_row_counts_through() -> None:
    row = row_ends([Stretch(2, ENDS, 5, closed=True), Stretch(1, ENDS[:1], 5)], after=2)
    assert row.tolist() == [-1, 0, 3, 6, 7, 8, 11, -1, -1]
    assert row_ends([Stretch(0, ENDS, 5)]).tolist() == [3, 6]
    assert row_ends([]).tolist() == []


def test_a_token_without_bytes_is_not_the_end_of_the_prompt() -> None:
    assert row_ends([Stretch(1, np.array([0, 4]), 4)]).tolist() == [0, 1, 5]


def item(
    number: int, prompt: tuple[int, int], ends: tuple[list[int], list[int]], size: int, closed=(True, True)
):
    """A sample with other prompts and other cuts on both sides."""
    made = {"sample_ids": number}
    for prefix, before, side, ending in zip(("", "teacher_"), prompt, ends, closed, strict=True):
        row = row_ends([Stretch(before, np.array(side, np.int64), size, closed=ending)])
        made |= {
            prefix + "input_ids": [7] * len(row),
            prefix + "response_mask": (np.arange(len(row)) >= before),
            prefix + "byte_ends": row,
        }
    return made


ITEMS = [
    item(0, (1, 3), ([2, 4, 6], [1, 2, 6]), 6),
    item(1, (4, 2), ([3], [3]), 3),
    item(2, (2, 2), ([1, 2], [2, 4, 8]), 8, closed=(False, True)),  # the student's side was cut
    item(3, (1, 1), ([], []), 0),
]


def told(found, lefts: list[int], rights: list[int]) -> list[tuple[int, int, int]]:
    """Pairs as (row, student position, teacher position), counted from where each row begins."""
    lists = zip(found.rows.tolist(), found.student.tolist(), found.teacher.tolist(), strict=True)
    return [(row, i - lefts[row], j - rights[row]) for row, i, j in lists]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("multiple", [None, 8])
def test_padding_changes_nothing(side, multiple) -> None:
    batch = Batch.from_inputs(Collator(0, side, multiple)(ITEMS))
    found = align(batch)
    begins = [(each.attention_mask.argmax(dim=1)).tolist() for each in (batch.student, batch.teacher)]
    # before the response, after byte 2, before the end token
    assert told(found.context, *begins) == [
        (0, 0, 2), (0, 1, 4), (0, 3, 5),
        (1, 3, 1), (1, 4, 2),
        (2, 1, 1),  # the student's last token predicts nothing more
        (3, 0, 0),
    ]  # fmt: skip
    assert told(found.exact, *begins) == [(0, 4, 6), (1, 4, 2), (1, 5, 3), (3, 1, 1)]
    assert found.chunks.counts.tolist() == [3, 2, 1, 1]
    first = found.chunks.student[0][batch.student.attention_mask[0].bool()]
    assert first.tolist() == [-1, 0, 1, 1, 2]


def test_documents_of_one_row_do_not_mix() -> None:
    """Two documents packed into one row give what they give in rows of their own."""
    packed = {"sample_ids": 0}
    for prefix, ends in (("", ([2, 4], [3, 6])), ("teacher_", ([1, 4], [2, 6]))):
        row = row_ends(
            [Stretch(2, np.array(each), size, closed=True) for each, size in zip(ends, (4, 6), strict=True)]
        )
        mask = np.array([False, False, True, True, True] * 2)
        packed |= {prefix + "input_ids": [7] * 10, prefix + "response_mask": mask, prefix + "byte_ends": row}
    found = align(Batch.from_inputs(Collator(0)([packed])))
    assert found.chunks.student[0].tolist() == [-1, -1, 0, 0, 1, -1, -1, 2, 2, 3]
    assert found.chunks.teacher[0].tolist() == [-1, -1, 0, 0, 1, -1, -1, 2, 2, 3]
    assert told(found.context, [0], [0]) == [(0, 1, 1), (0, 3, 3), (0, 6, 6), (0, 8, 8)]


def test_a_document_that_was_cut_leaves_the_next_one_alone() -> None:
    cut = {"sample_ids": 0}
    for prefix, ends, closed in (("", [2], False), ("teacher_", [3, 4], True)):
        row = row_ends([Stretch(1, np.array(ends), 4, closed), Stretch(1, np.array([5]), 5, closed=True)])
        mask = np.array([False, *[True] * (len(ends) + closed), False, True, True])
        cut |= {
            prefix + "input_ids": [7] * len(row),
            prefix + "response_mask": mask,
            prefix + "byte_ends": row,
        }
    found = align(Batch.from_inputs(Collator(0)([cut])))
    assert found.chunks.student[0].tolist() == [-1, -1, -1, 0, 1]
    assert found.chunks.teacher[0].tolist() == [-1, -1, -1, -1, -1, 0, 1]


def test_one_tokenizer_aligns_every_token_with_itself() -> None:
    rows = [
        {"input_ids": [5, 6, 7, 9][:n], "response_mask": [False, *[True] * (n - 1)], "sample_ids": n}
        for n in (4, 2)
    ]
    found = align(Batch.from_inputs(Collator(0, "left")(rows)))
    assert told(found.context, [0, 0], [0, 0]) == [(0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 2, 2)]
    assert told(found.exact, [0, 0], [0, 0]) == [(0, 1, 1), (0, 2, 2), (0, 3, 3), (1, 3, 3)]


def test_unknown_ends_are_refused() -> None:
    batch = Batch.from_inputs(Collator(0)(ITEMS))
    bare = Side(batch.teacher.input_ids, batch.teacher.attention_mask, batch.teacher.response_mask)
    with pytest.raises(BadInput, match="the teacher's are not known: encode the text with both"):
        align(Batch(batch.student, bare, batch.sample_ids))


def test_rows_of_a_batch_keep_their_ends() -> None:
    batch = Batch.from_inputs(Collator(0)(ITEMS)).rows(torch.tensor([2, 0]))
    assert align(batch).chunks.counts.tolist() == [1, 3]
