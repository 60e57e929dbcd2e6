"""Edit distance between tokens: how many bytes must be put in, taken out or replaced to make one of the other.

Tokens are strings with one letter for every byte, so that nothing depends on how a tokenizer spells them; an end token
is a letter that is no byte. Where the bytes of tokens are not known (one vocabulary), every token is a letter of its
own. rapidfuzz measures some hundred million pairs a second and core.

Code:     rapidfuzz 3, `pip install "stillroom[edit]"`
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from stillroom.core.errors import BadInput
from stillroom.core.shape import ModelShape

END = chr(256)
"""The end token: a letter that is no byte."""

FARTHEST = 255
"""Distances are kept in one byte; two tokens of more than 255 bytes are as far apart as can be."""

_BLOCK = 2**25
"""Pairs that are measured at once."""


def spellings(shape: ModelShape) -> tuple[str, ...]:
    """Every id as a string; empty for ids that no text is made of, other than the end token."""
    table = shape.tokens
    if table is None:
        return tuple(chr(256 + index) for index in range(shape.vocab_size))
    found = [
        "" if special else piece.decode("latin-1")
        for piece, special in zip(table.pieces, table.special, strict=True)
    ]
    found += [""] * (shape.vocab_size - len(found))  # rows that a head has beyond its tokenizer
    if shape.end_token is not None:
        found[shape.end_token] = END
    return tuple(found)


def edit_distances(first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """`[len(first), len(second)]` uint8."""
    levenshtein, cdist = _rapidfuzz()
    return cdist(first, second, scorer=levenshtein.distance, score_cutoff=FARTHEST - 1, dtype=np.uint8)


@lru_cache(maxsize=4)
def nearest(tokens: tuple[str, ...], among: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """For each of `tokens`, which of `among` is nearest and how far it is: `[n]` int64 and `[n]` uint8. The first of
    equals; kept for the life of the process, as it takes seconds."""
    found, distance = np.zeros(len(tokens), np.int64), np.zeros(len(tokens), np.uint8)
    size = max(1, _BLOCK // max(1, len(among)))
    for start in range(0, len(tokens), size):
        block = edit_distances(tokens[start : start + size], among)
        found[start : start + size] = block.argmin(axis=1)
        distance[start : start + size] = block.min(axis=1)
    return found, distance


def need_edit_distances(name: str) -> None:
    """`BadInput` for the objective called `name`, where rapidfuzz is not installed."""
    try:
        _rapidfuzz()
    except ImportError as error:
        raise BadInput(
            f"{name} measures edit distances between tokens with rapidfuzz, which is not installed: "
            'pip install "stillroom[edit]"'
        ) from error


def _rapidfuzz() -> tuple[Any, Any]:
    """Imported where it is needed: one vocabulary alone does not need it, and it is an extra."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    return Levenshtein, cdist
