"""Random texts under two small vocabularies, with their signals: what a twin in loops can read, and a batch."""

import random
from dataclasses import dataclass, replace

import numpy as np
import torch

from stillroom.alignment.rows import Stretch, row_ends
from stillroom.core.batch import Batch, Side
from stillroom.core.byte_table import ByteTable
from stillroom.core.signals import Signals
from stillroom.testing import OTHER_TEACHER, STUDENT
from stillroom.testing._signals import changed, random_answer

PIECES = (
    ["</s>", "a", "b", " ", "\n", "é", "ab", " a", "ba ", "\nb", " b"],
    ["</s>", " ab", "b", "a", "é", "\n", " ", "aa", " b", "\tb", "bb", "ab", "a\n"],
)


def shape(base, pieces, name):
    special = np.arange(len(pieces)) == 0
    table = ByteTable(
        tuple(each.encode() for each in pieces),
        special,
        np.zeros_like(special),
        dummy_prefix=False,
        form=None,
    )
    return replace(base, vocab_size=len(pieces) + 2, vocabulary=name, tokens=table, end_token=0)


OURS, THEIRS = (
    shape(base, pieces, name)
    for base, pieces, name in zip((STUDENT, OTHER_TEACHER), PIECES, ("ours", "theirs"), strict=True)
)
"""Heads have two rows beyond their tokenizers."""


@dataclass
class Text:
    """One sample of one side: how many tokens lie before the response, its ids, and whether it is whole."""

    before: int
    ids: list[int]
    size: int
    whole: bool


def segmented(text, pieces, rng, whole):
    """Any tokens that spell the text; if it is not `whole`, the last few are cut off."""
    ids, at = [], 0
    while at < len(text):
        fitting = [number for number, piece in enumerate(pieces) if number and text.startswith(piece, at)]
        ids.append(rng.choice(fitting))
        at += len(pieces[ids[-1]])
    return ids if whole else ids[: len(ids) // 2 + 1]


def texts(seed, samples=4, longest=14):
    """Samples of both sides; the first has no prompt for one of them, so nothing predicts its first token."""
    rng = random.Random(seed)
    sides = [[], []]
    for number in range(samples):
        text = "".join(rng.choice("abé \n") for _ in range(rng.randint(1, longest)))
        for side, pieces in zip(sides, PIECES, strict=True):
            whole = rng.random() < 0.7
            before = 0 if number == 0 and side is sides[seed % 2] else rng.randint(1, 3)
            side.append(Text(before, segmented(text, pieces, rng, whole), len(text.encode()), whole))
    return sides


def as_side(samples, pieces, left, rng):
    """Padded on the left or on the right; prompts are of any tokens."""
    rows, longest = [], max(len(each.ids) + each.before + each.whole for each in samples)
    for each in samples:
        ids = [rng.randrange(len(pieces)) for _ in range(each.before)] + each.ids + [0] * each.whole
        ends = np.cumsum([len(pieces[number].encode()) for number in each.ids])
        marks = row_ends([Stretch(each.before, ends, each.size, each.whole)]).tolist()
        mask = [False] * each.before + [True] * (len(ids) - each.before)
        rows.append([(*column, 1) for column in zip(ids, marks, mask, strict=True)])
    blank = [(0, -1, False, 0)]
    padded = [
        blank * (longest - len(row)) + row if left else row + blank * (longest - len(row)) for row in rows
    ]
    ids, ends, mask, real = torch.tensor(padded).permute(2, 0, 1)
    return Side(ids, real, mask.bool(), ends)


def trial(objective, seed, left=False):
    """Texts of both sides, their batch, and random signals in float64 for an objective, which is set up."""
    torch.manual_seed(seed)
    samples = texts(seed)
    rng = random.Random(seed)
    sides = [as_side(each, pieces, left, rng) for each, pieces in zip(samples, PIECES, strict=True)]
    batch = Batch(*sides, torch.arange(len(samples[0])))
    reads = objective.setup(OURS, THEIRS)
    generator = torch.Generator().manual_seed(seed)
    answers = [
        {each: _double(each, random_answer(each, model, side, generator), side) for each in asked}
        for asked, model, side in zip((reads.student, reads.teacher), (OURS, THEIRS), sides, strict=True)
    ]
    return samples, batch, *answers


def _double(request, answer, side):
    return changed(request, answer, side, lambda request, tensor, side: tensor.double())


def loss(objective, batch, ours, theirs):
    return objective(Signals(ours), Signals(theirs), batch)


def response(each, pieces, position):
    """The tokens of a response: (start, end, id, where it is predicted or None); `position` is where the row starts."""
    found, start = [], 0
    for number, index in enumerate(each.ids + [0] * each.whole):
        end = start + len(pieces[index].encode()) if index else each.size + 1
        at = position + each.before + number - 1
        found.append((start if index else each.size, end, index, at if number or each.before else None))
        start = end
    return found
