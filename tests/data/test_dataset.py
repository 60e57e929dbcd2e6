import numpy as np
import pytest
import torch

from stillroom.core.errors import BadInput
from stillroom.data.dataset import EncodedDataset


def dataset() -> EncodedDataset:
    rows = [[1, 2, 3], [4, 5]]
    masks = [[False, True, True], [False, True]]
    return EncodedDataset(
        [np.array(row, np.int32) for row in rows], [np.array(mask) for mask in masks], [7, 9], {"samples": 2}
    )


def test_items() -> None:
    data = dataset()
    assert data.lengths == [3, 2]
    assert [item["input_ids"].tolist() for item in (data[0], data[1], data[-1])] == [
        [1, 2, 3],
        [4, 5],
        [4, 5],
    ]
    assert data[0]["input_ids"].dtype == torch.int64
    assert data[0]["response_mask"].tolist() == [False, True, True]
    assert [data[n]["sample_ids"] for n in range(2)] == [7, 9]
    with pytest.raises(IndexError):
        data[2]


def test_items_are_copies() -> None:
    data = dataset()
    data[0]["input_ids"][0] = 100
    data[0]["response_mask"][0] = True
    assert data[0]["input_ids"][0] == 1
    assert not data[0]["response_mask"][0]


def test_fewer_samples_than_one_batch() -> None:
    dataset().require(2)
    with pytest.raises(BadInput, match="2 usable samples do not fill one global batch of 3"):
        dataset().require(3)
