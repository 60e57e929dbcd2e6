"""Words and phrases of any language: words by the rules of Unicode, phrases as runs of up to three of them.

Words are what lies between the word boundaries of UAX #29 (library `regex`) and holds a letter or a digit; a Han letter
is a word of its own there. No punctuation and no line break lies inside a phrase.
"""

from collections.abc import Sequence
from itertools import pairwise

import regex

from stillroom.data.spans.segmentation import Segmenter, Spans, spans_of_letters

LONGEST = 3
"""Words of a phrase; phrases of a parser have 1.7 words in English."""
BOUNDARY = regex.compile(r"(?w)\b")
SIGN = regex.compile(r"[\p{L}\p{N}]")
BETWEEN = regex.compile(r"[^\S\n\v\f\r\x1c-\x1e\x85\u2028\u2029]*")
"""What may lie between two words of a phrase: white space that breaks no line."""


class Windows(Segmenter):
    """Knows no language, and so every one."""

    identity = "windows 1"

    def cut(self, texts: Sequence[str]) -> list[Spans]:
        return [_cut(text) for text in texts]


def words_of(text: str) -> list[tuple[int, int]]:
    """The words of a text, in letters: `(start, end)`, increasing and disjoint."""
    edges = [match.start() for match in BOUNDARY.finditer(text)]
    return [(start, end) for start, end in pairwise(edges) if SIGN.search(text, start, end)]


def _cut(text: str) -> Spans:
    words = words_of(text)
    phrases: list[tuple[int, int]] = []
    room = 0
    for start, end in words:
        if room and BETWEEN.fullmatch(text, phrases[-1][1], start):
            phrases[-1] = (phrases[-1][0], end)
            room -= 1
        else:
            phrases.append((start, end))
            room = LONGEST - 1
    return spans_of_letters(text, words, phrases, [""] * len(phrases))
