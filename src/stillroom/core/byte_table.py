"""What every token of a vocabulary is in bytes: all that two vocabularies have in common."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class ByteTable:
    """The bytes of every id, `V` of them: `V` is the largest id plus one, whatever rows a head has beyond."""

    pieces: tuple[bytes, ...]
    """By id; empty where no token has it."""
    special: np.ndarray
    """`[V]` bool: control tokens, which no text is made of."""
    fallback: np.ndarray
    """`[V]` bool: pieces that stand for one byte where a letter has no piece of its own."""
    dummy_prefix: bool
    """Whether the tokenizer puts a space before any text."""
    form: str | None
    """The Unicode normal form into which the tokenizer brings a text, if any."""

    @cached_property
    def lengths(self) -> np.ndarray:
        """Bytes of every id, `[V]` int64."""
        return np.fromiter(map(len, self.pieces), np.int64, len(self.pieces))

    def __len__(self) -> int:
        return len(self.pieces)
