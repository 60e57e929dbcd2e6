"""Bits per byte of text: what a loss per token is in a unit that two tokenizers share.

    total loss in nats / log(2) / bytes of the trained tokens

End tokens have a loss and no bytes; the space that a tokenizer puts before any text is none of the text.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from stillroom.core.byte_table import ByteTable


class Samples(Protocol):
    """`input_ids [S]` and `response_mask [S]` by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


def bits_per_byte(nats: float, dataset: Samples, tokens: ByteTable) -> float:
    """From the loss of all trained tokens together; NaN where they have no bytes."""
    size = response_bytes(dataset, tokens)
    return nats / math.log(2) / size if size else math.nan


def response_bytes(dataset: Samples, tokens: ByteTable) -> int:
    """Bytes of all tokens that are trained on."""
    lengths = text_lengths(tokens)
    total = 0
    for index in range(len(dataset)):
        item = dataset[index]
        ids = torch.as_tensor(item["input_ids"])[torch.as_tensor(item["response_mask"]).bool()]
        total += int(lengths[ids].sum())
        if tokens.dummy_prefix and len(ids) and tokens.pieces[int(ids[0])].startswith(b" "):
            total -= 1
    return total


def text_lengths(tokens: ByteTable) -> torch.Tensor:
    """Bytes of text that every id stands for, `[V]` int64: none for control tokens."""
    return torch.from_numpy(tokens.lengths).masked_fill(torch.from_numpy(tokens.special), 0)
