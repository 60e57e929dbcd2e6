"""A vocabulary of single letters."""

import numpy as np

from stillroom.core.byte_table import ByteTable


def letters(text: str) -> ByteTable:
    """An end token with the id 0, then one token for every letter."""
    pieces = (b"</s>", *(letter.encode() for letter in text))
    special = np.arange(len(pieces)) == 0
    return ByteTable(pieces, special, np.zeros_like(special), dummy_prefix=False, form=None)
