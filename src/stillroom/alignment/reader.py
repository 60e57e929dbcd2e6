"""A tokenizer that says of every token where it ends in the text, in bytes."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from stillroom.alignment.byte_ends import ends_from_bytes, ends_from_offsets
from stillroom.alignment.byte_table import byte_table
from stillroom.core.byte_table import ByteTable

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Reading:
    """One text as one tokenizer cuts it."""

    ids: list[int]
    tokens: list[str]
    """As the vocabulary spells them."""
    ends: np.ndarray | None
    """Byte ends `[n]` int64, or None where the tokenizer rewrites the text beyond recognition."""


@dataclass(frozen=True)
class Reader:
    """Reads texts with a tokenizer of its own, in which the letters of special tokens are letters."""

    definition: str
    """JSON text of the tokenizer: `tokenizer.backend_tokenizer.to_str()` of one from transformers."""

    @cached_property
    def table(self) -> ByteTable:
        return byte_table(self.definition)

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.definition)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        return tokenizer

    def read(self, text: str) -> Reading:
        """`text` in tokens, without begin or end token."""
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        ends = ends_from_bytes(encoded.ids, text.encode(), self.table)
        if ends is None:
            ends = ends_from_offsets(encoded.offsets, text)
        return Reading(encoded.ids, encoded.tokens, ends)


def common_form(text: str, tables: Iterable[ByteTable]) -> str:
    """The text as all tokenizers should get it: composed (NFC) where one of them composes it anyway.

    The others would see different bytes in it. Forms that lose letters are nobody's but that tokenizer's own.
    """
    return unicodedata.normalize("NFC", text) if any(table.form == "NFC" for table in tables) else text
