"""Byte ends of a row as a model reads it: prompt, response, end token, and perhaps the next document behind.

A row counts through all its texts: 0 after the last token before the first text, 1 + b after b bytes of it, one more
at its end token, and on to the next. So the place before a text and the place after its end token have numbers like
any other: what predicts the first token of a response and what predicts its end are found as boundaries, and end tokens
of two vocabularies meet wherever both responses are whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stillroom.alignment.byte_ends import OUTSIDE


@dataclass(frozen=True)
class Stretch:
    """A part of a row: tokens that are compared with nothing, then the tokens of a text."""

    before: int
    """Tokens before the text: prompt, template, begin token, padding."""
    ends: np.ndarray
    """Byte ends of the text's tokens, `[n]`, as many of them as the row has."""
    size: int
    """Bytes of the whole text, whatever of it was cut away: the other side counts them, too."""
    closed: bool = False
    """Whether the end token follows (by its role, whatever it is called)."""


def row_ends(stretches: Sequence[Stretch], after: int = 0) -> np.ndarray:
    """Ends of a whole row, int64, as long as all its tokens; `after` more stand behind (padding)."""
    parts, base = [], 0
    for stretch in stretches:
        outside = np.full(stretch.before, OUTSIDE, np.int64)
        outside[-1:] = base
        inside = np.where(stretch.ends >= 0, stretch.ends + base + 1, OUTSIDE)
        end_token = np.full(int(stretch.closed), base + stretch.size + 2)
        parts += [outside, inside, end_token]
        base += stretch.size + 3
    return np.concatenate([*parts, np.full(after, OUTSIDE, np.int64)])
