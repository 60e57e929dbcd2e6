"""From texts and two tokenizers to what `stillroom align` shows: tokens, chunks, words, phrases, and their counts."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from stillroom.alignment.compare import Aligned, Counts, align_text
from stillroom.alignment.reader import Reader, Reading, common_form
from stillroom.alignment.spans import units_of
from stillroom.alignment.unit_counts import SpanCounts, count_spans
from stillroom.alignment.vocabulary_map import vocabulary_map
from stillroom.report.alignment_spans import SpanView
from stillroom.report.alignment_view import AlignmentView, Part, Token, TwoCuts

if TYPE_CHECKING:
    from stillroom.data.spans.segmentation import Segmenter, Spans

MOST = 20  # texts that are shown
LONGEST = 4_000  # bytes of a text that are shown; all are counted


def alignment_view(
    texts: Sequence[str],
    readers: tuple[Reader, Reader],
    names: tuple[str, str],
    segmenter: "Segmenter | None" = None,
) -> AlignmentView:
    """Student before teacher in `readers` and `names`; with a `segmenter` words and phrases as well."""
    tables = (readers[0].table, readers[1].table)
    texts = [common_form(text, tables) for text in texts]
    cut = segmenter.segment(texts) if segmenter else [None] * len(texts)
    counts, units, shown = Counts(), SpanCounts(), []
    for text, spans in zip(texts, cut, strict=True):
        aligned = align_text(text, *readers)
        counts += aligned.counts
        if spans:
            units += count_spans(aligned, spans.words, spans.phrases, spans.labels)
        if len(shown) < MOST and not aligned.counts.dropped:
            shown.append(_two_cuts(aligned, spans))
    view = None
    if segmenter:
        unknown = sum(spans is not None and not spans.known for spans in cut)
        view = SpanView(segmenter.identity, counts.texts, unknown, **units.figures(counts.bytes))
    shared = len(vocabulary_map(*tables))
    return AlignmentView(*names, asdict(counts), counts.ratios(), shared, shown, view)


def _two_cuts(aligned: Aligned, spans: "Spans | None") -> TwoCuts:
    """Both sides up to the length that is shown: the last boundary before it that both have."""
    text = aligned.text.encode()
    sides = [
        _tokens(reading, chunks.tolist(), text, spans)
        for reading, chunks in (
            (aligned.student, aligned.student_chunks),
            (aligned.teacher, aligned.teacher_chunks),
        )
    ]
    if len(text) > LONGEST:
        common = {token.end for token in sides[0]} & {token.end for token in sides[1]}
        last = max((end for end in common if end <= LONGEST), default=0)
        sides = [[token for token in side if token.end <= last] for side in sides]
    return TwoCuts(*sides, spans.labels, spans.known) if spans else TwoCuts(*sides)


def _tokens(reading: Reading, chunks: list[int], text: bytes, spans: "Spans | None") -> list[Token]:
    ends = np.zeros(0, np.int64) if reading.ends is None else reading.ends
    parts = (
        [_parts(ends, each) for each in (spans.words, spans.phrases)] if spans else [[None] * len(ends)] * 2
    )
    places = zip([0, *ends.tolist()][:-1], ends.tolist(), chunks, *parts, strict=True)
    return [Token(text[start:end], chunk, start, end, *both) for start, end, chunk, *both in places]


def _parts(ends: np.ndarray, spans: np.ndarray) -> list[Part | None]:
    """Of every token, which span it is part of, and whether as the first one."""
    numbers = units_of(ends, spans)
    first = np.diff(numbers, prepend=-1) != 0
    return [
        Part(number, begins) if number >= 0 else None
        for number, begins in zip(numbers.tolist(), first.tolist(), strict=True)
    ]
