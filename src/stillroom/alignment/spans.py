"""Which token lies in which span of a text: a token belongs to the span that holds its last byte.

So the space that a token begins with may lie before the word, and a token that ends before a span is never in it.
Character offsets with a tolerance of one for that space, as public code has it, admit tokens that lie before the span.
"""

import numpy as np

from stillroom.alignment.byte_ends import OUTSIDE


def units_of(ends: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """The number of the span of every token, `[n]` int64, -1 for none.

    `ends [n]` are byte ends of the tokens, negative where they lie outside the text; `spans [K,2]` the first byte of
    every span and the one behind its last, increasing and disjoint.
    """
    if len(spans) == 0:
        return np.full(len(ends), OUTSIDE, np.int64)
    first = np.searchsorted(spans[:, 1], ends)
    found = np.minimum(first, len(spans) - 1)
    inside = (ends > spans[found, 0]) & (ends <= spans[found, 1])
    return np.where(inside, found, OUTSIDE)


def whole(kept: np.ndarray, units: np.ndarray) -> np.ndarray:
    """`units` of the tokens that are left, -1 where a span has lost some: `kept [m]` of what were `units [n]`."""
    most = int(units.max(initial=-1)) + 1
    lost = np.bincount(units[units >= 0], minlength=most) != np.bincount(kept[kept >= 0], minlength=most)
    return np.where((kept >= 0) & ~lost[kept], kept, OUTSIDE) if most else kept
