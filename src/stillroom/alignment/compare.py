"""How well two tokenizers agree on texts: what `stillroom align` shows and counts."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from stillroom.alignment.boundaries import shared_boundaries
from stillroom.alignment.chunks import shared_chunks
from stillroom.alignment.positions import exact_pairs
from stillroom.alignment.published import published_pairs
from stillroom.alignment.reader import Reader, Reading, common_form


@dataclass(frozen=True)
class Counts:
    """Of one text or of many: the counts of several texts add up."""

    texts: int = 0
    dropped: int = 0
    """Texts that one of the tokenizers rewrites so that no byte ends are known."""
    bytes: int = 0
    student_tokens: int = 0
    teacher_tokens: int = 0
    chunks: int = 0
    exact: int = 0
    """Tokens of the same bytes on both sides."""
    student_context_equal: int = 0
    """Tokens of the student before which the teacher has read the same bytes at some token."""
    teacher_context_equal: int = 0
    published: int = 0
    """Pairs of the published alignment by strings."""

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def ratios(self) -> dict[str, float | None]:
        """Shares of the student's tokens, and of the teacher's where the name says so; None where there is no token."""
        student, teacher = self.student_tokens, self.teacher_tokens
        return {
            "exact_ratio": _share(self.exact, student),
            "context_equal_ratio": _share(self.student_context_equal, student),
            "eta_ratio": _share(self.published, student),
            "teacher_exact_ratio": _share(self.exact, teacher),
            "teacher_context_equal_ratio": _share(self.teacher_context_equal, teacher),
        }


@dataclass(frozen=True)
class Aligned:
    """One text under two tokenizers."""

    text: str
    student: Reading
    teacher: Reading
    student_chunks: np.ndarray
    """`[S]` int64, the chunk of every token; -1 where the ends of a side are not known."""
    teacher_chunks: np.ndarray
    counts: Counts


def align_text(text: str, student: Reader, teacher: Reader) -> Aligned:
    """Both segmentations of a text and what they share. The text is brought into the form that both can read."""
    text = common_form(text, (student.table, teacher.table))
    ours, theirs = student.read(text), teacher.read(text)
    if ours.ends is None or theirs.ends is None:
        unknown = [np.full(len(each.ids), -1) for each in (ours, theirs)]
        return Aligned(text, ours, theirs, *unknown, Counts(texts=1, dropped=1))
    shared = shared_boundaries(ours.ends[None], theirs.ends[None])
    chunks = shared_chunks(shared, *(np.ones_like(each) for each in shared))
    counts = Counts(
        texts=1,
        bytes=len(text.encode()),
        student_tokens=len(ours.ids),
        teacher_tokens=len(theirs.ids),
        chunks=int(chunks.counts[0]),
        exact=len(exact_pairs(chunks).rows),
        student_context_equal=_begun(shared.student[0]),
        teacher_context_equal=_begun(shared.teacher[0]),
        published=len(published_pairs(ours.tokens, theirs.tokens)),
    )
    return Aligned(text, ours, theirs, chunks.student[0], chunks.teacher[0], counts)


def _begun(closes: np.ndarray) -> int:
    """Tokens that begin at a shared boundary: the first one, and those behind a token that closes."""
    return min(1, len(closes)) + int(closes[:-1].sum())


def count_texts(texts: Sequence[str], student: Reader, teacher: Reader) -> Counts:
    """The counts of all texts."""
    return sum((align_text(text, student, teacher).counts for text in texts), Counts())


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
