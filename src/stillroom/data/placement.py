"""Where the tokens of a row lie in its texts: byte ends, and the words and phrases that they are part of.

A row is put together piece by piece, as it was rendered. Words and phrases are numbered through all its texts.
"""

from dataclasses import dataclass, field, replace
from zlib import crc32

import numpy as np

from stillroom.alignment.byte_ends import OUTSIDE
from stillroom.alignment.rows import Stretch, row_ends
from stillroom.alignment.spans import units_of
from stillroom.data.spans.segmentation import Spans


@dataclass
class Placement:
    """The tokens of a row in its texts, piece by piece: byte ends, words and phrases."""

    before: int
    """Tokens since the last text."""
    checksum: int | None = 0
    """Of the texts; None where a text has no byte ends."""
    stretches: list[Stretch] = field(default_factory=list)
    unknown: int = 0
    """Texts in a language that the segmenter does not know."""
    _units: dict[str, list[np.ndarray]] = field(default_factory=lambda: {"words": [], "phrases": []})
    _counts: dict[str, int] = field(default_factory=lambda: {"words": 0, "phrases": 0})

    def __post_init__(self) -> None:
        self._outside(self.before)

    def skip(self, tokens: int) -> None:
        """Tokens that are no text."""
        self.before += tokens
        self._outside(tokens)

    def close(self, tokens: int) -> None:
        """What ends a text, by its role."""
        closes = bool(self.stretches and tokens) and self.before == 0
        if closes:
            self.stretches[-1] = replace(self.stretches[-1], closed=True)
        self.before += tokens - closes
        self._outside(tokens)

    def say(self, words: bytes, ends: np.ndarray, spans: Spans | None) -> None:
        """A text, the byte ends of its tokens `[n]`, and the spans that it has."""
        assert self.checksum is not None
        self.checksum = crc32(words, self.checksum)
        joins = bool(self.stretches) and self.before == 0 and not self.stretches[-1].closed
        last = self.stretches.pop() if joins else Stretch(self.before, ends[:0], 0)
        self.stretches.append(
            Stretch(last.before, np.concatenate([last.ends, ends + last.size]), last.size + len(words))
        )
        self.before = 0
        if spans is None:
            self._outside(len(ends))
            return
        self.unknown += not spans.known
        for name, found in (("words", spans.words), ("phrases", spans.phrases)):
            units = units_of(ends, found)
            self._units[name].append(np.where(units >= 0, units + self._counts[name], OUTSIDE))
            self._counts[name] += len(found)

    def byte_ends(self) -> np.ndarray:
        """See `alignment.rows`."""
        return row_ends(self.stretches, after=self.before)

    def units(self) -> dict[str, np.ndarray]:
        """The word and the phrase of every token; -1 for none."""
        return {name: np.concatenate(parts) for name, parts in self._units.items()}

    def _outside(self, tokens: int) -> None:
        for parts in self._units.values():
            parts.append(np.full(tokens, OUTSIDE, np.int64))
