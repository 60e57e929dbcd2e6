"""Encoded samples in two flat arrays: a million of them is a few buffers, not a forest of lists."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from stillroom.core.errors import BadInput


class Item(TypedDict):
    """One encoded sample: `input_ids [S]` int64, `response_mask [S]` bool, and the sample's index."""

    input_ids: Tensor
    response_mask: Tensor
    sample_ids: int


class EncodedDataset(Dataset[Item]):
    """A map-style data set of token ids and of which ones are trained on.

    `report` counts what happened on the way: samples, tokens, response_tokens (those that are predicted and
    scored), dropped_empty, dropped_no_response, cut_prompts, cut_responses, special_in_text.
    """

    def __init__(
        self,
        ids: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
        sample_ids: Sequence[int],
        report: dict[str, int],
    ) -> None:
        self.lengths = [len(row) for row in ids]
        self.sample_ids = list(sample_ids)
        self.report = report
        self._ends = np.cumsum([0, *self.lengths])
        self._ids = np.concatenate(ids)
        self._mask = np.concatenate(masks)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Item:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        index %= len(self)
        span = slice(self._ends[index], self._ends[index + 1])
        return Item(
            input_ids=torch.from_numpy(self._ids[span].astype(np.int64)),
            response_mask=torch.from_numpy(self._mask[span].copy()),
            sample_ids=self.sample_ids[index],
        )

    def require(self, batch_size: int) -> None:
        """`BadInput` where the data do not fill one global batch (per device x devices x accumulation)."""
        if len(self) < batch_size:
            raise BadInput(
                f"{len(self)} usable samples do not fill one global batch of {batch_size}; lower the batch "
                "size or the gradient accumulation, or give more data."
            )
