"""Layers in which units are compared, and which units those are: words in low layers, phrases in high ones.

    words in layers l <= ceil( split L ), phrases above                 L layers of the student

or the layers of words by hand. Where no layers are named they are those at 1/2, 3/4 and all of the depth.

Paper:    MTA (arXiv 2605.01374): three layers are its best number; its layers and splits were set by hand for every
          pair of models: 6, 9 and 12 of 12 with words in the first, or 14 to 24 of 24 with words in the first
"""

import math
from typing import Literal, NamedTuple

from stillroom.core.errors import BadInput
from stillroom.objectives._layers import pair_layers

Kind = Literal["words", "phrases"]


class KeyLayer(NamedTuple):
    """A layer of each model, counted from 1, and what is compared there."""

    student: int
    teacher: int
    kind: Kind


def key_layers(
    ours: list[int] | None,
    theirs: list[int] | None,
    words: float | list[int],
    deep: int,
    teacher_deep: int,
) -> list[KeyLayer]:
    """In the order of `ours`. `words`: the share of the depth up to which words are compared, or the student's layers.

    `BadInput` where lists do not fit each other or the models.
    """
    if ours is None:
        ours = list(dict.fromkeys(-(-deep * quarters // 4) for quarters in (2, 3, 4)))
    pairs = pair_layers(ours, theirs, deep, teacher_deep, first=1)
    if isinstance(words, list):
        unknown = sorted(set(words) - set(ours))
        if unknown:
            raise BadInput(
                f"word_layers must be among the student's layers that are compared, {ours}, got {unknown}: name them "
                "in student_layers too"
            )
        low = set(words)
    else:
        # half of an odd depth is rounded up, as layers are; a product like 0.1 * 30 is not meant to be above 3
        low = set(range(1, math.ceil(words * deep - 1e-9) + 1))
    return [KeyLayer(*pair, "words" if pair[0] in low else "phrases") for pair in pairs]
