"""How many tokens of both sides are in a chunk, a word, a phrase: against loops, and where spans are no tokens."""

import random

import numpy as np
import pytest

from stillroom.alignment.compare import Aligned, Counts, align_text
from stillroom.alignment.reader import Reading
from stillroom.alignment.unit_counts import SpanCounts, UnitCounts, count_spans


def cut(length: int, chance: random.Random) -> np.ndarray:
    """Ends of tokens of `length` bytes, some of them without bytes."""
    inner = sorted(chance.choices(range(1, length), k=chance.randint(0, length)))
    return np.array([*inner, length])


def spans_in(length: int, chance: random.Random) -> np.ndarray:
    edges = sorted(chance.sample(range(length + 1), 2 * chance.randint(0, length // 2)))
    return np.array(edges, np.int64).reshape(-1, 2)


def aligned(student: np.ndarray, teacher: np.ndarray) -> Aligned:
    """Two cuts of one text; chunks are not asked for."""
    readings = [Reading([0] * len(ends), [""] * len(ends), ends) for ends in (student, teacher)]
    none = [np.full(len(ends), -1) for ends in (student, teacher)]
    return Aligned("", *readings, *none, Counts())


def in_span(ends: np.ndarray, start: int, end: int) -> int:
    return sum(start < each <= end for each in ends)


def looped(student: np.ndarray, teacher: np.ndarray, spans: list[tuple[int, int]]) -> UnitCounts:
    ours, theirs = ([in_span(side, *span) for span in spans] for side in (student, teacher))
    return UnitCounts(
        len(spans),
        sum(end - start for start, end in spans),
        sum(ours),
        sum(theirs),
        ours.count(1),
        theirs.count(1),
        ours.count(0),
        theirs.count(0),
    )


@pytest.mark.parametrize("seed", range(40))
def test_the_counts_are_their_loops(seed) -> None:
    chance = random.Random(seed)
    student, teacher = cut(24, chance), cut(24, chance)
    words, phrases = spans_in(24, chance), spans_in(24, chance)
    labels = chance.choices(["NP", "VP", ""], k=len(phrases))
    found = count_spans(aligned(student, teacher), words, phrases, labels)
    assert found.words == looped(student, teacher, words.tolist())
    assert found.phrases == looped(student, teacher, phrases.tolist())
    for label in ("NP", "VP", ""):
        named = [span for span, each in zip(phrases.tolist(), labels, strict=True) if each == label]
        assert found.labels.get(label, UnitCounts()) == looped(student, teacher, named)


def test_chunks_of_real_readers(reader) -> None:
    text = "the stillroom: naïve 日本語"
    both = align_text(text, reader("byte_level"), reader("byte_fallback"))
    none = np.zeros((0, 2), np.int64)
    chunks = count_spans(both, none, none, ()).chunks
    assert chunks.units == both.counts.chunks
    assert chunks.bytes == both.counts.bytes == len(text.encode())
    assert (chunks.student_tokens, chunks.teacher_tokens) == (
        both.counts.student_tokens,
        both.counts.teacher_tokens,
    )
    assert chunks.student_missing == chunks.teacher_missing == 0
    sizes = [(both.student_chunks == chunk).sum() for chunk in range(chunks.units)]
    assert chunks.student_single == sizes.count(1)


def test_a_token_counts_where_its_last_byte_lies() -> None:
    words = np.array([[0, 3], [4, 7]])  # "one two"
    found = count_spans(aligned(np.array([3, 7]), np.array([7])), words, words[:0], ())
    assert (found.words.student_single, found.words.teacher_tokens, found.words.teacher_missing) == (2, 1, 1)


def test_counts_of_texts_add_up_by_label() -> None:
    one = SpanCounts(words=UnitCounts(units=2), labels={"NP": UnitCounts(units=1)})
    two = SpanCounts(words=UnitCounts(units=3), labels={"VP": UnitCounts(units=4), "NP": UnitCounts(units=5)})
    both = one + two
    assert both.words.units == 5
    assert {name: counts.units for name, counts in both.labels.items()} == {"NP": 6, "VP": 4}
    assert one + SpanCounts() == SpanCounts() + one == one


def test_figures() -> None:
    counts = UnitCounts(units=4, bytes=6, student_tokens=5, teacher_tokens=4)
    found = SpanCounts(words=counts).figures(12)
    assert found["words"]["student_tokens_each"] == 1.25
    assert found["words"]["byte_share"] == 0.5
    assert found["phrases"]["student_tokens_each"] is None
    assert SpanCounts().figures(0)["words"]["byte_share"] is None


def test_a_text_whose_tokens_nobody_can_place_counts_nowhere() -> None:
    ends = np.array([3])
    lost = Aligned("one", Reading([0], [""], ends), Reading([0], [""], None), ends - 4, ends - 4, Counts())
    assert count_spans(lost, np.array([[0, 3]]), np.zeros((0, 2), np.int64), ()) == SpanCounts()
