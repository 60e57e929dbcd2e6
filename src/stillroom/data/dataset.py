"""Encoded samples in two flat arrays: a million of them is a few buffers, not a forest of lists."""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from stillroom.core.errors import BadInput

LOST = ("dropped_no_response", "dropped_unaligned")
"""Counts of samples that one of two tokenizers may lose alone."""


class Item(TypedDict):
    """One encoded sample: `input_ids [S]` int64, `response_mask [S]` bool and the sample's index; `byte_ends [S]` int64
    where text is aligned, `words [S]` and `phrases [S]` int64 where it is cut into spans."""

    input_ids: Tensor
    response_mask: Tensor
    sample_ids: int
    byte_ends: NotRequired[Tensor]
    words: NotRequired[Tensor]
    phrases: NotRequired[Tensor]


class EncodedDataset(Dataset[Item]):
    """A map-style data set of token ids and of which ones are trained on.

    `report` counts what happened on the way: samples, tokens, response_tokens (those that are predicted and
    scored), dropped_empty, dropped_no_response, cut_prompts, cut_responses, special_in_text; where byte ends are
    known also dropped_unaligned, and where text is cut into spans what `encode` counts of them.
    """

    def __init__(
        self,
        ids: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
        sample_ids: Sequence[int],
        report: dict[str, int],
        known: Mapping[str, Sequence[np.ndarray]] | None = None,
        checksums: Sequence[int] | None = None,
    ) -> None:
        """`known`: `byte_ends`, `words` and `phrases`, as far as they are, a row for every sample. `checksums`, of
        their texts, go with rows that are to be aligned: two templates may write one response differently."""
        self.lengths = [len(row) for row in ids]
        self.sample_ids = list(sample_ids)
        self.report = report
        self._ends = np.cumsum([0, *self.lengths])
        self._ids = np.concatenate(ids)
        self._mask = np.concatenate(masks)
        self.checksums = None if checksums is None else list(checksums)
        self._known = {name: np.concatenate(rows) for name, rows in (known or {}).items()}

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Item:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        index %= len(self)
        span = slice(self._ends[index], self._ends[index + 1])
        item = Item(
            input_ids=torch.from_numpy(self._ids[span].astype(np.int64)),
            response_mask=torch.from_numpy(self._mask[span].copy()),
            sample_ids=self.sample_ids[index],
        )
        for name, values in self._known.items():
            item[name] = torch.from_numpy(values[span].astype(np.int64))  # type: ignore[literal-required]
        return item

    def select(self, indices: Sequence[int]) -> "EncodedDataset":
        """These samples, in this order, counted anew."""
        spans = [slice(self._ends[index], self._ends[index + 1]) for index in indices]
        masks = [self._mask[span] for span in spans]
        counts = {
            "samples": len(spans),
            "tokens": sum(map(len, masks)),
            "response_tokens": sum(int(mask.sum()) for mask in masks),
        }
        checksums = self.checksums
        return EncodedDataset(
            [self._ids[span] for span in spans],
            masks,
            [self.sample_ids[index] for index in indices],
            self.report | counts,
            {name: [values[span] for span in spans] for name, values in self._known.items()},
            None if checksums is None else [checksums[index] for index in indices],
        )

    def require(self, batch_size: int) -> None:
        """`BadInput` where the data do not fill one global batch (per device x devices x accumulation)."""
        if len(self) < batch_size:
            raise BadInput(
                f"{len(self)} usable samples do not fill one global batch of {batch_size}; lower the batch "
                "size or the gradient accumulation, or give more data."
            )


class PairedDataset(Dataset[dict[str, Any]]):
    """The same samples under two tokenizers: items hold the teacher's side under `teacher_`.

    Samples that are missing on one side are in neither, nor are those whose texts differ: a chat template may have
    rewritten one. `report` is the student's, with the counts of the teacher's tokens beside it.
    """

    def __init__(self, student: EncodedDataset, teacher: EncodedDataset) -> None:
        """Of data sets that hold byte ends and checksums. `BadInput` where no sample is on both sides."""
        assert student.checksums is not None
        assert teacher.checksums is not None
        ours, theirs = (
            {sample: index for index, sample in enumerate(each.sample_ids)} for each in (student, teacher)
        )
        common = [sample for sample in student.sample_ids if sample in theirs]
        both = [each for each in common if student.checksums[ours[each]] == teacher.checksums[theirs[each]]]
        if not both:
            raise BadInput(
                f"no sample can be read by both tokenizers: {len(common)} are left after max_length, and the chat "
                "templates write the responses of all of them differently; use template alpaca or plain."
                if common
                else "no sample can be read by both tokenizers; raise max_length."
            )
        self.student = student.select([ours[sample] for sample in both])
        self.teacher = teacher.select([theirs[sample] for sample in both])
        self.lengths = [max(pair) for pair in zip(self.student.lengths, self.teacher.lengths, strict=True)]
        self.sample_ids = self.student.sample_ids
        counted = ("tokens", "response_tokens", "cut_prompts", "cut_responses", *LOST)
        self.report = self.student.report | {f"teacher_{name}": self.teacher.report[name] for name in counted}
        self.report["dropped_rewritten"] = len(common) - len(both)

    def __len__(self) -> int:
        return len(self.student)

    def __getitem__(self, index: int) -> dict[str, Any]:
        theirs = self.teacher[index]
        return dict(self.student[index]) | {
            f"teacher_{name}": value for name, value in theirs.items() if name != "sample_ids"
        }

    def require(self, batch_size: int) -> None:
        """`BadInput` where the data do not fill one global batch."""
        self.student.require(batch_size)
