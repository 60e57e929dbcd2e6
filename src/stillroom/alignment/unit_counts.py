"""How chunks, words and phrases fall on the tokens of two tokenizers: what `stillroom align --spans` counts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from stillroom.alignment.compare import Aligned
from stillroom.alignment.spans import units_of


@dataclass(frozen=True)
class UnitCounts:
    """Units of one kind. Counts of several texts add up."""

    units: int = 0
    bytes: int = 0
    student_tokens: int = 0
    """Tokens of the student that are part of one."""
    teacher_tokens: int = 0
    student_single: int = 0
    """Units that are one token of the student."""
    teacher_single: int = 0
    student_missing: int = 0
    """Units without a token of the student: the last byte of none lies in them."""
    teacher_missing: int = 0

    def __add__(self, other: "UnitCounts") -> "UnitCounts":
        return UnitCounts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def figures(self, whole: int) -> dict[str, int | float | None]:
        """The counts, the mean of tokens in a unit, and the share of `whole` bytes; None where that means nothing."""
        means = {
            "student_tokens_each": _share(self.student_tokens, self.units),
            "teacher_tokens_each": _share(self.teacher_tokens, self.units),
            "byte_share": _share(self.bytes, whole),
        }
        return asdict(self) | means


@dataclass(frozen=True)
class SpanCounts:
    """Units of every kind in one text or in many. Texts whose tokens nobody can place are in none of them."""

    chunks: UnitCounts = UnitCounts()
    """The smallest pieces that have the same ends on both sides."""
    words: UnitCounts = UnitCounts()
    phrases: UnitCounts = UnitCounts()
    labels: Mapping[str, UnitCounts] = field(default_factory=dict)
    """Phrases by what they are called."""

    def __add__(self, other: "SpanCounts") -> "SpanCounts":
        names = sorted({*self.labels, *other.labels})
        none = UnitCounts()
        labels = {name: self.labels.get(name, none) + other.labels.get(name, none) for name in names}
        return SpanCounts(
            self.chunks + other.chunks, self.words + other.words, self.phrases + other.phrases, labels
        )

    def figures(self, whole: int) -> dict[str, Any]:
        """Of every kind, by name; `labels` once more by label. `whole`: bytes of all texts."""
        kinds = {"chunks": self.chunks, "words": self.words, "phrases": self.phrases}
        figures: dict[str, Any] = {name: counts.figures(whole) for name, counts in kinds.items()}
        return figures | {"labels": {name: counts.figures(whole) for name, counts in self.labels.items()}}


def count_spans(
    aligned: Aligned, words: np.ndarray, phrases: np.ndarray, labels: Sequence[str]
) -> SpanCounts:
    """Of one text: `words [n,2]` and `phrases [m,2]` in bytes of `aligned.text`, `labels` of the m phrases."""
    ends = aligned.student.ends, aligned.teacher.ends
    if ends[0] is None or ends[1] is None:
        return SpanCounts()
    chunks = aligned.student_chunks, aligned.teacher_chunks
    in_words, in_phrases = (tuple(units_of(side, spans) for side in ends) for spans in (words, phrases))
    names, sizes = np.asarray(labels, dtype=np.str_), phrases[:, 1] - phrases[:, 0]
    return SpanCounts(
        _count(chunks, np.diff(_chunk_ends(ends[0], chunks[0]), prepend=0)),
        _count(in_words, words[:, 1] - words[:, 0]),
        _count(in_phrases, sizes),
        {str(name): _count(in_phrases, sizes, names == name) for name in np.unique(names)},
    )


def _chunk_ends(ends: np.ndarray, chunks: np.ndarray) -> np.ndarray:
    """Where every chunk ends: with its last token, of either side."""
    found = np.zeros(chunks.max(initial=-1) + 1, np.int64)
    np.maximum.at(found, chunks[chunks >= 0], ends[chunks >= 0])
    return found


def _count(
    units: tuple[np.ndarray, np.ndarray], sizes: np.ndarray, chosen: np.ndarray | slice = slice(None)
) -> UnitCounts:
    """From the unit of every token of both sides, the bytes of every unit, and which units count."""
    student, teacher = (np.bincount(side[side >= 0], minlength=len(sizes))[chosen] for side in units)
    return UnitCounts(
        units=len(student),
        bytes=int(sizes[chosen].sum()),
        student_tokens=int(student.sum()),
        teacher_tokens=int(teacher.sum()),
        student_single=int((student == 1).sum()),
        teacher_single=int((teacher == 1).sum()),
        student_missing=int((student == 0).sum()),
        teacher_missing=int((teacher == 0).sum()),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
