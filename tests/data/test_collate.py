import pytest
import torch

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.data.collate import Collator

ITEMS = [
    {"input_ids": [5, 6, 7, 9], "response_mask": [False, False, True, True], "sample_ids": 3},
    {"input_ids": [5, 9], "response_mask": [False, True], "sample_ids": 8},
]


def trained(batch: Batch) -> list[list[int]]:
    """The targets that are scored, row by row."""
    return [
        row[keep].tolist() for row, keep in zip(batch.student.targets, batch.student.predicts, strict=True)
    ]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("multiple", [None, 1, 4, 5])
@pytest.mark.parametrize("padding", [0, 9])
def test_padding_never_changes_what_is_trained_on(side, multiple, padding) -> None:
    """Also where the padding id (9) is the end token: the real end token is scored, the padding is not."""
    inputs = Collator(padding, side, multiple)(ITEMS)
    batch = Batch.from_inputs(inputs)
    assert inputs["input_ids"].shape == (2, 5 if multiple == 5 else 4)
    assert inputs["input_ids"].dtype == torch.int64
    assert trained(batch) == [[7, 9], [9]]
    real = [
        row[kept.bool()].tolist()
        for row, kept in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    ]
    assert real == [item["input_ids"] for item in ITEMS]
    assert batch.sample_ids.tolist() == [3, 8]
    assert batch.teacher is batch.student


def test_sides() -> None:
    right, left = Collator(0, "right")(ITEMS), Collator(0, "left")(ITEMS)
    assert right["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert left["attention_mask"].tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]
    assert left["input_ids"][1].tolist() == [0, 0, 5, 9]


def test_teacher_side_has_its_own_length() -> None:
    items = [
        item | {"teacher_input_ids": [1] * n, "teacher_response_mask": [False] + [True] * (n - 1)}
        for item, n in zip(ITEMS, (2, 6), strict=True)
    ]
    batch = Batch.from_inputs(Collator(9, teacher_padding_id=7)(items))
    assert batch.student.input_ids.shape == (2, 4)
    assert batch.teacher.input_ids.tolist() == [[1, 1, 7, 7, 7, 7], [1] * 6]
    assert batch.teacher.predicts.sum() == 6


def test_bad_settings() -> None:
    with pytest.raises(BadInput, match="padding_side must be right or left, got 'middle'"):
        Collator(0, "middle")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="at least 1, got 0"):
        Collator(0, pad_to_multiple_of=0)
