"""Units of a batch against plain loops: which there are, which tokens they hold, and what merging makes of them."""

import random
from dataclasses import replace

import pytest
import torch
from objectives.vocabulary import two_sides
from objectives.vocabulary.two_texts import PIECES, as_side, texts
from reference import span as reference
from reference import vocabulary

from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.objectives.span._units import units_of_batch
from stillroom.testing import OTHER_TEACHER, STUDENT, TEACHER
from stillroom.testing._signals import random_batch, unscored


def told(units):
    """Of every row, the tokens of both sides of every unit."""
    found = []
    for ours, theirs, exists in zip(*(each.tolist() for each in units), strict=True):
        assert exists == sorted(exists, reverse=True)
        numbers = range(sum(exists))
        assert max([*ours, *theirs]) < len(numbers)
        sides = [
            [[t for t, each in enumerate(side) if each == k] for k in numbers] for side in (ours, theirs)
        ]
        found.append(list(zip(*sides, strict=True)))
    return found


def known(batch):
    return zip(batch.student.predicts.tolist(), batch.teacher.predicts.tolist(), strict=True)


def of_loops(batch, kind, most):
    sides = (getattr(side, kind).tolist() for side in (batch.student, batch.teacher))
    rows = zip(*sides, known(batch), strict=True)
    pieces = [reference.units(ours, theirs, *both) for ours, theirs, both in rows]
    return [reference.merged(each, most) if most else each for each in pieces]


def chunks_of_loops(batch):
    """From byte ends: minimal pieces of the response all of whose tokens stand where one is predicted."""
    return [
        [
            (mine, other)
            for mine, other in vocabulary.spans(*text)
            if all(ours[i] for i in mine) and all(theirs[j] for j in other)
        ]
        for text, (ours, theirs) in zip(two_sides.texts(batch), known(batch), strict=True)
    ]


def random_units(seed, samples=5, most=9, longest=14):
    """A batch with units of any size on both sides; some are cut, some lie in the prompt of one side."""
    generator = torch.Generator().manual_seed(seed)
    sides = []
    for length in (longest, longest - 3):
        steps = torch.rand(2, samples, length, generator=generator) < 0.5
        numbers = steps.int().cumsum(-1).clamp(max=most)
        numbers[torch.rand(2, samples, length, generator=generator) < 0.2] = -1
        position = torch.arange(length)
        real = position < torch.randint(3, length + 1, (samples, 1), generator=generator)
        mask = real & (position >= torch.randint(0, 4, (samples, 1), generator=generator))
        words, phrases = numbers.long().masked_fill(~real, -1)
        sides.append(Side(torch.ones_like(words), real.long(), mask, None, words, phrases))
    return Batch(*sides, torch.arange(samples))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("left", [False, True])
def test_chunks_are_those_of_the_loops(seed, left):
    rng = random.Random(seed)
    samples = texts(seed)
    sides = [as_side(each, pieces, left, rng) for each, pieces in zip(samples, PIECES, strict=True)]
    batch = Batch(*sides, torch.arange(len(samples[0])))
    found = told(units_of_batch(batch, "chunks"))
    expected = chunks_of_loops(batch)
    assert found[1:] == expected[1:]
    # a text without a prompt has no boundary before it: what comes before its first one is in no chunk
    assert found[0] in (expected[0], expected[0][1:])


@pytest.mark.parametrize("kind", ["words", "phrases"])
@pytest.mark.parametrize("most", [None, 1, 2, 3, 5])
def test_words_and_phrases_are_those_of_the_loops(kind, most):
    for seed in range(12):
        batch = random_units(seed)
        units = units_of_batch(batch, kind, most)
        expected = of_loops(batch, kind, most)
        assert told(units) == expected
        assert units.counts.tolist() == [len(row) for row in expected]
        assert units.exists.shape[1] == max(1, *(len(row) for row in expected))


def test_with_one_tokenizer_chunks_are_tokens():
    batch = random_batch(STUDENT, TEACHER, torch.Generator().manual_seed(0))
    units = units_of_batch(batch, "chunks")
    assert units.counts.tolist() == [
        5,
        4,
        2,
    ]  # trained tokens but the last one, behind which nothing is predicted
    assert torch.equal(units.student, units.teacher)
    assert torch.equal(units.student >= 0, batch.student.predicts & batch.student.response_mask)


def test_a_unit_that_one_side_lacks_or_has_cut_is_on_neither():
    words = torch.tensor([[-1, 0, 0, 1, 2, 2, 3, -1]]), torch.tensor([[-1, 0, 1, 1, 2, 3]])
    real = [torch.ones_like(each) for each in words]
    masks = [(each >= 0) for each in words]
    masks[0][0, 7] = True  # an end token
    batch = Batch(
        *(Side(one, one, mask, None, each) for one, mask, each in zip(real, masks, words, strict=True)),
        torch.arange(1),
    )
    units = units_of_batch(batch, "words")
    assert units.student.tolist() == [[-1, 0, 0, 1, 2, 2, -1, -1]]
    assert units.teacher.tolist() == [[-1, 0, 1, 1, 2, -1]]  # nothing follows the last word of the teacher


def test_no_response_has_no_units():
    for teacher in (TEACHER, OTHER_TEACHER):
        batch = unscored(random_batch(STUDENT, teacher, torch.Generator().manual_seed(0)))
        for kind in ("chunks", "words", "phrases"):
            units = units_of_batch(batch, kind)
            assert not units.exists.any()
            assert units.exists.shape == (3, 1)
            assert (units.student == -1).all()
            assert (units.teacher == -1).all()


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_samples_without_spans_are_refused(side):
    batch = random_units(0)
    blank = replace(batch, **{side: replace(getattr(batch, side), phrases=None)})
    with pytest.raises(
        BadInput, match=r"Expected the phrases of every sample.* set data\.spans in the recipe"
    ):
        units_of_batch(blank, "phrases")
    assert units_of_batch(blank, "words").exists.any()
