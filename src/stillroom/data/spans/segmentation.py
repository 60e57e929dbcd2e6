"""What a text is cut into, words and phrases, and the interface of whoever cuts it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stillroom.alignment.byte_ends import byte_positions
from stillroom.core.progress import Advance

Letters = Sequence[tuple[int, int]]
"""Spans as Python counts: the first letter of every span, and the one behind its last."""
BLOCK = 256
"""Texts that are cut before progress is shown and, with a cache, kept."""


@dataclass(frozen=True, eq=False)
class Spans:
    """Words and phrases of one text, in bytes of its UTF-8: the first of every span, and the one behind its last.

    Words are increasing and disjoint, and so are phrases; neither need cover the text.
    """

    words: np.ndarray
    """`[n, 2]` int64."""
    phrases: np.ndarray
    """`[m, 2]` int64."""
    labels: tuple[str, ...]
    """Of the phrases: "NP", "VP", "PP", "ADJP", "ADVP", or "" where nobody knows."""
    known: bool = True
    """False where the segmenter does not know the language and the text was cut by `Windows` instead."""


class Segmenter(ABC):
    """Cuts texts into words and phrases; the same text is cut in the same way every time."""

    identity: str
    """What the cuts depend on beside the text: name and version, for the cache and for a person."""

    def segment(self, texts: Sequence[str], advance: Advance | None = None) -> list[Spans]:
        """The spans of every text, in order; `advance` is told of every block of them."""
        found: list[Spans] = []
        for first in range(0, len(texts), BLOCK):
            found += self.cut(texts[first : first + BLOCK])
            if advance is not None:
                advance(len(found), len(texts))
        return found

    @abstractmethod
    def cut(self, texts: Sequence[str]) -> list[Spans]:
        """The spans of a few texts, in order; `segment` calls it block by block."""


def spans_of_letters(
    text: str, words: Letters, phrases: Letters, labels: Sequence[str], known: bool = True
) -> Spans:
    """Spans whose places were counted in letters."""
    positions = byte_positions(text)
    found = [positions[np.array(spans, np.int64).reshape(-1, 2)] for spans in (words, phrases)]
    return Spans(found[0], found[1], tuple(labels), known)


def no_spans() -> Spans:
    """Of a text that has neither words nor phrases."""
    nothing = np.zeros((0, 2), np.int64)
    return Spans(nothing, nothing, ())
