"""Samples of unequal length to one padded batch.

Padding is as long as the longest row of the batch and no longer. The attention mask comes from lengths, never
from ids, so that an end token that doubles as padding is still learnt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from stillroom.core.batch import KNOWN_SOMETIMES
from stillroom.core.errors import BadInput


@dataclass(frozen=True)
class Collator:
    """Makes the dictionary that `Batch.from_inputs` reads.

    Items hold `input_ids [n]`, `response_mask [n]` and `sample_ids`; `byte_ends [n]` where text is aligned, `words [n]`
    and `phrases [n]` where it is cut into spans; with a second tokenizer also `teacher_input_ids [m]` and the like.
    """

    padding_id: int
    """Any id within the vocabulary: it is never attended to and never scored."""
    padding_side: Literal["right", "left"] = "right"
    pad_to_multiple_of: int | None = None
    teacher_padding_id: int = 0

    def __post_init__(self) -> None:
        if self.padding_side not in ("right", "left"):
            raise BadInput(f"padding_side must be right or left, got {self.padding_side!r}.")
        if self.pad_to_multiple_of is not None and self.pad_to_multiple_of < 1:
            raise BadInput(f"pad_to_multiple_of must be at least 1, got {self.pad_to_multiple_of}.")

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` (int64), `response_mask` (bool) and, if known, `byte_ends`, `words`, `phrases`
        (int64, -1 in the padding), all `[B,S]`, and `sample_ids [B]`; the same under `teacher_` where the items have
        it, with a length of its own."""
        batch = self._side(items, "", self.padding_id)
        if "teacher_input_ids" in items[0]:
            batch |= self._side(items, "teacher_", self.teacher_padding_id)
        batch["sample_ids"] = torch.tensor([int(item["sample_ids"]) for item in items])
        return batch

    def _side(self, items: Sequence[Mapping[str, Any]], prefix: str, padding_id: int) -> dict[str, Tensor]:
        rows = [torch.as_tensor(item[prefix + "input_ids"]) for item in items]
        multiple = self.pad_to_multiple_of or 1
        length = -(-max(len(row) for row in rows) // multiple) * multiple
        input_ids = torch.full((len(rows), length), padding_id)
        attention_mask = torch.zeros_like(input_ids)
        response_mask = torch.zeros_like(input_ids, dtype=torch.bool)
        known = {prefix + name: torch.full_like(input_ids, -1) for name in KNOWN_SOMETIMES}
        known = {name: padded for name, padded in known.items() if name in items[0]}
        for number, (row, item) in enumerate(zip(rows, items, strict=True)):
            span = slice(0, len(row)) if self.padding_side == "right" else slice(length - len(row), length)
            input_ids[number, span] = row
            attention_mask[number, span] = 1
            response_mask[number, span] = torch.as_tensor(item[prefix + "response_mask"]).bool()
            for name, padded in known.items():
                padded[number, span] = torch.as_tensor(item[name])
        return {
            prefix + "input_ids": input_ids,
            prefix + "attention_mask": attention_mask,
            prefix + "response_mask": response_mask,
            **known,
        }
